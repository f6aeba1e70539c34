"""How close two images are, in decibels, and their middles: formulas that several parts share."""

import math
from collections.abc import Sequence

__all__ = ["middle", "ms_ssim_db", "psnr"]


def psnr(mse: float, peak: float = 255.0) -> float:
    """Return the PSNR in dB of a mean squared error; infinite for an error of 0.

    Args:
        mse: mean squared error, 0 or more, in the unit of the samples squared.
        peak: largest value of a sample.
    """
    return 10 * math.log10(peak**2 / mse) if mse else math.inf


def ms_ssim_db(similarity: float) -> float:
    """Return an MS-SSIM of at most 1 in dB, ``-10 log10(1 - similarity)``; infinite at 1."""
    return -10 * math.log10(1 - similarity) if similarity < 1 else math.inf


def middle(size: Sequence[int], part: Sequence[int]) -> tuple[slice, ...]:
    """Return the middle of an image, one slice for each axis.

    Args:
        size: of the image, such as height and width.
        part: of its middle, along the same axes, no larger.
    """
    starts = [(whole - wanted) // 2 for whole, wanted in zip(size, part, strict=True)]
    return tuple(slice(start, start + n) for start, n in zip(starts, part, strict=True))
