"""Colours below fully transparent pixels: nobody sees them, so they are made cheap to code.

Some images were made transparent by a mask over a photograph that goes on below it. Near the
visible pixels nothing is cheaper, or better for these, than that photograph; it stays there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gdncodec.images.raster import RasterImage

    Floats = NDArray[np.floating[Any]]

__all__ = ["cleaned", "filled"]

_BLOCK = 16
"""Pixels that one position of the latent stands for, in each direction."""


_NEAR = 4 * _BLOCK
"""Pixels from a visible one within which hidden pixels may change it in the decoded image."""

_JUMP = 2.0
"""Hidden colours continue the visible ones if the mean step from one to the other is at most so
many times that between visible neighbours."""


def cleaned(image: RasterImage) -> RasterImage:
    """Return an image with :func:`filled` colours below its fully transparent pixels."""
    if image.alpha is None:
        return image
    return replace(image, pixels=filled(image.pixels, image.alpha))


def filled(pixels: NDArray[Any], alpha: NDArray[np.uint8]) -> NDArray[Any]:
    """Continue the visible colours below the fully transparent pixels.

    Means of visible pixels are taken over ever larger blocks; what a block lacks comes from the
    larger ones, smoothly ("pull-push", Gortler and others, The Lumigraph, 1996).

    Args:
        pixels: (H, W, C) uint8 or uint16.
        alpha: (H, W) uint8.

    Returns:
        An array of the same shape and type, the same one if nothing is to be filled. An image
        without any visible pixel becomes mid grey.
    """
    hidden = alpha == 0
    if not hidden.any():
        return pixels
    if hidden.all():
        return np.full_like(pixels, np.iinfo(pixels.dtype).max // 2 + 1)
    if _continues(pixels, hidden):
        hidden = _far_from_visible(hidden)
    result = pixels.copy()
    rows = 64 * _BLOCK
    coarse, seen = _means(pixels, ~hidden, _BLOCK)
    coarse = _completed(coarse, seen)
    for top in range(0, len(pixels), rows):  # in strips, for memory
        part, below = result[top : top + rows], hidden[top : top + rows]
        if below.any():
            blocks = coarse[top // _BLOCK : (top + rows) // _BLOCK]
            smooth = _pushed(part, ~below, blocks)
            part[below] = np.rint(smooth[below]).astype(pixels.dtype)
    return result


def _continues(pixels: NDArray[Any], hidden: NDArray[np.bool_]) -> bool:
    """Tell whether the hidden colours go on where the visible ones end."""
    across = [0.0, 0.0]  # sums of steps between visible and hidden neighbours, between visible ones
    counts = [0, 0]
    for axis in (0, 1):
        first, second = (
            (slice(None, -1), slice(1, None))
            if axis == 0
            else ((slice(None), slice(None, -1)), (slice(None), slice(1, None)))
        )
        edge = hidden[first] != hidden[second]
        inside = ~(hidden[first] | hidden[second])
        for kind, where in enumerate((edge, inside)):
            steps = pixels[first][where].astype(np.float32) - pixels[second][where]
            across[kind] += float(np.abs(steps).sum())
            counts[kind] += steps.size
    if not all(counts):
        return False
    step, usual = (total / count for total, count in zip(across, counts, strict=True))
    return step <= _JUMP * usual


def _far_from_visible(hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the hidden pixels that are further than _NEAR from visible ones, by blocks."""
    blocks = _means((~hidden)[..., None], np.ones_like(hidden), _BLOCK)[0][..., 0] > 0
    reach = _NEAR // _BLOCK
    padded = np.pad(blocks, reach)
    near = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1,) * 2).any(axis=(2, 3))
    by_pixel = near.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)
    return ~by_pixel[: hidden.shape[0], : hidden.shape[1]]


def _means(values: NDArray[Any], weights: NDArray[Any], side: int) -> tuple[Floats, Floats]:
    """Return weighted means over blocks, zero where there is no weight, and sums of weights."""
    height, width, channels = values.shape
    down, across = -(-height // side), -(-width // side)
    means = np.zeros((down, across, channels), np.float32)
    sums = np.zeros((down, across), np.float32)
    for row in range(down):  # a row of blocks at a time, for memory
        where = slice(row * side, (row + 1) * side)
        weight = weights[where].astype(np.float32).sum(0)
        total = (values[where] * weights[where, :, None].astype(np.float32)).sum(0)
        starts = np.arange(0, width, side)
        sums[row] = np.add.reduceat(weight, starts)
        means[row] = np.add.reduceat(total, starts, axis=0)
    return means / np.maximum(sums, 1e-6)[..., None], sums


def _completed(values: Floats, sums: Floats) -> Floats:
    """Fill the positions without weight from coarser means."""
    lacking = sums == 0
    if not lacking.any():
        return values
    coarse = _completed(*_means(values, np.minimum(sums, 1), 2))
    return np.where(lacking[..., None], _doubled(coarse, *sums.shape), values)


def _pushed(pixels: NDArray[Any], visible: NDArray[np.bool_], blocks: Floats) -> Floats:
    """Refine the means of blocks down to single pixels, by halves."""
    side, values = _BLOCK, blocks
    while side > 1:
        side //= 2
        means, sums = _means(pixels, visible, side)
        values = _doubled(values, *sums.shape)
        values = np.where((sums == 0)[..., None], values, means)
    return values


def _doubled(values: Floats, height: int, width: int) -> Floats:
    """Return twice as many rows and columns, by linear interpolation, cut to a size."""
    for axis, length in ((0, height), (1, width)):
        values = np.moveaxis(values, axis, 0)
        before = np.concatenate([values[:1], values[:-1]])
        after = np.concatenate([values[1:], values[-1:]])
        both = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis=1)
        values = np.moveaxis(both.reshape(-1, *values.shape[1:])[:length], 0, axis)
    return values
