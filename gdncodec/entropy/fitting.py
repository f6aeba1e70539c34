"""Fits what entropy coding needs to latents: the bank of tables, and the contexts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdncodec.entropy.bank import fit_bank
from gdncodec.entropy.coder import Tables, code_lengths
from gdncodec.entropy.contexts import (
    LEVELS,
    QUALITY_ROWS,
    SILENT,
    Contexts,
    Plan,
)
from gdncodec.entropy.counting import LARGEST, Counts, count_symbols
from gdncodec.entropy.phases import PHASES
from gdncodec.entropy.prediction import differences
from gdncodec.entropy.regression import QUIET, fit_groups, fit_weights
from gdncodec.errors import ModelError
from gdncodec.threads import one_blas_thread, processors

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COUNTED_ROWS", "fit_contexts"]

COUNTED_ROWS = tuple(range(0, QUALITY_ROWS, 5))
"""Whole qualities at which symbols are counted."""

_WOKEN = 0.2  # share of the channels that have to wake or fall silent to deserve a new set
_MOST_SETS = 8
_SAMPLED = 4  # every fourth image shows which channels are awake, and which are predicted
_PREDICTED_ROW = 50  # whole quality at which the predicted channels are chosen
_PREDICTED = 0.8  # they are those whose mean magnitude falls to this share or less
_SILENT = 2e-5  # channels with a smaller share of nonzero symbols are not coded
_BANK_STEP = 10  # the bank is fitted to every tenth whole quality
_PRIOR = 8.0  # symbols' worth of the channel's own histogram behind each context

_LATENTS, _SETS, _COUNTS = 0.6, 0.05, 0.3  # shares of the time, the analysis included

_LatentsAt = Callable[[int], "list[NDArray[np.float32]]"]
_Progress = Callable[[str, float], None]


def fit_contexts(
    latents_at: _LatentsAt,
    gains: NDArray[np.float32],
    progress: _Progress = lambda doing, done: None,
) -> tuple[Tables, Contexts, dict[str, float]]:
    """Fit groups, weights, the bank, and which table codes what.

    Symbols are counted at every fifth quality. In between, the bits that each table would take are
    linear in the quality.

    Args:
        latents_at: returns the latents (M, rows, columns) of training images at a quality; called
            three times with those of COUNTED_ROWS, first in rising order.
        gains: (101, M), gains at the whole qualities.
        progress: called with what is being done, and the share of the work that is done, 0 to 1.

    Returns:
        The bank; the contexts, without the sets that no quality uses; and a report in bits per
        symbol of these latents, averaged over the qualities: ``bits_static`` with one table for
        each channel and quality, ``bits_contexts`` with contexts.
    """
    energies, sets, counted = [], [], []
    for done, row in _shown(COUNTED_ROWS):
        progress(f"latents at quality {row}", _LATENTS * done)
        energies.append(_energies(_symbols(latents_at(row)[::_SAMPLED], gains[row])))
    set_of = _divide(energies)
    predicted = _predicted(_symbols(latents_at(_PREDICTED_ROW)[::_SAMPLED], gains[_PREDICTED_ROW]))
    for done, row in _shown(_middles(set_of)):
        progress(f"contexts at quality {row}", _LATENTS + _SETS * done)
        sets.append(_fit_set(_symbols(latents_at(row), gains[row]), predicted))
    for place, (done, row) in enumerate(_shown(COUNTED_ROWS)):
        progress(f"symbols at quality {row}", _LATENTS + _SETS + _COUNTS * done)
        near = {number: sets[number] for number in set_of[max(place - 2, 0) : place + 2]}
        counted.append(_count(row, _symbols(latents_at(row), gains[row]), near, predicted))
    progress("tables", _LATENTS + _SETS + _COUNTS)
    bank = _fit_bank(counted, set_of)
    costs = np.stack([code_lengths(f, LARGEST) for f in bank.split]).astype(np.float32)
    with one_blas_thread(), ThreadPoolExecutor(processors()) as pool:
        between = pool.map(lambda pair: list(_choices(pair[0], pair[1], costs)), pairwise(counted))
        choices = [choice for part in between for choice in part]
    progress("tables", 1.0)
    symbols = QUALITY_ROWS * counted[0].positions * gains.shape[1]
    report = {
        "bits_static": sum(choice.bits_static for choice in choices) / symbols,
        "bits_contexts": sum(choice.bits for choice in choices) / symbols,
    }
    return bank, _contexts(sets, choices, predicted), report


def _shown(rows: Sequence[int]) -> Iterator[tuple[float, int]]:
    """Yield rows, with the share of them that came before."""
    for number, row in enumerate(rows):
        yield number / len(rows), row


class _Set(NamedTuple):
    """Groups and weights, as in :class:`gdncodec.entropy.contexts.Contexts`."""

    groups: NDArray[np.uint8]
    weights: NDArray[np.int16]
    neighbours: NDArray[np.int16]

    def plan(self, coded: NDArray[np.bool_]) -> Plan:
        """Return how these channels (M,) are coded, without the others and predictions."""
        table_of = np.zeros((int(coded.sum()), PHASES, LEVELS), np.uint8)
        weights = self.weights[:, coded][:, :, coded]
        return Plan(self.groups[coded], weights, self.neighbours[:, coded], table_of, np.arange(0))


@dataclass(frozen=True)
class _Counted:
    """The symbols at one quality."""

    row: int
    positions: int
    """Of a channel, over all images."""
    coded: NDArray[np.bool_]
    """Which channels (M,) have enough symbols that are not zero."""
    counts: dict[int, Counts]
    """Of those channels, by the set of groups and weights that gives the contexts."""

    def bits(self, chosen: int, costs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the bits that each table takes with a set, (M, 3, 16, T)."""
        bits = np.zeros((self.coded.size, PHASES, LEVELS, len(costs)), np.float32)
        bits[self.coded] = self.counts[chosen].bits(costs)
        return bits


