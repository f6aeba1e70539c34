"""Leaving metadata out, after applying to the pixels what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gdncodec.errors import UsageError
from gdncodec.images import exif as exif_blocks
from gdncodec.images import xmp as xmp_packets
from gdncodec.images.modes import in_srgb, upright
from gdncodec.images.raster import Metadata

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["STRIPPED", "parsed", "stripped", "stripped_image"]

STRIPPED = ("icc", "exif", "xmp", "gps")
"""What can be left out."""


def parsed(text: str) -> frozenset[str]:
    """Return the names in a list such as ``gps`` or ``icc,exif``; ``all`` stands for all.

    Raises:
        UsageError: a name is not known.
    """
    names = {part.strip().lower() for part in text.split(",")} - {""}
    unknown = sorted(names - {"all", *STRIPPED})
    if unknown or not names:
        known = ", ".join(("all", *STRIPPED))
        msg = f"cannot strip {', '.join(unknown) or 'nothing'}; choose from {known}"
        raise UsageError(msg)
    return frozenset(STRIPPED if "all" in names else names)


def stripped(
    image: Image.Image, metadata: Metadata, what: frozenset[str]
) -> tuple[Image.Image, Metadata, list[str]]:
    """Leave metadata out, so that the image looks as it did with them.

    Args:
        image: the image.
        metadata: its metadata; those in its ``info`` are not looked at.
        what: some of :data:`STRIPPED`. Without ``exif`` the pixels are turned as it says; without
            ``icc`` they are converted to sRGB.

    Returns:
        The image, the metadata that are left, and notices.
    """
    notices: list[str] = []
    if "exif" in what:
        image = upright(image, exif_blocks.orientation(metadata.exif))
        metadata = replace(metadata, exif=b"", xmp=xmp_packets.without_orientation(metadata.xmp))
    if "icc" in what:
        image, notices = in_srgb(image, metadata.icc)
        metadata = replace(metadata, icc=b"")
    if "xmp" in what:
        metadata = replace(metadata, xmp=b"")
    if "gps" in what:
        exif = exif_blocks.without_gps(metadata.exif) if metadata.exif else b""
        if metadata.exif and not exif:
            notices.append("its EXIF block is damaged and was left out, as it may name a place")
        metadata = replace(metadata, exif=exif, xmp=xmp_packets.without_gps(metadata.xmp))
    return image, metadata, notices


def stripped_image(image: Image.Image, what: frozenset[str]) -> tuple[Image.Image, list[str]]:
    """Do the same to an image whose metadata are in its ``info``."""
    if not what:
        return image, []
    image, metadata, notices = stripped(image, Metadata.of_pillow(image.info), what)
    image.info.clear()
    image.info.update(metadata.info)
    return image, notices
