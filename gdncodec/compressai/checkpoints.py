"""Checkpoints of CompressAI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gdncodec.errors import ModelError
from gdncodec.files import check_ordinary

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_state_dict"]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by their names in the current CompressAI.

    No code in the file is run.

    Args:
        path: a state dict, or a dictionary with one under ``state_dict``, written by torch.save.

    Raises:
        ModelError: the file cannot be read, is damaged, or holds something else.
    """
    try:
        check_ordinary(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise ModelError(msg) from error
    except Exception as error:  # a damaged pickle can raise anything
        msg = (
            f"{path}: damaged, or more than tensors and plain containers; "
            "torch.save(net.state_dict(), ...) writes what can be read"
        )
        raise ModelError(msg) from error
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        msg = f"{path}: holds no state dict"
        raise ModelError(msg)
    return {_current_name(str(name)): value.detach() for name, value in state.items()}


def _current_name(name: str) -> str:
    """Remove DataParallel's prefix, and replace names of older versions of CompressAI."""
    name = name.removeprefix("module.")
    old = re.fullmatch(r"entropy_bottleneck\._?(matri|bias|factor)(?:x|ces|es|s)?\.?([0-9])", name)
    if not old:
        return name
    kind = {"matri": "matrices", "bias": "biases", "factor": "factors"}[old[1]]
    return f"entropy_bottleneck.{kind}.{old[2]}"
