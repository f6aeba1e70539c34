"""Runs a function on many tasks, in this process or in several: the one pool of this package."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from gdncodec.errors import one_line, show_skipped_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection

__all__ = ["TRIES", "Failed", "attempt", "in_parallel"]

T = TypeVar("T")
R = TypeVar("R")

TRIES = 2
"""How often a task is begun whose process dies."""

_PATIENCE = 10.0
"""Seconds that a process gets to end by itself."""


class Failed(NamedTuple):
    """A task that failed."""

    reason: str


def in_parallel(
    work: Callable[[T], R],
    tasks: Iterable[T],
    jobs: int,
    *,
    prepare: Callable[[], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    again: Callable[[T], T] = lambda task: task,
) -> Iterator[tuple[T, R | Failed]]:
    """Yield each task with its result, or with the reason why there is none, as they end.

    A process that dies, such as one that the system kills for its memory, is replaced. Its task is
    done once more, and fails if that kills a process, too.

    Args:
        work: a function that can be pickled. It is sent to each process once.
        tasks: its arguments; taken from the iterator as they are needed.
        jobs: number of processes; 1 runs everything in this one.
        prepare: called first in each other process.
        stopped: asked before each task; once true, no more are begun, and those that run are ended.
        again: returns the task to do instead of one whose process died.
    """
    if jobs == 1:
        for task in tasks:
            if stopped():
                return
            yield task, attempt(work, task)
        return
    pool = _Pool(work, jobs, prepare)
    try:
        yield from pool.run(iter(tasks), stopped, again)
    finally:
        pool.close()


class _Pool(Generic[T, R]):
    """Processes that each do one task at a time, so that it is known which task kills one."""

    def __init__(
        self, work: Callable[[T], R], jobs: int, prepare: Callable[[], None] | None
    ) -> None:
        self._work, self._jobs, self._prepare = work, jobs, prepare
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, T, int]] = {}

    def run(
        self, tasks: Iterator[T], stopped: Callable[[], bool], again: Callable[[T], T]
    ) -> Iterator[tuple[T, R | Failed]]:
        """See :func:`in_parallel`."""
        left: list[tuple[T, int]] = []  # tasks whose process died, and how often
        while True:
            while len(self._busy) < self._jobs and not stopped():
                if left:
                    self._give(*left.pop())
                    continue
                try:
                    self._give(next(tasks), 0)
                except StopIteration:
                    break
            if not self._busy:
                return
            for pipe in wait(list(self._busy)):
                worker, task, deaths = self._busy.pop(pipe)  # type: ignore[call-overload]
                try:
                    result = worker.pipe.recv()
                except (EOFError, OSError):
                    how = worker.end()
                    task = again(task)
                    if deaths + 1 < TRIES and not stopped():
                        left.append((task, deaths + 1))
                        continue
                    result = Failed(f"its process died ({how})")
                else:
                    self._idle.append(worker)
                yield task, result

    def _give(self, task: T, deaths: int) -> None:
        worker = self._idle.pop() if self._idle else _Worker(self._work, self._prepare)
        with suppress(OSError):  # if it died while it was idle, that shows when it is waited for
            worker.pipe.send(task)
        self._busy[worker.pipe] = worker, task, deaths

    def close(self) -> None:
        """End all processes: the idle ones at once, the others as SIGTERM ends a command."""
        for worker, _, _ in self._busy.values():
            worker.interrupt()
        workers = [*self._idle, *(worker for worker, _, _ in self._busy.values())]
        for worker in workers:
            worker.pipe.close()
        for worker in workers:
            worker.end()


class _Worker:
    """A process that waits for tasks, and ends when the other end of its pipe is closed.

    So it ends, too, when the process that began it is killed.
    """

    def __init__(self, work: Callable[[Any], Any], prepare: Callable[[], None] | None) -> None:
        # Forking a process that has threads or has run torch may deadlock the child.
        context = get_context("spawn")
        self.pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, work, prepare), daemon=True)
        with _ctrl_c_held_back():
            self._process.start()
        far.close()

    def interrupt(self) -> None:
        """Ask the process to end what it does without a result."""
        self._process.terminate()

    def end(self) -> str:
        """Wait for the end of the process; return how it ended."""
        self.pipe.close()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code = self._process.exitcode or 0
        if code == -9:  # SIGKILL, which Windows does not have
            return "killed, perhaps because memory was short"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Let no process that is started here be reached by Ctrl-C, not even before it runs our code.

    Ctrl-C reaches all processes of a terminal; the first one decides what becomes of the others.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows; there, only as soon as it runs our code
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # else started with the first process; it ends the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # is inherited
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(
    pipe: Connection, work: Callable[[Any], Any], prepare: Callable[[], None] | None
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # see _ctrl_c_held_back
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # clean up
    show_skipped_models()
    if prepare:
        prepare()
    with suppress(EOFError, OSError):
        while True:
            result = attempt(work, pipe.recv())
            pipe.send(result)


def attempt(work: Callable[[T], R], task: T) -> R | Failed:
    """Return the result of a task, or why it failed."""
    try:
        return work(task)
    except Exception as error:  # whatever it is, it must not end a run that takes hours
        return Failed(one_line(error))
