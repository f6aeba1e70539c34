"""Reads image files into arrays, with their metadata."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from gdncodec.container import ColorMode
from gdncodec.errors import ImageError, one_line
from gdncodec.images.described import described, hidden_chunks
from gdncodec.images.formats import missing_plugin, register_plugins
from gdncodec.images.modes import converted, lost_depth
from gdncodec.images.raster import Metadata, RasterImage, eight_bits
from gdncodec.images.stripping import STRIPPED, stripped
from gdncodec.images.transparency import cleaned

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

__all__ = ["from_pil", "read_image"]

# What Pillow and its plugins raise on damaged files.
_DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
)

_STRIP = 256
"""Rows that are copied at a time between Pillow's memory and arrays."""


def read_image(
    source: Path | BinaryIO,
    *,
    frame: int | None = None,
    strip: bool | Collection[str] = False,
    exact: bool = False,
    max_pixels: int | None = None,
    accept_truncated: bool = False,
) -> RasterImage:
    """Read an image file.

    Args:
        source: path, or an open binary file.
        frame: which image of a file with several, from 0.
        strip: leave out metadata, after applying them to the pixels: the EXIF orientation, and the
            ICC profile by a conversion to sRGB. All of them, or some of
            :data:`~gdncodec.images.stripping.STRIPPED`.
        exact: keep the colours below fully transparent pixels; otherwise those of the visible
            pixels are continued there, which takes fewer bytes.
        max_pixels: refuse larger images before anything is allocated.
        accept_truncated: take what Pillow can read of a file that ends early, or is damaged; the
            rest is grey or black. Sets Pillow's ``LOAD_TRUNCATED_IMAGES`` meanwhile.

    Raises:
        ImageError: not an image, damaged, too large, or of a kind that is not supported.
    """
    name = str(source) if isinstance(source, Path) else "the input"
    register_plugins()
    if accept_truncated:
        asked = {"frame": frame, "strip": strip, "exact": exact, "max_pixels": max_pixels}
        return _in_part(source, name, **asked)
    try:
        with Image.open(source) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                size = f"{image.width} x {image.height} pixels are"
                msg = f"{size} over the limit of {max_pixels:,}; --max-pixels raises it"
                raise ImageError(msg)
            return from_pil(image, frame=frame, strip=strip, exact=exact)
    except ImageError as error:
        msg = f"{name}: {error}"
        raise ImageError(msg) from error
    except Image.DecompressionBombError as error:  # far more pixels, as Pillow says itself
        limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
        how = "Image.MAX_IMAGE_PIXELS" if max_pixels is None else "--max-pixels"
        msg = f"{name}: more pixels than the limit of {limit:,}; {how} raises it"
        raise ImageError(msg) from error
    except UnidentifiedImageError as error:
        needed = missing_plugin(source.suffix) if isinstance(source, Path) else None
        msg = f"{name}: {needed or 'not an image in a format that Pillow reads'}"
        raise ImageError(msg) from error
    except FileNotFoundError as error:
        msg = f"{name}: no such file"
        raise ImageError(msg) from error
    except _DAMAGED as error:
        msg = f"{name}: cannot be read ({one_line(error)})"
        raise ImageError(msg) from error


