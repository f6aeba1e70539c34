"""From bytes to an image.

::

    bytes -> container -> coder -> * inverse gain -> synthesis -> crop -> image
"""

from __future__ import annotations

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
from gdncodec.tiles.geometry import Rectangle, Region, latent_shape, slices
from gdncodec.tiles.transforms import MAX_WHOLE_PIXELS, Progress, Tiling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from gdncodec.engines import Engine
    from gdncodec.modelfile import Model

__all__ = ["CodedSlice", "Decoder"]

_LUMA = (19595, 38470, 7471)
"""Weights of R, G and B out of 65536, as in Pillow's conversion to grey (ITU-R BT.601)."""


class CodedSlice(NamedTuple):
    """A slice of the latent as it is in a file."""

    data: bytes
    shape: tuple[int, int]
    """Rows and columns of latent positions."""


class _Decoding(NamedTuple):
    """A file on its way to pixels."""

    header: Header
    region: Region
    pieces: Iterator[tuple[Rectangle, NDArray[Any]]]
    """Rows and columns in the region, and their pixels; see :meth:`Decoder.pixels`."""
    alpha: NDArray[np.uint8] | None
    metadata: Metadata


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
    ) -> RasterImage:
        """See :meth:`gdncodec.codec.Codec.decompress`."""
        decoding = self._decoding(data, region, max_pixels, progress)
        header, (_, _, width, height) = decoding.header, decoding.region
        pixels = np.empty((height, width, 3), np.uint16 if header.depth == 16 else np.uint8)
        for where, piece in decoding.pieces:
            pixels[where] = piece
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
        """See :meth:`gdncodec.codec.Codec.decompress_image`."""
        decoding = self._decoding(data, region, max_pixels, progress)
        header, alpha = decoding.header, decoding.alpha
        mode = pillow_mode(header.color_mode, header.depth, alpha=alpha is not None)
        image = Image.new(mode, (decoding.region.width, decoding.region.height))
        for (rows, columns), piece in decoding.pieces:
            opacity = None if alpha is None else alpha[rows, columns]
            image.paste(as_image(piece, opacity, mode), (columns.start, rows.start))
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
            msg = f"the image has {size} pixels, over the limit of {limit}"
            raise FormatError(msg + ("; --max-pixels raises it" if limit == max_pixels else ""))
        grid = slices(*latent_shape(header.height, header.width))
        parts = split_slices(container.chunks[ChunkType.LATENTS], len(grid))
        return [
            CodedSlice(part, (rows.stop - rows.start, columns.stop - columns.start))
            for part, (rows, columns) in zip(parts, grid, strict=True)
        ]

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
        self, data: bytes, region: Region | None, max_pixels: int, progress: Progress | None
    ) -> _Decoding:
        container = unpack(data)
        header = container.header
        coded = self.coded_slices(container, max_pixels)
        if region is not None and self._tiling.whole_synthesis:
            norm = self._model.config.synthesis_norm
            msg = f"model {self._name} decodes no regions: its norm {norm} needs all pixels"
            raise UsageError(msg)
        whole = Region(0, 0, header.width, header.height)
        region = (region or whole).checked(header.width, header.height)
        alpha = None
        if ChunkType.ALPHA in container.chunks:
            alpha = unpack_alpha(container.chunks[ChunkType.ALPHA], header.height, header.width)
            alpha = alpha[region.rectangle]
        metadata = Metadata(**metadata_fields(container.chunks))
        decode = self._model.at(header.quality).decode
        pieces = self.pixels(header, lambda n: decode(*coded[n]), region, progress)
        return _Decoding(header, region, pieces, alpha, metadata)


def _luma(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the luma (H, W, 1) of RGB pixels, in their type."""
    weighted = pixels.astype(np.uint32) * np.array(_LUMA, np.uint32)
    total: NDArray[Any] = (weighted.sum(-1, dtype=np.uint32, keepdims=True) + 0x8000) >> 16
    return total.astype(pixels.dtype)
