"""Counts symbols in their contexts, for fitting tables to them."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gdncodec.entropy.contexts import (
    LEVELS,
    Plan,
    Step,
    levels_of,
)
from gdncodec.entropy.phases import PHASES, Magnitudes, by_phase
from gdncodec.threads import one_blas_thread, processors

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LARGEST", "Counts", "count_symbols"]

LARGEST = 255
"""Largest magnitude that is counted; larger ones count as one entry."""


@dataclass(frozen=True)
class Counts:
    """Counts of symbols by channel, phase and level of the context.

    Args:
        shape: (M, 3, 16).
        where: (n,) integers, the flat places in that shape with any symbols.
        histograms: (n, 2 * K + 2) float32, counts of the symbols -K to K and of larger ones.
    """

    shape: tuple[int, ...]
    where: NDArray[np.intp]
    histograms: NDArray[np.float32]

    def widened(self) -> NDArray[np.float32]:
        """Return the histograms (n, 2 * LARGEST + 2) with K = LARGEST."""
        missing = LARGEST + 1 - self.histograms.shape[1] // 2
        inner = np.pad(self.histograms[:, :-1], ((0, 0), (missing, missing)))
        return np.concatenate([inner, self.histograms[:, -1:]], axis=1)

    def bits(self, costs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what all symbols of a place cost with each table, (M, 3, 16, T).

        Args:
            costs: (T, 2 * LARGEST + 2), bits of each symbol.
        """
        half = self.histograms.shape[1] // 2 - 1
        columns = np.r_[LARGEST - half : LARGEST + half + 1, 2 * LARGEST + 1]
        found = np.zeros((np.prod(self.shape), len(costs)), np.float32)
        found[self.where] = self.histograms @ costs[:, columns].T
        return found.reshape(*self.shape, len(costs))


def count_symbols(symbols: list[NDArray[np.float32]], plan: Plan) -> Counts:
    """Count the symbols of images.

    Args:
        symbols: of images, whole numbers (M, rows, columns) each.
        plan: gives the contexts; channels that are silent in it are not counted.
    """
    half = int(min(max(np.abs(k).max(initial=0) for k in symbols), LARGEST))
    size = 2 * half + 2
    shape = (len(plan.silent), PHASES, LEVELS)
    counts = np.zeros((*shape, size), np.float32)

    def places(k: NDArray[np.float32]) -> list[NDArray[np.int32]]:
        """Return for each step the place of every symbol in counts (channels, 16, size), flat."""
        magnitudes = Magnitudes.of(k)
        entries = by_phase(np.where(np.abs(k) > half, size - 1, k + half).astype(np.int32))
        found = []
        for step in plan.steps:
            first = LEVELS * np.arange(len(step.channels), dtype=np.int32)[:, None]
            place = (first + levels_of(step, magnitudes)) * np.int32(size)
            place += entries[step.phase][step.channels]
            found.append(place.ravel())
        return found

    def count(step: Step, of_images: tuple[NDArray[np.int32], ...]) -> None:
        of_step = (len(step.channels), LEVELS, size)
        counted = np.bincount(np.concatenate(of_images), minlength=math.prod(of_step))
        counts[step.channels, step.phase] = counted.reshape(of_step)

    with one_blas_thread(), ThreadPoolExecutor(processors()) as pool:
        of_images = list(pool.map(places, symbols))
        list(pool.map(count, plan.steps, zip(*of_images, strict=True)))
    histograms = counts.reshape(-1, size)
    where = np.flatnonzero(histograms.any(axis=1))
    return Counts(shape, where, histograms[where])
