"""How far a decoded image is from its original.

All metrics take two uint8 arrays (H, W, 3) of the same shape, RGB, and work on the 8-bit values
that a viewer sees, with a peak of 255.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.measures import ms_ssim_db, psnr

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "lpips_distance",
    "lpips_missing",
    "measure",
    "ms_ssim",
    "psnr_rgb",
    "psnr_ycbcr",
]

_PEAK = 255.0
_LUMA_BT709 = (0.2126, 0.7152, 0.0722)
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11
_SIGMA = 1.5
_LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"


def measure(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> dict[str, float]:
    """Return every metric that needs no trained network, by its name in the result files.

    Args:
        original: uint8 (H, W, 3).
        decoded: uint8 (H, W, 3).

    Returns:
        ``psnr-rgb``, ``psnr-y``, ``psnr-611`` and ``ms-ssim-db`` in dB, ``ms-ssim-rgb`` at most 1.
        A PSNR between equal images is infinite.

    Raises:
        ValueError: the arrays are not uint8 (H, W, 3) of one shape.
    """
    luma, weighted = psnr_ycbcr(original, decoded)
    similarity = ms_ssim(original, decoded)
    return {
        "psnr-rgb": psnr_rgb(original, decoded),
        "psnr-y": luma,
        "psnr-611": weighted,
        "ms-ssim-rgb": similarity,
        "ms-ssim-db": ms_ssim_db(similarity),
    }


def psnr_rgb(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return the PSNR in dB over all samples of the three channels; infinite for equal images.

    Raises:
        ValueError: the arrays are not uint8 (H, W, 3) of one shape.
    """
    _check(original, decoded)
    return _psnr(original.astype(np.float64) - decoded)


