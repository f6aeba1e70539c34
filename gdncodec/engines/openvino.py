"""Transforms on OpenVINO: in bfloat16 where the processor has it and the quality allows it.

A network is compiled for one quality, because OpenVINO merges the factors and offsets of a quality
into the convolutions before it only if they are constants. That takes a tenth of a second and more,
so the last few compiled networks are kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
import openvino.opset13 as op

from gdncodec.engines.layers import SLOPE, Channel, Divisive, Layer, check_runnable, layers_of
from gdncodec.engines.numpy import NumpyEngine
from gdncodec.engines.precision import bfloat16_pays
from gdncodec.threads import bounded, processors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gdncodec.config import ModelConfig
    from gdncodec.modelfile import Model

__all__ = ["OpenVinoEngine", "OpenVinoTransforms"]

_KEPT = 4
"""Compiled networks, of about 50 MB each."""

_THIN = 16
"""Fewer outputs of a transposed convolution are faster as one convolution of the small image."""


class OpenVinoEngine:
    """Runs the analysis and the synthesis of one model on the CPU.

    Args:
        model: the codec; its norms must work position by position.
        threads: number of threads; None takes one for each processor.
        bfloat16: compute in bfloat16; None does so where the processor has it and it costs nothing
            at the quality, see :mod:`gdncodec.engines.precision`.

    Raises:
        ModelError: a norm of the model needs PyTorch.
    """

    name = "openvino"

    def __init__(
        self, model: Model, threads: int | None = None, *, bfloat16: bool | None = None
    ) -> None:
        check_runnable(model.config, self.name)
        self.model = model
        self.threads = bounded(threads) if threads else processors()
        self._bfloat16 = bfloat16
        self.used = self.name
        self.compiled = lru_cache(maxsize=_KEPT)(self._compiled)
        self.light = NumpyEngine(model, threads)
        """Computes gradients."""

    def at(self, quality: float, pixels: int | None = None) -> OpenVinoTransforms:
        """Return the transforms at one quality, 0 to 100, whatever the number of pixels."""
        precision = self.precision(quality)
        self.used = f"openvino, {precision}"
        return OpenVinoTransforms(self, quality, precision == "bfloat16")

    def precision(self, quality: float) -> str:
        """Return ``bfloat16`` or ``float32``, in which networks are computed at a quality."""
        low = self._bfloat16
        if low is None:
            low = bfloat16_pays(self.model.config, quality) and has_bfloat16()
        return "bfloat16" if low else "float32"

    def _compiled(self, name: str, quality: float, bfloat16: bool, kind: str) -> ov.CompiledModel:
        """Compile a network for samples of a kind, ``uint8`` or ``uint16``."""
        build = _analysis if name == "analysis" else _synthesis
        graph = build(layers_of(self.model, name), self.model.config, quality, bfloat16, kind)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # or they would wait for a processor that others use
        }
        return _core().compile_model(graph, "CPU", settings)


class OpenVinoTransforms:
    """The transforms of a model at one quality; see :class:`gdncodec.engines.Transforms`.

    Args:
        engine: of the model.
        quality: 0 to 100.
        bfloat16: compute in bfloat16, otherwise in float32.
    """

    def __init__(self, engine: OpenVinoEngine, quality: float, bfloat16: bool) -> None:
        self._engine, self.quality, self._bfloat16 = engine, quality, bfloat16
        self._light = engine.light.at(quality)

    def analysis(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the latent (M, H/16, W/16) of an image (H, W, 3)."""
        return self._run("analysis", np.ascontiguousarray(x), x.dtype.name)

    def synthesis(self, y: NDArray[np.float32], depth: int = 8) -> NDArray[Any]:
        """Return the image (H, W, 3) of a latent (M, H/16, W/16), with 8 or 16 bits per sample."""
        return self._run("synthesis", np.ascontiguousarray(y), f"uint{depth}")

    def error_gradient(
        self, y: NDArray[np.float32], x: NDArray[Any], where: tuple[slice, slice]
    ) -> NDArray[np.float32]:
        """Return the gradient of the squared error of a part of an image, (M, H/16, W/16)."""
        return self._light.error_gradient(y, x, where)

    def _run(self, network: str, array: NDArray[Any], kind: str) -> NDArray[Any]:
        compiled = self._engine.compiled(network, self.quality, self._bfloat16, kind)
        request = compiled.create_infer_request()  # of its own for each thread
        result: NDArray[Any] = request.infer([array], share_inputs=True, share_outputs=True)[0]
        return result


