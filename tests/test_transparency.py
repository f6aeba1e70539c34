"""Colours below fully transparent pixels."""

import io

import numpy as np
import pytest
from command_line import run
from PIL import Image

import gdncodec
import gdncodec.pillow
from gdncodec.images.transparency import filled


@pytest.fixture
def cut_out(photo):
    """The photograph, visible in a disc only: (150, 203, 3) and (150, 203)."""
    rows, columns = np.mgrid[:150, :203]
    inside = (rows - 75) ** 2 + (columns - 70) ** 2 < 40**2
    return photo.copy(), np.where(inside, 255, 0).astype(np.uint8)


def visible_error(decoded, pixels, alpha):
    return np.square(np.asarray(decoded)[..., :3].astype(float) - pixels)[alpha > 0].mean()


@pytest.mark.parametrize("below", ["black", "noise"])
def test_hidden_colours_cost_next_to_nothing_and_visible_ones_gain(folder, cut_out, below):
    pixels, alpha = cut_out
    hidden = alpha == 0
    noise = np.random.default_rng(0).integers(0, 256, (hidden.sum(), 3))
    pixels[hidden] = 0 if below == "black" else noise
    Image.fromarray(np.dstack([pixels, alpha])).save("cut.png")
    run("compress", "cut.png")
    run("compress", "cut.png", "--exact", "-o", "exact.gdn")
    size, exact = ((folder / name).stat().st_size for name in ("cut.gdn", "exact.gdn"))
    assert size < (0.95 if below == "black" else 0.5) * exact
    for name in ("cut", "exact"):
        run("decompress", f"{name}.gdn", "-o", f"{name}.back.png")
    with Image.open("cut.back.png") as cleaned, Image.open("exact.back.png") as kept:
        assert visible_error(cleaned, pixels, alpha) < visible_error(kept, pixels, alpha)
        assert np.array_equal(np.asarray(cleaned)[..., 3], alpha)


def test_hidden_colours_that_continue_the_picture_stay_near_the_visible_ones(cut_out):
    pixels, alpha = cut_out
    result = filled(pixels, alpha)
    rows, columns = np.nonzero(alpha)
    near = np.zeros(alpha.shape, bool)
    near[
        max(rows.min() - 60, 0) : rows.max() + 61, max(columns.min() - 60, 0) : columns.max() + 61
    ] = True
    np.testing.assert_array_equal(result[near], pixels[near])
    far = result[:, 198:].astype(float)
    assert (
        np.abs(np.diff(far, axis=0)).mean()
        < np.abs(np.diff(pixels[:, 198:].astype(float), axis=0)).mean()
    )


def test_exact_keeps_hidden_colours(folder, cut_out):
    pixels, alpha = cut_out
    pixels[alpha == 0] = (0, 0, 250)
    Image.fromarray(np.dstack([pixels, alpha])).save("cut.png")
    run("compress", "cut.png", "--exact", "--quality", 90)
    run("decompress", "cut.gdn")
    with Image.open("cut.decoded.png") as back:
        assert np.asarray(back)[5:20, 180:200, 2].mean() > 240


@pytest.mark.parametrize("value", [0, 255])
def test_an_image_without_any_visible_pixel_becomes_grey(photo, value):
    alpha = np.full(photo.shape[:2], value, np.uint8)
    result = filled(photo, alpha)
    assert (result == 128).all() if value == 0 else result is photo


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (33, 1), (17, 65), (1100, 20)])
def test_any_shape_is_filled_smoothly(shape):
    pixels = np.zeros((*shape, 3), np.uint16)
    alpha = np.zeros(shape, np.uint8)
    pixels[0, 0], alpha[0, 0] = 40000, 255
    assert (filled(pixels, alpha) == 40000).all()


@pytest.mark.parametrize("form", ["array", "Pillow", "plugin"])
def test_programs_may_ask_for_the_hidden_colours(cut_out, form):
    pixels, alpha = cut_out
    pixels[alpha == 0] = np.random.default_rng(0).integers(0, 256, ((alpha == 0).sum(), 3))
    array = np.dstack([pixels, alpha])
    image = Image.fromarray(array)

    def size(**how):
        if form == "plugin":
            file = io.BytesIO()
            image.save(file, "GDN", **how)
            return len(file.getvalue())
        return len(gdncodec.compress(array if form == "array" else image, **how))

    assert size() < 0.5 * size(exact=True)
