"""Plots of an evaluation, each as PNG and SVG."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gdncodec.evaluation.curves import Curve
from gdncodec.evaluation.deltas import savings
from gdncodec.files import write_data

__all__ = ["COLOURS", "colour_of", "write_plots"]

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c564b",
    "#9467bd", "#bcbd22", "#17becf", "#000000",
)  # fmt: skip
"""Colours that colour-blind readers can tell apart; those of Okabe and Ito come first."""

_AXES = {"psnr-rgb": "PSNR (RGB), dB", "ms-ssim-db": "MS-SSIM (RGB), dB"}
_MARKERS = "osD^vPX*<>ph"
_SIZE = (7.2, 4.8)


def colour_of(index: int) -> str:
    """Return the colour of the curve with this number."""
    return COLOURS[index % len(COLOURS)]


def write_plots(
    folder: Path, curves: Sequence[Curve], models: Sequence[str], reference: str
) -> list[Path]:
    """Draw everything.

    Args:
        folder: where ``rd-psnr``, ``rd-ms-ssim``, ``savings``, ``images`` and ``time`` go, each
            as ``.png`` and ``.svg``.
        curves: in the order of their colours.
        models: names of the curves that stand out.
        reference: name of the curve that savings are relative to.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    anchor = next(curve for curve in curves if curve.name == reference)
    figures = {
        "rd-psnr": _rate_distortion(curves, models, "psnr-rgb"),
        "rd-ms-ssim": _rate_distortion(curves, models, "ms-ssim-db"),
        "savings": _savings(curves, models, anchor),
        "images": _images(curves),
        "time": _time(curves, models),
    }
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            paths += _save(figure, folder / name)
    return paths


def _axes(title: str, x_label: str, y_label: str) -> tuple[Any, Any]:
    # Not pyplot: it would choose a window system and keep every figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    return figure, axes


def _style(index: int, curve: Curve, models: Sequence[str]) -> dict[str, Any]:
    ours = curve.name in models
    return {
        "color": colour_of(index),
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 4,
        "linewidth": 2.2 if ours else 1.2,
        "linestyle": "-" if ours else "--",
        "zorder": 3 if ours else 2,
        "label": curve.name,
    }


def _rate_distortion(curves: Sequence[Curve], models: Sequence[str], metric: str) -> Any:
    figure, axes = _axes("Rate and distortion", "bits per pixel", _AXES[metric])
    for index, curve in enumerate(curves):
        if metric in curve.results:
            rate, quality = curve.points(metric)
            axes.plot(rate, quality, **_style(index, curve, models))
    if not axes.lines:
        return None
    ours = [line for line in axes.lines if line.get_label() in models] or axes.lines
    axes.set_xlim(0, 1.15 * max(line.get_xdata().max() for line in ours if len(line.get_xdata())))
    low = min(line.get_ydata().min() for line in axes.lines if len(line.get_ydata()))
    inside = [
        y
        for line in axes.lines
        for x, y in zip(*line.get_data(), strict=True)
        if x <= axes.get_xlim()[1]
    ]
    axes.set_ylim(low - 0.5, max(inside, default=low) + 0.8)
    axes.legend(loc="lower right", fontsize=8)
    return figure


def _savings(curves: Sequence[Curve], models: Sequence[str], anchor: Curve) -> Any:
    figure, axes = _axes(
        f"Bits relative to {anchor.name}, at equal quality",
        _AXES["psnr-rgb"],
        "bits more (+) or fewer (-), %",
    )
    for index, curve in enumerate(curves):
        quality, percent = savings(anchor, curve)
        if quality.size and curve is not anchor:
            style = _style(index, curve, models)
            axes.plot(quality, percent, **{**style, "marker": None})
    if not axes.lines:
        return None
    axes.axhline(0, color="black", linewidth=0.8)
    axes.legend(fontsize=8)
    return figure


def _images(curves: Sequence[Curve]) -> Any:
    figure, axes = _axes("Every image", "bits per pixel", _AXES["psnr-rgb"])
    axes.set_xscale("log")
    for index, curve in enumerate(curves):
        if curve.per_image:
            rate, quality = (curve.per_image[key].ravel() for key in ("bpp", "psnr-rgb"))
            usable = np.isfinite(quality)
            axes.scatter(
                rate[usable], quality[usable], s=9, alpha=0.6, linewidths=0,
                color=colour_of(index), label=curve.name,
            )  # fmt: skip
    if not axes.collections:
        return None
    axes.legend(fontsize=8, markerscale=2)
    return figure


def _time(curves: Sequence[Curve], models: Sequence[str]) -> Any:
    figure, axes = _axes("Time for an image", "bits per pixel", "seconds")
    axes.set_yscale("log")
    for index, curve in enumerate(curves):
        if not curve.per_image:
            continue  # published times are those of other machines
        style = _style(index, curve, models)
        for key, line in (("encoding_time", "-"), ("decoding_time", ":")):
            style |= {"linestyle": line, "label": f"{curve.name}, {key[:8]}"}
            axes.plot(curve.results["bpp"], curve.results[key], **style)
    if not axes.lines:
        return None
    figure.legend(fontsize=8, loc="outside right upper")
    return figure


def _save(figure: Any, stem: Path) -> list[Path]:
    from matplotlib import rc_context

    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    # Without date and with fixed names inside, the same numbers give the same file.
    with rc_context({"svg.hashsalt": "gdncodec", "svg.fonttype": "path"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    for path, data in zip(paths, (png, svg), strict=True):
        write_data(path, data.getvalue(), overwrite=True)
    return paths
