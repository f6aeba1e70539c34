"""Transforms on PyTorch."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gdncodec.engines.torch_state import Undrawn, own_state
from gdncodec.errors import ModelError, UsageError, one_line
from gdncodec.nn.inference import prepare_inference
from gdncodec.nn.transforms import Transform, analysis, synthesis
from gdncodec.norms import norm_info
from gdncodec.threads import bounded

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from gdncodec.modelfile import Model

__all__ = ["TorchEngine", "TorchTransforms"]


class TorchEngine:
    """Runs the analysis and the synthesis of one model.

    Args:
        model: the codec.
        device: a torch device; None takes the CPU.
        threads: number of CPU threads; None takes as many as the program has set.

    Raises:
        UsageError: the device is unknown or not available.
    """

    name = used = "torch"

    def __init__(self, model: Model, device: str | None = None, threads: int | None = None) -> None:
        self._model, self.threads = model, threads
        self._threads = None if threads is None else bounded(threads)
        self.pixel_offset = model.config.pixel_offset
        """What is subtracted from samples in [0, 1] before the analysis."""
        try:
            self.device = torch.device(device or "cpu")
            torch.zeros(1, device=self.device).cpu()
        except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
            reason = str(error).splitlines()[0]
            msg = f"device {device!r} cannot be used: {reason}"
            raise UsageError(msg) from error
        self._last: TorchTransforms | None = None
        norms = (model.config.norm, model.config.synthesis_norm)
        if any(norm_info(norm).state is None for norm in norms):
            _ = self.analysis, self.synthesis  # only the layers know whether their tensors fit

    def at(self, quality: float, pixels: int | None = None) -> TorchTransforms:
        """Return the transforms at one quality, 0 to 100; the last ones are kept."""
        last = self._last
        if last is None or last.quality != quality:
            last = self._last = TorchTransforms(self, quality)
        return last

    def own_state(self) -> AbstractContextManager[None]:
        """Return a context in which to compute, whatever the program has set for itself."""
        return own_state(self.device, self._threads)

    @cached_property
    def analysis(self) -> Transform:
        """The analysis network for every quality."""
        return self._load("analysis")

    @cached_property
    def synthesis(self) -> Transform:
        """The synthesis network for every quality."""
        return self._load("synthesis")

    def _load(self, name: str) -> Transform:
        build = analysis if name == "analysis" else synthesis
        with self.own_state(), torch.device("cpu"), Undrawn(), torch.inference_mode(False):
            net = build(self._model.config)
            weights = {k: torch.from_numpy(v) for k, v in self._model.network(name).items()}
            try:
                net.load_state_dict(weights, assign=True)
            except RuntimeError as error:
                msg = f"the tensors of the {name} do not fit its norm: {one_line(error)}"
                raise ModelError(msg) from error
            net = net.to(self.device).to(memory_format=torch.channels_last)
        return net.eval().requires_grad_(False)


class TorchTransforms:
    """The transforms of an engine at one quality; see :class:`gdncodec.engines.Transforms`.

    Args:
        engine: holds the networks for every quality.
        quality: 0 to 100.
    """

    def __init__(self, engine: TorchEngine, quality: float) -> None:
        self._engine = engine
        self.quality = quality
        self._device, self._offset = engine.device, engine.pixel_offset

    def analysis(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the latent (M, H/16, W/16) of an image (H, W, 3)."""
        peak = np.iinfo(x.dtype).max
        with self._engine.own_state(), torch.inference_mode():
            pixels = torch.from_numpy(x if peak == 255 else x.astype(np.float32))
            pixels = pixels.to(self._device).permute(2, 0, 1)[None]
            y = self._analysis(pixels.float() / peak - self._offset)[0]
            latent: NDArray[np.float32] = y.cpu().numpy()
        return latent

    def synthesis(self, y: NDArray[np.float32], depth: int = 8) -> NDArray[Any]:
        """Return the image (H, W, 3) of a latent (M, H/16, W/16), with 8 or 16 bits per sample."""
        peak, dtype = (255, torch.uint8) if depth == 8 else (65535, torch.int32)
        with self._engine.own_state(), torch.inference_mode():
            latent = torch.from_numpy(y).to(self._device)
            x_hat = self._synthesis(latent[None])[0] + self._offset
            pixels = (x_hat * peak).round_().clamp_(0, peak).to(dtype)
            image: NDArray[Any] = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
        return image if depth == 8 else image.astype(np.uint16)

    def error_gradient(
        self, y: NDArray[np.float32], x: NDArray[Any], where: tuple[slice, slice]
    ) -> NDArray[np.float32]:
        """Return the gradient of the squared error of a part of an image, (M, H/16, W/16)."""
        peak = np.iinfo(x.dtype).max
        target = torch.from_numpy(x.astype(np.float32) / peak - self._offset).to(self._device)
        rows, columns = where

        def error(x_hat: torch.Tensor) -> torch.Tensor:
            return (x_hat[0, :, rows, columns] - target.permute(2, 0, 1)).square().sum()

        return self._gradient(y, error)

    def _gradient(
        self, y: NDArray[np.float32], of: Callable[[torch.Tensor], torch.Tensor]
    ) -> NDArray[np.float32]:
        with self._engine.own_state(), torch.inference_mode(False), torch.enable_grad():
            latent = torch.from_numpy(y).to(self._device)[None].requires_grad_()
            (gradient,) = torch.autograd.grad(of(self._differentiable(latent)), latent)
        return gradient[0].cpu().numpy()

    # Tensors made in inference mode could never be differentiated.

    @cached_property
    def _analysis(self) -> nn.Module:
        with self._engine.own_state(), torch.inference_mode(False):
            return prepare_inference(self._engine.analysis.at(self.quality))

    @cached_property
    def _synthesis(self) -> nn.Module:
        with self._engine.own_state(), torch.inference_mode(False):
            return prepare_inference(self._engine.synthesis.at(self.quality))

    @cached_property
    def _differentiable(self) -> nn.Module:
        """The synthesis, without the operations in place that make it faster."""
        with self._engine.own_state(), torch.inference_mode(False):
            return self._engine.synthesis.at(self.quality)
