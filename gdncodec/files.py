"""Writing a file whole or not at all; ``-`` stands for the standard streams."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["STREAM", "read_data", "remove_leftovers", "write_data", "write_safely"]

STREAM = Path("-")
"""Stands for standard input, or standard output."""

_PREFIX = ".gdncodec-"
"""Of files that are being written."""


def read_data(path: Path) -> bytes:
    """Return the bytes of a file, or of standard input.

    Raises:
        OSError: it cannot be read.
    """
    return sys.stdin.buffer.read() if path == STREAM else path.read_bytes()


def write_data(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file, whole or not at all, or write to standard output.

    Raises:
        FileExistsError: the file exists and shall not be overwritten.
        OSError: the folder is missing, full or not writable.
    """
    if path == STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with write_safely(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


@contextmanager
def write_safely(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary name in the same folder, and move what was written there to ``path``.

    The file reaches the disk before it gets its name. When the block raises, nothing is left.

    Args:
        path: where the file shall be.
        overwrite: replace a file that exists.

    Raises:
        FileExistsError: ``path`` exists, also if it came into being in the meantime.
        OSError: the folder is missing, full or not writable, or ``path`` is no ordinary file.
    """
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(path)
    path = path.resolve()  # a link stays, and its target is written
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
        yield temporary
        # mkstemp makes private files; the result shall have the permissions any new file has.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _move_without_replacing(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they wrote have left in a folder.

    Only for a folder that no other process writes to now.
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
