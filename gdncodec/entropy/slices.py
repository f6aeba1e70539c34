"""Slices of latents to bytes and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.entropy.coder import (
    MAX_SYMBOL,
    REACH,
    Tables,
    decode_symbols,
    encode_symbols,
    information,
    stream,
)
from gdncodec.entropy.contexts import Plan, levels_of
from gdncodec.entropy.phases import Magnitudes, by_phase, in_raster, zeros_by_phase
from gdncodec.entropy.prediction import differences, undo_differences
from gdncodec.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "LARGEST_SYMBOL",
    "decode_slice",
    "encode_slice",
    "slice_information",
    "slice_prices",
]

LARGEST_SYMBOL = MAX_SYMBOL // 2
"""Largest magnitude of a symbol; differences may be twice as large."""


def encode_slice(symbols: NDArray[Any], plan: Plan, tables: Tables) -> bytes:
    """Return the coded words of a slice.

    Args:
        symbols: (M, rows, columns) integers.
        plan: how slices are coded at the image's quality.
        tables: the bank of tables.

    Raises:
        ValueError: a symbol is out of range, or a silent channel is not zero.
    """
    if symbols[plan.silent].any():
        msg = "a channel that is silent at this quality must be zero"
        raise ValueError(msg)
    if np.abs(symbols).max(initial=0) > LARGEST_SYMBOL:
        msg = f"symbols must be within +-{LARGEST_SYMBOL}, got {np.abs(symbols).max()}"
        raise ValueError(msg)
    coder = stream.queue.RangeEncoder()
    for values, table_of in _walk(symbols, plan):
        encode_symbols(coder, values, table_of, tables)
    return coder.get_compressed().astype("<u4").tobytes()


def decode_slice(
    data: bytes, shape: tuple[int, int], plan: Plan, tables: Tables
) -> NDArray[np.int32]:
    """Return the symbols (M, rows, columns) that :func:`encode_slice` was given.

    Raises:
        FormatError: the data are not what :func:`encode_slice` makes.
    """
    if len(data) % 4:
        msg = f"coded data must be a multiple of 4 bytes, got {len(data)}"
        raise FormatError(msg)
    coder = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    channels = plan.silent.size
    parts, magnitudes = zeros_by_phase(channels, shape, np.int32), Magnitudes(channels, shape)
    try:
        for step in plan.steps:
            levels = levels_of(step, magnitudes)
            table_of = plan.tables_of(step, levels)
            found = decode_symbols(coder, table_of, tables).reshape(levels.shape)
            parts[step.phase][step.channels] = found
            magnitudes.learn(step.phase, step.channels, found)
        finished = coder.maybe_exhausted()
    except (ValueError, AssertionError) as error:
        msg = f"coded data are damaged ({error})"
        raise FormatError(msg) from error
    if not finished:
        msg = "coded data continue after the last symbol"
        raise FormatError(msg)
    return undo_differences(in_raster(parts, shape), plan.predicted, LARGEST_SYMBOL)


def slice_information(symbols: NDArray[Any], plan: Plan, tables: Tables) -> float:
    """Return what the tables say the symbols of a slice cost, in bits."""
    parts = _walk(symbols, plan)
    return sum(information(values, table_of, tables) for values, table_of in parts)


def slice_prices(
    symbols: NDArray[Any], lower: NDArray[Any], plan: Plan, tables: Tables
) -> NDArray[np.float32]:
    """Return the bits that ``lower + 1`` needs more than ``lower``, in the contexts of a slice.

    Args:
        symbols: (M, rows, columns) integers, which contexts and predictions come from.
        lower: integers of the same shape.
        plan: how slices are coded at the image's quality.
        tables: the bank of tables.

    Returns:
        The same shape; 0 for a silent channel.
    """
    coded = differences(symbols, plan.predicted)
    magnitudes = Magnitudes.of(coded)
    entries = by_phase(np.clip(lower - (symbols - coded), -REACH, REACH) + REACH)
    prices = [np.zeros(e.shape, np.float32) for e in entries]
    for step in plan.steps:
        levels = levels_of(step, magnitudes)
        table_of = plan.tables_of(step, levels).reshape(levels.shape)
        entry = entries[step.phase][step.channels]
        prices[step.phase][step.channels] = tables.prices[table_of, entry]
    return in_raster(prices, symbols.shape[1:])


def _walk(symbols: NDArray[Any], plan: Plan) -> Iterator[tuple[NDArray[Any], NDArray[np.uint8]]]:
    """Yield the symbols of each step, flat, and their tables."""
    coded = differences(symbols, plan.predicted)
    parts, magnitudes = by_phase(coded), Magnitudes.of(coded)
    for step in plan.steps:
        levels = levels_of(step, magnitudes)
        values = parts[step.phase][step.channels]
        yield values.ravel(), plan.tables_of(step, levels)
