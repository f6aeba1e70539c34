"""Optimisers of the training, by name."""

from typing import Any

import torch
from torch import Tensor

from gdncodec.extras import check_installed
from gdncodec.nn.model import CodecModel

__all__ = ["make_optimizer"]

_DENSITY = 5.0
"""The density learns so many times as fast as the rest."""

_SOAP = 3.0
"""SOAP takes so many times Adam's learning rate."""

_LARGEST_CORRELATED = 512
"""SOAP keeps axes that are longer as they are: their matrices would cost more than they bring."""


def make_optimizer(model: CodecModel, name: str, learning_rate: float) -> torch.optim.Optimizer:
    """Return an optimiser of a network.

    It has two groups of parameters, the transforms with the gains and the density. The key ``peak``
    of a group is the learning rate that the schedule scales.

    ``adam`` is Kingma & Ba, arXiv 1412.6980. ``soap`` is Vyas et al., arXiv 2409.11321: Adam along
    the eigenvectors of the gradient's correlations, one matrix for each axis of a weight. Vectors,
    and the density, whose channels know nothing of each other, get plain Adam from it too. Its
    first step only measures the gradient.

    Args:
        model: whose parameters to train.
        name: ``adam`` or ``soap``.
        learning_rate: peak rate of the transforms under Adam, above 0.

    Raises:
        GdnCodecError: the package that has the optimiser is not installed.
        ValueError: there is no optimiser of that name.
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
    raise ValueError(msg)


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
        # The four axes of a convolution stay apart: the library cannot merge those of weights so
        # small that one axis would be left.
        merge_dims=False,
    )
    optimizer.register_step_post_hook(_as_from_a_file)
    return optimizer


def _as_from_a_file(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Give the state the memory layout that it has when it is read from a checkpoint.

    A file holds none, and sums round by it: a run that is resumed would not do what it would have
    done.
    """
    for parameter, state in optimizer.state.items():
        state["Q"] = [q.contiguous() if isinstance(q, Tensor) else q for q in state["Q"]]
        if state["exp_avg_sq"].stride() != parameter.stride():
            state["exp_avg_sq"] = torch.empty_like(parameter).copy_(state["exp_avg_sq"])
