"""Picture files to arrays and back, with what belongs to the picture."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from gdncodec.container import ChunkType, ColorMode
from gdncodec.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Picture", "from_pil", "output_format", "read_picture", "to_pil", "write_picture"]

_METADATA = {ChunkType.ICC: "icc_profile", ChunkType.EXIF: "exif", ChunkType.XMP: "xmp"}


@dataclass(frozen=True)
class Picture:
    """A picture with its metadata.

    Args:
        pixels: (H, W, 3) uint8; a grey picture has three equal channels.
        color_mode: what the picture was.
        metadata: ICC profile, EXIF and XMP as they were in the file. The EXIF orientation is kept
            as a tag and the pixels are left as they are.
    """

    pixels: "NDArray[np.uint8]"
    color_mode: ColorMode = ColorMode.RGB
    metadata: dict[ChunkType, bytes] = field(default_factory=dict)


def read_picture(path: Path) -> Picture:
    """Read a picture file.

    Raises:
        ImageError: not a picture, damaged, or of a kind that is not supported.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return from_pil(image)
    except ImageError as error:
        msg = f"{path}: {error}"
        raise ImageError(msg) from error
    except UnidentifiedImageError as error:
        msg = f"{path}: not a picture in a format that Pillow reads"
        raise ImageError(msg) from error
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise ImageError(msg) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        msg = f"{path}: cannot be read ({error})"
        raise ImageError(msg) from error


def from_pil(image: Image.Image) -> Picture:
    """Take over a Pillow image.

    Raises:
        ImageError: the image has transparency, more than 8 bits, several frames, no pixels, or a
            colour space other than grey and RGB.
    """
    # A camera's MPO holds previews beside the picture; only real animations are refused.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        msg = f"it has {getattr(image, 'n_frames', 2)} frames; save the one you want by itself"
        raise ImageError(msg)
    if not image.width or not image.height:
        msg = f"it has no pixels ({image.width} x {image.height})"
        raise ImageError(msg)
    metadata = {
        kind: bytes(value)
        for kind, key in _METADATA.items()
        if isinstance(value := image.info.get(key), bytes | bytearray) and value
    }
    opaque = _without_alpha(image)
    grey = opaque.mode in ("1", "L")
    pixels = np.asarray(opaque.convert("L").convert("RGB") if grey else opaque.convert("RGB"))
    return Picture(pixels, ColorMode.GREY if grey else ColorMode.RGB, metadata)


def _without_alpha(image: Image.Image) -> Image.Image:
    """Return the image without an alpha channel that says nothing."""
    if image.mode in ("1", "L", "RGB"):
        if "transparency" not in image.info:
            return image
        image = image.convert("LA" if image.mode != "RGB" else "RGBA")
    elif image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "RGB":
        return image
    if image.mode not in ("RGBA", "LA"):
        msg = f"mode {image.mode} is not supported; convert the picture to 8-bit RGB or grey first"
        raise ImageError(msg)
    low, _ = image.getchannel("A").getextrema()
    if low != 255:
        msg = "it has transparency, which is not supported; flatten it onto a background first"
        raise ImageError(msg)
    return image.convert("RGB" if image.mode == "RGBA" else "L")


def to_pil(picture: Picture) -> Image.Image:
    """Return a Pillow image whose ``info`` carries the metadata."""
    image = Image.fromarray(picture.pixels)
    if picture.color_mode == ColorMode.GREY:
        image = image.convert("L")
    for kind, value in picture.metadata.items():
        image.info[_METADATA[kind]] = value
    return image


def output_format(path: Path) -> str:
    """Return Pillow's format for a file name.

    Raises:
        ImageError: Pillow writes no such format.
    """
    name = Image.registered_extensions().get(path.suffix.lower())
    if name is None or name not in Image.SAVE:
        msg = f"{path}: cannot write a picture of type {path.suffix or '(no suffix)'}; try .png"
        raise ImageError(msg)
    return name


def write_picture(path: Path, picture: Picture, *, format_name: str) -> None:
    """Write a picture with its metadata.

    Raises:
        ImageError: the format cannot hold the picture.
    """
    image = to_pil(picture)
    options: dict[str, Any] = {_METADATA[k]: v for k, v in picture.metadata.items()}
    if format_name == "PNG" and "xmp" in options:
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8", "replace"))
        options["pnginfo"] = text
    if format_name in ("JPEG", "WEBP"):
        options["quality"] = 95
    try:
        image.save(path, format=format_name, **options)
    except (OSError, ValueError, KeyError) as error:
        msg = f"cannot be written as {format_name} ({error})"
        raise ImageError(msg) from error
