"""Runs a function on many tasks on a Ray cluster: as :mod:`gdncodec.batch.workers`, elsewhere."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, TypeVar

from gdncodec.batch.workers import TRIES, Failed, attempt
from gdncodec.errors import GdnCodecError, one_line
from gdncodec.extras import check_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["cluster_processes", "on_cluster"]

T = TypeVar("T")
R = TypeVar("R")

_LOOK = 1.0
"""Seconds after which a run looks whether it shall stop, if nothing ends."""


def connect(address: str | None) -> Any:
    """Return the package ``ray``, connected to a cluster.

    Args:
        address: of the cluster, ``HOST:PORT`` or ``auto``; None starts one on this machine.

    Raises:
        GdnCodecError: Ray is not installed, or there is no cluster at the address.
    """
    check_installed("ray", "fsspec", extra="ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=None)
        except (ConnectionError, RuntimeError, ValueError) as error:
            msg = f"no Ray cluster can be reached at {address} ({one_line(error)})"
            raise GdnCodecError(msg) from error
    return ray


def cluster_processes(address: str | None, device: str | None) -> int:
    """Return how many processes a cluster has room for: one a core, or one a GPU."""
    ray = connect(address)
    return max(1, int(ray.cluster_resources().get("CPU" if _on_cpu(device) else "GPU", 1)))


def on_cluster(
    work: Callable[[T], R],
    tasks: Iterable[T],
    processes: int,
    *,
    address: str | None = None,
    device: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
    again: Callable[[T], T] = lambda task: task,
) -> Iterator[tuple[T, R | Failed]]:
    """Yield each task with its result, or with the reason why there is none, as they end.

    Actors hold what the work has loaded. The task of an actor that dies, or whose machine does, is
    done by another one.

    Args:
        work: a function that can be pickled; its module is installed on all machines.
        tasks: its arguments; taken from the iterator as they are needed.
        processes: number of actors; each takes a core, or a GPU.
        address: see :func:`connect`.
        device: torch device on which the work computes; None stands for the CPU.
        stopped: asked before each task; once true, no more are begun, and those that run are ended.
        again: returns the task to do instead of one whose actor died.
    """
    ray = connect(address)
    options = {"num_cpus": 1} if _on_cpu(device) else {"num_cpus": 1, "num_gpus": 1}
    actors = _Actors(ray, ray.remote(_Actor).options(**options), work)
    try:
        yield from actors.run(iter(tasks), processes, stopped, again)
    finally:
        actors.close()


def _on_cpu(device: str | None) -> bool:
    return device in (None, "cpu")


class _Actor:
    """What runs on the cluster."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def ready(self) -> None:
        """Return as soon as the actor runs."""

    def do(self, task: Any) -> Any:
        return attempt(self._work, task)


class _Actors:
    """Actors that each do one task at a time; none gets one before it runs."""

    def __init__(self, ray: Any, kind: Any, work: Callable[[Any], Any]) -> None:
        self._ray, self._kind = ray, kind
        self._work = ray.put(work)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Any, int]] = {}

    def run(
        self,
        tasks: Iterator[Any],
        processes: int,
        stopped: Callable[[], bool],
        again: Callable[[Any], Any],
    ) -> Iterator[tuple[Any, Any]]:
        """See :func:`on_cluster`."""
        for _ in range(processes):
            self._start()
        left: list[tuple[Any, int]] = []  # tasks whose actor died, and how often
        more = True
        while True:
            while self._idle and not stopped() and (left or more):
                task = left.pop() if left else next(((t, 0) for t in tasks), None)
                if task is None:
                    more = False
                    break
                actor = self._idle.pop()
                self._busy[actor.do.remote(task[0])] = (actor, *task)
            if not self._busy and (stopped() or not (left or more)):
                return
            ended, _ = self._ray.wait([*self._starting, *self._busy], timeout=_LOOK)
            for reference in ended:
                if reference in self._starting:
                    self._started(reference)
                    continue
                actor, task, deaths = self._busy.pop(reference)
                try:
                    result = self._ray.get(reference)
                except self._ray.exceptions.RayError as error:
                    self._start()
                    if deaths + 1 < TRIES and not stopped():
                        left.append((again(task), deaths + 1))
                        continue
                    result = Failed(f"its process died ({type(error).__name__})")
                else:
                    self._idle.append(actor)
                yield task, result

    def _start(self) -> None:
        actor = self._kind.remote(self._work)
        self._starting[actor.ready.remote()] = actor

    def _started(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError:
            self._start()  # its machine went away meanwhile
        else:
            self._idle.append(actor)

    def close(self) -> None:
        """End all actors."""
        busy = [actor for actor, _, _ in self._busy.values()]
        for actor in [*self._starting.values(), *self._idle, *busy]:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
