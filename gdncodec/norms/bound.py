"""Lower bound whose gradient lets a parameter rise again (Ballé et al., arXiv 1611.01704)."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["lower_bound"]


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        passes = (x >= ctx.bound) | (grad < 0)
        return torch.where(passes, grad, torch.zeros_like(grad)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """Return ``max(x, bound)``, with a gradient that also passes below the bound towards it.

    The gradient ``g`` passes where ``x >= bound`` or ``g < 0`` (a descent step would raise ``x``)
    and is zero elsewhere, so a parameter that has fallen below the bound is not stuck there.
    This is ``tfc.lower_bound(..., gradient="identity_if_towards")``.

    Args:
        x: any shape, any floating type.
        bound: the bound, a Python number, which needs no buffer on the device of ``x``.
    """
    return _LowerBound.apply(x, bound)
