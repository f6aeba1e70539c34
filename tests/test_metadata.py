"""What image files say beside their pixels, in and out."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from command_line import names, run
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from gdncodec.images import exif as exif_blocks
from gdncodec.images.exif import EXIF_START
from gdncodec.images.profiles import SRGB_CHROMATICITIES, profile
from gdncodec.images.reading import read_image
from gdncodec.images.writing import encoded

ORIENTATION, DESCRIPTION, GPS = 0x0112, 0x010E, 0x8825


@pytest.fixture
def image(photo):
    return Image.fromarray(photo[:40, :48])


def saved(image, suffix, **options):
    file = io.BytesIO()
    image.save(file, suffix, **options)
    file.seek(0)
    return file


def shown(pixels, icc):
    """Return pixels in sRGB, as a viewer with colour management shows them."""
    image = Image.fromarray(pixels)
    srgb = ImageCms.createProfile("sRGB")
    opened = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return np.asarray(ImageCms.profileToProfile(image, opened, srgb, outputMode="RGB"))


# Colours of PNG files


def with_gamma(image, gamma):
    chunks = PngInfo()
    chunks.add(b"gAMA", struct.pack(">I", round(gamma * 100000)))
    return saved(image, "PNG", pnginfo=chunks)


def test_a_linear_gamma_becomes_a_profile_that_shows_the_same():
    grey = Image.new("RGB", (8, 8), (63, 63, 63))
    found = read_image(with_gamma(grey, 1.0))
    assert found.notices == ()
    linear = 63 / 255
    right = round(255 * (1.055 * linear ** (1 / 2.4) - 0.055))
    assert np.abs(shown(found.pixels, found.metadata.icc).astype(int) - right).max() <= 1


def test_the_gamma_that_means_srgb_needs_no_profile(image):
    found = read_image(with_gamma(image, 1 / 2.2))
    assert (found.metadata.icc, found.notices) == (b"", ())


def test_wide_primaries_become_a_profile(image):
    chunks = PngInfo()
    p3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    chunks.add(b"cHRM", struct.pack(">8I", *(round(v * 100000) for v in p3)))
    red = Image.new("RGB", (8, 8), (200, 60, 60))
    found = read_image(saved(red, "PNG", pnginfo=chunks))
    first, second, third = (int(v) for v in shown(found.pixels, found.metadata.icc)[4, 4])
    assert first > 205  # what is red in a wide space is redder in sRGB
    assert second < 60
    assert third < 62


def test_a_chunk_that_names_a_wide_space_becomes_a_profile(image):
    chunks = PngInfo()
    chunks.add(b"cICP", bytes([12, 13, 0, 1]))  # Display P3
    found = read_image(saved(image, "PNG", pnginfo=chunks))
    assert found.metadata.icc == profile(
        None, (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06), grey=False
    )


def test_a_curve_that_no_profile_has_is_noted(image):
    chunks = PngInfo()
    chunks.add(b"cICP", bytes([9, 16, 0, 1]))  # BT.2020 with PQ
    found = read_image(saved(image, "PNG", pnginfo=chunks))
    assert found.metadata.icc == b""
    assert found.notices == ("its colour space (cICP 9, 16) is not kept",)


@pytest.mark.parametrize("name", [b"mDCV", b"cLLI"])
def test_chunks_that_are_not_kept_are_noted(image, name):
    data = saved(image, "PNG").getvalue()
    chunk = struct.pack(">I", 8) + name + bytes(8) + struct.pack(">I", zlib.crc32(name + bytes(8)))
    (notice,) = read_image(io.BytesIO(data[:33] + chunk + data[33:])).notices  # after IHDR
    assert name.decode() in notice


def test_made_profiles_are_those_of_srgb(image):
    made = profile(None, SRGB_CHROMATICITIES, grey=False)
    pixels = np.asarray(image)
    assert np.abs(shown(pixels, made).astype(int) - pixels).max() <= 2


# Texts, resolution and further images


def test_resolution_and_comment_come_back(folder, image):
    image.save("d.jpg", dpi=(300, 300), comment="x")
    assert "note" not in run("compress", "d.jpg").stderr
    run("decompress", "d.gdn", "-o", "back.jpg")
    with Image.open("back.jpg") as back:
        assert back.info["dpi"] == (300, 300)
        assert back.info["comment"] == b"x"
    run("decompress", "d.gdn", "-o", "back.png")
    with Image.open("back.png") as back:
        assert [round(v) for v in back.info["dpi"]] == [300, 300]
        assert back.text["Comment"] == "x"


def test_a_jpeg_without_resolution_gets_none(image):
    assert read_image(saved(image, "JPEG")).metadata.exif == b""


def test_iptc_is_noted(image):
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x06\x1c\x02\x05\x00\x01x"
    data = saved(image, "JPEG").getvalue()
    segment = b"\xff\xed" + struct.pack(">H", len(block) + 2) + block
    found = read_image(io.BytesIO(data[:2] + segment + data[2:]))
    assert found.notices == ("its IPTC data is not kept",)


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
    b' hdrgm:Version="1.0"/>'
)


def test_a_gain_map_is_noted_and_no_longer_claimed(image):
    data = saved(image, "MPO", save_all=True, append_images=[image.convert("L")], xmp=XMP)
    found = read_image(data)
    assert found.notices == ("its gain map (HDR) is not kept",)
    assert found.metadata.xmp == b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def test_texts_of_a_png_become_exif_or_are_noted(image):
    text = PngInfo()
    text.add_text("Author", "Ada")
    text.add_text("Mood", "fine")
    found = read_image(saved(image, "PNG", pnginfo=text))
    assert found.notices == ("its 'Mood' is not kept",)
    back = Image.Exif()
    back.load(found.metadata.exif)
    assert back[0x013B] == "Ada"


def test_exif_that_was_there_stays_byte_for_byte(image):
    exif = Image.Exif()
    exif[DESCRIPTION] = "a" * 50
    exif.get_ifd(0x8769)[0x927C] = b"notes of the maker"
    block = exif.tobytes()
    found = read_image(saved(image, "JPEG", exif=block, comment="hello"))
    assert block[len(EXIF_START) + 8 :] in found.metadata.exif  # the first directory moved
    back = Image.Exif()
    back.load(found.metadata.exif)
    assert back[DESCRIPTION] == "a" * 50
    assert back.get_ifd(0x8769)[0x927C] == b"notes of the maker"
    assert exif_blocks.comment(found.metadata.exif) == "hello"


# Leaving metadata out


def test_stripping_a_linear_profile_keeps_the_look(folder):
    linear = profile(1.0, None, grey=True)
    Image.new("L", (32, 32), 63).save("grey.png", icc_profile=linear)
    run("compress", "grey.png", "--strip", "--quality", 90)
    run("decompress", "grey.gdn")
    with Image.open("grey.decoded.png") as back:
        assert "icc_profile" not in back.info
        assert abs(np.asarray(back).mean() - 137) < 3  # 63 is light of 0.247


def test_stripping_a_wide_profile_converts_to_srgb(folder):
    wide = profile(2.2, (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), grey=False)
    Image.new("RGB", (32, 32), (100, 200, 100)).save("wide.png", icc_profile=wide)
    result = run("compress", "wide.png", "--strip=icc", "--quality", 90)
    assert "its colours were converted from its ICC profile to sRGB" in result.stderr
    run("decompress", "wide.gdn")
    with Image.open("wide.decoded.png") as back:
        red, green, _ = np.asarray(back).reshape(-1, 3).mean(axis=0)
    assert red < 60  # outside of sRGB: less red
    assert green > 195


def with_place(image):
    exif = Image.Exif()
    exif[DESCRIPTION] = "a house"
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 12.25)
    return saved(image, "JPEG", exif=exif).getvalue(), exif.tobytes()


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_the_place_alone_is_left_out(folder, image, command):
    data, block = with_place(image)
    (folder / "house.jpg").write_bytes(data)
    place = struct.pack("<II", 1225, 100)
    assert place in block or place[::-1] in block or struct.pack(">II", 49, 4) in block
    strip = ["--strip=gps"]
    run("compress", "house.jpg", *(strip if command == "compress" else []))
    run("decompress", "house.gdn", "-o", "b.jpg", *(strip if command == "decompress" else []))
    with Image.open("b.jpg") as back:
        exif = back.getexif()
        assert exif[DESCRIPTION] == "a house"
        assert not exif.get_ifd(GPS)
        for order in "<>":
            for number in ((49, 4), (1225, 100), (52, 1)):
                assert struct.pack(f"{order}II", *number) not in back.info["exif"]


def test_an_unknown_thing_to_strip_is_a_usage_error(folder):
    result = run("compress", "img.png", "--strip=faces", code=2)
    assert "cannot strip faces; choose from all, icc, exif, xmp, gps" in result.stderr
    assert names(folder) == ["img.png"]


# Writing


def test_exif_that_is_too_large_for_jpeg_is_left_out_with_a_note(folder, image):
    exif = Image.Exif()
    exif[DESCRIPTION] = "m" * 70000
    image.save("e.png", exif=exif)
    run("compress", "e.png")
    result = run("decompress", "e.gdn", "-o", "e.jpg")
    assert result.stderr == "e.gdn: note: JPEG does not keep the exif\n"
    with Image.open("e.jpg") as back:
        assert "exif" not in back.info
    run("decompress", "e.gdn", "-o", "e.webp")
    with Image.open("e.webp") as back:
        assert back.getexif()[DESCRIPTION] == "m" * 70000


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "TIFF", "WEBP", "JPEG2000", "BMP", "PPM", "GIF"])
@pytest.mark.parametrize(
    "block", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"junk", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_metadata_never_stop_the_writing(image, suffix, block):
    image.info = {"exif": block, "icc_profile": b"no profile", "xmp": b"\xff\xfe<x", "dpi": "many"}
    data, _ = encoded(image, suffix)
    with Image.open(io.BytesIO(data)) as back:
        assert back.size == image.size


def test_the_quality_of_the_output_and_full_colour_resolution(folder):
    run("compress", "img.png", "--quality", 90)
    run("decompress", "img.gdn", "-o", "a.jpg")
    run("decompress", "img.gdn", "-o", "b.jpg", "--output-quality", 30)
    assert (folder / "b.jpg").stat().st_size < 0.5 * (folder / "a.jpg").stat().st_size
    with Image.open("a.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # 4:4:4
    for name in ("c.png", "c.jp2"):
        result = run("decompress", "img.gdn", "-o", name, "--output-quality", 30, code=2)
        assert "takes no quality; JPEG, WebP, AVIF, HEIC and JPEG XL do" in result.stderr
        assert not (folder / name).exists()


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_counts_in_pixels_as_shown(folder, photo, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(photo).save("turned.png", exif=exif)
    run("compress", "turned.png")
    assert json.loads(run("info", "turned.gdn", "--json").stdout)["orientation"] == orientation
    run("compress", "turned.png", "--strip", "-o", "upright.gdn")
    run("decompress", "turned.gdn", "--region", "7,90,30,40", "-o", "part.png", "--strip")
    run("decompress", "turned.gdn", "-o", "whole.png", "--strip")
    with Image.open("part.png") as part, Image.open("whole.png") as whole:
        assert whole.size == ((150, 203) if orientation > 4 else (203, 150))
        expected = np.asarray(whole.crop((7, 90, 37, 130))).astype(int)
        assert np.abs(np.asarray(part) - expected).max() <= 1


# Further formats


@pytest.mark.parametrize(("package", "suffix"), [("pillow_heif", ".heic"), ("pillow_jxl", ".jxl")])
def test_formats_of_plugins_are_read_and_written(folder, image, package, suffix):
    pytest.importorskip(package)
    from gdncodec.images.formats import register_plugins

    register_plugins()
    image.save(f"in{suffix}")
    run("compress", f"in{suffix}")
    run("decompress", "in.gdn", "-o", f"out{suffix}")
    with Image.open(f"out{suffix}") as back:
        assert back.size == image.size
        error = np.asarray(back.convert("RGB")).astype(int) - np.asarray(image)
        assert np.abs(error).mean() < 12


@pytest.mark.parametrize("command", ["compress", "eval", "train"])
def test_a_format_without_its_plugin_names_the_package(folder, monkeypatch, command):
    monkeypatch.setattr("gdncodec.images.formats.register_plugins", lambda: None)
    for suffix in (".heic", ".heif"):
        monkeypatch.delitem(Image.registered_extensions(), suffix, raising=False)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    arguments = {
        "compress": ["compress", "pictures"],
        "eval": ["eval", "pictures", "--out", "results", "--anchors", ""],
        "train": ["train", "--data", "pictures", "--out", "runs", "--steps", "1"],
    }[command]
    from click.testing import CliRunner

    from gdncodec.cli import main

    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert "a.heic" in result.output
    assert "pip install 'gdncodec[formats]'" in result.output
