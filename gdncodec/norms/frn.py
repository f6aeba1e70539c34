"""Filter response normalisation with a thresholded linear unit."""

import torch
from torch import Tensor, nn

from gdncodec.norms.statistics import check_shape, per_channel, spatial_axes, widen

__all__ = ["FilterResponseNorm"]


class FilterResponseNorm(nn.Module):
    r"""Divides each channel by its root mean square, then thresholds it (FRN and TLU).

    .. math::
        y_i = \max(\gamma_i x_i / \sqrt{\nu_i + \epsilon_i} + \beta_i, \tau_i), \quad
        \nu_i = \tfrac{1}{L} \sum_l x_{il}^2

    No mean is subtracted. The same in training and at inference. The threshold is the layer's own
    nonlinearity. With a fixed epsilon and a single position only the sign of x survives; with
    ``learnable_eps`` epsilon is ``eps + |eps_l|`` with a learned ``eps_l`` per channel.

    Source: Singh and Krishnan, arXiv 1911.09737.

    Args:
        channels: number of channels C.
        inverse: has no effect; both transforms use the same form.
        learnable_eps: learn epsilon per channel, from ``eps + 1e-4``.
        eps: epsilon, or its lower bound if it is learned.

    Shape: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; the output has the same shape
    and type.

    Raises:
        ValueError: the input has another number of channels or another rank.
    """

    def __init__(
        self,
        channels: int,
        *,
        inverse: bool = False,
        learnable_eps: bool = False,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.tau = nn.Parameter(torch.zeros(channels))
        self.eps_l = nn.Parameter(torch.full((channels,), 1e-4)) if learnable_eps else None

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.gamma.numel(), 3)
        wide = widen(x, self.gamma)
        nu = wide.square().mean(spatial_axes(x), keepdim=True)
        eps = self.eps if self.eps_l is None else self.eps + per_channel(self.eps_l, wide).abs()
        scale = (nu + eps).rsqrt() * per_channel(self.gamma, wide)
        y = torch.addcmul(per_channel(self.beta, wide), wide, scale)
        return torch.maximum(y, per_channel(self.tau, wide)).to(x.dtype)