def _in_part(source: Path | BinaryIO, name: str, **how: Any) -> RasterImage:
    try:
        return read_image(source, **how)
    except ImageError as error:
        reason = str(error).removeprefix(f"{name}: ")
    if not isinstance(source, Path):
        source.seek(0)
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        return replace(read_image(source, **how), damage=reason)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def from_pil(
    image: Image.Image,
    *,
    frame: int | None = None,
    strip: bool | Collection[str] = False,
    exact: bool = False,
) -> RasterImage:
    """Convert a Pillow image.

    Args:
        image: the image; its file is read if it has not been read yet.
        frame: which image of a file with several, from 0.
        strip: as in :func:`read_image`.
        exact: as in :func:`read_image`.

    Raises:
        ImageError: the image is one of several and ``frame`` does not say which, it has no pixels,
            or its samples are not integers of up to 16 bits.
    """
    _choose_frame(image, frame)
    if not image.width or not image.height:
        msg = f"it has no pixels ({image.width} x {image.height})"
        raise ImageError(msg)
    notices, chunks = lost_depth(image), hidden_chunks(image)
    image.load()
    what = frozenset(STRIPPED if strip is True else strip or ())
    if image.mode.startswith("I"):
        metadata, lost = described(image, chunks, grey=True)
        image, metadata, more = stripped(image, metadata, what)
        raster = _from_16_bits(image, metadata)
    else:
        grey = image.mode in ("1", "L", "LA", "La")
        metadata, lost = described(image, chunks, grey=grey)
        depth = 1 if image.mode == "1" and "transparency" not in image.info else 8
        taken, profile, more = converted(image, metadata.icc or None)
        metadata = replace(metadata, icc=profile or b"")
        taken, metadata, applied = stripped(taken, metadata, what)
        raster = _from_8_bits(taken, metadata, depth)
        more += applied
    told = () if what.issuperset(STRIPPED) else lost  # nothing was to be kept
    raster = replace(raster, notices=(*raster.notices, *notices, *more, *told))
    return raster if exact else cleaned(raster)


def _from_8_bits(taken: Image.Image, metadata: Metadata, depth: int) -> RasterImage:
    grey = taken.mode in ("L", "LA")
    bands = _array(taken)
    pixels = np.broadcast_to(bands[..., :1], (*bands.shape[:2], 3)) if grey else bands[..., :3]
    alpha = bands[..., -1] if taken.mode in ("LA", "RGBA") else None
    return RasterImage(pixels, ColorMode.GREY if grey else ColorMode.RGB, metadata, depth, alpha)


def _choose_frame(image: Image.Image, frame: int | None) -> None:
    frames = getattr(image, "n_frames", 1)
    if frame is not None:
        if not 0 <= frame < frames:
            msg = f"there is no frame {frame}; it has {frames}, counted from 0"
            raise ImageError(msg)
        if frames > 1:
            image.seek(frame)
    # A camera's MPO holds previews beside the image, a PSD layers that make it up.
    elif getattr(image, "is_animated", False) and image.format not in ("MPO", "PSD"):
        msg = (
            f"it has {frames} frames; choose one with --frame 0 to --frame {frames - 1}, or "
            "--frame all (in Python: seek() to it, and give a copy() of the image)"
        )
        raise ImageError(msg)


def _from_16_bits(image: Image.Image, metadata: Metadata) -> RasterImage:
    samples = _array(image)
    if samples.dtype.itemsize != 2:
        low, high = int(samples.min()), int(samples.max())
        if low < 0 or high > 65535:
            msg = f"its samples are from {low} to {high}; supported are 0 to 65535"
            raise ImageError(msg)
    samples = samples.astype(np.uint16)
    transparent = image.info.get("transparency")
    depth, alpha, notices = 16, None, []
    if isinstance(transparent, int):
        alpha = np.where(samples[..., 0] == transparent, 0, 255).astype(np.uint8)
        depth, samples = 8, eight_bits(samples)
        notices = ["16-bit grey with a transparent colour is kept with 8 bits"]
    pixels = np.broadcast_to(samples, (*samples.shape[:2], 3))
    return RasterImage(pixels, ColorMode.GREY, metadata, depth, alpha, tuple(notices))


def _array(image: Image.Image) -> NDArray[Any]:
    """Return (H, W, bands), in strips, because Pillow's own conversion holds three copies."""
    try:
        return _in_strips(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = Image.MAX_IMAGE_PIXELS
        msg = f"it is over Pillow's limit of {limit:,} pixels; Image.MAX_IMAGE_PIXELS raises it"
        raise ImageError(msg) from error


def _in_strips(image: Image.Image) -> NDArray[Any]:
    first = np.asarray(image.crop((0, 0, 1, 1)))
    array = np.empty((image.height, image.width, *first.shape[2:]), first.dtype)
    for top, bottom in _strips(image.height):
        array[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return array if array.ndim == 3 else array[..., None]


def _strips(height: int) -> Iterator[tuple[int, int]]:
    for top in range(0, height, _STRIP):
        yield top, min(top + _STRIP, height)
