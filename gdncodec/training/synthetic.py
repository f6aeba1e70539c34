"""Synthetic crops for training: flat colours, gradients, shapes and text, as on screens.

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
    """Draw a flat colour, a gradient, shapes or lines of text, uint8 (3, side, side).

    Colours are greys, corners of the RGB cube, or arbitrary.

    Args:
        rng: source of randomness.
        side: width and height in pixels.
    """
    image = Image.new("RGB", (side, side), _colour(rng))
    kind = rng.choices([None, _gradient, _shapes, _text], weights=[3, 2, 3, 2])[0]
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
