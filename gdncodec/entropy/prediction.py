"""Channels whose symbols are coded as differences from what their neighbours predict.

A few latent channels hold the mean colour of each place, which varies slowly from place to place.
Contexts know magnitudes only; in these channels the value itself is predicted. Positions are
visited from coarse to fine: first (0, 0), then, on lattices of steps that halve, the centres of the
squares between known positions (1), and the places between two of them (2)::

    0 2 0 2
    2 1 2 1
    0 2 0 2

A prediction is the mean of those of the four diagonal (1) or nearest (2) neighbours that lie inside
the slice, rounded to the nearest integer, halves up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["differences", "undo_differences"]

_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_NEAREST = ((-1, 0), (1, 0), (0, -1), (0, 1))
_VISITS = ((1, 1, _DIAGONAL), (0, 1, _NEAREST), (1, 0, _NEAREST))
"""First row and column of the positions visited at once, every second from there; neighbours."""


def differences(symbols: NDArray[Any], channels: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Return symbols (M, rows, columns), in some channels minus their predictions.

    The result has the type of the symbols, which must have room for twice the largest of them.
    """
    found = symbols.copy()
    known = symbols[channels].astype(np.int64)
    change = np.zeros_like(known)
    for lattice in _lattices(*known.shape[1:]):
        for visit in _VISITS:
            _at(change[lattice], visit)[...] = _predictions(known[lattice], visit)
    found[channels] = known - change
    return found


def undo_differences(
    found: NDArray[np.int32], channels: NDArray[np.integer[Any]], largest: int
) -> NDArray[np.int32]:
    """Return the symbols (M, rows, columns) whose :func:`differences` are given.

    Raises:
        FormatError: a symbol would have a magnitude above ``largest``.
    """
    symbols = found.copy()
    known = found[channels].astype(np.int64)
    for lattice in _lattices(*known.shape[1:]):
        for visit in _VISITS:
            _at(known[lattice], visit)[...] += _predictions(known[lattice], visit)
    if np.abs(known).max(initial=0) > largest:
        msg = "a predicted symbol is out of range"
        raise FormatError(msg)
    symbols[channels] = known
    return symbols


def _lattices(rows: int, columns: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield slices of every 2^k-th row and column, down to k = 0."""
    for power in reversed(range(max(rows - 1, columns - 1).bit_length())):
        yield slice(None), slice(None, None, 1 << power), slice(None, None, 1 << power)


_Visit = tuple[int, int, tuple[tuple[int, int], ...]]


def _at(lattice: NDArray[Any], visit: _Visit) -> NDArray[Any]:
    top, left, _ = visit
    return lattice[:, top::2, left::2]


def _predictions(lattice: NDArray[np.int64], visit: _Visit) -> NDArray[np.int64]:
    """Return the predictions of the positions of a visit."""
    _, rows, columns = lattice.shape
    count = _neighbours_inside(rows, columns, visit)
    return (2 * _sum_of_neighbours(lattice, visit) + count) // (2 * count)


def _sum_of_neighbours(lattice: NDArray[np.int64], visit: _Visit) -> NDArray[np.int64]:
    top, left, neighbours = visit
    n, rows, columns = lattice.shape
    framed = np.zeros((n, rows + 2, columns + 2), np.int64)
    framed[:, 1:-1, 1:-1] = lattice
    total = np.zeros_like(_at(lattice, visit))
    for down, across in neighbours:
        ends = 1 + down + rows, 1 + across + columns
        total += framed[:, 1 + top + down : ends[0] : 2, 1 + left + across : ends[1] : 2]
    return total


@lru_cache(256)
def _neighbours_inside(rows: int, columns: int, visit: _Visit) -> NDArray[np.int64]:
    """Return how many neighbours of each position lie inside."""
    return _sum_of_neighbours(np.ones((1, rows, columns), np.int64), visit)[0]
