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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gdncodec.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["NORMS", "NormInfo", "TileClass", "make_norm", "norm_info", "parse_norm"]


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
    """

    layer: str | Callable[..., nn.Module]
    tile: TileClass
    summary: str
    own_nonlinearity: bool = False
    needs_batch_statistics: bool = False
    minimum_batch: int = 1

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
    ),
    "gdn1": NormInfo(
        "gdncodec.norms.gdn:GDN1",
        TileClass.POINTWISE,
        "divisive without the root, x / (beta + gamma |x|)",
        own_nonlinearity=True,
    ),
    "none": NormInfo("gdncodec.norms.none:NoNorm", TileClass.POINTWISE, "no normalisation"),
    "channel": NormInfo(
        "gdncodec.norms.channel:ChannelNorm",
        TileClass.POINTWISE,
        "mean and variance across channels at each position",
    ),
    "batch": NormInfo(
        "gdncodec.norms.batch:BatchNorm",
        TileClass.FROZEN_AFFINE,
        "mean and variance of the batch",
        needs_batch_statistics=True,
    ),
    "layer": NormInfo(
        "gdncodec.norms.group:LayerNorm", TileClass.WHOLE_IMAGE, "mean and variance of the image"
    ),
    "instance": NormInfo(
        "gdncodec.norms.group:InstanceNorm",
        TileClass.WHOLE_IMAGE,
        "mean and variance of each channel",
    ),
    "group": NormInfo(
        "gdncodec.norms.group:GroupNorm",
        TileClass.WHOLE_IMAGE,
        "mean and variance of groups of channels",
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
    ),
    "selfnorm": NormInfo(
        "gdncodec.norms.selfnorm:SelfNorm",
        TileClass.WHOLE_IMAGE,
        "gates from mean and deviation of each channel",
        needs_batch_statistics=True,
        minimum_batch=2,
    ),
    "crossnorm": NormInfo(
        "gdncodec.norms.crossnorm:CrossNorm",
        TileClass.POINTWISE,
        "statistics swapped within the batch, in training only",
        needs_batch_statistics=True,
    ),
    "sncn": NormInfo(
        "gdncodec.norms.sncn:SNCN",
        TileClass.WHOLE_IMAGE,
        "crossnorm, then selfnorm",
        needs_batch_statistics=True,
        minimum_batch=2,
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
        low, high = _RANGES.get(key, (-_LARGEST, _LARGEST))
        if value is not None and not isinstance(value, str) and not low <= value <= high:
            msg = f"norm option {name}:{key} must be from {low:g} to {high:g}, got {text}"
            raise UsageError(msg)
    return layer(channels, inverse=inverse, **options)


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