def psnr_ycbcr(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the PSNR of luma, and ``(6 Y + Cb + Cr) / 8`` of the three PSNRs, in dB.

    YCbCr is that of ITU-R BT.709 over the full range, unrounded; the weights are those of the
    video coding groups (Ohm et al. 2012, "Comparison of the coding efficiency of video coding
    standards").

    Raises:
        ValueError: the arrays are not uint8 (H, W, 3) of one shape.
    """
    _check(original, decoded)
    red, green, blue = np.moveaxis(original.astype(np.float64) - decoded, 2, 0)
    kr, kg, kb = _LUMA_BT709
    luma = kr * red + kg * green + kb * blue
    y, cb, cr = map(_psnr, (luma, (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)))
    return y, (6 * y + cb + cr) / 8


def ms_ssim(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return the multi-scale structural similarity of RGB, at most 1.

    Wang, Simoncelli, Bovik 2003, as the package ``pytorch-msssim`` computes it: each channel by
    itself, five scales. Five scales need a shorter side of 161 pixels or more. A smaller image is
    measured on as many scales as its side allows (81: four, 41: three, 21: two), with the weights
    of those scales divided by their sum; below 11 pixels the Gaussian window is cut to the side.

    Raises:
        ValueError: the arrays are not uint8 (H, W, 3) of one shape.
    """
    _check(original, decoded)
    if np.array_equal(original, decoded):
        return 1.0  # float32 would miss it by a rounding
    if min(original.shape[:2]) <= (_WINDOW - 1) * 2 ** (len(_SCALE_WEIGHTS) - 1):
        return _small_ms_ssim(original, decoded)
    import torch
    from pytorch_msssim import ms_ssim as five_scales

    x, y = (torch.tensor(a).permute(2, 0, 1)[None].float() for a in (original, decoded))
    return min(float(five_scales(x, y, data_range=_PEAK)), 1.0)


def _small_ms_ssim(
    original: NDArray[Any], decoded: NDArray[Any], scales: int | None = None
) -> float:
    """MS-SSIM with as many scales as fit; ``scales`` forces their number."""
    side = min(original.shape[:2])
    fitting = sum(side > (_WINDOW - 1) * 2**i for i in range(len(_SCALE_WEIGHTS)))
    weights = np.array(_SCALE_WEIGHTS[: scales or max(fitting, 1)])
    weights /= weights.sum()
    x, y = original.astype(np.float64), decoded.astype(np.float64)
    total = np.ones(x.shape[2])
    for scale, weight in enumerate(weights):
        if scale:
            x, y = _halved(x), _halved(y)
        ssim, contrast = _ssim_parts(x, y)
        term = ssim if scale == len(weights) - 1 else contrast
        total *= np.maximum(term, 0) ** weight
    return float(total.mean())


def _ssim_parts(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return SSIM and its contrast-structure factor for each channel (C,)."""
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x = _blurred(x * x) - mean_x**2
    var_y = _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    contrast = (2 * covariance + c2) / (var_x + var_y + c2)
    ssim = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * contrast
    return ssim.mean((0, 1)), contrast.mean((0, 1))


def _blurred(x: NDArray[Any]) -> NDArray[Any]:
    """Gaussian window over the positions where it fits, (H, W, C) -> (H - n + 1, W - n + 1, C)."""
    for axis in (0, 1):
        taps = min(_WINDOW, x.shape[axis])
        offsets = np.arange(taps) - (taps - 1) / 2
        window = np.exp(-(offsets**2) / (2 * _SIGMA**2))
        view = np.lib.stride_tricks.sliding_window_view(x, taps, axis)
        x = view @ (window / window.sum())
    return x


def _halved(x: NDArray[Any]) -> NDArray[Any]:
    """Mean of 2 x 2 blocks; an odd side gets a border of zeros first, as in pytorch-msssim."""
    height, width = x.shape[:2]
    odd = [(n % 2, n % 2) for n in (height, width)]
    x = np.pad(x, [*odd, (0, 0)])
    x = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4


def lpips_missing() -> str | None:
    """Return why LPIPS cannot be measured here, or None where it can.

    Nothing is ever downloaded: the weights of AlexNet must lie in torch's hub folder.
    """
    try:
        import lpips
        import torch
    except ImportError as error:
        return f"{error.name} is not installed (pip install lpips)"
    del lpips
    weights = Path(torch.hub.get_dir()) / "checkpoints" / _LPIPS_WEIGHTS
    if not weights.is_file():
        return (
            f"the weights of AlexNet are not at {weights} (torchvision.models.alexnet fetches them)"
        )
    return None


def lpips_distance(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return LPIPS (Zhang et al. 2018, AlexNet, version 0.1): 0 for equal images, less is better.

    An image with a side under 64 pixels is extended by its edge to 64, which AlexNet needs.

    Raises:
        RuntimeError: it cannot be measured here; see :func:`lpips_missing`.
        ValueError: the arrays are not uint8 (H, W, 3) of one shape.
    """
    _check(original, decoded)
    import torch

    height, width = original.shape[:2]
    border = ((0, max(0, 64 - height)), (0, max(0, 64 - width)), (0, 0))
    x, y = (
        torch.tensor(np.pad(a, border, mode="edge")).permute(2, 0, 1)[None].float() / 127.5 - 1
        for a in (original, decoded)
    )
    with torch.inference_mode():
        return float(_lpips_network()(x, y))


@lru_cache(maxsize=1)
def _lpips_network() -> Any:
    reason = lpips_missing()
    if reason:
        msg = f"LPIPS cannot be measured: {reason}"
        raise RuntimeError(msg)
    import warnings

    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips asks torchvision for weights in its old way
        return lpips.LPIPS(net="alex", verbose=False).eval()


def _psnr(difference: NDArray[np.float64]) -> float:
    return psnr(float(np.square(difference).mean()))


def _check(original: NDArray[Any], decoded: NDArray[Any]) -> None:
    for array in (original, decoded):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            msg = f"expected uint8 arrays (H, W, 3), got {array.dtype} {array.shape}"
            raise ValueError(msg)
    if original.shape != decoded.shape:
        msg = f"the images must have one shape, got {original.shape} and {decoded.shape}"
        raise ValueError(msg)
