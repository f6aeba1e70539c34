"""The factorised density of the latents, used in training."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gdncodec.norms.bound import lower_bound

__all__ = ["FactorizedDensity"]

_LIKELIHOOD_MIN = 1e-9


class FactorizedDensity(nn.Module):
    r"""One learned, non-parametric density for each latent channel, with its median at zero.

    The cumulative distribution of channel c is ``F_c(v) = sigmoid(L_c(v) - L_c(0))``, with L_c a
    small monotone network (Ballé et al., arXiv 1802.01436, appendix 6.1). Subtracting ``L_c(0)``
    pins the median, so that rounding to multiples of the bin width needs no offset: the analysis
    transform learns to centre its channels instead.

    A symbol of a bin of width ``w`` around ``v`` costs ``-log2(F_c(v + w/2) - F_c(v - w/2))`` bits.

    Args:
        channels: number of latent channels C.
        filters: hidden widths of the monotone networks.
        init_scale: the initial density is spread over about ``[-init_scale, init_scale]``.

    Shape: values (N, C, H, W); widths that broadcast against them; bits (N, C, H, W).
    """

    def __init__(
        self, channels: int, filters: tuple[int, ...] = (3, 3, 3), init_scale: float = 10.0
    ) -> None:
        super().__init__()
        sizes = (1, *filters, 1)
        scale = init_scale ** (1 / (len(filters) + 1))
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        for n_in, n_out in pairwise(sizes):
            init = math.log(math.expm1(1 / scale / n_out))
            self.matrices.append(nn.Parameter(torch.full((channels, n_out, n_in), init)))
        for n in filters:  # the last step needs neither: the pinned median cancels its bias
            self.biases.append(nn.Parameter(torch.empty(channels, n, 1).uniform_(-0.5, 0.5)))
            self.factors.append(nn.Parameter(torch.zeros(channels, n, 1)))

    def _cumulative_logits(self, v: Tensor) -> Tensor:
        """L_c of values (C, K, n); monotone along the last axis."""
        *hidden, last = self.matrices
        for matrix, bias, factor in zip(hidden, self.biases, self.factors, strict=True):
            v = F.softplus(matrix) @ v + bias
            v = v + factor.tanh() * v.tanh()
        return F.softplus(last) @ v

    def forward(self, values: Tensor, width: Tensor) -> Tensor:
        n, c, h, w = values.shape
        flat = values.transpose(0, 1).reshape(c, 1, -1)
        half = (width / 2).expand(n, c, h, w).transpose(0, 1).reshape(c, 1, -1)
        ends = torch.cat([flat - half, flat + half, flat.new_zeros(c, 1, 1)], dim=2)
        logits = self._cumulative_logits(ends)
        logits, median = logits[..., :-1], logits[..., -1:]
        low, high = (logits - median).chunk(2, dim=2)
        # In the upper tail both F round to 1; mirrored, their difference keeps its precision.
        sign = torch.where(low + high > 0, -1.0, 1.0)
        mass = (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()
        bits = -torch.log2(lower_bound(mass, _LIKELIHOOD_MIN))
        return bits.reshape(c, n, h, w).transpose(0, 1)
