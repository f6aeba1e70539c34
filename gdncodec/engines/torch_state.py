"""The state in which PyTorch computes here, whatever a program has set for itself."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Undrawn", "own_state"]


class Undrawn(TorchFunctionMode):
    """Leaves out drawing the initial weights of layers, which would change the random state.

    Building on the meta device would, too; its first use takes 0.8 s.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in _DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


_DRAWING = {"normal_", "uniform_", "kaiming_uniform_", "kaiming_normal_", "trunc_normal_"}


class _Shared:
    """Settings of the whole process, ours while any thread computes, the program's otherwise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._restore: list[Callable[[], object]] = []

    def enter(self, threads: int | None) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._restore = []
                for get, change, wanted in _settings(threads):
                    before = get()
                    if before != wanted:
                        change(wanted)
                        self._restore.append(partial(change, before))

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for restore in reversed(self._restore):
                    restore()


_SHARED = _Shared()


@contextmanager
def own_state(device: torch.device, threads: int | None = None) -> Iterator[None]:
    """Compute in float32, without autocast, and leave all settings as they were.

    Args:
        device: on which to compute.
        threads: number of CPU threads; None takes what the program has set. Of several threads
            that compute at the same time, the first one's number counts.
    """
    _SHARED.enter(threads)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        _SHARED.leave()


def _settings(threads: int | None) -> Iterator[tuple[Callable[[], Any], Callable[[Any], Any], Any]]:
    """Yield how each setting is read and changed, and what it has to be."""
    yield torch.get_default_dtype, torch.set_default_dtype, torch.float32
    if threads is not None:
        yield torch.get_num_threads, torch.set_num_threads, threads
    # Without a deterministic form of an operation the program's setting would be an error.
    yield torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 0
    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):  # before PyTorch 2.9
        yield torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"
    for owner, name, wanted in (
        (backends.cudnn, "deterministic", False),
        (backends.cudnn, "benchmark", False),
        *_precisions(backends),
    ):
        yield _reader(owner, name), _changer(owner, name), wanted


def _precisions(backends: Any) -> Iterator[tuple[Any, str, Any]]:
    if not hasattr(backends, "fp32_precision"):  # before PyTorch 2.9
        yield backends.cudnn, "allow_tf32", True
        return
    for owner in (backends.mkldnn.matmul, backends.mkldnn.conv, backends.cuda.matmul):
        yield owner, "fp32_precision", "ieee"
    yield backends.cudnn.conv, "fp32_precision", "tf32"  # as is usual there


def _reader(owner: Any, name: str) -> Callable[[], Any]:
    return lambda: getattr(owner, name)


def _changer(owner: Any, name: str) -> Callable[[Any], Any]:
    def change(value: Any) -> None:
        if name == "fp32_precision":
            owner.fp32_precision = "none"  # as that of all backends, on which it may depend
            if owner.fp32_precision == value:
                return
        setattr(owner, name, value)

    return change
