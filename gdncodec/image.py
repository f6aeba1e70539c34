"""Picture files to arrays and back, with what belongs to the picture."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from gdncodec.container import ChunkType, ColorMode
from gdncodec.errors import ImageError
from gdncodec.modes import as_shown, converted, lost_depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Picture",
    "as_image",
    "from_pil",
    "info_of",
    "output_format",
    "pillow_mode",
    "read_picture",
    "to_pil",
    "with_metadata",
    "write_image",
]

_METADATA = {ChunkType.ICC: "icc_profile", ChunkType.EXIF: "exif", ChunkType.XMP: "xmp"}
_EXIF_START = b"Exif\0\0"

# What Pillow and its plugins raise on damaged files.
_DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    NotImplementedError,
    struct.error,
    Image.DecompressionBombError,
)

# Tags of a TIFF file that describe how its pixels are stored, or that are kept otherwise.
_TIFF_STRUCTURE = {
    *range(254, 260), 262, 263, 266, 273, 277, 278, 279, 284, 317, 320, *range(322, 326), 338, 339,
    347, 529, 530, 531, 532, 700, 34377, 34675,
}  # fmt: skip

# Formats that give alpha back exactly, as Pillow writes them.
_HOLD_ALPHA = {"DDS", "JPEG2000", "PNG", "SGI", "TGA", "TIFF", "WEBP"}
_HOLD_METADATA = {"AVIF", "JPEG", "PNG", "WEBP"}
_RESIZE = {"ICNS", "ICO"}
_HOLD_16_BITS = {"JPEG2000", "PNG", "PPM", "TIFF"}

_STRIP = 256
"""Rows that are copied at a time, between Pillow's memory and arrays."""


@dataclass(frozen=True)
class Picture:
    """A picture with its metadata.

    Args:
        pixels: (H, W, 3) uint8, or uint16 if the depth is 16; a grey picture has three equal
            channels, and may be read-only.
        color_mode: what the picture was.
        metadata: ICC profile, EXIF and XMP as they were in the file. The EXIF orientation is kept
            as a tag and the pixels are left as they are.
        depth: bits of a sample that the picture had: 8, 16, or 1 for black and white.
        alpha: (H, W) uint8, or None for a picture without transparency.
        notices: what did not come along, a line each.
    """

    pixels: "NDArray[Any]"
    color_mode: ColorMode = ColorMode.RGB
    metadata: dict[ChunkType, bytes] = field(default_factory=dict)
    depth: int = 8
    alpha: "NDArray[np.uint8] | None" = None
    notices: tuple[str, ...] = ()


def read_picture(
    source: Path | BinaryIO,
    *,
    frame: int | None = None,
    strip: bool = False,
    max_pixels: int | None = None,
) -> Picture:
    """Read a picture file.

    Args:
        source: path, or an open binary file.
        frame: which picture of a file of several, from 0.
        strip: leave the metadata behind, after applying what they say of the pixels: the EXIF
            orientation, and the ICC profile by a conversion to sRGB.
        max_pixels: refuse larger pictures before anything is allocated.

    Raises:
        ImageError: not a picture, damaged, too large, or of a kind that is not supported.
    """
    name = str(source) if isinstance(source, Path) else "the input"
    try:
        with Image.open(source) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                msg = f"{image.width} x {image.height} pixels are over the limit of {max_pixels}"
                raise ImageError(msg)
            return from_pil(image, frame=frame, strip=strip)
    except ImageError as error:
        msg = f"{name}: {error}"
        raise ImageError(msg) from error
    except UnidentifiedImageError as error:
        msg = f"{name}: not a picture in a format that Pillow reads"
        raise ImageError(msg) from error
    except FileNotFoundError as error:
        msg = f"{name}: no such file"
        raise ImageError(msg) from error
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"{name}: cannot be read ({reason})"
        raise ImageError(msg) from error


