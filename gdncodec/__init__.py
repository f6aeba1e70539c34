"""Learned image compression with GDN transforms.

>>> import gdncodec
>>> from pathlib import Path
>>> from PIL import Image
>>> with Image.open("photo.png") as photo:
...     data = gdncodec.compress(photo, quality=60)
>>> size = Path("photo.gdn").write_bytes(data)
>>> gdncodec.open("photo.gdn").mode
'RGB'
>>> gdncodec.decompress(data).dtype
dtype('uint8')

Importing the package loads nothing else; the first call loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gdncodec._version import __version__
from gdncodec.errors import FormatError, GdnCodecError, ImageError, ModelError, UsageError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

__all__ = [
    "FormatError",
    "GdnCodecError",
    "ImageError",
    "ModelError",
    "UsageError",
    "__version__",
    "compress",
    "decompress",
    "open",
]


def compress(
    image: Image.Image | NDArray[Any],
    *,
    quality: float | None = None,
    effort: int | None = None,
    model: str | Path | None = None,
    device: str | None = None,
) -> bytes:
    """Compress an image.

    Args:
        image: a Pillow image, or a uint8 array (H, W, 3) in RGB.
        quality: 0 (smallest) to 100 (best), rounded to hundredths. None stands for 50, or for the
            only quality of a model that has one rate.
        effort: 0 to 9, how long to look for a smaller file at the same quality; None stands for 0.
        model: name of an installed model or path of a model file; None takes the default model.
        device: a torch device such as ``"cuda"``; None takes the CPU.

    Returns:
        The bytes of a ``.gdn`` file. Mode, transparency and the ICC profile, EXIF and XMP of a
        Pillow image are in it.

    Raises:
        ImageError: the image is one of several frames, has no pixels, or its samples are not whole
            numbers of up to 16 bits.
        ModelError: there is no such model, or its file is damaged.
        UsageError: an argument is out of range, or the array is not uint8 (H, W, 3).
    """
    from gdncodec import api

    return api.compress(image, quality=quality, effort=effort, model=model, device=device)


def decompress(
    data: bytes, *, device: str | None = None, max_pixels: int | None = None
) -> NDArray[np.uint8]:
    """Decompress the bytes of a ``.gdn`` file.

    Args:
        data: what :func:`compress` returned.
        device: a torch device; None takes the CPU.
        max_pixels: refuse larger images before anything is allocated; None stands for 268,435,456
            (2**28). A short file can ask for as many, see ``docs/security.md``: half a second
            and 9 MB for each megapixel.

    Returns:
        uint8 array (H, W, 3) in RGB; three equal channels for a grey image. Transparency is left
        out, and 16 bits are rounded to 8; :func:`open` keeps both.

    Raises:
        FormatError: the data are damaged, truncated, too large, or not a ``.gdn`` file.
        ModelError: the model that made the file is not installed.
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
        ICC profile, EXIF and XMP.

    Raises:
        OSError: the file cannot be read.
        FormatError: it is damaged, truncated, too large, or not a ``.gdn`` file.
        ModelError: the model that made it is not installed.
    """
    from pathlib import Path

    from gdncodec import api

    return api.open_gdn(Path(source), api.MAX_PIXELS if max_pixels is None else max_pixels)
