"""Bjøntegaard deltas: how many bits one codec saves against another at equal quality."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gdncodec.evaluation.curves import Curve

__all__ = [
    "NO_COMMON_RANGE",
    "TOO_FEW_POINTS",
    "TOO_LITTLE_OVERLAP",
    "Comparison",
    "bd_psnr",
    "bd_rate",
    "compare_curves",
    "savings",
]

NO_COMMON_RANGE = "no common range"
TOO_FEW_POINTS = "too few points"
TOO_LITTLE_OVERLAP = "too small a common range"

_LEAST_OVERLAP = 0.5
"""Decibels that two curves must have in common to be compared: about the step between two points of
a dense curve, below which a BD-rate is the interpolation's invention."""

_FEW_POINTS = 4
"""Bjøntegaard's own number; with fewer in the common range, a BD-rate comes with a caution."""

_SMALL_SHARE = 0.5
"""Share of the shorter curve that two curves must have in common for none."""

_STEPS = 4096


class Comparison(NamedTuple):
    """A codec against an anchor, by one metric; where there is no number, a reason."""

    test: str
    anchor: str
    metric: str
    bd_rate: float | str
    """Bits saved (negative) or added at equal quality, in per cent; pchip."""
    bd_rate_akima: float | str
    bd_psnr: float | str
    """Quality gained at equal bits, in dB; pchip."""
    interval: tuple[float, float] | None
    """95 % interval of ``bd_rate`` over images; None for published curves or few images."""
    quarters: tuple[float | str, ...]
    """BD-rate in each quarter of the common range of log rate, from low to high; pchip."""
    common: tuple[float, float] | None
    """Range of quality that both have, in dB."""
    caution: str | None
    """Why the numbers should not be relied on; None if they can be, or if there are none."""


def bd_rate(
    anchor: Curve,
    test: Curve,
    *,
    metric: str = "psnr-rgb",
    method: str = "pchip",
    images: NDArray[np.intp] | None = None,
) -> float | str:
    """Return how many more bits ``test`` takes than ``anchor`` at equal quality, in per cent.

    Bjøntegaard 2001 (VCEG-M33), over the range of quality that both curves have, interpolated by
    ``pchip`` or ``akima`` with the package ``bjontegaard``.

    Returns:
        The mean difference, negative for a saving; or why there is none.
    """
    import bjontegaard

    points = _common_points(anchor, test, metric, images)
    if isinstance(points, str):
        return points
    return float(bjontegaard.bd_rate(*points, method, require_matching_points=False, min_overlap=0))


def bd_psnr(
    anchor: Curve, test: Curve, *, metric: str = "psnr-rgb", method: str = "pchip"
) -> float | str:
    """Return how much better ``test`` is than ``anchor`` at equal rate, in dB.

    Returns:
        The mean difference over the common range of log rate; or why there is none.
    """
    import bjontegaard

    points = _common_points(anchor, test, metric)
    if isinstance(points, str):
        return points
    return float(bjontegaard.bd_psnr(*points, method, require_matching_points=False, min_overlap=0))


def compare_curves(
    anchor: Curve, test: Curve, *, metric: str = "psnr-rgb", resamples: int = 1000
) -> Comparison:
    """Compare a codec with an anchor.

    Args:
        anchor: what to compare with.
        test: the codec.
        metric: a name in ``results``, in dB.
        resamples: draws of the images, with replacement, behind the 95 % interval. Both curves
            get the same draw; 0 leaves the interval out.
    """
    rate = bd_rate(anchor, test, metric=metric)
    grid = _log_ratio(anchor, test, metric)
    return Comparison(
        test=test.name,
        anchor=anchor.name,
        metric=metric,
        bd_rate=rate,
        bd_rate_akima=bd_rate(anchor, test, metric=metric, method="akima"),
        bd_psnr=bd_psnr(anchor, test, metric=metric),
        interval=None if isinstance(rate, str) else _interval(anchor, test, metric, resamples),
        quarters=_quarters(grid) if grid else (str(rate),) * 4,
        common=(float(grid[0][0]), float(grid[0][-1])) if grid else None,
        caution=_caution(anchor, test, metric),
    )


