"""Optimisers for training, by name."""

from typing import Any

import torch

from gdncodec.errors import UsageError
from gdncodec.nn.model import CodecModel
from gdncodec.training.soap import Soap

__all__ = ["make_optimizer"]

_DENSITY = 5.0
"""Learning rate of the density relative to the transforms."""

_SOAP = 3.0
"""Learning rate of SOAP relative to Adam."""


def make_optimizer(model: CodecModel, name: str, learning_rate: float) -> torch.optim.Optimizer:
    """Return an optimiser for a network.

    It has two parameter groups: the transforms with the gains, and the density. The key ``peak`` of
    a group is the learning rate that the schedule scales.

    ``adam`` is Kingma & Ba, arXiv 1412.6980. ``soap`` is Vyas et al., arXiv 2409.11321: Adam in the
    eigenbasis of the gradient's correlations, with one matrix for each axis of a weight. Vectors,
    and the density, whose channels are independent, get plain Adam from it too. The first step of
    SOAP only initialises its preconditioner.

    Args:
        model: network whose parameters to train.
        name: ``adam`` or ``soap``.
        learning_rate: peak learning rate of the transforms under Adam, above 0.

    Raises:
        UsageError: there is no optimiser with that name.
    """
    density = list(model.density.parameters())
    ids = {id(p) for p in density}
    transforms = [p for p in model.parameters() if id(p) not in ids]
    peak = learning_rate * (_SOAP if name == "soap" else 1.0)
    groups: list[dict[str, Any]] = [
        {"params": transforms, "peak": peak},
        {"params": density, "peak": _DENSITY * peak},
    ]
    if name == "adam":
        return torch.optim.Adam(groups, lr=peak, fused=True)
    if name == "soap":
        groups[1]["largest"] = 0
        return Soap(groups, peak)
    msg = f"optimizer must be one of adam, soap, got {name!r}"
    raise UsageError(msg)
