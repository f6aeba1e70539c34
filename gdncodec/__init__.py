"""Learned image compression with GDN transforms.

>>> import gdncodec
>>> data = gdncodec.compress("photo.png", quality=60)
>>> gdncodec.decompress(data).shape
(150, 203, 3)
>>> gdncodec.save("photo.png", "photo.gdn", quality=60)
>>> gdncodec.info("photo.gdn").quality
60.0
>>> gdncodec.open("photo.gdn").mode
'RGB'

Images are paths, Pillow images or arrays. Importing the package loads nothing else; torch is
loaded for devices and models that need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gdncodec._version import __version__
from gdncodec.errors import FormatError, GdnCodecError, ImageError, ModelError, UsageError

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from gdncodec.images.arrays import SupportsArray
    from gdncodec.information import Info

__all__ = [
    "FormatError",
    "GdnCodecError",
    "ImageError",
    "ModelError",
    "UsageError",
    "__version__",
    "compress",
    "decompress",
    "info",
    "open",
    "save",
]


def compress(
    image: Image.Image | NDArray[Any] | SupportsArray | str | os.PathLike[str],
    *,
    quality: float | None = None,
    effort: int | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str | None = None,
    exact: bool = False,
) -> bytes:
    """Compress an image.

    Args:
        image: path of an image file, a Pillow image, or an array or anything that NumPy makes one
            of: uint8 or uint16, of shape (H, W), grey; (H, W, 2), grey and alpha; (H, W, 3), RGB;
            or (H, W, 4), RGB and alpha. 16 bits stand for 0 to 65535.
        quality: 0 (smallest) to 100 (best), rounded to hundredths. None stands for 50, or for the
            only quality of a model that has one rate.
        effort: 0 to 9, how long to look for a smaller file at the same quality; None stands for 0.
        model: name of an installed model or path of a model file; None takes the default model.
        device: a torch device such as ``"cuda"``; None takes the CPU.
        exact: keep the colours below fully transparent pixels; otherwise those of the visible
            pixels are continued there, which takes fewer bytes.

    Returns:
        The bytes of a ``.gdn`` file. Mode, transparency and the ICC profile, EXIF and XMP of a
        file or Pillow image are in it. What cannot be kept is warned of.

    Raises:
        ImageError: the file cannot be read; or the image is one of several frames, has no pixels,
            or its samples are not whole numbers of up to 16 bits.
        ModelError: there is no such model, or its file is damaged.
        UsageError: an argument is out of range, or the array is of another type or shape.
    """
    from gdncodec import api

    return api.compress(
        image, quality=quality, effort=effort, model=model, device=device, exact=exact
    )


def save(
    image: Image.Image | NDArray[Any] | SupportsArray | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    quality: float | None = None,
    effort: int | None = None,
    model: str | os.PathLike[str] | None = None,
    device: str | None = None,
    exact: bool = False,
) -> None:
    """Compress an image into a file, which is written completely or not at all.

    Args:
        image: as in :func:`compress`; so are the arguments that are not explained here.
        path: of the ``.gdn`` file.
        overwrite: replace a file that exists.
        quality: 0 to 100.
        effort: 0 to 9.
        model: name or path of a model.
        device: a torch device.
        exact: keep the colours below fully transparent pixels.

    Raises:
        FileExistsError: the file exists, and ``overwrite`` is false.
        OSError: it cannot be written.
        UsageError: the name promises an image of another format.
        GdnCodecError: as in :func:`compress`.
    """
    from gdncodec import api

    api.save(
        image,
        path,
        overwrite=overwrite,
        quality=quality,
        effort=effort,
        model=model,
        device=device,
        exact=exact,
    )


def decompress(
    data: bytes, *, device: str | None = None, max_pixels: int | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decompress the bytes of a ``.gdn`` file.

    Args:
        data: what :func:`compress` returned.
        device: a torch device; None takes the CPU.
        max_pixels: refuse larger images before anything is allocated; None stands for 268,435,456
            (2**28). A short file can ask for as many, see ``docs/security.md``: half a second
            and 9 MB for each megapixel.

    Returns:
        An array such as :func:`compress` takes: (H, W) for a grey image, (H, W, 3) for RGB, with
        one channel more where the image has transparency, which is exact; uint16 for an image of
        16 bits, uint8 otherwise. Black and white are 0 and 255.

    Raises:
        FormatError: the data are damaged, truncated, too large, or not a ``.gdn`` file.
        ModelError: the model that made the file is not installed.
        UsageError: the data are not bytes.
    """
    from gdncodec import api

    limit = api.MAX_PIXELS if max_pixels is None else max_pixels
    return api.decompress(data, device=device, max_pixels=limit)


def open(source: str | os.PathLike[str], *, max_pixels: int | None = None) -> Image.Image:
    """Read a ``.gdn`` file as a Pillow image.

    Args:
        source: path of the file.
        max_pixels: as in :func:`decompress`. Pillow's own limit holds for an alpha channel, too.

    Returns:
        An image of mode RGB, RGBA, L, LA, 1 or I;16, as the original was, whose ``info`` holds its
        ICC profile, EXIF and XMP. Pillow has no mode for colour of 16 bits; :func:`decompress`
        returns all of them.

    Raises:
        OSError: the file cannot be read.
        FormatError: it is damaged, truncated, too large, or not a ``.gdn`` file.
        ModelError: the model that made it is not installed.
    """
    from gdncodec import api

    return api.open_gdn(source, api.MAX_PIXELS if max_pixels is None else max_pixels)


def info(path: str | os.PathLike[str]) -> Info:
    """Say what is in a ``.gdn`` file, without decoding it.

    Args:
        path: of the file.

    Returns:
        Its size, mode, quality, bits per pixel, model and more; see
        :class:`gdncodec.information.Info`.

    Raises:
        OSError: the file cannot be read.
        FormatError: it is damaged, truncated, or not a ``.gdn`` file.
    """
    from gdncodec import api

    return api.info(path)
