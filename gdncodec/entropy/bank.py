"""Fits a bank of frequency tables to histograms of symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.entropy.coder import TOTAL_FREQUENCY, Tables, code_lengths

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["cheapest_tables", "fit_bank"]

_TABLES = 192
_ROUNDS = 10
_FLOOR = 0.02  # counts given to symbols that were not seen
_TAIL = 1e-5  # share of the symbols that a table leaves to the escape


def fit_bank(histograms: NDArray[Any], tables: int = _TABLES) -> Tables:
    """Fit a bank of tables to histograms.

    Lloyd's algorithm with the code length as the distance: each histogram chooses the table
    that codes it in the fewest bits, and each table becomes the sum of the histograms that chose
    it.

    Args:
        histograms: counts (n, 2 * L + 2) of the symbols -L to L, and of those beyond.
        tables: size of the bank, at most 255; fewer if there are fewer histograms.
    """
    counts = histograms.astype(np.float32)
    largest = counts.shape[1] // 2 - 1
    total = counts.sum(axis=1)
    mean = counts @ np.abs(np.arange(counts.shape[1]) - largest) / total
    order = np.argsort(mean, kind="stable")
    # Start with equal shares of the information, not of the histograms: most hold hardly any.
    share = np.cumsum((total * np.log2(1 + mean + 1e-3))[order])
    chosen = np.empty(len(counts), np.int64)
    chosen[order] = np.minimum(share / share[-1] * tables, tables - 1).astype(np.int64)
    built: list[NDArray[np.int64]] = []
    for _ in range(_ROUNDS):
        order = np.argsort(chosen, kind="stable")
        _, starts = np.unique(chosen[order], return_index=True)
        sums = np.add.reduceat(counts[order], starts, axis=0, dtype=np.float64)
        built = [_integer_table(of_table) for of_table in sums]
        costs = np.stack([code_lengths(f, largest) for f in built]).astype(np.float32)
        chosen = (counts @ costs.T).argmin(axis=1)
    halfwidths = np.array([f.size // 2 - 1 for f in built], np.int32)
    return Tables(np.concatenate(built).astype(np.int32), halfwidths)


def cheapest_tables(
    histograms: NDArray[Any], bank: Tables
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the table (n,) that codes each histogram (n, 2 * L + 2) best, and its bits (n,)."""
    costs = np.stack([code_lengths(f, histograms.shape[1] // 2 - 1) for f in bank.split])
    bits = histograms @ costs.T
    return bits.argmin(axis=1).astype(np.uint8), bits.min(axis=1)


def _integer_table(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the frequencies (2K + 2,) of a table for counts (2L + 2,), with K as small as pays."""
    largest = counts.size // 2 - 1
    inner = counts[:-1]
    magnitude = inner[largest:].copy()
    magnitude[1:] += inner[:largest][::-1]
    beyond = counts[-1] + magnitude[::-1].cumsum()[::-1] - magnitude  # of symbols above each |k|
    half = min(int((beyond > _TAIL * counts.sum()).sum()), largest)
    kept = inner[largest - half : largest + half + 1] + _FLOOR
    weights = np.append(kept, beyond[half] + _FLOOR)
    frequencies = np.maximum(1, np.floor(weights / weights.sum() * TOTAL_FREQUENCY)).astype(
        np.int64
    )
    frequencies[frequencies.argmax()] += TOTAL_FREQUENCY - frequencies.sum()
    return frequencies
