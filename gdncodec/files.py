"""Writes a file completely or not at all; ``-`` stands for the standard streams."""

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["STREAM", "read_data", "remove_leftovers", "write_data", "write_safely"]

STREAM = Path("-")
"""Stands for standard input, or standard output."""

_PREFIX = ".gdncodec-"
"""Prefix of files that are being written."""


def read_data(path: Path) -> bytes:
    """Return the bytes of a file, or of standard input.

    Raises:
        OSError: it cannot be read.
    """
    if path == STREAM:
        if sys.stdin is None:
            raise OSError(errno.EBADF, "closed", "standard input")
        return sys.stdin.buffer.read()
    if stat.S_ISCHR(path.stat().st_mode):
        raise OSError(errno.EINVAL, "a device, which may never end", str(path))
    return path.read_bytes()


def write_data(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file completely or not at all, or write to standard output.

    Raises:
        FileExistsError: the file exists and may not be overwritten.
        OSError: the folder is missing, full or not writable.
    """
    if path == STREAM:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "closed", "standard output")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with write_safely(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


@contextmanager
def write_safely(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and move the file written there to ``path``.

    The file reaches the disk before it gets its name. If the block raises an error, nothing is
    left.

    Args:
        path: of the file.
        overwrite: replace a file that exists.

    Raises:
        FileExistsError: ``path`` exists, even if it was created in the meantime.
        OSError: the folder is missing, full or not writable, or ``path`` is not an ordinary file.
    """
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(path)
    path = path.resolve()  # a link is kept, and its target is written
    if path.exists() and not path.is_file():
        msg = f"{path} is not an ordinary file; write to standard output with -o - instead"
        raise OSError(msg)
    try:
        handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix=path.suffix, dir=path.parent)
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror})"
        raise OSError(error.errno, msg) from error
    temporary = Path(name)
    os.close(handle)
    try:
        with _naming(path):
            yield temporary
        # mkstemp makes private files; the result gets the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with _naming(path), temporary.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _move_without_replacing(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the path to system errors that name no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_leftovers(folder: Path) -> None:
    """Remove from a folder what processes left that were killed while they wrote.

    Only for a folder to which no other process is writing.
    """
    for path in folder.glob(f"{_PREFIX}*"):
        path.unlink(missing_ok=True)


def _move_without_replacing(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        source.rename(target)
