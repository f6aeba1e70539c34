"""The configuration of a codec, as written into its model file, and defaults."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from gdncodec.errors import ModelError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "DEFAULT_EFFORT",
    "DEFAULT_QUALITY",
    "DOWNSAMPLING",
    "MAX_PIXELS",
    "MID_GREY",
    "QUALITY_LAMBDAS",
    "Metric",
    "ModelConfig",
    "Padding",
    "quality_at",
    "rate_position",
]

Metric = Literal["mse", "ms-ssim"]

Padding = Literal["replicate", "zeros"]

_Quality = TypeVar("_Quality", float, "Tensor")

DEFAULT_QUALITY = 50.0
"""Of 0 to 100."""

DEFAULT_EFFORT = 0
"""Of 0 to 9; see :mod:`gdncodec.encoder.refinement`."""

MAX_PIXELS = 1 << 28
"""Default limit on the pixels of an image: 268 megapixels."""

DOWNSAMPLING = 16
"""Pixels along one side of a latent position: four stages of stride 2."""

MID_GREY = 0.5
"""Usual offset of the pixels: mid-grey is then zero."""

QUALITY_LAMBDAS: dict[Metric, tuple[float, float]] = {
    "mse": (0.0013, 0.22),
    "ms-ssim": (1.74, 268.0),
}
"""The lambdas of quality 0 and quality 100, by the metric on which a codec is trained.

Those of MS-SSIM correspond to the others as in CompressAI's two sets of lambdas.
"""

_BEND = 0.3
"""A step of 1 in quality is 1 - _BEND mean steps of log lambda at 0, and 1 + _BEND at 100.

