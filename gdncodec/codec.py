"""From image to bytes and back: the only file that sees all stages.

::

    compress:   image -> pad -> analysis -> * gain, round -> coder -> container -> bytes
    decompress: bytes -> container -> coder -> * inverse gain -> synthesis -> crop -> image
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from gdncodec.catalog import ModelEntry, find_model
from gdncodec.container import (
    ChunkType,
    ColorMode,
    Container,
    Header,
    join_slices,
    metadata_chunks,
    metadata_fields,
    pack,
    split_slices,
    unpack,
)
from gdncodec.encoder.fidelity import fidelity
from gdncodec.encoder.refinement import ROUNDS, Edges, refine
from gdncodec.encoder.targets import Target, search
from gdncodec.engines.torch import TorchEngine
from gdncodec.entropy.coder import MAX_SYMBOL
from gdncodec.errors import FormatError, ImageError, ModelError
from gdncodec.images.alpha import pack_alpha, unpack_alpha
from gdncodec.images.raster import Metadata, RasterImage
from gdncodec.images.writing import as_image, pillow_mode
from gdncodec.modelfile import load_model
from gdncodec.norms import norm_info
from gdncodec.tiles.geometry import Rectangle, Region, in_pixels, latent_shape, slices
from gdncodec.tiles.transforms import MAX_WHOLE_PIXELS, Progress, TiledTransforms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["DEFAULT_EFFORT", "DEFAULT_QUALITY", "MAX_PIXELS", "Codec"]

DEFAULT_QUALITY = 50.0

DEFAULT_EFFORT = 0
"""Of 0 to 9; see :mod:`gdncodec.encoder.refinement`."""

MAX_PIXELS = 1 << 28
"""Largest image that is decoded unless the caller raises it: 268 megapixels."""

_LUMA = (19595, 38470, 7471)
"""Weights of R, G and B out of 65536, as in Pillow's conversion to grey (ITU-R BT.601)."""


class _Slice(NamedTuple):
    data: bytes
    size: tuple[int, int]
    """Rows and columns of latent positions."""


class _Decoding(NamedTuple):
    """A file on its way to pixels."""

    header: Header
    region: Region
    parts: Iterator[tuple[Rectangle, NDArray[Any]]]
    """Rows and columns in the region, and their pixels; see :meth:`Codec._parts`."""
    alpha: NDArray[np.uint8] | None
    metadata: Metadata


class _Encoding(NamedTuple):
    """An image on its way to bytes."""

    image: RasterImage
    extra: dict[ChunkType, bytes]
    """What the file holds besides the latents."""
    rounds: int
    """How often symbols are moved; see :mod:`gdncodec.encoder.refinement`."""
    progress: Progress | None


