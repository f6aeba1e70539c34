"""Gradients that have no derivative of their own, and say so."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["differentiable_once"]


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, name: str, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.name = name
        return tuple(t.view_as(t) for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        msg = (
            f"cannot differentiate {ctx.name} twice; for second derivatives write its formula with "
            "operations of torch"
        )
        raise RuntimeError(msg)


def differentiable_once(
    name: str, gradients: tuple[Tensor, ...], *depends_on: Tensor
) -> tuple[Tensor, ...]:
    """Return gradients whose differentiation raises an error.

    For the backward pass of a torch.autograd.Function. With torch's own ``once_differentiable``,
    :func:`torch.autograd.grad` returns None in place of a second derivative.

    Args:
        name: of the layer, for the message.
        gradients: computed without a graph.
        depends_on: what they depend on; a derivative with respect to each raises the error.
    """
    if not torch.is_grad_enabled():  # without create_graph=True nobody can differentiate them
        return gradients
    found: tuple[Tensor, ...] = _Once.apply(name, len(gradients), *gradients, *depends_on)
    return found
