"""Options of ``gdncodec eval`` and ``compare`` that other tests do not need."""

import json

import pytest
from command_line import run
from PIL import Image

from gdncodec.evaluation import metrics


@pytest.fixture
def small(folder):
    with Image.open("img.png") as image:
        image.crop((0, 0, 80, 64)).save("small.png")
    return folder


def test_curves_of_efforts_anchors_and_publications_are_compared(small):
    curve = {"name": "published", "results": {"bpp": [0.1, 3, 9], "psnr-rgb": [15, 30, 60]}}
    (small / "published.json").write_text(json.dumps(curve))
    given = [
        "eval", "small.png", "--out", "out", "--qualities", "0,50,100", "--effort", 0,
        "--effort", 1, "--anchors", "jpeg", "--fast",
        "--compare", "published.json", "--reference", "JPEG",
        "--show", "",
    ]  # fmt: skip
    run(*given)
    summary = (small / "out" / "summary.md").read_text()
    for name in ("photo-e0", "photo-e1", "published"):
        assert f"| {name} | JPEG |" in summary
    measured = (small / "out" / "measurements.jsonl").read_text()
    run(*given, "--resume")
    assert (small / "out" / "measurements.jsonl").read_text() == measured  # nothing anew
    run(*given, "--fresh")
    assert (small / "out" / "measurements.jsonl").read_text() != measured  # other times


def test_lpips_without_its_package_is_left_out_with_a_note(small, monkeypatch):
    reason = "lpips is not installed (pip install lpips)"
    monkeypatch.setattr(metrics, "lpips_missing", lambda: reason)
    given = ["small.png", "--out", "out", "--qualities", "0,50", "--anchors", "", "--show", ""]
    assert f"LPIPS is left out: {reason}" in run("eval", *given, "--lpips").stderr


def test_compare_takes_the_faster_settings(small):
    run("compare", "small.png", "--bpp", 1, "--fast", "-o", "page.html")
    assert "small.png" in (small / "page.html").read_text()
