import numpy as np
import pytest
from PIL import Image, ImageCms

from gdncodec.container import ChunkType, ColorMode
from gdncodec.errors import ImageError
from gdncodec.image import from_pil, output_format, read_picture, to_pil, write_picture

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"


@pytest.fixture
def exif():
    data = Image.Exif()
    data[0x0112] = 6  # orientation
    data[0x010F] = "Camera"
    return data.tobytes()


def test_rgb_pixels_are_taken_as_they_are(picture):
    taken = from_pil(Image.fromarray(picture))
    np.testing.assert_array_equal(taken.pixels, picture)
    assert taken.color_mode == ColorMode.RGB


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_comes_back_grey(picture, mode):
    image = Image.fromarray(picture).convert(mode)
    taken = from_pil(image)
    assert taken.color_mode == ColorMode.GREY
    assert taken.pixels.shape == picture.shape
    back = to_pil(taken)
    assert back.mode == "L"
    np.testing.assert_array_equal(np.asarray(back), np.asarray(image.convert("L")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_an_alpha_channel_that_says_nothing_is_dropped(picture, mode):
    image = Image.fromarray(picture).convert(mode)
    taken = from_pil(image)
    expected = image.convert("RGB")
    np.testing.assert_array_equal(taken.pixels, np.asarray(expected))


def transparent(mode):
    image = Image.new("RGBA", (4, 4), (9, 9, 9, 255))
    image.putpixel((1, 1), (0, 0, 0, 10))
    if mode == "P":
        image = Image.new("P", (4, 4))
        image.info["transparency"] = 0
        return image
    if mode == "RGB":
        image = Image.new("RGB", (4, 4))
        image.info["transparency"] = (0, 0, 0)
        return image
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_is_refused_and_never_lost(mode):
    with pytest.raises(ImageError, match="transparency"):
        from_pil(transparent(mode))


@pytest.mark.parametrize("mode", ["I;16", "F", "CMYK", "I"])
def test_an_unsupported_mode_is_named(mode):
    with pytest.raises(ImageError, match=f"mode {mode}"):
        from_pil(Image.new(mode, (4, 4)))


def test_an_animation_is_refused(tmp_path):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="2 frames"):
        read_picture(tmp_path / "a.gif")


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_what_is_no_picture_raises_image_error(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png"):
        read_picture(tmp_path / "a.png")


def test_a_truncated_picture_raises_image_error(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"a\.png"):
        read_picture(tmp_path / "a.png")


def test_a_decompression_bomb_raises_image_error(tmp_path, monkeypatch):
    Image.new("1", (900, 900)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="bomb"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_metadata_go_in_and_out_unchanged(tmp_path, picture, exif, suffix):
    source = tmp_path / f"a{suffix}"
    Image.fromarray(picture).save(source.with_suffix(".jpg"), exif=exif, icc_profile=ICC, xmp=XMP)
    taken = read_picture(source.with_suffix(".jpg"))
    assert taken.metadata[ChunkType.ICC] == ICC
    assert taken.metadata[ChunkType.XMP] == XMP
    target = tmp_path / f"b{suffix}"
    write_picture(target, taken, format_name=output_format(target))
    with Image.open(target) as image:
        image.load()
        assert image.info["icc_profile"] == ICC
        assert image.info["xmp"] == XMP
        assert image.getexif()[0x0112] == 6
        assert image.getexif()[0x010F] == "Camera"
        assert image.size == (picture.shape[1], picture.shape[0])


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.gdn"])
def test_a_type_that_cannot_be_written_is_named(tmp_path, name):
    with pytest.raises(ImageError, match="cannot write"):
        output_format(tmp_path / name)
