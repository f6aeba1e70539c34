"""Files that are not on this machine: whatever fsspec reaches, such as ``s3://bucket/folder``."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from gdncodec.errors import GdnCodecError, one_line
from gdncodec.extras import check_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gdncodec.batch.jobs import Job
    from gdncodec.batch.outcomes import Outcome

__all__ = ["Place", "Url", "done_here", "exists", "found_at", "is_url"]


class Url(str):
    """The address of a file or a folder, with what is used of a path."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return self.rstrip("/").rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Url:
        return Url(self.rstrip("/").rpartition("/")[0])

    def __truediv__(self, part: object) -> Url:
        return Url(f"{self.rstrip('/')}/{part}") if str(part) != "." else Url(self.rstrip("/"))

    def with_name(self, name: str) -> Url:
        """Return another file in the same folder."""
        return self.parent / name


Place = Path | Url
"""Where a file is."""


def is_url(text: str | None) -> bool:
    """Tell whether a file is named by its address."""
    return text is not None and "://" in text


def opened(place: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it.

    Raises:
        GdnCodecError: a package is missing, or the address is of an unknown kind.
    """
    check_installed("fsspec", extra="ray")
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(place)
    except (ImportError, ValueError) as error:
        msg = f"{place}: {error}"
        raise GdnCodecError(msg) from error
    return system, path


@contextmanager
def _reaching(place: str, what: str) -> Iterator[None]:
    """Raise an error that names the place: each kind of file system has errors of its own."""
    try:
        yield
    except GdnCodecError:
        raise
    except Exception as error:
        msg = f"{place}: cannot be {what} ({getattr(error, 'strerror', None) or one_line(error)})"
        raise GdnCodecError(msg) from error


def exists(place: Place) -> bool:
    """Tell whether there is a file.

    Raises:
        GdnCodecError: it cannot be told.
    """
    if isinstance(place, Path):
        return place.exists()
    with _reaching(place, "read"):
        system, path = opened(place)
        return bool(system.exists(path))


def found_at(
    source: Url, unwanted: Callable[[Path], str], *, recursive: bool
) -> Iterator[tuple[Url, Path, int, str]]:
    """Yield what is at an address: each file, its folder's place, its bytes, why it is left out.

    Raises:
        GdnCodecError: there is nothing.
    """
    web = source.startswith(("http://", "https://"))
    with _reaching(source, "read"):
        system, path = opened(source)
        if not (source.endswith("/") or (not web and system.isdir(path))):
            yield source, Path(), int(system.info(path).get("size") or 0), ""
            return
        found = system.find(path, maxdepth=None if recursive else 1, detail=True)
    top = PurePosixPath(path)
    for name in sorted(found):
        below = Path(PurePosixPath(name).relative_to(top))
        reason = unwanted(below)
        size = int(found[name].get("size") or 0)
        yield source / below, below.parent, size, reason


def done_here(work: Callable[[Any], Outcome], job: Job) -> Outcome:
    """Do a job on copies of its files on this machine.

    An object store shows a file when all of it is there, and so nothing partial; where the output
    is a path, it is written as any other.
    """
    overwrite = job.again or job.output == job.source or getattr(work, "force", False)
    if isinstance(job.output, Url) and not overwrite and exists(job.output):
        raise FileExistsError(job.output)
    with tempfile.TemporaryDirectory(prefix="gdncodec-") as folder:
        here = Path(folder)
        source = _fetched(job.source, here / "in")
        output = _stand_in(job.output, here / "out")
        keep_at = _stand_in(job.keep_at, here / "kept") if job.keep_at else None
        try:
            outcome = work(job._replace(source=source, output=output, keep_at=keep_at))
        except GdnCodecError as error:
            raise type(error)(str(error).replace(str(source), str(job.source))) from error
        places: dict[Any, Any] = {output: job.output, keep_at: job.keep_at, source: job.source}
        result = places.get(outcome.output) if outcome.output else None
        if outcome.output and isinstance(result, Url) and result != job.source:
            with _reaching(result, "written"):
                system, path = opened(result)
                system.put_file(str(outcome.output), path)
        return replace(outcome, source=job.source, output=result)


def _fetched(place: Any, folder: Path) -> Path:
    if not isinstance(place, Url):
        return Path(place)
    folder.mkdir()
    with _reaching(place, "read"):
        system, path = opened(place)
        system.get_file(path, str(folder / place.name))
    return folder / place.name


def _stand_in(place: Any, folder: Path) -> Path:
    if not isinstance(place, Url):
        return Path(place)
    folder.mkdir()
    return folder / place.name
