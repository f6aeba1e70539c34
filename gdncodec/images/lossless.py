"""How many bytes an image takes without loss, where that may be fewer than with it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, features

from gdncodec.container import ColorMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gdncodec.images.raster import RasterImage

__all__ = ["lossless_size"]

_FLAT = 0.5
"""Share of pixels equal to their left neighbours from which an image may be a drawing. Of 51
photographs half had less than 0.1, and none had more than this."""

_EACH = 8  # of so many rows one is looked at
_MAX_SIDE = 16383  # of WebP
_MAX_PIXELS = 1 << 24
"""Larger images are not tried: Pillow's WebP encoder takes about 40 bytes of memory per pixel."""


def lossless_size(image: RasterImage) -> int | None:
    """Return the bytes of the smaller of a lossless PNG and a WebP file, without metadata.

    Returns:
        None if the image is not flat, as photographs are not, or has more than 16,777,216 pixels.
    """
    height, width = image.pixels.shape[:2]
    if image.depth == 16 or height * width > _MAX_PIXELS or max(height, width) > _MAX_SIDE:
        return None
    if not _is_flat(image):
        return None
    return min(_sizes(image))


def _is_flat(image: RasterImage) -> bool:
    rows = image.pixels[::_EACH]
    same = (rows[:, 1:] == rows[:, :-1]).all(axis=-1)
    return bool(same.size) and float(same.mean()) > _FLAT


def _sizes(image: RasterImage) -> Iterator[int]:
    grey = image.color_mode == ColorMode.GREY
    bands = image.pixels[..., :1] if grey else image.pixels
    if image.alpha is not None:
        bands = np.dstack([bands, image.alpha])
    taken = Image.fromarray(np.ascontiguousarray(bands[..., 0] if bands.shape[2] == 1 else bands))
    yield _size(taken.convert("1") if image.depth == 1 else taken, "PNG")
    if features.check("webp"):
        yield _size(taken, "WEBP", lossless=True, method=2)


def _size(image: Image.Image, name: str, **options: object) -> int:
    file = io.BytesIO()
    image.save(file, name, **options)
    return len(file.getvalue())
