"""Range coding of symbols with integer tables.

The tables come from the model file and are integers, so no floating-point arithmetic is needed to
get from bytes to symbols: a stream means the same on every machine.

A *table* assigns integer frequencies, which are at least 1 and sum to 2**24, to the 2K + 1 symbols
-K to K and to an escape after them. Symbols are coded in runs: first all symbols of the run that
use table 0, in order, then those of table 1, and so on; then the escaped symbols of the run, in the
same order, as three uniform fields:

=========  ==================================  =====================================
field      for every escaped symbol            with ``excess = abs(symbol) - K``
=========  ==================================  =====================================
length     uniform over 32                     ``n = bit length of excess``, 1 to 23
sign       uniform over 2                      1 for a negative symbol
mantissa   uniform over ``2**(n - 1)``, n > 1  ``excess - 2**(n - 1)``
=========  ==================================  =====================================

All lengths come before all signs, and all signs before all mantissas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.errors import FormatError, ModelError

try:
    from constriction import stream
except ImportError:  # there are no wheels for this machine
    from gdncodec.entropy import fallback as stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MAX_SYMBOL",
    "MAX_TABLES",
    "REACH",
    "TOTAL_FREQUENCY",
    "Tables",
    "code_lengths",
    "decode_symbols",
    "encode_symbols",
    "information",
    "stream",
]

TOTAL_FREQUENCY = 1 << 24
"""The sum of the frequencies of one table."""

MAX_SYMBOL = 1 << 22
"""Largest magnitude of a symbol."""

MAX_TABLES = 255
"""Largest number of tables in a bank."""

REACH = 255
"""Largest magnitude whose price is stored; larger ones have the same price."""

_LENGTHS = 32


@dataclass(frozen=True)
class Tables:
    """A bank of frequency tables.

    Args:
        frequencies: (sum of 2K + 2 over the tables,) integers, the tables one after another.
        halfwidths: (T,) integers K >= 0, at most MAX_TABLES.

    Raises:
        ModelError: the numbers are not such tables.
    """

    frequencies: NDArray[Any]
    halfwidths: NDArray[Any]

    def __post_init__(self) -> None:
        sizes = 2 * self.halfwidths.astype(np.int64) + 2
        counts = self.frequencies.astype(np.int64)
        usable = (
            1 <= sizes.size <= MAX_TABLES
            and self.halfwidths.min() >= 0
            and sizes.sum() == counts.size
            and counts.min() >= 1
            and (np.add.reduceat(counts, np.cumsum(sizes) - sizes) == TOTAL_FREQUENCY).all()
        )
        if not usable:
            msg = "the model's frequency tables are inconsistent"
            raise ModelError(msg)

    @cached_property
    def split(self) -> list[NDArray[Any]]:
        """The frequencies of each table."""
        ends = np.cumsum(2 * self.halfwidths.astype(np.int64) + 2)
        return np.split(self.frequencies.astype(np.int64), ends[:-1])

    @cached_property
    def models(self) -> list[stream.model.Categorical]:
        """The coder's model of each table.

        The coder assigns 1 to every symbol and distributes the rest in proportion to the numbers it
        is given. With ``frequency - 1``, whose sum is exactly that rest, its scale is exactly 1.0
        and its fixed-point model is exactly the table.
        """
        return [
            stream.model.Categorical((f - 1).astype(np.float64), perfect=False) for f in self.split
        ]

    @cached_property
    def prices(self) -> NDArray[np.float32]:
        """Bits that adding 1 to a symbol from -REACH to REACH adds: (T, 2 * REACH + 1)."""
        lengths = np.stack([code_lengths(f, REACH + 1)[1:-1] for f in self.split])
        return np.diff(lengths, axis=1).astype(np.float32)

    def bits(self, table: int) -> NDArray[np.float64]:
        """Return the cost in bits of each entry of a table, the escape last."""
        return -np.log2(self.split[table] / TOTAL_FREQUENCY)


def code_lengths(frequencies: NDArray[np.int64], largest: int) -> NDArray[np.float64]:
    """Return the bits of the symbols from -largest to largest under a table, then of larger ones.

    Larger ones are counted as if all of them were ``largest + 1``.
    """
    bits = -np.log2(frequencies / TOTAL_FREQUENCY)
    half = frequencies.size // 2 - 1
    excess = np.abs(np.arange(-largest, largest + 2)) - half
    escape = bits[-1] + _escape_bits(np.maximum(excess, 1))
    kept = min(half, largest)
    escape[largest - kept : largest + kept + 1] = bits[half - kept : half + kept + 1]
    return escape


def encode_symbols(
    coder: stream.queue.RangeEncoder,
    symbols: NDArray[Any],
    table_of: NDArray[Any],
    tables: Tables,
) -> None:
    """Code a run of symbols, each with its own table.

    Args:
        coder: receives the symbols.
        symbols: (n,) integers of magnitude at most ``MAX_SYMBOL``.
        table_of: (n,) uint8, the table of each symbol.
        tables: the bank.

    Raises:
        ValueError: a symbol is out of range.
    """
    if symbols.size and np.abs(symbols).max() > MAX_SYMBOL:
        msg = f"symbols must be within +-{MAX_SYMBOL}, got {np.abs(symbols).max()}"
        raise ValueError(msg)
    order, used, counts = _runs(table_of)
    ordered = symbols.take(order).astype(np.int32, copy=False)
    halfwidth = tables.halfwidths.astype(np.int32)[used].repeat(counts)
    excess = np.abs(ordered) - halfwidth
    escaped = excess > 0
    entries = np.where(escaped, 2 * halfwidth + 1, ordered + halfwidth)
    start = 0
    for table, count in zip(used.tolist(), counts.tolist(), strict=True):
        coder.encode(entries[start : start + count], tables.models[table])
        start += count
    if escaped.any():
        _encode_escapes(coder, excess[escaped], ordered[escaped] < 0)


def decode_symbols(
    coder: stream.queue.RangeDecoder, table_of: NDArray[Any], tables: Tables
) -> NDArray[np.int32]:
    """Return the run of symbols (n,) that :func:`encode_symbols` was given.

    Raises:
        FormatError: an escaped symbol is out of range.
        ValueError, AssertionError: the coder finds the data impossible.
    """
    order, used, counts = _runs(table_of)
    halfwidth = tables.halfwidths.astype(np.int32)[used].repeat(counts)
    ordered = np.empty(table_of.size, np.int32)
    start = 0
    for table, count in zip(used.tolist(), counts.tolist(), strict=True):
        ordered[start : start + count] = coder.decode(tables.models[table], count)
        start += count
    ordered -= halfwidth
    escaped = ordered > halfwidth
    if escaped.any():
        excess, negative = _decode_escapes(coder, int(escaped.sum()))
        magnitude = halfwidth[escaped] + excess
        ordered[escaped] = np.where(negative, -magnitude, magnitude)
    symbols = np.empty_like(ordered)
    symbols[order] = ordered
    return symbols


def information(symbols: NDArray[Any], table_of: NDArray[Any], tables: Tables) -> float:
    """Return the information of symbols under the tables in bits; coding takes a little more."""
    total = 0.0
    for table in np.unique(table_of):
        half = int(tables.halfwidths[table])
        values = symbols[table_of == table]
        excess = np.maximum(np.abs(values) - half, 0)
        entries = np.where(excess > 0, 2 * half + 1, values + half)
        total += float(tables.bits(table)[entries].sum())
        total += float(_escape_bits(excess[excess > 0]).sum())
    return total


def _escape_bits(excess: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return the bits of length, sign and mantissa."""
    _, lengths = np.frexp(excess)
    bits: NDArray[np.float64] = np.log2(_LENGTHS) + lengths
    return bits


