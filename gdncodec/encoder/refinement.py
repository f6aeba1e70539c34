"""Better symbols for the same decoder: rate-distortion optimised quantisation.

Rounding takes each latent value to the nearest symbol on its own. But the synthesis mixes the
symbols, and some cost more bits than others. Here symbols are changed by 1, in several rounds,
where that lowers ``bits + lambda * 255^2 * MSE``:

* the squared error changes by ``gradient * step + curvature * step^2``, with the gradient through
  the synthesis and a curvature for each channel that is estimated once;
* the bits change as the tables that the current contexts select say, and a symbol that moves away
  from zero pays for the contexts that it raises;
* each round makes only some of the changes that pay, and overestimates the curvature, because each
  change is judged as if it were the only one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdncodec.tiles.geometry import Halo, cut, in_pixels, overlap, tiles, within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gdncodec.engines import Transforms
    from gdncodec.modelfile import OperatingPoint

__all__ = ["ROUNDS", "Edges", "refine"]

ROUNDS = (0, 2, 4, 8, 12, 16, 24, 32, 48, 64)
"""Rounds at the efforts 0 to 9."""

_SIDE = 48  # largest side, in latent positions, of the windows in which gradients are computed
_SHARE = 0.1  # of the changes that pay, made in one round
_CAUTION = 2.5  # times the curvature
_AWAY = 4.0  # bits that a step away from zero costs the symbols around and after it
_REACH = 2  # a symbol changes the pixels of so many latent positions around its own


class Edges(NamedTuple):
    """Whether the image ends where the symbols do; beyond the other edges it continues."""

    top: bool
    bottom: bool
    left: bool
    right: bool


def refine(
    symbols: NDArray[np.int32],
    pixels: NDArray[Any],
    point: OperatingPoint,
    transforms: Transforms,
    *,
    rounds: int,
    edges: Edges,
) -> NDArray[np.int32]:
    """Return symbols with a lower rate-distortion cost.

    Symbols near an edge beyond which the image continues are not changed.

    Args:
        symbols: (M, rows, columns), rounded.
        pixels: (H, W, 3) uint8 or uint16, H and W at most 16 times rows and columns.
        point: the model at the quality of the symbols, trained on mean squared error.
        transforms: those of the model at that quality.
        rounds: how many rounds of changes.
        edges: where the image ends.
    """
    symbols = symbols.copy()
    rng = np.random.default_rng(0)
    scale = point.inverse_gain[:, None, None]
    # In bits for a squared error of 1 in one sample in [0, 1]; lambda is for bits per pixel and the
    # mean over its three samples.
    weight = point.rate_weight * 255**2 / 3
    free = _free(symbols.shape[1:], edges)
    caution: NDArray[np.floating[Any]] | None = None
    for _ in range(rounds):
        y = point.dequantise(symbols)
        if caution is None:
            rows, columns = (slice(0, min(_SIDE, n)) for n in y.shape[1:])
            bend = transforms.curvature(np.ascontiguousarray(y[:, rows, columns]))
            caution = _CAUTION * weight * (bend * point.inverse_gain**2)[:, None, None]
        slope = weight * scale * _gradient(y, pixels, transforms)
        more, less = point.prices(symbols)
        more, less = more + slope + caution, less - slope + caution
        more += _AWAY * (symbols >= 0)
        less += _AWAY * (symbols <= 0)
        pays = (np.minimum(more, less) < 0) & free & (rng.random(more.shape) < _SHARE)
        symbols += np.where(more < less, pays, -pays.astype(np.int32))
    return symbols


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
