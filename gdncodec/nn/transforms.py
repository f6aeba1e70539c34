"""Analysis and synthesis transforms."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gdncodec.config import ModelConfig, Padding
from gdncodec.nn.nodes import Place, place
from gdncodec.norms import TileClass, make_norm, norm_info
from gdncodec.norms.centred import CentredConv2d

__all__ = ["Transform", "analysis", "synthesis"]

# Of the activation after norms that have no nonlinearity of their own.
_SLOPE = 0.1


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


def _replicate(x: Tensor, width: int) -> Tensor:
    """Pad a batch (N, C, H, W) with its outermost values: (N, C, H + 2 width, W + 2 width).

    Not with torch.nn.ReplicationPad2d: compiled, it has no gradient for inputs in channels-last
    order, and on CUDA its gradient depends on the order of the threads.
    """
    for axis in (2, 3) if width else ():
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
        x = torch.cat([first] * width + [x] + [last] * width, axis)
    return x


class _Replicate(nn.Module):
    """:func:`_replicate` as a layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return _replicate(x, self._width)
        return pad(x, (self._width,) * 4, mode="replicate")


class Transform(nn.Sequential):
    """Convolutions with norms between them; all convolutions but the last depend on the quality.

    The output of convolution number i becomes ``(1 + scale_i) * output + shift_i``, by channel:
    the conditional convolution of Choi et al., arXiv 1909.04802. ``scale_i`` and ``shift_i`` (K, C)
    are learned at K qualities, linear in log lambda between them, and initially 0.

    Args:
        layers: convolution, norm, convolution, and so on, a convolution at the end.
        nodes: K, at least 2.
        border: positions by which the input of every convolution is padded with its outermost
            values, at least 0, in addition to the zero padding of the convolutions themselves.
    """

    def __init__(self, layers: Iterable[nn.Module], nodes: int, border: int) -> None:
        super().__init__(*layers)
        self._border = border
        for i in range(0, len(self) - 1, 2):
            bias: Tensor = self[i].get_parameter("bias")
            for name in ("scale", "shift"):
                self.register_parameter(
                    f"{name}_{i}", nn.Parameter(bias.new_zeros(nodes, len(bias)))
                )

    def forward(self, x: Tensor, where: Place) -> Tensor:  # type: ignore[override]
        """Transform a batch (N, C, H, W), each image at its own quality."""
        for i, layer in enumerate(self):
            x = layer(_replicate(x, self._border) if i % 2 == 0 else x)
            if self._follows(i):
                scale, shift = (where.of(values) for values in self.condition(i))
                x = x * (1 + scale) + shift  # float32 under autocast: bfloat16 has no 1.002
        return x

    def condition(self, i: int) -> tuple[Tensor, Tensor]:
        """Return scale and shift (K, C) of convolution number i."""
        return self.get_parameter(f"scale_{i}"), self.get_parameter(f"shift_{i}")

    @torch.no_grad()
    def at(self, quality: float) -> nn.Sequential:
        """Return the transform at one quality, as plain layers; the last one is not a copy."""
        layers: list[nn.Module] = []
        border = [_Replicate(self._border)] if self._border else []
        *followed, last = self
        for i, layer in enumerate(followed):
            # A memo of deepcopy: what it lists by id is taken instead of copied, so that the copy
            # of a layer is made with the new parameters and the old ones are not copied at all.
            replacements: dict[int, nn.Parameter] = {}
            if self._follows(i):
                layers += border
                scale, shift = self.condition(i)
                where = place(scale.new_tensor([quality]), len(scale))
                factor = 1 + where.of(scale)  # (1, C, 1, 1), as a transposed convolution's weight
                weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
                transposed = isinstance(layer, nn.ConvTranspose2d)
                scaled = weight * (factor if transposed else factor.transpose(0, 1))
                moved = bias * factor.flatten() + where.of(shift).flatten()
                for old, value in ((weight, scaled), (bias, moved)):
                    replacements[id(old)] = nn.Parameter(value, old.requires_grad)
            layers.append(copy.deepcopy(layer, replacements))
        return nn.Sequential(*layers, *border, last)

    def _follows(self, i: int) -> bool:
        return i % 2 == 0 and i < len(self) - 1


