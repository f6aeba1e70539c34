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

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from constriction import stream

from gdncodec.coder import REACH, Tables, decode_symbols, encode_symbols, information
from gdncodec.errors import FormatError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "LEVELS",
    "MAX_WEIGHTS",
    "PHASES",
    "QUALITY_ROWS",
    "SILENT",
    "Contexts",
    "Magnitudes",
    "by_phase",
    "decode_slice",
    "encode_slice",
    "slice_information",
    "slice_prices",
]

LEVELS = 16
"""Number of levels of a context."""

PHASES = 3
"""Even rows and even columns are coded first, then odd rows and odd columns, then the others."""

_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_NEAREST = ((-1, 0), (1, 0), (0, -1), (0, 1))
_NEIGHBOURS = ((), _DIAGONAL, _NEAREST)
"""Which neighbours were coded before a symbol, in the phases: steps down and across."""

_LATTICES = (((0, 0),), ((1, 1),), ((0, 1), (1, 0)))
"""First row and column of the positions of a phase, every second one of which belongs to it."""

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


class Magnitudes:
    """What the contexts see of the symbols of a slice: their magnitudes, clipped.

    Args:
        symbols: (M, rows, columns) integers; zeros where they are not known yet.
    """

    def __init__(self, symbols: "NDArray[Any]") -> None:
        self._shape = symbols.shape[1:]
        clipped = _clipped(symbols)
        self.of_phase = by_phase(clipped)
        """In each phase (M, positions) float32."""
        self._framed = np.pad(clipped, ((0, 0), (1, 1), (1, 1)))  # nothing is beyond the border

    def learn(self, channels: "NDArray[np.intp]", phase: int, symbols: "NDArray[Any]") -> None:
        """Take in the symbols (channels, positions) of a phase, which were zero till now."""
        found = self.of_phase[phase][channels] = _clipped(symbols)
        if phase + 1 < PHASES:  # the last one is nobody's neighbour
            rows, columns = np.divmod(_positions(*self._shape)[phase], self._shape[1])
            self._framed[channels[:, None], rows + 1, columns + 1] = found

    def near(self, phase: int, channels: "NDArray[np.intp]") -> "NDArray[np.float32]":
        """Return the sum of the neighbours that count in a phase, (channels, positions)."""
        framed, (height, width) = self._framed[channels], self._shape
        sums = np.empty((len(framed), height, width), np.float32)
        for top, left in _LATTICES[phase]:
            here = sums[:, top::2, left::2]
            here[...] = 0
            for down, across in _NEIGHBOURS[phase]:
                rows = slice(1 + top + down, 1 + height + down, 2)
                here += framed[:, rows, 1 + left + across : 1 + width + across : 2]
        return _take(sums, phase)


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

    def levels(self, step: _Step, magnitudes: Magnitudes) -> "NDArray[np.uint8]":
        """Return the levels (channels, positions) of a step; what comes later does not matter."""
        context = step.weights @ magnitudes.of_phase[step.phase][step.earlier]
        if step.near is not None:
            context += step.near * magnitudes.near(step.phase, step.channels)
        return _LEVEL_OF.take(context.astype(np.intp), mode="clip")

    def tables_of(
        self, step: _Step, levels: "NDArray[np.uint8]", quality_row: int
    ) -> "NDArray[np.uint8]":
        """Return the table of every symbol of a step, flat."""
        choice = self.table_of[quality_row, step.channels, step.phase]
        first = LEVELS * np.arange(len(choice))[:, None]
        return choice.take((levels + first).ravel())

    def steps(self, quality_row: int) -> list[_Step]:
        """Return the steps of a slice at a whole quality, in coding order."""
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
                    steps.append(_Step(channels, earlier, weights, near if phase else None, phase))
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
    symbols = np.zeros((contexts.table_of.shape[1], *shape), np.int32)
    parts, magnitudes = by_phase(symbols), Magnitudes(symbols)
    try:
        for step in contexts.steps(quality_row):
            levels = contexts.levels(step, magnitudes)
            table_of = contexts.tables_of(step, levels, quality_row)
            found = decode_symbols(coder, table_of, tables).reshape(levels.shape)
            parts[step.phase][step.channels] = found
            magnitudes.learn(step.channels, step.phase, found)
        finished = coder.maybe_exhausted()
    except (ValueError, AssertionError) as error:
        msg = f"coded data are damaged ({error})"
        raise FormatError(msg) from error
    if not finished:
        msg = "coded data go on after the last symbol"
        raise FormatError(msg)
    return _in_place(parts, shape)


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
    magnitudes = Magnitudes(symbols)
    entries = by_phase(np.clip(symbols, -REACH, REACH) + REACH)
    more, less = ([np.full(e.shape, np.inf, np.float32) for e in entries] for _ in range(2))
    for step in contexts.steps(quality_row):
        levels = contexts.levels(step, magnitudes)
        table_of = contexts.tables_of(step, levels, quality_row).reshape(levels.shape)
        for found, price in zip((more, less), tables.prices, strict=True):
            entry = entries[step.phase][step.channels]
            found[step.phase][step.channels] = price[table_of, entry]
    shape = symbols.shape[1:]
    return _in_place(more, shape), _in_place(less, shape)


def _walk(
    symbols: "NDArray[Any]", contexts: Contexts, quality_row: int
) -> "Iterator[tuple[NDArray[Any], NDArray[np.uint8]]]":
    """Yield the symbols of each step, flat, and their tables."""
    parts, magnitudes = by_phase(symbols), Magnitudes(symbols)
    for step in contexts.steps(quality_row):
        levels = contexts.levels(step, magnitudes)
        values = parts[step.phase][step.channels]
        yield values.ravel(), contexts.tables_of(step, levels, quality_row)


def _clipped(symbols: "NDArray[Any]") -> "NDArray[np.float32]":
    return np.minimum(np.abs(symbols), _CLIP).astype(np.float32)


@lru_cache(8)
def _positions(rows: int, columns: int) -> "list[NDArray[np.intp]]":
    """Return the flat positions of each phase, in raster order."""
    odd_row, odd_column = np.indices((rows, columns)) % 2
    phases = np.where(odd_row == odd_column, odd_row, 2).ravel()
    return [np.flatnonzero(phases == phase) for phase in range(PHASES)]


def _take(values: "NDArray[Any]", phase: int) -> "NDArray[Any]":
    """Return what values (n, rows, columns) are in a phase, (n, positions)."""
    n, rows, columns = values.shape
    return values.reshape(n, -1).take(_positions(rows, columns)[phase], axis=1)


def by_phase(values: "NDArray[Any]") -> "list[NDArray[Any]]":
    """Return what values (n, rows, columns) are in each phase, (n, positions) in raster order."""
    return [_take(values, phase) for phase in range(PHASES)]


def _in_place(parts: "list[NDArray[Any]]", shape: tuple[int, ...]) -> "NDArray[Any]":
    """Undo :func:`by_phase`."""
    rows, columns = shape
    order = np.argsort(np.concatenate(_positions(rows, columns)))
    return np.concatenate(parts, axis=1).take(order, axis=1).reshape(-1, rows, columns)