def has_bfloat16() -> bool:
    """Return whether the processor computes in bfloat16."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@lru_cache(maxsize=1)
def _core() -> ov.Core:
    return ov.Core()


def _analysis(
    layers: Sequence[Layer], config: ModelConfig, quality: float, bfloat16: bool, kind: str
) -> ov.Model:
    pixels = op.parameter([-1, -1, 3], np.dtype(kind))
    x = op.convert(pixels, "f32") * _number(1 / np.iinfo(kind).max)
    x = op.unsqueeze(op.transpose(x - _number(config.pixel_offset), _ints(2, 0, 1)), _ints(0))
    for layer in layers:
        factor, offset = layer.at(quality)
        weight = layer.weight * factor.reshape(-1, 1, 1, 1)
        x = op.convolution(_padded(x, 2, config), weight, [2, 2], [0, 0], [0, 0], [1, 1])
        x = _normed(x + _by_channel(offset), layer)
    return ov.Model([op.squeeze(x, _ints(0))], [pixels], "analysis")


def _synthesis(
    layers: Sequence[Layer], config: ModelConfig, quality: float, bfloat16: bool, kind: str
) -> ov.Model:
    latent = op.parameter([config.latent_channels, -1, -1], np.float32)
    x = op.unsqueeze(latent, _ints(0))
    for layer in layers:
        factor, offset = layer.at(quality)
        weight = layer.weight * factor.reshape(-1, 1, 1)
        if bfloat16 or len(factor) < _THIN:  # there is no transposed one in bfloat16
            x = _padded(x, 1, config)
            kinds = op.convolution(x, _of_kinds(weight), [1, 1], [0, 0], [0, 0], [1, 1])
            x = op.depth_to_space(kinds, "depth_first", 2)
        else:
            x = _transposed(x, weight, config)
        x = _normed(x + _by_channel(offset), layer)
    x = op.transpose(op.squeeze(x, _ints(0)), _ints(1, 2, 0)) + _number(config.pixel_offset)
    peak = np.iinfo(kind).max
    x = op.clamp(op.round(x * _number(peak), "half_to_even"), 0, peak)
    return ov.Model([op.convert(x, np.dtype(kind))], [latent], "synthesis")


def _transposed(x: ov.Node, weight: NDArray[np.float32], config: ModelConfig) -> ov.Node:
    replicate = config.padding == "replicate"
    cut = [4, 4] if replicate else [2, 2]  # two for each padded position
    return op.convolution_backprop_data(
        _padded(x, 1, config) if replicate else x,
        weight,
        [2, 2],
        pads_begin=cut,
        pads_end=cut,
        dilations=[1, 1],
        output_padding=[1, 1],
    )


def _ints(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64) if len(numbers) > 1 else np.array(numbers[0], np.int64)


def _number(value: float) -> ov.Node:
    return op.constant(value, np.float32)


def _by_channel(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(1, -1, 1, 1)


def _padded(x: ov.Node, width: int, config: ModelConfig) -> ov.Node:
    pads = _ints(0, 0, width, width)
    if config.padding == "replicate":
        return op.pad(x, pads, pads, "edge")
    return op.pad(x, pads, pads, "constant", _number(0))


def _normed(x: ov.Node, layer: Layer) -> ov.Node:
    norm = layer.norm
    if norm is None:
        return x
    if isinstance(norm, Divisive):
        gamma = norm.gamma.reshape(*norm.gamma.shape, 1, 1)
        magnitudes = x * x if norm.squared else op.abs(x)
        pool = op.convolution(magnitudes, gamma, [1, 1], [0, 0], [0, 0], [1, 1])
        pool = pool + _by_channel(norm.beta)
        pool = op.sqrt(pool) if norm.squared else pool
        return x * pool if norm.inverse else x / pool
    if isinstance(norm, Channel):
        x = x - op.reduce_mean(x, _ints(1), keep_dims=True)
        count = max(len(norm.weight) - 1, 1)
        variance = op.reduce_sum(x * x, _ints(1), keep_dims=True) / _number(count)
        x = x / op.sqrt(variance + _number(norm.eps))
        x = x * _by_channel(norm.weight) + _by_channel(norm.bias)
    return op.prelu(x, np.array([SLOPE], np.float32))


def _of_kinds(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return transposed weights (C_in, C_out, 5, 5) as those of a 3 x 3 convolution.

    Its outputs (4 C_out) are those at even and odd rows and columns, for DepthToSpace. Output
    2 m + a of the transposed convolution sees input m - 1 + r through tap a + 4 - 2 r.
    """
    c_in, c_out = weight.shape[:2]
    kinds = np.zeros((c_out, 2, 2, c_in, 3, 3), np.float32)
    taps = {a: [(r, a + 4 - 2 * r) for r in range(3) if a + 4 - 2 * r < 5] for a in (0, 1)}
    for a, rows in taps.items():
        for b, columns in taps.items():
            for r, ky in rows:
                for c, kx in columns:
                    kinds[:, a, b, :, r, c] = weight[:, :, ky, kx].T
    return kinds.reshape(4 * c_out, c_in, 3, 3)
