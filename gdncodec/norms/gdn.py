"""Generalised divisive normalisation and its approximate inverse."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gdncodec.norms.bound import lower_bound

__all__ = ["GDN", "GDN1"]

# With the offset the squared parametrisation keeps a gradient at zero; without it a gamma that
# reached exactly zero would stay there (tensorflow/compression, parameters.py).
_PEDESTAL = 2.0**-36


class GDN(nn.Module):
    r"""Divisive normalisation across channels, at each position on its own.

    .. math::
        y_i = x_i / \sqrt{\beta_i + \sum_j \gamma_{ij} x_j^2}

    With ``inverse=True`` the division becomes a multiplication (IGDN): one step of the fixed-point
    iteration that would invert GDN, with parameters of its own, so not an exact inverse.
    ``gamma[i, j]`` is output channel ``i``, input channel ``j`` (TensorFlow Compression stores the
    transpose), is not symmetric, and is never negative; ``beta`` is at least ``beta_min``. Both are
    stored as square roots behind a lower bound: ``beta = max(beta_raw, bound)^2 - pedestal``.

    The pool (the sum and its root) is computed in float32 at least, also under autocast; float16
    would overflow silently and give zeros from ``|x| = 256`` upwards.

    Source: Ballé, Laparra, Simoncelli, arXiv 1511.06281 and 1611.01704.

    Args:
        channels: number of channels C.
        inverse: multiply instead of divide.
        beta_min: smallest ``beta``.
        gamma_init: initial value of the diagonal of ``gamma``.

    Shape: (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating; the output is alike.

    Raises:
        ValueError: the input has another number of channels or another rank.
    """

    def __init__(
        self,
        channels: int,
        *,
        inverse: bool = False,
        beta_min: float = 1e-6,
        gamma_init: float = 0.1,
    ) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_min = beta_min
        self.beta = nn.Parameter((torch.ones(channels) + _PEDESTAL).sqrt())
        self.gamma = nn.Parameter((gamma_init * torch.eye(channels) + _PEDESTAL).sqrt())

    def extra_repr(self) -> str:
        return f"{self.beta.numel()}, inverse={self.inverse}"

    def effective_parameters(self) -> tuple[Tensor, Tensor]:
        """Return ``beta`` (C,) and ``gamma`` (C, C) as they stand in the formula."""
        beta = lower_bound(self.beta, (self.beta_min + _PEDESTAL) ** 0.5).square() - _PEDESTAL
        gamma = lower_bound(self.gamma, _PEDESTAL**0.5).square() - _PEDESTAL
        return beta, gamma

    def forward(self, x: Tensor) -> Tensor:
        channels = self.beta.numel()
        if not 2 <= x.ndim <= 5 or x.shape[1] != channels:
            msg = f"expected (N, {channels}) with up to three spatial axes, got {tuple(x.shape)}"
            raise ValueError(msg)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, self.beta.dtype))
            # One 1x1 convolution serves every rank; four axes stay as they are (channels_last).
            flat = wide if x.ndim == 4 else wide.reshape(*x.shape[:2], -1, 1)
            beta, gamma = self.effective_parameters()
            pool = F.conv2d(self._magnitude(flat), gamma[:, :, None, None], beta)
            return self._apply_pool(flat, pool).reshape(x.shape).to(x.dtype)

    def _magnitude(self, x: Tensor) -> Tensor:
        return x.square()

    def _apply_pool(self, x: Tensor, pool: Tensor) -> Tensor:
        return x * (pool.sqrt() if self.inverse else pool.rsqrt())


class GDN1(GDN):
    r"""GDN with absolute values and no root: cheaper, and safer in low precision.

    .. math::
        y_i = x_i / (\beta_i + \sum_j \gamma_{ij} |x_j|)

    With ``inverse=True`` the division becomes a multiplication. TensorFlow Compression's default
    since 2.0. Everything else is as in :class:`GDN`.

    Source: Johnston et al., arXiv 1912.08771.
    """

    def _magnitude(self, x: Tensor) -> Tensor:
        return x.abs()

    def _apply_pool(self, x: Tensor, pool: Tensor) -> Tensor:
        return x * pool if self.inverse else x / pool
