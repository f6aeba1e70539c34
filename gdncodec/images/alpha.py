"""Lossless coding of the alpha channel, as the data of its chunk."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, features
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from gdncodec.container import AlphaCoding
from gdncodec.errors import FormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pack_alpha", "unpack_alpha"]

_WEBP_MAX_SIDE = 16383
_WEBP_MAX_PIXELS = 1 << 24
"""Pillow's WebP encoder takes about 40 bytes of memory per pixel; larger images use only PNG."""


def pack_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """Return the data of an alpha chunk for (H, W) uint8: the shortest of three codings."""
    low = alpha.min()
    if low == alpha.max():
        return bytes([AlphaCoding.CONSTANT, low])
    two_values = bool(((alpha == 0) | (alpha == 255)).all())
    png = io.BytesIO(bytes([AlphaCoding.PNG]))
    png.seek(1)
    Image.fromarray(alpha > 0 if two_values else alpha).save(png, "PNG", compress_level=9)
    if max(alpha.shape) > _WEBP_MAX_SIDE or alpha.size > _WEBP_MAX_PIXELS:
        return png.getvalue()
    if not features.check("webp"):
        return png.getvalue()
    webp = io.BytesIO(bytes([AlphaCoding.WEBP]))
    webp.seek(1)
    Image.fromarray(alpha).convert("RGB").save(webp, "WEBP", lossless=True)
    return min(png.getvalue(), webp.getvalue(), key=len)


def unpack_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Return the alpha channel (H, W) uint8 that :func:`pack_alpha` was given.

    Raises:
        FormatError: the data are not such a channel of this size.
    """
    try:
        coding, coded = AlphaCoding(data[0]), data[1:]
        if coding == AlphaCoding.CONSTANT:
            (value,) = coded
            return np.full((height, width), value, np.uint8)
        # Opened by their classes: Image.open would try other formats, and warn of size.
        if coding == AlphaCoding.PNG:
            image: Image.Image = PngImageFile(io.BytesIO(coded))
            size = image.size
        else:
            size = _webp_size(coded)
        if size != (width, height):
            msg = f"it has {size[0]} x {size[1]} pixels, the image {width} x {height}"
            raise ValueError(msg)
        if coding == AlphaCoding.WEBP:
            image = WebPImageFile(io.BytesIO(coded)).getchannel(0)
        elif image.mode not in ("1", "L"):
            msg = f"it is a PNG file of mode {image.mode}"
            raise ValueError(msg)
        return np.asarray(image.convert("L"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = Image.MAX_IMAGE_PIXELS
        what = f"the alpha channel is over Pillow's limit of {limit:,}"
        msg = f"{what}; Image.MAX_IMAGE_PIXELS raises it"
        raise FormatError(msg) from error
    except (OSError, ValueError, SyntaxError, LookupError, struct.error) as error:
        msg = f"the alpha channel is damaged ({error})"
        raise FormatError(msg) from error


def _webp_size(data: bytes) -> tuple[int, int]:
    """Read the size of a lossless WebP file, before its decoder allocates anything."""
    kind, signature, bits = struct.unpack_from("<12x4s4xBI", data)
    if kind != b"VP8L" or signature != 0x2F:
        msg = "it is no lossless WebP file"
        raise ValueError(msg)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
