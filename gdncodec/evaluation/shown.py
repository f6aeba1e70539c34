"""Decoded images as the report shows them."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gdncodec.evaluation.images import read_for_measuring
from gdncodec.measures import middle

__all__ = ["Shown", "as_webp", "cropped"]


@dataclass(frozen=True)
class Shown:
    """A decoded image.

    Args:
        image: name of the file.
        codec: label of the codec.
        target: size that was wanted, in bytes.
        quality: on the codec's own scale.
        size: bytes of the file.
        bpp: bits of the file over the pixels of the image.
        psnr: PSNR-RGB in dB.
        ms_ssim_db: MS-SSIM in dB.
        pixels: bytes of a lossless WebP file.
    """

    image: str
    codec: str
    target: int
    quality: float
    size: int
    bpp: float
    psnr: float
    ms_ssim_db: float
    pixels: bytes


def cropped(path_or_pixels: Path | bytes, share: float) -> tuple[bytes, int, int]:
    """Return the middle of an image as a lossless WebP file, with its width and height.

    Args:
        path_or_pixels: an image file, or the bytes of a lossless WebP file.
        share: part of the area to keep, at most 1.
    """
    image: Image.Image
    if isinstance(path_or_pixels, bytes):
        image = Image.open(io.BytesIO(path_or_pixels))
    else:
        image = Image.fromarray(read_for_measuring(path_or_pixels).pixels)
    width, height = (max(1, round(n * min(share, 1) ** 0.5)) for n in image.size)
    if (width, height) == image.size and isinstance(path_or_pixels, bytes):
        return path_or_pixels, width, height
    rows, columns = middle((image.height, image.width), (height, width))
    part = image.crop((columns.start, rows.start, columns.stop, rows.stop))
    return as_webp(part), width, height


def as_webp(image: Image.Image) -> bytes:
    """Return an image as a lossless WebP file."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=40, method=2, exact=True)
    return buffer.getvalue()
