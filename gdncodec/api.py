"""Compressing and decompressing with the installed models."""

from __future__ import annotations

import errno
import os
import warnings
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from gdncodec.catalog import ModelEntry, find_model, find_models_for
from gdncodec.codec import MAX_PIXELS, Codec
from gdncodec.container import unpack_header
from gdncodec.errors import FormatError, ModelError, SkippedModelWarning, UsageError
from gdncodec.files import read_file, write_data
from gdncodec.images.arrays import from_array, to_array
from gdncodec.images.reading import from_pil, read_image
from gdncodec.information import Info, info_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from gdncodec.images.arrays import SupportsArray
    from gdncodec.images.raster import RasterImage

__all__ = [
    "codec_for",
    "codec_of_file",
    "compress",
    "compress_image",
    "decompress",
    "decompress_image",
    "info",
    "open_gdn",
    "save",
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
    image: Image.Image | NDArray[Any] | SupportsArray | str | os.PathLike[str],
    *,
    quality: float | None = None,
    effort: int | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str | None = None,
    exact: bool = False,
    warned: int = 3,
) -> bytes:
    """See :func:`gdncodec.compress`; ``warned`` is how far up the caller is that is warned."""
    raster = _raster(image, exact)
    for notice in raster.notices:
        warnings.warn(notice, stacklevel=warned)
    return compress_image(raster, quality=quality, effort=effort, model=model, device=device)


def _raster(image: object, exact: bool) -> RasterImage:
    if isinstance(image, Image.Image):
        return from_pil(image, exact=exact)
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image), exact=exact)
    return from_array(image, exact=exact)


def save(
    image: Image.Image | NDArray[Any] | SupportsArray | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    **how: Any,
) -> None:
    """See :func:`gdncodec.save`."""
    target = _path(path, "path")
    known = Image.registered_extensions().get(target.suffix.lower())
    if known is not None and known != "GDN":
        msg = f"path: {target} would hold .gdn data, which no image viewer opens; name it .gdn"
        raise UsageError(msg)
    if not overwrite and os.path.lexists(target):
        msg = f"{target} exists; overwrite=True replaces it"
        raise FileExistsError(errno.EEXIST, msg)
    write_data(target, compress(image, **how, warned=4), overwrite=overwrite)


def _path(value: object, name: str) -> Path:
    if not isinstance(value, str | os.PathLike):
        msg = f"{name}: expected a path, got {type(value).__name__}"
        raise UsageError(msg)
    return Path(value)


def compress_image(
    image: RasterImage,
    *,
    quality: float | None = None,
    effort: int | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> bytes:
    """Compress an image; the arguments are those of :func:`gdncodec.compress`."""
    return codec_for(find_model(os.fspath(model) if model is not None else None), device).compress(
        image, quality, effort=effort
    )


def decompress(
    data: bytes, *, device: str | None = None, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """See :func:`gdncodec.decompress`."""
    if not isinstance(data, bytes | bytearray | memoryview):
        msg = (
            f"data: expected the bytes of a .gdn file, got {type(data).__name__}; "
            "gdncodec.open(path) reads a file"
        )
        raise UsageError(msg)
    data = bytes(data)
    return to_array(_codec_of(data, device).decompress(data, max_pixels=max_pixels))


def open_gdn(source: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Image.Image:
    """See :func:`gdncodec.open`."""
    path = _path(source, "source")
    with _named(path):
        return decompress_image(read_file(path), max_pixels=max_pixels)


def info(path: str | os.PathLike[str]) -> Info:
    """See :func:`gdncodec.info`."""
    source = _path(path, "path")
    with _named(source):
        return info_of(read_file(source))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the name of a file in front of errors about what is in it."""
    try:
        yield
    except (FormatError, ModelError) as error:
        msg = f"{path}: {error}"
        raise type(error)(msg, detail=error.detail) from error


def decompress_image(
    data: bytes, *, device: str | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode a file with the installed model that it names; see :meth:`Codec.decompress_image`."""
    return _codec_of(data, device).decompress_image(data, max_pixels=max_pixels)


def _codec_of(data: bytes, device: str | None) -> Codec:
    return codec_of_file(unpack_header(data).fingerprint, device)
