"""The three phases in which the positions of a slice are coded, and what contexts depend on.

::

    0 2 0 2
    2 1 2 1
    0 2 0 2

Phase 0 has no neighbours, phase 1 the four diagonal ones, which are of phase 0, and phase 2 the
four nearest ones, which are of both. During coding, symbols are stored phase by phase as (channels,
positions), in raster order within each phase, so that a step of the coding takes whole rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["LARGEST", "PHASES", "Magnitudes", "by_phase", "in_raster", "zeros_by_phase"]

LARGEST = 63
"""Larger magnitudes are clipped to this."""

_Pairs = tuple[tuple[int, int], ...]


class _Phase(NamedTuple):
    """The positions of a phase, and the neighbours of a position that were coded before it."""

    corners: _Pairs
    """First row and column of its lattices, which have every second row and column from there."""
    neighbours: _Pairs
    """Offsets of the neighbours, down and across."""


_PHASES = (
    _Phase(((0, 0),), ()),
    _Phase(((1, 1),), ((-1, -1), (-1, 1), (1, -1), (1, 1))),
    _Phase(((0, 1), (1, 0)), ((-1, 0), (1, 0), (0, -1), (0, 1))),
)

PHASES = len(_PHASES)
"""Number of phases."""


class Magnitudes:
    """What contexts depend on: the magnitudes of the symbols of a slice, clipped to LARGEST.

    Args:
        channels: M; none of their symbols is known yet, so all are zero.
        shape: rows and columns.
    """

    def __init__(self, channels: int, shape: tuple[int, int]) -> None:
        rows, columns = self._shape = shape
        self.of_phase = zeros_by_phase(channels, shape, np.float32)
        """(M, positions) float32 in each phase."""
        # Zero beyond the border.
        self._framed = np.zeros((channels, rows + 2, columns + 2), np.float32)

    @classmethod
    def of(cls, symbols: NDArray[Any]) -> Magnitudes:
        """Return the magnitudes of symbols (M, rows, columns), all of them known."""
        channels, rows, columns = symbols.shape
        made, clipped = cls(channels, (rows, columns)), _clipped(symbols)
        made.of_phase = by_phase(clipped)
        made._framed[:, 1:-1, 1:-1] = clipped
        return made

    def learn(self, phase: int, channels: NDArray[np.intp], symbols: NDArray[Any]) -> None:
        """Store the magnitudes of symbols (channels, positions) of a phase."""
        found = self.of_phase[phase][channels] = _clipped(symbols)
        if phase + 1 < PHASES:  # positions of the last one are no neighbours of others
            rows, columns = np.divmod(_positions(*self._shape)[phase], self._shape[1])
            self._framed[channels[:, None], rows + 1, columns + 1] = found

    def sum_near(self, phase: int, channels: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the sum over the neighbours coded before, (channels, positions)."""
        framed, (height, width) = self._framed[channels], self._shape
        sums = np.empty((len(framed), height, width), np.float32)
        for top, left in _PHASES[phase].corners:
            here = sums[:, top::2, left::2]
            here[...] = 0
            for down, across in _PHASES[phase].neighbours:
                rows = slice(1 + top + down, 1 + height + down, 2)
                here += framed[:, rows, 1 + left + across : 1 + width + across : 2]
        return _take(sums, phase)


def by_phase(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Split values (n, rows, columns) into the phases, (n, positions) each."""
    return [_take(values, phase) for phase in range(PHASES)]


def zeros_by_phase(channels: int, shape: tuple[int, int], dtype: DTypeLike) -> list[NDArray[Any]]:
    """Return zeros in the form of :func:`by_phase`, for a shape (rows, columns)."""
    return [np.zeros((channels, positions.size), dtype) for positions in _positions(*shape)]


def in_raster(parts: list[NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any]:
    """Undo :func:`by_phase`, for a shape (rows, columns)."""
    rows, columns = shape
    order = np.argsort(np.concatenate(_positions(rows, columns)))
    return np.concatenate(parts, axis=1).take(order, axis=1).reshape(-1, rows, columns)


def _clipped(symbols: NDArray[Any]) -> NDArray[np.float32]:
    # Clipped first: the smallest number of an integer type has no absolute value in it.
    return np.abs(np.clip(symbols, -LARGEST, LARGEST)).astype(np.float32)


@lru_cache(8)
def _positions(rows: int, columns: int) -> tuple[NDArray[np.intp], ...]:
    """Return the flat positions of each phase."""
    phase_of = np.empty((rows, columns), np.uint8)
    for number, phase in enumerate(_PHASES):
        for top, left in phase.corners:
            phase_of[top::2, left::2] = number
    return tuple(np.flatnonzero(phase_of == number) for number in range(PHASES))


def _take(values: NDArray[Any], phase: int) -> NDArray[Any]:
    n, rows, columns = values.shape
    return values.reshape(n, rows * columns).take(_positions(rows, columns)[phase], axis=1)
