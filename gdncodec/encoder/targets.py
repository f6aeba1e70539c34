"""Finding the quality that meets a target, in a few trials."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from gdncodec.errors import UsageError
from gdncodec.measures import ms_ssim_db

__all__ = ["MAX_TRIALS", "Target", "Unit", "parse_size", "search"]

MAX_TRIALS = 8
"""Largest number of qualities that are tried."""

Unit = Literal["bytes", "bpp", "dB", "MS-SSIM"]
"""``bytes``, ``bpp``, ``dB`` of PSNR, or ``MS-SSIM``."""

_FIRST = 5000  # the quality tried first, in hundredths
_LAST = 10000  # the highest quality, in hundredths
_SIZE_TOLERANCE = 0.02
_DB_TOLERANCE = 0.05

_TYPICAL_SLOPE: dict[Unit, float] = {"bytes": 0.03, "bpp": 0.03, "dB": 0.14, "MS-SSIM": 0.14}
"""Change of a scaled number for one step of quality, which the second trial goes by."""

_OVERSHOOT = 1.1
"""Extrapolation goes this much too far, so that the target lies between two trials next."""

_LEAST_SLOPE = 0.1
"""Share of the typical slope below which a measured one is not believed: it may be noise."""

_EXTRAPOLATED = 2
"""Trials to extrapolate from; if all are on one side of the target, an end of the scale is next."""

_CURVED = 5
"""Trials after which a size is no longer looked for on a curve, which may creep towards it."""

_PREFIXES = {"": 1, "k": 1000, "m": 1000**2, "ki": 1024, "mi": 1024**2}


@dataclass(frozen=True)
class Target:
    """What the file, or the image decoded from it, should measure.

    Args:
        value: the number to reach. A size is met by a file that is not larger and at most 2 %
            smaller; a PSNR, or an MS-SSIM in decibels, within 0.05 dB.
        unit: ``bytes`` or ``bpp`` of the whole file; ``dB`` of PSNR over all samples of the image
            without its alpha; or ``MS-SSIM`` as ``measure`` gives it.
        measure: for MS-SSIM: takes two uint8 arrays (H, W, 3), original and decoded.

    Raises:
        UsageError: no file or image can have this value.
    """

    value: float
    unit: Unit
    measure: Callable[[Any, Any], float] | None = None

    def __post_init__(self) -> None:
        most = 1.0 if self.unit == "MS-SSIM" else math.inf
        if not 0 < self.value < most:
            limit = "" if most == math.inf else f" and below {most:g}"
            msg = f"a target in {self.unit} must be above 0{limit}, got {self.number(self.value)}"
            raise UsageError(msg)

    @property
    def is_size(self) -> bool:
        return self.unit in ("bytes", "bpp")

    def number(self, value: float) -> str:
        """Return a number in this unit as people write it: 10,000,000 and not 1e+07.

        >>> Target(1, "bpp").number(0.00001234567)
        '0.00001235'
        """
        if self.unit == "bytes" and math.isfinite(value):
            return f"{value:,.0f}"
        if not math.isfinite(value) or not value:
            return f"{value:g}"
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if digits else text

    def text(self, value: float) -> str:
        """Return a number with the unit."""
        return f"{self.number(value)} {self.unit}"

    def scaled(self, measured: float) -> float:
        """Return a measured number on a scale that rises about evenly with the quality."""
        if self.unit == "MS-SSIM":
            return ms_ssim_db(measured)
        return math.log(measured) if self.is_size else measured

    @property
    def interval(self) -> tuple[float, float]:
        """Scaled numbers that meet the target."""
        aim = self.scaled(self.value)
        if self.is_size:
            return aim + math.log(1 - _SIZE_TOLERANCE), aim
        return aim - _DB_TOLERANCE, aim + _DB_TOLERANCE


def parse_size(text: str) -> int:
    """Return bytes: ``1500``, ``200k`` (times 1000), ``1.5M``, ``200KiB`` (times 1024).

    Raises:
        UsageError: the text is no size.
    """
    lowered = text.strip().lower().removesuffix("b")
    number = lowered.rstrip("kmi")
    try:
        size = int(float(number) * _PREFIXES[lowered[len(number) :]])
    except (ValueError, KeyError, OverflowError):
        msg = f"a size is a number of bytes such as 1500, 200k, 1.5M or 200KiB, got {text!r}"
        raise UsageError(msg) from None
    return size


def search(measure: Callable[[float], float], target: Target) -> float:
    """Return the quality at which the measured number meets the target.

    A size is the most that the file may have: if even quality 100 needs less, that is returned.
    Where no quality meets the target, as in tiny images whose sizes differ by steps, return the
    highest quality tried whose size does not exceed it, or the one whose image comes closest.

    Args:
        measure: returns the number in the target's unit at a quality, which rises with the quality;
            called at most :data:`MAX_TRIALS` times.
        target: what to meet.

    Raises:
        UsageError: no quality meets the target; the message gives the range that can be reached.
    """
    low, high = target.interval
    seen: dict[int, float] = {}
    numbers: dict[int, float] = {}

    def tried(step: int) -> float:
        numbers[step] = measure(step / 100)
        seen[step] = target.scaled(numbers[step])
        return seen[step]

    while len(seen) < MAX_TRIALS:
        step = _next_step(seen, target)
        if step is None:
            break
        if low <= tried(step) <= high:
            return step / 100
        if step == _LAST and seen[step] < low and target.is_size:
            return _LAST / 100  # a size is the most that the file may have
        if (step == _LAST and seen[step] < low) or (step == 0 and seen[step] > high):
            tried(_LAST - step)
            low_end, high_end = target.number(numbers[0]), target.text(numbers[_LAST])
            msg = (
                f"the target of {target.text(target.value)} is out of reach: this image reaches "
                f"{low_end} to {high_end}"
            )
            raise UsageError(msg)
    if target.is_size:
        return max(q for q, value in seen.items() if value <= high) / 100
    return min(seen, key=lambda q: abs(seen[q] - (low + high) / 2)) / 100


def _next_step(seen: dict[int, float], target: Target) -> int | None:
    """Return the next quality to try, in hundredths; None if none is left between two trials.

    Args:
        seen: scaled numbers by quality, in hundredths; none of them meets the target.
        target: what to meet.
    """
    if not seen:
        return _FIRST
    low, high = target.interval
    aim = (low + high) / 2
    below = max((q for q, value in seen.items() if value < low), default=-1)
    above = min((q for q, value in seen.items() if value > high), default=_LAST + 1)
    if above - below <= 1:
        return None
    if below >= 0 and above <= _LAST:
        rise = seen[above] - seen[below]
        step = _interpolated(seen, aim)
        if math.isfinite(rise) and (len(seen) > _CURVED or not target.is_size):
            # A straight line: kinks beside the target would bend a curve through three points.
            step = below + (above - below) * (aim - seen[below]) / rise
        elif not below < step < above or len(seen) == _CURVED:
            step = (below + above) / 2
    elif len(seen) > _EXTRAPOLATED:
        step = 0 if below < 0 else _LAST
    else:
        step = _extrapolated(seen, aim, _TYPICAL_SLOPE[target.unit] / 100)
    return round(min(max(step, below + 1), above - 1))


def _extrapolated(seen: dict[int, float], aim: float, slope: float) -> float:
    """Continue the line through the trials, or one of a typical slope, to a little past the aim."""
    near = min(seen, key=lambda q: abs(seen[q] - aim))
    if len(seen) > 1:
        first, *_, last = sorted(seen)
        slope = max((seen[last] - seen[first]) / (last - first), _LEAST_SLOPE * slope)
    return near + _OVERSHOOT * (aim - seen[near]) / slope


def _interpolated(seen: dict[int, float], aim: float) -> float:
    """Return the quality at the aim on a curve (Lagrange's) through the three nearest trials."""
    usable = [(value, q) for q, value in seen.items() if math.isfinite(value)]
    nearest = sorted(usable, key=lambda pair: abs(pair[0] - aim))[:3]
    if len({value for value, _ in nearest}) < len(nearest):
        return math.nan
    quality = 0.0
    for value, q in nearest:
        others = [other for other, _ in nearest if other != value]
        quality += q * math.prod((aim - other) / (value - other) for other in others)
    return quality
