"""The transforms of a model over images of any size, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.norms import TileClass, norm_info
from gdncodec.threads import ahead
from gdncodec.tiles.geometry import (
    ANALYSIS_HALO,
    SLICE,
    SYNTHESIS_HALO,
    Rectangle,
    Region,
    Tile,
    cut,
    in_pixels,
    latent_shape,
    overlap,
    slices,
    tiles,
    touching,
    window_of,
    within,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gdncodec.config import ModelConfig
    from gdncodec.engines import Transforms

__all__ = ["MAX_WHOLE_PIXELS", "Progress", "Tiling"]

MAX_WHOLE_PIXELS = 1 << 24
"""Largest image for a model whose norms measure all of it at once: 16.8 megapixels."""

Progress = Callable[[int, int], None]
"""Called with the number of parts done and of all parts."""


class Tiling:
    """How images are divided for the transforms of a model.

    Both transforms work tile by tile, except where a norm measures the whole image.

    Args:
        config: of the model.

    Raises:
        ValueError: a norm of the configuration is unknown.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.whole_analysis = _measures_all(config.norm)
        """The analysis takes whole images only."""
        self.whole_synthesis = _measures_all(config.synthesis_norm)
        """The synthesis makes whole images only."""

    def accepts(self, height: int, width: int) -> bool:
        """Return whether an image is small enough for a model that must see all of it."""
        whole = self.whole_analysis or self.whole_synthesis
        return not whole or height * width <= MAX_WHOLE_PIXELS

    def latents(
        self, pixels: NDArray[Any], transforms: Transforms, progress: Progress | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the slices (M, rows, columns) of the latent, in the order of the format.

        Args:
            pixels: (H, W, 3) uint8 or uint16.
            transforms: those of the model at one quality.
            progress: called with the number of tiles done and of all tiles.
        """
        rows, columns = latent_shape(*pixels.shape[:2])
        side = max(rows, columns) if self.whole_analysis else SLICE
        todo = tiles(rows, columns, ANALYSIS_HALO, side=side)
        for done, tile in enumerate(todo, 1):
            y = transforms.analysis(_padded(pixels, in_pixels(tile.outer)))
            y = cut(y, within(tile.inner, tile.outer))
            for where in slices(*y.shape[1:]):
                yield np.ascontiguousarray(cut(y, where))
            if progress:
                progress(done, len(todo))

    def pixels(
        self,
        size: tuple[int, int],
        load: Callable[[int], NDArray[np.float32]],
        region: Region,
        transforms: Transforms,
        *,
        depth: int = 8,
        alone: bool = True,
        progress: Progress | None = None,
    ) -> Iterator[tuple[Rectangle, NDArray[Any]]]:
        """Yield the pixels of a region, tile by tile.

        Args:
            size: height and width of the image.
            load: returns a slice of the latent by its number in the order of the format; called
                once for every slice on which the region depends.
            region: the part of the image that is wanted.
            transforms: those of the model at the quality of the latent.
            depth: 8 or 16 bits per sample.
            alone: load only when nothing else is done; otherwise a thread loads what the next tile
                needs.
            progress: called with the number of tiles done and of all tiles.

        Yields:
            rows and columns within the region, and their pixels (h, w, 3) uint8 or uint16.
        """
        rows, columns = latent_shape(*size)
        side = max(rows, columns) if self.whole_synthesis else SLICE
        window = None if self.whole_synthesis else window_of(region)
        todo = tiles(rows, columns, SYNTHESIS_HALO, side=side, window=window)
        windows = _windows(todo, rows, columns, load)
        for done, (tile, y) in enumerate(windows if alone else ahead(windows), 1):
            x = transforms.synthesis(y, depth)
            wanted = overlap(in_pixels(tile.inner), region.rectangle)
            yield within(wanted, region.rectangle), x[within(wanted, in_pixels(tile.outer))]
            if progress:
                progress(done, len(todo))


def _measures_all(norm: str) -> bool:
    return norm_info(norm).tile is TileClass.WHOLE_IMAGE


def _padded(pixels: NDArray[Any], where: Rectangle) -> NDArray[Any]:
    """Return the pixels of a rectangle; beyond the image its edge is repeated."""
    found = pixels[where]
    bottom, right = (s.stop - s.start - n for s, n in zip(where, found.shape, strict=False))
    return np.pad(found, ((0, bottom), (0, right), (0, 0)), mode="edge")


def _windows(
    todo: list[Tile], rows: int, columns: int, load: Callable[[int], NDArray[np.float32]]
) -> Iterator[tuple[Tile, NDArray[np.float32]]]:
    """Yield tiles with their latents; a slice is kept until the last tile that needs it."""
    if columns > rows:  # along the shorter side, the next neighbour comes sooner
        todo = sorted(todo, key=lambda tile: tile.inner[1].start)
    grid = slices(rows, columns)
    needed = [touching(tile.outer, columns) for tile in todo]
    last_use = {index: n for n, indices in enumerate(needed) for index in indices}
    held: dict[int, NDArray[np.float32]] = {}
    for n, (tile, indices) in enumerate(zip(todo, needed, strict=True)):
        for index in indices:
            if index not in held:
                held[index] = load(index)
        shape = (s.stop - s.start for s in tile.outer)
        window = np.empty((len(held[indices[0]]), *shape), np.float32)
        for index in indices:
            common = overlap(tile.outer, grid[index])
            cut(window, within(common, tile.outer))[...] = cut(
                held[index], within(common, grid[index])
            )
        yield tile, window
        for index in indices:
            if last_use[index] == n:
                del held[index]
