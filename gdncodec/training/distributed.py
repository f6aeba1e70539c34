"""Training one network in several processes, started by torchrun."""

import importlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gdncodec.config import ModelConfig
from gdncodec.errors import UsageError
from gdncodec.norms import norm_info, parse_norm
from gdncodec.norms.batch import BatchNorm

__all__ = [
    "ALONE",
    "Workers",
    "parallel",
    "refuse_batch_statistics",
    "synchronise_norms",
    "workers",
]

_PATIENCE = timedelta(minutes=10)
"""Timeout for processes that wait for each other."""

_DEAD_AFTER = timedelta(seconds=3)
"""Timeout after which a peer is considered dead."""

_VARIABLES = [("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")]


class Workers(NamedTuple):
    """The processes of a run from the point of view of one of them; by default it is alone."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that reports, validates and writes files."""
        return self.rank == 0

    def slots(self, batch: int) -> range:
        """Return the indices of the crops in a batch that this process computes.

        Raises:
            ValueError: the batch is not a multiple of the number of processes.
        """
        if batch % self.world:
            msg = f"batch must be a multiple of the number of processes, got {batch} for"
            msg += f" {self.world}"
            raise UsageError(msg)
        share = batch // self.world
        return range(self.rank * share, (self.rank + 1) * share)

    def add(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; the tensor may be overwritten."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def largest(self, *values: float) -> list[float]:
        """Return the maximum of each value over all processes."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def from_main(self, value: Any) -> Any:
        """Return the value that the main process passes, in every process."""
        values = [value]
        if self.world > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def all_of(self, values: list[Any]) -> list[Any]:
        """Return the concatenated lists of all processes."""
        lists: list[Any] = [values]
        if self.world > 1:
            lists = [None] * self.world
            dist.all_gather_object(lists, values)
        return [value for part in lists for value in part]


ALONE = Workers()
"""A single process on the CPU."""


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Join the processes that torchrun started, if any, until the end of the block.

    Reads ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK`` from the environment. Processes on CUDA use
    the device of their local rank and communicate through NCCL, others through Gloo.

    Args:
        device: a torch device, or ``auto`` for CUDA if available and the CPU otherwise.

    Raises:
        UsageError: the device is unknown or not available, or this machine has fewer CUDA devices
            than processes.
    """
    try:
        chosen = torch.device(_best_device() if device == "auto" else device)
        if chosen.type not in ("cpu", "cuda"):
            torch.zeros(1, device=chosen).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        msg = f"device must be auto or a torch device such as cpu or cuda:0, got {device!r}"
        raise UsageError(msg) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        msg = f"torch finds no CUDA device, got {device!r}"
        raise UsageError(msg)
    rank, world, local = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
    if world == 1:
        yield Workers(device=chosen)
        return
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            msg = f"there are {torch.cuda.device_count()} CUDA devices for {local + 1} processes"
            raise UsageError(msg)
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    # DistributedDataParallel imports this module, whose functions have the current group as a
    # default argument. Imported before there is a group, it does not keep one alive. Otherwise the
    # threads of Gloo would outlive destroy_process_group, and one that releases a tensor while the
    # interpreter exits aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    device_id, backend = (chosen, "nccl") if chosen.type == "cuda" else (None, "gloo")
    shared, _, _ = next(dist.rendezvous("env://"))  # keeps a store served here alive until the end
    store = _own_store(shared, rank)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, device_id=device_id)
    try:
        yield Workers(rank, world, chosen)
    finally:
        dist.destroy_process_group()


def _own_store(shared: dist.Store, rank: int) -> dist.Store:
    """Return a store that only the processes of this start share.

    When torchrun restarts processes, it gives them the store of those that died, addresses
    included, and they would wait for the dead (pytorch/pytorch issue 135712). So the first process
    serves a new store, and an address at which nobody answers is left over from an earlier start.
    ``TORCHELASTIC_RESTART_COUNT`` cannot tell the starts apart: every machine counts its own.
    """
    host, key = os.environ["MASTER_ADDR"], "gdncodec/port"
    if rank == 0:
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
        shared.set(key, str(store.port))
        return store
    deadline = time.monotonic() + _PATIENCE.total_seconds()
    while (found := _store_at(host, int(shared.get(key)))) is None:
        if time.monotonic() > deadline:
            msg = f"the first process does not answer at {host}"
            raise TimeoutError(msg)
    return found


def _store_at(host: str, port: int) -> dist.Store | None:
    try:
        store = dist.TCPStore(host, port, is_master=False, timeout=_DEAD_AFTER)
    except RuntimeError:  # no answer
        return None
    store.set_timeout(_PATIENCE)
    return store


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def parallel(model: nn.Module, team: Workers) -> nn.Module:
    """Wrap ``model`` so that its gradients are averaged over all processes.

    Call it again when the set of trainable parameters changes, after deleting the previous wrapper.
    """
    if team.world == 1:
        return model
    ids = [team.device] if team.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


def refuse_batch_statistics(config: ModelConfig, team: Workers) -> None:
    """Raise ValueError if a norm cannot compute its batch statistics over several processes."""
    for norm in (config.norm, config.synthesis_norm):
        if team.world > 1 and norm_info(norm).needs_batch_statistics:
            name, _ = parse_norm(norm)
            if name != "batch":
                msg = f"norm {name} depends on the other images in a batch and cannot be split over"
                msg += f" {team.world} processes; use one process or another norm, such as batch"
                raise UsageError(msg)


def synchronise_norms(model: nn.Module, team: Workers) -> None:
    """Make the batch normalisation in a network use statistics over all processes."""
    for layer in model.modules() if team.world > 1 else ():
        if type(layer) is BatchNorm:
            layer.__class__ = _SynchronisedBatchNorm  # same parameters and buffers


class _SynchronisedBatchNorm(BatchNorm):
    """Batch normalisation over all processes, each with an equal share of the batch."""

    def normalise(self, x: Tensor) -> Tensor:
        if not self.uses_batch:
            return super().normalise(x)
        axes = [0, *range(2, x.ndim)]
        shape = (1, -1, *[1] * (x.ndim - 2))
        n = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _Sum.apply(x.sum(axes)) / n
        centred = x - mean.reshape(shape)
        var = _Sum.apply(centred.square().sum(axes)) / n
        with torch.no_grad():
            share = self.next_share()
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            unbiased = var * (n / (n - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        scale = (var + self.eps).rsqrt() * self.weight
        return torch.addcmul(self.bias.reshape(shape), centred, scale.reshape(shape))


class _Sum(torch.autograd.Function):
    """Sum over all processes; the gradient is summed over them too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total
