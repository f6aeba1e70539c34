"""Normalisation across channels at each position."""

import torch
from torch import Tensor, nn

from gdncodec.norms.statistics import check_shape, per_channel, widen

__all__ = ["ChannelNorm"]


class ChannelNorm(nn.Module):
    r"""Mean and variance across channels, at each position on its own.

    .. math::
        y_i = w_i (x_i - m) / \sqrt{v + \epsilon} + b_i, \quad
        m = \tfrac{1}{C} \sum_j x_j, \quad v = \tfrac{1}{C-1} \sum_j (x_j - m)^2

    The variance is unbiased, as in the source; with one channel it is zero. The layer erases two of
    the C numbers at each position and has no nonlinearity of its own.

    Source: Mentzer et al., High-Fidelity Generative Image Compression, arXiv 2006.09965.

    Args:
        channels: number of channels C.
        inverse: has no effect; both transforms use the same form.
        eps: added to the variance.

    Shape: (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; the output has the
    same shape and type.

    Raises:
        ValueError: the input has another number of channels or another rank.
    """

    def __init__(self, channels: int, *, inverse: bool = False, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        channels = self.weight.numel()
        check_shape(x, channels, 2)
        wide = widen(x, self.weight)
        var, mean = torch.var_mean(wide, dim=1, keepdim=True, correction=int(channels > 1))
        y = (wide - mean) * (var + self.eps).rsqrt()
        return torch.addcmul(per_channel(self.bias, y), y, per_channel(self.weight, y)).to(x.dtype)
