"""The quality at which a codec makes a file of about a wanted size.

Not :func:`gdncodec.encoder.targets.search`, which finds the best file of at most a size: any codec
is searched here, on its own scale of qualities, starting from sizes that are known already.
"""

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
    """Return the file whose size is closest to the wanted one.

    Searches between the two qualities whose sizes enclose it, by interpolating the logarithm of the
    size, until a file is within 1 %, no quality is left in between, or 9 files have been made.

    Args:
        codec: makes the files.
        image: what to compress.
        size: in bytes.
        known: sizes in bytes by quality, as far as they are known already.
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
    """Return the next quality to try, or None if none can be better."""
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
    # Not close to an end: a curve that is far from straight would be approached from one side only.
    quality = low + min(max(share, 0.1), 0.9) * (high - low)
    quality = min(max(round(quality / step), round(low / step) + 1), round(high / step) - 1) * step
    return round(quality, 2)
