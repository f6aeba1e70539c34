"""From bytes to an image.

::

    bytes -> container -> coder -> * inverse gain -> synthesis -> crop -> image
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from gdncodec.config import MAX_PIXELS
from gdncodec.container import (
    ChunkType,
    ColorMode,
    Container,
    Header,
    metadata_fields,
    split_slices,
    unpack,
)
from gdncodec.errors import FormatError, ModelError, UsageError
from gdncodec.images.alpha import unpack_alpha
from gdncodec.images.raster import Metadata, RasterImage
from gdncodec.images.writing import as_image, pillow_mode
from gdncodec.salvage import salvage, salvage_slices
from gdncodec.tiles.geometry import (
    Rectangle,
    Region,
    in_pixels,
    latent_shape,
    overlap,
    slices,
    within,
)
from gdncodec.tiles.transforms import MAX_WHOLE_PIXELS, Progress, Tiling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gdncodec.engines import Engine
    from gdncodec.modelfile import Model, OperatingPoint

__all__ = ["CodedSlice", "Damage", "Decoder"]

_LUMA = (19595, 38470, 7471)
"""Weights of R, G and B out of 65536, as in Pillow's conversion to grey (ITU-R BT.601)."""


class CodedSlice(NamedTuple):
    """A slice of the latent as it is in a file."""

    data: bytes
    shape: tuple[int, int]
    """Rows and columns of latent positions."""


Damage = Callable[[str], None]
"""Called with a line about each part of a file that is lost."""


class _Decoding(NamedTuple):
    """A file on its way to pixels."""

    header: Header
    region: Region
    pieces: Iterator[tuple[Rectangle, NDArray[Any]]]
    """Rows and columns in the region, and their pixels; see :meth:`Decoder.pixels`."""
    alpha: NDArray[np.uint8] | None
    metadata: Metadata
    lost: list[Rectangle]
    """Rows and columns in the region of damaged slices; complete after the last piece."""


class Decoder:
    """Decodes the files of one model.

    Args:
        model: the model.
        engine: runs its transforms.
        name: what messages call the model.
    """

    def __init__(self, model: Model, engine: Engine, name: str) -> None:
        self._model, self._engine, self._name = model, engine, name
        self._tiling = Tiling(model.config)

    def decompress(
        self,
        data: bytes,
        *,
        region: Region | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
        on_damage: Damage | None = None,
    ) -> RasterImage:
        """See :meth:`gdncodec.codec.Codec.decompress`."""
        decoding = self._decoding(data, region, max_pixels, progress, on_damage)
        header, (_, _, width, height) = decoding.header, decoding.region
        pixels = np.empty((height, width, 3), np.uint16 if header.depth == 16 else np.uint8)
        for where, piece in decoding.pieces:
            pixels[where] = piece
        for where in decoding.lost:
            pixels[where] = np.iinfo(pixels.dtype).max // 2 + 1
        metadata = decoding.metadata
        return RasterImage(pixels, header.color_mode, metadata, header.depth, decoding.alpha)

    def decompress_image(
        self,
        data: bytes,
        *,
        region: Region | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
        on_damage: Damage | None = None,
    ) -> Image.Image:
        """See :meth:`gdncodec.codec.Codec.decompress_image`."""
        decoding = self._decoding(data, region, max_pixels, progress, on_damage)
        header, alpha = decoding.header, decoding.alpha
        mode = pillow_mode(header.color_mode, header.depth, alpha=alpha is not None)
        image = Image.new(mode, (decoding.region.width, decoding.region.height))
        for (rows, columns), piece in decoding.pieces:
            opacity = None if alpha is None else alpha[rows, columns]
            image.paste(as_image(piece, opacity, mode), (columns.start, rows.start))
        for rows, columns in decoding.lost:
            shape = (rows.stop - rows.start, columns.stop - columns.start, 3)
            grey = np.full(shape, 32768 if header.depth == 16 else 128, np.uint16)
            grey = grey if header.depth == 16 else grey.astype(np.uint8)
            opacity = None if alpha is None else alpha[rows, columns]
            image.paste(as_image(grey, opacity, mode), (columns.start, rows.start))
        image.info.update(decoding.metadata.info)
        return image

    def estimated_bits(self, data: bytes) -> float:
        """See :meth:`gdncodec.codec.Codec.estimated_bits`."""
        container = unpack(data)
        point = self._model.at(container.header.quality)
        coded = self.coded_slices(container)
        return sum(point.information(point.decode(*part)) for part in coded)

    def coded_slices(self, container: Container, max_pixels: int = MAX_PIXELS) -> list[CodedSlice]:
        """Return the slices of a file, in the order of the format.

        Raises:
            FormatError: the image is larger than allowed, or the slices are damaged.
            ModelError: the file was made with another model.
        """
        grid = self._slices(container, max_pixels)
        parts = split_slices(container.chunks[ChunkType.LATENTS], len(grid))
        return [CodedSlice(part, _shape(where)) for part, where in zip(parts, grid, strict=True)]

    def _slices(self, container: Container, max_pixels: int) -> list[Rectangle]:
        """Return where the slices of a file are, after checking its model and its size."""
        header = container.header
        if header.fingerprint != self._model.fingerprint:
            msg = (
                f"the file was made with model {header.fingerprint.hex()}, "
                f"not with {self._name} ({self._model.fingerprint.hex()})"
            )
            raise ModelError(msg)
        fits = self._tiling.accepts(header.height, header.width)
        limit = max_pixels if fits else min(max_pixels, MAX_WHOLE_PIXELS)
        if header.width * header.height > limit:
            size = f"{header.width} x {header.height}"
            msg = f"the image has {size} pixels, over the limit of {limit:,}"
            how = "; --max-pixels raises it (in Python max_pixels)" if limit == max_pixels else ""
            raise FormatError(msg + how)
        return slices(*latent_shape(header.height, header.width))

    def pixels(
        self,
        header: Header,
        symbols_of: Callable[[int], NDArray[np.signedinteger[Any]]],
        region: Region,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Rectangle, NDArray[Any]]]:
        """Yield the pixels of a region, piece by piece.

        Args:
            header: of the file.
            symbols_of: returns the symbols (M, rows, columns) of a slice by its number.
            region: the part of the image that is wanted.
            progress: called with the number of tiles done and of all tiles.

        Yields:
            rows and columns in the region, and their pixels (h, w, 3), uint16 for a depth of 16 and
            uint8 otherwise; those of a grey image have three equal channels.
        """
        point = self._model.at(header.quality)
        for where, piece in self._tiling.pixels(
            (header.height, header.width),
            lambda n: point.dequantise(symbols_of(n)),
            region,
            self._engine.at(header.quality, region.width * region.height),
            depth=max(header.depth, 8),
            alone=self._engine.threads == 1,
            progress=progress,
        ):
            if header.color_mode == ColorMode.RGB:
                yield where, piece
            else:
                luma = _luma(piece)
                if header.depth == 1:
                    luma = np.where(luma < 128, 0, 255).astype(np.uint8)
                yield where, np.broadcast_to(luma, piece.shape)

    def _decoding(
        self,
        data: bytes,
        region: Region | None,
        max_pixels: int,
        progress: Progress | None,
        on_damage: Damage | None,
    ) -> _Decoding:
        container, whole = salvage(data, on_damage) if on_damage else (unpack(data), 0)
        header, chunks = container
        grid = self._slices(container, max_pixels)
        if region is not None and self._tiling.whole_synthesis:
            norm = self._model.config.synthesis_norm
            msg = f"model {self._name} decodes no regions: its norm {norm} needs all pixels"
            raise UsageError(msg)
        everything = Region(0, 0, header.width, header.height)
        region = (region or everything).checked(header.width, header.height)
        alpha = _alpha(container, region, on_damage)
        metadata = Metadata(**metadata_fields(chunks))
        latents, point = chunks[ChunkType.LATENTS], self._model.at(header.quality)
        lost: list[Rectangle] = []
        if on_damage:
            tolerant = _Salvage(
                salvage_slices(latents, len(grid), whole), grid, point, region, lost
            )
            pieces = self.pixels(header, tolerant.symbols, region, progress)
            pieces = tolerant.reported(pieces, on_damage)
        else:
            parts = split_slices(latents, len(grid))
            pieces = self.pixels(
                header, lambda n: point.decode(parts[n], _shape(grid[n])), region, progress
            )
        return _Decoding(header, region, pieces, alpha, metadata, lost)


