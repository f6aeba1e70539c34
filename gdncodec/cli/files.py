"""What commands read and write."""

from __future__ import annotations

import contextlib
import errno
import io
import sys
from typing import TYPE_CHECKING

import click

from gdncodec.errors import FormatError, ModelError, UsageError, printable
from gdncodec.files import STREAM, read_data, write_data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

    from gdncodec.images.raster import RasterImage

__all__ = [
    "about",
    "is_gdn",
    "is_image",
    "pillow_limit",
    "read_gdn",
    "read_source",
    "refuse_existing",
    "write_output",
]


def refuse_existing(output: Path, force: bool, source: Path) -> None:
    """Raise an error before the work starts if the output cannot be written after it."""
    if output == STREAM:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "closed", "standard output")
        if sys.stdout.isatty():
            msg = "stdout is a terminal; name a file with -o, or redirect the output"
            raise UsageError(msg)
        return
    if not output.parent.is_dir():
        msg = f"{output}: there is no folder {output.parent}"
        raise UsageError(msg)
    if output.exists() and source.exists() and output.samefile(source):
        msg = f"{output} is the input itself; name another output with -o"
        raise UsageError(msg)
    if output.exists() and not force:
        raise FileExistsError(output)


def is_gdn(path: Path) -> bool:
    """Tell by its name whether a file is a ``.gdn`` file."""
    return path.suffix.lower() == ".gdn"


def is_image(path: Path) -> bool:
    """Tell by its name whether Pillow may read a file as an image."""
    from PIL import Image

    return path.suffix.lower() in Image.registered_extensions() and not is_gdn(path)


@contextlib.contextmanager
def about(source: Path) -> Iterator[None]:
    """Put the name of a file in front of errors about what is in it."""
    try:
        yield
    except (FormatError, ModelError) as error:
        if source == STREAM or str(source) in str(error):
            raise
        msg = f"{source}: {error}"
        raise type(error)(msg) from error


def read_gdn(source: Path) -> bytes:
    """Return the bytes of a ``.gdn`` file, or of standard input."""
    try:
        return read_data(source)
    except OSError as error:
        msg = f"{source}: cannot be read ({error.strerror})"
        raise FormatError(msg) from error


def read_source(
    source: Path, *, frame: int | None, strip: bool, max_pixels: int, accept_truncated: bool = False
) -> RasterImage:
    """Return the image in a file, or in standard input."""
    from gdncodec.images.reading import read_image

    with pillow_limit(max_pixels):
        return read_image(
            io.BytesIO(read_data(source)) if source == STREAM else source,
            frame=frame,
            strip=strip,
            max_pixels=max_pixels,
            accept_truncated=accept_truncated,
        )


@contextlib.contextmanager
def pillow_limit(max_pixels: int) -> Iterator[None]:
    """Set Pillow's own limit to --max-pixels while a file is read or decoded."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def write_output(output: Path, image: Image.Image, format_name: str, force: bool) -> None:
    """Write an image to a file or to standard output, and print what the format does not keep."""
    from gdncodec.images.writing import encoded

    data, lost = encoded(image, format_name)
    write_data(output, data, overwrite=force)
    for notice in lost:
        click.echo(printable(f"{output}: {notice}"), err=True)
