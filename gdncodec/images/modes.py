"""Converts images of any Pillow mode to one of the few that are compressed."""

import io

from PIL import Image, ImageCms, ImageOps

from gdncodec.errors import ImageError

__all__ = ["as_shown", "converted", "lost_depth"]

_ORIENTATION = 0x0112

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


def as_shown(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, list[str]]:
    """Apply to the pixels what the metadata say about them: the orientation and an RGB profile.

    Args:
        image: the image.
        profile: ICC profile.

    Returns:
        The image as it should be seen, in sRGB, and notices.
    """
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if profile is None or image.mode not in ("RGB", "RGBA"):
        return image, []
    if _is_srgb(profile):
        return image, []
    shown = _to_srgb(image, profile, image.mode)
    if shown is None:
        return image, ["its ICC profile is unusable and was dropped without a conversion to sRGB"]
    return shown, ["its colours were converted from its ICC profile to sRGB"]


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
