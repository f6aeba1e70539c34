"""XMP packets, edited as text: whatever is not meant stays as it is, byte for byte."""

import re
from typing import NamedTuple

__all__ = ["without_gps", "without_orientation", "without_what_was_dropped"]


class _Claim(NamedTuple):
    """Properties that speak of something beside the main image of a file."""

    namespace: bytes
    names: bytes
    """A regular expression of the properties' names."""
    dropped: str
    """What they speak of, and what is not kept."""


_GAIN_MAP = "its gain map (HDR)"
_CLAIMS = (
    _Claim(b"http://ns.adobe.com/hdr-gain-map/1.0/", rb"\w+", _GAIN_MAP),
    _Claim(b"http://ns.apple.com/HDRGainMap/1.0/", rb"\w+", _GAIN_MAP),
    _Claim(b"http://ns.apple.com/pixeldatainfo/1.0/", rb"\w+", _GAIN_MAP),
    _Claim(b"http://ns.google.com/photos/1.0/camera/", rb"(?:Motion|Micro)\w+", "its video"),
    _Claim(b"http://ns.google.com/photos/1.0/container/", rb"Directory", ""),
    _Claim(b"http://ns.adobe.com/xmp/note/", rb"HasExtendedXMP", "the extended part of its XMP"),
)
_EXIF, _TIFF = b"http://ns.adobe.com/exif/1.0/", b"http://ns.adobe.com/tiff/1.0/"


def without_what_was_dropped(xmp: bytes) -> tuple[bytes, list[str]]:
    """Take out of a packet what it says of parts of the file that are not kept.

    Returns:
        The packet, and what was not kept, each once.
    """
    dropped: list[str] = []
    for claim in _CLAIMS:
        cleaned = _without(xmp, claim.namespace, claim.names)
        if cleaned != xmp and claim.dropped:
            dropped.append(claim.dropped)
        xmp = cleaned
    return xmp, list(dict.fromkeys(dropped))


def without_gps(xmp: bytes) -> bytes:
    """Return a packet without the place where the image was taken."""
    return _without(xmp, _EXIF, rb"GPS\w+")


def without_orientation(xmp: bytes) -> bytes:
    """Return a packet that does not say how to turn the image."""
    return _without(xmp, _TIFF, rb"Orientation")


def _without(xmp: bytes, namespace: bytes, names: bytes) -> bytes:
    """Remove the attributes and elements of a namespace whose names match.

    If all names of the namespace go, its declaration goes, too.
    """
    declared = rb"\s+xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(namespace) + rb"[\"']"
    for prefix in {re.escape(found) for found in re.findall(declared, xmp)}:
        name = prefix + rb":" + names
        xmp = re.sub(rb"\s+" + name + rb"\s*=\s*(\"[^\"]*\"|'[^']*')", b"", xmp)
        xmp = re.sub(rb"\s*<(" + name + rb")(?=[\s/>])[^>]*/>", b"", xmp)
        xmp = re.sub(rb"\s*<(" + name + rb")(?=[\s>])[^>]*(?<!/)>.*?</\1\s*>", b"", xmp, flags=re.S)
    if names == rb"\w+":
        xmp = re.sub(declared, b"", xmp)
    return xmp
