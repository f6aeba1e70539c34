"""The quality at which a codec makes a file of a wanted size."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from gdncodec.evaluation.codecs import MeasuredCodec
from gdncodec.images.raster import RasterImage

__all__ = ["Match", "match_size"]

_TOLERANCE = 0.01
_MAX_FILES = 9


class Match(NamedTuple):
    """A file of about a wanted size."""

    quality: float
    data: bytes


def match_size(
    codec: MeasuredCodec, image: RasterImage, size: float, known: Mapping[float, int] | None = None
) -> Match:
    """Return the file whose size is nearest to the wanted one.

    Looks between two qualities that the size lies between, interpolating the logarithm of the size,
    until a file is within 1 % or no quality is left between, and makes 9 files at most.

    Args:
        codec: what makes the files.
        image: what to compress.
        size: in bytes.
        known: sizes in bytes by quality, where they are known already.
    """
    sizes = dict(known or {})
    files: dict[float, bytes] = {}

    def make(quality: float) -> None:
        files[quality] = codec.encode(image, quality)
        sizes[quality] = len(files[quality])

    first, last = codec.qualities[0], codec.qualities[-1]
    for quality in codec.qualities if not codec.step else (first, last):
        if quality not in sizes:
            make(quality)
    if codec.step and sizes[first] > size and codec.quality_range[0] < first:
        make(codec.quality_range[0])
    if codec.step and sizes[last] < size and codec.quality_range[1] > last:
        make(codec.quality_range[1])
    while codec.step and len(files) < _MAX_FILES:
        between = _next_quality(sizes, size, codec.step)
        if between is None:
            break
        make(between)
    best = min(sizes, key=lambda q: abs(math.log(sizes[q] / size)))
    if best not in files:
        make(best)
    return Match(best, files[best])


def _next_quality(sizes: Mapping[float, int], size: float, step: float) -> float | None:
    """Return where to look next, or None when it cannot get better."""
    if any(abs(s / size - 1) <= _TOLERANCE for s in sizes.values()):
        return None
    below = [q for q, s in sizes.items() if s <= size]
    above = [q for q, s in sizes.items() if s > size]
    if not below or not above:
        return None
    low, high = max(below), min(above)
    if high - low <= step * 1.001:
        return None
    share = math.log(size / sizes[low]) / math.log(sizes[high] / sizes[low])
    # Away from the ends, or a curve that is far from straight would be nibbled at from one side.
    quality = low + min(max(share, 0.1), 0.9) * (high - low)
    quality = min(max(round(quality / step), round(low / step) + 1), round(high / step) - 1) * step
    return round(quality, 2)
