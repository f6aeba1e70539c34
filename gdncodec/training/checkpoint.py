"""Training state on disk: one safetensors file with JSON in its metadata.

``digest``, also in the metadata, is a SHA-256 over all else in the file, so that no flipped bit is
trained on. Checkpoints that were written before there was one are not checked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError, one_line
from gdncodec.files import check_ordinary, write_safely

if TYPE_CHECKING:
    from pathlib import Path

_WITHOUT_DIGEST = {"config", "counters", "options", "parts"}

__all__ = ["Checkpoint", "Counters", "load_checkpoint", "load_start", "save_checkpoint"]


@dataclasses.dataclass
class Counters:
    """Progress of a run and what has happened in it."""

    step: int = 0
    """Completed steps."""
    averaged: int = 0
    """Steps in the moving average, including those of earlier runs."""
    minutes: float = 0.0
    """Training time, including the time before a resume."""
    skipped: int = 0
    """Steps skipped because their gradient was not finite."""
    rollbacks: int = 0
    """Times that the run went back to the last good state."""
    slowdown: float = 1.0
    """Factor on the learning rate, halved at each rollback."""
    falling: bool = False
    """Whether the learning rate has begun to decay, and the state before that has been saved."""
    best: float | None = None
    """Lowest validation score so far, see :func:`gdncodec.training.validate.score`."""
    data: str | None = None
    """SHA-256 of the training images, see :func:`gdncodec.training.data.manifest`."""

    def __post_init__(self) -> None:
        counts = (self.step, self.averaged, self.skipped, self.rollbacks)
        if not all(type(n) is int and n >= 0 for n in counts):
            msg = f"its counters are {counts}, not whole numbers from 0"
            raise ValueError(msg)
        if not (self.minutes >= 0 and 0 < self.slowdown <= 1) or self.minutes == math.inf:
            msg = f"its minutes are {self.minutes}, its slowdown {self.slowdown}"
            raise ValueError(msg)


class Checkpoint(NamedTuple):
    """State from which training can continue.

    A light checkpoint has neither optimiser nor loss state; a run that starts from it warms up
    again.
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
        """Whether a run can resume from here exactly as if it had not been interrupted."""
        return self.optimizer is not None and self.criterion is not None

    @property
    def light(self) -> Checkpoint:
        """The checkpoint without optimiser and loss state."""
        return self._replace(optimizer=None, criterion=None)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a crash leaves either the old file or the new one intact.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
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
    metadata["digest"] = _digest(metadata, tensors)
    with write_safely(path, overwrite=True) as temporary:
        temporary.write_bytes(save(tensors, metadata))  # save_file does not raise OSError


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; its tensors are on the CPU.

    Raises:
        ModelError: the file is missing, damaged, or not a checkpoint, or holds numbers that are not
            finite.
    """
    try:
        check_ordinary(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "fingerprint" in metadata:
                msg = "it is an exported model; last, best and before-decay.safetensors are some"
                raise ValueError(msg)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        _check(metadata, tensors)
        config = ModelConfig.from_json(metadata["config"])
        counters = Counters(**json.loads(metadata["counters"]))
        parts = {k: _nest(v, tensors) for k, v in json.loads(metadata["parts"]).items()}
        options = json.loads(metadata["options"])
        if options is not None:
            options = dict(options)
        checkpoint = Checkpoint(config, counters, **parts, options=options)
    except (
        OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, ModelError,
        RecursionError, OverflowError,
    ) as error:  # fmt: skip
        msg = f"{path}: not a training checkpoint ({one_line(error)})"
        raise ModelError(msg) from error
    # A checkpoint may omit the average to save space; averaging then starts from the weights.
    return checkpoint._replace(average=checkpoint.average or checkpoint.weights)


def load_start(out: Path, *, resume: bool) -> Checkpoint | None:
    """Return the checkpoint of a run to resume, or None for a new run.

    Args:
        out: folder of the run.
        resume: resume the run in this folder, if there is one.

    Raises:
        FileExistsError: ``out`` already contains a run and ``resume`` is false.
        ModelError: a file is not a checkpoint, or the run to resume has none.
    """
    last, model = out / "last.safetensors", out / "model.safetensors"
    if resume and last.exists():
        return load_checkpoint(last)
    if resume and model.exists():
        msg = f"{last}: not found, so the run that produced {model.name} cannot be resumed"
        raise ModelError(msg)
    for path in (last, model):
        if path.exists():
            raise FileExistsError(path)
    return None


def _check(metadata: dict[str, str], tensors: dict[str, Tensor]) -> None:
    old = metadata.keys() <= _WITHOUT_DIGEST
    if not old and metadata.get("digest") != _digest(metadata, tensors):
        msg = "damaged: its digest is not that of its contents"
        raise ValueError(msg)
    for name, tensor in tensors.items():
        if name == "criterion.usual" and tensor.isnan().all():  # no sample has been seen yet
            continue
        if tensor.is_floating_point() and not tensor.isfinite().all():
            msg = f"tensor {name} holds numbers that are not finite"
            raise ValueError(msg)


def _digest(metadata: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256, in hexadecimal, over contiguous tensors and the other metadata."""
    others = {key: value for key, value in metadata.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(others, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name},{tensor.dtype},{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return nested dicts and lists in a form that JSON can hold; collect their tensors in a dict.

    A dict becomes ``{"dict": [[key, value], ...]}``, because keys may be numbers. A tensor becomes
    ``{"tensor": name}``, where the name joins the keys and indices that lead to it with dots.
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
    """Reverse :func:`_flatten`; tuples come back as lists."""
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {k: _nest(v, tensors) for k, v in value["dict"]}
    if isinstance(value, list):
        return [_nest(v, tensors) for v in value]
    return value
