"""Rate and distortion of a finished model on image files, next to the training's estimates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gdncodec.codec import Codec
from gdncodec.files import write_safely
from gdncodec.images.raster import RasterImage
from gdncodec.measures import middle, psnr
from gdncodec.nn.loss import ms_ssim
from gdncodec.training.data import read_rgb
from gdncodec.training.validate import LARGEST_SIDE, Point

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["format_points", "measure_files", "write_points"]


def measure_files(
    model_file: Path, files: Sequence[Path], network_points: Sequence[Point]
) -> list[dict[str, float]]:
    """Compress and decompress images; return a dict of means over them for each quality.

    Of a side longer than LARGEST_SIDE pixels only the middle is measured, as in
    :func:`gdncodec.training.validate.validate`.

    ``bpp`` is the size of the ``.gdn`` files in bits per pixel, and ``psnr`` the PSNR of the
    decoded 8-bit pixels in dB. ``bpp_tables`` is the size of the same files as estimated from the
    entropy tables; ``bpp_estimated`` and ``psnr_estimated`` are the estimates of the network. The
    tables depend on neighbouring symbols and the network's density does not, so files are often
    smaller than estimated. Models trained on MS-SSIM have ``ms_ssim`` and ``ms_ssim_estimated``
    too.

    Args:
        model_file: the exported model.
        files: readable images, at least one.
        network_points: the qualities to measure, with the estimates of the network.

    Raises:
        ImageError: a file is not a readable image.
        ModelError: the model file is damaged.
    """
    codec = Codec(model_file)
    sums = np.zeros((len(network_points), 4))
    for file in files:
        pixels = read_rgb(file)
        size = pixels.shape[:2]
        pixels = pixels[middle(size, [min(side, LARGEST_SIDE) for side in size])]
        sums += [_measure(codec, pixels, point.quality) for point in network_points]
    rows = []
    for point, means in zip(network_points, (sums / len(files)).tolist(), strict=True):
        bpp, bpp_tables, decibels, similarity = means
        row = {
            "quality": point.quality,
            "bpp": bpp,
            "bpp_tables": bpp_tables,
            "bpp_estimated": point.bpp,
            "psnr": decibels,
            "psnr_estimated": point.psnr,
        }
        if point.ms_ssim is not None:
            row |= {"ms_ssim": similarity, "ms_ssim_estimated": point.ms_ssim}
        rows.append(row)
    return rows


def format_points(rows: Sequence[dict[str, float]]) -> str:
    """Format the result of :func:`measure_files` as a table, without a trailing line break."""
    head = "quality  bpp of files  tables  estimated  PSNR of files  estimated"
    lines = [
        f"{r['quality']:7g}  {r['bpp']:12.3f}  {r['bpp_tables']:6.3f}  {r['bpp_estimated']:9.3f}"
        f"  {r['psnr']:10.2f} dB  {r['psnr_estimated']:6.2f} dB"
        for r in rows
    ]
    if rows and "ms_ssim" in rows[0]:
        head += "  MS-SSIM of files  estimated"
        lines = [
            f"{line}  {r['ms_ssim']:16.4f}  {r['ms_ssim_estimated']:9.4f}"
            for line, r in zip(lines, rows, strict=True)
        ]
    return "\n".join([head, *lines])


def write_points(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write the result of :func:`measure_files` as JSON; a crash leaves the old or the new file.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    with write_safely(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _measure(
    codec: Codec, pixels: NDArray[np.uint8], quality: float
) -> tuple[float, float, float, float]:
    """Return bpp of the file and by the tables, PSNR in dB, and MS-SSIM (0 if not trained on)."""
    data = codec.compress(RasterImage(pixels), quality)
    decoded = codec.decompress(data).pixels
    area = pixels[..., 0].size
    mse = float(np.square(pixels.astype(np.float64) - decoded).mean())
    decibels = psnr(max(mse, 1e-9))  # JSON has no infinity
    similarity = 0.0
    if codec.entry.config.metric == "ms-ssim":
        similarity = float(ms_ssim(_batch(decoded), _batch(pixels)))
    return 8 * len(data) / area, codec.estimated_bits(data) / area, decibels, similarity


def _batch(pixels: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