A step of lambda changes the size of a file more at low rates than at high ones. Bent like this, a
step of 1 in quality changes it by about the same percentage everywhere.
"""


def rate_position(quality: _Quality) -> _Quality:
    """Return the position of a quality in the range of log lambda.

    That is ``t * (1 - b + b * t)`` with t = quality / 100 and b = 0.3: 0 at quality 0, 1 at quality
    100, rising from quality -10 to 110.

    Args:
        quality: a number, or an array or tensor of any shape.
    """
    t = quality / 100
    return t * (1 - _BEND + _BEND * t)


def quality_at(place: float) -> float:
    """Return the quality at a position from 0 to 1; the inverse of :func:`rate_position`."""
    straight = 1 - _BEND
    return 100 * (math.sqrt(straight**2 + 4 * _BEND * place) - straight) / (2 * _BEND)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < 1e9


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture and rate range of one codec.

    Args:
        norm: normalisation layer of the analysis transform, with its options, as
            :func:`gdncodec.norms.make_norm` takes it.
        synthesis_norm: normalisation layer of the synthesis transform, in its inverse form.
        widths: channels after the first three analysis convolutions.
        synthesis_widths: the same for the synthesis, in the order of the analysis.
        latent_channels: channels M of the latent, 1 to 1024.
        lambdas: of quality 0 and quality 100, for the loss ``bpp + lambda *
            distortion``; two equal numbers make a codec of one rate.
        gain_nodes: number of qualities, evenly spaced in log lambda, at which the parameters that
            depend on the quality are learned.
        folded: norms that are constants at inference are part of the convolutions, as in exported
            models; see :func:`gdncodec.nn.inference.fold`.
        pixel_offset: subtracted from the pixels, 0 to 1, before the analysis, and added after the
            synthesis; differs from MID_GREY only in codecs that were trained elsewhere.
        padding: how the input of every convolution is padded: with its outermost values
            (``replicate``), so that a flat image has a flat latent, or with ``zeros``.
        metric: the distortion: ``mse`` is ``255^2 * MSE`` with MSE on [0, 1], ``ms-ssim`` is
            ``1 - MS-SSIM``.

    Raises:
        UsageError: a value is out of its range.
    """

    norm: str = "gdn1"
    synthesis_norm: str = "gdn1"
    widths: tuple[int, int, int] = (48, 96, 160)
    synthesis_widths: tuple[int, int, int] = (48, 96, 160)
    latent_channels: int = 320
    lambdas: tuple[float, float] = QUALITY_LAMBDAS["mse"]
    gain_nodes: int = 6
    folded: bool = False
    pixel_offset: float = MID_GREY
    padding: Padding = "replicate"
    metric: Metric = "mse"

    def __post_init__(self) -> None:
        for name in ("norm", "synthesis_norm"):
            if not isinstance(getattr(self, name), str):
                msg = f"{name} must be a text, got {getattr(self, name)!r}"
                raise UsageError(msg)
            if not getattr(self, name).isprintable():
                msg = f"{name} must be printable text, got {getattr(self, name)!r}"
                raise UsageError(msg)
        if type(self.folded) is not bool:
            msg = f"folded must be true or false, got {self.folded!r}"
            raise UsageError(msg)
        for name in ("widths", "synthesis_widths"):
            widths = getattr(self, name)
            if len(widths) != 3 or not all(type(n) is int and 1 <= n <= 1024 for n in widths):
                msg = f"{name} must be three numbers from 1 to 1024, got {widths}"
                raise UsageError(msg)
        for name in ("latent_channels", "gain_nodes"):
            if type(getattr(self, name)) is not int:
                msg = f"{name} must be a whole number, got {getattr(self, name)!r}"
                raise UsageError(msg)
        pair = isinstance(self.lambdas, tuple) and len(self.lambdas) == 2
        if not pair or not all(_is_number(value) for value in self.lambdas):
            msg = f"lambdas must be two numbers, got {self.lambdas!r}"
            raise UsageError(msg)
        if not _is_number(self.pixel_offset):
            msg = f"pixel_offset must be a number, got {self.pixel_offset!r}"
            raise UsageError(msg)
        if not 1 <= self.latent_channels <= 1024:
            msg = f"latent_channels must be from 1 to 1024, got {self.latent_channels}"
            raise UsageError(msg)
        for name, kind in (("padding", Padding), ("metric", Metric)):
            if getattr(self, name) not in get_args(kind):
                allowed = ", ".join(get_args(kind))
                msg = f"{name} must be one of {allowed}, got {getattr(self, name)!r}"
                raise UsageError(msg)
        low, high = self.lambdas
        if not (math.isfinite(high) and 0 < low <= high):
            msg = f"lambdas must be finite with 0 < low <= high, got {self.lambdas}"
            raise UsageError(msg)
        if not 2 <= self.gain_nodes <= 101:
            msg = f"gain_nodes must be from 2 to 101, got {self.gain_nodes}"
            raise UsageError(msg)
        if not 0 <= self.pixel_offset <= 1:
            msg = f"pixel_offset must be from 0 to 1, got {self.pixel_offset}"
            raise UsageError(msg)

    @property
    def fixed_quality(self) -> float | None:
        """The only quality of a one-rate codec, on the scale of its QUALITY_LAMBDAS; else None."""
        low, high = self.lambdas
        if low < high:
            return None
        first, last = QUALITY_LAMBDAS[self.metric]
        part = math.log(low / first) / math.log(last / first)
        return round(quality_at(min(max(part, 0.0), 1.0)), 2)

    def lambda_at(self, quality: _Quality) -> _Quality:
        """Return lambda at a quality, or at a tensor of them: see :func:`rate_position`."""
        low, high = self.lambdas
        return low * (high / low) ** rate_position(quality)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read what :meth:`to_json` wrote.

        Raises:
            ModelError: the text is not a configuration, or one of another version.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            pairs: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
            }
            if "padding" not in pairs:
                msg = "made by an older version of gdncodec"
                raise ValueError(msg)
            return cls(**pairs)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            msg = f"the model file has no usable configuration: {error}"
            raise ModelError(msg) from error
