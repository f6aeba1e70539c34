"""Runs a function on many tasks, in this process or in several."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

from gdncodec.errors import one_line
from gdncodec.threads import processors

__all__ = ["Failed", "in_parallel"]

T = TypeVar("T")
R = TypeVar("R")


class Failed(NamedTuple):
    """A task that failed."""

    reason: str


def in_parallel(
    work: Callable[[T], R], tasks: Sequence[T], jobs: int
) -> Iterator[tuple[T, R | Failed]]:
    """Yield each task with its result, or with the reason why there is none, as they end.

    Args:
        work: a function at the top level of a module, so that another process finds it.
        tasks: its arguments.
        jobs: number of processes; 1 runs everything in this one.
    """
    attempt = partial(_attempt, work)
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, attempt(task)
        return
    threads = max(1, processors() // jobs)
    # Forking a process that has run torch may deadlock the child.
    with ProcessPoolExecutor(jobs, get_context("spawn"), _set_threads, (threads,)) as pool:
        running = {pool.submit(attempt, task): task for task in tasks}
        try:
            for future in as_completed(running):
                error = future.exception()
                yield running[future], Failed(one_line(error)) if error else future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _attempt(work: Callable[[T], R], task: T) -> R | Failed:
    try:
        return work(task)
    except Exception as error:
        # Whatever a codec raises must not end an evaluation that takes hours.
        return Failed(one_line(error))


def _set_threads(threads: int) -> None:
    """Share the machine's cores among the processes."""
    import torch

    torch.set_num_threads(threads)
