"""``.gdn`` files in Pillow.

>>> from PIL import Image
>>> import gdncodec.pillow  # registers the format
>>> with Image.open("photo.png") as photo:
...     photo.save("photo.gdn", quality=60)
>>> with Image.open("photo.gdn") as again:
...     again.getpixel((0, 0)) == gdncodec.open("photo.gdn").getpixel((0, 0))
True

``Image.open`` reads the header and the metadata; the network runs when the pixels are needed.
Pillow's limits on the size of images apply before that.

``save`` takes ``quality``, ``effort``, ``model``, ``device`` and ``exact``, as
:func:`gdncodec.compress` does, and ``exif``, ``icc_profile`` and ``xmp``, which replace those of
the image.
"""

import os
import threading
import warnings
from dataclasses import replace
from typing import IO, Any

from PIL import Image, ImageFile

from gdncodec.container import MAGIC, ChunkType, metadata_fields, outline, unpack
from gdncodec.errors import GdnCodecError, UsageError
from gdncodec.images.raster import Metadata
from gdncodec.images.reading import from_pil
from gdncodec.images.writing import pillow_mode

__all__ = ["GdnImageFile", "register"]


# One lock for all images: an image that holds a lock cannot be pickled.
_LOADING = threading.RLock()

# A fork waits for imports, which its process could not finish. It must not wait for loading: that
# may need a lock which the thread that forks has taken by then.
_IMPORTING = threading.RLock()


def _renew_lock() -> None:
    """Let a forked process load images though another thread was loading one."""
    global _LOADING
    _LOADING = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_IMPORTING.acquire,
        after_in_parent=_IMPORTING.release,
        after_in_child=_IMPORTING.release,
    )
    os.register_at_fork(after_in_child=_renew_lock)


class GdnImageFile(ImageFile.ImageFile):
    """A ``.gdn`` file that Pillow opened.

    Raises:
        OSError: the file is damaged or truncated, or its model is not installed.
    """

    format = "GDN"
    format_description = "gdncodec image"
    is_animated = False
    n_frames = 1
    _waiting = False  # for the pixels; copies and unpickled images have theirs

    def _open(self) -> None:
        assert self.fp is not None
        try:
            header, chunks = outline(self.fp)
        except GdnCodecError as error:
            raise OSError(str(error)) from error
        self._size = (header.width, header.height)
        alpha = ChunkType.ALPHA in chunks
        self._mode = pillow_mode(header.color_mode, header.depth, alpha=alpha)
        self.info.update(Metadata(**metadata_fields(chunks)).info)
        self._waiting = True

    def load(self) -> Any:
        with _LOADING:
            if self._waiting:
                self._decode()
        return super().load()

    def verify(self) -> None:
        """Check every CRC, without decoding."""
        try:
            unpack(self._whole_file())
        except GdnCodecError as error:
            raise OSError(str(error)) from error

    def _whole_file(self) -> bytes:
        if self.fp is None:
            msg = "Operation on closed image"
            raise ValueError(msg)
        self.fp.seek(0)
        return self.fp.read()

    def _decode(self) -> None:
        with _IMPORTING:
            from gdncodec.api import decompress_image

        try:
            # The size passed Pillow's own limits.
            image = decompress_image(self._whole_file(), max_pixels=self.width * self.height)
        except GdnCodecError as error:
            raise OSError(str(error)) from error
        self.im = image.im
        self._waiting = False
        if self.fp is not None and self._exclusive_fp and self._close_exclusive_fp_after_loading:
            self.fp.close()
        self.fp = None


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    from gdncodec.api import compress_image

    options: dict[str, Any] = image.encoderinfo
    try:
        raster = from_pil(image, frame=image.tell(), exact=bool(options.get("exact", False)))
        raster = replace(raster, metadata=raster.metadata.replaced(options))
        for notice in raster.notices:
            warnings.warn(notice, stacklevel=3)
        names = {"quality", "effort", "model", "device"}
        data = compress_image(raster, **{k: v for k, v in options.items() if k in names})
    except UsageError:
        raise
    except GdnCodecError as error:
        raise OSError(str(error)) from error
    fp.write(data)


def register() -> None:
    """Make Pillow open and save ``.gdn`` files; importing the module does the same."""
    Image.register_open(GdnImageFile.format, GdnImageFile, _accept)
    Image.register_save(GdnImageFile.format, _save)
    Image.register_extension(GdnImageFile.format, ".gdn")
    Image.register_mime(GdnImageFile.format, "image/x-gdn")


register()
