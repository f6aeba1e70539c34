"""Slices of latents to bytes and back: which table codes a symbol, from what was coded before it.

Channels are coded in groups, and each group in three phases, so that every step is a few vectorised
operations::

    0 2 0 2
    2 1 2 1
    0 2 0 2

The context of a symbol is an integer-weighted sum of magnitudes that the decoder already knows:

* those of the channels of earlier groups at the same position;
* in phase 1 also those of its four diagonal neighbours in its own channel, in phase 2 those of its
  four nearest ones.

The sum picks one of 16 levels, and quality, channel, phase and level pick the table. Groups and
weights come in a few sets, because at low qualities other channels are busy than at high ones. A
channel that is silent at a quality is not coded: all of its symbols are zero.

All of it is in integers: the sums stay below 2**24, so a matrix product in float32 gives them
exactly, in any order and on any machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from constriction import stream

from gdncodec.coder import REACH, Tables, decode_symbols, encode_symbols, information
from gdncodec.errors import FormatError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "LEVELS",
    "MAX_WEIGHTS",
    "PHASES",
    "QUALITY_ROWS",
    "SILENT",
    "Contexts",
    "clipped_magnitudes",
    "decode_slice",
    "encode_slice",
    "phase_positions",
    "slice_information",
    "slice_prices",
    "sum_of_neighbours",
]

LEVELS = 16
"""Number of levels of a context."""

PHASES = 3
"""Even rows and even columns are coded first, then odd rows and odd columns, then the others."""

_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_NEAREST = ((-1, 0), (1, 0), (0, -1), (0, 1))
_NEIGHBOURS = ((), _DIAGONAL, _NEAREST)
"""Which neighbours were coded before a symbol, in the phases: steps down and across."""

QUALITY_ROWS = 101
"""Tables are chosen for the whole qualities 0 to 100."""

SILENT = 255
"""Stands in place of a table where a channel is not coded."""

_CLIP = 63  # larger magnitudes count as this

MAX_WEIGHTS = ((1 << 24) - 1) // _CLIP
"""Weights of one context, those of each neighbour included, add up to no more."""

_THRESHOLDS = np.array(
    [8, 14, 26, 47, 84, 151, 272, 490, 882, 1587, 2856, 5141, 9255, 16658, 29985], np.int64
)
_LEVEL_OF = np.searchsorted(_THRESHOLDS, np.arange(_THRESHOLDS[-1] + 1), side="right").astype(
    np.uint8
)


class _Step(NamedTuple):
    """What is coded at once: some channels at the positions of one phase."""

    channels: "NDArray[np.intp]"
    earlier: "NDArray[np.intp]"
    """Channels that were coded before and count."""
    weights: "NDArray[np.float32]"
    """Of the earlier channels (channels, earlier)."""
    near: "NDArray[np.float32] | None"
    """Of the neighbours (channels, 1), but not in phase 0."""
    phase: int
    positions: "NDArray[np.intp]"


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
            SILENT in all of a channel's places, or in none.

    Raises:
        ModelError: the arrays do not fit each other.
    """

    set_of_row: "NDArray[Any]"
    group_of_channel: "NDArray[Any]"
    weights: "NDArray[Any]"
    neighbour_weights: "NDArray[Any]"
    table_of: "NDArray[np.uint8]"

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
        )
        if not usable:
            msg = "the model's contexts are inconsistent"
            raise ModelError(msg)

    def _largest_sum(self) -> int:
        """Return the most that the weights of one context add up to."""
        near = len(_NEAREST) * self.neighbour_weights.astype(np.int64)
        return int((self.weights.sum(axis=-1, dtype=np.int64) + near).max())

    def silent(self, quality_row: int) -> "NDArray[np.bool_]":
        """Return which channels (M,) are not coded at a whole quality."""
        return self.table_of[quality_row, :, 0, 0] == SILENT

    def steps(self, rows: int, columns: int, quality_row: int) -> Iterator[_Step]:
        """Yield the steps of a slice in coding order."""
        positions = [phase_positions(rows, columns, phase) for phase in range(PHASES)]
        for step in self._plan(quality_row):
            yield step._replace(positions=positions[step.phase])

    def levels(
        self, step: _Step, magnitudes: "NDArray[np.float32]", shape: tuple[int, int]
    ) -> "NDArray[np.uint8]":
        """Return the levels (channels, positions) of a step.

        Args:
            step: what is coded.
            magnitudes: (M, rows * columns), clipped; those that come later do not matter.
            shape: rows and columns.
        """
        context = step.weights @ magnitudes[np.ix_(step.earlier, step.positions)]
        if step.near is not None:
            near = sum_of_neighbours(magnitudes[step.channels], shape, step.phase)
            context += step.near * near[:, step.positions]
        return _LEVEL_OF[np.minimum(context, _THRESHOLDS[-1]).astype(np.intp)]

    def tables_of(
        self, step: _Step, levels: "NDArray[np.uint8]", quality_row: int
    ) -> "NDArray[np.uint8]":
        """Return the table of every symbol of a step, flat."""
        choice = self.table_of[quality_row, step.channels, step.phase]
        return np.take_along_axis(choice, levels.astype(np.intp), axis=1).ravel()

    def _plan(self, quality_row: int) -> list[_Step]:
        """Return the steps at a quality, without positions."""
        if quality_row not in self._plans:
            chosen = self.set_of_row[quality_row]
            groups = self.group_of_channel[chosen]
            coded = ~self.silent(quality_row)
            steps = []
            for group in np.unique(groups[coded]):
                channels = np.flatnonzero((groups == group) & coded)
                for phase in range(PHASES):
                    rows = self.weights[chosen, phase, channels]
                    earlier = np.flatnonzero(rows.any(axis=0) & coded)
                    near = self.neighbour_weights[chosen, phase, channels, None].astype(np.float32)
                    weights = rows[:, earlier].astype(np.float32)
                    none = np.empty(0, np.intp)
                    steps.append(
                        _Step(channels, earlier, weights, near if phase else None, phase, none)
                    )
            self._plans[quality_row] = steps
        return self._plans[quality_row]

    @cached_property
    def _plans(self) -> dict[int, list[_Step]]:
        return {}


