"""Converts images of any Pillow mode to one of the few that are compressed."""

import io

import numpy as np
from PIL import Image, ImageCms

from gdncodec.errors import ImageError

__all__ = ["converted", "in_srgb", "lost_depth", "upright"]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn the pixels, by the EXIF orientation."""

# The mode to which a mode is converted, if none of its colours is declared transparent.
_TAKEN_AS = {
    **dict.fromkeys(["1", "L"], "L"),
    **dict.fromkeys(["LA", "La"], "LA"),
    **dict.fromkeys(["RGB", "RGBX", "P", "YCbCr", "HSV", "LAB", "CMYK"], "RGB"),
    **dict.fromkeys(["RGBA", "RGBa", "PA"], "RGBA"),
}


def lost_depth(image: Image.Image) -> list[str]:
    """Return a notice if Pillow will reduce 16 bits to 8, as it does for all but grey images.

    Args:
        image: as opened; its pixels have not been read yet.

    Returns:
        One notice or none.
    """
    raw_modes = [str(tile[3]) for tile in getattr(image, "tile", ())]
    if image.mode in _TAKEN_AS and any(";16" in raw for raw in raw_modes):
        return ["its samples have 16 bits, of which Pillow reads 8 in images of this kind"]
    return []


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image turned as an EXIF orientation (1 to 8) says."""
    how = _TURNS.get(orientation)
    if how is None:
        return image
    turned = image.transpose(how)
    turned.info = dict(image.info)
    return turned


def in_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, list[str]]:
    """Return an image in sRGB, and notices.

    Args:
        image: of a mode that is kept as it is, with 8 or 16 bits; others are left to
            :func:`converted`.
        profile: its ICC profile, or empty.
    """
    grey = image.mode in ("L", "LA") or image.mode.startswith("I")
    if not profile or _is_srgb(profile) or not (grey or image.mode in ("RGB", "RGBA")):
        return image, []
    shown = _grey_in_srgb(image, profile) if grey else _to_srgb(image, profile, image.mode)
    if shown is None:
        return image, ["its ICC profile is unusable and was dropped without a conversion to sRGB"]
    shown.info = dict(image.info)
    return shown, ["its colours were converted from its ICC profile to sRGB"]


def _grey_in_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert grey by the curve of its profile, which may be one for grey or for RGB."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    converted_ramp = _to_srgb(ramp, profile, "RGB") or _to_srgb(ramp.convert("RGB"), profile, "RGB")
    if converted_ramp is None:
        return None
    curve = np.asarray(converted_ramp)[0, :, 1]
    if image.mode.startswith("I"):
        samples = np.asarray(image).astype(np.float64)
        levels = np.interp(samples, np.arange(256) * 257, curve * 257.0)
        return Image.fromarray(np.rint(levels).astype(np.uint16))
    first, *alpha = image.split()
    shown = first.point(curve.tolist())
    return Image.merge("LA", (shown, *alpha)) if alpha else shown


def _is_srgb(profile: bytes) -> bool:
    try:
        return "sRGB" in ImageCms.getProfileDescription(_opened(profile))
    except (OSError, ImageCms.PyCMSError):
        return False


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _to_srgb(image: Image.Image, profile: bytes, mode: str) -> Image.Image | None:
    """Return the image in sRGB, or None if the profile does not fit it."""
    try:
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, _opened(profile), srgb, outputMode=mode)
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


def converted(
    image: Image.Image, profile: bytes | None
) -> tuple[Image.Image, bytes | None, list[str]]:
    """Return an image as L, LA, RGB or RGBA.

    Args:
        image: of any mode with up to 8 bits per sample.
        profile: its ICC profile.

    Returns:
        The image; its profile, or None if it was used to convert the colours; and notices.

    Raises:
        ImageError: the mode is not supported.
    """
    mode = _TAKEN_AS.get(image.mode)
    if mode is None:
        msg = f"mode {image.mode} is not supported; convert the image to RGB or grey first"
        raise ImageError(msg)
    if "transparency" in image.info and not mode.endswith("A"):
        mode += "A"
        if image.mode == "1":
            info, image = image.info, image.convert("L")
            image.info = info
    notices = []
    if image.mode in ("CMYK", "LAB"):
        taken = _to_srgb(image, profile, "RGB") if profile and image.mode == "CMYK" else None
        how = "by its ICC profile" if taken else "without an ICC profile, so colours may shift"
        if image.mode == "CMYK":
            notices = [f"its CMYK colours were converted to sRGB {how}"]
        image, profile = taken or image, None
    return (image if image.mode == mode else image.convert(mode)), profile, notices
