"""Which files a list of files and folders stands for: the one place that searches folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gdncodec.batch.remote import Place, Url, found_at, is_url
from gdncodec.errors import UsageError
from gdncodec.files import STREAM, is_unfinished, read_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["SUBFOLDER", "Found", "find", "is_gdn", "is_list", "not_gdn", "not_image"]

SUBFOLDER = "a subfolder"
"""Why a folder in a folder is left out."""


class Found(NamedTuple):
    """A file that was named or found, or a folder that was not searched."""

    path: Any
    """A path, or an address."""
    place: Path = Path()
    """Of its folder within the folder that was named."""
    size: int = 0
    """Bytes; 0 if the system does not tell."""
    skipped: str = ""
    """Why it is left out; empty if it is taken."""
    failed: str = ""
    """Why it cannot be searched; empty if it can."""


def is_gdn(path: Path) -> bool:
    """Tell by its name whether a file is a ``.gdn`` file."""
    return path.suffix.lower() == ".gdn"


def not_gdn(path: Path) -> str:
    """Return why a file of a folder is not taken as a ``.gdn`` file; empty if it is."""
    return "" if is_gdn(path) else "its name does not end in .gdn"


def not_image(path: Path) -> str:
    """Return why a file of a folder is not taken as an image; empty if it is.

    Only its name counts, so that a folder of a million files is searched in seconds.
    """
    from gdncodec.images.formats import missing_plugin, readable_suffixes

    suffix = path.suffix.lower()
    if is_gdn(path):
        return "a .gdn file already"
    if suffix in readable_suffixes():
        return ""
    missing = missing_plugin(suffix)
    if missing:
        return missing
    return f"Pillow reads no {suffix} files" if suffix else "its name has no suffix"


def is_list(source: str) -> bool:
    """Tell whether an input is ``@FILE``, a list of inputs."""
    return source.startswith("@")


def find(
    sources: Iterable[str], unwanted: Callable[[Path], str], *, recursive: bool
) -> Iterator[Found]:
    """Yield every file that is named or in a folder that is named, wanted or not, each once.

    Links to folders are searched last, so that a file is found under its own name, and no folder is
    searched twice, so that a loop of links ends.

    Args:
        sources: files, folders, addresses of both such as ``s3://bucket/folder``, and lists
            ``@FILE`` of all these: one name a line, or names that end in a zero byte, as ``find
            -print0`` writes them; ``@-`` is read from standard input.
        unwanted: says why a file of a folder is not taken; empty if it is. Files that are named are
            always taken.
        recursive: search folders of folders, too.

    Raises:
        UsageError: a list cannot be read, or has an empty name in it.
    """
    search = _Search(unwanted, recursive)
    for path, place in _named(sources):
        if isinstance(path, Url):
            for url, at, size, reason in found_at(path, unwanted, recursive=recursive):
                yield Found(url, at, size, reason)
        elif path != STREAM and path.is_dir():
            yield from search.folder(path, place)
        else:
            yield Found(path, place.parent, _size(path))
    yield from search.linked()


class _Search:
    """Searches folders; remembers which it has searched."""

    def __init__(self, unwanted: Callable[[Path], str], recursive: bool) -> None:
        self._unwanted, self._recursive = unwanted, recursive
        self._searched: set[tuple[int, int]] = set()
        self._links: list[tuple[Path, Path]] = []

    def folder(self, top: Path, place: Path) -> Iterator[Found]:
        """Yield what is in a folder; links to folders are kept for later."""
        failures: list[OSError] = []
        for where, below, names in os.walk(top, onerror=failures.append):
            here = Path(where)
            at = place / here.relative_to(top)
            if self._was_searched(here):
                below.clear()
                yield Found(here, at, skipped="a folder that was searched already")
                continue
            below.sort()
            if self._recursive:
                self._links += [(here / n, at / n) for n in below if (here / n).is_symlink()]
            else:
                for name in below:
                    yield Found(here / name, at, skipped=SUBFOLDER)
                below.clear()
            for name in sorted(names):
                yield self._file(here / name, at)
        for error in failures:
            name = os.fsdecode(error.filename)
            yield Found(Path(name), failed=f"{name}: cannot be searched ({error.strerror})")

    def linked(self) -> Iterator[Found]:
        """Yield what is in folders to which links lead, and which no name led to."""
        while self._links:
            links, self._links = self._links, []
            for path, place in links:
                yield from self.folder(path, place)

    def _was_searched(self, folder: Path) -> bool:
        try:
            found = folder.stat()
        except OSError:
            return False  # it cannot be searched either, and that is an error
        key = found.st_dev, found.st_ino
        known = key in self._searched
        self._searched.add(key)
        return known

    def _file(self, path: Path, place: Path) -> Found:
        if is_unfinished(path):
            return Found(path, place, skipped="being written, or left by a process that was killed")
        reason = self._unwanted(path)
        if reason:
            return Found(path, place, skipped=reason)
        try:
            found = path.stat()
        except OSError:
            return Found(path, place)  # reading it says what is wrong
        if not stat.S_ISREG(found.st_mode):
            return Found(path, place, skipped="not an ordinary file")
        return Found(path, place, found.st_size)


def _named(sources: Iterable[str]) -> Iterator[tuple[Place, Path]]:
    """Yield the inputs and their own places, lists replaced by what is in them."""
    for source in sources:
        if not is_list(source):
            yield Url(source) if is_url(source) else Path(source), Path()
            continue
        for name in _names(Path(source[1:])):
            path = Path(name)
            inside = not path.is_absolute() and ".." not in path.parts and not is_url(name)
            yield Url(name) if is_url(name) else path, path if inside else Path()


def _names(path: Path) -> list[str]:
    try:
        data = read_data(path)
    except OSError as error:
        msg = f"@{path}: the list cannot be read ({error.strerror})"
        raise UsageError(msg) from error
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    if os.fsencode(STREAM) in lines:
        msg = f"@{path}: standard input cannot be one of several inputs"
        raise UsageError(msg)
    return [os.fsdecode(line) for line in lines if line]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
