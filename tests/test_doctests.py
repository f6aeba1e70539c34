"""The examples in docstrings, run as they stand."""

import doctest
import importlib
from pathlib import Path

import pytest
from PIL import Image

PACKAGE = Path(__file__).parents[1] / "gdncodec"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>>" in path.read_text()]


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_there_are_examples():
    assert "gdncodec" in map(module_name, MODULES)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_examples_run_and_none_is_skipped(path, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("photo.png")
    assert "+SKIP" not in path.read_text()
    outcome = doctest.testmod(importlib.import_module(module_name(path)))
    assert outcome.attempted > 0
    assert outcome.failed == 0
