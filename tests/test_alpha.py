import io
import struct

import numpy as np
import pytest
from PIL import Image

from gdncodec.container import AlphaCoding
from gdncodec.errors import FormatError
from gdncodec.images import alpha as module
from gdncodec.images.alpha import pack_alpha, unpack_alpha


def examples():
    rows, columns = np.mgrid[0:60, 0:90]
    noise = np.random.default_rng(0).integers(0, 256, (60, 90), np.uint8)
    disc = (rows - 30) ** 2 + (columns - 45) ** 2 < 500
    return {
        "opaque": np.full((60, 90), 255, np.uint8),
        "one value": np.full((1, 1), 7, np.uint8),
        "two values": np.where(disc, 255, 0).astype(np.uint8),
        "ramp": (columns * 2).astype(np.uint8),
        "noise": noise,
    }


@pytest.mark.parametrize("name", examples())
def test_alpha_comes_back_exactly(name):
    alpha = examples()[name]
    data = pack_alpha(alpha)
    np.testing.assert_array_equal(unpack_alpha(data, *alpha.shape), alpha)
    assert len(data) < alpha.size + 200


def test_one_value_takes_two_bytes():
    assert pack_alpha(examples()["opaque"]) == bytes([AlphaCoding.CONSTANT, 255])


@pytest.mark.parametrize("name", ["two values", "ramp", "noise"])
def test_the_smaller_of_two_codings_is_taken(name, monkeypatch):
    alpha = examples()[name]
    chosen = pack_alpha(alpha)
    monkeypatch.setattr(module, "_WEBP_MAX_PIXELS", 0)
    png = pack_alpha(alpha)
    assert png[0] == AlphaCoding.PNG
    assert len(chosen) <= len(png)
    np.testing.assert_array_equal(unpack_alpha(png, *alpha.shape), alpha)
    if chosen[0] == AlphaCoding.WEBP:
        assert len(chosen) < len(png)


@pytest.mark.parametrize("shape", [(1, 16384), (16384, 1)])
def test_alpha_beyond_what_webp_holds_is_a_png(shape):
    alpha = np.arange(16384).reshape(shape).astype(np.uint8)
    data = pack_alpha(alpha)
    assert data[0] == AlphaCoding.PNG
    np.testing.assert_array_equal(unpack_alpha(data, *shape), alpha)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return b"\1" + file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\1\2",
        b"\3abc",
        b"\1no png",
        b"\2no webp",
        png(Image.new("L", (4, 4)))[:-30],
        png(Image.new("L", (4, 5))),
        png(Image.new("RGB", (4, 4))),
        b"\2RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", 3 | 3 << 14) + b"damaged",
        b"\2RIFF\0\0\0\0WEBPVP8 \0\0\0\0" + bytes(30),
    ],
)
def test_damaged_alpha_raises_format_error(data):
    with pytest.raises(FormatError, match="alpha channel is damaged"):
        unpack_alpha(data, 4, 4)


@pytest.mark.parametrize("name", ["two values", "ramp", "noise"])
def test_alpha_of_another_size_is_refused_before_it_is_decoded(name, monkeypatch):
    data = pack_alpha(examples()[name])
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(FormatError, match="90 x 60 pixels, the image 90 x 61"):
        unpack_alpha(data, 61, 90)
