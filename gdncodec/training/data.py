"""Training images: finding, reading and identifying them."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gdncodec.batch.inputs import find, not_image
from gdncodec.errors import ImageError, one_line
from gdncodec.images.raster import eight_bits

__all__ = ["find_images", "load_images", "manifest", "read_rgb"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_READERS = min(8, os.cpu_count() or 1)
"""Threads that read files; Pillow decodes and hashlib hashes without holding the interpreter."""


def find_images(
    folders: Iterable[Path], report: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """Return all files below the folders whose suffix Pillow can open, sorted.

    Symbolic links to folders are followed, and each folder is searched once, under its own name if
    that is below the folders, too.

    Args:
        folders: where to search.
        report: called with a line of text for every file that is skipped.
    """
    files = set()
    for found in find([str(folder) for folder in folders], not_image, recursive=True):
        reason = found.skipped or found.failed
        if not reason and not found.path.is_file():
            reason = "a link that leads nowhere"
        if reason:
            report(f"skipped {found.path}: {reason}")
        else:
            files.add(found.path)
    return sorted(files)


def read_rgb(path: Path) -> np.ndarray:
    """Return an image as uint8 (H, W, 3).

    An animation gives its first frame. Grey becomes three equal channels, alpha is dropped, 16 bits
    are rounded to 8, and the EXIF orientation is ignored.

    Raises:
        ImageError: the file is not a readable image.
    """
    try:
        with Image.open(path) as image:
            return _as_rgb(image)
    except Exception as error:  # on damaged files Pillow and its plugins raise almost anything
        raise _unreadable(path, error) from error


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        msg = "its samples are not integers"
        raise ValueError(msg)
    if image.mode.startswith("I"):  # Pillow would clip 16 bits to 8
        samples = np.asarray(image).clip(0, 65535).astype(np.uint16)
        return np.repeat(eight_bits(samples)[..., None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns without this step
    return np.asarray(image.convert("RGB"))


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(f"{path}: not a readable image ({one_line(error)})")


def load_images(
    files: Sequence[Path], crop: int, report: Callable[[str], None]
) -> tuple[list[Tensor], list[Path]]:
    """Read the images that can be used for training, and report the others.

    They share one block of memory: shared memory if the system has enough of it.

    Args:
        files: image files.
        crop: smallest width and height in pixels; smaller images are skipped.
        report: called with a line of text for every file that is skipped.

    Returns:
        The images, uint8 (3, H, W) with interleaved channels, and their files.
    """
    sizes = _each(lambda file: _size(file, crop), files, report)
    places = _allocate([size for _, size in sizes])
    jobs = [(file, place) for (file, _), place in zip(sizes, places, strict=True)]
    read = _each(_read_into, jobs, report)
    return [image for _, image in read], [file for (file, _), _ in read]


def _each(
    do: Callable[[Item], Result], items: Sequence[Item], report: Callable[[str], None]
) -> list[tuple[Item, Result]]:
    """Call a function on every item in threads; return items and results, without failed ones."""
    pool = ThreadPoolExecutor(_READERS)
    kept = []
    try:
        for item, future in [(item, pool.submit(do, item)) for item in items]:
            error = future.exception()
            if isinstance(error, ImageError):
                report(f"skipped {error}")
            else:
                kept.append((item, future.result()))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the rest
    return kept


def _size(file: Path, crop: int) -> tuple[int, int]:
    """Return height and width from the file header."""
    try:
        with Image.open(file) as image:
            width, height = image.size
    except Exception as error:  # as in read_rgb
        raise _unreadable(file, error) from error
    if min(height, width) < crop:
        msg = f"{file}: {width} x {height} is smaller than a crop of {crop}"
        raise ImageError(msg)
    return height, width


def _allocate(sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Return an uninitialised tensor (3, H, W) for every image."""
    lengths = [3 * height * width for height, width in sizes]
    block = torch.empty(sum(lengths), dtype=torch.uint8)
    try:
        block.share_memory_()  # a single block, because each block takes a file handle
    except RuntimeError:  # containers often have no more than 64 MB
        block = torch.empty(sum(lengths), dtype=torch.uint8)
    parts = zip(block.split(lengths), sizes, strict=True)
    return [part.view(height, width, 3).permute(2, 0, 1) for part, (height, width) in parts]


def _read_into(job: tuple[Path, Tensor]) -> Tensor:
    file, place = job
    pixels, target = read_rgb(file), place.permute(1, 2, 0).numpy()
    if pixels.shape != target.shape:
        msg = f"{file}: not a readable image (its size differs from the one in its header)"
        raise ImageError(msg)
    target[...] = pixels
    return place


def manifest(files: Sequence[Path]) -> dict[str, Any]:
    """Return a record that identifies a set of images, ready for JSON.

    Returns:
        ``images``, their number; ``files``, the SHA-256 of each by its path; and ``sha256``, a
        hash over all of these in sorted order, so that names and folders do not matter.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        hashes = list(pool.map(lambda f: hashlib.sha256(f.read_bytes()).hexdigest(), files))
    return {
        "images": len(files),
        "sha256": hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest(),
        "files": dict(zip((f.as_posix() for f in files), hashes, strict=True)),
    }
