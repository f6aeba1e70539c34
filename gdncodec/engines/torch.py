"""Transforms on PyTorch: arrays in, arrays out."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gdncodec.nn.inference import prepare_inference
from gdncodec.nn.transforms import Transform, analysis, synthesis

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gdncodec.modelfile import Model

__all__ = ["TorchEngine"]

_PROBES = 2

_KEPT = 4
"""Transforms at one quality that are kept: a batch of images mostly has the same one."""


class TorchEngine:
    """Runs the analysis and the synthesis of one model.

    Args:
        model: the codec.
        device: a torch device; None takes the CPU.

    Raises:
        ValueError: the device is unknown or not available.
    """

    def __init__(self, model: Model, device: str | None = None) -> None:
        self._model = model
        self._offset = model.config.pixel_offset
        try:
            self._device = torch.device(device or "cpu")
            torch.zeros(1, device=self._device).cpu()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            msg = f"device {device!r} cannot be used: {reason}"
            raise ValueError(msg) from error
        self._transforms: dict[str, Transform] = {}
        self._nets: OrderedDict[tuple[str, float, bool], nn.Module] = OrderedDict()

    def analysis(self, x: NDArray[Any], quality: float) -> NDArray[np.float32]:
        """Return the latent of an image.

        Args:
            x: (H, W, 3) uint8 or uint16, both sides multiples of 16.
            quality: 0 to 100.

        Returns:
            (M, H/16, W/16) float32.
        """
        peak = np.iinfo(x.dtype).max
        with torch.inference_mode():
            pixels = torch.from_numpy(x if peak == 255 else x.astype(np.float32))
            pixels = pixels.to(self._device).permute(2, 0, 1)[None]
            y = self._net("analysis", quality)(pixels.float() / peak - self._offset)[0]
            latent: NDArray[np.float32] = y.cpu().numpy()
        return latent

    def synthesis(self, y: NDArray[np.float32], quality: float, depth: int = 8) -> NDArray[Any]:
        """Return the image of a latent.

        Args:
            y: (M, H/16, W/16) float32.
            quality: 0 to 100, that of the analysis.
            depth: 8 or 16 bits of a sample.

        Returns:
            (H, W, 3) uint8 or uint16.
        """
        peak, dtype = (255, torch.uint8) if depth == 8 else (65535, torch.int32)
        with torch.inference_mode():
            latent = torch.from_numpy(y).to(self._device)
            x_hat = self._net("synthesis", quality)(latent[None])[0] + self._offset
            pixels = (x_hat * peak).round_().clamp_(0, peak).to(dtype)
            image: NDArray[Any] = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
        return image if depth == 8 else image.astype(np.uint16)

    def error_gradient(
        self,
        y: NDArray[np.float32],
        quality: float,
        x: NDArray[Any],
        where: tuple[slice, slice],
    ) -> NDArray[np.float32]:
        """Return how the squared error of an image changes with its latent.

        Args:
            y: (M, H/16, W/16) float32.
            quality: 0 to 100.
            x: (h, w, 3) uint8 or uint16, what a part of the image should be.
            where: rows and columns of that part; errors elsewhere do not count.

        Returns:
            (M, H/16, W/16), the gradient of the sum of squared errors of samples in [0, 1].
        """
        peak = np.iinfo(x.dtype).max
        aim = torch.from_numpy(x.astype(np.float32) / peak - self._offset).to(self._device)
        rows, columns = where

        def error(x_hat: torch.Tensor) -> torch.Tensor:
            return (x_hat[0, :, rows, columns] - aim.permute(2, 0, 1)).square().sum()

        return self._gradient(y, quality, error)

    def curvature(self, y: NDArray[np.float32], quality: float) -> NDArray[np.float32]:
        """Return how much a latent moves the image: (M,), squared change for a change of 1.

        That is the mean over the positions of the squared columns of the synthesis' Jacobian, from
        its products with random signs (Hutchinson's estimator).
        """
        signs = torch.Generator(self._device).manual_seed(0)

        def product(x_hat: torch.Tensor) -> torch.Tensor:
            random = torch.randint(0, 2, x_hat.shape, generator=signs, device=x_hat.device)
            return (x_hat * (2 * random - 1)).sum()

        probes = [self._gradient(y, quality, product) for _ in range(_PROBES)]
        return np.asarray(np.mean([np.square(p).mean(axis=(1, 2)) for p in probes], axis=0))

    def _gradient(
        self,
        y: NDArray[np.float32],
        quality: float,
        of: Callable[[torch.Tensor], torch.Tensor],
    ) -> NDArray[np.float32]:
        latent = torch.from_numpy(y).to(self._device)[None].requires_grad_()
        net = self._net("synthesis", quality, differentiable=True)
        (gradient,) = torch.autograd.grad(of(net(latent)), latent)
        return gradient[0].cpu().numpy()

    def _net(self, name: str, quality: float, differentiable: bool = False) -> nn.Module:
        """Return a transform at one quality, as fast as it gets or so that it can be derived."""
        key = (name, quality, differentiable)
        net = self._nets.pop(key, None)
        if net is None:
            with torch.inference_mode(False):  # tensors made in it can never be derived
                if name not in self._transforms:
                    self._transforms[name] = self._load(name)
                net = self._transforms[name].at(quality)
                net = net if differentiable else prepare_inference(net)
        self._nets[key] = net  # the last one used is the last one to go
        while len(self._nets) > _KEPT:
            self._nets.popitem(last=False)
        return net

    def _load(self, name: str) -> Transform:
        build = analysis if name == "analysis" else synthesis
        # Not on the meta device: its first use takes 0.8 s, drawing weights in vain 0.01 s.
        with torch.random.fork_rng(devices=[]):
            net = build(self._model.config)
        weights = {k: torch.from_numpy(v) for k, v in self._model.network(name).items()}
        net.load_state_dict(weights, assign=True)
        net = net.to(self._device).to(memory_format=torch.channels_last)
        return net.eval().requires_grad_(False)
