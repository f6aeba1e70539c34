"""Norms on NumPy, in place, and their gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gdncodec.engines.layers import SLOPE, Channel, Divisive, Leaky

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Norm", "norm_of"]


class Norm:
    """A norm with what makes it nonlinear, at each position on its own; here the identity."""

    def apply(self, rows: NDArray[np.float32]) -> None:
        """Normalise rows (positions, C) in place."""

    def gradient(
        self, rows: NDArray[np.float32], of_output: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the gradient of the input from the input (positions, C) and that of the output."""
        return of_output


class _Leaky(Norm):
    """The activation alone."""

    def apply(self, rows: NDArray[np.float32]) -> None:
        np.maximum(rows, np.float32(SLOPE) * rows, out=rows)

    def gradient(
        self, rows: NDArray[np.float32], of_output: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return np.where(rows > 0, of_output, np.float32(SLOPE) * of_output)


class _Divisive(Norm):
    """GDN or GDN1, see :mod:`gdncodec.norms.gdn`."""

    def __init__(self, norm: Divisive) -> None:
        self._squared, self._inverse = norm.squared, norm.inverse
        self._beta, self._gamma = norm.beta, norm.gamma

    def _pool(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        magnitudes = np.square(rows) if self._squared else np.abs(rows)
        pool: NDArray[np.float32] = magnitudes @ self._gamma.T
        pool += self._beta
        return np.sqrt(pool, out=pool) if self._squared else pool

    def apply(self, rows: NDArray[np.float32]) -> None:
        (np.multiply if self._inverse else np.divide)(rows, self._pool(rows), out=rows)

    def gradient(
        self, rows: NDArray[np.float32], of_output: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        if not self._inverse:
            msg = "only the inverse form, that of the synthesis, is differentiated"
            raise NotImplementedError(msg)
        pool = self._pool(rows)
        scaled: NDArray[np.float32] = of_output * rows
        if self._squared:
            scaled = scaled / pool
        inner: NDArray[np.float32] = scaled @ self._gamma
        inner *= rows if self._squared else np.sign(rows)
        return of_output * pool + inner


class _Channel(Norm):
    """Mean and variance across channels, see :mod:`gdncodec.norms.channel`."""

    def __init__(self, norm: Channel) -> None:
        self._weight, self._bias, self._eps = norm.weight, norm.bias, np.float32(norm.eps)

    def _standardised(
        self, rows: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        centred = rows - rows.mean(axis=1, keepdims=True)
        squares = np.einsum("ij,ij->i", centred, centred)[:, None]
        inverse = 1 / np.sqrt(squares / max(rows.shape[1] - 1, 1) + self._eps)
        return centred * inverse, inverse

    def apply(self, rows: NDArray[np.float32]) -> None:
        rows[:] = self._standardised(rows)[0] * self._weight + self._bias
        _Leaky().apply(rows)

    def gradient(
        self, rows: NDArray[np.float32], of_output: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        y, inverse = self._standardised(rows)
        g = _Leaky().gradient(y * self._weight + self._bias, of_output) * self._weight
        along = (g * y).sum(axis=1, keepdims=True) / max(rows.shape[1] - 1, 1)
        return inverse * (g - g.mean(axis=1, keepdims=True) - y * along)


def norm_of(description: Divisive | Channel | Leaky | None) -> Norm:
    """Return what computes a norm."""
    if isinstance(description, Divisive):
        return _Divisive(description)
    if isinstance(description, Channel):
        return _Channel(description)
    return Norm() if description is None else _Leaky()
