"""One interface to all codecs that can be measured, and specs by which any process opens them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gdncodec.catalog import find_model
from gdncodec.config import QUALITY_LAMBDAS
from gdncodec.errors import ModelError
from gdncodec.evaluation.anchors import find_anchor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gdncodec.codec import Codec
    from gdncodec.images.raster import RasterImage

__all__ = [
    "CodecSpec",
    "LearnedCodec",
    "MeasuredCodec",
    "model_spec",
    "open_codec",
]

DEFAULT_QUALITIES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
"""Qualities that draw the curve of a model of variable rate."""


class MeasuredCodec(Protocol):
    """What the evaluation needs of a codec."""

    @property
    def name(self) -> str:
        """Short, for the command line and file names."""

    @property
    def label(self) -> str:
        """For tables and plots."""

    @property
    def quality_range(self) -> tuple[float, float]:
        """Smallest and largest quality."""

    @property
    def step(self) -> float:
        """Smallest useful difference between two qualities; 0 if only ``qualities`` exist."""

    @property
    def qualities(self) -> tuple[float, ...]:
        """Qualities that draw its curve."""

    def description(self) -> str:
        """Return the settings and versions, in one line."""

    def encode(self, image: RasterImage, quality: float) -> bytes:
        """Return the bytes of a whole file."""

    def decode(self, data: bytes) -> NDArray[Any]:
        """Return the image, uint8 (H, W, 3)."""

    def estimated_bits(self, data: bytes) -> float | None:
        """Return the bits of the latents in a file according to the entropy model, or None."""


@dataclass(frozen=True)
class CodecSpec:
    """A codec by name, so that another process can open the same one.

    Args:
        kind: ``anchor``, ``model`` or ``compressai``.
        name: short and unique in one evaluation; names files.
        sources: name of an anchor; paths of model files; an architecture and its checkpoints.
        device: torch device of a learned codec.
        engine: what runs a model of this package.
        threads: number of its CPU threads.
        fast: use the faster settings of an anchor.
        norm: normalisation layer of a model.
        effort: of a model of this package, 0 to 9; None takes the default.
    """

    kind: str
    name: str
    sources: tuple[str, ...]
    device: str | None = None
    engine: str = "auto"
    threads: int | None = None
    fast: bool = False
    norm: str | None = None
    effort: int | None = None

    @property
    def learned(self) -> bool:
        return self.kind != "anchor"

    def key(self, description: str) -> str:
        """Return a key that changes with the settings, versions and weights of this codec."""
        digest = hashlib.sha256(json.dumps([self.kind, self.device, description]).encode())
        for source in self.sources:
            path = Path(source)
            # A fingerprint covers only the decoder; another encoder makes other files.
            digest.update(path.read_bytes() if self.learned and path.is_file() else source.encode())
        return digest.hexdigest()[:16]


class LearnedCodec:
    """One model of this package, or several of one rate that make a curve together.

    Args:
        name: its name in the results.
        sources: names or paths of the models.
        device: a torch device; None takes the CPU.
        effort: 0 to 9, how long the encoder looks for better symbols; None takes the default.
        engine: what runs the models, see :data:`gdncodec.engines.choice.ENGINES`.
        threads: number of CPU threads; None leaves it to the engine.

    Raises:
        ModelError: there is no such model; or several are given and one has a variable rate.
    """

    def __init__(
        self,
        name: str,
        sources: tuple[str, ...],
        device: str | None = None,
        effort: int | None = None,
        engine: str = "auto",
        threads: int | None = None,
    ) -> None:
        from gdncodec.codec import Codec

        self.name = self.label = name
        self._codecs = [
            Codec(find_model(source), device, engine=engine, threads=threads) for source in sources
        ]
        fixed = [codec.entry.config.fixed_quality for codec in self._codecs]
        if len(sources) > 1 and None in fixed:
            msg = f"{name}: only models of one rate make a curve together, {sources} are not"
            raise ModelError(msg)
        self._fixed = {
            q: codec for q, codec in zip(fixed, self._codecs, strict=True) if q is not None
        }
        if len(self._fixed) < len(sources) > 1:
            msg = f"{name}: two of the models have the same rate"
            raise ModelError(msg)
        ends = sorted(self._fixed)
        self.quality_range = (ends[0], ends[-1]) if ends else (0.0, 100.0)
        self.step = 0.0 if ends else 0.01
        self._device = device
        self._effort = effort

    @property
    def qualities(self) -> tuple[float, ...]:
        return tuple(sorted(self._fixed)) or DEFAULT_QUALITIES

    def description(self) -> str:
        from gdncodec._version import __version__

        models = ", ".join(f"{c.entry.name} {c.entry.fingerprint.hex()}" for c in self._codecs)
        config = self._codecs[0].entry.config
        low, high = QUALITY_LAMBDAS[config.metric]
        lambdas = f"lambda {low:g} to {high:g} for {config.metric} at quality 0 to 100"
        effort = "default effort" if self._effort is None else f"effort {self._effort}"
        return (
            f"gdncodec {__version__}, {models}; {config.norm} norm, {config.latent_channels} "
            f"latent channels; {lambdas}; {effort}; {self._codecs[0].engine.name}, "
            f"{self._device or 'cpu'}"
        )

    def encode(self, image: RasterImage, quality: float) -> bytes:
        return self._codec_at(quality).compress(image, quality, effort=self._effort)

    def decode(self, data: bytes) -> NDArray[Any]:
        pixels: NDArray[Any] = self._codec_of(data).decompress(data).pixels
        return pixels

    def estimated_bits(self, data: bytes) -> float | None:
        return self._codec_of(data).estimated_bits(data)

    def _codec_at(self, quality: float) -> Codec:
        if not self._fixed:
            return self._codecs[0]
        return self._fixed[min(self._fixed, key=lambda fixed: abs(fixed - quality))]

    def _codec_of(self, data: bytes) -> Codec:
        from gdncodec.container import unpack_header

        fingerprint = unpack_header(data).fingerprint
        return next(
            (c for c in self._codecs if c.entry.fingerprint == fingerprint), self._codecs[0]
        )


def model_spec(
    text: str,
    *,
    device: str | None = None,
    effort: int | None = None,
    engine: str = "auto",
    threads: int | None = None,
) -> CodecSpec:
    """Return the spec of a model as given on the command line.

    Args:
        text: ``NAME``, ``FILE``, or ``LABEL=FILE,FILE,...`` for models of one rate that make one
            curve, or ``LABEL=compressai:ARCHITECTURE:FILE,FILE,...`` for checkpoints of CompressAI.
        device: a torch device; None takes the CPU.
        effort: of a model of this package; it is added to the name, as in ``photo-e5``.
        engine: what runs a model of this package.
        threads: number of its CPU threads.

    Raises:
        ModelError: there is no such model or checkpoint.
    """
    label, separator, rest = text.partition("=")
    if not separator:
        label, rest = "", text
    if rest.startswith("compressai:"):
        architecture, _, files = rest.removeprefix("compressai:").partition(":")
        paths = [str(Path(file).resolve()) for file in files.split(",") if file]
        for path in paths:
            if not Path(path).is_file():
                msg = f"{path}: no such checkpoint"
                raise ModelError(msg)
        if not paths:
            msg = f"expected compressai:ARCHITECTURE:FILE,..., got {rest!r}"
            raise ModelError(msg)
        return CodecSpec("compressai", label or architecture, (architecture, *paths), device)
    entries = [find_model(source or None) for source in rest.split(",")]
    sources = tuple(str(entry.path.resolve()) for entry in entries)
    norm = entries[0].config.norm
    name = label or entries[0].name
    name = name if effort is None else f"{name}-e{effort}"
    return CodecSpec("model", name, sources, device, engine, threads, norm=norm, effort=effort)


def open_codec(spec: CodecSpec) -> MeasuredCodec:
    """Load the codec of a spec.

    Raises:
        GdnCodecError: a model or checkpoint is unusable, or an anchor is not installed.
        ValueError: no such anchor, or the device cannot be used.
    """
    if spec.kind == "anchor":
        return find_anchor(spec.name, fast=spec.fast)
    if spec.kind == "model":
        return LearnedCodec(
            spec.name, spec.sources, spec.device, spec.effort, spec.engine, spec.threads
        )
    from gdncodec.compressai.measured import CompressAICodec

    return CompressAICodec(spec.name, spec.sources[0], spec.sources[1:], spec.device)