class Codec:
    """One loaded model on one device.

    Args:
        model: name or path of a model; None takes the default model.
        device: a torch device; None takes the CPU.

    Raises:
        ModelError: there is no such model, or it is damaged.
        ValueError: the device cannot be used.
    """

    def __init__(
        self, model: str | Path | ModelEntry | None = None, device: str | None = None
    ) -> None:
        self.entry = model if isinstance(model, ModelEntry) else find_model(model)
        self._model = load_model(self.entry)
        config = self._model.config
        try:
            norm_info(config.norm)
            norm_info(config.synthesis_norm)
        except ValueError as error:
            msg = f"model {self.entry.name} cannot be used: {error}"
            raise ModelError(msg) from error
        self._engine = TorchEngine(self._model, device)
        self._transforms = TiledTransforms(self._engine, config)

    def compress(
        self,
        image: RasterImage,
        quality: float | None = None,
        *,
        target: Target | None = None,
        progress: Progress | None = None,
        on_trial: Callable[[int], None] | None = None,
        effort: int | None = None,
    ) -> bytes:
        """Return the bytes of a ``.gdn`` file.

        Args:
            image: what to compress.
            quality: 0 to 100, rounded to hundredths; None takes 50, or the only quality of a
                model of one rate.
            target: look for the quality that meets it, instead of taking one.
            progress: called with the number of tiles analysed and of all tiles, without a target.
            on_trial: called with the number of each trial, from 1, that looks for a quality.
            effort: 0 to 9, how long to look for better symbols, see
                :mod:`gdncodec.encoder.refinement`; None takes DEFAULT_EFFORT, or 0 with a model for
                which only that is possible.

        Raises:
            ImageError: the image is too large for a model that measures all of an image.
            ValueError: the quality is out of range, or not the model's only one; or no quality
                meets the target.
        """
        quality = self._checked_quality(quality, target)
        height, width, _ = image.pixels.shape
        if not self._transforms.accepts(height, width):
            msg = (
                f"{width} x {height} pixels are over the limit of {MAX_WHOLE_PIXELS} of model "
                f"{self.entry.name}, whose norm measures all of an image; use a model with a "
                "local norm, such as gdn1"
            )
            raise ImageError(msg)
        extra = metadata_chunks(**asdict(image.metadata))
        if image.alpha is not None:
            extra[ChunkType.ALPHA] = pack_alpha(image.alpha)
        work = _Encoding(image, extra, self._rounds(effort), None if target else progress)
        if target:
            return self._aimed(work, target, on_trial)
        return self._packed(work, quality, self._symbols(work, quality))

    def decompress(
        self,
        data: bytes,
        *,
        region: Region | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
    ) -> RasterImage:
        """Return the image in the bytes of a ``.gdn`` file, or a region of it.

        Args:
            data: the file.
            region: decode this rectangle alone, from no more slices than it needs.
            max_pixels: refuse larger images before anything is allocated.
            progress: called with the number of tiles done and of all tiles.

        Raises:
            FormatError: the file is damaged, or larger than allowed.
            ModelError: the file was made with another model.
            ValueError: the region is not inside the image, or the model decodes whole images
                only.
        """
        decoding = self._decoding(data, region, max_pixels, progress)
        header, (_, _, width, height) = decoding.header, decoding.region
        dtype = np.uint16 if header.depth == 16 else np.uint8
        bands = 1 if header.color_mode == ColorMode.GREY else 3
        pixels = np.empty((height, width, bands), dtype)
        for where, part in decoding.parts:
            pixels[where] = part
        if bands == 1:
            pixels = np.broadcast_to(pixels, (height, width, 3))
        metadata = decoding.metadata
        return RasterImage(pixels, header.color_mode, metadata, header.depth, decoding.alpha)

    def decompress_image(
        self,
        data: bytes,
        *,
        region: Region | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
    ) -> Image.Image:
        """Return what :meth:`decompress` returns as a Pillow image.

        It goes there tile by tile, so that a large image is in memory once.
        """
        decoding = self._decoding(data, region, max_pixels, progress)
        header, alpha = decoding.header, decoding.alpha
        mode = pillow_mode(header.color_mode, header.depth, alpha=alpha is not None)
        image = Image.new(mode, (decoding.region.width, decoding.region.height))
        for (rows, columns), part in decoding.parts:
            opacity = None if alpha is None else alpha[rows, columns]
            image.paste(as_image(part, opacity, mode), (columns.start, rows.start))
        image.info.update(decoding.metadata.info)
        return image

    def estimated_bits(self, data: bytes) -> float:
        """Return what the model's tables say the latents of a file cost, in bits.

        The coded slices are a little longer: at most a word each, and what the coder loses.
        """
        container = unpack(data)
        header = container.header
        parts = self._checked_parts(container, MAX_PIXELS)
        quality = header.quality
        return sum(
            self._model.slice_information(self._decoded(header, part), quality) for part in parts
        )

    def _decoded(self, header: Header, part: _Slice) -> NDArray[np.int32]:
        """Return the symbols (M, rows, columns) of a slice."""
        return self._model.decode_slice(part.data, part.size, header.quality)

    # Towards bytes.

    def _header(self, image: RasterImage, quality: float) -> Header:
        height, width, _ = image.pixels.shape
        fingerprint = self._model.fingerprint
        return Header(image.color_mode, image.depth, quality, fingerprint, width, height)

    def _packed(
        self, work: _Encoding, quality: float, symbols: Iterable[NDArray[np.signedinteger[Any]]]
    ) -> bytes:
        """Code the slices of symbols, and return the file."""
        coded = [self._model.encode_slice(k, quality) for k in symbols]
        header = self._header(work.image, quality)
        return pack(header, {ChunkType.LATENTS: join_slices(coded), **work.extra})

    def _aimed(
        self, work: _Encoding, target: Target, on_trial: Callable[[int], None] | None
    ) -> bytes:
        """Return the file at the quality that meets the target."""
        files: dict[float, bytes] = {}
        measured: dict[float, list[NDArray[np.signedinteger[Any]]]] = {}  # the last trial alone
        trials = count(1)
        pixels = work.image.pixels
        bits_per_byte = 8 / pixels[..., 0].size
        side = {"side": MAX_WHOLE_PIXELS} if self._transforms.whole_synthesis else {}

        def measure(quality: float) -> float:
            if on_trial:
                on_trial(next(trials))
            if target.is_size:
                files[quality] = self._packed(work, quality, self._symbols(work, quality))
                return len(files[quality]) * (1 if target.unit == "bytes" else bits_per_byte)
            header = self._header(work.image, quality)
            measured.clear()
            measured[quality] = [_compact(k) for k in self._symbols(work, quality)]
            decode = partial(self._parts, header, measured[quality].__getitem__)
            return fidelity(pixels, decode, target.measure, **side)

        quality = search(measure, target)
        if quality in files:
            return files[quality]
        return self._packed(work, quality, measured.get(quality) or self._symbols(work, quality))

    def _symbols(self, work: _Encoding, quality: float) -> Iterator[NDArray[np.int32]]:
        """Yield the symbols of an image, slice by slice."""
        pixels = work.image.pixels
        rows, columns = latent_shape(*pixels.shape[:2])
        latents = self._transforms.latents(pixels, quality, work.progress)
        for where, y in zip(slices(rows, columns), latents, strict=True):
            symbols = self._rounded(y, quality)
            if work.rounds:
                down, across = where
                ends = down.start == 0, down.stop == rows, across.start == 0, across.stop == columns
                part = pixels[in_pixels(where)]
                symbols = self._refined(symbols, part, Edges(*ends), work.rounds, quality)
            yield symbols

    def _refined(
        self,
        symbols: NDArray[np.int32],
        pixels: NDArray[Any],
        edges: Edges,
        rounds: int,
        quality: float,
    ) -> NDArray[np.int32]:
        return refine(
            symbols,
            pixels,
            self._model.inverse_gain(quality),
            self._model.centre,
            self._engine,
            quality,
            lambda k: self._model.slice_prices(k, quality),
            weight=self._model.config.lambda_at(quality) * 255**2 / 3,
            rounds=rounds,
            edges=edges,
        )

    def _rounds(self, effort: int | None) -> int:
        """Return how often symbols are moved."""
        possible = self._model.config.metric == "mse" and not self._transforms.whole_synthesis
        if effort is None:
            return ROUNDS[DEFAULT_EFFORT] if possible else 0
        if effort not in range(len(ROUNDS)):
            msg = f"effort must be from 0 to {len(ROUNDS) - 1}, got {effort}"
            raise ValueError(msg)
        if effort and not possible:
            msg = (
                f"model {self.entry.name} allows effort 0 only: more needs one that is trained on "
                "mse and whose synthesis is local"
            )
            raise ValueError(msg)
        return ROUNDS[effort]

    def _rounded(self, y: NDArray[np.floating[Any]], quality: float) -> NDArray[np.int32]:
        centred = y - self._model.centre[:, None, None]
        rounded = np.rint(centred * self._model.gain(quality)[:, None, None])
        if not np.abs(rounded).max() <= MAX_SYMBOL:  # also catches NaN
            msg = "the model gives latents that are no usable numbers"
            raise ModelError(msg)
        rounded[self._model.silent(quality)] = 0
        return rounded.astype(np.int32)

    def _checked_quality(self, quality: float | None, target: Target | None) -> float:
        fixed = self._model.config.fixed_quality
        if target is not None and (quality is not None or fixed is not None):
            why = "it has one rate" if quality is None else "a quality is given"
            msg = f"model {self.entry.name} cannot aim at {target.value:g} {target.unit}: {why}"
            raise ValueError(msg)
        if quality is None:
            return DEFAULT_QUALITY if fixed is None else fixed
        if not isinstance(quality, int | float) or not 0 <= quality <= 100:
            msg = f"quality must be from 0 to 100, got {quality}"
            raise ValueError(msg)
        quality = round(float(quality), 2)
        if fixed is not None and quality != fixed:
            msg = f"model {self.entry.name} has one rate, quality {fixed:g}; leave the quality out"
            raise ValueError(msg)
        return quality

    # Towards pixels.

    def _decoding(
        self, data: bytes, region: Region | None, max_pixels: int, progress: Progress | None
    ) -> _Decoding:
        container = unpack(data)
        header = container.header
        coded = self._checked_parts(container, max_pixels)
        if region is not None and self._transforms.whole_synthesis:
            norm = self._model.config.synthesis_norm
            msg = f"model {self.entry.name} decodes no regions: its norm {norm} needs all pixels"
            raise ValueError(msg)
        whole = Region(0, 0, header.width, header.height)
        region = (region or whole).checked(header.width, header.height)
        alpha = None
        if ChunkType.ALPHA in container.chunks:
            alpha = unpack_alpha(container.chunks[ChunkType.ALPHA], header.height, header.width)
            alpha = alpha[region.rectangle]
        metadata = Metadata(**metadata_fields(container.chunks))
        parts = self._parts(header, lambda n: self._decoded(header, coded[n]), region, progress)
        return _Decoding(header, region, parts, alpha, metadata)

    def _checked_parts(self, container: Container, max_pixels: int) -> list[_Slice]:
        """Return the coded slices of a file that this model decodes."""
        header = container.header
        if header.fingerprint != self._model.fingerprint:
            msg = (
                f"the file was made with model {header.fingerprint.hex()}, "
                f"not with {self.entry.name} ({self._model.fingerprint.hex()})"
            )
            raise ModelError(msg)
        fits = self._transforms.accepts(header.height, header.width)
        limit = max_pixels if fits else min(max_pixels, MAX_WHOLE_PIXELS)
        if header.width * header.height > limit:
            size = f"{header.width} x {header.height}"
            msg = f"the image has {size} pixels, over the limit of {limit}"
            raise FormatError(msg)
        grid = slices(*latent_shape(header.height, header.width))
        parts = split_slices(container.chunks[ChunkType.LATENTS], len(grid))
        return [
            _Slice(part, (rows.stop - rows.start, columns.stop - columns.start))
            for part, (rows, columns) in zip(parts, grid, strict=True)
        ]

    def _parts(
        self,
        header: Header,
        symbols_of: Callable[[int], NDArray[np.signedinteger[Any]]],
        region: Region,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Rectangle, NDArray[Any]]]:
        """Yield parts of a region, (h, w, 3) or for grey (h, w, 1), of the header's kind."""
        inverse_gain = self._model.inverse_gain(header.quality)[:, None, None]
        centre = self._model.centre[:, None, None]
        for where, part in self._transforms.pixels(
            (header.height, header.width),
            lambda n: symbols_of(n) * inverse_gain + centre,
            region,
            header.quality,
            depth=max(header.depth, 8),
            progress=progress,
        ):
            if header.color_mode == ColorMode.RGB:
                yield where, part
            elif header.depth == 1:
                yield where, np.where(_luma(part) < 128, 0, 255).astype(np.uint8)
            else:
                yield where, _luma(part)


def _compact(symbols: NDArray[np.int32]) -> NDArray[np.signedinteger[Any]]:
    """Return symbols in 16 bits if they fit: those of a large image take much memory."""
    fits = np.abs(symbols).max() <= np.iinfo(np.int16).max
    return symbols.astype(np.int16) if fits else symbols


def _luma(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the luma (H, W, 1) of RGB pixels, in their type."""
    weighted = pixels.astype(np.uint32) * np.array(_LUMA, np.uint32)
    total: NDArray[Any] = (weighted.sum(-1, dtype=np.uint32, keepdims=True) + 0x8000) >> 16
    return total.astype(pixels.dtype)
