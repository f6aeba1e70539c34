"""How many threads computations use."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["one_blas_thread", "processors"]


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep NumPy's BLAS to one thread until the end of the block.

    Matrix products here are either small or divided among threads already, and the threads of a
    BLAS that wait for work take the processors away from others: beside two busy processes they
    made the entropy coder seven times slower. The limit applies to the whole process. Of several
    threads that use this, the first sets and restores it.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    import numpy as np

    np.dot(np.ones(1), np.ones(1))  # loads the BLAS, if nothing else has yet
    return ThreadpoolController()
