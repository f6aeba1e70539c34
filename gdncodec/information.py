"""What the header and the chunks of a ``.gdn`` file say about it."""

from __future__ import annotations

from dataclasses import dataclass

from gdncodec.catalog import find_model_for
from gdncodec.container import ChunkType, unpack
from gdncodec.errors import ModelError
from gdncodec.images.writing import pillow_mode

__all__ = ["Info", "info_of"]


@dataclass(frozen=True)
class Info:
    """What is in a ``.gdn`` file."""

    width: int
    """Pixels, as they are stored: before the EXIF orientation is applied."""
    height: int
    mode: str
    """That of the image which :func:`gdncodec.open` returns: RGB, RGBA, L, LA, 1 or I;16."""
    depth: int
    """Bits of a sample: 8, 16, or 1 for black and white."""
    quality: float
    """0 to 100."""
    size: int
    """Bytes of the file."""
    bpp: float
    """Bits of the file for each pixel."""
    model: str | None
    """Name of the model that decodes the file; None if it is not installed."""
    metadata: tuple[str, ...]
    """Which are in the file: ``icc``, ``exif``, ``xmp``."""


def info_of(data: bytes) -> Info:
    """Return what is in the bytes of a file, after checking every CRC.

    Raises:
        FormatError: they are damaged, truncated, or not those of a ``.gdn`` file.
    """
    header, chunks = unpack(data)
    try:
        model = find_model_for(header.fingerprint).name
    except ModelError:
        model = None
    return Info(
        width=header.width,
        height=header.height,
        mode=pillow_mode(header.color_mode, header.depth, alpha=ChunkType.ALPHA in chunks),
        depth=header.depth,
        quality=header.quality,
        size=len(data),
        bpp=8 * len(data) / (header.width * header.height),
        model=model,
        metadata=tuple(ChunkType(kind).name.lower() for kind in sorted(chunks) if kind >= 128),
    )
