"""Batch normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gdncodec.norms.statistics import RunningStatistics, check_shape, widen

__all__ = ["BatchNorm"]


class BatchNorm(RunningStatistics):
    r"""Mean and biased variance of each channel over the batch; constants at inference.

    .. math::
        y_i = w_i (x_i - m_i) / \sqrt{v_i + \epsilon} + b_i

    In training m and v are those of the batch (over N and space), and ``running_mean`` and
    ``running_var`` (unbiased) move towards them by ``momentum``; at inference these are used
    instead. The layer has no nonlinearity of its own.

    Source: Ioffe and Szegedy, arXiv 1502.03167, as torch.nn.BatchNorm2d implements it.

    Args:
        channels: number of channels C.
        inverse: has no effect; both transforms use the same form.
        eps: added to the variance.
        momentum: weight of the new value in the running statistics; None averages over all
            batches so far.

    Shape: (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; the output has the
    same shape and type.

    Raises:
        ValueError: the input has another number of channels or another rank, or a training batch
            has a single value per channel.
    """

    def __init__(
        self,
        channels: int,
        *,
        inverse: bool = False,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
    ) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        if momentum is None:
            self.batches: Tensor
            self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.weight.numel(), 2)
        return self.normalise(widen(x, self.weight)).to(x.dtype)

    def normalise(self, x: Tensor) -> Tensor:
        """Do the work of :meth:`forward` in the type of ``x``."""
        tensors = (self.running_mean, self.running_var, self.weight, self.bias)
        mean, var, weight, bias = (t.to(x.dtype) for t in tensors)
        training = self.uses_batch
        share = self.next_share() if training else 0.0
        y = F.batch_norm(x, mean, var, weight, bias, training, share, self.eps)
        if training and mean is not self.running_mean:  # the update went into a copy
            self.running_mean.copy_(mean)
            self.running_var.copy_(var)
        return y

    def next_share(self) -> float:
        """Return the weight of the next batch in the running statistics, and count the batch."""
        if self.momentum is not None:
            return self.momentum
        self.batches.add_(1)
        return 1 / float(self.batches)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift (C,): what the layer does at inference."""
        scale = self.weight / (self.running_var + self.eps).sqrt()
        return scale, self.bias - scale * self.running_mean
