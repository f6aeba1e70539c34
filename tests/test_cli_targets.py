"""``gdncodec compress --target-...``, and the line that shows progress."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image, ImageDraw

from gdncodec.cli.progress import ProgressLine


@pytest.mark.parametrize("unit", ["", "k"])
def test_a_target_size_is_met(folder, unit):
    run("compress", "img.png", "-q", 40)
    size = (folder / "img.gdn").stat().st_size + 5
    text = f"{size / 1000}k" if unit else str(size)
    run("compress", "img.png", "--target-size", text, "--force")
    assert 0.98 * size <= (folder / "img.gdn").stat().st_size <= size


def psnr_of_file(folder, photo):
    run("decompress", "img.gdn", "--force")
    with Image.open("img.decoded.png") as image:
        error = np.square(np.asarray(image).astype(float) - photo).mean()
    return 10 * np.log10(255**2 / error)


def test_other_targets_are_met(folder, photo):
    pytest.importorskip("pytorch_msssim")
    run("compress", "img.png", "-q", 40)
    bpp = (folder / "img.gdn").stat().st_size * 8 / photo[..., 0].size
    psnr = psnr_of_file(folder, photo)
    run("compress", "img.png", "--target-bpp", bpp * 1.1, "--force")
    found = (folder / "img.gdn").stat().st_size * 8 / photo[..., 0].size
    assert 0.98 * 1.1 * bpp <= found <= 1.1 * bpp
    run("compress", "img.png", "--target-psnr", psnr + 0.3, "--force")
    assert psnr_of_file(folder, photo) == pytest.approx(psnr + 0.3, abs=0.05)
    run("compress", "img.png", "--target-ms-ssim", 0.95, "--force")


def test_a_missing_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)
    result = run("compress", "img.png", "--target-ms-ssim", 0.9, code=1)
    assert "pip install 'gdncodec[eval]'" in result.stderr


@pytest.fixture
def terminal(monkeypatch):
    """The standard streams of commands are a terminal, and progress is shown at once."""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    monkeypatch.setattr("gdncodec.cli.progress._PATIENCE", 0)
    monkeypatch.setenv("COLUMNS", "80")


def test_each_trial_of_a_search_is_shown(folder, terminal):
    shown = run("compress", "img.png", "--target-bpp", 1).stderr
    for number in (1, 2):
        assert f"\rcompressing img.png: looking for the quality, trial {number}" in shown
    line = "compressing img.png: looking for the quality, trial 9"
    assert shown.endswith("\r" + " " * len(line) + "\r")
    assert "trial" not in run("compress", "img.png", "--force").stderr
    assert run("compress", "img.png", "--force", "--target-bpp", 1, "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("terminal", "quiet", "shown"),
    [(True, False, True), (False, False, False), (True, True, False)],
)
def test_progress_is_shown_for_long_work_on_a_terminal_only(
    monkeypatch, capsys, terminal, quiet, shown
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    with ProgressLine("compressing", Path("photo.png"), quiet) as progress:
        progress(1, 4)
        assert capsys.readouterr().err == ""
        assert progress._timer.is_alive() == shown
        if shown:
            progress._show()  # what the timer does after two seconds
        progress(2, 4)
        assert capsys.readouterr().err.endswith("\rcompressing photo.png: 50 %") == shown
    assert progress._timer.finished.is_set()
    assert capsys.readouterr().err.strip() == ""


def test_a_shorter_line_covers_a_longer_one_and_none_is_wider_than_the_terminal(
    monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "30")
    with ProgressLine("compressing", Path("-"), quiet=True) as progress:
        progress._show()
        progress.trial(3)
        progress(1, 1)
    lines = capsys.readouterr().err.split("\r")
    assert lines[1:4] == [
        "compressing the input: ...",
        "compressing the input: lookin",
        "compressing the input: 100 % ",
    ]
    assert lines[4].strip() == ""


def test_a_size_that_is_not_filled_is_noted(folder):
    said = run("compress", "img.png", "--target-size", "1M").stderr
    size = (folder / "img.gdn").stat().st_size
    assert f"img.png: note: quality 100, the best, needs {size:,} bytes, less than" in said
    assert "note" not in run("compress", "img.png", "--target-size", "1500", "--force").stderr


def test_a_result_larger_than_its_source_is_noted(folder, photo):
    drawing("1").save("page.png")
    said = run("compress", "page.png", "-q", 100)
    assert "page.png: note: the result is larger than this file of" in said.stderr
    assert "the result is larger" not in run("compress", "img.png", "-q", 1, "--force").stderr


def drawing(mode):
    """Lines of text on white, as on a fax page or a screenshot."""
    image = Image.new("RGB", (400, 300), "white")
    draw = ImageDraw.Draw(image)
    for top in range(10, 280, 18):
        draw.text((10, top), "Some text in black on white, as on a fax page.", fill="black")
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "name"),
    [("1", "a.png"), ("1", "a.tif"), ("P", "a.gif"), ("P", "a.png"), ("RGB", "a.png")],
)
def test_a_lossless_format_is_suggested_for_drawings_with_its_measured_size(folder, mode, name):
    drawing(mode).save(name)
    said = run("compress", name).stderr
    found = re.search(r"as lossless WebP or PNG this image has ([\d,]+) bytes", said)
    with Image.open(name) as image:
        image.convert("RGB").save("lossless.webp", lossless=True, method=2)
    size = int(found[1].replace(",", ""))
    assert size <= (folder / "lossless.webp").stat().st_size
    assert size < (folder / "a.gdn").stat().st_size


def test_nothing_is_suggested_for_a_photo_in_a_palette(folder):
    with Image.open("img.png") as image:
        image.quantize(64).save("photo.gif")
    assert run("compress", "photo.gif").stderr == ""


def test_numbers_in_messages_are_written_as_people_write_them(folder):
    said = run("compress", "img.png", "--target-psnr", 9e8, code=2).stderr
    assert "img.png: the target of 900,000,000 dB is out of reach" in said
    said = run("compress", "img.png", "--target-size=-10M", code=2).stderr
    assert "a target in bytes must be above 0, got -10,000,000" in said
    said = run("compress", "img.png", "--target-bpp", 0.00001, code=2).stderr
    assert "the target of 0.00001 bpp is out of reach" in said
    assert not list(folder.glob("*.gdn"))
