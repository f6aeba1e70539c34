"""Fits what entropy coding needs to counts of symbols: the bank of tables, and the contexts."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdncodec.entropy.coder import TOTAL_FREQUENCY, Tables, code_lengths
from gdncodec.entropy.contexts import (
    LEVELS,
    MAX_WEIGHTS,
    QUALITY_ROWS,
    SILENT,
    Contexts,
    Plan,
    Step,
    levels_of,
)
from gdncodec.entropy.phases import PHASES, Magnitudes, by_phase
from gdncodec.entropy.prediction import differences
from gdncodec.threads import one_blas_thread, processors

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["cheapest_tables", "fit_bank", "fit_contexts"]

_LARGEST = 255  # a symbol beyond it is always escaped
_SIZE = 2 * _LARGEST + 2
_TABLES = 192
_ROUNDS = 10
_FLOOR = 0.02  # counts given to symbols that were not seen
_TAIL = 1e-5  # share of the symbols that a table leaves to the escape
_GROUPS = 8
_QUIET = 1e-4  # channels of a smaller mean magnitude have no contexts and are in none
_UNIT = 1024  # the integer weight for a weight of 1
_LATENT_STEP = 5  # latents are computed at every fifth whole quality
_SET_ROWS = (0, 10, 15, 20, 30, 50)  # whole qualities at which groups and weights are fitted
_PREDICTED_ROW = 50  # whole quality at which the predicted channels are chosen
_PREDICTED = 0.8  # they are those whose mean magnitude falls to this share or less
_SILENT = 2e-5  # channels with a smaller share of nonzero symbols are not coded
_SET_STEP = 2  # the set is chosen at every second whole quality
_BANK_STEP = 10  # the bank is fitted to every tenth whole quality
_PRIOR = 8.0  # symbols' worth of the channel's own histogram behind each context
_SWEEPS = 40
_BEFORE_ROWS = 100  # the sets and the bank take about as long as this many qualities


_LatentsOf = Callable[[int], "list[NDArray[np.float32]]"]
"""Returns latents at a whole quality."""


def fit_contexts(
    latents_at: Callable[[float], list[NDArray[np.float32]]],
    gains: NDArray[np.float32],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Tables, Contexts, dict[str, float]]:
    """Fit groups, weights, the bank, and which table codes what.

    Args:
        latents_at: returns the latents (M, rows, columns) of training images at a quality; called
            with every fifth quality, up to three times, whose latents serve for the others too.
        gains: (101, M), gains at the whole qualities.
        progress: called with the work done and the whole of it, while tables are chosen.

    Returns:
        The bank; the contexts, without the sets that no quality uses; and a report in bits per
        symbol of these latents, averaged over the qualities: ``bits_static`` with one table for
        each channel and quality, ``bits_contexts`` with contexts.
    """
    latents_of = _sparsely(latents_at)
    total = _BEFORE_ROWS + QUALITY_ROWS
    progress(0, total)
    contexts = _fit_sets(latents_of, gains)
    progress(_BEFORE_ROWS * 2 // 3, total)
    bank = _fit_bank(latents_of, gains, contexts)
    costs = np.stack([code_lengths(f, _LARGEST) for f in bank.split]).astype(np.float32)
    set_of_row = contexts.set_of_row.copy()
    table_of = contexts.table_of.copy()
    static = conditional = symbols = 0.0
    for row in range(QUALITY_ROWS):
        latents = latents_of(row)
        table_of[row, _idle(latents, gains[row])] = SILENT
        candidates = _sets_around(row) if row % _SET_STEP == 0 else [int(set_of_row[row - 1])]
        trials = []
        for chosen in candidates:
            trial = replace(contexts, set_of_row=np.full(QUALITY_ROWS, chosen), table_of=table_of)
            counts = _histograms(latents, gains[row], trial.at(row))
            trials.append(_Choice(chosen, *_choose_tables(counts, costs)))
        best = min(trials, key=lambda choice: choice.bits)
        set_of_row[row] = best.chosen
        coded = ~trial.at(row).silent
        table_of[row, coded] = best.tables[coded]
        conditional += best.bits
        static += best.bits_static
        symbols += sum(y.size for y in latents)
        progress(_BEFORE_ROWS + row + 1, total)
    report = {"bits_static": static / symbols, "bits_contexts": conditional / symbols}
    contexts = replace(contexts, set_of_row=set_of_row, table_of=table_of)
    return bank, _without_unused_sets(contexts), report


def _without_unused_sets(contexts: Contexts) -> Contexts:
    used, set_of_row = np.unique(contexts.set_of_row, return_inverse=True)
    return replace(
        contexts,
        set_of_row=set_of_row.astype(np.uint8),
        group_of_channel=contexts.group_of_channel[used],
        weights=contexts.weights[used],
        neighbour_weights=contexts.neighbour_weights[used],
    )


def _sparsely(latents_at: Callable[[float], list[NDArray[np.float32]]]) -> _LatentsOf:
    """Return latents at every fifth quality only; those of the last one are kept."""
    kept = lru_cache(1)(latents_at)
    return lambda row: kept((row + _LATENT_STEP // 2) // _LATENT_STEP * _LATENT_STEP)


class _Choice(NamedTuple):
    """What one set of groups and weights achieves at one quality."""

    chosen: int
    bits: float
    bits_static: float
    tables: NDArray[np.intp]
    """(M, 3, 16)."""


def _choose_tables(
    counts: NDArray[np.float32], costs: NDArray[np.float32]
) -> tuple[float, float, NDArray[np.intp]]:
    """Return bits, bits with one table per channel, and the tables, from counts (M, 3, 16, n)."""
    own = counts.sum(axis=(1, 2), keepdims=True)
    bits, own_bits = _bits(counts, costs), _bits(own, costs)
    prior = own_bits * (_PRIOR / np.maximum(own.sum(axis=-1, keepdims=True), 1))
    tables = (bits + prior).argmin(axis=-1)
    total = float(np.take_along_axis(bits, tables[..., None], axis=-1).sum())
    return total, float(own_bits.min(axis=-1).sum()), tables


def _bits(counts: NDArray[np.float32], costs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``counts @ costs.T``, without the rows and columns of counts that are all zero."""
    flat = counts.reshape(-1, counts.shape[-1])
    rows, columns = flat.any(axis=1), flat.any(axis=0)
    found = np.zeros((len(flat), len(costs)), np.float32)
    found[rows] = flat[rows][:, columns] @ costs[:, columns].T
    return found.reshape(*counts.shape[:-1], len(costs))


