"""Where the results of inputs go."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gdncodec.batch.inputs import SUBFOLDER, find, is_list
from gdncodec.batch.outcomes import Outcome
from gdncodec.batch.remote import Url, is_url
from gdncodec.errors import UsageError
from gdncodec.files import STREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gdncodec.batch.inputs import Found

__all__ = ["Job", "Plan", "plan", "renamed"]


class Job(NamedTuple):
    """One input and its output."""

    source: Any
    """A path, or an address; so are the other places."""
    output: Any
    size: int = 0
    """Bytes of the input."""
    keep_at: Any = None
    """Where a copy of the input goes if its result is not kept; None leaves it where it is."""
    again: bool = False
    """Whether it was begun before, by a process that died; then what that wrote is replaced."""
    frame: int | None = None
    """Which of the images in the input, from 0, where each has a job of its own."""

    @property
    def remote(self) -> bool:
        """Whether one of its files is not on this machine."""
        return any(isinstance(place, Url) for place in (self.source, self.output))


@dataclass
class Plan:
    """What is to be done, and what is not."""

    jobs: list[Job]
    many: bool
    """Whether the inputs were meant as many, even if only one was found."""
    aside: list[Outcome] = field(default_factory=list)
    """What was found and is left out or cannot be searched."""


def renamed(suffix: str) -> Callable[[Any], Any]:
    """Return a function that gives the default output of a file: the same name with this suffix.

    Raises:
        UsageError: it is not the end of a name.
    """
    if not suffix.strip(".") or any(s in suffix for s in ("/", os.sep)):
        msg = f"--suffix takes the end of a name, such as .gdn, got {suffix!r}"
        raise UsageError(msg)

    def rename(source: Any) -> Any:
        return STREAM if source == STREAM else source.with_name(source.stem + suffix)

    return rename


def plan(
    sources: Sequence[str],
    output: str | None,
    *,
    renamed: Callable[[Any], Any],
    unwanted: Callable[[Path], str],
    recursive: bool,
    keep: bool = False,
) -> Plan:
    """Return the jobs, before any work.

    There are many if there are several inputs, one of them is a folder or a list, or the output is
    a folder: one that exists, or any name that ends in a slash. They go into that folder, at the
    place that they have in the input's folder, or beside the inputs.

    Args:
        sources: as :func:`gdncodec.batch.inputs.find` takes them, or the standard input alone.
        output: a file or a folder; None puts outputs beside the inputs.
        renamed: gives the default output of a file.
        unwanted: says why a file of a folder is no input; empty if it is.
        recursive: take the files in folders of folders, too.
        keep: a result may be a copy of its input, in the folder of the outputs.

    Raises:
        UsageError: two inputs have the same output, several shall go to a file or to standard
            output, or a folder holds no input.
    """
    into_folder = output is not None and (output.endswith(("/", os.sep)) or Path(output).is_dir())
    many = into_folder or len(sources) > 1 or is_list(sources[0]) or Path(sources[0]).is_dir()
    if not many and not is_url(sources[0]) and not is_url(output):
        source = Path(sources[0])
        return Plan([Job(source, Path(output) if output else renamed(source))], many=False)
    _refuse(sources, output)
    result = Plan([], many=True)
    taken: dict[Any, Any] = {}  # inputs by output
    for one in find(sources, unwanted, recursive=recursive):
        if one.skipped or one.failed:
            result.aside.append(_left_out(one))
            continue
        job = _job(one, output, renamed, keep)
        other = taken.setdefault(job.output, one.path)
        if other != one.path:
            msg = f"{other} and {one.path} would both become {job.output}; give one of them alone"
            raise UsageError(msg)
        result.jobs.append(job)
    if not result.jobs and not any(outcome.error for outcome in result.aside):
        hint = "" if recursive else "; -r searches the folders in it, too"
        msg = f"{sources[0]}: no input in this folder{hint}{_first_left_out(result.aside)}"
        raise UsageError(msg)
    return result


def _first_left_out(aside: Sequence[Outcome]) -> str:
    files = [outcome for outcome in aside if not outcome.reason.startswith(SUBFOLDER)]
    if not files:
        return ""
    others = f", and {len(files) - 1} more are" if len(files) > 1 else " is"
    return f" ({files[0].source}{others} left out: {files[0].reason})"


def _refuse(sources: Sequence[str], output: str | None) -> None:
    """Refuse what several inputs cannot be."""
    if str(STREAM) in sources:
        msg = "standard input cannot be one of several inputs, nor go into a folder"
        raise UsageError(msg)
    if output == str(STREAM):
        msg = "several inputs cannot go to standard output"
        raise UsageError(msg)
    if output is not None and Path(output).exists() and not Path(output).is_dir():
        msg = f"{output} is a file; several inputs need a folder"
        raise UsageError(msg)


def _job(found: Found, output: str | None, renamed: Callable[[Any], Any], keep: bool) -> Job:
    target = renamed(found.path)
    if output is None:
        return Job(found.path, target, found.size)
    folder = (Url(output) if is_url(output) else Path(output)) / found.place
    kept = folder / found.path.name if keep else None
    return Job(found.path, folder / target.name, found.size, kept)


def _left_out(found: Found) -> Outcome:
    if found.failed:
        return Outcome(found.path, status="failed", error=found.failed, code=1)
    reason = f"{SUBFOLDER}, which -r includes" if found.skipped == SUBFOLDER else found.skipped
    return Outcome(found.path, status="skipped", reason=reason, before=found.size)