class _Salvage:
    """Decodes the slices that are intact, and zeros for the others.

    Args:
        parts: the coded slices; None for those that are not there.
        grid: where they are in the latent.
        point: the model at the file's quality.
        region: the part of the image that is wanted.
        lost: receives where in the region the others are.
    """

    def __init__(
        self,
        parts: list[bytes | None],
        grid: list[Rectangle],
        point: OperatingPoint,
        region: Region,
        lost: list[Rectangle],
    ) -> None:
        self._parts, self._grid, self._point = parts, grid, point
        self._region, self._lost = region, lost
        self._good = 0

    def symbols(self, n: int) -> NDArray[np.int32]:
        part, shape = self._parts[n], _shape(self._grid[n])
        if part is not None:
            with contextlib.suppress(FormatError):
                found = self._point.decode(part, shape)
                self._good += 1
                return found
        inside = overlap(in_pixels(self._grid[n]), self._region.rectangle)
        if all(s.start < s.stop for s in inside):  # and not only beside the region
            self._lost.append(within(inside, self._region.rectangle))
        return np.zeros((self._point.silent.size, *shape), np.int32)

    def reported(
        self, pieces: Iterator[tuple[Rectangle, NDArray[Any]]], on_damage: Damage
    ) -> Iterator[tuple[Rectangle, NDArray[Any]]]:
        yield from pieces
        if not self._good:
            msg = "damaged: none of its slices can be decoded"
            raise FormatError(msg)
        if self._lost:
            count = self._good + len(self._lost)
            on_damage(f"{len(self._lost)} of {count} slices are damaged, and grey in the image")


def _shape(where: Rectangle) -> tuple[int, int]:
    rows, columns = where
    return rows.stop - rows.start, columns.stop - columns.start


def _alpha(
    container: Container, region: Region, on_damage: Damage | None
) -> NDArray[np.uint8] | None:
    header, chunks = container
    if ChunkType.ALPHA not in chunks:
        return None
    try:
        alpha = unpack_alpha(chunks[ChunkType.ALPHA], header.height, header.width)
    except FormatError as error:
        if on_damage is None:
            raise
        on_damage(f"{error}, and left out")
        return None
    return alpha[region.rectangle]


def _luma(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the luma (H, W, 1) of RGB pixels, in their type."""
    weighted = pixels.astype(np.uint32) * np.array(_LUMA, np.uint32)
    total: NDArray[Any] = (weighted.sum(-1, dtype=np.uint32, keepdims=True) + 0x8000) >> 16
    return total.astype(pixels.dtype)
