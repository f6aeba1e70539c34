"""What the commands for many inputs share: their options, and how they print what happens."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gdncodec.batch.outcomes import INCOMPLETE, Outcome, ReportFile, Totals
from gdncodec.batch.workers import in_parallel
from gdncodec.cli import options
from gdncodec.cli.failures import explained
from gdncodec.cli.progress import BatchLine, ProgressLine
from gdncodec.cli.text import size_text
from gdncodec.engines.choice import ENGINES
from gdncodec.errors import UsageError, printable
from gdncodec.files import STREAM, remove_leftovers
from gdncodec.threads import processors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gdncodec.batch.computing import Computing
    from gdncodec.batch.jobs import Plan
    from gdncodec.cli.options import Command, Decorator, Work

__all__ = ["Batch", "batching", "computing_batch", "do"]


@dataclass(frozen=True)
class Batch:
    """How a command takes many inputs."""

    recursive: bool
    jobs: int | None
    report: Path | None
    address: str | None = None
    skip_existing: bool = False
    dry_run: bool = False

    def on_cluster(self, work: Work) -> bool:
        """Tell whether a cluster does the jobs.

        Raises:
            UsageError: there is an address, but no cluster was asked for.
        """
        if self.address is not None and work.engine != options.RAY:
            msg = "--address is that of a cluster; it needs --engine ray"
            raise UsageError(msg)
        return work.engine == options.RAY

    def processes(self, work: Work, plan: Plan) -> int:
        """Return how many processes do the jobs."""
        wanted = 1 if self.jobs is None else self.jobs or processors()
        if self.on_cluster(work):
            from gdncodec.batch.cluster import cluster_processes

            wanted = self.jobs or cluster_processes(self.address, work.device)
        return min(wanted, max(1, len(plan.jobs)))

    def computing(self, work: Work, plan: Plan) -> Computing:
        """Return how each of the processes computes."""
        if self.on_cluster(work):  # which gives each process one core
            return replace(work.computing, threads=work.threads or 1)
        return work.computing.shared_by(self.processes(work, plan))

    def pool(self, work: Work) -> Any:
        """Return what runs the processes."""
        if not self.on_cluster(work):
            return in_parallel
        from gdncodec.batch.cluster import on_cluster

        return partial(on_cluster, address=self.address, device=work.device)


def batching(*, writes: bool, more: Sequence[Decorator] = ()) -> Decorator:
    """Return a decorator that passes a :class:`Batch` as ``batch``.

    Args:
        writes: whether the command has outputs.
        more: other options of a batch.
    """
    always: list[Decorator] = [
        click.option("-r", "--recursive", is_flag=True, help="Include subfolders."),
        click.option(
            "-j",
            "--jobs",
            type=click.IntRange(0),
            help="Processes; 0 for one on each processor.  [default: 1; on a cluster all]",
        ),
        click.option(
            "--report",
            metavar="FILE.jsonl",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write a line of JSON about each file.",
        ),
    ]
    writing: list[Decorator] = [
        click.option("--skip-existing", is_flag=True, help="Leave out inputs whose output exists."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
    ]
    chosen = [*always, *(writing if writes else []), *more]
    return options.gathered("batch", Batch, chosen)


def computing_batch(*, writes: bool) -> Decorator:
    """Return a decorator that passes a :class:`Batch` and a :class:`Work`, cluster and all.

    Args:
        writes: whether the command has outputs.
    """
    address = click.option(
        "--address", metavar="HOST:PORT", help="Ray cluster, or auto.  [default: this machine]"
    )
    working = options.working_with((*ENGINES, options.RAY))

    def decorate(command: Command) -> Command:
        return batching(writes=writes, more=[address])(working(command))

    return decorate


def do(
    doing: str,
    plan: Plan,
    task: Any,
    batch: Batch,
    work: Work,
    lines: Callable[[Outcome, Work], list[str]],
    *,
    summary: bool = True,
) -> None:
    """Do the jobs of a command, and print what comes of them.

    Args:
        doing: what a progress line says.
        plan: inputs and outputs.
        task: does one job; see :mod:`gdncodec.batch`.
        batch: how many are done.
        work: how much is printed.
        lines: returns what is printed about an input that is done.
        summary: print what the jobs came to; if not, print nothing but these lines.
    """
    if plan.many or batch.report or batch.dry_run or batch.on_cluster(work):
        _do_many(doing, plan, task, batch, work, lines, summary)
        return
    (job,) = plan.jobs
    if batch.skip_existing and job.output.exists():
        return
    if job.output not in (STREAM, job.source):
        remove_leftovers(job.output.parent)
    with ProgressLine(doing, job.source, work.quiet) as progress:
        outcome = task(job, progress)
    if not work.quiet:
        _print(outcome, lines(outcome, work))
    if outcome.damage:
        _warn(outcome)
        raise click.exceptions.Exit(INCOMPLETE)


def _warn(outcome: Outcome) -> None:
    click.echo(printable(f"Warning: {outcome.source}: {outcome.damage}"), err=True)


def _do_many(
    doing: str,
    plan: Plan,
    task: Any,
    batch: Batch,
    work: Work,
    lines: Callable[[Outcome, Work], list[str]],
    summary: bool,
) -> None:
    from gdncodec.batch.run import run

    if any(STREAM in (job.source, job.output) for job in plan.jobs):
        msg = "--report, --dry-run and a cluster need files, not the standard streams"
        raise UsageError(msg)
    began, totals = time.monotonic(), Totals()
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(_report(batch, getattr(task, "force", False)))
        bar = stack.enter_context(BatchLine(doing, plan.jobs, work.quiet))
        interrupted = stack.enter_context(_noticing_ctrl_c())
        outcomes = run(
            plan,
            task,
            _explained,
            processes=batch.processes(work, plan),
            pool=batch.pool(work),
            skip_existing=batch.skip_existing,
            dry_run=batch.dry_run,
            overwrite=getattr(task, "force", False),
            stopped=interrupted.is_set,
        )
        for outcome in outcomes:
            totals.add(outcome)
            if report:
                report.add(outcome)
            with bar.hidden():
                _show(outcome, work, lines)
            bar.add(outcome)
    if summary and not work.quiet:
        click.echo(_summary(totals, time.monotonic() - began, len(plan.jobs) + len(plan.aside)))
    if interrupted.is_set():
        raise KeyboardInterrupt
    if totals.codes:
        raise click.exceptions.Exit(totals.code)


def _report(batch: Batch, force: bool) -> Any:
    if batch.report is None:
        return contextlib.nullcontext()
    return ReportFile(batch.report, replace=force, append=batch.skip_existing)


@contextlib.contextmanager
def _noticing_ctrl_c() -> Iterator[threading.Event]:
    """Yield what the first Ctrl-C sets; the second ends the program at once."""
    noticed = threading.Event()

    def notice(number: int, frame: Any) -> None:
        if noticed.is_set():
            signal.default_int_handler(number, frame)
        noticed.set()

    if threading.current_thread() is not threading.main_thread():
        yield noticed
        return
    before = signal.signal(signal.SIGINT, notice)
    try:
        yield noticed
    finally:
        signal.signal(signal.SIGINT, before)


def _show(outcome: Outcome, work: Work, lines: Callable[[Outcome, Work], list[str]]) -> None:
    if outcome.damage:
        _warn(outcome)
    if outcome.error:
        click.echo(f"Error: {printable(outcome.error)}", err=True)
    elif work.quiet:
        return
    elif outcome.status == "skipped":
        click.echo(printable(f"{outcome.source}: skipped, {outcome.reason}"))
    elif outcome.status == "planned":
        click.echo(printable(f"{outcome.source} -> {outcome.output}"))
    else:
        _print(outcome, lines(outcome, work))


def _print(outcome: Outcome, lines: list[str]) -> None:
    for notice in outcome.notices:
        click.echo(printable(f"{outcome.source}: note: {notice}"), err=True)
    for line in lines:
        click.echo(printable(line), err=outcome.output == STREAM)


def _explained(error: Exception) -> tuple[str, int]:
    return explained(error) or (_bug(error), 1)


def _bug(error: Exception) -> str:
    text = (str(error).splitlines() or ["no message"])[0]
    return (
        f"{type(error).__name__}: {text}. This is a bug in gdncodec; run the command for this file "
        "alone with -v for the traceback, and report it"
    )


def _summary(totals: Totals, seconds: float, expected: int) -> str:
    files = "1 file" if totals.files == 1 else f"{totals.files} files"
    sizes = f"{files}, {size_text(totals.before)}"
    if totals.after:
        sizes += f" to {size_text(totals.after)} ({totals.after / totals.before:.1%})"
    rate = totals.pixels / 1e6 / max(seconds, 1e-9)
    counts = totals.by_status
    parts = [sizes, f"{seconds:.1f} s, {rate:.1f} megapixels per second"]
    if "planned" in counts:
        parts = []  # nothing was done
    names = ("planned", "failed", "kept", "skipped")
    parts += [f"{counts[name]} {name}" for name in names if name in counts]
    left = expected - sum(counts.values())
    return "; ".join([*parts, f"{left} not begun"] if left else parts)