def from_pil(image: Image.Image, *, frame: int | None = None, strip: bool = False) -> Picture:
    """Take over a Pillow image.

    Args:
        image: the image; its file is read if that did not happen yet.
        frame: which picture of a file of several, from 0.
        strip: as in :func:`read_picture`.

    Raises:
        ImageError: the image is one of several and ``frame`` does not say which, it has no pixels,
            or samples that are not whole numbers of up to 16 bits.
    """
    _choose_frame(image, frame)
    if not image.width or not image.height:
        msg = f"it has no pixels ({image.width} x {image.height})"
        raise ImageError(msg)
    notices = lost_depth(image)
    image.load()
    metadata = _metadata(image)
    if strip:
        image, stripped = as_shown(image, metadata.get(ChunkType.ICC))
        metadata = {}
        notices += stripped
    if image.mode.startswith("I"):
        return _from_16_bits(image, metadata, notices)
    depth = 1 if image.mode == "1" and "transparency" not in image.info else 8
    taken, profile, more = converted(image, metadata.pop(ChunkType.ICC, None))
    if profile:
        metadata[ChunkType.ICC] = profile
    grey = taken.mode in ("L", "LA")
    bands = _array(taken)
    pixels = np.broadcast_to(bands[..., :1], (*bands.shape[:2], 3)) if grey else bands[..., :3]
    alpha = bands[..., -1] if taken.mode in ("LA", "RGBA") else None
    return Picture(
        pixels,
        ColorMode.GREY if grey else ColorMode.RGB,
        metadata,
        depth,
        alpha,
        tuple(notices + more),
    )


def _choose_frame(image: Image.Image, frame: int | None) -> None:
    frames = getattr(image, "n_frames", 1)
    if frame is not None:
        if not 0 <= frame < frames:
            msg = f"there is no frame {frame}; it has {frames}, counted from 0"
            raise ImageError(msg)
        if frames > 1:
            image.seek(frame)
    # A camera's MPO holds previews beside the picture, a PSD layers that make it up.
    elif getattr(image, "is_animated", False) and image.format not in ("MPO", "PSD"):
        msg = (
            f"it has {frames} frames; choose one with --frame 0 to --frame {frames - 1} "
            "(in Python: seek() to it, and give a copy() of the image)"
        )
        raise ImageError(msg)


def _metadata(image: Image.Image) -> dict[ChunkType, bytes]:
    found = {
        kind: bytes(value)
        for kind, key in _METADATA.items()
        if isinstance(value := image.info.get(key), bytes | bytearray) and value
    }
    if image.format == "TIFF":  # its EXIF is spread over the tags of the file
        exif = image.getexif()
        for tag in _TIFF_STRUCTURE & set(exif):
            del exif[tag]
        if len(exif):
            found[ChunkType.EXIF] = exif.tobytes()
    if ChunkType.EXIF in found:
        found[ChunkType.EXIF] = _with_start(found[ChunkType.EXIF])
    return found


def _with_start(exif: bytes) -> bytes:
    return exif if exif.startswith(_EXIF_START) else _EXIF_START + exif


def with_metadata(picture: Picture, options: dict[str, Any]) -> Picture:
    """Return the picture with other metadata.

    Args:
        picture: a picture.
        options: may hold ``icc_profile``, ``exif`` and ``xmp``, as Pillow's ``save`` takes them;
            what is None or empty is left out.
    """
    metadata = dict(picture.metadata)
    for kind, key in _METADATA.items():
        value = options.get(key, metadata.get(kind))
        if isinstance(value, Image.Exif):
            value = value.tobytes()
        metadata[kind] = bytes(value or b"")
    if metadata[ChunkType.EXIF]:
        metadata[ChunkType.EXIF] = _with_start(metadata[ChunkType.EXIF])
    return replace(picture, metadata={kind: value for kind, value in metadata.items() if value})


def info_of(chunks: Mapping[Any, bytes]) -> dict[Any, bytes]:
    """Return the metadata among the chunks, under the names that Pillow's ``info`` has for them."""
    return {key: chunks[kind] for kind, key in _METADATA.items() if kind in chunks}


def _from_16_bits(
    image: Image.Image, metadata: dict[ChunkType, bytes], notices: list[str]
) -> Picture:
    samples = _array(image)
    if samples.dtype.itemsize != 2:
        low, high = int(samples.min()), int(samples.max())
        if low < 0 or high > 65535:
            msg = f"its samples are from {low} to {high}; supported are 0 to 65535"
            raise ImageError(msg)
    samples = samples.astype(np.uint16)
    transparent = image.info.get("transparency")
    depth, alpha = 16, None
    if isinstance(transparent, int):
        alpha = np.where(samples[..., 0] == transparent, 0, 255).astype(np.uint8)
        depth, samples = 8, _reduced(samples)
        notices = [*notices, "16-bit grey with a transparent colour is kept with 8 bits"]
    pixels = np.broadcast_to(samples, (*samples.shape[:2], 3))
    return Picture(pixels, ColorMode.GREY, metadata, depth, alpha, tuple(notices))


