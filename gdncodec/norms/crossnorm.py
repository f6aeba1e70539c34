"""Cross normalisation: images of a batch exchange their statistics, in training only."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gdncodec.errors import UsageError
from gdncodec.norms.statistics import check_shape, spatial_axes, widen

__all__ = [
    "CROPS",
    "Box",
    "CrossNorm",
    "activate_crossnorm",
    "activate_for_step",
    "exchange_statistics",
]

CROPS = ("neither", "style", "content", "both")
"""What a random box may limit: where statistics are taken, where they are applied, or both."""

Box = Sequence[slice]
"""A slice for each spatial axis."""

_SMALLEST_AREA = 0.1
_TRIES = 100


def _statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    axes = spatial_axes(x)
    correction = int(x[0, 0].numel() > 1)
    var, mean = torch.var_mean(x, axes, keepdim=True, correction=correction)
    return mean, (var + eps).sqrt()


def exchange_statistics(
    x: Tensor,
    order: Tensor,
    *,
    channels: Tensor | None = None,
    style: Box | None = None,
    content: Box | None = None,
    mix: float = 0.0,
    eps: float = 1e-5,
) -> Tensor:
    r"""Give each image of a batch the means and deviations of another image's channels.

    .. math::
        y_n = mix\, x_n + (1 - mix) ((x_n - m(x_n)) / s(x_n) \cdot s(x_{o(n)}) + m(x_{o(n)}))

    Deviations are unbiased (zero for a single position), and gradients reach both images.

    Args:
        x: (N, C, *S), floating.
        order: (N,), the image whose statistics each image takes.
        channels: (C,), the channel whose statistics each channel takes, or None for its own.
        style: part of the other image to take statistics of; None for all.
        content: part of each image to change, with its own statistics; None for all.
        mix: weight of the unchanged image.
        eps: added to the variances.
    """
    everywhere = (slice(None),) * (x.ndim - 2)
    whole = slice(None), slice(None)
    giver = x[order][whole + tuple(style or everywhere)]
    if channels is not None:
        giver = giver[:, channels]
    inside = whole + tuple(content or everywhere)
    part = x[inside]
    (mean, deviation), (new_mean, new_deviation) = (_statistics(t, eps) for t in (part, giver))
    changed = (part - mean) / deviation * new_deviation + new_mean
    if content is not None:
        pasted = x.clone()
        pasted[inside] = changed
        changed = pasted
    return torch.lerp(changed, x, mix) if mix else changed


class CrossNorm(nn.Module):
    """Exchanges channel statistics between the images of a batch, in training only.

    It acts on a training forward pass with the given probability, and on the first one after
    ``active`` was set; every forward pass resets ``active`` to False, as in the authors' protocol,
    for which :func:`activate_crossnorm` chooses the layers. A batch of one image is not changed. It
    has no parameters, no nonlinearity of its own, and no inverse: in the synthesis it acts only
    when it is activated.

    It is an augmentation. On the features of a codec it destroys what must be reconstructed.

    Source: Tang et al., CrossNorm and SelfNorm, arXiv 2102.02811. See :func:`exchange_statistics`.

    Args:
        channels: number of channels C.
        inverse: the form for the synthesis, which acts only when activated.
        probability: how often it acts without being activated.
        places: act as the paper's training does: at each step, with the probability, so many random
            layers of the network act, see :func:`activate_for_step`. With 0 each layer chooses for
            itself.
        crop: one of ``neither``, ``style``, ``content``, ``both``: what a random box limits.
        shuffle_channels: take the statistics of a random other channel.
        mix: weight of the unchanged image, 0 to 1.
        beta: the box's share of the area is drawn from Beta(beta, beta), and is at least 0.1.
        eps: added to the variances.

    Shape: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; the output has the same shape
    and type.

    Raises:
        ValueError: an option is out of its range, or the input has another number of channels or
            another rank.
    """

    def __init__(
        self,
        channels: int,
        *,
        inverse: bool = False,
        probability: float = 0.25,
        places: int = 0,
        crop: str = "neither",
        shuffle_channels: bool = False,
        mix: float = 0.0,
        beta: float = 1.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if crop not in CROPS:
            msg = f"crop must be one of {', '.join(CROPS)}, got {crop!r}"
            raise UsageError(msg)
        if not (0 <= probability <= 1 and 0 <= mix <= 1 and beta > 0):
            msg = (
                f"expected probability and mix in 0..1, beta > 0, got {probability}, {mix}, {beta}"
            )
            raise UsageError(msg)
        self.channels = channels
        self.probability = 0.0 if inverse else probability
        self.places = places
        self.crop, self.shuffle_channels, self.mix = crop, shuffle_channels, mix
        self.beta, self.eps = beta, eps
        self.active = False

    def extra_repr(self) -> str:
        return f"{self.channels}, probability={self.probability}, crop={self.crop}"

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.channels, 3)
        active, self.active = self.active, False
        if not self.training or not (active or self._chooses_to_act()):
            return x
        wide = widen(x, x)
        y = exchange_statistics(
            wide,
            torch.randperm(len(x), device=x.device),
            channels=torch.randperm(self.channels, device=x.device)
            if self.shuffle_channels
            else None,
            style=self._draw_box(x) if self.crop in ("style", "both") else None,
            content=self._draw_box(x) if self.crop in ("content", "both") else None,
            mix=self.mix,
            eps=self.eps,
        )
        return y.to(x.dtype)

    def _chooses_to_act(self) -> bool:
        return not self.places and _happens(self.probability)

    def _draw_box(self, x: Tensor) -> Box:
        """Draw a box of at least a tenth of the area; for tiny maps it is the whole."""
        sizes = x.shape[2:]
        area = torch.distributions.Beta(self.beta, self.beta)
        for _ in range(_TRIES):
            side = area.sample().item() ** (1 / len(sizes))
            box = []
            for size in sizes:
                half, centre = int(size * side) // 2, int(torch.randint(size, ()))
                box.append(slice(max(0, centre - half), min(size, centre + half)))
            share = 1.0
            for part, size in zip(box, sizes, strict=True):
                share *= (part.stop - part.start) / size
            if share > _SMALLEST_AREA:
                return box
        return [slice(size) for size in sizes]


def _happens(probability: float) -> bool:
    return probability > 0 and torch.rand(()).item() < probability


def activate_for_step(module: nn.Module) -> None:
    """Activate :class:`CrossNorm` layers for a training step, as their option ``places`` asks.

    The training loop calls this before each step. Layers with probability 0, such as those of a
    synthesis by default, take no part; without any layer nothing is drawn.
    """
    layers = [m for m in module.modules() if isinstance(m, CrossNorm)]
    layers = [m for m in layers if m.places and m.probability]
    if layers and _happens(layers[0].probability):
        _activate(layers, layers[0].places)


def activate_crossnorm(module: nn.Module, count: int = 1) -> None:
    """Make ``count`` random :class:`CrossNorm` layers below ``module`` act on the next forward.

    The authors call this with a probability of 0.25 to 0.75 before each training step, with count 1
    or 2. A module with fewer such layers activates all of them.
    """
    _activate([m for m in module.modules() if isinstance(m, CrossNorm)], count)


def _activate(layers: list[CrossNorm], count: int) -> None:
    for i in torch.randperm(len(layers))[:count].tolist():
        layers[i].active = True
