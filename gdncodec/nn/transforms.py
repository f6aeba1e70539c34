"""Analysis and synthesis transforms."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gdncodec.norms import make_norm

__all__ = ["analysis", "synthesis"]


class _Conv2d(nn.Conv2d):
    """Strided convolution that stays in float32 under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


class _ConvTranspose2d(nn.ConvTranspose2d):
    """Strided transposed convolution that stays in float32 under autocast."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype), output_size)


def _variance_scaled(layer: nn.Module, fan_in: float) -> nn.Module:
    """Draw the weights with variance 1 / fan_in and clear the bias."""
    nn.init.normal_(layer.weight, std=fan_in**-0.5)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _down(c_in: int, c_out: int, *, precise: bool) -> nn.Module:
    conv = _Conv2d if precise else nn.Conv2d
    return _variance_scaled(conv(c_in, c_out, 5, stride=2, padding=2), 25 * c_in)


def _up(c_in: int, c_out: int, *, precise: bool) -> nn.Module:
    conv = _ConvTranspose2d if precise else nn.ConvTranspose2d
    # Each output position of a stride-2 transposed convolution sees a quarter of the 25 taps.
    layer = conv(c_in, c_out, 5, stride=2, padding=2, output_padding=1)
    return _variance_scaled(layer, 25 * c_in / 4)


def analysis(widths: Sequence[int], latent_channels: int, norm: str) -> nn.Sequential:
    """Build the analysis transform g_a: four 5x5 convolutions of stride 2 with norms between.

    ::

        x (N, 3, H, W) -> conv -> norm -> conv -> norm -> conv -> norm -> conv -> y (N, M, H/16, W/16)

    The first and the last convolution keep float32 under autocast: the first sees the picture, the
    last makes the numbers that are rounded.

    Args:
        widths: channels after the first, second and third convolution.
        latent_channels: channels M of the latent.
        norm: name of the normalisation layer.
    """
    n1, n2, n3 = widths
    return nn.Sequential(
        _down(3, n1, precise=True),
        make_norm(norm, n1),
        _down(n1, n2, precise=False),
        make_norm(norm, n2),
        _down(n2, n3, precise=False),
        make_norm(norm, n3),
        _down(n3, latent_channels, precise=True),
    )


def synthesis(widths: Sequence[int], latent_channels: int, norm: str) -> nn.Sequential:
    """Build the synthesis transform g_s, the mirror image of :func:`analysis`.

    ::

        x_hat (N, 3, H, W) <- convT <- norm <- convT <- norm <- convT <- norm <- convT <- y_hat

    Args:
        widths: channels in the order of the analysis; the last is next to the latent.
        latent_channels: channels M of the latent.
        norm: name of the normalisation layer, used in its inverse form.
    """
    n1, n2, n3 = widths
    return nn.Sequential(
        _up(latent_channels, n3, precise=True),
        make_norm(norm, n3, inverse=True),
        _up(n3, n2, precise=False),
        make_norm(norm, n2, inverse=True),
        _up(n2, n1, precise=False),
        make_norm(norm, n1, inverse=True),
        _up(n1, 3, precise=True),
    )
