"""The parts of ``constriction.stream`` that this package uses, where it has no wheels.

The words are the same, and so are the symbols and the failures, but coding takes about four times
as long: the state of a range coder depends on every symbol before, so nothing here can be
vectorised. The arithmetic is that of "The range coder" in ``docs/format.md``.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["model", "queue"]

_PRECISION = 24
_WORD = 32
_LARGEST_WORD = (1 << _WORD) - 1
_LARGEST_STATE = (1 << 2 * _WORD) - 1


class Categorical:
    """A table of frequencies.

    Args:
        probabilities: (n,) float64, the frequencies minus 1, which sum to exactly 2**24 - n.
        perfect: False; there for the same signature.
    """

    def __init__(self, probabilities: NDArray[np.float64], *, perfect: bool) -> None:
        self.frequencies = [int(p) + 1 for p in probabilities]
        *self.starts, total = accumulate(self.frequencies, initial=0)
        if perfect or total != 1 << _PRECISION:
            msg = f"frequencies must sum to 2**{_PRECISION}, got {total}"
            raise ValueError(msg)

    def intervals(self, entries: list[int]) -> Iterator[tuple[int, int]]:
        """Yield the start and the frequency of each entry."""
        starts, frequencies = self.starts, self.frequencies
        return ((starts[entry], frequencies[entry]) for entry in entries)


class Uniform:
    """A uniform distribution over 2**k values; None leaves the number to each call."""

    def __init__(self, size: int | None = None) -> None:
        self.size: Any = size


class RangeEncoder:
    """Codes symbols into 32-bit words."""

    def __init__(self) -> None:
        self._low, self._range = 0, _LARGEST_STATE
        self._words: list[int] = []

    def encode(
        self,
        entries: NDArray[np.int32],
        model: Categorical | Uniform,
        sizes: NDArray[np.int32] | None = None,
    ) -> None:
        """Append entries (n,), each with the same model, or with a uniform one of its own size."""
        values = entries.tolist()
        if isinstance(model, Categorical):
            self._append(model.intervals(values))
        else:
            each = sizes.tolist() if sizes is not None else [model.size] * len(values)
            parts = ((1 << _PRECISION) // size for size in each)
            self._append((v * part, part) for v, part in zip(values, parts, strict=True))

    def _append(self, intervals: Iterator[tuple[int, int]]) -> None:
        low, span, words = self._low, self._range, self._words
        for start, frequency in intervals:
            scale = span >> _PRECISION
            low += scale * start
            span = scale * frequency
            if low > _LARGEST_STATE:
                low &= _LARGEST_STATE
                _carry(words)
            if span <= _LARGEST_WORD:
                words.append(low >> _WORD)
                low = (low << _WORD) & _LARGEST_STATE
                span <<= _WORD
        self._low, self._range = low, span

    def get_compressed(self) -> NDArray[np.uint32]:
        """Return the words of the symbols so far."""
        words = self._words.copy()
        if self._range < _LARGEST_STATE:
            point = self._low + _LARGEST_WORD
            if point > _LARGEST_STATE:
                point &= _LARGEST_STATE
                _carry(words)
            last, above = point >> _WORD, (self._low + self._range) & _LARGEST_STATE
            words.append(last)
            if above >> _WORD == last:
                words.append(0)
        return np.array(words, np.uint32)


def _carry(words: list[int]) -> None:
    """Add one to the number that words are the digits of."""
    last = len(words) - 1
    while words[last] == _LARGEST_WORD:
        words[last] = 0
        last -= 1
    words[last] += 1


class RangeDecoder:
    """Finds the symbols in the words (n,) of :class:`RangeEncoder`."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        first, second, *rest = [*words.tolist(), 0, 0][: max(2, len(words))]
        self._point, self._range = first << _WORD | second, _LARGEST_STATE
        self._words = rest[::-1]

    def decode(
        self, model: Categorical | Uniform, amount: int | NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Return the next symbols.

        Args:
            model: of each symbol.
            amount: their number, or (n,) the sizes of their uniform models.

        Raises:
            ValueError: no symbols have these words.
        """
        if isinstance(model, Categorical):
            assert isinstance(amount, int)
            return np.array(self._symbols(model, amount), np.int32)
        sizes = [model.size] * amount if isinstance(amount, int) else amount.tolist()
        return np.array([self._uniform(size) for size in sizes], np.int32)

    def _symbols(self, model: Categorical, count: int) -> list[int]:
        starts, frequencies = model.starts, model.frequencies
        point, span = self._point, self._range
        found = []
        for _ in range(count):
            scale = span >> _PRECISION
            entry = bisect_right(starts, _checked(point // scale)) - 1
            found.append(entry)
            point -= scale * starts[entry]
            span = scale * frequencies[entry]
            if span <= _LARGEST_WORD:
                point, span = self._refilled(point), span << _WORD
        self._point, self._range = point, span
        return found

    def _uniform(self, size: int) -> int:
        part = (1 << _PRECISION) // size
        scale = self._range >> _PRECISION
        value = _checked(self._point // scale) // part
        self._point -= scale * value * part
        self._range = scale * part
        if self._range <= _LARGEST_WORD:
            self._point, self._range = self._refilled(self._point), self._range << _WORD
        return value

    def _refilled(self, point: int) -> int:
        return point << _WORD | (self._words.pop() if self._words else 0)

    def maybe_exhausted(self) -> bool:
        """Return whether the words may end here."""
        unused = self._range == _LARGEST_STATE or self._point < 2 * _LARGEST_WORD + 1
        return not self._words and unused


def _checked(quantile: int) -> int:
    if quantile >> _PRECISION:
        msg = "no symbols have these words"
        raise ValueError(msg)
    return quantile


model: Any = SimpleNamespace(Categorical=Categorical, Uniform=Uniform)
queue: Any = SimpleNamespace(RangeEncoder=RangeEncoder, RangeDecoder=RangeDecoder)
