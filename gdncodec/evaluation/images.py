"""The images of an evaluation: which files, and which pixels of them."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from gdncodec.batch.inputs import find, not_image
from gdncodec.errors import ImageError
from gdncodec.images.raster import RasterImage, eight_bits
from gdncodec.images.reading import read_image

__all__ = ["file_digest", "find_images", "read_for_measuring"]

_WHITE = 255

Say = Callable[[str], None]

_Version = tuple[int, int] | None


def find_images(sources: Iterable[Path], say: Say = lambda line: None) -> list[Path]:
    """Return the image files that are named, those in folders sorted by name.

    A folder with a checksum file, ``FOLDER.sha256`` beside it or ``SHA256SUMS`` inside it (lines of
    ``sha256sum``), is a data set: it must hold exactly those files, unchanged.

    Args:
        sources: files and folders. A folder stands for the files in it whose suffix Pillow knows.
        say: called with a line about each file that is left out.

    Raises:
        ImageError: there is no such file or folder; a folder holds no image; a data set is
            absent, incomplete or changed; or two images have the same name.
    """
    found: list[Path] = []
    for source in sources:
        sums = _checksum_file(source)
        if sums:
            found += _data_set(source, sums)
        elif source.is_dir():
            found += _folder(source, say)
        elif source.exists():
            found.append(source)
        else:
            msg = f"{source}: no such file or folder"
            raise ImageError(msg)
    found = list(dict.fromkeys(found))
    names = [path.name for path in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"images are told apart by their names, and these come twice: {', '.join(twice)}"
        raise ImageError(msg)
    return found


def read_for_measuring(path: Path) -> RasterImage:
    """Read an image as 8-bit grey or RGB without metadata.

    Orientation and colour profile are applied, 16 bits are rounded to 8, and transparency becomes
    white, so that every codec gets the same samples.

    Raises:
        ImageError: the file is no image that can be read.
    """
    return _read(path, _version(path))


@lru_cache(maxsize=2)
def _read(path: Path, version: _Version) -> RasterImage:
    """Read an image; the last ones are kept, as several codecs take the same one in a row."""
    del version
    try:
        image = read_image(path, strip=True, exact=True)
    except ImageError as error:
        if not _has_frames(path):
            raise
        msg = f"{path}: it has several frames; measured are still images alone"
        raise ImageError(msg) from error
    pixels = eight_bits(image.pixels)
    if image.alpha is not None:
        share = image.alpha[..., None].astype(np.float32) / 255
        pixels = np.rint(pixels * share + _WHITE * (1 - share)).astype(np.uint8)
    return RasterImage(np.ascontiguousarray(pixels), image.color_mode)


def _has_frames(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, SyntaxError), Image.open(path) as image:
        return bool(getattr(image, "is_animated", False))
    return False


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return _digest(path, _version(path))


@lru_cache(maxsize=1 << 16)
def _digest(path: Path, version: _Version) -> str:
    del version
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _version(path: Path) -> _Version:
    """Return what changes when a file does; None without a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _checksum_file(source: Path) -> Path | None:
    beside = source.with_name(f"{source.name}.sha256") if source.name else source / "SHA256SUMS"
    for candidate in (source / "SHA256SUMS", beside):
        if not source.is_file() and candidate.is_file():
            return candidate
    return None


def _folder(folder: Path, say: Say) -> list[Path]:
    paths = []
    for found in find([str(folder)], not_image, recursive=False):
        if found.skipped or found.failed:
            say(f"{found.path}: left out, {found.skipped or found.failed}")
        else:
            paths.append(found.path)
    if not paths:
        msg = f"{folder}: holds no image that Pillow reads"
        raise ImageError(msg)
    return paths


def _data_set(folder: Path, sums: Path) -> list[Path]:
    """Return the files of a data set, after checking each of them."""
    wanted = {}
    for line in sums.read_text("utf-8").splitlines():
        digest, _, name = line.strip().partition(" ")
        if name:
            wanted[folder / name.strip(" *")] = digest.lower()
    absent = [path for path in wanted if not path.is_file()]
    changed = [p for p, digest in wanted.items() if p.is_file() and file_digest(p) != digest]
    if len(absent) == len(wanted):
        msg = (
            f"{folder}: the {len(wanted)} images that {sums} lists are not there; "
            "data/README.md says where they come from"
        )
        raise ImageError(msg)
    if absent or changed:
        problems = [f"missing: {', '.join(p.name for p in absent)}"] if absent else []
        if changed:
            problems.append(f"other content: {', '.join(p.name for p in changed)}")
        msg = f"{folder} is not the data set that {sums} describes ({'; '.join(problems)})"
        raise ImageError(msg)
    return sorted(wanted)
