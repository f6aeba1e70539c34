"""Measurements: one record for each image, codec and quality, kept in a JSON Lines file."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdncodec.errors import ImageError
from gdncodec.evaluation.curves import Curve
from gdncodec.files import naming, write_data
from gdncodec.measures import ms_ssim_db

__all__ = [
    "CodecInfo",
    "Evaluation",
    "Failure",
    "Measurement",
    "MeasurementStore",
    "mean_curve",
    "raise_failures",
]


@dataclass(frozen=True)
class CodecInfo:
    """A codec of an evaluation.

    Args:
        name: short, and unique in the evaluation.
        label: for tables and plots.
        description: settings and versions.
        qualities: the measured ones, in rising order.
        key: changes with settings, versions and weights.
        learned: whether it is a model, not a classical codec.
        norm: normalisation layer of a model.
    """

    name: str
    label: str
    description: str
    qualities: tuple[float, ...]
    key: str
    learned: bool
    norm: str | None = None


@dataclass(frozen=True)
class Failure:
    """Something that could not be measured, and the reason."""

    image: str
    codec: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.image}{f' with {self.codec}' if self.codec else ''}: {self.reason}"


@dataclass(frozen=True)
class Measurement:
    """One image through one codec at one quality.

    Args:
        image: name of the file.
        digest: SHA-256 of the file.
        width: in pixels.
        height: in pixels.
        codec: name of the codec.
        key: see :class:`CodecInfo`.
        quality: on the codec's own scale.
        size: bytes of the whole file.
        estimated_bits: bits of the latents according to the entropy model, if there is one.
        metrics: by the names of :func:`gdncodec.evaluation.metrics.measure`.
        encoding_time: seconds.
        decoding_time: seconds.
    """

    image: str
    digest: str
    width: int
    height: int
    codec: str
    key: str
    quality: float
    size: int
    estimated_bits: float | None
    metrics: dict[str, float]
    encoding_time: float
    decoding_time: float

    @property
    def bpp(self) -> float:
        """Bits of the file over the pixels of the image."""
        return 8 * self.size / (self.width * self.height)

    @property
    def estimated_bpp(self) -> float:
        """Bits of the estimate over the pixels of the image; NaN without one."""
        bits = math.nan if self.estimated_bits is None else self.estimated_bits
        return bits / (self.width * self.height)


@dataclass(frozen=True)
class Evaluation:
    """The result of :func:`gdncodec.evaluation.run.evaluate`.

    Args:
        codecs: what was measured.
        images: names of the images that were measured with every codec at every quality.
        measurements: of all images.
        failures: what could not be measured.
    """

    codecs: list[CodecInfo]
    images: list[str]
    measurements: list[Measurement]
    failures: list[Failure]


def raise_failures(failures: Sequence[Failure], written: str) -> None:
    """Raise an error that lists the failures, if there are any.

    Raises:
        ImageError: something could not be measured.
    """
    if failures:
        lines = "".join(f"\n  {failure}" for failure in failures)
        msg = f"{len(failures)} could not be measured; the rest is in {written}:{lines}"
        raise ImageError(msg)


class MeasurementStore:
    """A file of measurements, one JSON object per line, from which an interrupted run continues.

    Args:
        path: the file; it need not exist. A last line that was cut off is ignored.
        resume: keep what the file holds.
    """

    def __init__(self, path: Path, *, resume: bool = True) -> None:
        self._path = path
        self._known: dict[tuple[str, str, float], Measurement] = {}
        if not resume:
            path.unlink(missing_ok=True)
        if path.is_file():
            text = path.read_text("utf-8")
            for line in text.splitlines():
                self._take(line)
            if text and not text.endswith("\n"):
                write_data(path, f"{text}\n".encode(), overwrite=True)  # close a line cut off

    def get(self, digest: str, key: str, quality: float) -> Measurement | None:
        """Return the measurement of an image by a codec at a quality, if there is one."""
        return self._known.get((digest, key, quality))

    def add(self, measurement: Measurement) -> None:
        """Append a measurement."""
        record: dict[str, Any] = asdict(measurement)
        record["metrics"] = {
            name: value if math.isfinite(value) else None
            for name, value in measurement.metrics.items()
        }
        with naming(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
        self._known[measurement.digest, measurement.key, measurement.quality] = measurement

    def _take(self, line: str) -> None:
        try:
            record = json.loads(line)
            if "picture" in record:  # the name of the field before version 0.2
                record["image"] = record.pop("picture")
            record["metrics"] = {
                name: math.inf if value is None else value
                for name, value in record["metrics"].items()
            }
            known = Measurement(**record)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        self._known[known.digest, known.key, known.quality] = known


def mean_curve(
    info: CodecInfo, measurements: Iterable[Measurement], images: Sequence[str]
) -> Curve | None:
    """Average the measurements of a codec over images, quality by quality.

    Args:
        info: the codec.
        measurements: of any codecs and images.
        images: names, in the order of the arrays of the result; all must have been measured.

    Returns:
        The curve, rising in rate, with ``quality`` and ``bpp-estimate`` (NaN without one) among
        the results; None without images.
    """
    of_codec = {(m.quality, m.image): m for m in measurements if m.codec == info.name}
    if not images:
        return None
    rows = [[_numbers(of_codec[q, name]) for name in images] for q in info.qualities]
    arrays = {
        key: np.array([[numbers[key] for numbers in row] for row in rows]) for key in rows[0][0]
    }
    order = np.argsort(arrays["bpp"].mean(1), kind="stable")
    arrays = {key: values[order] for key, values in arrays.items()}
    results = {key: values.mean(1).tolist() for key, values in arrays.items()}
    results["ms-ssim-db"] = [ms_ssim_db(value) for value in results["ms-ssim-rgb"]]
    if all(map(math.isnan, results["bpp-estimate"])):
        del results["bpp-estimate"]
    return Curve(info.label, results, info.description, arrays)


def _numbers(measurement: Measurement) -> dict[str, float]:
    return {
        **measurement.metrics,
        "bpp": measurement.bpp,
        "bpp-estimate": measurement.estimated_bpp,
        "encoding_time": measurement.encoding_time,
        "decoding_time": measurement.decoding_time,
        "quality": measurement.quality,
    }
