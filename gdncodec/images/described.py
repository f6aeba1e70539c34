"""What an image file says beside its pixels: kept, turned into what is kept, or told.

Every key in the ``info`` of a Pillow image has its place in one of the tables below. A key that has
none, such as one of a format that is not known here, is told as not kept.
"""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gdncodec.images import exif as exif_blocks
from gdncodec.images.profiles import SRGB_CHROMATICITIES, profile
from gdncodec.images.raster import Metadata
from gdncodec.images.xmp import without_what_was_dropped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from PIL import Image

__all__ = ["described", "hidden_chunks"]

# Kept as they are, or taken care of with the pixels.
_KEPT = {"exif", "icc_profile", "xmp", "XML:com.adobe.xmp", "transparency"}

# How the file stores its pixels, or how an animation is played: nothing that an image lacks.
_STORAGE = {
    "adobe", "adobe_transform", "background", "bbox", "bit_depth", "blend", "chroma", "compression",
    "default_image", "disposal", "duration", "extension", "heif", "icc_profile_type", "interlace",
    "jfif", "jfif_density", "jfif_unit", "jfif_version", "loop", "mpoffset", "nclx_profile",
    "orientation", "original_orientation", "primary", "progression", "progressive", "resolution",
    "scale", "srgb", "tiling", "timestamp", "version", "xdg_thumb",
}  # fmt: skip

# Become something that is kept.
_TURNED = {"chromaticity", "comment", "dpi", "gamma"}

# Texts of PNG files that EXIF has a tag for.
_TEXTS = {
    "Artist": 0x013B, "Author": 0x013B, "Comment": exif_blocks.COMMENT, "Copyright": 0x8298,
    "Description": 0x010E, "Software": 0x0131, "Title": 0x9C9B, "Warning": None, "Source": None,
}  # fmt: skip

# Not kept; what they are.
_DROPPED = {
    "aspect": "the shape of its pixels",
    "aux": "its auxiliary images (such as a gain map)",
    "depth_images": "its depth map",
    "entity_groups": "the groups of its images",
    "flashpix": "its FlashPix data",
    "id_section": "the text in its header",
    "metadata": "its further metadata",
    "photoshop": "its Photoshop data",
    "pixel_aspect_ratio": "the shape of its pixels",
    "thumbnails": "its thumbnails",
}
_IPTC = 0x0404
_NATURAL_GAMMA = (2.15, 2.25)
"""Exponents that mean the curve of sRGB, as most programs write them."""

