"""From picture to bytes and back: the only file that sees all stages.

::

    compress:   picture -> pad -> analysis -> * gain, round -> coder -> container -> bytes
    decompress: bytes -> container -> coder -> * inverse gain -> synthesis -> crop -> picture
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gdncodec.catalog import ModelEntry, find_model, find_model_for
from gdncodec.coder import MAX_SYMBOL, decode, encode, information
from gdncodec.config import DOWNSAMPLING
from gdncodec.container import (
    ChunkType,
    Container,
    Header,
    join_slices,
    pack,
    split_slices,
    unpack,
)
from gdncodec.engines.torch import TorchEngine
from gdncodec.errors import FormatError, ModelError
from gdncodec.image import Picture, from_pil, to_pil
from gdncodec.tiling import latent_shape, tiles
from gdncodec.weights import load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DEFAULT_QUALITY",
    "MAX_PIXELS",
    "Codec",
    "codec_for",
    "compress",
    "decompress",
    "open_gdn",
]

DEFAULT_QUALITY = 50.0

MAX_PIXELS = 1 << 28
"""Largest picture that is decoded unless the caller raises it: 268 megapixels."""

Progress = Callable[[int, int], None]


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
        self._engine = TorchEngine(self._model, device)

    def compress(
        self,
        picture: Picture,
        quality: float | None = None,
        *,
        progress: Progress | None = None,
    ) -> bytes:
        """Return the bytes of a ``.gdn`` file.

        Args:
            picture: what to compress.
            quality: 0 to 100, rounded to hundredths; None takes 50, or the only quality of a
                model of one rate.
            progress: called with the number of slices done and of all slices.

        Raises:
            ValueError: the quality is out of range, or not the model's only one.
        """
        quality = self._checked_quality(quality)
        height, width, _ = picture.pixels.shape
        rows, columns = latent_shape(height, width)
        bottom, right = rows * DOWNSAMPLING - height, columns * DOWNSAMPLING - width
        pixels = np.pad(picture.pixels, ((0, bottom), (0, right), (0, 0)), mode="edge")
        gain = self._model.gain(quality)[:, None, None]
        slices = []
        todo = list(tiles(rows, columns))
        for done, tile in enumerate(todo, 1):
            y = self._engine.analysis(pixels[tile.pixels()])
            inner_rows, inner_columns = tile.inner_of_outer()
            symbols = _round(y[:, inner_rows, inner_columns] * gain)
            slices.append(
                encode(symbols.ravel(), self._table_of(symbols.shape, quality), self._model.tables)
            )
            if progress:
                progress(done, len(todo))
        header = Header(picture.color_mode, 8, quality, self._model.fingerprint, width, height)
        return pack(header, {ChunkType.LATENTS: join_slices(slices), **picture.metadata})

    def decompress(
        self, data: bytes, *, max_pixels: int = MAX_PIXELS, progress: Progress | None = None
    ) -> Picture:
        """Return the picture in the bytes of a ``.gdn`` file.

        Args:
            data: the file.
            max_pixels: refuse larger pictures before anything is allocated.
            progress: called with the number of tiles done and of all tiles.

        Raises:
            FormatError: the file is damaged, or larger than allowed.
            ModelError: the file was made with another model.
        """
        container = unpack(data)
        header = container.header
        symbols = self._symbols(container, max_pixels)
        inverse_gain = self._model.inverse_gain(header.quality)[:, None, None]
        rows, columns = symbols.shape[1:]
        shape = (rows * DOWNSAMPLING, columns * DOWNSAMPLING, 3)
        pixels = np.empty(shape, np.uint8)
        todo = list(tiles(rows, columns))
        for done, tile in enumerate(todo, 1):
            outer_rows, outer_columns = tile.outer
            y_hat = symbols[:, outer_rows, outer_columns] * inverse_gain
            part = self._engine.synthesis(y_hat)
            into = tuple(slice(s.start * DOWNSAMPLING, s.stop * DOWNSAMPLING) for s in tile.inner)
            pixels[into] = part[tile.inner_of_outer(DOWNSAMPLING)]
            if progress:
                progress(done, len(todo))
        metadata = {ChunkType(k): v for k, v in container.chunks.items() if k != ChunkType.LATENTS}
        return Picture(pixels[: header.height, : header.width], header.color_mode, metadata)

    def estimated_bits(self, data: bytes) -> float:
        """Return what the model's tables say the latents of a file cost, in bits.

        The coded slices are a little longer: at most a word each, and what the coder loses.
        """
        container = unpack(data)
        symbols = self._symbols(container, MAX_PIXELS)
        table_of = self._table_of(symbols.shape, container.header.quality)
        return information(symbols.ravel(), table_of, self._model.tables)

    def _symbols(self, container: Container, max_pixels: int) -> "NDArray[np.int32]":
        """Decode the latents (M, rows, columns) of a file."""
        header = container.header
        if header.fingerprint != self._model.fingerprint:
            msg = (
                f"the file was made with model {header.fingerprint.hex()}, "
                f"not with {self.entry.name} ({self._model.fingerprint.hex()})"
            )
            raise ModelError(msg)
        if header.width * header.height > max_pixels:
            msg = (
                f"the picture has {header.width} x {header.height} pixels, "
                f"over the limit of {max_pixels}"
            )
            raise FormatError(msg)
        rows, columns = latent_shape(header.height, header.width)
        todo = list(tiles(rows, columns))
        parts = split_slices(container.chunks[ChunkType.LATENTS], len(todo))
        symbols = np.empty((self._model.config.latent_channels, rows, columns), np.int32)
        for tile, part in zip(todo, parts, strict=True):
            inner_rows, inner_columns = tile.inner
            block = symbols[:, inner_rows, inner_columns]
            block[...] = decode(
                part, self._table_of(block.shape, header.quality), self._model.tables
            ).reshape(block.shape)
        return symbols

    def _table_of(self, shape: tuple[int, ...], quality: float) -> "NDArray[np.uint8]":
        """Return the table of every symbol of a slice (M, rows, columns), flat."""
        return np.repeat(self._model.table_of_channel(quality), shape[1] * shape[2])

    def _checked_quality(self, quality: float | None) -> float:
        fixed = self._model.config.fixed_quality
        if quality is None:
            return DEFAULT_QUALITY if fixed is None else fixed
        if not 0 <= quality <= 100:
            msg = f"quality must be from 0 to 100, got {quality}"
            raise ValueError(msg)
        quality = round(float(quality), 2)
        if fixed is not None and quality != fixed:
            msg = f"model {self.entry.name} has one rate, quality {fixed:g}; leave the quality out"
            raise ValueError(msg)
        return quality


def _round(scaled: "NDArray[np.float32]") -> "NDArray[np.int32]":
    rounded = np.rint(scaled)
    if not np.abs(rounded).max() <= MAX_SYMBOL:  # also catches NaN
        msg = "the model gives latents that are no usable numbers"
        raise ModelError(msg)
    return rounded.astype(np.int32)


@lru_cache(maxsize=4)
def _cached_codec(path: Path, changed: int, device: str | None) -> Codec:
    return Codec(ModelEntry(path), device)


def codec_for(entry: ModelEntry, device: str | None = None) -> Codec:
    """Return a codec, the same one for the same unchanged model file and device."""
    try:
        changed = entry.path.stat().st_mtime_ns
    except OSError as error:
        msg = f"{entry.path}: cannot be read ({error.strerror})"
        raise ModelError(msg) from error
    return _cached_codec(entry.path, changed, device)


def compress(
    image: "Image.Image | NDArray[Any]",
    *,
    quality: float | None = None,
    model: str | Path | None = None,
    device: str | None = None,
) -> bytes:
    """See :func:`gdncodec.compress`."""
    picture = from_pil(image) if isinstance(image, Image.Image) else Picture(_checked_array(image))
    return codec_for(find_model(model), device).compress(picture, quality)


def decompress(data: bytes, *, device: str | None = None) -> "NDArray[np.uint8]":
    """See :func:`gdncodec.decompress`."""
    return _decompressed(data, device).pixels


def open_gdn(path: Path) -> Image.Image:
    """See :func:`gdncodec.open`."""
    return to_pil(_decompressed(path.read_bytes(), None))


def _decompressed(data: bytes, device: str | None) -> Picture:
    entry = find_model_for(unpack(data).header.fingerprint)
    return codec_for(entry, device).decompress(data)


def _checked_array(array: "NDArray[Any]") -> "NDArray[np.uint8]":
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        msg = f"expected a uint8 array (H, W, 3), got {array.dtype} {array.shape}"
        raise ValueError(msg)
    return array
