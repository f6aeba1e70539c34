"""Moving-average batch normalisation."""

from typing import Any

import torch
from torch import Tensor, nn

from gdncodec.errors import UsageError
from gdncodec.norms.once import differentiable_once
from gdncodec.norms.pairs import last_means, normalise_pairs, pair_means
from gdncodec.norms.statistics import (
    RunningStatistics,
    check_shape,
    per_channel,
    spatial_axes,
    widen,
)

__all__ = ["MABN"]

_RENORMALISE_AFTER = 1000
_LARGEST_CORRECTION = 5.0


class _Normalise(torch.autograd.Function):
    """``z = x / deviation`` whose gradient uses a moving average in place of the batch's E[g z].

    So the gradient is not that of the forward pass, except in the warm-up.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, deviation: Tensor, window: Tensor, slot: Tensor, small: Tensor
    ) -> Tensor:
        z = x / deviation
        ctx.save_for_backward(z, deviation, slot, small)
        # Not saved for backward: backward writes into it, and several forwards may share it.
        ctx.window = window
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        z, deviation, slot, small = ctx.saved_tensors
        with torch.no_grad():
            gz = (g * z).mean((0, *spatial_axes(z)))
            ctx.window.index_copy_(0, slot, gz[None].to(ctx.window.dtype))
            mean = torch.where(small, gz, ctx.window.mean(0).to(gz.dtype))
            gradient = (g - z * per_channel(mean, z)) / deviation
        return *differentiable_once("mabn", (gradient,), g, z), None, None, None, None


class MABN(RunningStatistics):
    r"""Batch normalisation for small batches: the mean square, averaged over the last steps.

    .. math::
        y_i = w_i r_i x_i / \sqrt{v_i + \epsilon} + b_i

    No mean is subtracted. In training v is the mean square of the batch, and after the warm-up
    its average over the last ``window`` batches; the backward pass averages E[g z] likewise. From
    step 1001 on (or the end of a longer warm-up) :math:`r = \sqrt{v + \epsilon} / \sqrt{v_{run} +
    \epsilon}`, clipped to [1/5, 5], corrects towards ``running_var``, an exponential average of
    v; before that it is 1. At inference ``running_var`` replaces v, and r is 1. It has no
    nonlinearity of its own. Its buffers are part of a checkpoint, so a resumed run continues
    exactly.

    This is the authors' formal layer with ``window = real_B // B``. With ``pairs`` it is the other
    form of theirs, which simulates small batches within a large one: it normalises the images of
    a batch two by two, each pair by the average of v over the last ``window`` pairs, its own
    included; the pairs of the first batch by their own v, which ``running_var`` also starts from;
    and r is in effect from step ``warmup`` on. Activation checkpointing would count steps twice.

    Source: Yan et al., Towards Stabilizing Batch Statistics in Backward Propagation of Batch
    Normalization, arXiv 2001.06838.

    Args:
        channels: number of channels C.
        inverse: the form for the synthesis, which is the same but refuses ``centred``.
        window: number K of training batches that the averages span.
        warmup: steps that use the batch's own statistics, raised to K if smaller; with ``pairs``
            the step from which r is in effect.
        momentum: weight of the old value in ``running_var``.
        first_batch: start ``running_var`` from the first batch. From 1 it needs 200 steps to come
            within 2 % of the way to its value.
        pairs: normalise the images of a batch two by two.
        centred: the transforms centre the weights of the inner convolution before this layer, see
            :class:`gdncodec.norms.centred.CentredConv2d`.
        eps: added to v.

    Shape: (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; the output has the
    same shape and type.

    Raises:
        ValueError: the input has another number of channels or another rank, a training batch has
            a single value per channel or, with ``pairs``, an odd number of images, or ``centred``
            is requested for the synthesis.
    """

    def __init__(
        self,
        channels: int,
        *,
        inverse: bool = False,
        window: int = 16,
        warmup: int = 100,
        momentum: float = 0.98,
        first_batch: bool = False,
        pairs: bool = False,
        centred: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if window < 1:
            msg = f"the window of mabn must be at least 1, got {window}"
            raise UsageError(msg)
        if centred and inverse:
            msg = "the synthesis has no convolution to centre; use mabn without centred=true there"
            raise UsageError(msg)
        self.window, self.warmup, self.momentum = window, warmup, momentum
        self.first_batch, self.pairs = first_batch or pairs, pairs
        self.centred, self.eps = centred, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_var: Tensor
        self.window_x2: Tensor
        self.window_gz: Tensor
        self.steps: Tensor
        self.register_buffer("running_var", torch.ones(channels))
        # The authors' windows of pairs start from ones, which nothing reads.
        self.register_buffer("window_x2", torch.full((window, channels), float(pairs)))
        self.register_buffer("window_gz", torch.zeros(window, channels))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift (C,): what the layer does at inference."""
        return self.weight * self._inverse_deviation(self.weight.dtype), self.bias

    def _inverse_deviation(self, dtype: torch.dtype) -> Tensor:
        return (self.running_var.to(dtype) + self.eps).rsqrt()

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.weight.numel(), 2)
        wide = widen(x, self.weight)
        if self.uses_batch:
            z, scale = self._by_pairs(wide) if self.pairs else self._by_batch(wide)
        else:
            z, scale = wide, self._inverse_deviation(wide.dtype) * self.weight
        factor = per_channel(scale, z) if scale.ndim == 1 else scale
        y = torch.addcmul(per_channel(self.bias, z), z, factor)
        return y.to(x.dtype)

    def _by_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and the factor (C,) to apply to it, and advance the statistics by a step."""
        if x.numel() == x.shape[1]:
            msg = f"mabn needs more than one value per channel in training, got {tuple(x.shape)}"
            raise ValueError(msg)
        with torch.no_grad():
            self.steps.add_(1)
            slot = (self.steps % self.window).reshape(1)
            small = (self.steps <= self.window) | (self.steps < self.warmup)
            x2 = x.square().mean((0, *spatial_axes(x)))
            self.window_x2.index_copy_(0, slot, x2[None].to(self.window_x2.dtype))
            var = torch.where(small, x2, self.window_x2.mean(0).to(x2.dtype))
            deviation = (var + self.eps).sqrt()
            correction = self._correction(deviation, max(_RENORMALISE_AFTER, self.warmup) + 1)
            self._remember(var)
        z = _Normalise.apply(x, per_channel(deviation, x), self.window_gz, slot, small)
        return z, self.weight * correction

    def _by_pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Do as :meth:`_by_batch` by pairs; the factor broadcasts against x."""
        if len(x) % 2:
            msg = f"mabn:pairs=true needs an even number of images in training, got {len(x)}"
            raise ValueError(msg)
        with torch.no_grad():
            self.steps.add_(1)
            own = self.steps == 1
            var, window = last_means(self.window_x2, pair_means(x.square()), own)
            self.window_x2.copy_(window)
            deviation = (var + self.eps).sqrt()
            correction = self._correction(deviation, self.warmup).repeat_interleave(2, dim=0)
            self._remember(var.mean(0))
        z = normalise_pairs(x, deviation, self.window_gz, own)
        factor = self.weight.to(x.dtype) * correction
        return z, factor.reshape(*x.shape[:2], *[1] * (x.ndim - 2))

    def _correction(self, deviation: Tensor, start: int) -> Tensor:
        """Return r, in the shape of the deviations (..., C); 1 before the step ``start``."""
        correction = deviation * self._inverse_deviation(deviation.dtype)
        correction.clamp_(1 / _LARGEST_CORRECTION, _LARGEST_CORRECTION)
        return torch.where(self.steps < start, torch.ones_like(correction), correction)

    def _remember(self, var: Tensor) -> None:
        """Move ``running_var`` towards the v (C,) of a batch."""
        var = var.to(self.running_var.dtype)
        moved = self.running_var.lerp(var, 1 - self.momentum)
        first = (self.steps == 1) & self.first_batch
        self.running_var.copy_(torch.where(first, var, moved))
