"""Normalisation layers by name: what each needs and does, readable without loading PyTorch.

A norm is written ``NAME`` or ``NAME:OPTION=VALUE,OPTION=VALUE``, as in ``frn:learnable_eps=true``.
That text is what a model file stores. The options are the keyword arguments of the layer.

To add a norm, write a layer with the signature ``(channels, *, inverse=False)`` and add one entry
to ``NORMS``. A program with its own layer adds the entry before it builds or loads a model::

    from gdncodec.norms import NORMS, NormInfo, TileClass
    NORMS["mine"] = NormInfo("my_package.my_norm:MyNorm", TileClass.POINTWISE, "what it does")
"""

from __future__ import annotations

import enum
import importlib
import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gdncodec.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = [
    "NORMS",
    "NormInfo",
    "TileClass",
    "check_options",
    "make_norm",
    "norm_info",
    "parse_norm",
]

State = dict[str, tuple[int | Literal["C"], ...]]

_AFFINE: State = {"weight": ("C",), "bias": ("C",)}
_RUNNING: State = {"running_mean": ("C",), "running_var": ("C",)}
_GATE: State = {"weight": ("C",), "bias": ("C",), "mix": ("C", 2), **_RUNNING}


class TileClass(enum.Enum):
    """What a layer's output at one position depends on at inference."""

    POINTWISE = "pointwise"
    """Only on that position: tiles with a halo give the result of the whole image."""
    FROZEN_AFFINE = "frozen affine"
    """Only on that position, through constants from training that fold into a convolution."""
    WHOLE_IMAGE = "whole image"
    """On the whole image: a tile would give another result, whatever its halo."""


@dataclass(frozen=True)
class NormInfo:
    """What the rest of the package needs to know about a normalisation layer.

    Args:
        layer: the layer's class, or its place as ``module:class``, imported when it is built.
            A frozen affine layer has a method ``scale_and_shift()`` that returns two tensors (C,).
        tile: what the output depends on at inference.
        summary: one line for readers.
        own_nonlinearity: the layer is nonlinear by itself. The transforms put LeakyReLU(0.1) after
            the others; without it a codec with frozen affine layers would be linear.
        needs_batch_statistics: in training the output depends on the other images of the batch.
        minimum_batch: smallest training batch; a smaller one raises ValueError.
        state: the tensors of the layer in a model file: their names, and of each the axes, C or a
            number. None if they depend on options, or are unknown: then only the layer checks them.
    """

    layer: str | Callable[..., nn.Module]
    tile: TileClass
    summary: str
    own_nonlinearity: bool = False
    needs_batch_statistics: bool = False
    minimum_batch: int = 1
    state: State | None = None

    def load(self) -> Callable[..., nn.Module]:
        """Return the layer's class, importing its module if needed."""
        if not isinstance(self.layer, str):
            return self.layer
        module, _, name = self.layer.partition(":")
        layer: Callable[..., nn.Module] = getattr(importlib.import_module(module), name)
        return layer


NORMS: dict[str, NormInfo] = {
    "gdn": NormInfo(
        "gdncodec.norms.gdn:GDN",
        TileClass.POINTWISE,
        "divisive, x / sqrt(beta + gamma x^2)",
        own_nonlinearity=True,
        state={"beta": ("C",), "gamma": ("C", "C")},
    ),
    "gdn1": NormInfo(
        "gdncodec.norms.gdn:GDN1",
        TileClass.POINTWISE,
        "divisive without the root, x / (beta + gamma |x|)",
        own_nonlinearity=True,
        state={"beta": ("C",), "gamma": ("C", "C")},
    ),
    "none": NormInfo(
        "gdncodec.norms.none:NoNorm", TileClass.POINTWISE, "no normalisation", state={}
    ),
    "channel": NormInfo(
        "gdncodec.norms.channel:ChannelNorm",
        TileClass.POINTWISE,
        "mean and variance across channels at each position",
        state=_AFFINE,
    ),
    "batch": NormInfo(
        "gdncodec.norms.batch:BatchNorm",
        TileClass.FROZEN_AFFINE,
        "mean and variance of the batch",
        needs_batch_statistics=True,
        state={**_AFFINE, **_RUNNING},
    ),
    "layer": NormInfo(
        "gdncodec.norms.group:LayerNorm",
        TileClass.WHOLE_IMAGE,
        "mean and variance of the image",
        state=_AFFINE,
    ),
    "instance": NormInfo(
        "gdncodec.norms.group:InstanceNorm",
        TileClass.WHOLE_IMAGE,
        "mean and variance of each channel",
        state=_AFFINE,
    ),
    "group": NormInfo(
        "gdncodec.norms.group:GroupNorm",
        TileClass.WHOLE_IMAGE,
        "mean and variance of groups of channels",
        state=_AFFINE,
    ),
    "frn": NormInfo(
        "gdncodec.norms.frn:FilterResponseNorm",
        TileClass.WHOLE_IMAGE,
        "root mean square of each channel, and a threshold",
        own_nonlinearity=True,
    ),
    "mabn": NormInfo(
        "gdncodec.norms.mabn:MABN",
        TileClass.FROZEN_AFFINE,
        "root mean square of the last batches",
        needs_batch_statistics=True,
    ),
    "switchable": NormInfo(
        "gdncodec.norms.switchable:SwitchableNorm",
        TileClass.WHOLE_IMAGE,
        "learned mix of instance, layer and batch",
        needs_batch_statistics=True,
        state={**_AFFINE, **_RUNNING, "mean_weight": (3,), "var_weight": (3,)},
    ),
    "selfnorm": NormInfo(
        "gdncodec.norms.selfnorm:SelfNorm",
        TileClass.WHOLE_IMAGE,
        "gates from mean and deviation of each channel",
        needs_batch_statistics=True,
        minimum_batch=2,
        state={f"g.{name}": axes for name, axes in _GATE.items()},
    ),
    "crossnorm": NormInfo(
        "gdncodec.norms.crossnorm:CrossNorm",
        TileClass.POINTWISE,
        "statistics swapped within the batch, in training only",
        needs_batch_statistics=True,
        state={},
    ),
    "sncn": NormInfo(
        "gdncodec.norms.sncn:SNCN",
        TileClass.WHOLE_IMAGE,
        "crossnorm, then selfnorm",
        needs_batch_statistics=True,
        minimum_batch=2,
        state={f"self_norm.g.{name}": axes for name, axes in _GATE.items()},
    ),
}
"""Every norm by its name."""


