"""One output for each frame of an animation, or page of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gdncodec.batch.jobs import Plan
from gdncodec.batch.remote import Url
from gdncodec.errors import UsageError
from gdncodec.files import STREAM

if TYPE_CHECKING:
    from pathlib import Path

    from gdncodec.batch.jobs import Job

__all__ = ["each_frame"]


def each_frame(plan: Plan, output: str | None) -> Plan:
    """Return a plan with one job for each frame of each input.

    The outputs of an input with several frames are numbered from 0, with as many digits as the
    last needs: ``pages.gdn`` becomes ``pages-00.gdn`` to ``pages-11.gdn``.

    Args:
        plan: one job for each input.
        output: a file or a folder.

    Raises:
        UsageError: there is no such output, an input or output is no file of this machine, or two
            outputs have the same name.
    """
    if output is None or output == str(STREAM):
        msg = "--frame all needs -o: a folder, or the name that the frames get with their numbers"
        raise UsageError(msg)
    result = Plan([], many=True, aside=plan.aside)
    taken: dict[Any, Any] = {}  # inputs by output
    for whole in plan.jobs:
        if whole.source == STREAM or isinstance(whole.source, Url):
            msg = f"--frame all takes files of this machine, got {whole.source}"
            raise UsageError(msg)
        for job in _frames(whole):
            other = taken.setdefault(job.output, job.source)
            if other != job.source:
                msg = f"{other} and {job.source} would both become {job.output}"
                raise UsageError(msg)
            result.jobs.append(job)
    return result


def _frames(job: Job) -> list[Job]:
    count = _count(job.source)
    if count == 1:
        return [job]
    digits = len(str(count - 1))
    return [
        job._replace(
            output=job.output.with_name(f"{job.output.stem}-{n:0{digits}}{job.output.suffix}"),
            size=job.source.stat().st_size // count,
            frame=n,
        )
        for n in range(count)
    ]


def _count(source: Path) -> int:
    """Return the number of images in a file; 1 for what is no image, which reading it explains."""
    from PIL import Image

    try:
        with Image.open(source) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # whatever a plugin raises, it raises again where errors are reported
        return 1
