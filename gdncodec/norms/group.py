"""Normalisation by the statistics of a whole image: group, layer and instance."""

from math import gcd

import torch
from torch import Tensor, nn

from gdncodec.errors import UsageError
from gdncodec.norms.statistics import check_shape, widen

__all__ = ["GroupNorm", "InstanceNorm", "LayerNorm"]


def _default_groups(channels: int) -> int:
    groups = gcd(32, channels)
    return groups if groups < channels else max(channels // 2, 1)


class GroupNorm(nn.Module):
    r"""Mean and biased variance of groups of channels over all positions of one image.

    .. math::
        y_i = w_i (x_i - m_{g(i)}) / \sqrt{v_{g(i)} + \epsilon} + b_i

    The same in training and at inference. A group of a single value gives the bias. The layer has
    no nonlinearity of its own, and it erases the brightness and contrast of a group. Input (N, C)
    is one position, as in torch.nn.GroupNorm.

    Source: Wu and He, arXiv 1803.08494.

    Args:
        channels: number of channels C.
        inverse: has no effect; both transforms use the same form.
        groups: number of groups; 0 takes the greatest common divisor of 32 and C, or half of C if
            that is C itself, because groups of one channel are instance normalisation.
        eps: added to the variance.

    Shape: (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; the output has the
    same shape and type.

    Raises:
        ValueError: the groups do not divide the channels, or the input has another number of
            channels or another rank.
    """

    _smallest_rank = 2

    def __init__(
        self, channels: int, *, inverse: bool = False, groups: int = 0, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.groups = groups or _default_groups(channels)
        if self.groups < 0 or channels % self.groups:
            msg = f"{groups} groups do not divide {channels} channels"
            raise UsageError(msg)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def extra_repr(self) -> str:
        return f"{self.weight.numel()}, groups={self.groups}"

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.weight.numel(), self._smallest_rank)
        wide = widen(x, self.weight)
        weight, bias = self.weight.to(wide.dtype), self.bias.to(wide.dtype)
        # Not nn.functional.group_norm: it refuses a group of one value, which is defined here.
        return torch.group_norm(wide, self.groups, weight, bias, self.eps).to(x.dtype)


class LayerNorm(GroupNorm):
    """Mean and biased variance of a whole image, over channels and positions.

    :class:`GroupNorm` with one group. Weight and bias are per channel, so images may have any size
    (those of torch.nn.LayerNorm would fix height and width).

    Source: Ba, Kiros, Hinton, arXiv 1607.06450.

    Args:
        channels: number of channels C.
        inverse: has no effect; both transforms use the same form.
        eps: added to the variance.
    """

    def __init__(self, channels: int, *, inverse: bool = False, eps: float = 1e-5) -> None:
        super().__init__(channels, groups=1, eps=eps)


class InstanceNorm(GroupNorm):
    """Mean and biased variance of each channel over the positions of one image.

    :class:`GroupNorm` with a group per channel; the input needs a spatial axis.

    Source: Ulyanov, Vedaldi, Lempitsky, arXiv 1607.08022.

    Args:
        channels: number of channels C.
        inverse: has no effect; both transforms use the same form.
        eps: added to the variance.
    """

    _smallest_rank = 3

    def __init__(self, channels: int, *, inverse: bool = False, eps: float = 1e-5) -> None:
        super().__init__(channels, groups=channels, eps=eps)
