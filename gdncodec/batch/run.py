"""The work on many inputs, one record each."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdncodec.batch.outcomes import Outcome
from gdncodec.batch.remote import done_here, exists
from gdncodec.batch.workers import Failed, in_parallel
from gdncodec.errors import printable
from gdncodec.files import remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gdncodec.batch.jobs import Job, Plan

    Explain = Callable[[Exception], tuple[str, int]]
    """Returns the line about an error, and the exit code."""

    Pool = Callable[..., Iterator[tuple[Job, Any]]]

__all__ = ["run"]


def run(
    plan: Plan,
    work: Callable[[Job], Outcome],
    explain: Explain,
    *,
    processes: int = 1,
    pool: Pool = in_parallel,
    skip_existing: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Yield what comes of each input, as they end; one that fails does not stop the others.

    Args:
        plan: inputs and outputs.
        work: does one job; it can be pickled, as can ``explain``.
        explain: says what an error means.
        processes: how many work at the same time.
        pool: what runs them: :func:`gdncodec.batch.workers.in_parallel`, or what does the same
            elsewhere.
        skip_existing: leave out jobs whose output exists.
        dry_run: do nothing; say what would be done.
        overwrite: whether the work overwrites outputs that exist, for what a dry run says.
        stopped: asked before each job; once true, no more are begun.
    """
    yield from plan.aside
    attempt = _Attempt(work, explain, plan.many, skip_existing, dry_run, overwrite)
    if not dry_run:
        for folder in {job.output.parent for job in plan.jobs if _writes_here(job)}:
            remove_leftovers(folder)
    for job, outcome in pool(attempt, plan.jobs, processes, stopped=stopped, again=_again):
        if isinstance(outcome, Failed):
            error = f"{job.source}: {outcome.reason}"
            yield Outcome(job.source, None, "failed", before=job.size, error=error, code=1)
        else:
            yield outcome


def _writes_here(job: Job) -> bool:
    return isinstance(job.output, Path) and job.output != job.source


def _again(job: Job) -> Job:
    """Return the job of a process that died, after removing what it left."""
    if _writes_here(job):
        remove_leftovers(job.output.parent)
    return job._replace(again=True)


@dataclass(frozen=True)
class _Attempt:
    """Does a job and returns what came of it, whatever that is."""

    work: Callable[[Job], Outcome]
    explain: Explain
    many: bool
    skip_existing: bool
    dry_run: bool
    overwrite: bool

    def __call__(self, job: Job) -> Outcome:
        began = time.monotonic()
        try:
            outcome = self._done(job)
        except Exception as error:
            text, code = self.explain(error)
            places = [printable(place) for place in (job.source, job.output)]
            named = text if any(place in text for place in places) else None
            outcome = Outcome(
                job.source,
                status="failed",
                before=job.size,
                error=named or f"{job.source}: {text}",
                code=code,
            )
        return replace(outcome, seconds=time.monotonic() - began)

    def _done(self, job: Job) -> Outcome:
        existing = []
        if self.skip_existing and not job.again:
            places = (job.output, job.keep_at)
            existing = [p for p in places if p and p != job.source and exists(p)]
        if existing:
            reason = f"{existing[0]} exists"
            return Outcome(job.source, existing[0], "skipped", before=job.size, reason=reason)
        if self.dry_run:
            if exists(job.output) and not self.overwrite:
                raise FileExistsError(job.output)
            return Outcome(job.source, job.output, "planned", before=job.size)
        if self.many and _writes_here(job):
            job.output.parent.mkdir(parents=True, exist_ok=True)
        return done_here(self.work, job) if job.remote else self.work(job)