def encode_slice(
    symbols: "NDArray[Any]", contexts: Contexts, tables: Tables, quality_row: int
) -> bytes:
    """Return the coded words of a slice.

    Args:
        symbols: (M, rows, columns) integers.
        contexts: how tables are chosen.
        tables: the bank of tables.
        quality_row: the whole quality nearest to the picture's.

    Raises:
        ValueError: a symbol is out of range, or a silent channel is not zero.
    """
    if symbols[contexts.silent(quality_row)].any():
        msg = f"a channel that is silent at quality {quality_row} must be zero"
        raise ValueError(msg)
    coder = stream.queue.RangeEncoder()
    for values, table_of in _walk(symbols, contexts, quality_row):
        encode_symbols(coder, values, table_of, tables)
    return coder.get_compressed().astype("<u4").tobytes()


def decode_slice(
    data: bytes, shape: tuple[int, int], contexts: Contexts, tables: Tables, quality_row: int
) -> "NDArray[np.int32]":
    """Return the symbols (M, rows, columns) that :func:`encode_slice` was given.

    Raises:
        FormatError: the data are not what :func:`encode_slice` makes.
    """
    if len(data) % 4:
        msg = f"coded data must be a multiple of 4 bytes, got {len(data)}"
        raise FormatError(msg)
    coder = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    symbols = np.zeros((contexts.table_of.shape[1], shape[0] * shape[1]), np.int32)
    magnitudes = np.zeros(symbols.shape, np.float32)
    try:
        for step in contexts.steps(*shape, quality_row):
            levels = contexts.levels(step, magnitudes, shape)
            table_of = contexts.tables_of(step, levels, quality_row)
            found = decode_symbols(coder, table_of, tables).reshape(levels.shape)
            where = np.ix_(step.channels, step.positions)
            symbols[where] = found
            magnitudes[where] = clipped_magnitudes(found)
        finished = coder.maybe_exhausted()
    except (ValueError, AssertionError) as error:
        msg = f"coded data are damaged ({error})"
        raise FormatError(msg) from error
    if not finished:
        msg = "coded data go on after the last symbol"
        raise FormatError(msg)
    return symbols.reshape(-1, *shape)


