"""The arithmetic of MABN's other form, which normalises the images of a batch two by two."""

from typing import Any

import torch
from torch import Tensor

from gdncodec.norms.once import differentiable_once

__all__ = ["last_means", "normalise_pairs", "pair_means"]


def pair_means(x: Tensor) -> Tensor:
    """Return the mean (P, C) of each channel over each pair of a batch (2 P, C, *S)."""
    n, c = x.shape[:2]
    return x.reshape(n // 2, 2, c, -1).mean((1, 3))


def last_means(before: Tensor, now: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Average the values of pairs over the last K pairs, each pair's own included.

    Args:
        before: (K, C), of the last K pairs of earlier batches.
        now: (P, C), of the pairs of this batch.
        own: scalar bool; take the values of this batch as they are.

    Returns:
        The averages (P, C), and the last K values (K, C), for the next batch.
    """
    row = torch.cat([before.to(now.dtype), now])
    means = row[1:].unfold(0, len(before), 1).mean(-1)
    return torch.where(own, now, means), row[-len(before) :]


class _NormalisePairs(torch.autograd.Function):
    """``z = x / deviation`` whose gradient uses averages over pairs in place of E[g z]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, deviation: Tensor, window: Tensor, own: Tensor) -> Tensor:
        each = _each_image(deviation, x)
        z = x / each
        ctx.save_for_backward(z, each, own)
        ctx.window = window  # not saved: backward writes into it
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        z, deviation, own = ctx.saved_tensors
        with torch.no_grad():
            mean, window = last_means(ctx.window, pair_means(g * z), own)
            ctx.window.copy_(window)
            gradient = (g - z * _each_image(mean, z)) / deviation
        return *differentiable_once("mabn", (gradient,), g, z), None, None, None


def normalise_pairs(x: Tensor, deviation: Tensor, window: Tensor, own: Tensor) -> Tensor:
    """Return a batch divided by the deviations of its pairs.

    Args:
        x: (2 P, C, *S).
        deviation: (P, C).
        window: (K, C), the last values of E[g z]; the backward pass reads and replaces them.
        own: scalar bool, see :func:`last_means`.
    """
    z: Tensor = _NormalisePairs.apply(x, deviation, window, own)
    return z


def _each_image(v: Tensor, x: Tensor) -> Tensor:
    """Return values (P, C) of pairs in a shape that broadcasts against x (2 P, C, *S)."""
    return v.repeat_interleave(2, dim=0).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
