"""The standard streams as input and output."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import names, run
from PIL import Image

from gdncodec.cli import main


def test_dashes_stand_for_the_standard_streams(folder):
    source = (folder / "img.png").read_bytes()
    packed = CliRunner().invoke(main, ["compress", "-"], input=source)
    assert packed.exit_code == 0
    run("compress", "img.png")
    assert packed.stdout_bytes == (folder / "img.gdn").read_bytes()
    assert "bytes" in packed.stderr
    run("decompress", "img.gdn")
    for options, name in (([], "PNG"), (["--format", "ppm"], "PPM"), (["--format", "jpg"], "JPEG")):
        back = CliRunner().invoke(
            main, ["decompress", "-", "-o", "-", *options], input=packed.stdout_bytes
        )
        assert back.exit_code == 0
        assert "-: 203 x 150" in back.stderr
        with Image.open(io.BytesIO(back.stdout_bytes)) as image:
            assert (image.format, image.size) == (name, (203, 150))
            if name != "JPEG":
                with Image.open("img.decoded.png") as expected:
                    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
    facts = CliRunner().invoke(main, ["info", "-", "--json"], input=packed.stdout_bytes)
    assert json.loads(facts.stdout)["width"] == 203
    assert names(folder) == ["img.decoded.png", "img.gdn", "img.png"]


def test_streams_work_between_processes(folder):
    """A pipe from a real process into another, the first reading a file, the second a pipe."""
    gdncodec = f"{sys.executable} -m gdncodec"
    command = f"{gdncodec} compress img.png -o - | {gdncodec} decompress - --format ppm > out.ppm"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True, env=environment)
    with Image.open("out.ppm") as image:
        assert image.size == (203, 150)


@pytest.mark.parametrize(
    ("source", "code"), [(b"no image", 3), (b"", 3), (b"\x89PNG\r\n\x1a\n\0\0", 3)]
)
def test_bad_streams_get_one_line_and_write_nothing(folder, source, code):
    result = CliRunner().invoke(main, ["compress", "-"], input=source)
    assert result.exit_code == code
    assert result.stdout_bytes == b""
    assert result.stderr.count("\n") == 1
    assert "the input: " in result.stderr
    assert names(folder) == ["img.png"]


def test_a_terminal_gets_no_binary_data(folder, monkeypatch):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    assert "terminal" in run("compress", "img.png", "-o", "-", code=2).stderr
