"""Which engine runs a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdncodec.errors import UsageError
from gdncodec.extras import check_installed

if TYPE_CHECKING:
    from gdncodec.engines import Engine
    from gdncodec.modelfile import Model

__all__ = ["ENGINES", "open_engine"]

ENGINES = ("auto", "numpy", "torch")
"""Names of the engines; ``auto`` stands for the first that can run the model on the device."""


def open_engine(
    model: Model, name: str = "auto", *, device: str | None = None, threads: int | None = None
) -> Engine:
    """Return an engine for a model.

    Args:
        model: the model.
        name: one of :data:`ENGINES`. ``auto`` takes NumPy on the CPU, if it has the norms, because
            importing PyTorch takes longer than compressing an image.
        device: a torch device; None takes the CPU.
        threads: number of CPU threads; None leaves it to the engine.

    Raises:
        UsageError: the name is unknown, or the device cannot be used.
        GdnCodecError: PyTorch is needed and not installed.
        ModelError: NumPy was asked for and cannot run the model.
    """
    if name not in ENGINES:
        msg = f"engine must be one of {', '.join(ENGINES)}, got {name!r}"
        raise UsageError(msg)
    on_cpu = device in (None, "cpu")
    if name == "numpy" and not on_cpu:
        msg = f"the engine numpy runs on the CPU only, got device {device!r}"
        raise UsageError(msg)
    from gdncodec.engines.numpy import NumpyEngine, needs_torch

    if name == "numpy" or (name == "auto" and on_cpu and not needs_torch(model.config)):
        return NumpyEngine(model, threads)
    check_installed("torch", extra="train")
    from gdncodec.engines.torch import TorchEngine

    return TorchEngine(model, device, threads)
