"""Slices of the latent, and transforms in tiles that leave no seams.

The transforms see only so far: a latent position depends on pixels within 30 of its own 16 x 16,
and a pixel on latent positions within 2 of its own. A tile with a halo of that width gives what the
whole picture would give, up to the last bits of a float, in memory that does not grow with it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from gdncodec.config import DOWNSAMPLING

__all__ = ["SLICE", "Tile", "latent_shape", "tiles"]

SLICE = 64
"""Side of a slice in latent positions; part of the format."""

_HALO = 3
"""Latent positions around a tile; one more than the synthesis needs, 2 would do."""


class Tile(NamedTuple):
    """A rectangle of latent positions, and the larger one that computing it needs."""

    inner: tuple[slice, slice]
    """Rows and columns of the tile in the latent."""
    outer: tuple[slice, slice]
    """Rows and columns with the halo."""

    def pixels(self) -> tuple[slice, slice]:
        """Return rows and columns of the outer rectangle in pixels."""
        rows, columns = (slice(s.start * DOWNSAMPLING, s.stop * DOWNSAMPLING) for s in self.outer)
        return rows, columns

    def inner_of_outer(self, scale: int = 1) -> tuple[slice, slice]:
        """Return where the tile lies in its outer rectangle, in 1 / scale of a latent position."""
        rows, columns = (
            slice((i.start - o.start) * scale, (i.stop - o.start) * scale)
            for i, o in zip(self.inner, self.outer, strict=True)
        )
        return rows, columns


def latent_shape(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the latent of a picture."""
    return -(-height // DOWNSAMPLING), -(-width // DOWNSAMPLING)


def tiles(rows: int, columns: int) -> Iterator[Tile]:
    """Yield the slices of a latent in raster order, as tiles with their halos."""
    for top in range(0, rows, SLICE):
        for left in range(0, columns, SLICE):
            inner = (
                slice(top, min(top + SLICE, rows)),
                slice(left, min(left + SLICE, columns)),
            )
            outer = (
                slice(max(top - _HALO, 0), min(inner[0].stop + _HALO, rows)),
                slice(max(left - _HALO, 0), min(inner[1].stop + _HALO, columns)),
            )
            yield Tile(inner, outer)
