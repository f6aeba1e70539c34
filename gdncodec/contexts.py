"""Slices of latents to bytes and back: which table codes a symbol, from what was coded before it.

Channels are coded in groups, and each group in two phases of a checkerboard, so that every step is
a few vectorised operations. The context of a symbol is an integer-weighted sum of magnitudes that
the decoder already knows:

* those of the channels of earlier groups at the same position;
* in the second phase also those of its four neighbours in its own channel.

The sum picks one of 16 levels, and quality, channel, phase and level pick the table. All of it is
in integers: the sums stay below 2**53, so a matrix product in float64 gives them exactly, in any
order and on any machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from constriction import stream

from gdncodec.coder import Tables, decode_symbols, encode_symbols, information
from gdncodec.errors import FormatError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "LEVELS",
    "PHASES",
    "QUALITY_ROWS",
    "Contexts",
    "clipped_magnitudes",
    "decode_slice",
    "encode_slice",
    "phase_positions",
    "slice_information",
    "sum_of_neighbours",
]

LEVELS = 16
"""Number of levels of a context."""

PHASES = 2
"""Positions whose row plus column is even are coded first, the others second."""

QUALITY_ROWS = 101
"""Tables are chosen for the whole qualities 0 to 100."""

_CLIP = 63  # larger magnitudes count as this
_THRESHOLDS = np.array(
    [8, 14, 26, 47, 84, 151, 272, 490, 882, 1587, 2856, 5141, 9255, 16658, 29985], np.int64
)
_LEVEL_OF = np.searchsorted(_THRESHOLDS, np.arange(_THRESHOLDS[-1] + 1), side="right").astype(
    np.uint8
)


class _Step(NamedTuple):
    """What is coded at once: some channels at the positions of one phase."""

    channels: "NDArray[np.intp]"
    phase: int
    positions: "NDArray[np.intp]"


@dataclass(frozen=True)
class Contexts:
    """How the tables of a model are chosen.

    Args:
        group_of_channel: (M,) integers; groups are coded in their order.
        weights: (2, M, M) integers >= 0; ``weights[phase, c, j]`` weighs channel j for channel c
            and is zero unless j is in an earlier group than c.
        neighbour_weights: (M,) integers >= 0, of the four neighbours in the second phase.
        table_of: (101, M, 2, 16) uint8, the table at each whole quality, by channel, phase, level.

    Raises:
        ModelError: the arrays do not fit each other.
    """

    group_of_channel: "NDArray[Any]"
    weights: "NDArray[Any]"
    neighbour_weights: "NDArray[Any]"
    table_of: "NDArray[np.uint8]"

    def __post_init__(self) -> None:
        groups, m = self.group_of_channel, self.group_of_channel.size
        shapes = (self.weights.shape, self.neighbour_weights.shape, self.table_of.shape)
        usable = (
            shapes == ((PHASES, m, m), (m,), (QUALITY_ROWS, m, PHASES, LEVELS))
            and min(self.weights.min(), self.neighbour_weights.min()) >= 0
            and not self.weights[:, groups[:, None] <= groups[None, :]].any()
        )
        if not usable:
            msg = "the model's contexts are inconsistent"
            raise ModelError(msg)

    def steps(self, rows: int, columns: int) -> Iterator[_Step]:
        """Yield the steps of a slice in coding order."""
        phases = [phase_positions(rows, columns, phase) for phase in range(PHASES)]
        for group in np.unique(self.group_of_channel):
            channels = np.flatnonzero(self.group_of_channel == group)
            for phase, positions in enumerate(phases):
                yield _Step(channels, phase, positions)

    def whole_steps(self, rows: int, columns: int) -> Iterator[_Step]:
        """Yield one step for each phase with all channels, for whoever knows all symbols."""
        channels = np.arange(self.group_of_channel.size)
        for phase in range(PHASES):
            yield _Step(channels, phase, phase_positions(rows, columns, phase))

    def levels(
        self, step: _Step, magnitudes: "NDArray[np.float64]", shape: tuple[int, int]
    ) -> "NDArray[np.uint8]":
        """Return the levels (channels, positions) of a step.

        Args:
            step: what is coded.
            magnitudes: (M, rows * columns), clipped. The weights of all that comes later are zero.
            shape: rows and columns.
        """
        weights = self._exact_weights[step.phase, step.channels]
        context = weights @ magnitudes[:, step.positions]
        if step.phase == 1:
            near = sum_of_neighbours(magnitudes[step.channels], shape)[:, step.positions]
            context += self.neighbour_weights[step.channels, None] * near
        return _LEVEL_OF[np.minimum(context, _THRESHOLDS[-1]).astype(np.intp)]

    def tables_of(
        self, step: _Step, levels: "NDArray[np.uint8]", quality_row: int
    ) -> "NDArray[np.uint8]":
        """Return the table of every symbol of a step, flat."""
        choice = self.table_of[quality_row, step.channels, step.phase]
        return np.take_along_axis(choice, levels.astype(np.intp), axis=1).ravel()

    @cached_property
    def _exact_weights(self) -> "NDArray[np.float64]":
        return self.weights.astype(np.float64)


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
        ValueError: a symbol is out of range.
    """
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
    symbols = np.zeros((contexts.group_of_channel.size, shape[0] * shape[1]), np.int32)
    magnitudes = np.zeros(symbols.shape)
    try:
        for step in contexts.steps(*shape):
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


def _walk(
    symbols: "NDArray[Any]", contexts: Contexts, quality_row: int
) -> "Iterator[tuple[NDArray[Any], NDArray[np.uint8]]]":
    """Yield the symbols of each step, flat, and their tables."""
    shape = (symbols.shape[1], symbols.shape[2])
    flat = symbols.reshape(len(symbols), -1)
    magnitudes = clipped_magnitudes(flat)
    for step in contexts.steps(*shape):
        levels = contexts.levels(step, magnitudes, shape)
        values = flat[np.ix_(step.channels, step.positions)]
        yield values.ravel(), contexts.tables_of(step, levels, quality_row)


def clipped_magnitudes(symbols: "NDArray[Any]") -> "NDArray[np.float64]":
    """Return the magnitudes as contexts see them."""
    return np.minimum(np.abs(symbols), _CLIP).astype(np.float64)


def phase_positions(rows: int, columns: int, phase: int) -> "NDArray[np.intp]":
    """Return the flat positions of one phase: row plus column is even in phase 0."""
    return np.flatnonzero(np.indices((rows, columns)).sum(axis=0).ravel() % PHASES == phase)


def sum_of_neighbours(
    magnitudes: "NDArray[np.float64]", shape: tuple[int, int]
) -> "NDArray[np.float64]":
    """Return the sum of the four neighbours at every position, (n, rows * columns)."""
    planes = magnitudes.reshape(-1, *shape)
    total = np.zeros_like(planes)
    total[:, 1:] += planes[:, :-1]
    total[:, :-1] += planes[:, 1:]
    total[:, :, 1:] += planes[:, :, :-1]
    total[:, :, :-1] += planes[:, :, 1:]
    return total.reshape(magnitudes.shape)
