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

from gdncodec.config import rate_position
from gdncodec.errors import ModelError
from gdncodec.norms import TileClass, norm_info, parse_norm
from gdncodec.threads import bounded, one_blas_thread, processors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gdncodec.config import ModelConfig
    from gdncodec.modelfile import Model

__all__ = ["NumpyEngine", "NumpyTransforms", "needs_torch"]

_LOCAL = ("gdn", "gdn1", "none", "crossnorm", "channel")
"""Norms that work position by position and are not folded."""

_CHUNK = 1 << 19
"""About the number of elements in the windows of the rows that are computed at a time."""

_PROBES = 2
_SLOPE = 0.1  # of the activation after norms without a nonlinearity
_PEDESTAL = 2.0**-36  # of the parameters of GDN


class _Norm:
    """A norm with what makes it nonlinear, at each position on its own; here the identity."""

    def apply(self, rows: NDArray[np.float32]) -> None:
        """Normalise rows (positions, C) in place."""

    def gradient(
        self, rows: NDArray[np.float32], of_output: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the gradient of the input from the input (positions, C) and that of the output."""
        return of_output


class _Layer(NamedTuple):
    """A convolution at one quality, and what follows it."""

    weight: NDArray[np.float32]
    """(25 C_in, C_out), or (9 C_in, 4 C_out) of a transposed one, see :func:`_up_weight`."""
    bias: NDArray[np.float32]
    norm: _Norm


def needs_torch(config: ModelConfig) -> str | None:
    """Return the norm of a configuration that NumPy cannot run, or None."""
    for norm in (config.norm, config.synthesis_norm):
        folded = norm_info(norm).tile is TileClass.FROZEN_AFFINE and config.folded
        if not folded and parse_norm(norm)[0] not in _LOCAL:
            return norm
    return None


class NumpyEngine:
    """Runs the analysis and the synthesis of one model on the CPU.

    Args:
        model: the codec; its norms must work position by position.
        threads: number of threads; None takes one for each processor.

    Raises:
        ModelError: a norm of the model needs PyTorch.
    """

    name = "numpy"

    def __init__(self, model: Model, threads: int | None = None) -> None:
        self.model = model
        self.threads = bounded(threads) if threads else processors()
        norm = needs_torch(model.config)
        if norm:
            msg = f"the engine numpy cannot run norm {norm}; the engine torch can"
            raise ModelError(msg)
        self._last: NumpyTransforms | None = None

    def at(self, quality: float) -> NumpyTransforms:
        """Return the transforms at one quality, 0 to 100; the last ones are kept.

        Many images in a row have the same quality, and folding it into the weights takes as long as
        the transforms of a tenth of a megapixel.
        """
        last = self._last
        if last is None or last.quality != quality:
            last = self._last = NumpyTransforms(self, quality)
        return last


class NumpyTransforms:
    """The transforms of a model at one quality; see :class:`gdncodec.engines.Transforms`.

    Args:
        engine: of the model.
        quality: 0 to 100.
    """

    def __init__(self, engine: NumpyEngine, quality: float) -> None:
        self._model, self._threads = engine.model, engine.threads
        self._config = engine.model.config
        self.quality = quality

    def analysis(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the latent (M, H/16, W/16) of an image (H, W, 3)."""
        y = x.astype(np.float32)
        y *= np.float32(1 / np.iinfo(x.dtype).max)
        y -= np.float32(self._config.pixel_offset)
        for layer in self._analysis:
            y = _down(self._padded(y, 2), layer, self._threads)
        return np.ascontiguousarray(y.transpose(2, 0, 1))

    def synthesis(self, y: NDArray[np.float32], depth: int = 8) -> NDArray[Any]:
        """Return the image (H, W, 3) of a latent (M, H/16, W/16), with 8 or 16 bits per sample."""
        x = np.ascontiguousarray(y.transpose(1, 2, 0))
        for layer in self._synthesis:
            x = _up(self._padded(x, 1), layer, self._threads)
        peak, dtype = (255, np.uint8) if depth == 8 else (65535, np.uint16)
        x += np.float32(self._config.pixel_offset)
        x *= peak
        np.rint(x, out=x)
        return x.clip(0, peak, out=x).astype(dtype)

    def error_gradient(
        self, y: NDArray[np.float32], x: NDArray[Any], where: tuple[slice, slice]
    ) -> NDArray[np.float32]:
        """Return the gradient of the squared error of a part of an image, (M, H/16, W/16)."""
        target = x.astype(np.float32) / np.iinfo(x.dtype).max - np.float32(
            self._config.pixel_offset
        )

        def gradient(x_hat: NDArray[np.float32]) -> NDArray[np.float32]:
            found = np.zeros_like(x_hat)
            found[where] = 2 * (x_hat[where] - target)
            return found

        return self._gradient(y, gradient)

    def curvature(self, y: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how much a change of the latent changes the image, (M,).

        As :meth:`gdncodec.engines.torch.TorchTransforms.curvature` does, with other random signs.
        """
        rng = np.random.default_rng(0)

        def signs(x_hat: NDArray[np.float32]) -> NDArray[np.float32]:
            return rng.choice(np.array([-1, 1], np.float32), x_hat.shape)

        squares = [np.square(self._gradient(y, signs), dtype=np.float64) for _ in range(_PROBES)]
        return np.asarray(np.mean([s.mean(axis=(1, 2)) for s in squares], axis=0))

    def _gradient(
        self,
        y: NDArray[np.float32],
        of_image: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        """Return the gradient of the latent from that of the image that it gives."""
        x = np.ascontiguousarray(y.transpose(1, 2, 0))
        inputs = []
        for layer in self._synthesis:
            z = _up(self._padded(x, 1), layer._replace(norm=_Norm()), self._threads)
            inputs.append(z)
            x = z.copy()
            layer.norm.apply(x.reshape(-1, x.shape[2]))
        gradient = of_image(x)
        for layer, z in zip(reversed(self._synthesis), reversed(inputs), strict=True):
            shape = z.shape
            rows = layer.norm.gradient(z.reshape(-1, shape[2]), gradient.reshape(-1, shape[2]))
            gradient = self._unpadded(_up_gradient(rows.reshape(shape), layer))
        return np.ascontiguousarray(gradient.transpose(2, 0, 1))

    def _unpadded(self, gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the gradient of an image from that of the image padded by one position."""
        if self._config.padding == "replicate":
            gradient[1] += gradient[0]
            gradient[-2] += gradient[-1]
            gradient[:, 1] += gradient[:, 0]
            gradient[:, -2] += gradient[:, -1]
        return gradient[1:-1, 1:-1]

    @cached_property
    def _analysis(self) -> list[_Layer]:
        return self._layers("analysis", self._config.norm, transposed=False)

    @cached_property
    def _synthesis(self) -> list[_Layer]:
        return self._layers("synthesis", self._config.synthesis_norm, transposed=True)

    def _layers(self, name: str, norm: str, *, transposed: bool) -> list[_Layer]:
        tensors = self._model.network(name)
        layers = []
        for i in (0, 2, 4, 6):
            weight, bias = tensors[f"{i}.weight"], tensors[f"{i}.bias"]
            if i < 6:
                scale, shift = (self._between(tensors[f"{n}_{i}"]) for n in ("scale", "shift"))
                factor = 1 + scale
                weight = weight * factor.reshape((1, -1, 1, 1) if transposed else (-1, 1, 1, 1))
                bias = bias * factor + shift
            matrix = _up_weight(weight) if transposed else _down_weight(weight)
            stage = {
                key.removeprefix(f"{i + 1}."): value
                for key, value in tensors.items()
                if key.startswith(f"{i + 1}.")
            }
            needed = _tensors_of(norm) if i < 6 else set()
            if stage.keys() != needed:
                msg = f"the tensors of the {name} do not fit norm {norm}"
                raise ModelError(msg)
            follows = _norm(norm, stage, inverse=transposed) if i < 6 else _Norm()
            layers.append(_Layer(matrix, bias, follows))
        return layers

    def _between(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what values (K, C) at the nodes are at the quality, (C,)."""
        place = rate_position(self.quality) * (len(values) - 1)
        left = min(int(place), len(values) - 2)
        part = np.float32(place - left)
        return values[left] + part * (values[left + 1] - values[left])

    def _padded(self, x: NDArray[np.float32], width: int) -> NDArray[np.float32]:
        mode: Any = "edge" if self._config.padding == "replicate" else "constant"
        return np.pad(x, ((width, width), (width, width), (0, 0)), mode)


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


def _down(x: NDArray[np.float32], layer: _Layer, threads: int) -> NDArray[np.float32]:
    """Convolve a padded image (2 H + 4, 2 W + 4, C_in) with stride 2: (H, W, C_out)."""
    height, width, channels = x.shape[0] // 2 - 2, x.shape[1] // 2 - 2, x.shape[2]
    row, column, item = x.strides
    # A window is five runs of five positions, which are consecutive in memory.
    windows = np.lib.stride_tricks.as_strided(
        x, (height, width, 5, 5 * channels), (2 * row, 2 * column, row, item), writeable=False
    )
    y = np.empty((height, width, layer.weight.shape[1]), np.float32)

    def compute(rows: slice) -> None:
        part = windows[rows].reshape(-1, 25 * channels)
        out = y[rows].reshape(-1, y.shape[2])
        np.matmul(part, layer.weight, out=out)
        out += layer.bias
        layer.norm.apply(out)

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


def _up(x: NDArray[np.float32], layer: _Layer, threads: int) -> NDArray[np.float32]:
    """Convolve a padded image (H + 2, W + 2, C_in), transposed, stride 2: (2 H, 2 W, C_out)."""
    height, width, c_in = x.shape[0] - 2, x.shape[1] - 2, x.shape[2]
    c_out = len(layer.bias)
    y = np.empty((height, 2, width, 2, c_out), np.float32)

    def compute(rows: slice) -> None:
        top, count = rows.start, rows.stop - rows.start
        windows = np.empty((count, width, 9, c_in), np.float32)
        for n, (row, column) in enumerate(_ORDER):
            windows[:, :, n] = x[top + row : top + row + count, column : column + width]
        flat = windows.reshape(count * width, 9 * c_in)
        if c_out < _THIN:
            products = flat @ layer.weight
        else:
            products = np.empty((count * width, 4 * c_out), np.float32)
            for (a, b), (first, last) in _SEEN.items():
                inputs = slice(first * c_in, last * c_in)
                outputs = slice((2 * a + b) * c_out, (2 * a + b + 1) * c_out)
                np.matmul(flat[:, inputs], layer.weight[inputs, outputs], out=products[:, outputs])
        found = products.reshape(-1, c_out)
        found += layer.bias
        layer.norm.apply(found)
        y[rows] = found.reshape(count, width, 2, 2, c_out).transpose(0, 2, 1, 3, 4)

    _in_chunks(compute, height, width * 9 * c_in, threads)
    return y.reshape(2 * height, 2 * width, c_out)


def _up_gradient(gradient: NDArray[np.float32], layer: _Layer) -> NDArray[np.float32]:
    """Return the gradient of the padded input of :func:`_up` from that of its output."""
    height, width, c_out = gradient.shape[0] // 2, gradient.shape[1] // 2, gradient.shape[2]
    c_in = len(layer.weight) // 9
    found = np.zeros((height + 2, width + 2, c_in), np.float32)
    step = max(1, _CHUNK // (width * 9 * c_in))
    for top in range(0, height, step):
        rows = min(step, height - top)
        part = gradient[2 * top : 2 * (top + rows)].reshape(rows, 2, width, 2, c_out)
        products = part.transpose(0, 2, 1, 3, 4).reshape(rows * width, 4 * c_out) @ layer.weight.T
        windows = products.reshape(rows, width, 9, c_in)
        for n, (row, column) in enumerate(_ORDER):
            found[top + row : top + row + rows, column : column + width] += windows[:, :, n]
    return found


class _Leaky(_Norm):
    """The activation alone."""

    def apply(self, rows: NDArray[np.float32]) -> None:
        np.maximum(rows, np.float32(_SLOPE) * rows, out=rows)

    def gradient(
        self, rows: NDArray[np.float32], of_output: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return np.where(rows > 0, of_output, np.float32(_SLOPE) * of_output)


class _Divisive(_Norm):
    """GDN or GDN1, see :mod:`gdncodec.norms.gdn`."""

    def __init__(
        self, stage: dict[str, NDArray[np.float32]], *, squared: bool, inverse: bool, bound: float
    ) -> None:
        self._squared, self._inverse = squared, inverse
        self._beta = _effective(stage["beta"], bound)
        self._gamma = _effective(stage["gamma"], 0)

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
        if self._squared:
            return of_output * pool + rows * ((of_output * rows / pool) @ self._gamma)
        return of_output * pool + np.sign(rows) * ((of_output * rows) @ self._gamma)


def _effective(raw: NDArray[np.float32], smallest: float) -> NDArray[np.float32]:
    pedestal = np.float32(_PEDESTAL)
    return np.square(np.maximum(raw, np.sqrt(np.float32(smallest) + pedestal))) - pedestal


class _Channel(_Norm):
    """Mean and variance across channels, see :mod:`gdncodec.norms.channel`."""

    def __init__(self, stage: dict[str, NDArray[np.float32]], eps: float) -> None:
        self._weight, self._bias, self._eps = stage["0.weight"], stage["0.bias"], np.float32(eps)

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


def _tensors_of(norm: str) -> set[str]:
    """Return the names of the tensors that a norm has in a model file."""
    name = parse_norm(norm)[0]
    if name in ("gdn", "gdn1"):
        return {"beta", "gamma"}
    return {"0.weight", "0.bias"} if name == "channel" else set()


def _norm(norm: str, stage: dict[str, NDArray[np.float32]], *, inverse: bool) -> _Norm:
    """Return a norm, by its name and its tensors, with what makes it nonlinear."""
    name, options = parse_norm(norm)
    if name in ("gdn", "gdn1"):
        bound = float(options.get("beta_min", 1e-6))
        return _Divisive(stage, squared=name == "gdn", inverse=inverse, bound=bound)
    if name == "channel":
        return _Channel(stage, float(options.get("eps", 1e-3)))
    return _Leaky()  # none, one that is folded, or crossnorm, which exchanges in training only
