"""Images as NumPy arrays: what a program gives, and what it gets back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gdncodec.container import ColorMode
from gdncodec.errors import UsageError
from gdncodec.images.raster import RasterImage, eight_bits
from gdncodec.images.transparency import cleaned

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SupportsArray", "from_array", "to_array"]

_EXPECTED = (
    "image: expected a path, a Pillow image, or an array of uint8 or uint16 of shape (H, W), "
    "(H, W, 3), (H, W, 4), or (H, W, 2) for grey with alpha"
)


class SupportsArray(Protocol):
    """What NumPy makes an array of."""

    def __array__(self) -> NDArray[Any]:
        """Return it as an array."""
        ...


def from_array(image: object, *, exact: bool = False) -> RasterImage:
    """Return an array, or anything that NumPy makes one of, as an image.

    Args:
        image: uint8 or uint16 of shape (H, W) or (H, W, 1), grey; (H, W, 2), grey and alpha;
            (H, W, 3), RGB; or (H, W, 4), RGB and alpha. Alpha of 16 bits is rounded to 8, with a
            notice where that changes it.
        exact: as in :func:`gdncodec.images.reading.read_image`.

    Raises:
        UsageError: it is none of these.
    """
    array = _checked(image)
    channels = 1 if array.ndim == 2 else array.shape[2]
    bands = array.reshape(*array.shape[:2], channels)
    grey = channels < 3
    pixels = np.broadcast_to(bands[..., :1], (*bands.shape[:2], 3)) if grey else bands[..., :3]
    alpha, notices = None, tuple[str, ...]()
    if channels in (2, 4):
        alpha = eight_bits(bands[..., -1])
        if array.dtype == np.uint16 and (bands[..., -1] != alpha.astype(np.uint16) * 257).any():
            notices = ("its alpha of 16 bits is kept with 8",)
    mode = ColorMode.GREY if grey else ColorMode.RGB
    depth = 8 * array.dtype.itemsize
    made = RasterImage(pixels, mode, depth=depth, alpha=alpha, notices=notices)
    return made if exact else cleaned(made)


def to_array(image: RasterImage) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return an image as an array of its own, such as :func:`from_array` takes.

    Args:
        image: the image; black and white gives 0 and 255.

    Returns:
        (H, W), (H, W, 2), (H, W, 3) or (H, W, 4); uint16 for a depth of 16, uint8 otherwise.
    """
    pixels = image.pixels
    if image.depth == 1:
        pixels = np.where(pixels >= 128, np.uint8(255), np.uint8(0))
    grey = image.color_mode == ColorMode.GREY
    if image.alpha is None:
        return np.array(pixels[..., 0] if grey else pixels, order="C")
    alpha = image.alpha.astype(pixels.dtype) * (257 if image.depth == 16 else 1)
    return np.dstack([pixels[..., :1] if grey else pixels, alpha.astype(pixels.dtype)])


def _checked(image: object) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if isinstance(image, bytes | bytearray | memoryview):
        msg = f"{_EXPECTED}, got {type(image).__name__}; PIL.Image.open(io.BytesIO(image)) reads it"
        raise UsageError(msg)
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"{_EXPECTED}, got {type(image).__name__} ({error})"
        raise UsageError(msg) from error
    if array.dtype == object or not array.ndim:
        msg = f"{_EXPECTED}, got {type(image).__name__}"
        raise UsageError(msg)
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        msg = f"{_EXPECTED}, got {array.dtype} {array.shape}{_how(array)}"
        raise UsageError(msg)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        how = "; numpy.moveaxis(image, 0, -1) puts its channels last" if first else ""
        msg = f"{_EXPECTED}, got {array.dtype} {array.shape}{how}"
        raise UsageError(msg)
    if not array.size:
        msg = f"image: it has no pixels, its shape is {array.shape}"
        raise UsageError(msg)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _how(array: NDArray[np.generic]) -> str:
    """Return how samples of another type become uint8."""
    if array.dtype.kind == "f":
        return "; samples from 0 to 1 become uint8 by (image * 255).round().astype('uint8')"
    if array.dtype.kind == "b":
        return "; image * numpy.uint8(255) is black and white"
    return "; samples from 0 to 255 become uint8 by image.astype('uint8')"
