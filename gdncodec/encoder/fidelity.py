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

_SIDE = 1024
"""About the side of the parts in which an image is measured."""


def fidelity(
    original: NDArray[Any],
    decode: Callable[[Region], Iterable[tuple[Rectangle, NDArray[Any]]]],
    measure: Callable[[Any, Any], float] | None = None,
    side: int = _SIDE,
) -> float:
    """Return the PSNR of an image over all samples in dB, or the mean of another measure.

    Args:
        original: (H, W, 3) uint8 or uint16.
        decode: gives the parts of a region, with their rows and columns in it.
        measure: takes two uint8 arrays (H, W, 3), original and decoded; None takes the PSNR.
        side: about the side of the regions that are decoded.
    """
    total, samples = 0.0, 0
    height, width, _ = original.shape
    for region in regions(height, width, side):
        wanted = original[region.rectangle]
        decoded = np.empty_like(wanted)
        for where, part in decode(region):
            decoded[where] = part
        samples += wanted.size
        if measure is None:
            total += float(np.square(wanted.astype(np.float64) - decoded).sum())
        else:
            total += measure(eight_bits(wanted), eight_bits(decoded)) * wanted.size
    mean = total / samples
    if measure is not None:
        return mean
    return psnr(mean, np.iinfo(original.dtype).max)


def regions(height: int, width: int, side: int) -> Iterator[Region]:
    """Yield parts of an image, of about the same size."""
    ys, xs = (
        [n * i // round(max(n / side, 1)) for i in range(round(max(n / side, 1)) + 1)]
        for n in (height, width)
    )
    for top, bottom in pairwise(ys):
        for left, right in pairwise(xs):
            yield Region(left, top, right - left, bottom - top)