def parse_norm(spec: str) -> tuple[str, dict[str, str]]:
    """Split ``name:option=value,...`` into the name and the options, with values as text.

    Raises:
        UsageError: there is no norm of that name, or the text is malformed.
    """
    name, colon, rest = spec.partition(":")
    if name not in NORMS:
        msg = f"unknown norm {name!r}; choose one of {', '.join(NORMS)}"
        raise UsageError(msg)
    options: dict[str, str] = {}
    for item in rest.split(",") if colon else ():
        key, _, value = item.partition("=")
        if not key or not value or key in options:
            msg = f"norm {spec!r}: expected {name}:option=value,option=value, each option once"
            raise UsageError(msg)
        options[key] = value
    return name, options


def norm_info(spec: str) -> NormInfo:
    """Return the entry of the norm in a specification, without importing its layer.

    Raises:
        UsageError: there is no norm of that name, or the text is malformed.
    """
    return NORMS[parse_norm(spec)[0]]


def make_norm(spec: str, channels: int, *, inverse: bool = False) -> nn.Module:
    """Build a normalisation layer.

    Args:
        spec: name and options, as in ``frn:learnable_eps=true``.
        channels: number of channels.
        inverse: the form for the synthesis transform.

    Raises:
        UsageError: the name, an option or its value is unknown.
    """
    name, texts = parse_norm(spec)
    layer = NORMS[name].load()
    defaults = {
        p.name: p
        for p in inspect.signature(layer).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name != "inverse"
    }
    options = {}
    for key, text in texts.items():
        if key not in defaults:
            msg = f"norm {name} has no option {key!r}; it has {', '.join(defaults) or 'none'}"
            raise UsageError(msg)
        options[key] = value = _convert(f"{name}:{key}", text, defaults[key])
        if value is not None and not isinstance(value, str):
            _check_range(name, key, value, text)
    return layer(channels, inverse=inverse, **options)


def check_options(spec: str) -> None:
    """Check the values of a norm's options that have ranges, without importing its layer.

    Raises:
        UsageError: there is no such norm, or a value is out of its range.
    """
    name, options = parse_norm(spec)
    for key, text in options.items():
        if key not in _RANGES or text.lower() == "none":
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        _check_range(name, key, value, text)


def _check_range(name: str, key: str, value: float, text: str) -> None:
    low, high = _RANGES.get(key, (-_LARGEST, _LARGEST))
    if not low <= value <= high:
        msg = f"norm option {name}:{key} must be from {low:g} to {high:g}, got {text}"
        raise UsageError(msg)


_LARGEST = 1 << 20

_RANGES = {
    "eps": (1e-15, 1),
    "beta_min": (0, 1),
    "gamma_init": (0, 1),
    "momentum": (0, 1),
    "warmup": (0, 1 << 31),
    "window": (0, 1 << 16),
    "places": (0, 64),
}
"""Smallest and largest value of options, by name; options without an entry may be any number."""


def _convert(option: str, text: str, parameter: inspect.Parameter) -> Any:
    """Convert an option's value to the type of its default, or to None where that is allowed."""
    if text.lower() == "none" and "None" in str(parameter.annotation):
        return None
    kind = type(parameter.default)
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        wanted = "true or false" if kind is bool else f"a value of type {kind.__name__}"
        msg = f"norm option {option} must be {wanted}, got {text!r}"
        raise UsageError(msg) from None
