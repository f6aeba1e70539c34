"""Better symbols for the same decoder: rate-distortion optimised quantisation.

The analysis gives each image a good latent in one pass, not its best one, and rounding takes each
value to the nearest symbol on its own. Here the latent itself is optimised before it is rounded:
a few steps of Adam lower ``bits + lambda * 255^2 * MSE`` of the image at hand.

* Between two symbols a value stands for a mixture of both, ``lower + share``. The share is soft at
  first and becomes ever more like rounding, so that the steps take the rounding into account.
* The squared error follows through the synthesis, and the bits from the tables that the contexts
  of the rounded values select.
* Many steps can afford to draw the shares at random around the soft ones, which explores more.

Source: Yang, Bamler, Mandt, Improving inference for neural image compression, arXiv 2006.04240
(stochastic Gumbel annealing); without the noise its mean.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdncodec.entropy.slices import LARGEST_SYMBOL
from gdncodec.tiles.geometry import Halo, cut, in_pixels, overlap, tiles, within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gdncodec.engines import Transforms
    from gdncodec.modelfile import OperatingPoint

__all__ = ["STEPS", "Edges", "refine"]

STEPS = (0, 1, 2, 4, 6, 8, 12, 48, 70, 100)
"""Steps at the efforts 0 to 9."""

_SIDE = 48  # largest side, in latent positions, of the windows in which gradients are computed
_REACH = 2  # a symbol changes the pixels of so many latent positions around its own
_RANDOM = 40  # steps from which random shares pay
_MEMORY = (0.9, 0.99)  # of Adam's first and second moments
_MARGIN = 1e-4  # least distance of a value from a symbol: there the share is infinitely steep


class Edges(NamedTuple):
    """Whether the image ends where the symbols do; beyond the other edges it continues."""

    top: bool
    bottom: bool
    left: bool
    right: bool


class _Schedule(NamedTuple):
    """How a number of steps is best used."""

    rate: float
    """Of Adam, in symbols."""
    first: float
    """Temperature of the shares in the first step; 1 is nearly linear, 0 is rounding."""
    last: float
    """Temperature in the last step; in between it falls by equal factors."""
    random: bool

    @classmethod
    def of(cls, steps: int) -> _Schedule:
        if steps >= _RANDOM:
            return cls(0.02, 0.7, 0.1, random=True)
        return cls(min(0.1 / math.sqrt(steps), 0.06), 0.7, 0.2, random=False)

    def temperature(self, step: int, steps: int) -> float:
        return self.first * (self.last / self.first) ** (step / max(steps - 1, 1))


def refine(
    latent: NDArray[np.floating[Any]],
    pixels: NDArray[Any],
    point: OperatingPoint,
    transforms: Transforms,
    *,
    steps: int,
    edges: Edges,
) -> NDArray[np.int32]:
    """Return symbols of a lower rate-distortion cost than those of rounding.

    Near an edge beyond which the image continues they are those of rounding.

    Args:
        latent: (M, rows, columns), from the analysis.
        pixels: (H, W, 3) uint8 or uint16, H and W at most 16 times rows and columns.
        point: the model at the quality of the latent, trained on mean squared error.
        transforms: those of the model at that quality.
        steps: of the optimisation; 0 only rounds.
        edges: where the image ends.
    """
    symbols = point.quantise(latent)
    if steps == 0:
        return symbols
    rng = np.random.default_rng(0)
    schedule = _Schedule.of(steps)
    free = ~point.silent[:, None, None] & _free(symbols.shape[1:], edges)
    # In bits for a squared error of 1 in one sample in [0, 1]; lambda is for bits per pixel and the
    # mean over its three samples.
    weight = point.rate_weight * 255**2 / 3 * point.inverse_gain[:, None, None]
    values = np.where(free, point.scaled(latent), symbols).astype(np.float32)
    momentum, power = np.zeros_like(values), np.zeros_like(values)
    for step in range(steps):
        lower = np.floor(values).clip(-LARGEST_SYMBOL, LARGEST_SYMBOL - 1)
        noise = rng.logistic(size=values.shape).astype(np.float32) if schedule.random else None
        temperature = schedule.temperature(step, steps)
        share, slope = _soft(values - lower, temperature, noise)
        mixed = np.where(free, lower + share, symbols)
        slope *= weight * _gradient(
            point.dequantise(mixed), pixels, transforms
        ) + point.prices_above(symbols, lower.astype(np.int32))
        slope[~free] = 0
        momentum += (1 - _MEMORY[0]) * (slope - momentum)
        power += (1 - _MEMORY[1]) * (np.square(slope) - power)
        scale = np.sqrt(power / (1 - _MEMORY[1] ** (step + 1))) + 1e-8
        values -= schedule.rate / (1 - _MEMORY[0] ** (step + 1)) * momentum / scale
        symbols = np.rint(values).clip(-LARGEST_SYMBOL, LARGEST_SYMBOL).astype(np.int32)
    return symbols


def _soft(
    fraction: NDArray[np.float32], temperature: float, noise: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the share of the upper symbol, and its derivative by the fraction.

    The logit of the share is the difference of the areatangents of the distances to both symbols,
    over the temperature. With noise, of a logistic distribution, it is a sample of the relaxed
    distribution in which the share is the probability of the upper symbol.
    """
    d = fraction.clip(_MARGIN, 1 - _MARGIN)
    logit = np.log((1 + d) * d / ((1 - d) * (2 - d))) / (2 * temperature)
    slope = (1 / (1 - d * d) + 1 / (d * (2 - d))) / temperature
    if noise is not None:
        logit = (logit + noise) / temperature
        slope /= temperature
    share = 1 / (1 + np.exp(-logit.clip(-60, 60)))
    return share, slope * share * (1 - share)


def _free(shape: tuple[int, ...], edges: Edges) -> NDArray[np.bool_]:
    """Return the positions (rows, columns) all of whose pixels are known."""
    margin = 2 * _REACH
    ends = ((edges.top, edges.bottom), (edges.left, edges.right))
    free = np.zeros(shape, bool)
    rows, columns = (
        slice(0 if first else margin, n if last else max(n - margin, 0))
        for n, (first, last) in zip(shape, ends, strict=True)
    )
    free[rows, columns] = True
    return free


def _gradient(
    y: NDArray[np.float32], pixels: NDArray[Any], transforms: Transforms
) -> NDArray[np.float64]:
    """Return the gradient of the squared error, from windows that each fit into memory."""
    _, rows, columns = y.shape
    largest = max(rows, columns)
    side = math.ceil(largest / math.ceil(largest / _SIDE))
    gradient = np.empty(y.shape)
    image = (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
    around = tiles(rows, columns, Halo(_REACH, _REACH), side=side)
    for changed, seen in zip(
        around, tiles(rows, columns, Halo(2 * _REACH, 2 * _REACH), side=side), strict=True
    ):
        where = overlap(in_pixels(changed.outer), image)
        window = np.ascontiguousarray(cut(y, seen.outer))
        part = transforms.error_gradient(
            window, pixels[where], within(where, in_pixels(seen.outer))
        )
        cut(gradient, seen.inner)[...] = cut(part, within(seen.inner, seen.outer))
    return gradient
