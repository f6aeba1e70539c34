"""Transforms on NumPy and its BLAS: what runs where nothing else is installed.

Images and latents are (H, W, C) here, channels last, so that a convolution is the product of a
matrix of windows and a matrix of weights. It is computed for some rows at a time: their windows fit
into the cache, and the norm that follows finds the result there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdncodec.engines.layers import Affine, Layer, check_runnable, layers_of
from gdncodec.engines.numpy_norms import Norm, norm_of
from gdncodec.threads import bounded, one_blas_thread, processors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gdncodec.modelfile import Model

__all__ = ["NumpyEngine", "NumpyTransforms"]

_CHUNK = 1 << 19
"""About the number of elements in the windows of the rows that are computed at a time."""


class _Step(NamedTuple):
    """A convolution, and what follows it."""

    weight: NDArray[np.float32]
    """(25 C_in, C_out), or (9 C_in, 4 C_out) of a transposed one, see :func:`_up_weight`."""
    affine: Affine
    norm: Norm

    def finish(self, rows: NDArray[np.float32]) -> None:
        """Make the output of products (positions, C_out), in place."""
        rows *= self.affine.factor
        rows += self.affine.offset
        self.norm.apply(rows)


class NumpyEngine:
    """Runs the analysis and the synthesis of one model on the CPU.

    Args:
        model: the codec; its norms must work position by position.
        threads: number of threads; None takes one for each processor.

    Raises:
        ModelError: a norm of the model needs PyTorch.
    """

    name = used = "numpy"

    def __init__(self, model: Model, threads: int | None = None) -> None:
        check_runnable(model.config, self.name)
        self.model = model
        self.threads = bounded(threads) if threads else processors()
        self._last: NumpyTransforms | None = None

    def at(self, quality: float, pixels: int | None = None) -> NumpyTransforms:
        """Return the transforms at one quality, 0 to 100; the last ones are kept.

        Many images in a row have the same quality, and folding it into the weights takes as long as
        the transforms of a tenth of a megapixel.
        """
        last = self._last
        if last is None or last.quality != quality:
            last = self._last = NumpyTransforms(self, quality)
        return last

    @cached_property
    def analysis(self) -> list[tuple[Layer, NDArray[np.float32]]]:
        """The layers of the analysis with their matrices."""
        return [(layer, _down_weight(layer.weight)) for layer in layers_of(self.model, "analysis")]

    @cached_property
    def synthesis(self) -> list[tuple[Layer, NDArray[np.float32]]]:
        """The layers of the synthesis with their matrices."""
        return [(layer, _up_weight(layer.weight)) for layer in layers_of(self.model, "synthesis")]


class NumpyTransforms:
    """The transforms of a model at one quality; see :class:`gdncodec.engines.Transforms`.

    Args:
        engine: of the model.
        quality: 0 to 100.
    """

    def __init__(self, engine: NumpyEngine, quality: float) -> None:
        self._engine, self._threads = engine, engine.threads
        self._offset = np.float32(engine.model.config.pixel_offset)
        self._replicate = engine.model.config.padding == "replicate"
        self.quality = quality

    def analysis(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the latent (M, H/16, W/16) of an image (H, W, 3)."""
        y = _canvas((*x.shape[:2], 3), 2)
        inner = y[2:-2, 2:-2]
        np.multiply(x, np.float32(1 / np.iinfo(x.dtype).max), out=inner)
        inner -= self._offset
        for n, step in enumerate(self._analysis):
            self._fill_border(y, 2)
            y = _down(y, step, self._threads, border=2 if n < 3 else 0)
        return np.ascontiguousarray(y.transpose(2, 0, 1))

    def synthesis(self, y: NDArray[np.float32], depth: int = 8) -> NDArray[Any]:
        """Return the image (H, W, 3) of a latent (M, H/16, W/16), with 8 or 16 bits per sample."""
        x = _canvas((*y.shape[1:], len(y)), 1)
        x[1:-1, 1:-1] = y.transpose(1, 2, 0)
        for n, step in enumerate(self._synthesis):
            self._fill_border(x, 1)
            x = _up(x, step, self._threads, border=1 if n < 3 else 0)
        peak, dtype = (255, np.uint8) if depth == 8 else (65535, np.uint16)
        x += self._offset
        x *= peak
        np.rint(x, out=x)
        return x.clip(0, peak, out=x).astype(dtype)

    def error_gradient(
        self, y: NDArray[np.float32], x: NDArray[Any], where: tuple[slice, slice]
    ) -> NDArray[np.float32]:
        """Return the gradient of the squared error of a part of an image, (M, H/16, W/16)."""
        target = x.astype(np.float32) / np.iinfo(x.dtype).max - self._offset

        def gradient(x_hat: NDArray[np.float32]) -> NDArray[np.float32]:
            found = np.zeros_like(x_hat)
            found[where] = 2 * (x_hat[where] - target)
            return found

        return self._gradient(y, gradient)

    def _gradient(
        self,
        y: NDArray[np.float32],
        of_image: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        """Return the gradient of the latent from that of the image that it gives."""
        x = np.ascontiguousarray(y.transpose(1, 2, 0))
        inputs = []
        for step in self._synthesis:
            padded = _canvas(x.shape, 1)
            padded[1:-1, 1:-1] = x
            self._fill_border(padded, 1)
            z = _up(padded, step._replace(norm=Norm()), self._threads)
            inputs.append(z)
            x = z.copy()
            step.norm.apply(x.reshape(-1, x.shape[2]))
        gradient = of_image(x)
        for step, z in zip(reversed(self._synthesis), reversed(inputs), strict=True):
            shape = z.shape
            rows = step.norm.gradient(z.reshape(-1, shape[2]), gradient.reshape(-1, shape[2]))
            rows = rows * step.affine.factor
            gradient = self._unpadded(_up_gradient(rows.reshape(shape), step))
        return np.ascontiguousarray(gradient.transpose(2, 0, 1))

    def _unpadded(self, gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the gradient of an image from that of the image padded by one position."""
        if self._replicate:
            gradient[1] += gradient[0]
            gradient[-2] += gradient[-1]
            gradient[:, 1] += gradient[:, 0]
            gradient[:, -2] += gradient[:, -1]
        return gradient[1:-1, 1:-1]

    def _fill_border(self, x: NDArray[np.float32], width: int) -> None:
        """Set the outermost positions of a canvas from those within."""
        sides = (slice(width), width), (slice(-width, None), -width - 1)
        for border, edge in sides:
            x[width:-width, border] = x[width:-width, edge, None] if self._replicate else 0
        for border, edge in sides:
            x[border] = x[edge] if self._replicate else 0

    @cached_property
    def _analysis(self) -> list[_Step]:
        return self._steps(self._engine.analysis)

    @cached_property
    def _synthesis(self) -> list[_Step]:
        return self._steps(self._engine.synthesis)

    def _steps(self, layers: list[tuple[Layer, NDArray[np.float32]]]) -> list[_Step]:
        return [_Step(m, layer.at(self.quality), norm_of(layer.norm)) for layer, m in layers]


def _canvas(shape: tuple[int, ...], border: int) -> NDArray[np.float32]:
    """Return an array for an image (H, W, C) and a border around it, not yet set."""
    height, width, channels = shape
    return np.empty((height + 2 * border, width + 2 * border, channels), np.float32)


def _in_chunks(compute: Callable[[slice], None], height: int, size: int, threads: int) -> None:
    """Compute rows 0 to height, some at a time, on several threads.

    One thread per chunk scales better than one product on several threads, because the work around
    the products is divided as well.

    Args:
        compute: computes some rows.
        height: number of rows.
        size: elements of the windows of one row.
        threads: number of threads.
    """
    step = max(1, _CHUNK // size)
    chunks = [slice(top, min(top + step, height)) for top in range(0, height, step)]
    workers = min(len(chunks), threads)
    with one_blas_thread():
        if workers == 1:
            for chunk in chunks:
                compute(chunk)
            return
        with ThreadPoolExecutor(workers) as pool:  # kept, it would not survive a fork
            list(pool.map(compute, chunks))


def _down_weight(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return weights (C_out, C_in, 5, 5) as (25 C_in, C_out)."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)))


def _down(x: NDArray[np.float32], step: _Step, threads: int, *, border: int) -> NDArray[np.float32]:
    """Convolve a padded image (2 H + 4, 2 W + 4, C_in) with stride 2.

    Returns:
        (H, W, C_out) with a border that is not yet set.
    """
    height, width, channels = x.shape[0] // 2 - 2, x.shape[1] // 2 - 2, x.shape[2]
    row, column, item = x.strides
    # A window is five runs of five positions, which are consecutive in memory.
    windows = np.lib.stride_tricks.as_strided(
        x, (height, width, 5, 5 * channels), (2 * row, 2 * column, row, item), writeable=False
    )
    y = _canvas((height, width, step.weight.shape[1]), border)
    inner = y[border : border + height, border : border + width]

    def compute(rows: slice) -> None:
        found = windows[rows].reshape(-1, 25 * channels) @ step.weight
        step.finish(found)
        inner[rows] = found.reshape(-1, width, found.shape[1])

    _in_chunks(compute, height, width * 25 * channels, threads)
    return y


# Where the output has twice the rows, an even one sees three rows of the input, an odd one the last
# two of them. In this order of the nine positions of a window, each of the four kinds of output
# positions sees consecutive ones.
_ORDER = ((0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2), (1, 0), (2, 0), (0, 0))
_SEEN = {(0, 0): (0, 9), (0, 1): (0, 6), (1, 0): (2, 8), (1, 1): (2, 6)}
_THIN = 16  # fewer outputs are better computed in one product, though a part of it is zeros


def _up_weight(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return weights (C_in, C_out, 5, 5) as (9 C_in, 4 C_out), for windows in _ORDER."""
    c_in, c_out = weight.shape[:2]
    matrix = np.zeros((9, c_in, 2, 2, c_out), np.float32)
    for n, (row, column) in enumerate(_ORDER):
        for a, b in _SEEN:
            # Output position 2 m + a sees input position m - 1 + row through this tap.
            ky, kx = a + 4 - 2 * row, b + 4 - 2 * column
            if 0 <= ky < 5 and 0 <= kx < 5:
                matrix[n, :, a, b] = weight[:, :, ky, kx]
    return matrix.reshape(9 * c_in, 4 * c_out)


def _up(
    x: NDArray[np.float32], step: _Step, threads: int, *, border: int = 0
) -> NDArray[np.float32]:
    """Convolve a padded image (H + 2, W + 2, C_in), transposed, with stride 2.

    Returns:
        (2 H, 2 W, C_out) with a border that is not yet set.
    """
    height, width, c_in = x.shape[0] - 2, x.shape[1] - 2, x.shape[2]
    c_out = step.weight.shape[1] // 4
    y = _canvas((2 * height, 2 * width, c_out), border)
    inner = y[border : border + 2 * height, border : border + 2 * width]

    def compute(rows: slice) -> None:
        top, count = rows.start, rows.stop - rows.start
        windows = np.empty((count, width, 9, c_in), np.float32)
        for n, (row, column) in enumerate(_ORDER):
            windows[:, :, n] = x[top + row : top + row + count, column : column + width]
        flat = windows.reshape(count * width, 9 * c_in)
        out = inner[2 * top : 2 * (top + count)]
        if c_out < _THIN:
            found = (flat @ step.weight).reshape(-1, c_out)
            step.finish(found)
            kinds = found.reshape(count, width, 2, 2, c_out).transpose(0, 2, 1, 3, 4)
            out[:] = kinds.reshape(out.shape)
            return
        for (a, b), (first, last) in _SEEN.items():
            inputs = slice(first * c_in, last * c_in)
            outputs = slice((2 * a + b) * c_out, (2 * a + b + 1) * c_out)
            found = flat[:, inputs] @ step.weight[inputs, outputs]
            step.finish(found)
            out[a::2, b::2] = found.reshape(count, width, c_out)

    _in_chunks(compute, height, width * 9 * c_in, threads)
    return y


def _up_gradient(gradient: NDArray[np.float32], step: _Step) -> NDArray[np.float32]:
    """Return the gradient of the padded input of :func:`_up` from that of its output."""
    height, width, c_out = gradient.shape[0] // 2, gradient.shape[1] // 2, gradient.shape[2]
    c_in = len(step.weight) // 9
    found = np.zeros((height + 2, width + 2, c_in), np.float32)
    most = max(1, _CHUNK // (width * 9 * c_in))
    for top in range(0, height, most):
        rows = min(most, height - top)
        part = gradient[2 * top : 2 * (top + rows)].reshape(rows, 2, width, 2, c_out)
        products = part.transpose(0, 2, 1, 3, 4).reshape(rows * width, 4 * c_out) @ step.weight.T
        windows = products.reshape(rows, width, 9, c_in)
        for n, (row, column) in enumerate(_ORDER):
            found[top + row : top + row + rows, column : column + width] += windows[:, :, n]
    return found
