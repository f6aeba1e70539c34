import io
import itertools
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from gdncodec.container import ColorMode
from gdncodec.errors import ImageError
from gdncodec.images.raster import Metadata, RasterImage
from gdncodec.images.reading import from_pil, read_image
from gdncodec.images.writing import as_image, encoded, output_format, pillow_mode

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"


def to_pil(taken):
    """Return what a decoder makes of the same samples: a Pillow image with the metadata."""
    mode = pillow_mode(taken.color_mode, taken.depth, alpha=taken.alpha is not None)
    image = as_image(taken.pixels, taken.alpha, mode)
    image.info.update(taken.metadata.info)
    return image


@pytest.fixture
def exif():
    """What a camera writes, with its sub-blocks."""
    data = Image.Exif()
    data[0x0112] = 6  # orientation
    data[0x010F] = "Camera"
    data.get_ifd(0x8769)[0x829A] = (1, 250)  # exposure time
    data.get_ifd(0x8825)[1] = "N"  # latitude
    return data.tobytes()


@pytest.fixture
def transparent(photo):
    """The image as RGBA, with an alpha channel of many values."""
    alpha = np.add.outer(np.arange(150), np.arange(203)) % 256
    return Image.fromarray(np.dstack([photo, alpha.astype(np.uint8)]))


