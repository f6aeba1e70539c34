"""Rate-distortion loss."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gdncodec.config import Metric
from gdncodec.errors import UsageError
from gdncodec.extras import check_installed
from gdncodec.nn.model import CodecOutput

__all__ = ["RateDistortion", "RateDistortionLoss", "check_metric", "ms_ssim", "rate_distortion"]

_MS_SSIM_SIDE = 160
"""Sides must be longer than this for five scales with a window of 11 pixels."""


_LARGE = 8.0
"""Cost relative to the usual one, above which it counts by its logarithm."""


class RateDistortion(NamedTuple):
    """Rate and distortion of each image in a batch, each (N,)."""

    bpp: Tensor
    """Estimated bits per pixel."""
    mse: Tensor
    """Mean squared error of samples in [0, 1]."""
    distortion: Tensor
    """Distortion that lambda weights: ``255^2 * MSE`` or ``1 - MS-SSIM``."""

    @property
    def psnr(self) -> Tensor:
        """PSNR in dB, (N,)."""
        return -10 * self.mse.log10()


def check_metric(metric: Metric, side: int) -> None:
    """Check before training that a metric can be computed on the crops.

    Args:
        metric: distortion metric of the training.
        side: shorter side of the crops in pixels.

    Raises:
        GdnCodecError: the package that computes the metric is not installed.
        UsageError: the crops are too small.
    """
    if metric == "ms-ssim":
        check_installed("pytorch_msssim", extra="train")
        if side <= _MS_SSIM_SIDE:
            msg = f"metric ms-ssim needs crops above {_MS_SSIM_SIDE} pixels, got {side}"
            raise UsageError(msg)


def rate_distortion(out: CodecOutput, x: Tensor, metric: Metric = "mse") -> RateDistortion:
    """Return rate and distortion of a batch.

    Args:
        out: output of the network for the batch.
        x: the batch, (N, 3, H, W) in [0, 1].
        metric: ``mse`` or ``ms-ssim``.

    Raises:
        UsageError: the metric is MS-SSIM and a side has 160 pixels or less.
    """
    bpp = out.bits.sum(dim=(1, 2, 3)) / (x.shape[2] * x.shape[3])
    x_hat = out.x_hat.float()
    mse = (x_hat - x).square().mean(dim=(1, 2, 3))
    distortion = 255**2 * mse if metric == "mse" else 1 - ms_ssim(x_hat, x)
    return RateDistortion(bpp, mse, distortion)


def ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return the multi-scale structural similarity (N,) of images (N, 3, H, W) in [0, 1].

    Raises:
        UsageError: a side has 160 pixels or less, too few for five scales.
    """
    check_metric("ms-ssim", min(x.shape[2:]))
    from pytorch_msssim import ms_ssim as five_scales

    similarity: Tensor = five_scales(x_hat, x, data_range=1.0, size_average=False)
    return similarity


class RateDistortionLoss(nn.Module):
    """``bpp + lambda * distortion``, each sample divided by the usual cost at its lambda.

    Without the division, samples with a high lambda would dominate the gradient. The usual cost is
    a running mean, kept in a buffer at a few nodes and linear in log lambda between them. Above
    eight times the usual cost r grows as ``8 (1 + log(r / 8))`` only, because patterns that no
    network can code well would drown the rest of their batch.

    Args:
        lambdas: smallest and largest lambda.
        nodes: number of nodes of the running mean.
        momentum: weight of the previous value in an update.
        add: sums a tensor over all processes that share a batch, so that each has the running mean
            of the whole batch.
    """

    def __init__(
        self,
        lambdas: tuple[float, float],
        nodes: int = 6,
        momentum: float = 0.99,
        add: Callable[[Tensor], Tensor] = lambda sums: sums,
    ) -> None:
        super().__init__()
        self.add = add
        self.log_lambdas = (
            torch.tensor(lambdas[0]).log().item(),
            torch.tensor(lambdas[1]).log().item(),
        )
        self.momentum = momentum
        self.usual: Tensor
        self.register_buffer("usual", torch.full((nodes,), torch.nan))

    def forward(self, bpp: Tensor, distortion: Tensor, lambdas: Tensor) -> Tensor:
        """Return the mean normalised loss (), from the figures and lambda of each sample (N,)."""
        cost = bpp + lambdas * distortion
        low, high = self.log_lambdas
        nodes = self.usual.numel()
        span = max(high - low, 1e-9)
        position = ((lambdas.log() - low) / span * (nodes - 1)).clamp(0, nodes - 1)
        # Hat functions: weight of each node for each sample, (N, nodes).
        hats = (1 - (position[:, None] - torch.arange(nodes, device=bpp.device)).abs()).clamp(min=0)
        with torch.no_grad():
            weight, costs = self.add(torch.stack([hats, hats * cost[:, None]]).sum(dim=1))
            seen = costs / weight.clamp(min=1e-9)
            # The weights of a sample sum to one.
            old = torch.where(self.usual.isnan(), costs.sum() / weight.sum(), self.usual)
            step = (1 - self.momentum) * weight.clamp(max=1)
            self.usual.copy_(old + step * (seen - old))
        ratio = cost / (hats @ self.usual)
        above = _LARGE * (1 + (ratio.clamp(min=_LARGE) / _LARGE).log())
        return torch.where(ratio > _LARGE, above, ratio).mean()
