"""Several processes that train one network, as torchrun starts them."""

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
"""How long a process waits for the others when they meet."""

_NOBODY = timedelta(seconds=3)
"""Timeout after which a peer is considered dead."""

_VARIABLES = [("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")]


class Workers(NamedTuple):
    """The processes of a run, as one of them sees them; by default there is no other."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_main(self) -> bool:
        """This is the process that reports, validates and writes."""
        return self.rank == 0

    def slots(self, batch: int) -> range:
        """Return which crops of a batch this process computes.

        Raises:
            ValueError: the batch cannot be shared out evenly.
        """
        if batch % self.world:
            msg = f"batch must be a multiple of the number of processes, got {batch} for"
            msg += f" {self.world}"
            raise ValueError(msg)
        share = batch // self.world
        return range(self.rank * share, (self.rank + 1) * share)

    def add(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; it may be the tensor itself."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def largest(self, *values: float) -> list[float]:
        """Return the largest of each value over all processes."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def from_main(self, value: Any) -> Any:
        """Return the value that the main process passes."""
        values = [value]
        if self.world > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def all_of(self, values: list[Any]) -> list[Any]:
        """Return what the lists of all processes hold."""
        lists: list[Any] = [values]
        if self.world > 1:
            lists = [None] * self.world
            dist.all_gather_object(lists, values)
        return [value for part in lists for value in part]


ALONE = Workers()
"""One process on the CPU."""


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Join the processes that torchrun has started, if it did, until the end of the block.

    Reads the environment's ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``. Processes on CUDA take the
    device of their local rank and talk through NCCL, others through Gloo.

    Args:
        device: a torch device, or ``auto``: CUDA where there is one.

    Raises:
        ValueError: the device is unknown, or there are more processes here than CUDA devices.
    """
    try:
        chosen = torch.device(_best_device() if device == "auto" else device)
        if chosen.type not in ("cpu", "cuda"):
            torch.zeros(1, device=chosen).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        msg = f"device must be auto or a torch device such as cpu or cuda:0, got {device!r}"
        raise ValueError(msg) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        msg = f"there is no CUDA device that torch can use, got {device!r}"
        raise ValueError(msg)
    rank, world, local = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
    if world == 1:
        yield Workers(device=chosen)
        return
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            msg = f"there are {torch.cuda.device_count()} CUDA devices for {local + 1} processes"
            raise ValueError(msg)
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    # Default arguments of its functions keep whatever group exists when the module is imported, and
    # DistributedDataParallel imports it. A group that is kept outlives destroy_process_group, and
    # a thread of Gloo that then releases a tensor while the interpreter exits aborts the process.
    importlib.import_module("torch.distributed.nn.functional")
    device_id, backend = (chosen, "nccl") if chosen.type == "cuda" else (None, "gloo")
    shared, _, _ = next(dist.rendezvous("env://"))  # lives until the end, if it is served here
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
            msg = f"the first of the processes does not answer at {host}"
            raise TimeoutError(msg)
    return found


def _store_at(host: str, port: int) -> dist.Store | None:
    try:
        store = dist.TCPStore(host, port, is_master=False, timeout=_NOBODY)
    except RuntimeError:  # nobody answers
        return None
    store.set_timeout(_PATIENCE)
    return store


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def parallel(model: nn.Module, team: Workers) -> nn.Module:
    """Return a module that computes what ``model`` does, with gradients averaged over processes.

    To be called again when other parameters learn than before; the module of before must be gone.
    """
    if team.world == 1:
        return model
    ids = [team.device] if team.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


def refuse_batch_statistics(config: ModelConfig, team: Workers) -> None:
    """Raise ValueError if a norm's batch statistics cannot be those of the whole batch."""
    for norm in (config.norm, config.synthesis_norm):
        if team.world > 1 and norm_info(norm).needs_batch_statistics:
            name, _ = parse_norm(norm)
            if name != "batch":
                msg = f"norm {name} sees the other images of a batch and cannot be shared out to"
                msg += f" {team.world} processes; use one process or another norm, such as batch"
                raise ValueError(msg)


def synchronise_norms(model: nn.Module, team: Workers) -> None:
    """Let the batch normalisation in a network use the statistics of the whole batch."""
    for layer in model.modules() if team.world > 1 else ():
        if type(layer) is BatchNorm:
            layer.__class__ = _SynchronisedBatchNorm  # it has the same parameters and buffers


class _SynchronisedBatchNorm(BatchNorm):
    """Batch normalisation over the equal shares of all processes, on any device."""

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
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = var * (n / (n - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        scale = (var + self.eps).rsqrt() * self.weight
        return torch.addcmul(self.bias.reshape(shape), centred, scale.reshape(shape))


class _Sum(torch.autograd.Function):
    """Sum over all processes; its gradient is the sum of theirs."""

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
