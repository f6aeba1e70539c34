"""An image in memory, with its metadata."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gdncodec.container import ColorMode
from gdncodec.images.exif import EXIF_START

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Metadata", "RasterImage", "eight_bits"]

# Names of the metadata in the ``info`` of a Pillow image, and as options of its ``save``.
_PILLOW_NAMES = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}


@dataclass(frozen=True)
class Metadata:
    r"""The metadata of an image file; each is empty if the file has none.

    Args:
        icc: ICC profile.
        exif: EXIF block as in a JPEG's APP1 segment, which starts with ``Exif\\0\\0``; these
            bytes are added if they are missing.
        xmp: XMP packet.
    """

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""

    def __post_init__(self) -> None:
        if self.exif and not self.exif.startswith(EXIF_START):
            object.__setattr__(self, "exif", EXIF_START + self.exif)

    @property
    def info(self) -> dict[str, bytes]:
        """Those that are not empty, by Pillow's names."""
        return {name: value for key, name in _PILLOW_NAMES.items() if (value := getattr(self, key))}

    @classmethod
    def of_pillow(cls, info: Mapping[Any, Any]) -> Metadata:
        """Take the metadata from the ``info`` of a Pillow image, where they are bytes."""
        found = {key: info.get(name) for key, name in _PILLOW_NAMES.items()}
        return cls(**{k: bytes(v) for k, v in found.items() if isinstance(v, bytes | bytearray)})

    def replaced(self, options: Mapping[str, Any]) -> Metadata:
        """Return the metadata with some of them replaced.

        Args:
            options: may hold ``icc_profile``, ``exif`` and ``xmp``, as Pillow's ``save`` takes
                them; None or an empty value removes one.
        """
        values: dict[str, bytes] = {}
        for key in (f.name for f in fields(self)):
            value = options.get(_PILLOW_NAMES[key], getattr(self, key))
            values[key] = bytes(
                (value.tobytes() if isinstance(value, Image.Exif) else value) or b""
            )
        return Metadata(**values)


@dataclass(frozen=True)
class RasterImage:
    """An image with its metadata.

    Args:
        pixels: (H, W, 3) uint8, or uint16 if the depth is 16; a grey image has three equal
            channels, and may be read-only.
        color_mode: of the source image.
        metadata: as in the file. The EXIF orientation is kept as a tag, and not applied to the
            pixels.
        depth: bits per sample of the source image: 8, 16, or 1 for black and white.
        alpha: (H, W) uint8, or None for an image without transparency.
        notices: what of the source was not kept, one line each.
        damage: why the source could be read in part only, and nevertheless was; usually empty.
    """

    pixels: NDArray[Any]
    color_mode: ColorMode = ColorMode.RGB
    metadata: Metadata = field(default_factory=Metadata)
    depth: int = 8
    alpha: NDArray[np.uint8] | None = None
    notices: tuple[str, ...] = ()
    damage: str = ""


def eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return uint8 or uint16 samples as uint8; 65535 becomes 255, and halves are rounded up."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
