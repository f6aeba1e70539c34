"""A short run of every target, with a fixed seed; README.md says how to run them for hours."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from targets import TARGETS

INPUTS = {
    "container": 4000, "decoder": 1200, "plugin": 3000, "model": 400, "import": 40, "images": 2500,
    "salvage": 60, "network": 150,
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_are_taken_or_refused_with_an_error_of_the_package(name, tmp_path):
    target = TARGETS[name](tmp_path, 2026)
    taken = sum(target.run(target.input(number)) for number in range(INPUTS[name]))
    assert 0.02 < taken / INPUTS[name] < 0.9  # or the mutations find nothing new