def savings(
    anchor: Curve, test: Curve, *, metric: str = "psnr-rgb"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return qualities in dB and the bits more that ``test`` takes there, in per cent.

    Both are empty where the curves have no common range.
    """
    grid = _log_ratio(anchor, test, metric)
    if grid is None:
        return np.empty(0), np.empty(0)
    quality, _, ratio = (values[:: _STEPS // 128] for values in grid)
    return quality, (10**ratio - 1) * 100


def _common_points(
    anchor: Curve, test: Curve, metric: str, images: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.float64], ...] | str:
    """Return rates and qualities of both, or why they cannot be compared."""
    first, second = anchor.points(metric, images), test.points(metric, images)
    if min(first[0].size, second[0].size) < 2:
        return TOO_FEW_POINTS
    for a, b in zip(first, second, strict=True):
        if max(a[0], b[0]) >= min(a[-1], b[-1]):
            return NO_COMMON_RANGE
    if _overlap(first[1], second[1]) < _LEAST_OVERLAP:
        return TOO_LITTLE_OVERLAP
    return (*first, *second)


def _overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the length of the range of quality that two rising curves have in common, in dB."""
    return float(min(first[-1], second[-1]) - max(first[0], second[0]))


def _caution(anchor: Curve, test: Curve, metric: str) -> str | None:
    """Return why a BD-rate is not to be relied on, if it is not."""
    points = _common_points(anchor, test, metric)
    if isinstance(points, str):
        return None
    _, first, _, second = points
    few = min(first.size, second.size)
    if few < _FEW_POINTS:
        return f"from {few} points"
    common = _overlap(first, second)
    shorter = min(np.ptp(first), np.ptp(second))
    if common < _SMALL_SHARE * shorter:
        return f"only {common:.1f} of {shorter:.1f} dB in common"
    return None


def _log_ratio(
    anchor: Curve, test: Curve, metric: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Return common qualities, the anchor's log10 rate there, and the test's less the anchor's."""
    import bjontegaard

    points = _common_points(anchor, test, metric)
    if isinstance(points, str):
        return None
    _, of_anchor, of_test = bjontegaard.bd_rate(
        *points, "pchip", require_matching_points=False, min_overlap=0, interpolators=True
    )
    low = max(points[1][0], points[3][0])
    high = min(points[1][-1], points[3][-1])
    quality = np.linspace(low, high, _STEPS + 1)
    rate = of_anchor(quality)
    return quality, rate, of_test(quality) - rate


def _quarters(
    grid: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> tuple[float, ...]:
    """Return the mean of the log ratio over quality, in each quarter of the anchor's log rate."""
    quality, rate, ratio = grid
    ends = np.interp(np.linspace(rate[0], rate[-1], 5), rate, quality)
    parts = []
    for low, high in pairwise(ends):
        inside = np.linspace(low, high, 257)
        parts.append(float((10 ** np.interp(inside, quality, ratio).mean() - 1) * 100))
    return tuple(parts)


def _interval(
    anchor: Curve, test: Curve, metric: str, resamples: int
) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of the BD-rate over images."""
    if not (anchor.per_image and test.per_image and resamples):
        return None
    count = test.per_image["bpp"].shape[1]
    if count != anchor.per_image["bpp"].shape[1] or count < 2:
        return None
    generator = np.random.default_rng(0)
    drawn: Sequence[float | str] = [
        bd_rate(anchor, test, metric=metric, images=generator.integers(count, size=(count,)))
        for _ in range(resamples)
    ]
    numbers = [value for value in drawn if not isinstance(value, str)]
    if len(numbers) < resamples / 2:
        return None
    low, high = np.percentile(numbers, [2.5, 97.5])
    return float(low), float(high)