def _runs(
    table_of: NDArray[Any],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the order of symbols by table, the tables in use, and how many symbols use each."""
    counts = np.bincount(table_of, minlength=1)
    used = np.flatnonzero(counts)
    return np.argsort(table_of, kind="stable"), used, counts[used]


def _encode_escapes(
    coder: stream.queue.RangeEncoder, excess: NDArray[np.int32], negative: NDArray[np.bool_]
) -> None:
    _, lengths = np.frexp(excess)  # exact: excess is far below 2**53
    coder.encode(lengths.astype(np.int32), stream.model.Uniform(_LENGTHS))
    coder.encode(negative.astype(np.int32), stream.model.Uniform(2))
    powers = np.int32(1) << (lengths.astype(np.int32) - 1)
    long = lengths > 1
    if long.any():
        coder.encode((excess - powers)[long], stream.model.Uniform(), powers[long])


def _decode_escapes(
    coder: stream.queue.RangeDecoder, count: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    lengths = coder.decode(stream.model.Uniform(_LENGTHS), count)
    negative = coder.decode(stream.model.Uniform(2), count) == 1
    if lengths.min() < 1 or lengths.max() > MAX_SYMBOL.bit_length():
        msg = "an escaped symbol is out of range"
        raise FormatError(msg)
    excess = np.int32(1) << (lengths - 1)
    long = lengths > 1
    if long.any():
        excess[long] += coder.decode(stream.model.Uniform(), excess[long])
    return excess, negative
