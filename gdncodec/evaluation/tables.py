"""Results as CSV and Markdown."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gdncodec.evaluation.curves import Curve
from gdncodec.evaluation.deltas import Comparison
from gdncodec.evaluation.measurements import Measurement
from gdncodec.files import write_data

__all__ = [
    "HEADINGS",
    "Table",
    "comparison_cells",
    "markdown_table",
    "number",
    "points_table",
    "rate_cell",
    "times_table",
    "write_csv",
]

HEADINGS = (
    "codec",
    "against",
    "BD-rate",
    "95 % interval",
    "BD-rate (Akima)",
    "BD-PSNR",
    "BD-rate, MS-SSIM",
    "low rate",
    "2nd quarter",
    "3rd quarter",
    "high rate",
)

_METRICS = ("psnr-rgb", "psnr-y", "psnr-611", "ms-ssim-rgb", "ms-ssim-db", "lpips")


@dataclass(frozen=True)
class Table:
    """A table under a heading; the first column is the name of a row."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def number(value: float | str | None, form: str = "+.1f", unit: str = " %") -> str:
    """Return a number with its unit; a reason as it is; a dash for None or NaN."""
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "-"
    return f"{value:{form}}{unit}"


def rate_cell(comparison: Comparison, *, explain: bool = False) -> str:
    """Return a BD-rate; one that is not to be relied on has an asterisk, or says why."""
    text = number(comparison.bd_rate)
    if not comparison.caution:
        return text
    return f"{text} (not reliable: {comparison.caution})" if explain else f"{text} *"


def comparison_cells(by_psnr: Comparison, by_similarity: Comparison) -> list[str]:
    """Return the cells of one row under :data:`HEADINGS`.

    Args:
        by_psnr: by ``psnr-rgb``.
        by_similarity: of the same two curves by ``ms-ssim-db``.
    """
    interval = by_psnr.interval
    return [
        by_psnr.test,
        by_psnr.anchor,
        rate_cell(by_psnr),
        f"{interval[0]:+.1f} to {interval[1]:+.1f} %" if interval else "-",
        number(by_psnr.bd_rate_akima),
        number(by_psnr.bd_psnr, "+.2f", " dB"),
        rate_cell(by_similarity),
        *map(number, by_psnr.quarters),
    ]


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, its first two columns left-aligned and the others right."""
    lines = [headings, [":--"] * 2 + ["--:"] * (len(headings) - 2), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def points_table(curve: Curve) -> str:
    """Return the points of a curve as a table in Markdown."""
    columns = {
        "quality": ("quality", "g"),
        "bpp": ("bpp", ".4f"),
        "bpp-estimate": ("estimated bpp", ".4f"),
        "psnr-rgb": ("PSNR, dB", ".2f"),
        "psnr-y": ("PSNR-Y, dB", ".2f"),
        "psnr-611": ("PSNR 6:1:1, dB", ".2f"),
        "ms-ssim-rgb": ("MS-SSIM", ".5f"),
        "ms-ssim-db": ("MS-SSIM, dB", ".2f"),
        "lpips": ("LPIPS", ".4f"),
        "encoding_time": ("encoding, s", ".3f"),
        "decoding_time": ("decoding, s", ".3f"),
    }
    present = [key for key in columns if key in curve.results]
    rows = [
        [number(curve.results[key][i], columns[key][1], "") for key in present]
        for i in range(len(curve.results["bpp"]))
    ]
    return markdown_table([columns[key][0] for key in present], rows)


def times_table(curves: Sequence[Curve]) -> Table:
    """Return the mean times of measured codecs, over images and qualities."""
    columns = ("codec", "settings", "encoding, s", "decoding, s")
    rows = []
    for curve in curves:
        times = [
            number(sum(curve.results[key]) / len(curve.results[key]), ".3f", "")
            for key in ("encoding_time", "decoding_time")
        ]
        rows.append((curve.name, curve.description, *times))
    return Table("Time for an image", columns, rows, "Means over images and qualities.")


def write_csv(path: Path, measurements: Iterable[Measurement]) -> None:
    """Write every measurement as a line, sorted by image, codec and quality."""
    rows = sorted(measurements, key=lambda m: (m.image, m.codec, m.quality))
    metrics = [name for name in _METRICS if any(name in m.metrics for m in rows)]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["image", "width", "height", "codec", "quality", "bytes", "bpp", "bpp_estimate"]
        + [name.replace("-", "_") for name in metrics]
        + ["encoding_time", "decoding_time"]
    )
    for m in rows:
        estimate = "" if m.estimated_bits is None else f"{m.estimated_bpp:.6f}"
        values = [f"{m.metrics[name]:.6f}" if name in m.metrics else "" for name in metrics]
        what = [m.image, m.width, m.height, m.codec, f"{m.quality:g}"]
        times = [f"{m.encoding_time:.5f}", f"{m.decoding_time:.5f}"]
        writer.writerow([*what, m.size, f"{m.bpp:.6f}", estimate, *values, *times])
    write_data(path, file.getvalue().encode(errors="backslashreplace"), overwrite=True)
