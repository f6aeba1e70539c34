"""Rate-distortion curves, and CompressAI's JSON of them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.errors import GdnCodecError
from gdncodec.files import write_data
from gdncodec.measures import ms_ssim_db

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Curve", "read_curve", "write_curve"]


@dataclass(frozen=True)
class Curve:
    """What one codec does at several rates.

    Args:
        name: the codec.
        results: lists of one length by name, sorted by ``bpp`` (bits per pixel). Names are those of
            CompressAI: ``psnr-rgb`` and ``ms-ssim-db`` in dB, ``encoding_time`` in seconds.
        description: how it was measured.
        per_image: the same lists as arrays (points, images), the images in one order for all
            curves of an evaluation; empty for a published curve.

    Raises:
        ValueError: there is no ``bpp``, a rate is not positive, or the lists differ in length.
    """

    name: str
    results: dict[str, list[float]]
    description: str = ""
    per_image: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(values) for values in self.results.values()}
        if "bpp" not in self.results or len(lengths) != 1 or not min(lengths):
            msg = f"{self.name}: expected bpp and other lists of one length, got {self.results}"
            raise ValueError(msg)
        if not all(math.isfinite(bpp) and bpp > 0 for bpp in self.results["bpp"]):
            msg = f"{self.name}: rates must be positive, got {self.results['bpp']}"
            raise ValueError(msg)

    def points(
        self, metric: str, images: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return rates and qualities that rise together, both (n,).

        Points that are not finite are left out, and points that are no better than one at a lower
        rate.

        Args:
            metric: a name in ``results``.
            images: indices, with repetition, of the images to average over; None takes the
                averages as they are.
        """
        if metric not in self.results:
            return np.empty(0), np.empty(0)
        if images is None or not self.per_image:
            rate, quality = (np.asarray(self.results[key], float) for key in ("bpp", metric))
        else:
            rate, quality = (self._mean(key, images) for key in ("bpp", metric))
        usable = np.isfinite(quality)
        order = np.argsort(rate[usable], kind="stable")
        rate, quality = rate[usable][order], quality[usable][order]
        if not rate.size:
            return rate, quality
        best_before = np.concatenate([[-np.inf], np.maximum.accumulate(quality)[:-1]])
        keep = (quality > best_before) & (np.diff(rate, prepend=0) > 0)
        return rate[keep], quality[keep]

    def _mean(self, key: str, images: NDArray[np.intp]) -> NDArray[np.float64]:
        """Average over images; MS-SSIM in dB is that of the mean value, as others publish it."""
        if key != "ms-ssim-db":
            mean: NDArray[np.float64] = self.per_image[key][:, images].mean(1)
            return mean
        return np.array([ms_ssim_db(v) for v in self._mean("ms-ssim-rgb", images)])


def read_curve(path: Path) -> Curve:
    """Read a result file in CompressAI's format, with or without ``name`` and ``results``.

    MS-SSIM in dB is computed where only the value is given.

    Raises:
        GdnCodecError: the file is not such a file.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
        lists = data.get("results", data)
        results = {
            key: [math.nan if v is None else float(v) for v in values]
            for key, values in lists.items()
            if isinstance(values, list) and key not in ("name", "description")
        }
        if "ms-ssim-db-rgb" in results:
            results["ms-ssim-db"] = results.pop("ms-ssim-db-rgb")
        if "ms-ssim-rgb" in results and "ms-ssim-db" not in results:
            results["ms-ssim-db"] = [ms_ssim_db(value) for value in results["ms-ssim-rgb"]]
        order = np.argsort(results["bpp"], kind="stable")
        results = {key: [values[i] for i in order] for key, values in results.items()}
        name = str(data.get("name") or path.stem)
        return Curve(name, results, str(data.get("description", "")))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise GdnCodecError(msg) from error
    except (
        ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError,
    ) as error:  # fmt: skip
        msg = f"{path}: not a result file in CompressAI's format ({error})"
        raise GdnCodecError(msg) from error


def write_curve(path: Path, curve: Curve) -> None:
    """Write a result file in CompressAI's format; a number that is not finite becomes null."""
    data: dict[str, Any] = {
        "name": curve.name,
        "description": curve.description,
        "results": {
            key: [value if math.isfinite(value) else None for value in values]
            for key, values in curve.results.items()
        },
    }
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    write_data(path, text.encode(errors="backslashreplace"), overwrite=True)
