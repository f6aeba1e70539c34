"""Compressing and decompressing with the installed models."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gdncodec.catalog import ModelEntry, find_model, find_models_for
from gdncodec.codec import MAX_PIXELS, Codec
from gdncodec.container import unpack_header
from gdncodec.errors import ModelError, SkippedModelWarning, UsageError
from gdncodec.files import read_file
from gdncodec.images.raster import RasterImage, eight_bits
from gdncodec.images.reading import from_pil

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "codec_for",
    "codec_of_file",
    "compress",
    "compress_image",
    "decompress",
    "decompress_image",
    "open_gdn",
]


@lru_cache(maxsize=4)
def _cached_codec(
    path: Path, changed: int, device: str | None, engine: str, threads: int | None
) -> Codec:
    return Codec(ModelEntry(path), device, engine=engine, threads=threads)


def codec_for(
    entry: ModelEntry,
    device: str | None = None,
    *,
    engine: str = "auto",
    threads: int | None = None,
) -> Codec:
    """Return a codec, the same one for the same arguments and an unchanged model file."""
    try:
        changed = entry.path.stat().st_mtime_ns
    except OSError as error:
        msg = f"{entry.path}: cannot be read ({error.strerror})"
        raise ModelError(msg) from error
    return _cached_codec(entry.path, changed, device, engine, threads)


def codec_of_file(
    fingerprint: bytes,
    device: str | None = None,
    *,
    engine: str = "auto",
    threads: int | None = None,
) -> Codec:
    """Return the codec of the installed model that a file names.

    Raises:
        ModelError: no installed model states this fingerprint, or all that do are unusable.
    """
    *others, last = find_models_for(fingerprint)
    for entry in others:
        try:
            return codec_for(entry, device, engine=engine, threads=threads)
        except ModelError as error:  # noqa: PERF203 - damaged, or with another's fingerprint
            warnings.warn(f"passed over {error}", SkippedModelWarning, stacklevel=2)
    return codec_for(last, device, engine=engine, threads=threads)


def compress(
    image: Image.Image | NDArray[Any],
    *,
    quality: float | None = None,
    effort: int | None = None,
    model: str | Path | None = None,
    device: str | None = None,
) -> bytes:
    """See :func:`gdncodec.compress`."""
    raster = (
        from_pil(image) if isinstance(image, Image.Image) else RasterImage(_checked_array(image))
    )
    for notice in raster.notices:
        warnings.warn(notice, stacklevel=3)
    return compress_image(raster, quality=quality, effort=effort, model=model, device=device)


def compress_image(
    image: RasterImage,
    *,
    quality: float | None = None,
    effort: int | None = None,
    model: str | Path | None = None,
    device: str | None = None,
) -> bytes:
    """Compress an image; the arguments are those of :func:`gdncodec.compress`."""
    return codec_for(find_model(model), device).compress(image, quality, effort=effort)


def decompress(
    data: bytes, *, device: str | None = None, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """See :func:`gdncodec.decompress`."""
    data = bytes(data)
    decoded = _codec_of(data, device).decompress(data, max_pixels=max_pixels)
    pixels = eight_bits(decoded.pixels)
    return pixels if pixels.flags.writeable else pixels.copy()


def open_gdn(path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """See :func:`gdncodec.open`."""
    return decompress_image(read_file(path), max_pixels=max_pixels)


def decompress_image(
    data: bytes, *, device: str | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode a file with the installed model that it names; see :meth:`Codec.decompress_image`."""
    return _codec_of(data, device).decompress_image(data, max_pixels=max_pixels)


def _codec_of(data: bytes, device: str | None) -> Codec:
    return codec_of_file(unpack_header(data).fingerprint, device)


def _checked_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        msg = f"expected a uint8 array (H, W, 3), got {array.dtype} {array.shape}"
        raise UsageError(msg)
    return array
