"""Fits the groups of channels and the weights with which contexts predict magnitudes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdncodec.entropy.contexts import MAX_WEIGHTS
from gdncodec.entropy.phases import PHASES, Magnitudes
from gdncodec.threads import one_blas_thread, processors

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["QUIET", "fit_groups", "fit_weights"]

QUIET = 1e-4
"""Channels of a smaller mean magnitude have no contexts and are in none."""

_GROUPS = 16
_UNIT = 1024  # the integer weight for a weight of 1
_SWEEPS = 20


def fit_groups(energy: NDArray[np.float64], predicted: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the group of each channel, in order of falling energy; quiet channels come last.

    The contexts of predicted channels gain more from other channels than the others from theirs: so
    the last groups have one of them each.

    Args:
        energy: mean magnitude of each channel, (M,).
        predicted: (P,) channels whose differences from predictions are coded.
    """
    order = np.argsort(-energy, kind="stable")
    active = int((energy > QUIET).sum())
    groups = np.full(energy.size, _GROUPS, np.uint8)
    for group, members in enumerate(np.array_split(order[:active], _GROUPS)):
        groups[members] = group
    ranked = predicted[np.argsort(-energy[predicted], kind="stable")]
    groups[ranked] = np.maximum(_GROUPS - ranked.size, 0) + np.arange(ranked.size) % _GROUPS
    return groups


def fit_weights(
    symbols: list[NDArray[Any]], groups: NDArray[np.uint8]
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Predict each channel's magnitudes from those that the decoder knows before.

    Non-negative least squares with a constant: in each phase the magnitude of channel c is
    ``sum_j weights[c, j] * magnitude_j + constant_c + near_weight[c] * near_c``, where j runs over
    the channels of earlier groups and near_c is the sum over the neighbours in channel c. Only sums
    of products over all positions enter, the normal equations, so that any number of positions
    costs the memory of a few M x M matrices.

    Args:
        symbols: of images, (M, rows, columns) each.
        groups: (M,), as :func:`fit_groups` returns them.

    Returns:
        Integer weights (3, M, M) and (3, M) of neighbours, as in
        :class:`gdncodec.entropy.contexts.Contexts`.
    """
    used = np.flatnonzero(groups < _GROUPS)
    with one_blas_thread(), ThreadPoolExecutor(processors()) as pool:
        of_images = list(pool.map(lambda k: _sums(k[used]), symbols))
        of_phases = [_added(parts) for parts in zip(*of_images, strict=True)]
        solved = list(pool.map(lambda sums: _solve(sums, groups[used]), of_phases))
    m = groups.size
    weights, neighbours = np.zeros((PHASES, m, m)), np.zeros((PHASES, m))
    for phase, (of_channels, of_near) in enumerate(solved):
        weights[phase][np.ix_(used, used)], neighbours[phase][used] = of_channels, of_near
    # No sum of the weights of m channels and 4 neighbours is then too large.
    largest = min(MAX_WEIGHTS // (m + 4), np.iinfo(np.int16).max)
    return _as_integers(weights, largest), _as_integers(neighbours, largest)


class _Sums(NamedTuple):
    """Sums over positions; a feature is the magnitude of a channel, or the constant, the last."""

    products: NDArray[np.float64]
    """Of each feature and each other one, (M + 1, M + 1)."""
    near_products: NDArray[np.float64]
    """Of each feature and each channel's near sum, (M + 1, M)."""
    near_squares: NDArray[np.float64]
    """Of each channel's near sum and itself, (M,)."""
    near_targets: NDArray[np.float64]
    """Of each channel's near sum and its magnitude, (M,)."""


def _sums(symbols: NDArray[Any]) -> list[_Sums]:
    """Return the sums of an image for each phase.

    They are integers; where they exceed 2**24, float32 rounds them.
    """
    magnitudes, found = Magnitudes.of(symbols), []
    channels = np.arange(len(symbols))
    for phase, every in enumerate(magnitudes.of_phase):
        features = np.vstack([every, np.ones_like(every[:1])])
        near = magnitudes.sum_near(phase, channels)
        products, near_products = features @ features.T, features @ near.T
        squares = np.einsum("cp,cp->c", near, near)
        sums = products, near_products, squares, near_products.diagonal()
        found.append(_Sums(*(part.astype(np.float64) for part in sums)))
    return found


def _added(parts: tuple[_Sums, ...]) -> _Sums:
    return _Sums(*(np.sum(part, axis=0) for part in zip(*parts, strict=True)))


def _solve(
    sums: _Sums, groups: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights of channels (M, M) and of the near sums (M,), by coordinate descent."""
    m = groups.size
    products, near_products, near_squares, near_targets = sums
    allowed = np.ones((m + 1, m))
    allowed[:m] = groups[None, :] > groups[:, None]
    x, z = np.zeros((m + 1, m)), np.zeros(m)  # weights of the features, and of the near sums
    seen = np.flatnonzero(products.diagonal())
    for _ in range(_SWEEPS):
        for j in seen:  # for all channels at once
            residual = products[j, :m] - products[j] @ x - z * near_products[j]
            x[j] = np.maximum(x[j] + residual / products[j, j], 0) * allowed[j]
        residual = near_targets - (x * near_products).sum(axis=0) - z * near_squares
        z = np.maximum(z + residual / np.maximum(near_squares, 1e-9), 0)
    return x[:m].T, z


def _as_integers(weights: NDArray[np.float64], largest: int) -> NDArray[np.int16]:
    return np.minimum(np.rint(weights * _UNIT), largest).astype(np.int16)
