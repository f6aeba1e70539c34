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


def shell(command, **options):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **options}
    command = command.replace("gdncodec", f"{sys.executable} -m gdncodec")
    return subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("command", "text", "code"),
    [
        ("gdncodec compress img.png -o - >&-", "standard output: closed", 1),
        ("gdncodec compress - -o a.gdn <&-", "standard input: closed", 1),
        ("gdncodec info - <&-", "cannot be read (closed)", 4),
    ],
)
def test_streams_that_are_closed_get_one_line(folder, command, text, code):
    result = shell(command)
    assert result.returncode == code
    assert result.stderr.decode().count("\n") == 1
    assert text in result.stderr.decode()
    assert names(folder) == ["img.png"]


def test_a_name_that_the_terminal_cannot_show_is_no_error(folder):
    (folder / "img.png").rename("\u65e5.png")
    result = shell("gdncodec compress *.png", PYTHONIOENCODING="latin-1")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(rb"\u65e5.gdn: ")


EVIL = "\x1b[2J\x9b1m.png"


def test_escape_sequences_in_names_of_files_never_reach_the_terminal(folder):
    (folder / "img.png").rename(EVIL)
    Path("no\x1bimage.png").write_bytes(b"")
    commands = [
        "compress *.png", "compress *.png", "info *.gdn", "verify *.gdn", "decompress *.gdn",
        "view *.gdn", "compress *2J*.png", "info no*",
    ]  # fmt: skip
    outputs = [shell(f"DISPLAY= gdncodec {command}") for command in commands]
    assert [output.returncode for output in outputs] == [3, 1, 0, 0, 0, 0, 6, 4]
    for output in outputs:
        text = (output.stdout + output.stderr).decode()
        assert text.replace("\n", "").isprintable(), text


def test_escape_sequences_in_models_never_reach_the_terminal(folder, tiny_model, monkeypatch):
    from safetensors.numpy import load_file, save

    from gdncodec.catalog import ModelEntry

    monkeypatch.setenv("GDNCODEC_MODELS", str(folder))
    metadata, tensors = ModelEntry(tiny_model).metadata, load_file(tiny_model)
    evil = "\x1b[2J\x9b"
    cards = [{"bpp_range": evil}, {"bpp_range": [evil]}, {"bpp_range": [1e400, 2]}, {evil: evil}]
    for i, card in enumerate(cards):
        data = save(tensors, {**metadata, "card": json.dumps(card)})
        (folder / f"{i}{evil}.safetensors").write_bytes(data)
    config = json.dumps({**json.loads(metadata["config"]), "norm": evil})
    (folder / "norm.safetensors").write_bytes(save(tensors, {**metadata, "config": config}))
    for options in ([], ["-v"], ["--quiet"], ["--json", "-v"]):
        result = run("models", *options)
        assert (result.stdout + result.stderr).replace("\n", "").isprintable()
    for name in (f"0{evil}.safetensors", "norm.safetensors", f"{evil}.safetensors"):
        output = run("compress", "img.png", "--model", name, code=5).stderr
        assert output.replace("\n", "").isprintable()