def slice_information(
    symbols: "NDArray[Any]", contexts: Contexts, tables: Tables, quality_row: int
) -> float:
    """Return what the tables say the symbols of a slice cost, in bits."""
    parts = _walk(symbols, contexts, quality_row)
    return sum(information(values, table_of, tables) for values, table_of in parts)


def slice_prices(
    symbols: "NDArray[Any]", contexts: Contexts, tables: Tables, quality_row: int
) -> "tuple[NDArray[np.float32], NDArray[np.float32]]":
    """Return the bits that one more, and one less, would add to each symbol of a slice.

    Contexts are those of the symbols as they are. Silent channels must stay: infinitely many.
    """
    shape = (symbols.shape[1], symbols.shape[2])
    flat = symbols.reshape(len(symbols), -1)
    magnitudes = clipped_magnitudes(flat)
    entries = np.clip(flat, -REACH, REACH) + REACH
    more, less = (np.full(flat.shape, np.inf, np.float32) for _ in range(2))
    for step in contexts.steps(*shape, quality_row):
        levels = contexts.levels(step, magnitudes, shape)
        table_of = contexts.tables_of(step, levels, quality_row).reshape(levels.shape)
        where = np.ix_(step.channels, step.positions)
        for found, price in zip((more, less), tables.prices, strict=True):
            found[where] = price[table_of, entries[where]]
    return more.reshape(symbols.shape), less.reshape(symbols.shape)


def _walk(
    symbols: "NDArray[Any]", contexts: Contexts, quality_row: int
) -> "Iterator[tuple[NDArray[Any], NDArray[np.uint8]]]":
    """Yield the symbols of each step, flat, and their tables."""
    shape = (symbols.shape[1], symbols.shape[2])
    flat = symbols.reshape(len(symbols), -1)
    magnitudes = clipped_magnitudes(flat)
    for step in contexts.steps(*shape, quality_row):
        levels = contexts.levels(step, magnitudes, shape)
        values = flat[np.ix_(step.channels, step.positions)]
        yield values.ravel(), contexts.tables_of(step, levels, quality_row)


def clipped_magnitudes(symbols: "NDArray[Any]") -> "NDArray[np.float32]":
    """Return the magnitudes as contexts see them."""
    return np.minimum(np.abs(symbols), _CLIP).astype(np.float32)


def phase_positions(rows: int, columns: int, phase: int) -> "NDArray[np.intp]":
    """Return the flat positions of one phase, in raster order."""
    odd_row, odd_column = np.indices((rows, columns)) % 2
    phases = np.where(odd_row == odd_column, odd_row, 2)
    return np.flatnonzero(phases.ravel() == phase)


def sum_of_neighbours(
    magnitudes: "NDArray[np.float32]", shape: tuple[int, int], phase: int
) -> "NDArray[np.float32]":
    """Return, at every position, the sum of the neighbours that count in a phase.

    Args:
        magnitudes: (n, rows * columns).
        shape: rows and columns; there is nothing beyond them.
        phase: 0 to 2.

    Returns:
        (n, rows * columns).
    """
    rows, columns = shape
    padded = np.pad(magnitudes.reshape(-1, rows, columns), ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((len(padded), rows, columns), np.float32)
    for down, across in _NEIGHBOURS[phase]:
        total += padded[:, 1 + down : 1 + down + rows, 1 + across : 1 + across + columns]
    return total.reshape(magnitudes.shape)
