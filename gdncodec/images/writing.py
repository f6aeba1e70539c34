"""Converts decoded images to Pillow images, and to the bytes of files."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gdncodec.container import ColorMode
from gdncodec.errors import ImageError, UsageError
from gdncodec.images import exif as exif_blocks
from gdncodec.images.formats import missing_plugin, register_plugins
from gdncodec.images.raster import Metadata, eight_bits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["as_image", "encoded", "output_format", "pillow_mode"]

# Formats in which Pillow stores alpha without loss.
_HOLD_ALPHA = {"DDS", "JPEG2000", "JXL", "PNG", "SGI", "TGA", "TIFF", "WEBP"}
_HOLD_METADATA = {"AVIF", "HEIF", "JPEG", "JXL", "PNG", "WEBP"}
_HOLD_RESOLUTION = {"BMP", "JPEG", "PNG", "TIFF"}
_HOLD_COMMENTS = {"GIF", "JPEG"}
_LOSSY = {"AVIF", "HEIF", "JPEG", "JXL", "WEBP"}
_QUALITY = 95
"""Of a lossy output: what the codec lost should not be joined by much more."""
_RESIZE = {"ICNS", "ICO"}
# What Pillow and its plugins raise on metadata or images that they cannot write.
_FAILURES = (OSError, ValueError, KeyError, TypeError, SyntaxError, struct.error)

_PNG_LEVEL = 3  # of zlib: 0.03 s instead of 0.08 for 768 x 512 pixels, and at most 2 % more bytes
_HOLD_16_BITS = {"JPEG2000", "PNG", "PPM", "TIFF"}


def pillow_mode(color_mode: ColorMode, depth: int, *, alpha: bool) -> str:
    """Return the Pillow mode of a decoded image."""
    if color_mode == ColorMode.RGB:
        return "RGBA" if alpha else "RGB"
    return "LA" if alpha else {1: "1", 8: "L", 16: "I;16"}[depth]


def as_image(pixels: NDArray[Any], alpha: NDArray[np.uint8] | None, mode: str) -> Image.Image:
    """Return pixels as a Pillow image.

    Args:
        pixels: (H, W, 3) uint8 or uint16; only the first channel of a grey image is used.
        alpha: (H, W) uint8 for the modes that have it.
        mode: as :func:`pillow_mode` gives it. Pillow has no mode for 16-bit colour, nor for
            16-bit grey with transparency: these are reduced to 8 bits.
    """
    if mode == "I;16":
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
    if pixels.dtype == np.uint16:
        pixels = eight_bits(pixels)
    if mode in ("1", "L"):
        grey = pixels[..., 0]
        return Image.fromarray(grey >= 128 if mode == "1" else np.ascontiguousarray(grey))
    if alpha is not None:
        pixels = np.dstack([pixels[..., :1] if mode == "LA" else pixels, alpha])
    return Image.fromarray(np.ascontiguousarray(pixels))


def output_format(path: Path, name: str | None = None) -> str:
    """Return Pillow's name of the format to write.

    Args:
        path: output; its suffix determines the format.
        name: name of a format, or a suffix without its dot, which takes precedence.

    Raises:
        ImageError: Pillow writes no such format.
    """
    register_plugins()
    suffix = f".{name}" if name else path.suffix
    found = Image.registered_extensions().get(suffix.lower(), (name or "").upper())
    if found not in Image.SAVE or found == "GDN" or found in _RESIZE:
        what = name or path.suffix or "(no suffix)"
        why = missing_plugin(suffix) or f"cannot write an image of type {what}; try .png"
        msg = f"{path}: {why}"
        raise ImageError(msg)
    return found


def encoded(
    image: Image.Image, format_name: str, quality: float | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """Return a decoded image as the bytes of a file, with the metadata in its ``info``.

    In memory, because Pillow does not notice if the end of a file does not fit on the disk.

    Args:
        image: the image.
        format_name: Pillow's name of the format.
        quality: of a lossy format, 1 to 100; None takes 95.

    Returns:
        The bytes, and what the format does not keep, one line each.

    Raises:
        ImageError: the format cannot hold the image.
        UsageError: the format takes no quality.
    """
    if quality is not None and format_name not in _LOSSY:
        msg = f"{format_name} takes no quality; JPEG, WebP, AVIF, HEIC and JPEG XL do"
        raise UsageError(msg)
    if image.mode in ("LA", "RGBA") and format_name not in _HOLD_ALPHA:
        msg = f"{format_name} cannot keep the transparency exactly; write PNG, TIFF or WebP"
        raise ImageError(msg)
    if image.mode == "I;16" and format_name not in _HOLD_16_BITS:
        msg = f"{format_name} holds no 16-bit grey; write PNG, TIFF or PPM"
        raise ImageError(msg)
    options: dict[str, Any] = {**Metadata.of_pillow(image.info).info}
    lost = set() if format_name in _HOLD_METADATA else {*options}
    if format_name == "TIFF":
        lost &= {"xmp"}
    if format_name == "PNG" and "xmp" in options:
        text = PngInfo()
        try:
            text.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8"))
            options["pnginfo"] = text
        except UnicodeDecodeError:
            lost.add("xmp")
    for key in lost:
        options.pop(key, None)
    options |= _settings(format_name, quality, exif_blocks.resolution(options.get("exif", b"")))
    comment = exif_blocks.comment(options.get("exif", b""))
    if comment and format_name in _HOLD_COMMENTS:
        options["comment"] = comment.encode()
    elif comment and format_name == "PNG":
        text = options.setdefault("pnginfo", PngInfo())
        text.add_itxt("Comment", comment)
    metadata = [
        key for key in ("exif", "icc_profile", "xmp", "pnginfo", "comment") if key in options
    ]
    # If Pillow fails, as on damaged EXIF or on more than a JPEG can hold, try without each of the
    # metadata, and then without any.
    for left_out in dict.fromkeys([(), *((key,) for key in metadata), tuple(metadata)]):
        try:
            data = _saved(image, format_name, {k: options[k] for k in options if k not in left_out})
        except _FAILURES as error:
            failure = error
            continue
        lost |= {"xmp" if key == "pnginfo" else key for key in left_out}
        return data, tuple(f"{format_name} does not keep the {key}" for key in sorted(lost))
    msg = f"cannot be written as {format_name} ({failure})"
    raise ImageError(msg) from failure


def _settings(
    format_name: str, quality: float | None, resolution: tuple[float, float] | None
) -> dict[str, Any]:
    """Return the options of Pillow's ``save`` that are no metadata."""
    settings: dict[str, Any] = {}
    if format_name == "PNG":
        settings["compress_level"] = _PNG_LEVEL
    if resolution and format_name in _HOLD_RESOLUTION:
        settings["dpi"] = resolution
    if format_name in _LOSSY:
        settings["quality"] = round(_QUALITY if quality is None else quality)
    if format_name == "JPEG":
        settings["subsampling"] = "4:4:4"
    return settings


def _saved(image: Image.Image, format_name: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format_name, **options)
    return file.getvalue()