# Chunks of PNG files that Pillow leaves out, besides cICP.
_CHUNKS = {
    b"cLLI": "its light levels (cLLI)",
    b"mDCV": "the colours of its mastering display (mDCV)",
    b"sBIT": "",  # how many bits of the samples are significant: storage
    b"pCAL": "its calibration (pCAL)",
    b"sCAL": "its physical scale (sCAL)",
    b"oFFs": "its position on a page (oFFs)",
}
_CICP_PRIMARIES = {
    1: SRGB_CHROMATICITIES,
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
_CICP_CURVES = {1: 2.4, 4: 2.2, 5: 2.8, 6: 2.4, 8: 1.0, 13: None, 14: 2.4, 15: 2.4}
_MAX_TEXT = 4096


def hidden_chunks(image: Image.Image) -> dict[bytes, bytes]:
    """Return the chunks before the pixels of a PNG file, which Pillow does not tell all of.

    Args:
        image: as opened; its pixels have not been read yet.
    """
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return {}
    before, chunks = file.tell(), {}
    file.seek(8)
    while len(front := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", front)
        if name in (b"IDAT", b"IEND"):
            break
        if name == b"cICP" or name in _CHUNKS:
            chunks[name] = file.read(min(length, 1 << 16))
            file.seek(max(length - (1 << 16), 0) + 4, 1)
        else:
            file.seek(length + 4, 1)
    file.seek(before)
    return chunks


def described(
    image: Image.Image, chunks: Mapping[bytes, bytes], *, grey: bool
) -> tuple[Metadata, list[str]]:
    """Return the metadata of an image that can be kept, and a notice of everything else.

    Args:
        image: the image, whose pixels have been read.
        chunks: what :func:`hidden_chunks` returned.
        grey: it is kept as grey, so a profile must be one for grey.
    """
    info = {key: value for key, value in image.info.items() if value not in (None, b"", "", [], {})}
    metadata = _kept(image, info)
    metadata, lost = _with_colours(metadata, info, chunks, grey=grey)
    metadata, more = _with_texts(
        metadata, info, from_tiff=image.format == "TIFF", jpeg=image.format in ("JPEG", "MPO")
    )
    lost += more
    xmp, claims = without_what_was_dropped(metadata.xmp)
    others = _other_images(image, info)
    lost += claims or others
    lost += [what for key, what in _DROPPED.items() if key in info and key != "photoshop"]
    if isinstance(info.get("photoshop"), dict):
        lost += ["its IPTC data"] if _IPTC in info["photoshop"] else []
        lost += [_DROPPED["photoshop"]] if info["photoshop"].keys() - {_IPTC} else []
    lost += [what for name, what in _CHUNKS.items() if what and name in chunks]
    known = _KEPT | _STORAGE | _TURNED | _DROPPED.keys() | {"mp", "sizes"}
    texts = {str(key) for key in info.keys() - known if key not in _TEXTS}
    lost += [f"its '{_short(key)}'" for key in sorted(texts - {_RAW_EXIF})]
    notices = [f"{what} is not kept" if not what.endswith("s") else f"{what} are not kept"
               for what in dict.fromkeys(lost)]  # fmt: skip
    return replace(metadata, xmp=xmp), notices


_RAW_EXIF = "Raw profile type exif"


def _short(key: str) -> str:
    return re.sub(r"\s+", " ", key)[:40]


def _kept(image: Image.Image, info: Mapping[Any, Any]) -> Metadata:
    metadata = Metadata.of_pillow(info)
    text = info.get("XML:com.adobe.xmp")
    if not metadata.xmp and isinstance(text, str):
        metadata = replace(metadata, xmp=text.encode())
    if image.format == "TIFF":  # where it is spread over the tags
        tags = image.getexif()
        for tag in _TIFF_STRUCTURE & set(tags):
            del tags[tag]
        return replace(metadata, exif=tags.tobytes()) if len(tags) else metadata
    if not metadata.exif and _RAW_EXIF in info:
        return replace(metadata, exif=image.getexif().tobytes())
    return metadata


# Tags of a TIFF file that describe how its pixels are stored, or that are kept elsewhere.
_TIFF_STRUCTURE = {
    *range(254, 260), 262, 263, 266, 273, 277, 278, 279, 284, 317, 320, *range(322, 326), 338, 339,
    347, 529, 530, 531, 532, 700, 34377, 34675,
}  # fmt: skip


def _with_colours(
    metadata: Metadata, info: Mapping[Any, Any], chunks: Mapping[bytes, bytes], *, grey: bool
) -> tuple[Metadata, list[str]]:
    """Add an ICC profile for what a PNG file says of its colours; the first of its ways counts."""
    cicp = chunks.get(b"cICP")
    if cicp and len(cicp) == 4:
        primaries, curve, matrix, full = cicp
        known = primaries in _CICP_PRIMARIES and curve in _CICP_CURVES and not matrix and full == 1
        if not known:
            return metadata, [f"its colour space (cICP {primaries}, {curve})"]
        if metadata.icc or (primaries, curve) in ((1, 1), (1, 13)):
            return metadata, []
        made = profile(_CICP_CURVES[curve], _CICP_PRIMARIES[primaries], grey=grey)
        return replace(metadata, icc=made or b""), []
    if metadata.icc or "srgb" in info or not {"gamma", "chromaticity"} & info.keys():
        return metadata, []
    gamma, xy = info.get("gamma"), info.get("chromaticity") or SRGB_CHROMATICITIES
    exponent = 1 / gamma if gamma else None
    natural = exponent is None or _NATURAL_GAMMA[0] <= exponent <= _NATURAL_GAMMA[1]
    if natural and max(abs(a - b) for a, b in zip(xy, SRGB_CHROMATICITIES, strict=True)) < 0.002:
        return metadata, []
    made = profile(None if natural else exponent, xy, grey=grey)
    if made is None or (exponent or 1) > 100:
        return metadata, ["its unusable gamma and primaries"]
    return replace(metadata, icc=made), []


def _with_texts(
    metadata: Metadata, info: Mapping[Any, Any], *, from_tiff: bool, jpeg: bool
) -> tuple[Metadata, list[str]]:
    """Add resolution, comment and texts to the EXIF block, where it has not got them."""
    found: dict[int, Any] = {}
    names: dict[int, str] = {}
    lost = []
    directory = exif_blocks.Directory.of(metadata.exif)
    present = set() if directory is None else directory.entries().keys()
    dpi: Any = info.get("dpi")
    if jpeg and info.get("jfif_unit") not in (1, 2):
        dpi = None  # what Pillow says is made up
    if exif_blocks.X_RESOLUTION not in present and not from_tiff and _is_resolution(dpi):
        found |= exif_blocks.resolution_entries((float(dpi[0]), float(dpi[1])))
        names[exif_blocks.X_RESOLUTION] = "its resolution"
    for key in ("comment", *_TEXTS):
        if key not in info:
            continue
        tag = exif_blocks.COMMENT if key == "comment" else _TEXTS[key]
        text, what = _text(info[key]), f"its {key.lower()}"
        if tag is None or tag in found or len(text) > _MAX_TEXT:
            lost.append(what)
        elif tag in present:
            lost += [what] if directory and directory.value(tag) != text else []
        elif text:
            found[tag], names[tag] = text, what
    if not found:
        return metadata, lost
    block = exif_blocks.with_entries(metadata.exif, found)
    if block is None:
        return metadata, [*lost, *names.values()]
    return replace(metadata, exif=block), lost


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    return str(value).strip("\0")


def _is_resolution(dpi: Any) -> bool:
    try:
        x, y = dpi
        return 0 < float(x) < 1e5 and 0 < float(y) < 1e5
    except (TypeError, ValueError, ZeroDivisionError):
        return False


def _other_images(image: Image.Image, info: Mapping[Any, Any]) -> Iterable[str]:
    """Return what a file holds besides its main image, where it is no animation."""
    if image.format == "MPO" and getattr(image, "n_frames", 1) > 1:
        return ["the further image in it (a preview, or a gain map)"]
    if image.format == "PSD" and getattr(image, "n_frames", 1) > 1:
        return ["what its layers hold"]
    if len(set(info.get("sizes", ()))) > 1:
        return ["what it holds in other sizes"]
    return []
