"""Runs the measurements of an evaluation, in this process or in several."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from gdncodec.batch.workers import Failed
from gdncodec.batch.workers import in_parallel as run_in_parallel
from gdncodec.threads import processors

__all__ = ["Failed", "in_parallel"]

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(
    work: Callable[[T], R], tasks: Sequence[T], jobs: int
) -> Iterator[tuple[T, R | Failed]]:
    """Yield each task with its result, or with the reason why there is none, as they end.

    Args:
        work: a function at the top level of a module, so that another process finds it.
        tasks: its arguments.
        jobs: number of processes; 1 runs everything in this one.
    """
    share = partial(_set_threads, max(1, processors() // jobs))
    return run_in_parallel(work, tasks, min(jobs, max(1, len(tasks))), prepare=share)


def _set_threads(threads: int) -> None:
    """Share the machine's cores among the processes."""
    import torch

    torch.set_num_threads(threads)
