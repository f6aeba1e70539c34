"""Reads inputs and writes results, with errors that name the file."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdncodec.batch.inputs import is_list, not_image
from gdncodec.errors import FormatError, ModelError, UsageError
from gdncodec.files import STREAM, read_data, write_data, write_safely

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gdncodec.images.raster import RasterImage

__all__ = [
    "about",
    "check_is_gdn",
    "pillow_limit",
    "read_gdn",
    "read_source",
    "refuse_existing",
    "refuse_wrong_suffix",
    "size_of",
    "with_output",
    "write_result",
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


@contextlib.contextmanager
def about(source: Path) -> Iterator[None]:
    """Put the name of a file in front of errors about what is in it."""
    try:
        yield
    except (FormatError, ModelError) as error:
        if source == STREAM or str(source) in str(error):
            raise
        msg = f"{source}: {error}"
        raise type(error)(msg, detail=error.detail) from error


def read_gdn(source: Path) -> bytes:
    """Return the bytes of a ``.gdn`` file, or of standard input."""
    try:
        return read_data(source)
    except OSError as error:
        msg = f"{source}: cannot be read ({error.strerror})"
        raise FormatError(msg) from error


def with_output(
    sources: Sequence[str], output: str | None, no_output: Callable[[Path], str]
) -> tuple[Sequence[str], str | None]:
    """Take the second of two names for the output, as other codecs do, if its kind says so.

    Args:
        sources: the names.
        output: an output that is given otherwise.
        no_output: says why a file is not of the kind of an output, or returns an empty text.
    """
    if output is not None or len(sources) != 2:
        return sources, output
    second = Path(sources[1])
    if is_list(sources[1]) or second == STREAM or second.is_dir() or no_output(second):
        return sources, output
    return sources[:1], sources[1]


def refuse_wrong_suffix(output: Path) -> None:
    """Refuse to write ``.gdn`` data under a name that promises an image of another format."""
    if output != STREAM and not not_image(output):
        msg = f"{output} would hold .gdn data, which no image viewer opens; name it .gdn"
        raise UsageError(msg)


def check_is_gdn(source: Path) -> None:
    """Refuse a file that is no ``.gdn`` file, before anything is said about its output."""
    from gdncodec.container import MAGIC, unpack_header

    # Not of what can be read only once, is an address, or is not there.
    if not isinstance(source, Path) or not source.is_file():
        return
    with contextlib.suppress(OSError), source.open("rb") as file, about(source):
        start = file.read(len(MAGIC))
        if start != MAGIC:
            unpack_header(start)


def read_source(
    source: Path, *, max_pixels: int, accept_truncated: bool = False, **how: Any
) -> RasterImage:
    """Return the image in a file, or in standard input.

    See :func:`gdncodec.images.reading.read_image` about the arguments.
    """
    from gdncodec.images.reading import read_image

    with pillow_limit(max_pixels):
        return read_image(
            io.BytesIO(read_data(source)) if source == STREAM else source,
            max_pixels=max_pixels,
            accept_truncated=accept_truncated,
            **how,
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


def write_result(
    output: Path,
    data: bytes,
    *,
    overwrite: bool,
    like: Path | None = None,
    check: Callable[[bytes], None] | None = None,
) -> None:
    """Write a file completely or not at all, or write to standard output.

    Args:
        output: the file.
        data: what goes into it.
        overwrite: replace a file that exists.
        like: a file whose times the new one gets; None gives it those of now.
        check: called with what is read back from the disk, before the file gets its name; what it
            raises leaves nothing behind.

    Raises:
        FileExistsError: the file exists and may not be overwritten.
        OSError: the folder is missing, full or not writable.
    """
    if output == STREAM:
        if check:
            check(data)
        write_data(output, data, overwrite=overwrite)
        return
    with write_safely(output, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
        if check:
            check(temporary.read_bytes())
        if like is not None and like != STREAM:
            times = like.stat()
            os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 for a standard stream."""
    return 0 if path == STREAM else path.stat().st_size
