"""Training state on disk: one safetensors file, with JSON in its metadata."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError
from gdncodec.files import write_safely

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Checkpoint", "Counters", "load_checkpoint", "load_start", "save_checkpoint"]


@dataclasses.dataclass
class Counters:
    """Where a run stands."""

    step: int = 0
    """Steps done."""
    averaged: int = 0
    """Steps that the moving average has seen, those of earlier runs included."""
    minutes: float = 0.0
    """Time spent, before a resume included."""
    skipped: int = 0
    """Steps whose gradient was not finite."""
    rollbacks: int = 0
    """Times that the last good state was taken up again."""
    slowdown: float = 1.0
    """Factor of the learning rate after them."""
    falling: bool = False
    """The state before the decay of the learning rate has been written."""
    best: float | None = None
    """Best validation loss so far."""
    data: str | None = None
    """SHA-256 of the training images, see :func:`gdncodec.training.data.manifest`."""


class Checkpoint(NamedTuple):
    """State to continue from.

    A light checkpoint has neither optimiser nor loss: whoever continues from it warms up again.
    """

    config: ModelConfig
    counters: Counters
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any] | None = None
    """The ``state_dict`` of the optimiser."""
    criterion: dict[str, Tensor] | None = None
    """The ``state_dict`` of the loss."""
    options: dict[str, Any] | None = None
    """The fields of :class:`gdncodec.training.options.TrainingOptions`."""

    @property
    def is_complete(self) -> bool:
        """A run can go on from here as if nothing had happened."""
        return self.optimizer is not None and self.criterion is not None

    @property
    def light(self) -> Checkpoint:
        return self._replace(optimizer=None, criterion=None)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that a crash leaves the old file or the new one, whole.

    Raises:
        OSError: the folder is missing, full or not writable.
    """
    parts = checkpoint._asdict()
    metadata = {
        "config": parts.pop("config").to_json(),
        "counters": json.dumps(dataclasses.asdict(parts.pop("counters"))),
        "options": json.dumps(parts.pop("options")),
    }
    if parts["average"] is parts["weights"]:
        parts["average"] = {}
    tensors: dict[str, Tensor] = {}
    metadata["parts"] = json.dumps({k: _flatten(v, k, tensors) for k, v in parts.items()})
    tensors = {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()
    }
    with write_safely(path, overwrite=True) as temporary:
        temporary.write_bytes(save(tensors, metadata))  # save_file would raise no OSError


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; its tensors are on the CPU.

    Raises:
        ModelError: the file is missing or is no checkpoint.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "fingerprint" in metadata:
                msg = "it is an exported model; last, best and before-decay.safetensors are some"
                raise ValueError(msg)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = ModelConfig.from_json(metadata["config"])
        counters = Counters(**json.loads(metadata["counters"]))
        parts = {k: _nest(v, tensors) for k, v in json.loads(metadata["parts"]).items()}
        options = json.loads(metadata["options"])
        checkpoint = Checkpoint(config, counters, **parts, options=options)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        msg = f"{path}: not a training checkpoint ({error})"
        raise ModelError(msg) from error
    # To be kept small a checkpoint may leave the average out; it then begins at the weights.
    return checkpoint._replace(average=checkpoint.average or checkpoint.weights)


def load_start(out: Path, *, resume: bool, weights: Path | None) -> Checkpoint | None:
    """Return what a run begins with: all of the run it continues, or weights, or nothing.

    Args:
        out: the run's folder.
        resume: continue the run in it, or begin it if there is none.
        weights: a checkpoint whose weights a run shall begin with.

    Raises:
        FileExistsError: ``out`` already holds a run, and it is not to be resumed.
        ModelError: a file is no checkpoint, or the run to continue has none.
    """
    last, model = out / "last.safetensors", out / "model.safetensors"
    if resume and last.exists():
        return load_checkpoint(last)
    if resume and model.exists():
        msg = f"{last}: not there, so the run that made {model.name} cannot be continued"
        raise ModelError(msg)
    for path in (last, model):
        if path.exists():
            raise FileExistsError(path)
    return load_checkpoint(weights).light if weights else None


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return nested dicts and lists as JSON can hold them, and put their tensors into a dict.

    A dict becomes ``{"dict": [[key, value], ...]}``, because keys may be numbers; a tensor becomes
    ``{"tensor": name}``, with the keys and indices that lead to it in the name, between dots.
    """
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[k, _flatten(v, f"{name}.{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_flatten(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]
    return value


def _nest(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo :func:`_flatten`; tuples have become lists."""
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {k: _nest(v, tensors) for k, v in value["dict"]}
    if isinstance(value, list):
        return [_nest(v, tensors) for v in value]
    return value
