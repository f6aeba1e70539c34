"""How close the image that would be decoded is to the original, part by part."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.images.raster import eight_bits
from gdncodec.measures import psnr
from gdncodec.tiles.geometry import Rectangle, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["fidelity", "regions"]


def fidelity(
    original: NDArray[Any],
    decode: Callable[[Region], Iterable[tuple[Rectangle, NDArray[Any]]]],
    parts: Iterable[Region],
    measure: Callable[[Any, Any], float] | None = None,
) -> float:
    """Return the PSNR of an image over all samples in dB, or the mean of another measure.

    Args:
        original: (H, W, 3) uint8 or uint16.
        decode: yields the pixels of a region piece by piece, each with its rows and columns in the
            region.
        parts: regions that make up the image; each is decoded and measured at once.
        measure: takes two uint8 arrays (H, W, 3), original and decoded; None takes the PSNR.
    """
    total, samples = 0.0, 0
    for region in parts:
        wanted = original[region.rectangle]
        decoded = np.empty_like(wanted)
        for where, piece in decode(region):
            decoded[where] = piece
        samples += wanted.size
        if measure is None:
            total += float(np.square(wanted.astype(np.float64) - decoded).sum())
        else:
            total += measure(eight_bits(wanted), eight_bits(decoded)) * wanted.size
    mean = total / samples
    if measure is not None:
        return mean
    return psnr(mean, np.iinfo(original.dtype).max)


def regions(height: int, width: int, side: int = 1024) -> Iterator[Region]:
    """Yield parts of an image, all of about the same size.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        side: about the side of a part, in pixels.
    """
    ys, xs = (_even_cuts(n, round(max(n / side, 1))) for n in (height, width))
    for top, bottom in pairwise(ys):
        for left, right in pairwise(xs):
            yield Region(left, top, right - left, bottom - top)


def _even_cuts(length: int, parts: int) -> list[int]:
    """Return the parts + 1 positions from 0 to the length that divide it evenly."""
    return [length * i // parts for i in range(parts + 1)]
