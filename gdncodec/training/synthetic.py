"""Synthetic crops for training: flat colours, gradients, shapes, text and patterns, as on screens.

A network trained on photographs alone does worst on these; a few synthetic crops help.
"""

import random
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

__all__ = ["draw_image"]

_SHAPES = 24
_LETTERS = string.ascii_letters + string.digits + string.punctuation + " " * 20

Colour = tuple[int, int, int]


def draw_image(rng: random.Random, side: int) -> Tensor:
    """Draw a flat colour, a gradient, shapes, text or patterns, uint8 (3, side, side).

    Patterns have details of one to three pixels: rows, columns, checks and dithering. Colours are
    greys, corners of the RGB cube, or arbitrary.

    Args:
        rng: source of randomness.
        side: width and height in pixels.
    """
    image = Image.new("RGB", (side, side), _colour(rng))
    kinds = [None, _gradient, _shapes, _text, _patterns]
    kind = rng.choices(kinds, weights=[3, 2, 3, 2, 2])[0]
    if kind:
        image = kind(rng, image)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _colour(rng: random.Random) -> Colour:
    kind = rng.random()
    if kind < 0.4:
        return (rng.randint(0, 255),) * 3
    if kind < 0.6:
        return rng.choice((0, 255)), rng.choice((0, 255)), rng.choice((0, 255))
    return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)


def _gradient(rng: random.Random, image: Image.Image) -> Image.Image:
    """Fade to another colour in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[: image.height, : image.width]
    way = rows * np.sin(angle) + columns * np.cos(angle)
    mask = Image.fromarray(np.uint8(np.round(255 * (way - way.min()) / np.ptp(way))))
    return Image.composite(Image.new("RGB", image.size, _colour(rng)), image, mask)


def _shapes(rng: random.Random, image: Image.Image) -> Image.Image:
    """Draw lines, filled boxes and ellipses."""
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(1, _SHAPES)):
        ends = [(rng.randint(-9, image.width + 9), rng.randint(-9, image.height + 9)) for _ in "ab"]
        corners = (*map(min, *ends), *map(max, *ends))
        kind = rng.random()
        if kind < 0.5:
            draw.line(ends, _colour(rng), rng.choice((1, 1, 2, 3, 6)))
        elif kind < 0.8:
            draw.rectangle(corners, _colour(rng))
        else:
            draw.ellipse(corners, _colour(rng))
    return image


def _text(rng: random.Random, image: Image.Image) -> Image.Image:
    draw, colour, size = ImageDraw.Draw(image), _colour(rng), rng.randint(9, 28)
    font = ImageFont.load_default(size)
    for top in range(rng.randint(0, size), image.height, round(1.3 * size)):
        line = "".join(rng.choices(_LETTERS, k=3 * image.width // size))
        draw.text((rng.randint(-size, size), top), line, colour, font)
    return image


def _patterns(rng: random.Random, image: Image.Image) -> Image.Image:
    """Fill boxes with rows, columns, checks or dithering of two colours, or the whole image."""
    whole = (0, 0, *image.size)
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        ends = [(rng.randint(0, image.width), rng.randint(0, image.height)) for _ in "ab"]
        corners = whole if rng.random() < 0.2 else (*map(min, *ends), *map(max, *ends))
        paper, ink = (Image.new("RGB", image.size, _colour(rng)) for _ in "ab")
        # Photographs and screens hold faint patterns more often than black on white.
        ink = Image.blend(paper, ink, rng.random() ** 2)
        pattern = Image.composite(ink, paper, _mask(rng, image.size))
        image.paste(pattern.crop(corners), corners[:2])
    return image


def _mask(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return a mask of 0 and 255 with a period of two to six pixels, or a dithered gradient."""
    rows, columns = np.mgrid[: size[1], : size[0]] // rng.choice((1, 1, 1, 2, 3))
    kind = rng.randrange(6)
    if kind == 0:
        way = rows
    elif kind == 1:
        way = columns
    elif kind == 2:
        way = rows + columns
    elif kind == 3:
        way = rows * columns
    else:  # Floyd-Steinberg's error diffusion, or ordered by Bayer's matrix
        grey = _gradient(rng, Image.new("RGB", size, _colour(rng))).convert("L")
        if kind == 4:
            return grey.convert("1").convert("L")
        bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
        return Image.fromarray(
            np.uint8(255 * (np.asarray(grey) > 16 * bayer[rows % 4, columns % 4]))
        )
    return Image.fromarray(np.uint8(255 * (way % 2)))