def _idle(latents: list[NDArray[np.float32]], gain: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which channels (M,) are zero so often that not coding them is better."""
    active = sum((np.abs(y) * gain[:, None, None] > 0.5).sum(axis=(1, 2)) for y in latents)
    return np.asarray(active <= _SILENT * sum(y[0].size for y in latents))


def _fit_sets(latents_of: _LatentsOf, gains: NDArray[np.float32]) -> Contexts:
    """Fit groups and weights at a few qualities; every row then has the first set and table 0."""
    fitted = []
    predicted = _predicted([_symbols(y, gains[_PREDICTED_ROW]) for y in latents_of(_PREDICTED_ROW)])
    for row in _SET_ROWS:
        coded = [differences(_symbols(y, gains[row]), predicted) for y in latents_of(row)]
        groups = _groups(coded, predicted)
        fitted.append((groups, *_fit_weights(coded, groups)))
    groups, weights, neighbours = (np.stack(parts) for parts in zip(*fitted, strict=True))
    table_of = np.zeros((QUALITY_ROWS, groups.shape[1], PHASES, LEVELS), np.uint8)
    return Contexts(
        np.zeros(QUALITY_ROWS, np.uint8), groups, weights, neighbours, table_of, predicted
    )


def _predicted(symbols: list[NDArray[np.int32]]) -> NDArray[np.uint16]:
    """Return the channels whose differences from predictions are much smaller than they are."""
    every = np.arange(len(symbols[0]))
    plain = _energy(symbols)
    left = _energy([differences(k, every) for k in symbols])
    return np.flatnonzero((left <= _PREDICTED * plain) & (plain > _QUIET)).astype(np.uint16)


def _energy(symbols: list[NDArray[np.int32]]) -> NDArray[np.float64]:
    """Return the mean magnitude of each channel (M,)."""
    return np.mean([np.abs(k).mean(axis=(1, 2)) for k in symbols], axis=0)


def _sets_around(row: int) -> list[int]:
    """Return the sets that may suit a quality: those fitted just below and just above it."""
    above = int(np.searchsorted(_SET_ROWS, row))
    return sorted({max(above - 1, 0), min(above, len(_SET_ROWS) - 1)})


def _fit_bank(latents_of: _LatentsOf, gains: NDArray[np.float32], contexts: Contexts) -> Tables:
    sample = []
    for row in range(0, QUALITY_ROWS, _BANK_STEP):
        chosen = np.abs(np.array(_SET_ROWS) - row).argmin()
        trial = replace(contexts, set_of_row=np.full(QUALITY_ROWS, chosen))
        counts = _histograms(latents_of(row), gains[row], trial.at(row)).reshape(-1, _SIZE)
        sample.append(counts[counts.any(axis=1)])
    return fit_bank(np.concatenate(sample))


def _symbols(y: NDArray[np.float32], gain: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.rint(y * gain[:, None, None]).astype(np.int32)


def _groups(symbols: list[NDArray[np.int32]], predicted: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return the group of each channel, in order of falling energy; quiet channels come last.

    The contexts of predicted channels gain more from other channels than the others from theirs: so
    the last groups have one of them each.
    """
    energy = _energy(symbols)
    order = np.argsort(-energy, kind="stable")
    active = int((energy > _QUIET).sum())
    groups = np.full(energy.size, _GROUPS, np.uint8)
    for group, members in enumerate(np.array_split(order[:active], _GROUPS)):
        groups[members] = group
    ranked = predicted[np.argsort(-energy[predicted], kind="stable")]
    groups[ranked] = np.maximum(_GROUPS - ranked.size, 0) + np.arange(ranked.size) % _GROUPS
    return groups


def _fit_weights(
    symbols: list[NDArray[np.int32]], groups: NDArray[np.uint8]
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Predict each channel's magnitudes from those that the decoder knows before.

    Non-negative least squares with a constant: in each phase the magnitude of channel c is
    ``sum_j weights[c, j] * magnitude_j + constant_c + near_weight[c] * near_c``, where j runs over
    the channels of earlier groups and near_c is the sum over the neighbours in channel c. Only sums
    of products over all positions enter, the normal equations, so that any number of positions
    costs the memory of a few M x M matrices.
    """
    m = groups.size
    allowed = np.ones((m, m + 1))
    allowed[:, :m] = (groups[:, None] > groups[None, :]) & (groups[:, None] < _GROUPS)
    weights = np.zeros((PHASES, m, m))
    neighbours = np.zeros((PHASES, m))
    for phase in range(PHASES):
        # Sums over positions; a feature is the magnitude of a channel, or the constant, the last.
        products = np.zeros((m + 1, m + 1))  # of each feature and each other one
        near_products = np.zeros((m, m + 1))  # of each channel's near sum and each feature
        near_squares, near_targets = np.zeros(m), np.zeros(m)  # near sum times itself, times target
        for k in symbols:
            magnitudes = Magnitudes.of(k)
            every = magnitudes.of_phase[phase].astype(np.float64)
            near = magnitudes.sum_near(phase, np.arange(m)).astype(np.float64)
            features = np.vstack([every, np.ones((1, every.shape[1]))])
            products += features @ features.T
            near_products += near @ features.T
            near_squares += np.square(near).sum(axis=1)
            near_targets += (near * features[:m]).sum(axis=1)
        x, z = np.zeros((m, m + 1)), np.zeros(m)  # weights of the features, and of the near sums
        for _ in range(_SWEEPS):  # coordinate descent, for all channels at once
            for j in np.flatnonzero(products.diagonal()):
                residual = products[:m, j] - x @ products[:, j] - z * near_products[:, j]
                x[:, j] = np.maximum(x[:, j] + residual / products[j, j], 0) * allowed[:, j]
            residual = near_targets - (x * near_products).sum(axis=1) - z * near_squares
            z = np.maximum(z + residual / np.maximum(near_squares, 1e-9), 0) * (groups < _GROUPS)
        weights[phase], neighbours[phase] = x[:, :m], z
    # No sum of the weights of m channels and 4 neighbours is then too large.
    largest = min(MAX_WEIGHTS // (m + 4), np.iinfo(np.int16).max)
    return _as_integers(weights, largest), _as_integers(neighbours, largest)


def _as_integers(weights: NDArray[np.float64], largest: int) -> NDArray[np.int16]:
    return np.minimum(np.rint(weights * _UNIT), largest).astype(np.int16)


def _histograms(
    latents: list[NDArray[np.float32]],
    gain: NDArray[np.float32],
    plan: Plan,
) -> NDArray[np.float32]:
    """Return counts (M, 3, 16, 512) of the symbols by channel, phase and level, escapes last."""

    def indices(y: NDArray[np.float32]) -> list[NDArray[np.int32]]:
        """Return for each step the place of every symbol in counts (channels, 16, 512), flat."""
        symbols = differences(_symbols(y, gain), plan.predicted)
        entries = by_phase(
            np.where(np.abs(symbols) > _LARGEST, np.int32(_SIZE - 1), symbols + _LARGEST)
        )
        magnitudes = Magnitudes.of(symbols)
        found = []
        for step in plan.steps:
            first = LEVELS * np.arange(len(step.channels), dtype=np.int32)[:, None]
            index = (first + levels_of(step, magnitudes)) * _SIZE
            found.append((index + entries[step.phase][step.channels]).ravel())
        return found

    def count(step: Step, places: tuple[NDArray[np.int32], ...]) -> None:
        shape = (len(step.channels), LEVELS, _SIZE)
        counted = np.bincount(np.concatenate(places), minlength=math.prod(shape))
        counts[step.channels, step.phase] = counted.reshape(shape)

    counts = np.zeros((gain.size, PHASES, LEVELS, _SIZE), np.float32)
    with one_blas_thread(), ThreadPoolExecutor(processors()) as pool:
        places = list(pool.map(indices, latents))
        list(pool.map(count, plan.steps, zip(*places, strict=True)))
    return counts


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
        built = [
            _integer_table(counts[chosen == t].sum(axis=0, dtype=np.float64))
            for t in np.unique(chosen)
        ]
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