def _array(image: Image.Image) -> "NDArray[Any]":
    """Return (H, W, bands), in strips, because Pillow's own conversion holds three copies."""
    first = np.asarray(image.crop((0, 0, 1, 1)))
    array = np.empty((image.height, image.width, *first.shape[2:]), first.dtype)
    for top, bottom in _strips(image.height):
        array[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return array if array.ndim == 3 else array[..., None]


def _strips(height: int) -> Iterator[tuple[int, int]]:
    for top in range(0, height, _STRIP):
        yield top, min(top + _STRIP, height)


def _reduced(samples: "NDArray[np.uint16]") -> "NDArray[np.uint8]":
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def pillow_mode(color_mode: ColorMode, depth: int, *, alpha: bool) -> str:
    """Return the mode that a decoded picture has as a Pillow image."""
    if color_mode == ColorMode.RGB:
        return "RGBA" if alpha else "RGB"
    return "LA" if alpha else {1: "1", 8: "L", 16: "I;16"}[depth]


def as_image(pixels: "NDArray[Any]", alpha: "NDArray[np.uint8] | None", mode: str) -> Image.Image:
    """Return pixels as a Pillow image.

    Args:
        pixels: (H, W, 3) uint8 or uint16; of a grey picture one channel is enough.
        alpha: (H, W) uint8 for the modes that have it.
        mode: as :func:`pillow_mode` gives it. Pillow has no mode for colour of 16 bits, nor for
            16-bit grey with transparency: these are reduced to 8 bits.
    """
    if mode == "I;16":
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
    if pixels.dtype == np.uint16:
        pixels = _reduced(pixels)
    if mode in ("1", "L"):
        grey = pixels[..., 0]
        return Image.fromarray(grey >= 128 if mode == "1" else np.ascontiguousarray(grey))
    if alpha is not None:
        pixels = np.dstack([pixels[..., :1] if mode == "LA" else pixels, alpha])
    return Image.fromarray(np.ascontiguousarray(pixels))


def to_pil(picture: Picture) -> Image.Image:
    """Return a Pillow image of mode 1, L, LA, I;16, RGB or RGBA, with the metadata in its info."""
    height, width, _ = picture.pixels.shape
    mode = pillow_mode(picture.color_mode, picture.depth, alpha=picture.alpha is not None)
    image = Image.new(mode, (width, height))
    for top, bottom in _strips(height):
        alpha = None if picture.alpha is None else picture.alpha[top:bottom]
        image.paste(as_image(picture.pixels[top:bottom], alpha, mode), (0, top))
    image.info.update(info_of(picture.metadata))
    return image


def output_format(path: Path, name: str | None = None) -> str:
    """Return Pillow's name of the format to write.

    Args:
        path: output, whose suffix decides.
        name: name of a format, or a suffix without its dot, that decides instead.

    Raises:
        ImageError: Pillow writes no such format.
    """
    suffix = f".{name}" if name else path.suffix
    found = Image.registered_extensions().get(suffix.lower(), (name or "").upper())
    if found not in Image.SAVE or found == "GDN" or found in _RESIZE:
        what = name or path.suffix or "(no suffix)"
        msg = f"{path}: cannot write a picture of type {what}; try .png"
        raise ImageError(msg)
    return found


def write_image(
    target: Path | BinaryIO, image: Image.Image, *, format_name: str
) -> tuple[str, ...]:
    """Write an image that was decoded, with the metadata in its info.

    Returns:
        What the format could not hold, a line each.

    Raises:
        ImageError: the format cannot hold the picture.
    """
    if image.mode in ("LA", "RGBA") and format_name not in _HOLD_ALPHA:
        msg = f"{format_name} holds no transparency; write PNG, TIFF or WebP"
        raise ImageError(msg)
    if image.mode == "I;16" and format_name not in _HOLD_16_BITS:
        msg = f"{format_name} holds no 16-bit grey; write PNG, TIFF or PPM"
        raise ImageError(msg)
    options: dict[str, Any] = {
        key: image.info[key] for key in _METADATA.values() if key in image.info
    }
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
    if format_name in ("AVIF", "JPEG", "WEBP"):
        options["quality"] = 95
    try:
        image.save(target, format=format_name, **options)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the picture
        msg = f"cannot be written as {format_name} ({error})"
        raise ImageError(msg) from error
    return tuple(f"{format_name} does not keep the {key}" for key in sorted(lost))
