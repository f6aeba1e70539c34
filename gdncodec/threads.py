"""How many threads computations use."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from threadpoolctl import OpenBLASController, ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["ahead", "beside", "bounded", "one_blas_thread", "processors"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_WAITING = 2
"""Items at most that wait for :func:`beside`: they take memory."""

_LOCK = threading.Lock()
_inside = 0
_limit: Any = None


def processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def bounded(threads: int) -> int:
    """Return a number of threads that this machine can bear: at most 8 for each processor."""
    return min(threads, 8 * processors())


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield items, while a thread makes the next one."""
    end: Any = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item


def beside(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Yield the results of work on items, while the caller's thread makes the next items."""
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > _WAITING:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep NumPy's BLAS to one thread until the end of the block.

    Matrix products here are either small or divided among threads already, and the threads of a
    BLAS that wait for work take the processors away from others: beside two busy processes they
    made the entropy coder seven times slower. The limit applies to the whole process; the last of
    several threads to leave a block restores what there was before the first one entered.
    """
    global _inside, _limit
    with _LOCK:
        _inside += 1
        if _inside == 1:
            _limit = _controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _LOCK:
            _inside = max(_inside - 1, 0)
            if _inside == 0:
                _take_over()
                _limit.restore_original_limits()
                _take_over()


def _take_over() -> None:
    """Let any thread set the limit: since version 3.7 threadpoolctl heeds only the first one."""
    clear = getattr(OpenBLASController, "clear_controlling_thread", None)
    if clear:
        clear(force=True)


def _renew_locks() -> None:
    """Make usable in a forked process what other threads held, none of which is there any more."""
    global _LOCK, _inside
    _LOCK = threading.Lock()
    if _inside:
        _inside = 0
        _take_over()
        _limit.restore_original_limits()
        _take_over()
    for name, module in list(sys.modules.items()):
        classes = vars(module).values() if name.startswith("gdncodec.") else ()
        for attribute in [a for c in classes if isinstance(c, type) for a in vars(c).values()]:
            if isinstance(attribute, cached_property) and hasattr(attribute, "lock"):
                attribute.lock = threading.RLock()  # before Python 3.12


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    import numpy as np

    np.dot(np.ones(1), np.ones(1))  # loads the BLAS, if nothing else has yet
    return ThreadpoolController()
