"""Writes a file completely or not at all; ``-`` stands for the standard streams."""

import errno
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, which does not remove a file that a process has open
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "STREAM",
    "check_ordinary",
    "is_unfinished",
    "naming",
    "read_data",
    "read_file",
    "remove_leftovers",
    "write_data",
    "write_safely",
]

STREAM = Path("-")
"""Stands for standard input, or standard output."""

_PREFIX = ".gdncodec-"
"""Prefix of files that are being written."""


def read_data(path: Path) -> bytes:
    """Return the bytes of a file, or of standard input.

    Raises:
        OSError: it cannot be read, or is a device, which may never end.
    """
    if path != STREAM:
        return read_file(path)
    if sys.stdin is None:
        raise OSError(errno.EBADF, "closed", "standard input")
    with suppress(io.UnsupportedOperation):  # it is none of the system's
        _refuse_device(os.fstat(sys.stdin.fileno()), "standard input")
    return sys.stdin.buffer.read()


def read_file(path: Path) -> bytes:
    """Return the bytes of a file, also of one named ``-``.

    Raises:
        OSError: it cannot be read, or is a device, which may never end.
    """
    _refuse_device(path.stat(), str(path))
    return path.read_bytes()


def check_ordinary(path: Path) -> None:
    """Refuse what is there but no file, such as a pipe, which would be waited for.

    Raises:
        OSError: it is a folder, a pipe, a device or a socket.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not an ordinary file", str(path))


def _refuse_device(found: os.stat_result, name: str) -> None:
    is_empty = os.path.exists(os.devnull) and os.path.samestat(found, os.stat(os.devnull))
    if stat.S_ISCHR(found.st_mode) and not is_empty:
        raise OSError(errno.EINVAL, "a device, which may never end", name)


def write_data(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file completely or not at all, or write to standard output.

    Raises:
        FileExistsError: the file exists and may not be overwritten.
        OSError: the folder is missing, full or not writable.
    """
    if path == STREAM:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "closed", "standard output")
        with naming("standard output"):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        return
    with write_safely(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Add a name to system errors that name no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


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
    path = _target(path)
    if path.exists() and not path.is_file():
        msg = f"{path} is not an ordinary file; write to standard output with -o - instead"
        raise OSError(msg)
    try:
        held = _locked_file(path)
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror})"
        raise OSError(error.errno, msg) from error
    temporary = Path(held.name)
    try:
        with naming(path):
            yield temporary
        # mkstemp makes private files; the result gets the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with naming(path), temporary.open("rb") as file:
            os.fsync(file.fileno())
        if fcntl is None:
            held.close()  # Windows does not rename an open file either
        if overwrite:
            temporary.replace(path)
        else:
            _move_without_replacing(temporary, path)
    finally:
        held.close()
        temporary.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """Return what is written: links are kept, and where they lead is written."""
    try:
        return path.resolve()
    except RuntimeError as error:  # before Python 3.13; the system says what is wrong since then
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def _locked_file(path: Path) -> IO[bytes]:
    """Make a temporary file beside ``path`` that is locked as long as it is open.

    The lock ends with the process, however that ends, and holds between the machines that share a
    file system; the number of a process would do neither.
    """
    while True:
        held = tempfile.NamedTemporaryFile(  # noqa: SIM115 - the caller closes it
            prefix=_PREFIX, suffix=path.suffix, dir=path.parent, delete=False
        )
        if fcntl is None:
            return held
        with suppress(OSError):  # a file system without locks, on which nothing is removed
            fcntl.flock(held, fcntl.LOCK_EX)
        if os.fstat(held.fileno()).st_nlink:
            return held
        held.close()  # it was taken for a leftover before it was locked


def is_unfinished(path: Path) -> bool:
    """Tell by its name whether a file is one that is being written, or was when it was left."""
    return path.name.startswith(_PREFIX)


def remove_leftovers(folder: Path) -> None:
    """Remove from a folder what processes left that were killed while they wrote.

    What a process is writing, on this machine or another, stays.
    """
    with suppress(OSError):  # there is no such folder, or it is not ours
        for entry in os.scandir(folder):
            if entry.name.startswith(_PREFIX) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    _remove_if_left(entry.path)


def _remove_if_left(name: str) -> None:
    if fcntl is None:
        os.unlink(name)
        return
    handle = os.open(name, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error if it is being written
        os.unlink(name)
    finally:
        os.close(handle)


def _move_without_replacing(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        source.rename(target)
