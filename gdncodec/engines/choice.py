"""Which engine runs a model."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gdncodec.errors import UsageError
from gdncodec.extras import check_installed

if TYPE_CHECKING:
    from gdncodec.engines import Engine, Transforms
    from gdncodec.engines.numpy import NumpyEngine
    from gdncodec.engines.openvino import OpenVinoEngine
    from gdncodec.modelfile import Model

__all__ = ["ENGINES", "OPENVINO_PIXELS", "open_engine"]

ENGINES = ("auto", "numpy", "openvino", "torch")
"""Names of the engines; ``auto`` stands for what is fastest of those that are installed."""

OPENVINO_PIXELS = {"bfloat16": 1_000_000, "float32": 4_000_000}
"""Pixels of an image from which OpenVINO is faster, though it is imported and compiles first."""


def open_engine(
    model: Model, name: str = "auto", *, device: str | None = None, threads: int | None = None
) -> Engine:
    """Return an engine for a model.

    Args:
        model: the model.
        name: one of :data:`ENGINES`. On the CPU ``auto`` takes NumPy, if it has the norms, because
            importing PyTorch takes longer than compressing an image; and for large images OpenVINO,
            if it is installed.
        device: a torch device; None takes the CPU.
        threads: number of CPU threads; None leaves it to the engine.

    Raises:
        UsageError: the name is unknown, or the device cannot be used.
        GdnCodecError: a package is needed and not installed.
        ModelError: the engine cannot run the model.
    """
    if name not in ENGINES:
        msg = f"engine must be one of {', '.join(ENGINES)}, got {name!r}"
        raise UsageError(msg)
    on_cpu = device in (None, "cpu")
    if name in ("numpy", "openvino") and not on_cpu:
        msg = f"the engine {name} runs on the CPU only, got device {device!r}"
        raise UsageError(msg)
    from gdncodec.engines.layers import needs_torch

    if name == "openvino":
        return _openvino(model, threads)
    if name == "numpy" or (name == "auto" and on_cpu and not needs_torch(model.config)):
        from gdncodec.engines.numpy import NumpyEngine

        light = NumpyEngine(model, threads)
        return light if name == "numpy" or not find_spec("openvino") else _BySize(light)
    check_installed("torch", extra="train")
    from gdncodec.engines.torch import TorchEngine

    return TorchEngine(model, device, threads)


def _openvino(model: Model, threads: int | None) -> Engine:
    check_installed("openvino", extra="fast")
    from gdncodec.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(model, threads)


class _BySize:
    """NumPy for small images, OpenVINO for large ones.

    The choice depends on the image alone, so that the same image becomes the same file.
    """

    name = "auto"

    def __init__(self, light: NumpyEngine) -> None:
        self._light, self.used, self.threads = light, light.used, light.threads

    def at(self, quality: float, pixels: int | None = None) -> Transforms:
        engine = self._fast if self._pays(quality, pixels or 0) else self._light
        transforms = engine.at(quality, pixels)
        self.used = engine.used
        return transforms

    def _pays(self, quality: float, pixels: int) -> bool:
        if pixels < min(OPENVINO_PIXELS.values()):
            return False  # without importing it
        return pixels >= OPENVINO_PIXELS[self._fast.precision(quality)]

    @cached_property
    def _fast(self) -> OpenVinoEngine:
        from gdncodec.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(self._light.model, self._light.threads)
