"""Optimisers for training, by name."""

from typing import Any

import torch
from torch import Tensor

from gdncodec.errors import UsageError
from gdncodec.extras import check_installed
from gdncodec.nn.model import CodecModel

__all__ = ["make_optimizer"]

_DENSITY = 5.0
"""Learning rate of the density relative to the transforms."""

_SOAP = 3.0
"""Learning rate of SOAP relative to Adam."""

_LARGEST_CORRELATED = 512
"""Longest axis that SOAP preconditions: matrices of longer ones would cost more than they gain."""


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
        GdnCodecError: the package that provides the optimiser is not installed.
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
        return _soap(groups)
    msg = f"optimizer must be one of adam, soap, got {name!r}"
    raise UsageError(msg)


def _soap(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    check_installed("pytorch_optimizer", extra="train")
    from pytorch_optimizer import SOAP

    groups[1]["max_precondition_dim"] = 1
    optimizer: torch.optim.Optimizer = SOAP(
        groups,
        lr=groups[0]["peak"],
        weight_decay=0.0,
        precondition_frequency=10,
        max_precondition_dim=_LARGEST_CORRELATED,
        # The library fails to merge axes of weights so small that only one axis would remain.
        merge_dims=False,
    )
    optimizer.register_step_post_hook(_as_from_a_file)
    return optimizer


def _as_from_a_file(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Give the optimiser state the memory layout that it has when read from a checkpoint.

    Files store no layout, and rounding in sums depends on it: otherwise a resumed run would differ
    from one that was not interrupted.
    """
    for parameter, state in optimizer.state.items():
        state["Q"] = [q.contiguous() if isinstance(q, Tensor) else q for q in state["Q"]]
        if state["exp_avg_sq"].stride() != parameter.stride():
            state["exp_avg_sq"] = torch.empty_like(parameter).copy_(state["exp_avg_sq"])
