"""The networks of a model at one quality, as arrays, for the engines that need no PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdncodec.config import rate_position
from gdncodec.errors import ModelError
from gdncodec.norms import TileClass, norm_info, parse_norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gdncodec.config import ModelConfig
    from gdncodec.modelfile import Model

__all__ = [
    "SLOPE",
    "Affine",
    "Channel",
    "Divisive",
    "Layer",
    "Leaky",
    "check_runnable",
    "layers_of",
    "needs_torch",
]

SLOPE = 0.1
"""Of the activation after norms without a nonlinearity."""

_LOCAL = ("gdn", "gdn1", "none", "crossnorm", "channel")
"""Norms that work position by position and are not folded."""

_PEDESTAL = 2.0**-36  # of the parameters of GDN


class Divisive(NamedTuple):
    """GDN or GDN1, see :mod:`gdncodec.norms.gdn`, in the form of its network."""

    beta: NDArray[np.float32]
    """(C,)"""
    gamma: NDArray[np.float32]
    """(C, C)"""
    squared: bool
    """GDN; otherwise GDN1."""
    inverse: bool
    """Multiply instead of dividing."""


class Channel(NamedTuple):
    """Mean and variance across channels, see :mod:`gdncodec.norms.channel`, then LeakyReLU."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    eps: float


class Leaky(NamedTuple):
    """LeakyReLU alone: after norms that do nothing at inference, or are in the convolutions."""


class Layer(NamedTuple):
    """A convolution, what its output becomes at each quality, and the norm after it."""

    weight: NDArray[np.float32]
    """(C_out, C_in, 5, 5); of a transposed one (C_in, C_out, 5, 5)."""
    bias: NDArray[np.float32]
    """(C_out,)"""
    scale: NDArray[np.float32]
    """(K, C_out), zeros where the layer does not follow the quality."""
    shift: NDArray[np.float32]
    """(K, C_out), as ``scale``; see :class:`gdncodec.nn.transforms.Transform`."""
    norm: Divisive | Channel | Leaky | None

    def at(self, quality: float) -> Affine:
        """Return what the convolution without its bias is multiplied by, and what is added."""
        factor = 1 + _between(self.scale, quality)
        return Affine(factor, self.bias * factor + _between(self.shift, quality))


class Affine(NamedTuple):
    """A factor and an offset for each channel (C,), float32."""

    factor: NDArray[np.float32]
    offset: NDArray[np.float32]


def needs_torch(config: ModelConfig) -> str | None:
    """Return the norm of a configuration that only PyTorch can run, or None."""
    for norm in (config.norm, config.synthesis_norm):
        folded = norm_info(norm).tile is TileClass.FROZEN_AFFINE and config.folded
        if not folded and parse_norm(norm)[0] not in _LOCAL:
            return norm
    return None


def check_runnable(config: ModelConfig, engine: str) -> None:
    """Check that an engine without PyTorch can run a model.

    Raises:
        ModelError: a norm of the model needs PyTorch.
    """
    norm = needs_torch(config)
    if norm:
        msg = f"the engine {engine} cannot run norm {norm}; the engine torch can"
        raise ModelError(msg)


def layers_of(model: Model, name: str) -> list[Layer]:
    """Return the four layers of ``analysis`` or ``synthesis``.

    Raises:
        ModelError: the model has not the tensors that its norm needs.
    """
    synthesis = name == "synthesis"
    norm = model.config.synthesis_norm if synthesis else model.config.norm
    tensors = model.network(name)
    layers = []
    for i in (0, 2, 4, 6):
        weight, bias = tensors[f"{i}.weight"], tensors[f"{i}.bias"]
        prefix = f"{i + 1}."
        stage = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if stage.keys() != (_tensors_of(norm) if i < 6 else set()):
            msg = f"the tensors of the {name} do not fit norm {norm}"
            raise ModelError(msg)
        if i < 6:
            scale, shift = tensors[f"scale_{i}"], tensors[f"shift_{i}"]
            layers.append(Layer(weight, bias, scale, shift, _norm(norm, stage, inverse=synthesis)))
        else:
            zeros = np.zeros((2, len(bias)), np.float32)
            layers.append(Layer(weight, bias, zeros, zeros, None))
    return layers


def _between(values: NDArray[np.float32], quality: float) -> NDArray[np.float32]:
    """Return what values (K, C) at the nodes are at a quality, (C,)."""
    place = rate_position(quality) * (len(values) - 1)
    left = min(int(place), len(values) - 2)
    part = np.float32(place - left)
    return values[left] + part * (values[left + 1] - values[left])


def _tensors_of(norm: str) -> set[str]:
    """Return the names of the tensors that a norm has in a model file."""
    name = parse_norm(norm)[0]
    if name in ("gdn", "gdn1"):
        return {"beta", "gamma"}
    return {"0.weight", "0.bias"} if name == "channel" else set()


def _norm(
    norm: str, stage: dict[str, NDArray[np.float32]], *, inverse: bool
) -> Divisive | Channel | Leaky:
    """Return a norm, by its name and its tensors, with what makes it nonlinear."""
    name, options = parse_norm(norm)
    if name in ("gdn", "gdn1"):
        bound = float(options.get("beta_min", 1e-6))
        beta, gamma = _effective(stage["beta"], bound), _effective(stage["gamma"], 0)
        return Divisive(beta, gamma, name == "gdn", inverse)
    if name == "channel":
        return Channel(stage["0.weight"], stage["0.bias"], float(options.get("eps", 1e-3)))
    return Leaky()  # none, one that is folded, or crossnorm, which exchanges in training only


def _effective(raw: NDArray[np.float32], smallest: float) -> NDArray[np.float32]:
    pedestal = np.float32(_PEDESTAL)
    return np.square(np.maximum(raw, np.sqrt(np.float32(smallest) + pedestal))) - pedestal