def cmyk_profile():
    """A small ICC profile from CMYK to Lab, unlike Pillow's formula."""
    text = b"test CMYK\0"
    corners = itertools.product((0, 1), repeat=4)
    colours = [
        [255 * (1 - k) * (4 - c - m - y) // 4, 128 + 40 * m - 40 * c, 128 + 40 * y]
        for c, m, y, k in corners
    ]
    ramp = bytes(range(256))
    unit = struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
    white = struct.pack(">3i", 63190, 65536, 54061)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + white,
        b"A2B0": b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + 4 * ramp
        + bytes(itertools.chain(*colours)) + 3 * ramp,
    }  # fmt: skip
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = 128 + len(table) + len(body)
    start = struct.pack(">I4xI4s4s4s12x4s", size, 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    return (start + bytes(68 - len(start)) + white).ljust(128, b"\0") + table + body


def test_whatever_a_plugin_raises_is_an_error_about_the_image(tmp_path, monkeypatch):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    for error in (RuntimeError("no frame"), NotImplementedError("no such profile")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_prepare", fail)
        with pytest.raises(ImageError, match=r"a\.png: cannot be read \(no "):
            read_image(tmp_path / "a.png")


def test_rgb_pixels_are_taken_as_they_are(photo):
    taken = from_pil(Image.fromarray(photo))
    np.testing.assert_array_equal(taken.pixels, photo)
    assert (taken.color_mode, taken.depth, taken.alpha) == (ColorMode.RGB, 8, None)
    assert not taken.notices


@pytest.mark.parametrize(
    ("mode", "comes_back_as"),
    [
        ("1", "1"), ("L", "L"), ("LA", "LA"), ("La", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"),
        ("RGBX", "RGB"), ("RGBa", "RGBA"), ("P", "RGB"), ("PA", "RGBA"), ("YCbCr", "RGB"),
        ("HSV", "RGB"),
    ],
)  # fmt: skip
def test_a_mode_comes_back_as_itself_or_as_what_it_shows(transparent, mode, comes_back_as):
    image = transparent.convert("LA").convert("La") if mode == "La" else transparent.convert(mode)
    taken = from_pil(image, exact=True)
    back = to_pil(taken)
    assert back.mode == comes_back_as
    np.testing.assert_array_equal(np.asarray(back), np.asarray(image.convert(comes_back_as)))
    assert taken.pixels.shape == (150, 203, 3)
    assert taken.pixels.dtype == np.uint8
    assert not taken.notices


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N", "I"])
def test_sixteen_bit_grey_comes_back_with_all_its_bits(mode):
    samples = np.arange(60000, dtype=np.uint16).reshape(200, 300)
    if mode == "I":
        image = Image.fromarray(samples.astype(np.int32))
    else:
        order = ">u2" if mode == "I;16B" else "<u2"
        image = Image.frombytes(mode, (300, 200), samples.astype(order).tobytes())
    assert image.mode == mode
    taken = from_pil(image)
    assert (taken.color_mode, taken.depth) == (ColorMode.GREY, 16)
    back = to_pil(taken)
    assert back.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(back), samples)


def with_transparent_colour(mode):
    image = Image.new(mode, (4, 4), 1 if mode != "RGB" else (9, 9, 9))
    image.putpixel((1, 1), 0)
    if mode == "P":
        image.putpalette([200, 0, 0, 0, 200, 0])
    image.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
    return image


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_a_transparent_colour_becomes_an_alpha_channel(mode):
    taken = from_pil(with_transparent_colour(mode))
    expected = np.full((4, 4), 255)
    expected[1, 1] = 0
    np.testing.assert_array_equal(taken.alpha, expected)
    assert taken.depth == 8
    assert to_pil(taken).mode == ("RGBA" if mode in ("P", "RGB") else "LA")
    assert bool(taken.notices) == (mode == "I;16")


def test_an_opaque_alpha_channel_is_kept(photo):
    image = Image.fromarray(photo).convert("RGBA")
    assert to_pil(from_pil(image)).mode == "RGBA"


def test_cmyk_is_converted_through_its_profile_with_a_notice(tmp_path, photo):
    image = Image.fromarray(photo).convert("CMYK")
    image.save(tmp_path / "a.jpg", icc_profile=cmyk_profile(), quality=95)
    taken = read_image(tmp_path / "a.jpg")
    assert "by its ICC profile" in taken.notices[0]
    assert not taken.metadata.icc  # it says nothing of the converted colours
    with Image.open(tmp_path / "a.jpg") as opened:
        expected = ImageCms.profileToProfile(
            opened,
            io.BytesIO(cmyk_profile()),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
        naive = np.asarray(opened.convert("RGB"))
    np.testing.assert_array_equal(taken.pixels, np.asarray(expected))
    assert np.abs(taken.pixels.astype(int) - naive).mean() > 10


@pytest.mark.parametrize("profile", [None, b"no profile", ICC])
def test_cmyk_without_a_fitting_profile_says_so(photo, profile):
    image = Image.fromarray(photo).convert("CMYK")
    if profile:
        image.info["icc_profile"] = profile
    taken = from_pil(image)
    assert "without an ICC profile" in taken.notices[0]
    np.testing.assert_array_equal(taken.pixels, np.asarray(image.convert("RGB")))


def test_lab_is_converted(photo):
    lab = ImageCms.profileToProfile(
        Image.fromarray(photo),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    taken = from_pil(lab)
    assert np.abs(taken.pixels.astype(int) - photo).mean() < 6


@pytest.mark.parametrize(
    ("suffix", "modes", "options"),
    [
        ("png", "1 L LA P RGB RGBA I;16", {}),
        ("tiff", "1 L LA P RGB RGBA I;16 CMYK", {}),
        ("tiff", "1 L RGB RGBA CMYK", {"compression": "tiff_lzw"}),
        ("webp", "RGB RGBA", {"lossless": True}),
        ("bmp", "1 L P RGB RGBA", {}),
        ("tga", "L LA P RGB RGBA", {}),
        ("ppm", "1 L RGB", {}),
        ("gif", "1 L P RGB", {}),
        ("jpg", "L RGB CMYK", {}),
        ("jp2", "L RGB RGBA I;16", {}),
        ("sgi", "L RGB RGBA", {}),
        ("pcx", "1 L P RGB", {}),
    ],
)
def test_ordinary_files_are_read_as_pillow_reads_them(
    tmp_path, transparent, suffix, modes, options
):
    if suffix == "jp2" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    for mode in modes.split():
        path = tmp_path / f"a.{suffix}"
        image = transparent.convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        image.save(path, **options)
        taken = read_image(path, exact=True)
        with Image.open(path) as opened:
            back = to_pil(taken)
            assert back.size == (203, 150)
            expected = opened if opened.mode in ("I;16", "I") else opened.convert(back.mode)
            np.testing.assert_array_equal(np.asarray(back), np.asarray(expected))
        assert bool(taken.notices) == (mode == "CMYK")


def test_a_progressive_jpeg_of_ycbcr_with_subsampling_is_ordinary(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.jpg", progressive=True, subsampling=2, quality=80)
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").pixels, np.asarray(image))


def png_of_16_bits(colour_type, channels):
    """A PNG file with 16 bits a sample, which Pillow writes for grey only."""
    import zlib

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    rows = b"".join(b"\0" + bytes(range(8 * channels)) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_depth_that_pillow_does_not_read_is_told(colour_type, channels):
    taken = read_image(io.BytesIO(png_of_16_bits(colour_type, channels)))
    assert taken.depth == 8
    assert "16 bits" in taken.notices[0]


def test_grey_of_16_bits_is_read_in_full():
    taken = read_image(io.BytesIO(png_of_16_bits(0, 1)))
    assert taken.pixels[0, 1, 0] == 0x0203
    assert not taken.notices


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_metadata_go_in_and_out_byte_for_byte(tmp_path, photo, exif, suffix):
    source = tmp_path / "camera.jpg"
    Image.fromarray(photo).save(source, exif=exif, icc_profile=ICC, xmp=XMP)
    taken = read_image(source)
    assert taken.metadata == Metadata(ICC, exif, XMP)
    assert taken.pixels.shape == photo.shape  # the orientation is a tag; pixels are untouched
    target = tmp_path / f"b{suffix}"
    target.write_bytes(encoded(to_pil(taken), output_format(target))[0])
    again = read_image(target).metadata
    assert again.icc == ICC
    if suffix == ".tiff":  # where EXIF and XMP are tags, and Pillow applies the orientation
        with Image.open(target) as image:
            assert image.getexif()[0x010F] == "Camera"
            assert image.getexif().get_ifd(0x8769)[0x829A] == (1, 250)
    else:
        assert again == taken.metadata


def test_the_tags_of_a_tiff_become_exif(tmp_path, photo, exif):
    tags = Image.Exif()
    tags.load(exif)
    del tags[0x0112]
    Image.fromarray(photo).save(tmp_path / "a.tiff", exif=tags)
    taken = read_image(tmp_path / "a.tiff")
    found = Image.Exif()
    found.load(taken.metadata.exif)
    assert set(found) & {0x010F, 0x0100, 0x0111} == {0x010F}


def test_exif_of_webp_gets_the_start_that_a_jpeg_has(tmp_path, photo, exif):
    Image.fromarray(photo).save(tmp_path / "a.webp", exif=exif[6:])
    assert read_image(tmp_path / "a.webp").metadata.exif == exif


def test_wide_gamut_pixels_and_profile_stay_together(photo):
    image = Image.fromarray(photo)
    image.info["icc_profile"] = wide_gamut()
    taken = from_pil(image)
    np.testing.assert_array_equal(taken.pixels, photo)
    assert taken.metadata == Metadata(icc=wide_gamut())
    assert to_pil(taken).info["icc_profile"] == wide_gamut()


def wide_gamut():
    """SRGB with red and blue exchanged: a profile whose conversion cannot be missed."""
    data = bytearray(ICC)
    names = [data.index(name) for name in (b"rXYZ", b"bXYZ")]
    for a, b in zip(range(names[0], names[0] + 4), range(names[1], names[1] + 4), strict=True):
        data[a], data[b] = data[b], data[a]
    return bytes(data).replace(b"sRGB", b"xRGB")


def test_strip_removes_metadata_after_applying_orientation_and_profile(tmp_path, photo):
    tags = Image.Exif()
    tags[0x0112] = 6
    description = b"s\0R\0G\0B"
    profile = wide_gamut().replace(description, b"x\0R\0G\0B")
    path = tmp_path / "a.png"
    Image.fromarray(photo).save(path, exif=tags, icc_profile=profile)
    taken = read_image(path, strip=True)
    assert taken.metadata == Metadata()
    assert taken.pixels.shape == (203, 150, 3)
    turned = np.rot90(photo, -1)
    assert np.abs(taken.pixels.astype(int) - turned[..., ::-1]).mean() < 3
    assert "sRGB" in taken.notices[0]


def test_strip_leaves_pixels_of_srgb_alone(tmp_path, photo, exif):
    data = Image.Exif()
    data[0x010F] = "Camera"
    Image.fromarray(photo).save(tmp_path / "a.png", exif=data, icc_profile=ICC)
    taken = read_image(tmp_path / "a.png", strip=True)
    assert taken.metadata == Metadata()
    np.testing.assert_array_equal(taken.pixels, photo)


def test_metadata_can_be_replaced_and_removed(photo, exif):
    before = RasterImage(photo, metadata=Metadata(icc=b"old", xmp=XMP))
    after = before.metadata.replaced({"icc_profile": None, "exif": exif[6:], "quality": 3})
    assert after == Metadata(exif=exif, xmp=XMP)
    assert before.metadata.icc == b"old"


@pytest.fixture
def animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue", "lime")]
    for suffix in ("gif", "png", "webp", "tiff"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    return tmp_path


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_an_animation_is_refused_without_a_frame(animation, suffix):
    path = animation / f"a.{suffix}"
    with pytest.raises(ImageError, match="3 frames; choose one with --frame 0 to --frame 2"):
        read_image(path)
    for frame, colour in enumerate([(255, 0, 0), (0, 0, 255), (0, 255, 0)]):
        pixel = read_image(path, frame=frame).pixels[4, 4]
        np.testing.assert_allclose(pixel.astype(int), colour, atol=4)
    for frame in (-1, 3):
        with pytest.raises(ImageError, match=f"no frame {frame}; it has 3"):
            read_image(path, frame=frame)


def test_the_only_frame_is_frame_0(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", frame=0).pixels.shape == photo.shape
    with pytest.raises(ImageError, match="no frame 1; it has 1"):
        read_image(tmp_path / "a.png", frame=1)


def test_previews_in_a_cameras_mpo_are_no_frames(tmp_path, photo):
    image = Image.fromarray(photo)
    image.save(tmp_path / "a.mpo", save_all=True, append_images=[image.resize((20, 15))])
    assert read_image(tmp_path / "a.mpo").pixels.shape == photo.shape


def test_float_samples_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    with pytest.raises(ImageError, match=r"nan\.tiff: mode F is not supported"):
        read_image(tmp_path / "nan.tiff")


@pytest.mark.parametrize("value", [-1, 65536])
def test_samples_beyond_16_bits_are_refused(value):
    with pytest.raises(ImageError, match=f"from 0 to {value}|from {value} to 0"):
        from_pil(Image.fromarray(np.array([[0, value]], np.int32)))


@pytest.mark.parametrize("content", [b"", b"no image", b"P6 0 0 255\n", None])
def test_what_is_no_image_raises_image_error(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ImageError, match="no pixels"):
        from_pil(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff", "bmp", "jp2"])
def test_an_image_truncated_anywhere_raises_image_error(tmp_path, photo, suffix):
    if suffix == "jp2" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).save(path)
    data = path.read_bytes()
    for share in (0.02, 0.3, 0.6):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError, match=f"a.{suffix}") as error:
            read_image(path)
        assert "\n" not in str(error.value)


def test_a_decompression_bomb_raises_image_error(tmp_path, monkeypatch):
    Image.new("1", (900, 900)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"the limit of 1,000; Image\.MAX_IMAGE_PIXELS raises it"):
        read_image(tmp_path / "a.png")


def test_our_own_limit_holds_before_the_pixels_are_read(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:200])
    with pytest.raises(ImageError, match="203 x 150 pixels are over the limit of 1,000"):
        read_image(tmp_path / "a.png", max_pixels=1000)


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("a.png", None, "PNG"), ("a.JPG", None, "JPEG"), ("a.jpeg", None, "JPEG"),
        ("a.webp", None, "WEBP"), ("a.tif", None, "TIFF"), ("-", "ppm", "PPM"),
        ("a.png", "jpg", "JPEG"), ("a.png", "JPEG", "JPEG"), ("a.xyz", "png", "PNG"),
    ],
)  # fmt: skip
def test_suffix_or_name_decide_the_format(tmp_path, path, name, expected):
    assert output_format(tmp_path / path, name) == expected


@pytest.mark.parametrize(
    ("path", "name"), [("a", None), ("a.xyz", None), ("a.gdn", None), ("a.png", "gdn")]
)
def test_a_type_that_cannot_be_written_is_named(tmp_path, path, name):
    with pytest.raises(ImageError, match="cannot write"):
        output_format(tmp_path / path, name)


@pytest.mark.parametrize("format_name", ["JPEG", "PPM"])
def test_transparency_is_never_lost_in_silence(transparent, format_name):
    with pytest.raises(ImageError, match="cannot keep the transparency exactly"):
        encoded(transparent, format_name)


@pytest.mark.parametrize("format_name", ["JPEG", "WEBP", "BMP"])
def test_depth_is_never_lost_in_silence(format_name):
    image = Image.new("I;16", (4, 4), 777)
    with pytest.raises(ImageError, match="no 16-bit grey"):
        encoded(image, format_name)


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "PPM"])
def test_formats_that_hold_16_bits_get_them(format_name):
    file = io.BytesIO()
    file.write(encoded(Image.new("I;16", (4, 4), 777), format_name)[0])
    assert read_image(file).pixels[2, 2, 0] == 777


def test_colour_of_16_bits_becomes_8_in_pillow():
    pixels = np.full((2, 2, 3), 0x8080, np.uint16)
    image = to_pil(RasterImage(pixels, depth=16))
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (128, 128, 128)


def test_metadata_that_a_format_cannot_hold_are_left_out_with_a_note(photo):
    exif = Image.Exif()
    exif[0x010E] = "m" * 70_000
    image = Image.fromarray(photo)
    image.info |= {"exif": exif.tobytes(), "icc_profile": b"profile"}
    data, notices = encoded(image, "JPEG")
    assert notices == ("JPEG does not keep the exif",)
    with Image.open(io.BytesIO(data)) as found:
        assert found.info["icc_profile"] == b"profile"
    assert encoded(image, "PNG")[1] == ()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format_name", ["TIFF", "AVIF", "PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("length", [7, 9, 20, 40])
def test_damaged_exif_never_stops_a_format(photo, format_name, length):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 1, "text"
    image = Image.fromarray(photo)
    image.info["exif"] = exif.tobytes()[:length] + b"\xff" * 9
    with Image.open(io.BytesIO(encoded(image, format_name)[0])) as found:
        assert found.size == image.size
