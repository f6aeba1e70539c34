"""Switchable normalisation: a learned mix of instance, layer and batch statistics."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gdncodec.norms.statistics import RunningStatistics, check_shape, per_channel, widen

__all__ = ["SwitchableNorm", "average_batch_statistics"]


class SwitchableNorm(RunningStatistics):
    r"""Mixes the means of instance, layer and batch, and their variances, by two softmaxes.

    .. math::
        y_i = w_i (x_i - m_i) / \sqrt{v_i + \epsilon} + b_i, \quad
        m = \sum_k \mathrm{softmax}(a)_k m_k, \quad v = \sum_k \mathrm{softmax}(c)_k v_k

    with k over instance, layer, batch in this order. All variances are biased, and those of layer
    and batch come from the instances' without cancellation, as in ``v_layer = mean_C(v + (m -
    m_layer)^2)``.
    At inference the batch's statistics are running ones: a moving average (at first mean 0,
    variance 1) or, after :func:`average_batch_statistics`, the average over many batches, which the
    paper prefers. The layer has no nonlinearity of its own.

    Source: Luo et al., arXiv 1806.10779, written from the paper's formulas.

    Args:
        channels: number of channels C.
        inverse: has no effect; both transforms use the same form.
        instance: mix in the instance statistics; without them (N, C) input is allowed.
        batch: mix in the batch statistics; without them training equals inference.
        unbiased: take the instance variance over L - 1, as the authors' code does by default.
        last_gamma: start the weight at 0, as the authors do at the end of a residual branch.
        momentum: weight of the old value in the running statistics.
        eps: added to the mixed variance.

    Shape: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; the output has the same shape
    and type.

    Raises:
        ValueError: the input has another number of channels or another rank, or a training batch
            has a single value per channel.
    """

    def __init__(
        self,
        channels: int,
        *,
        inverse: bool = False,
        instance: bool = True,
        batch: bool = True,
        unbiased: bool = False,
        last_gamma: bool = False,
        momentum: float = 0.9,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.instance, self.batch, self.unbiased = instance, batch, unbiased
        self.momentum, self.eps = momentum, eps
        self.averaged: int | None = None  # batches so far, within average_batch_statistics
        self.weight = nn.Parameter(torch.full((channels,), 0.0 if last_gamma else 1.0))
        self.bias = nn.Parameter(torch.zeros(channels))
        kinds = 1 + instance + batch
        self.mean_weight = nn.Parameter(torch.ones(kinds))
        self.var_weight = nn.Parameter(torch.ones(kinds))
        if batch:
            self.running_mean: Tensor
            self.running_var: Tensor
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.weight.numel(), 3 if self.instance else 2)
        wide = widen(x, self.weight)
        mean, var = self._mixed(wide.reshape(*x.shape[:2], -1))
        scale = (var + self.eps).rsqrt() * self.weight.to(wide.dtype)
        shape = (-1, *x.shape[1:2], *[1] * (x.ndim - 2))
        centred = wide - mean.reshape(shape)
        return torch.addcmul(per_channel(self.bias, wide), centred, scale.reshape(shape)).to(
            x.dtype
        )

    def _mixed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mixed mean and variance, (N, C), of (N, C, L)."""
        correction = int(self.unbiased and x.shape[2] > 1)
        var_i, mean_i = torch.var_mean(x, dim=2, correction=correction)
        mean_l = mean_i.mean(1, keepdim=True)
        var_l = (var_i + (mean_i - mean_l).square()).mean(1, keepdim=True)
        means, variances = [mean_l.expand_as(mean_i)], [var_l.expand_as(var_i)]
        if self.instance:
            means.insert(0, mean_i)
            variances.insert(0, var_i)
        if self.batch:
            mean_b, var_b = self._of_batch(mean_i, var_i, x.shape[2])
            means.append(mean_b.expand_as(mean_i))
            variances.append(var_b.expand_as(var_i))
        a, c = (w.to(x.dtype).softmax(0) for w in (self.mean_weight, self.var_weight))
        # Products and a sum: autocast would run a matrix product in low precision.
        return (torch.stack(means, -1) * a).sum(-1), (torch.stack(variances, -1) * c).sum(-1)

    def _of_batch(self, mean_i: Tensor, var_i: Tensor, length: int) -> tuple[Tensor, Tensor]:
        if not self.uses_batch:
            return self.running_mean.to(mean_i.dtype), self.running_var.to(mean_i.dtype)
        if len(mean_i) * length == 1:
            msg = "switchable needs more than one value per channel in training; or batch=false"
            raise ValueError(msg)
        mean = mean_i.mean(0)
        var = (var_i + (mean_i - mean).square()).mean(0)
        self._remember(mean.detach(), var.detach())
        return mean, var

    def _remember(self, mean: Tensor, var: Tensor) -> None:
        mean, var = mean.to(self.running_mean.dtype), var.to(self.running_var.dtype)
        if self.averaged is None:
            self.running_mean.lerp_(mean, 1 - self.momentum)
            self.running_var.lerp_(var, 1 - self.momentum)
            return
        # The variance of all batches taken together: theirs, and that of their means.
        part = 1 / (self.averaged + 1)
        between = (mean - self.running_mean).square() * (part * (1 - part))
        self.running_mean.lerp_(mean, part)
        self.running_var.lerp_(var, part).add_(between)
        self.averaged += 1


@torch.no_grad()
def average_batch_statistics(
    model: nn.Module, batches: Iterable[Any], forward: Callable[[Any], object] | None = None
) -> None:
    """Replace the moving averages of every :class:`SwitchableNorm` by averages over batches.

    The paper prefers this for inference. Call it once after training, with about 200 batches. A
    model without such layers is not changed, and no batch is drawn.

    Args:
        model: the trained network; its mode (training or inference) is restored.
        batches: inputs of ``forward``.
        forward: runs the network on one batch; ``model`` itself if not given.

    Raises:
        ValueError: there are no batches.
    """
    layers = [m for m in model.modules() if isinstance(m, SwitchableNorm) and m.batch]
    if not layers:
        return
    modes = {m: (m.training, m.frozen) for m in layers}
    run = forward or model
    try:
        for layer in layers:
            layer.training, layer.frozen, layer.averaged = True, False, 0
        for batch in batches:
            run(batch)
    finally:
        seen = layers[0].averaged
        for layer, (training, frozen) in modes.items():
            layer.training, layer.frozen, layer.averaged = training, frozen, None
    if not seen:
        msg = "no batch to average the statistics over"
        raise ValueError(msg)
