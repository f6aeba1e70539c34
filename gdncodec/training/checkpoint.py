"""Training state on disk: float32 weights and their moving average, in one safetensors file."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError
from gdncodec.files import write_safely

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]


class Checkpoint(NamedTuple):
    """State to continue from; the optimiser starts afresh with a warm-up."""

    config: ModelConfig
    step: int
    weights: dict[str, Tensor]
    average: dict[str, Tensor]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that a crash leaves the old file or the new one, whole."""
    tensors = {f"weights.{k}": v for k, v in checkpoint.weights.items()}
    tensors |= {f"average.{k}": v for k, v in checkpoint.average.items()}
    tensors = {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()
    }
    metadata = {"config": checkpoint.config.to_json(), "step": json.dumps(checkpoint.step)}
    with write_safely(path, overwrite=True) as temporary:
        save_file(tensors, temporary, metadata)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModelError: the file is missing or is no checkpoint.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = ModelConfig.from_json(metadata["config"])
        step = int(metadata["step"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        msg = f"{path}: not a training checkpoint ({error})"
        raise ModelError(msg) from error
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}}
    for key, value in tensors.items():
        part, name = key.split(".", 1)
        parts[part][name] = value
    # To be kept small a checkpoint may leave the average out; it then begins at the weights.
    return Checkpoint(config, step, parts["weights"], parts["average"] or parts["weights"])
