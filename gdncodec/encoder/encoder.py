"""From an image to bytes.

::

    image -> pad -> analysis -> * gain, round -> coder -> container -> bytes
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.config import DEFAULT_EFFORT, DEFAULT_QUALITY
from gdncodec.container import ChunkType, Header, join_slices, metadata_chunks, pack
from gdncodec.encoder.fidelity import fidelity, regions
from gdncodec.encoder.refinement import STEPS, Edges, refine
from gdncodec.encoder.targets import search
from gdncodec.errors import ImageError, UsageError
from gdncodec.images.alpha import pack_alpha
from gdncodec.threads import beside
from gdncodec.tiles.geometry import Region, in_pixels, latent_shape, slices
from gdncodec.tiles.transforms import MAX_WHOLE_PIXELS, Progress, Tiling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from gdncodec.decoder import Decoder
    from gdncodec.encoder.targets import Target
    from gdncodec.engines import Engine
    from gdncodec.images.raster import RasterImage
    from gdncodec.modelfile import Model, OperatingPoint

__all__ = ["Encoder"]


class Encoder:
    """Makes files with one model.

    Args:
        model: the model.
        engine: runs its transforms.
        decoder: of the same model; it shows what an image target would get.
        name: what messages call the model.
    """

    def __init__(self, model: Model, engine: Engine, decoder: Decoder, name: str) -> None:
        self._model, self._engine, self._decoder = model, engine, decoder
        self._name = name
        self._tiling = Tiling(model.config)

    def compress(
        self,
        image: RasterImage,
        quality: float | None = None,
        *,
        effort: int | None = None,
        progress: Progress | None = None,
    ) -> bytes:
        """See :meth:`gdncodec.codec.Codec.compress`."""
        point = self._model.at(self._checked_quality(quality))
        self._check_size(image)
        symbols = self._symbols(image, point, self._steps(effort), progress)
        return self._file(image, point, symbols, _other_chunks(image))

    def compress_to(
        self,
        image: RasterImage,
        target: Target,
        *,
        effort: int | None = None,
        on_trial: Callable[[int], None] | None = None,
    ) -> bytes:
        """See :meth:`gdncodec.codec.Codec.compress_to`."""
        if self._model.config.fixed_quality is not None:
            wanted = target.text(target.value)
            msg = f"model {self._name} cannot aim at {wanted}: it has one rate"
            raise UsageError(msg)
        self._check_size(image)
        encode = partial(self._symbols, image, steps=self._steps(effort))
        write = partial(self._file, image, others=_other_chunks(image))
        height, width, _ = image.pixels.shape
        units_per_byte = 1 if target.unit == "bytes" else 8 / (height * width)
        trials = count(1)
        files: dict[float, bytes] = {}
        last: dict[float, list[NDArray[np.signedinteger[Any]]]] = {}

        def measure(quality: float) -> float:
            if on_trial:
                on_trial(next(trials))
            point = self._model.at(quality)
            if target.is_size:
                files[quality] = write(point, encode(point))
                return len(files[quality]) * units_per_byte
            last.clear()
            last[quality] = [_compact(k) for k in encode(point)]
            header = self._header(image, point)
            decode = partial(self._decoder.pixels, header, last[quality].__getitem__)
            whole = [Region(0, 0, width, height)]  # what cannot be decoded in parts
            parts = whole if self._tiling.whole_synthesis else regions(height, width)
            return fidelity(image.pixels, decode, parts, target.measure)

        quality = search(measure, target)
        if quality in files:
            return files[quality]
        point = self._model.at(quality)
        return write(point, last.get(quality) or encode(point))

    def _file(
        self,
        image: RasterImage,
        point: OperatingPoint,
        symbols: Iterable[NDArray[np.signedinteger[Any]]],
        others: dict[ChunkType, bytes],
    ) -> bytes:
        """Return the file of the slices of symbols and the chunks besides the latents."""
        alone = self._engine.threads == 1
        coded = (map if alone else beside)(point.encode, symbols)
        latents = join_slices(list(coded))
        return pack(self._header(image, point), {ChunkType.LATENTS: latents, **others})

    def _header(self, image: RasterImage, point: OperatingPoint) -> Header:
        height, width, _ = image.pixels.shape
        fingerprint = self._model.fingerprint
        return Header(image.color_mode, image.depth, point.quality, fingerprint, width, height)

    def _symbols(
        self,
        image: RasterImage,
        point: OperatingPoint,
        steps: int,
        progress: Progress | None = None,
    ) -> Iterator[NDArray[np.int32]]:
        """Yield the symbols of an image, slice by slice."""
        pixels = image.pixels
        rows, columns = latent_shape(*pixels.shape[:2])
        transforms = self._engine.at(point.quality, pixels[..., 0].size)
        latents = self._tiling.latents(pixels, transforms, progress)
        for where, y in zip(slices(rows, columns), latents, strict=True):
            down, across = where
            ends = down.start == 0, down.stop == rows, across.start == 0, across.stop == columns
            part = pixels[in_pixels(where)]
            yield refine(y, part, point, transforms, steps=steps, edges=Edges(*ends))

    def _steps(self, effort: int | None) -> int:
        """Return the steps of :mod:`gdncodec.encoder.refinement`."""
        possible = self._model.config.metric == "mse" and not self._tiling.whole_synthesis
        if effort is None:
            return STEPS[DEFAULT_EFFORT] if possible else 0
        if effort not in range(len(STEPS)):
            msg = f"effort must be from 0 to {len(STEPS) - 1}, got {effort}"
            raise UsageError(msg)
        if effort and not possible:
            msg = (
                f"model {self._name} allows effort 0 only: more needs one that is trained on "
                "mse and whose synthesis is local"
            )
            raise UsageError(msg)
        return STEPS[effort]

    def _check_size(self, image: RasterImage) -> None:
        height, width, _ = image.pixels.shape
        if not self._tiling.accepts(height, width):
            msg = (
                f"{width} x {height} pixels are over the limit of {MAX_WHOLE_PIXELS:,} of model "
                f"{self._name}, whose norm measures all of an image; use a model with a "
                "local norm, such as gdn1"
            )
            raise ImageError(msg)

    def _checked_quality(self, quality: float | None) -> float:
        fixed = self._model.config.fixed_quality
        if quality is None:
            return DEFAULT_QUALITY if fixed is None else fixed
        if not isinstance(quality, int | float) or not 0 <= quality <= 100:
            msg = f"quality must be from 0 to 100, got {quality}"
            raise UsageError(msg)
        quality = round(float(quality), 2)
        if fixed is not None and quality != fixed:
            msg = f"model {self._name} has one rate, quality {fixed:g}; leave the quality out"
            raise UsageError(msg)
        return quality


def _other_chunks(image: RasterImage) -> dict[ChunkType, bytes]:
    """Return what the file of an image holds besides the latents."""
    chunks = metadata_chunks(**asdict(image.metadata))
    if image.alpha is not None:
        chunks[ChunkType.ALPHA] = pack_alpha(image.alpha)
    return chunks


def _compact(symbols: NDArray[np.int32]) -> NDArray[np.signedinteger[Any]]:
    """Return symbols in 16 bits if they fit: those of a large image take much memory."""
    fits = np.abs(symbols).max() <= np.iinfo(np.int16).max
    return symbols.astype(np.int16) if fits else symbols
