"""Contexts: the symbols coded so far choose the table of the next.

Channels are coded in groups, and each group in the three phases of
:mod:`gdncodec.entropy.phases`, so that every step is a few vectorised operations.

The context of a symbol is a sum, with integer weights, of magnitudes the decoder already knows:

* those of the channels of earlier groups at the same position;
* in phases 1 and 2 also those of its four diagonal or nearest neighbours in its own channel.

The sum selects one of 16 levels; quality, channel, phase and level select the table. There are a
few sets of groups and weights, because different channels are active at low and at high qualities.
A channel that is silent at a quality is not coded: all of its symbols are zero. Of a few channels
the differences from predictions (:mod:`gdncodec.entropy.prediction`) are coded, as if these were
the symbols.

All of this is integer arithmetic: the sums stay below 2**24, so a matrix product in float32
computes them exactly, in any order and on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdncodec.entropy.phases import LARGEST, PHASES, Magnitudes
from gdncodec.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "LEVELS",
    "MAX_WEIGHTS",
    "QUALITY_ROWS",
    "SILENT",
    "Contexts",
    "Plan",
    "Step",
    "levels_of",
]

LEVELS = 16
"""Number of levels of a context."""

QUALITY_ROWS = 101
"""Tables are chosen for the whole qualities 0 to 100."""

SILENT = 255
"""In place of a table where a channel is not coded."""

MAX_WEIGHTS = ((1 << 24) - 1) // LARGEST
"""Weights of one context, those of each neighbour included, add up to no more."""

_THRESHOLDS = np.array(
    [8, 14, 26, 47, 84, 151, 272, 490, 882, 1587, 2856, 5141, 9255, 16658, 29985], np.int64
)
_LEVEL_OF = np.searchsorted(_THRESHOLDS, np.arange(_THRESHOLDS[-1] + 1), side="right").astype(
    np.uint8
)


_NEIGHBOURS = 4  # at most, in each phase


class Step(NamedTuple):
    """Symbols that are coded together: some channels at the positions of one phase."""

    phase: int
    channels: NDArray[np.intp]
    earlier: NDArray[np.intp]
    """Channels coded before that have a weight."""
    weights: NDArray[np.float32]
    """Of the earlier channels (channels, earlier)."""
    near_weights: NDArray[np.float32]
    """Of the neighbours (channels, 1)."""


@dataclass(frozen=True)
class Contexts:
    """How the tables of a model are chosen.

    Args:
        set_of_row: (101,) integers, the set of groups and weights at each whole quality.
        group_of_channel: (S, M) integers; groups are coded in their order.
        weights: (S, 3, M, M) integers >= 0; ``weights[set, phase, c, j]`` weighs channel j for
            channel c and is zero unless j is in an earlier group than c.
        neighbour_weights: (S, 3, M) integers >= 0, of the neighbours in each phase; zero in phase
            0, which has none. With the weights of one context they add up to MAX_WEIGHTS at most.
        table_of: (101, M, 3, 16) uint8, the table at each whole quality, by channel, phase, level;
            SILENT in all entries of a channel, or in none.
        predicted: (P,) integers, ascending: the channels whose differences from predictions are
            coded.

    Raises:
        ModelError: the arrays do not fit each other.
    """

    set_of_row: NDArray[Any]
    group_of_channel: NDArray[Any]
    weights: NDArray[Any]
    neighbour_weights: NDArray[Any]
    table_of: NDArray[np.uint8]
    predicted: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.uint16))

    def __post_init__(self) -> None:
        groups = self.group_of_channel
        s, m = groups.shape if groups.ndim == 2 else (0, 0)
        silent = self.table_of == SILENT
        usable = (
            s > 0
            and self.set_of_row.shape == (QUALITY_ROWS,)
            and 0 <= self.set_of_row.min() <= self.set_of_row.max() < s
            and self.weights.shape == (s, PHASES, m, m)
            and self.neighbour_weights.shape == (s, PHASES, m)
            and not self.neighbour_weights[:, 0].any()
            and self.table_of.shape == (QUALITY_ROWS, m, PHASES, LEVELS)
            and min(self.weights.min(), self.neighbour_weights.min()) >= 0
            and self._largest_sum() <= MAX_WEIGHTS
            and not self.weights.max(axis=1)[groups[:, :, None] <= groups[:, None, :]].any()
            and (silent.any(axis=(2, 3)) == silent.all(axis=(2, 3))).all()
            and (np.diff(self.predicted.astype(np.int64), append=m) > 0).all()
        )
        if not usable:
            msg = "the model's contexts are inconsistent"
            raise ModelError(msg)

    def _largest_sum(self) -> int:
        """Return the most that the weights of one context add up to."""
        near = _NEIGHBOURS * self.neighbour_weights.astype(np.int64)
        return int((self.weights.sum(axis=-1, dtype=np.int64) + near).max())

    def at(self, quality_row: int) -> Plan:
        """Return how slices are coded at a whole quality, 0 to 100."""
        chosen = self.set_of_row[quality_row]
        return Plan(
            self.group_of_channel[chosen],
            self.weights[chosen],
            self.neighbour_weights[chosen],
            self.table_of[quality_row],
            self.predicted,
        )


class Plan:
    """How slices are coded at one quality.

    Args:
        groups: (M,) integers; groups of channels are coded in their order.
        weights: (3, M, M) integers, see :class:`Contexts`.
        neighbour_weights: (3, M) integers.
        table_of: (M, 3, 16) uint8, the table by channel, phase and level, or SILENT.
        predicted: (P,) integers, see :class:`Contexts`.
    """

    def __init__(
        self,
        groups: NDArray[Any],
        weights: NDArray[Any],
        neighbour_weights: NDArray[Any],
        table_of: NDArray[np.uint8],
        predicted: NDArray[Any],
    ) -> None:
        self._table_of = table_of
        self.predicted = predicted
        self.silent: NDArray[np.bool_] = table_of[:, 0, 0] == SILENT
        """Which channels (M,) are not coded: their symbols must be 0."""
        self.steps = tuple(_steps(groups, weights, neighbour_weights, ~self.silent))
        """The steps of a slice, in coding order."""

    def tables_of(self, step: Step, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the table of every symbol of a step, flat."""
        choice = self._table_of[step.channels, step.phase]
        first = LEVELS * np.arange(len(choice))[:, None]
        return choice.take((levels + first).ravel())


def _steps(
    groups: NDArray[Any],
    weights: NDArray[Any],
    neighbour_weights: NDArray[Any],
    coded: NDArray[np.bool_],
) -> Iterator[Step]:
    for group in np.unique(groups[coded]):
        channels = np.flatnonzero((groups == group) & coded)
        for phase in range(PHASES):
            rows = weights[phase, channels]
            earlier = np.flatnonzero(rows.any(axis=0) & coded)
            near = neighbour_weights[phase, channels, None].astype(np.float32)
            yield Step(phase, channels, earlier, rows[:, earlier].astype(np.float32), near)


def levels_of(step: Step, magnitudes: Magnitudes) -> NDArray[np.uint8]:
    """Return the levels (channels, positions) of a step; symbols coded later have no influence."""
    context = step.weights @ magnitudes.of_phase[step.phase][step.earlier]
    if step.phase > 0:
        context += step.near_weights * magnitudes.sum_near(step.phase, step.channels)
    return _LEVEL_OF.take(context.astype(np.intp), mode="clip")
