"""One HTML file that holds everything: curves, tables and images to compare; no network."""

import base64
import html
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from gdncodec.evaluation.curves import Curve
from gdncodec.evaluation.plots import colour_of
from gdncodec.evaluation.shown import Shown, cropped
from gdncodec.evaluation.tables import Table
from gdncodec.files import write_safely

__all__ = ["Report", "write_report"]

_METRICS = (
    {"key": "psnr-rgb", "label": "PSNR (RGB), dB", "unit": "dB", "digits": 2},
    {"key": "ms-ssim-db", "label": "MS-SSIM (RGB), dB", "unit": "dB", "digits": 2},
    {"key": "psnr-y", "label": "PSNR (Y), dB", "unit": "dB", "digits": 2},
    {"key": "psnr-611", "label": "PSNR (YCbCr 6:1:1), dB", "unit": "dB", "digits": 2},
    {"key": "ms-ssim-rgb", "label": "MS-SSIM (RGB)", "unit": "", "digits": 5},
    {"key": "lpips", "label": "LPIPS (lower is better)", "unit": "", "digits": 4},
    {"key": "encoding_time", "label": "encoding, s", "unit": "s", "digits": 3},
    {"key": "decoding_time", "label": "decoding, s", "unit": "s", "digits": 3},
)
_DIGITS = 6


@dataclass(frozen=True)
class Report:
    """What a report shows.

    Args:
        title: heading of the page.
        summary: a sentence on what was measured.
        curves: in the order of their colours.
        models: names of the curves that stand out.
        images: names, in the order of the curves' arrays.
        tables: what to print between curves and images.
        shown: decoded images.
        originals: file of each image in ``shown``, by its name.
        notes: terms and explanations at the end.
        image_budget: bytes of images that the page may hold. Where they take more, the middle of
            every image is shown, as large as the budget allows.
    """

    title: str
    summary: str
    curves: Sequence[Curve] = ()
    models: Sequence[str] = ()
    images: Sequence[str] = ()
    tables: Sequence[Table] = ()
    shown: Sequence[Shown] = ()
    originals: dict[str, Path] = field(default_factory=dict)
    notes: Sequence[tuple[str, str]] = ()
    image_budget: int = 48_000_000


def write_report(path: Path, report: Report, *, overwrite: bool = True) -> None:
    """Write the page.

    Raises:
        FileExistsError: the file exists and may not be overwritten.
        OSError: it cannot be written.
    """
    encoded: list[bytes] = []
    views = _views(report, encoded)
    present = {key for curve in report.curves for key in curve.results}
    data = {
        "curves": [_curve(i, curve, report) for i, curve in enumerate(report.curves)],
        "images": list(report.images),
        "metrics": [metric for metric in _METRICS if metric["key"] in present],
        "views": views,
    }
    page = _filled(
        _asset("report.html"),
        {
            "title": html.escape(report.title),
            "summary": html.escape(report.summary),
            "css": _asset("report.css"),
            "tables": "".join(map(_table, report.tables)),
            "notes": _notes(report.notes),
            # "</script>" must not appear in a script; in JSON, "<" may be written as an escape.
            "data": json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
            "encoded_images": "\n".join(_image(i, data) for i, data in enumerate(encoded)),
            "chart_js": _asset("chart.js"),
            "viewer_js": _asset("viewer.js"),
        },
    )
    with write_safely(path, overwrite=overwrite) as temporary:
        # Names that are not text, as Linux allows, are shown as what they are.
        temporary.write_text(page, "utf-8", "backslashreplace")


def _image(index: int, data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return f'<script type="text/plain" id="image-{index}">{text}</script>'


def _asset(name: str) -> str:
    return resources.files("gdncodec.evaluation").joinpath(f"web/{name}").read_text("utf-8")


def _filled(template: str, values: dict[str, str]) -> str:
    """Replace every ``{{name}}`` at once, so that nothing filled in is taken for a name."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _curve(index: int, curve: Curve, report: Report) -> dict[str, Any]:
    keys = [m["key"] for m in _METRICS if m["key"] in curve.results]
    keys += [key for key in ("bpp", "quality") if key in curve.results]
    return {
        "name": curve.name,
        "description": curve.description,
        "colour": colour_of(index),
        "model": curve.name in report.models,
        "results": {key: _finite(curve.results[key]) for key in keys},
        "images": [
            {key: _finite(curve.per_image[key][:, i]) for key in keys if key in curve.per_image}
            for i in range(len(report.images))
        ]
        if curve.per_image
        else [],
    }


def _finite(values: Any) -> list[float | None]:
    """Return numbers that JSON can hold; what is not finite becomes null."""
    return [
        float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
        for value in np.asarray(values, float).tolist()
    ]


def _views(report: Report, images: list[bytes]) -> list[dict[str, Any]]:
    """Return what the viewer needs, and append the images it refers to."""
    # A lossless original is about as large as the finest of its decoded images.
    names = list(dict.fromkeys(shown.image for shown in report.shown))
    by_name = {name: [s for s in report.shown if s.image == name] for name in names}
    need = sum(len(s.pixels) for s in report.shown)
    need += sum(max(len(s.pixels) for s in group) for group in by_name.values())
    share = min(1.0, report.image_budget * 3 / 4 / max(need, 1))  # base64 adds a third

    def add(source: Path | bytes) -> tuple[str, int, int]:
        data, width, height = cropped(source, share)
        images.append(data)
        return f"image-{len(images) - 1}", width, height

    views = []
    for name, group in by_name.items():
        original, width, height = add(report.originals[name])
        note = f"The middle {width} x {height} pixels." if share < 1 else ""
        targets = []
        for target in dict.fromkeys(s.target for s in group):
            items = [_item(s, add(s.pixels)[0]) for s in group if s.target == target]
            pixels = next(s.size * 8 / s.bpp for s in group)
            label = f"{target * 8 / pixels:.2g} bpp ({target:,} bytes)"
            targets.append({"label": label, "items": items})
        views.append({"image": name, "original": original, "note": note, "targets": targets})
    return views


def _item(shown: Shown, image: str) -> dict[str, Any]:
    return {
        "codec": shown.codec,
        "size": shown.size,
        "bpp": shown.bpp,
        "psnr": shown.psnr if math.isfinite(shown.psnr) else None,
        "ms": shown.ms_ssim_db if math.isfinite(shown.ms_ssim_db) else None,
        "image": image,
    }


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n"
        for row in table.rows
    )
    note = f'<p class="note">{html.escape(table.note)}</p>\n' if table.note else ""
    return (
        f"<section><h2>{html.escape(table.heading)}</h2>\n{note}"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(table.heading)}">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div></section>\n"
    )


def _notes(notes: Sequence[tuple[str, str]]) -> str:
    if not notes:
        return ""
    items = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>\n" for k, v in notes)
    return f"<section><h2>What was measured</h2>\n<dl>\n{items}</dl></section>\n"