class _Choice(NamedTuple):
    """What is best at one quality."""

    bits: float
    bits_static: float
    chosen: int
    """The set of groups and weights."""
    tables: NDArray[np.uint8]
    """(M, 3, 16), SILENT where a channel is not coded."""


def _symbols(
    latents: list[NDArray[np.float32]], gain: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    symbols = [np.rint(y * gain[:, None, None]) for y in latents]
    if not all(np.isfinite(s).all() for s in symbols):
        msg = "the network's latents are not finite, so that no model can be made of it"
        raise ModelError(msg)
    return symbols


def _energies(symbols: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the mean magnitude of each channel, (M,)."""
    total = sum(np.abs(k).sum(axis=(1, 2), dtype=np.float64) for k in symbols)
    return np.asarray(total / sum(k[0].size for k in symbols))


def _divide(energies: list[NDArray[np.float64]]) -> list[int]:
    """Return the number of the set of each counted quality, rising from 0."""
    active = [of_row > QUIET for of_row in energies]
    share = _WOKEN
    while (numbers := _stages(active, share))[-1] >= _MOST_SETS:
        share *= 1.25
    return numbers


def _stages(active: list[NDArray[np.bool_]], share: float) -> list[int]:
    """Number stages of which each begins where enough channels have changed since the last one."""
    first, numbers = 0, [0]
    for place in range(1, len(active)):
        changed = (active[place] != active[first]).sum()
        if changed > share * (active[place] | active[first]).sum():
            first = place
        numbers.append(numbers[-1] + (first == place))
    return numbers


def _middles(set_of: list[int]) -> list[int]:
    """Return the counted quality in the middle of those that share a set, for each set."""
    places = [np.flatnonzero(np.array(set_of) == number) for number in range(set_of[-1] + 1)]
    return [COUNTED_ROWS[of_set[len(of_set) // 2]] for of_set in places]


def _predicted(symbols: list[NDArray[np.float32]]) -> NDArray[np.uint16]:
    """Return the channels whose differences from predictions are much smaller than they are."""
    every = np.arange(len(symbols[0]))
    plain, left = _energies(symbols), _energies([differences(k, every) for k in symbols])
    return np.flatnonzero((left <= _PREDICTED * plain) & (plain > QUIET)).astype(np.uint16)


def _fit_set(symbols: list[NDArray[np.float32]], predicted: NDArray[np.uint16]) -> _Set:
    coded = [differences(k, predicted) for k in symbols]
    groups = fit_groups(_energies(coded), predicted)
    return _Set(groups, *fit_weights(coded, groups))


def _count(
    row: int,
    symbols: list[NDArray[np.float32]],
    sets: dict[int, _Set],
    predicted: NDArray[np.uint16],
) -> _Counted:
    """Count the symbols of a quality with each of some sets, by number."""
    positions = sum(k[0].size for k in symbols)
    busy = sum(np.count_nonzero(k, axis=(1, 2)) for k in symbols)
    coded = np.asarray(busy > _SILENT * positions)
    active = [differences(k, predicted)[coded] for k in symbols]
    counts = {number: count_symbols(active, one.plan(coded)) for number, one in sets.items()}
    return _Counted(row, positions, coded, counts)


def _fit_bank(counted: list[_Counted], set_of: list[int]) -> Tables:
    zeros_alone = np.zeros((1, 2 * LARGEST + 2), np.float32)
    zeros_alone[0, LARGEST] = 1
    sample = [zeros_alone]  # there may be nothing else
    for here, number in zip(counted, set_of, strict=True):
        if here.row % _BANK_STEP == 0:
            sample.append(here.counts[number].widened())
    return fit_bank(np.concatenate(sample))


def _choices(left: _Counted, right: _Counted, costs: NDArray[np.float32]) -> Iterator[_Choice]:
    """Yield what is best at the qualities from left to the one before right, or to the last one."""
    sets = sorted(left.counts.keys() & right.counts.keys())
    bits = {number: (left.bits(number, costs), right.bits(number, costs)) for number in sets}
    end = right.row + (right.row == COUNTED_ROWS[-1])
    for row in range(left.row, end):
        part = np.float32((row - left.row) / (right.row - left.row))
        seen = left.positions * ((1 - part) * left.coded + part * right.coded)
        yield min(
            (
                _choose_tables(number, before + part * (after - before), seen)
                for number, (before, after) in bits.items()
            ),
            key=lambda choice: choice.bits,
        )


def _choose_tables(chosen: int, bits: NDArray[np.float32], seen: NDArray[np.float32]) -> _Choice:
    """Choose the tables for a set.

    Args:
        chosen: the set.
        bits: what each table takes in each context, (M, 3, 16, T).
        seen: symbols of each channel, (M,); where there are none, the channel is not coded.
    """
    own = bits.sum(axis=(1, 2))
    prior = own * (_PRIOR / np.maximum(seen, 1))[:, None]
    tables = (bits + prior[:, None, None]).argmin(axis=-1)
    total = float(np.take_along_axis(bits, tables[..., None], axis=-1).sum())
    tables[seen == 0] = SILENT
    return _Choice(total, float(own.min(axis=-1).sum()), chosen, tables.astype(np.uint8))


def _contexts(sets: list[_Set], choices: list[_Choice], predicted: NDArray[np.uint16]) -> Contexts:
    """Return the contexts for all qualities, without the sets that none uses."""
    used, set_of_row = np.unique([choice.chosen for choice in choices], return_inverse=True)
    groups, weights, neighbours = (
        np.stack(part) for part in zip(*(sets[number] for number in used), strict=True)
    )
    table_of = np.stack([choice.tables for choice in choices])
    return Contexts(set_of_row.astype(np.uint8), groups, weights, neighbours, table_of, predicted)
