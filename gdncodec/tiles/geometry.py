"""Slices of the latent, and tiles for the transforms that leave no seams.

The receptive fields are limited. The four 5 x 5 convolutions of stride 2 make a latent position
depend on the pixels from 30 before its own 16 x 16 to 15 after them, and a pixel on the latent
positions from 1 before its own to 2 after it. A tile with a halo of that width has the same result
as the whole image, up to floating-point rounding, in memory that does not grow with the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gdncodec.config import DOWNSAMPLING
from gdncodec.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ANALYSIS_HALO",
    "SLICE",
    "SYNTHESIS_HALO",
    "Halo",
    "Rectangle",
    "Region",
    "Tile",
    "cut",
    "in_pixels",
    "latent_shape",
    "overlap",
    "slice_count",
    "slices",
    "tiles",
    "touching",
    "window_of",
    "within",
]

SLICE = 64
"""Side of a slice in latent positions; part of the format."""

Rectangle = tuple[slice, slice]
"""Rows and columns, of latent positions or of pixels."""


def overlap(a: Rectangle, b: Rectangle) -> Rectangle:
    """Return what two rectangles that touch have in common."""
    rows, columns = (
        slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a, b, strict=True)
    )
    return rows, columns


def within(inner: Rectangle, outer: Rectangle) -> Rectangle:
    """Return a rectangle relative to the upper left corner of another."""
    rows, columns = (
        slice(s.start - t.start, s.stop - t.start) for s, t in zip(inner, outer, strict=True)
    )
    return rows, columns


def cut(y: NDArray[Any], where: Rectangle) -> NDArray[Any]:
    """Return a rectangle of a latent (M, rows, columns), as a view."""
    rows, columns = where
    return y[:, rows, columns]


def in_pixels(latent: Rectangle) -> Rectangle:
    """Return the pixels of a rectangle of latent positions."""
    rows, columns = (slice(s.start * DOWNSAMPLING, s.stop * DOWNSAMPLING) for s in latent)
    return rows, columns


class Halo(NamedTuple):
    """Latent positions that a tile needs around it."""

    before: int
    after: int


ANALYSIS_HALO = Halo(2, 1)
SYNTHESIS_HALO = Halo(1, 2)


class Region(NamedTuple):
    """A rectangle of an image, in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def rectangle(self) -> Rectangle:
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def checked(self, width: int, height: int) -> Region:
        """Return the region, which must lie in an image of this size.

        Raises:
            ValueError: it does not.
        """
        inside = 0 <= self.x < self.x + self.width <= width
        if not (inside and 0 <= self.y < self.y + self.height <= height):
            msg = (
                f"the region {self.x},{self.y},{self.width},{self.height} (X,Y,W,H) is not inside "
                f"the image of {width} x {height} pixels"
            )
            raise UsageError(msg)
        return self

    def stored(self, orientation: int, width: int, height: int) -> Region:
        """Return where a rectangle of the image as it is shown lies in the stored pixels.

        Args:
            orientation: of EXIF, 1 to 8.
            width: of the stored image.
            height: of the stored image.

        Raises:
            UsageError: the rectangle is not inside the image.
        """
        turned = orientation >= 5
        self.checked(*((height, width) if turned else (width, height)))
        x, y, w, h = self
        if turned:
            x, y, w, h = y, x, h, w
        if orientation in (2, 3, 7, 8):
            x = width - x - w
        if orientation in (3, 4, 6, 7):
            y = height - y - h
        return Region(x, y, w, h)


class Tile(NamedTuple):
    """A rectangle of latent positions, and the larger one that computing it needs."""

    inner: Rectangle
    outer: Rectangle


def latent_shape(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the latent of an image."""
    return -(-height // DOWNSAMPLING), -(-width // DOWNSAMPLING)


def window_of(region: Region) -> Rectangle:
    """Return the latent positions whose pixels a region touches."""
    bottom, right = latent_shape(region.y + region.height, region.x + region.width)
    return slice(region.y // DOWNSAMPLING, bottom), slice(region.x // DOWNSAMPLING, right)


def slices(rows: int, columns: int) -> list[Rectangle]:
    """Return the slices of a latent in the order of the format, which is raster order."""
    return _split((slice(0, rows), slice(0, columns)), SLICE)


def slice_count(rows: int, columns: int) -> int:
    """Return the number of slices of a latent, without listing them."""
    return -(-rows // SLICE) * -(-columns // SLICE)


def touching(window: Rectangle, columns: int) -> list[int]:
    """Return the numbers of the slices that a window of a latent touches."""
    down, across = (range(s.start // SLICE, -(-s.stop // SLICE)) for s in window)
    in_a_row = -(-columns // SLICE)
    return [r * in_a_row + c for r in down for c in across]


def tiles(
    rows: int, columns: int, halo: Halo, *, side: int = SLICE, window: Rectangle | None = None
) -> list[Tile]:
    """Return tiles that cover a latent, or a window of it, in raster order."""
    whole = (slice(0, rows), slice(0, columns))
    return [
        Tile((r, c), (_widened(r, halo, rows), _widened(c, halo, columns)))
        for r, c in _split(window or whole, side)
    ]


def _widened(inner: slice, halo: Halo, end: int) -> slice:
    return slice(max(inner.start - halo.before, 0), min(inner.stop + halo.after, end))


def _split(window: Rectangle, side: int) -> list[Rectangle]:
    rows, columns = (
        [slice(start, min(start + side, s.stop)) for start in range(s.start, s.stop, side)]
        for s in window
    )
    return [(r, c) for r in rows for c in columns]
