"""Compressing, decompressing, viewing and verifying images from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import names, run
from PIL import Image


def test_a_round_trip_never_threatens_the_original(folder):
    before = (folder / "img.png").read_bytes()
    size = run("compress", "img.png").stdout
    run("decompress", "img.gdn")
    assert names(folder) == ["img.decoded.png", "img.gdn", "img.png"]
    assert (folder / "img.png").read_bytes() == before
    with Image.open("img.decoded.png") as image:
        assert image.size == (203, 150)
    assert f"{(folder / 'img.gdn').stat().st_size:,} bytes" in size
    assert "bpp" in size
    assert "% of img.png" in size


def test_encode_and_decode_are_other_names(folder):
    run("encode", "img.png")
    run("decode", "img.gdn")
    assert names(folder) == ["img.decoded.png", "img.gdn", "img.png"]


def test_quality_changes_the_size(folder):
    run("compress", "img.png", "-q", 5, "-o", "low.gdn")
    run("compress", "img.png", "-q", 80.5, "-o", "high.gdn")
    assert (folder / "low.gdn").stat().st_size < (folder / "high.gdn").stat().st_size


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff", "bmp"])
def test_the_suffix_decides_the_format(folder, suffix):
    run("compress", "img.png")
    run("decompress", "img.gdn", "-o", f"out.{suffix}")
    with Image.open(f"out.{suffix}") as image:
        assert image.size == (203, 150)


def test_the_format_decides_over_the_suffix(folder):
    run("compress", "img.png")
    run("decompress", "img.gdn", "--format", "JPEG", "-o", "out.any")
    with Image.open("out.any") as image:
        assert image.format == "JPEG"
    run("decompress", "img.gdn", "--format", "webp")
    with Image.open("img.decoded.webp") as image:
        assert image.format == "WEBP"


def test_verify_writes_nothing(folder):
    run("compress", "img.png")
    before = names(folder)
    assert "good, 203 x 150" in run("verify", "img.gdn").stdout
    assert names(folder) == before


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16"])
def test_a_mode_comes_back_as_itself(folder, photo, mode):
    image = Image.fromarray(photo)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    image = image.convert(mode) if mode != "I;16" else image
    image.save("mode.png")
    run("compress", "mode.png")
    run("decompress", "mode.gdn")
    with Image.open("mode.decoded.png") as decoded:
        assert decoded.mode == mode
        assert decoded.size == (203, 150)


def test_what_does_not_come_along_is_told(folder, photo):
    Image.fromarray(photo).convert("CMYK").save("print.jpg")
    result = run("compress", "print.jpg")
    assert "print.jpg: note: its CMYK colours were converted" in result.stderr
    assert run("compress", "print.jpg", "--quiet", "--force").output == ""


def test_metadata_are_kept_or_stripped(folder, photo):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(photo).save("camera.jpg", exif=exif, icc_profile=b"profile")
    run("compress", "camera.jpg")
    assert json.loads(run("info", "camera.gdn", "--json").stdout)["chunks"].keys() == {
        "latents", "icc", "exif",
    }  # fmt: skip
    run("decompress", "camera.gdn", "-o", "back.jpg")
    with Image.open("back.jpg") as image:
        assert image.info["exif"] == exif.tobytes()
        assert image.info["icc_profile"] == b"profile"
        assert image.size == (203, 150)
    run("compress", "camera.jpg", "--strip", "-o", "bare.gdn")
    facts = json.loads(run("info", "bare.gdn", "--json").stdout)
    assert facts["chunks"].keys() == {"latents"}
    assert (facts["width"], facts["height"]) == (150, 203)


def test_a_frame_of_an_animation_is_chosen(folder):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    run("compress", "a.gif", "--frame", 1)
    run("decompress", "a.gdn")
    with Image.open("a.decoded.png") as image:
        red, _, blue = image.getpixel((4, 4))
        assert blue > red + 30


def test_a_region_is_decoded_alone(folder):
    run("compress", "img.png")
    run("decompress", "img.gdn")
    run("decompress", "img.gdn", "--region", "20,30,50,40", "-o", "part.png")
    with Image.open("img.decoded.png") as whole, Image.open("part.png") as part:
        expected = np.asarray(whole.crop((20, 30, 70, 70))).astype(int)
        assert np.abs(expected - np.asarray(part)).max() <= 1


def test_view_writes_a_page_where_there_is_no_display(folder, monkeypatch, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("view")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr("gdncodec.cli.viewer.has_display", lambda: False)
    run("compress", "img.png", "-o", "a<b.gdn")
    page = Path(run("view", "a<b.gdn").stdout.strip())
    assert temporary in page.parents
    text = page.read_text()
    assert 'src="image.png"' in text
    assert "a&lt;b.gdn: 203 x 150, quality 50, " in text
    assert " bpp " in text
    assert "(keys: 1, 0)" in text
    with Image.open(page.with_name("image.png")) as image:
        assert image.size == (203, 150)
    assert names(folder) == ["a<b.gdn", "img.png"]


@pytest.mark.parametrize("works", [True, False])
def test_view_opens_the_systems_viewer(folder, monkeypatch, tmp_path_factory, works):
    opened = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("view")))
    monkeypatch.setattr("gdncodec.cli.viewer.has_display", lambda: True)
    monkeypatch.setattr("click.launch", lambda path: opened.append(path) or int(not works))
    run("compress", "img.png")
    shown = Path(run("view", "img.gdn").stdout.strip())
    assert shown.suffix == (".png" if works else ".html")
    assert shown.exists()
    with Image.open(opened[0]) as image:
        assert image.size == (203, 150)


def test_a_display_is_found_by_what_desktops_set(monkeypatch):
    from gdncodec.cli.viewer import has_display

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert has_display()
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.delenv("WAYLAND_DISPLAY")
    assert has_display()
