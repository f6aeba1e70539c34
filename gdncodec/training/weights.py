"""Weights that a run starts from, or that become a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError, one_line, printable
from gdncodec.files import check_ordinary
from gdncodec.training.checkpoint import Checkpoint, Counters, load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["load_weights"]


def load_weights(path: Path) -> Checkpoint:
    """Read a training checkpoint, or the bare weights of a network with its configuration.

    Bare weights are a safetensors file of the state dict of a
    :class:`gdncodec.nn.model.CodecModel`, with the JSON of its
    :class:`gdncodec.config.ModelConfig` as ``config`` in the metadata.

    Raises:
        ModelError: the file is missing or is neither.
    """
    try:
        check_ordinary(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            bare = "config" in metadata and not {"fingerprint", "counters"} & metadata.keys()
            names = list(file.keys()) if bare else []
            weights: dict[str, Tensor] = {name: file.get_tensor(name).float() for name in names}
    except (OSError, SafetensorError) as error:
        msg = f"{path}: not a training checkpoint ({one_line(error)})"
        raise ModelError(msg) from error
    if not bare:
        return load_checkpoint(path)
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            msg = f"{path}: tensor {printable(name)} holds numbers that are not finite"
            raise ModelError(msg)
    try:
        config = ModelConfig.from_json(metadata["config"])
    except ModelError as error:
        msg = f"{path}: {error}"
        raise ModelError(msg) from error
    return Checkpoint(config, Counters(), weights, weights)
