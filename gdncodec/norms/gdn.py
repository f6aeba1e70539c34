"""Generalised divisive normalisation and its approximate inverse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gdncodec.norms.bound import lower_bound
from gdncodec.norms.divisive import Form, divide, divide_
from gdncodec.norms.statistics import check_shape, widen

__all__ = ["GDN", "GDN1", "FixedGDN"]

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

    The pool (the sum and its root) is computed in float32 or higher precision, also under autocast;
    float16 would overflow silently and give zeros from ``|x| = 256`` upwards. The layer is
    nonlinear by itself. It can be differentiated once.

    Source: Ballé, Laparra, Simoncelli, arXiv 1511.06281 and 1611.01704.

    Args:
        channels: number of channels C.
        inverse: multiply instead of divide.
        beta_min: smallest ``beta``.
        gamma_init: initial value of the diagonal of ``gamma``.

    Shape: (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; the output has the
    same shape and type.

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

    @property
    def form(self) -> Form:
        return Form(squared=True, inverse=self.inverse)

    def effective_parameters(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return ``beta`` (C,) and ``gamma`` (C, C) of the formula, computed in ``dtype``."""
        beta, gamma = self.beta.to(dtype), self.gamma.to(dtype)
        beta = lower_bound(beta, (self.beta_min + _PEDESTAL) ** 0.5).square() - _PEDESTAL
        gamma = lower_bound(gamma, _PEDESTAL**0.5).square() - _PEDESTAL
        return beta, gamma

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.beta.numel(), 2)
        wide = widen(x, self.beta)
        beta, gamma = self.effective_parameters(wide.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return divide(wide, beta, gamma, self.form).to(x.dtype)

    def for_inference(self) -> FixedGDN:
        """Return the layer with its parameters computed in advance."""
        return FixedGDN(self)


class GDN1(GDN):
    r"""GDN with absolute values and no root: cheaper, and safer in low precision.

    .. math::
        y_i = x_i / (\beta_i + \sum_j \gamma_{ij} |x_j|)

    With ``inverse=True`` the division becomes a multiplication. TensorFlow Compression's default
    since 2.0. Arguments, shapes, errors and everything else are as in :class:`GDN`.

    Source: Johnston et al., arXiv 1912.08771.
    """

    @property
    def form(self) -> Form:
        return Form(squared=False, inverse=self.inverse)


class FixedGDN(nn.Module):
    """A copy of a GDN or GDN1 in its present state, for inference.

    Its buffers are the effective parameters, so a forward pass computes nothing from the square
    roots, and later changes of the original have no effect on it. It may overwrite its input, and
    has no gradients: it is for use after a convolution whose output is not used elsewhere.

    Args:
        layer: the trained layer.
    """

    def __init__(self, layer: GDN) -> None:
        super().__init__()
        self.form = layer.form
        self.beta: Tensor
        self.gamma: Tensor
        beta, gamma = layer.effective_parameters(
            torch.promote_types(layer.beta.dtype, torch.float32)
        )
        self.register_buffer("beta", beta.detach())
        self.register_buffer("gamma", gamma.detach())

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.beta.numel(), 2)
        wide = widen(x, self.beta)
        with torch.autocast(x.device.type, enabled=False):
            y = divide_(wide, self.beta.to(wide.dtype), self.gamma.to(wide.dtype), self.form)
        return y.to(x.dtype)
