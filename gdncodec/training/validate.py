"""Validation: rate, as the density estimates it, and distortion on held-out images."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from gdncodec.config import DOWNSAMPLING, ModelConfig
from gdncodec.measures import middle
from gdncodec.nn.loss import rate_distortion
from gdncodec.nn.model import CodecModel, CodecOutput

__all__ = ["LARGEST_SIDE", "Point", "reconstruct", "score", "validate"]

_QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)
"""Qualities at which a network of variable rate is measured."""

LARGEST_SIDE = 1024
"""Sides in pixels above which only the middle is measured, to limit the time of a validation."""


class Point(NamedTuple):
    """Means over images at one quality."""

    quality: float
    bpp: float
    """Bits per pixel as the density estimates them."""
    psnr: float
    """PSNR of RGB in dB."""
    ms_ssim: float | None = None
    """MS-SSIM, if the network is trained on it."""


@torch.no_grad()
def validate(model: CodecModel, images: Sequence[Tensor], side: int = LARGEST_SIDE) -> list[Point]:
    """Measure a network with rounded latents at a few qualities; without images return no points.

    The network is in evaluation mode meanwhile and back in its own mode afterwards. No random
    number is drawn.

    Args:
        model: the network, on any device.
        images: uint8 (3, H, W).
        side: largest side in pixels; of larger images only the middle is measured.

    Raises:
        ValueError: an image is too small for the metric that the network is trained on.
    """
    if not images:
        return []
    fixed = model.config.fixed_quality
    qualities = _QUALITIES if fixed is None else (fixed,)
    with _evaluating(model):
        # (images, qualities, figures), copied from the device once.
        figures = torch.stack(
            [torch.stack([_measure(model, p, q, side) for q in qualities]) for p in images]
        )
    means = figures.mean(dim=0).tolist()
    similar = model.config.metric == "ms-ssim"
    return [
        Point(quality, bpp, psnr, 1 - distortion if similar else None)
        for quality, (bpp, psnr, distortion) in zip(qualities, means, strict=True)
    ]


def score(points: Sequence[Point], config: ModelConfig) -> float:
    """Return one number for the points of a network; lower is better.

    It is the mean over the qualities of ``log(bpp + lambda * distortion)``, so that a relative
    change counts the same at every quality.
    """
    costs = []
    for point in points:
        if point.ms_ssim is None:
            distortion = 255**2 * 10 ** (-point.psnr / 10)
        else:
            distortion = 1 - point.ms_ssim
        costs.append(math.log(point.bpp + config.lambda_at(point.quality) * distortion))
    return sum(costs) / len(costs)


@torch.no_grad()
def reconstruct(model: CodecModel, image: Tensor, quality: float = 50.0) -> tuple[Tensor, Tensor]:
    """Return the middle of an image and its reconstruction, both uint8 (3, h, w).

    Args:
        model: the network, on any device; its mode is restored afterwards.
        image: uint8 (3, H, W).
        quality: 0 to 100; ignored by a network of a single rate.
    """
    fixed = model.config.fixed_quality
    with _evaluating(model):
        x, out = _through(model, image, quality if fixed is None else fixed, LARGEST_SIDE)
    pair = torch.cat([x, out.x_hat]).mul(255).round().byte().cpu()
    return pair[0], pair[1]


def _measure(model: CodecModel, image: Tensor, quality: float, side: int) -> Tensor:
    """Return bpp, PSNR and distortion, (3,)."""
    x, out = _through(model, image, quality, side)
    result = rate_distortion(out, x, model.config.metric)
    return torch.cat([result.bpp, result.psnr, result.distortion])


def _through(
    model: CodecModel, image: Tensor, quality: float, side: int
) -> tuple[Tensor, CodecOutput]:
    """Return the middle of an image, (1, 3, h, w) in [0, 1], and the network's output for it."""
    device = next(model.parameters()).device
    size = image.shape[1:]
    rows, columns = middle(size, [min(side, n) // DOWNSAMPLING * DOWNSAMPLING for n in size])
    x = image[:, rows, columns].to(device)[None] / 255
    no_noise = torch.zeros((), device=device)
    out = model(x, torch.tensor([quality], device=device), "round", no_noise)
    return x, out._replace(x_hat=out.x_hat.float().clamp(0, 1))


@contextmanager
def _evaluating(model: CodecModel) -> Iterator[None]:
    """Put a network into evaluation mode; afterwards restore the mode of each layer."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