def _variance_scaled(layer: nn.Module, fan_in: float) -> nn.Module:
    """Draw the weights with variance 1 / fan_in and clear the bias."""
    nn.init.normal_(layer.weight, std=fan_in**-0.5)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


_BORDERS: dict[Padding, tuple[int, int]] = {"replicate": (2, 1), "zeros": (0, 0)}
"""Positions by which the inputs of convolutions, and of transposed ones, are padded.

The outputs that are kept depend on 2 inputs beyond the border, those of transposed convolutions on
1.
"""


def _down(c_in: int, c_out: int, border: int, *, precise: bool, centred: bool = False) -> nn.Module:
    conv = _Conv2d if precise else CentredConv2d if centred else nn.Conv2d
    layer = conv(c_in, c_out, 5, stride=2, padding=2 - border)
    return _variance_scaled(layer, 25 * c_in)


def _up(c_in: int, c_out: int, border: int, *, precise: bool) -> nn.Module:
    conv = _ConvTranspose2d if precise else nn.ConvTranspose2d
    # The padding of a transposed convolution removes outputs: two for each padded input.
    layer = conv(c_in, c_out, 5, stride=2, padding=2 + 2 * border, output_padding=1)
    # Each output position of a stride-2 transposed convolution sees a quarter of the 25 taps.
    return _variance_scaled(layer, 25 * c_in / 4)


def _stage(norm: str, channels: int, *, inverse: bool, folded: bool) -> nn.Module:
    """Build a norm, with an activation if it has no nonlinearity of its own."""
    info = norm_info(norm)
    if folded and info.tile is TileClass.FROZEN_AFFINE:
        return nn.LeakyReLU(_SLOPE)
    layer = make_norm(norm, channels, inverse=inverse)
    return layer if info.own_nonlinearity else nn.Sequential(layer, nn.LeakyReLU(_SLOPE))


def _asks_for_centred(stage: nn.Module) -> bool:
    return any(getattr(layer, "centred", False) for layer in stage.modules())


def analysis(config: ModelConfig) -> Transform:
    """Build the analysis transform g_a: four 5x5 convolutions of stride 2 with norms between.

    ::

        x (N, 3, H, W) -> conv -> norm -> conv -> norm -> conv -> norm -> conv -> y

    A norm without a nonlinearity of its own is followed by LeakyReLU(0.1). The first and the last
    convolution stay in float32 under autocast: the input of the first is the image, and the output
    of the last is rounded. Neither is ever centred, see
    :class:`gdncodec.norms.centred.CentredConv2d`.

    Args:
        config: gives norm, widths, latent channels, nodes, folding and padding.

    Raises:
        ValueError: the norm or one of its options is unknown.
    """
    n1, n2, n3 = config.widths
    stages = [_stage(config.norm, n, inverse=False, folded=config.folded) for n in config.widths]
    centred, (border, _) = _asks_for_centred(stages[0]), _BORDERS[config.padding]
    layers = (
        _down(3, n1, border, precise=True),
        stages[0],
        _down(n1, n2, border, precise=False, centred=centred),
        stages[1],
        _down(n2, n3, border, precise=False, centred=centred),
        stages[2],
        _down(n3, config.latent_channels, border, precise=True),
    )
    return Transform(layers, config.gain_nodes, border)


def synthesis(config: ModelConfig) -> Transform:
    """Build the synthesis transform g_s, the mirror image of :func:`analysis`.

    ::

        x_hat (N, 3, H, W) <- convT <- norm <- convT <- norm <- convT <- norm <- convT <- y_hat

    Args:
        config: as in :func:`analysis`, with the norm and the widths of the synthesis.

    Raises:
        ValueError: the norm or one of its options is unknown, or the norm cannot be used in the
            synthesis.
    """
    n1, n2, n3 = config.synthesis_widths
    norm, (_, border) = config.synthesis_norm, _BORDERS[config.padding]
    layers = (
        _up(config.latent_channels, n3, border, precise=True),
        _stage(norm, n3, inverse=True, folded=config.folded),
        _up(n3, n2, border, precise=False),
        _stage(norm, n2, inverse=True, folded=config.folded),
        _up(n2, n1, border, precise=False),
        _stage(norm, n1, inverse=True, folded=config.folded),
        _up(n1, 3, border, precise=True),
    )
    return Transform(layers, config.gain_nodes, border)
