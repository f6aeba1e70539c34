"""Self normalisation: gates from the mean and deviation of each channel."""

import torch
from torch import Tensor, nn

from gdncodec.norms.batch import BatchNorm
from gdncodec.norms.statistics import check_shape, spatial_axes, widen

__all__ = ["SelfNorm"]


class _Gate(BatchNorm):
    """``sigmoid(batch_norm(w_0 mean + w_1 deviation))`` of each channel, (N, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.mix = nn.Parameter(torch.empty(channels, 2).uniform_(-(0.5**0.5), 0.5**0.5))

    def gate(self, mean: Tensor, deviation: Tensor) -> Tensor:
        if self.uses_batch and len(mean) < 2:
            msg = "selfnorm needs at least two images in a training batch, got one"
            raise ValueError(msg)
        mix = self.mix.to(mean.dtype)
        return self.normalise(mean * mix[:, 0] + deviation * mix[:, 1]).sigmoid()


class SelfNorm(nn.Module):
    r"""Multiplies each channel by a gate that sees its mean and standard deviation.

    .. math::
        y_i = x_i g_i \quad\text{or, with two gates,}\quad y_i = x_i g_i + m_i (f_i - g_i)

    with gates :math:`\sigma(BN(w_{i0} m_i + w_{i1} s_i))`, and m and s of channel i over the
    positions of one image (s unbiased; zero for a single position). Despite its name it does not
    divide. The batch normalisation inside the gates makes training differ from inference. Initially
    the gates are about 1/2, so the layer halves the signal. It has no nonlinearity of its own.

    Source: Tang et al., CrossNorm and SelfNorm, arXiv 2102.02811.

    Args:
        channels: number of channels C.
        inverse: has no effect; both transforms use the same form.
        two_gates: the paper's form, with a gate for the mean and one for the deviation; otherwise
            the form of the authors' experiments, with one for both.
        eps: added to the variance.

    Shape: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; N at least 2 in
        training. The output has the same shape and type.

    Raises:
        ValueError: the input has another number of channels or another rank, or a training batch
            has one image.
    """

    def __init__(
        self, channels: int, *, inverse: bool = False, two_gates: bool = False, eps: float = 1e-12
    ) -> None:
        super().__init__()
        self.eps = eps
        self.g = _Gate(channels)
        self.f = _Gate(channels) if two_gates else None

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.g.weight.numel(), 3)
        wide = widen(x, self.g.weight)
        axes = spatial_axes(x)
        correction = int(x[0, 0].numel() > 1)
        var, mean = torch.var_mean(wide, axes, correction=correction)
        deviation = (var + self.eps).sqrt()
        g = self.g.gate(mean, deviation)
        shape = (*mean.shape, *[1] * len(axes))
        y = wide * g.view(shape)
        if self.f is not None:
            y = y + (mean * (self.f.gate(mean, deviation) - g)).view(shape)
        return y.to(x.dtype)
