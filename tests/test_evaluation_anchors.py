import sys
from dataclasses import replace

import numpy as np
import pytest

from gdncodec.container import ColorMode
from gdncodec.errors import GdnCodecError
from gdncodec.evaluation.anchors import ANCHORS, find_anchor
from gdncodec.evaluation.matching import match_size
from gdncodec.evaluation.metrics import psnr_rgb
from gdncodec.images.raster import RasterImage


def find_anchor_or_skip(name):
    reason = ANCHORS[name].missing()
    if reason:
        pytest.skip(reason)
    return find_anchor(name, fast=True)


@pytest.mark.parametrize("name", ANCHORS)
def test_every_anchor_gives_more_bytes_and_a_better_image_at_a_higher_quality(name, photo):
    anchor = find_anchor_or_skip(name)
    original = RasterImage(photo[:96, :112])
    files = [anchor.encode(original, q) for q in (anchor.qualities[1], anchor.qualities[-2])]
    decoded = [anchor.decode(data) for data in files]
    assert all(pixels.shape == (96, 112, 3) and pixels.dtype == np.uint8 for pixels in decoded)
    assert len(files[0]) < len(files[1])
    assert psnr_rgb(original.pixels, decoded[0]) < psnr_rgb(original.pixels, decoded[1])


@pytest.mark.parametrize("name", ANCHORS)
def test_the_settings_of_an_anchor_and_its_library_are_on_record(name):
    anchor = find_anchor_or_skip(name)
    text = anchor.description()
    assert "Pillow" in text
    assert all(key in text for key in anchor.settings)


def test_jpeg_takes_the_better_subsampling_of_no_more_bytes(photo):
    anchor = find_anchor_or_skip("jpeg")
    original = RasterImage(photo)
    data = anchor.encode(original, 30)
    full = replace(anchor, choices=anchor.choices[:1]).encode(original, 30)
    assert len(data) <= len(full)
    assert psnr_rgb(photo, anchor.decode(data)) >= psnr_rgb(photo, anchor.decode(full))


def test_a_grey_image_is_not_coded_as_colour(photo):
    anchor = find_anchor_or_skip("jpeg")
    grey = np.repeat(photo[..., :1], 3, axis=2)
    as_grey = anchor.encode(RasterImage(grey, ColorMode.GREY), 50)
    assert len(as_grey) < len(anchor.encode(RasterImage(grey), 50))
    assert anchor.decode(as_grey).shape == grey.shape


def test_an_anchor_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(GdnCodecError, match="JPEG XL: not installed"):
        find_anchor("jxl")


def test_an_unknown_anchor_lists_the_known_ones():
    with pytest.raises(ValueError, match="no anchor named 'gif'; there are: jpeg, jpeg2000, webp"):
        find_anchor("gif")


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "webp"])
@pytest.mark.parametrize("size", [2500, 6000])
def test_a_wanted_size_is_met_within_a_few_per_cent(name, size, photo):
    anchor = find_anchor_or_skip(name)
    match = match_size(anchor, RasterImage(photo), size)
    assert len(match.data) == pytest.approx(size, rel=0.08)


def test_a_size_out_of_reach_gets_the_nearest_file(photo):
    anchor = find_anchor_or_skip("webp")
    original = RasterImage(photo)
    assert match_size(anchor, original, 10).quality == 0
    assert match_size(anchor, original, 10**6).quality == 100
