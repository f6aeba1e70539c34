"""The network that is trained: transforms, gains, density."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gdncodec.config import ModelConfig
from gdncodec.nn.bottleneck import FactorizedDensity
from gdncodec.nn.nodes import Place, place
from gdncodec.nn.transforms import analysis, synthesis

__all__ = ["CodecModel", "CodecOutput", "Quantization"]

Quantization = Literal["noise", "mixed", "round"]

_INITIAL_SPREAD = 8.0
_SMALLEST_GAIN = 1e-4  # below quality 0 the first segment is extended, and would reach zero


class CodecOutput(NamedTuple):
    """The output of a forward pass in training."""

    x_hat: Tensor
    """Reconstruction (N, 3, H, W), not clipped."""
    bits: Tensor
    """Estimated bits of every latent (N, M, H/16, W/16)."""


def _round_straight_through(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


class CodecModel(nn.Module):
    """A variable-rate transform codec with a factorised prior.

    ::

        x -> g_a(q) -> y -> * gain(q) -> round -> symbols -> * inverse_gain(q) -> g_s(q) -> x_hat
                                                     |
                                                density, bins of width(q)

    Gains and inverse gains are vectors of M numbers at a few qualities q (Cui et al., arXiv
    2003.02012) and start at the square root of lambda (Kamisli et al., DCC 2024). Between those
    qualities gains are interpolated linearly: a channel that is useless at one node has a gain near
    zero there, and geometric interpolation would keep it near zero until just before the next node.
    The reciprocals of the inverse gains are linear too; otherwise the product of the two, and with
    it the scale of the input of the synthesis, would oscillate between the nodes.

    The transforms depend on the quality, see :class:`gdncodec.nn.transforms.Transform`, because
    what is worth its bits at 2 bpp is not worth them at 0.2. The density of a channel has one
    shape, and a width at each quality, which is learned like the gains.

    Quantisation in a forward pass: ``noise`` adds uniform noise for both rate and reconstruction,
    ``mixed`` rounds for the reconstruction (straight-through gradient), ``round`` rounds for both.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        m, k = config.latent_channels, config.gain_nodes
        self.g_a = analysis(config)
        self.g_s = synthesis(config)
        # Latents that start within one bin would be lost in the noise.
        with torch.no_grad():
            self.g_a[-1].get_parameter("weight").mul_(_INITIAL_SPREAD)
            self.g_s[0].get_parameter("weight").div_(_INITIAL_SPREAD)
        self.density = FactorizedDensity(m)
        # The unit of y is the bin width in the middle of the rate range.
        spread = math.log(config.lambdas[1] / config.lambdas[0]) / 4
        nodes = torch.linspace(-spread, spread, k)[:, None].repeat(1, m)
        self.log_gain = nn.Parameter(nodes.clone())
        self.log_inverse_gain = nn.Parameter(-nodes)
        self.log_width = nn.Parameter(-nodes)

    def gains(self, where: Place) -> tuple[Tensor, Tensor, Tensor]:
        """Return gain, inverse gain, and the width of a bin to the density, (N, M, 1, 1) each."""
        gain = where.of(self.log_gain.exp()).clamp(min=_SMALLEST_GAIN)
        inverse_gain, width = (
            1 / where.of((-logs).exp()).clamp(min=_SMALLEST_GAIN)
            for logs in (self.log_inverse_gain, self.log_width)
        )
        return gain, inverse_gain, width

    def forward(
        self,
        x: Tensor,
        quality: Tensor,
        quantization: Quantization = "noise",
        noise: Tensor | None = None,
    ) -> CodecOutput:
        """Encode and decode a batch for training.

        Args:
            x: images (N, 3, H, W) in [0, 1]; H and W are multiples of 16.
            quality: (N,), nominally 0 to 100.
            quantization: see the class.
            noise: (N, M, H/16, W/16) in [-0.5, 0.5); drawn here if not given.
        """
        where = place(quality, self.config.gain_nodes)
        y = self.g_a(x - self.config.pixel_offset, where).float()
        gain, inverse_gain, width = self.gains(where)
        scaled = y * gain
        noisy = scaled + (torch.rand_like(scaled) - 0.5 if noise is None else noise)
        rounded = _round_straight_through(scaled)
        for_rate = rounded if quantization == "round" else noisy
        for_image = noisy if quantization == "noise" else rounded
        bits = self.density(for_rate * width, width)
        x_hat = self.g_s(for_image * inverse_gain, where) + self.config.pixel_offset
        return CodecOutput(x_hat, bits)
