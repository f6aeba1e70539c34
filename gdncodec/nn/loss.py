"""Rate-distortion loss."""

import torch
from torch import Tensor, nn

from gdncodec.nn.model import CodecOutput

__all__ = ["RateDistortionLoss", "rate_distortion"]


def rate_distortion(out: CodecOutput, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return bits per pixel (N,) and mean squared error on [0, 1] (N,) of a batch (N, 3, H, W)."""
    pixels = x.shape[2] * x.shape[3]
    bpp = out.bits.sum(dim=(1, 2, 3)) / pixels
    mse = (out.x_hat.float() - x).square().mean(dim=(1, 2, 3))
    return bpp, mse


class RateDistortionLoss(nn.Module):
    """``bpp + lambda * 255^2 * MSE``, each sample divided by what its lambda usually costs.

    Without the division the samples of high lambda would own the gradient. The usual cost is a
    running mean, linear in log lambda between a few nodes, kept in a buffer.

    Args:
        lambdas: smallest and largest lambda.
        nodes: number of nodes of the running mean.
        momentum: weight of the old value in a step.
    """

    def __init__(
        self, lambdas: tuple[float, float], nodes: int = 6, momentum: float = 0.99
    ) -> None:
        super().__init__()
        self.log_lambdas = (
            torch.tensor(lambdas[0]).log().item(),
            torch.tensor(lambdas[1]).log().item(),
        )
        self.momentum = momentum
        self.usual: Tensor
        self.register_buffer("usual", torch.full((nodes,), torch.nan))

    def forward(self, bpp: Tensor, mse: Tensor, lambdas: Tensor) -> Tensor:
        """Return the mean normalised loss of samples (N,)."""
        cost = bpp + lambdas * 255**2 * mse
        low, high = self.log_lambdas
        nodes = self.usual.numel()
        span = max(high - low, 1e-9)
        position = ((lambdas.log() - low) / span * (nodes - 1)).clamp(0, nodes - 1)
        # Hat functions: how near each sample is to each node, (N, nodes).
        hats = (1 - (position[:, None] - torch.arange(nodes, device=bpp.device)).abs()).clamp(min=0)
        with torch.no_grad():
            weight = hats.sum(dim=0)
            seen = (hats * cost.detach()[:, None]).sum(dim=0) / weight.clamp(min=1e-9)
            old = torch.where(self.usual.isnan(), cost.detach().mean(), self.usual)
            step = (1 - self.momentum) * weight.clamp(max=1)
            self.usual.copy_(old + step * (seen - old))
        return (cost / (hats @ self.usual)).mean()
