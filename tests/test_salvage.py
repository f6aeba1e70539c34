"""Damaged files are used as far as they go, if that is asked for."""

import io

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import names, run
from PIL import Image, ImageFile

from gdncodec.cli import main
from gdncodec.codec import Codec
from gdncodec.container import HEADER_SIZE, ChunkType, ColorMode, pack, split_slices, unpack
from gdncodec.errors import FormatError, ImageError
from gdncodec.images.raster import Metadata, RasterImage
from gdncodec.images.reading import read_image
from gdncodec.salvage import salvage, salvage_slices
from gdncodec.tiles.geometry import Region

SIDE = 1024  # of a slice, in pixels


@pytest.fixture(scope="module")
def codec(tiny_model):
    return Codec(tiny_model)


@pytest.fixture(scope="module")
def wide(codec):
    """A file of three slices, with alpha and metadata."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 200, (32, 2 * SIDE + 80, 3), np.uint8)
    alpha = rng.integers(0, 256, pixels.shape[:2], np.uint8)
    metadata = Metadata(icc=b"profile", xmp=b"<x:xmpmeta/>")
    return codec.compress(RasterImage(pixels, metadata=metadata, alpha=alpha), 60)


def starts(data):
    """Return where the three slices begin, and where the last one ends."""
    chunk = unpack(data).chunks[ChunkType.LATENTS]
    begin = data.index(chunk)
    return np.cumsum([begin + 8, *(len(part) for part in split_slices(chunk, 3))])


def decoded(codec, data, **how):
    lines = []
    return codec.decompress_image(data, on_damage=lines.append, **how), lines


def damaged(data, at):
    data = bytearray(data)
    data[at] ^= 64
    return bytes(data)


def test_intact_files_are_as_ever(codec, wide):
    image, lines = decoded(codec, wide)
    assert lines == []
    np.testing.assert_array_equal(np.asarray(image), np.asarray(codec.decompress_image(wide)))


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_slices_that_are_intact_are_decoded_and_the_others_grey(codec, wide, lost):
    data = damaged(wide, starts(wide)[lost] + 5)
    with pytest.raises(FormatError, match="damaged"):
        codec.decompress_image(data)
    image, lines = decoded(codec, data)
    assert lines == ["1 of 3 slices are damaged, and grey in the image"]
    found, whole = np.asarray(image), np.asarray(codec.decompress_image(wide))
    for n in range(3):
        begin, end = n * SIDE, min((n + 1) * SIDE, found.shape[1])
        if n == lost:
            assert (found[:, begin:end, :3] == 128).all()
        else:  # apart from what lies within the halo of one that is lost
            inner = slice(begin + 32, end - 48)
            np.testing.assert_array_equal(found[:, inner], whole[:, inner])
    np.testing.assert_array_equal(found[..., 3], whole[..., 3])
    assert image.info == codec.decompress_image(wide).info
    pixels = codec.decompress(data, on_damage=lines.append).pixels
    np.testing.assert_array_equal(pixels, found[..., :3])


def test_files_that_end_early_give_what_they_have(codec, wide):
    one, two, three, _ = starts(wide)
    image, lines = decoded(codec, wide[: three + 2])
    assert image.mode == "RGB"  # the alpha channel was after the latents
    assert lines[0] == "the file ends before its last chunk"
    assert lines[1] == "1 of 3 slices are damaged, and grey in the image"
    assert decoded(codec, wide[:three])[1][1] == lines[1]
    assert decoded(codec, wide[: two + 1])[1][1].startswith("2 of 3")
    for end in (HEADER_SIZE, HEADER_SIZE + 9, one + 8):
        with pytest.raises(FormatError, match="damaged: no"):
            decoded(codec, wide[:end])
    with pytest.raises(FormatError, match="truncated"):
        decoded(codec, wide[: HEADER_SIZE - 1])


def test_every_truncation_and_many_flips_are_errors_of_the_package_or_images(codec, wide):
    rng = np.random.default_rng(1)
    for end in rng.integers(0, len(wide), 25):
        try_it(codec, wide[:end])
    for at in rng.integers(HEADER_SIZE, len(wide), 40):
        try_it(codec, damaged(wide, at))


def try_it(codec, data):
    try:
        image, lines = decoded(codec, data)
    except FormatError:
        return
    assert image.size == (2 * SIDE + 80, 32)
    assert lines


def test_damaged_alpha_and_metadata_are_left_out_and_named(codec, wide):
    alpha = wide.index(unpack(wide).chunks[ChunkType.ALPHA])
    image, lines = decoded(codec, damaged(wide, alpha + 30))
    assert (image.mode, lines) == ("RGB", ["the chunk ALPHA is damaged and left out"])
    image, lines = decoded(codec, damaged(wide, wide.index(b"profile")))
    assert (sorted(image.info), lines) == (["xmp"], ["the chunk ICC is damaged and left out"])
    header, chunks = unpack(wide)
    image, lines = decoded(codec, pack(header, {**chunks, ChunkType.ALPHA: b"\1rubbish"}))
    assert image.mode == "RGB"
    assert "alpha channel is damaged" in lines[0]


def test_a_region_counts_the_slices_that_it_shows(codec, wide):
    data = damaged(wide, starts(wide)[2] + 5)
    image, lines = decoded(codec, data, region=Region(10, 0, 500, 32))
    assert (image.size, lines[1:]) == ((500, 32), [])
    image, lines = decoded(codec, data, region=Region(2 * SIDE - 20, 0, 60, 32))
    assert lines == ["1 of 3 slices are damaged, and grey in the image"] or "1 of 2" in lines[0]
    assert (np.asarray(image)[:, 20:, :3] == 128).all()


@pytest.mark.parametrize(("mode", "grey"), [("1", True), ("L", 128), ("I;16", 32768)])
def test_grey_is_grey_in_every_mode(codec, mode, grey):
    depth = {"1": 1, "L": 8, "I;16": 16}[mode]
    kind = np.uint16 if depth == 16 else np.uint8
    pixels = np.zeros((16, SIDE + 16, 3), kind)
    data = codec.compress(RasterImage(pixels, ColorMode.GREY, depth=depth), 60)
    chunk = unpack(data).chunks[ChunkType.LATENTS]
    first = split_slices(chunk, 2)[0]
    image, _ = decoded(codec, damaged(data, data.index(chunk) + 4 + len(first) // 2))
    assert image.mode == mode
    found = np.asarray(image)
    assert (found[:, 100:200] == grey).all() or (found[:, SIDE:] == grey).all()


def test_lengths_that_go_beyond_the_data_lose_what_they_cannot_name():
    assert salvage_slices(b"", 1, 0) == [b""]
    assert salvage_slices(b"\3\0\0\0abcde", 2, 9) == [b"abc", b"de"]
    assert salvage_slices(b"\3\0\0\0abcd", 2, 9) == [b"abc", None]
    assert salvage_slices(b"\xff\xff\xff\xffabc", 2, 7) == [None, None]
    assert salvage_slices(b"abc", 3, 100) == [None] * 3


def test_a_damaged_header_is_never_salvaged(wide):
    with pytest.raises(FormatError):
        salvage(damaged(wide, 20), print)


def test_the_command_warns_and_has_an_exit_code_of_its_own(folder):
    Image.fromarray(np.full((32, 1100, 3), 99, np.uint8)).save("wide.png")
    run("compress", "wide.png", "-o", "wide.gdn")
    with open("wide.gdn", "rb") as file:
        data = file.read()
    (folder / "bad.gdn").write_bytes(data[:-6])
    run("decompress", "bad.gdn", code=4)
    result = CliRunner().invoke(main, ["decompress", "bad.gdn", "--ignore-errors"])
    assert result.exit_code == 7
    assert result.stdout == "bad.decoded.png: 1100 x 32\n"
    assert result.stderr.startswith("Warning: bad.gdn: ")
    assert "1 of 2 slices are damaged" in result.stderr
    with Image.open("bad.decoded.png") as image:
        assert image.getpixel((1090, 10)) == (128, 128, 128)
    run("decompress", "wide.gdn", "--ignore-errors")
    many = CliRunner().invoke(main, ["decompress", "bad.gdn", "-o", "out/", "--ignore-errors"])
    assert many.exit_code == 7
    (folder / "none.gdn").write_bytes(data[:60])
    run("decompress", "none.gdn", "--ignore-errors", code=4)
    assert "none.decoded.png" not in names(folder)


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
def test_truncated_images_are_taken_if_they_are_accepted(folder, photo, name):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG" if name.endswith("jpg") else "PNG")
    (folder / name).write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    run("compress", name, code=3)
    result = CliRunner().invoke(main, ["compress", name, "--accept-truncated"])
    assert result.exit_code == 7
    assert result.stderr.startswith(f"Warning: {name}: cannot be read (")
    assert "what could be read of it is in cut.gdn" in result.stderr
    run("decompress", "cut.gdn", "-o", "back.png")
    with Image.open("back.png") as image:
        upper = np.asarray(image)[:40].astype(int)
    assert np.abs(upper - photo[:40]).mean() < 12
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    piped = CliRunner().invoke(
        main, ["compress", "-", "--accept-truncated"], input=(folder / name).read_bytes()
    )
    assert piped.exit_code == 7
    assert piped.stdout_bytes == (folder / "cut.gdn").read_bytes()
    run("compress", "img.png", "--accept-truncated")


def test_what_is_no_image_is_none_with_the_option_either(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    with pytest.raises(ImageError):
        read_image(tmp_path / "a.png", accept_truncated=True)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
