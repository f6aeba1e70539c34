"""Display of a training run: a progress bar or lines of text, and TensorBoard."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gdncodec.extras import check_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from gdncodec.training.validate import Point

__all__ = ["Monitor"]

_FORMS = {
    "loss": "loss {:.3f}",
    "bpp": "{:.3f} bpp",
    "psnr": "{:.2f} dB",
    "patches_per_second": "{:.1f} patches/s",
    "rate": "learning rate {:.1e}",
}

_BETWEEN_LINES = 30.0
"""Least seconds between two lines if standard error is not a terminal."""


class Monitor:
    """Shows figures on standard error and logs them for TensorBoard.

    A terminal gets a progress bar, anything else a line at intervals.

    Args:
        out: folder of the run; event files go into its subfolder ``tensorboard``.
        report: called with every line of text instead; there is no bar then.
        step: step at which the run resumes; figures logged for later steps are hidden.

    Raises:
        GdnCodecError: a package for drawing or logging is not installed.
    """

    def __init__(
        self, out: Path, *, report: Callable[[str], None] | None = None, step: int = 0
    ) -> None:
        check_installed("matplotlib", "tensorboard", "tqdm", extra="train")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(out / "tensorboard"), purge_step=step or None)
        self._bar: Any = None
        self._report = report or _to_standard_error
        self._between = 0.0 if report else _BETWEEN_LINES
        self._next_line = 0.0
        if report is None and sys.stderr.isatty():
            from tqdm import tqdm

            layout = "{percentage:3.0f}%|{bar:8}| {desc}"
            self._bar = tqdm(total=1.0, bar_format=layout, file=sys.stderr, dynamic_ncols=True)

    def progress(self, step: int, done: float, figures: Mapping[str, float]) -> None:
        """Show the progress of training.

        Args:
            step: number of completed steps.
            done: completed fraction of the run, 0 to 1.
            figures: ``loss``, ``bpp`` and ``psnr`` (dB) of the latest crops; optionally ``rate``
                (learning rate), ``patches_per_second``, ``seconds_left``, and the counts
                ``skipped`` (steps) and ``rollbacks``.
        """
        for name, value in figures.items():
            if name != "seconds_left":
                self._keep("add_scalar", f"train/{name}", value, step)
        text = _describe(step, figures)
        now = time.monotonic()
        if self._bar is not None:
            self._bar.n = done
            self._bar.set_description_str(text)
        elif now >= self._next_line:
            self._report(f"{done:4.0%} {text}")
            self._next_line = now + self._between

    def points(
        self,
        step: int,
        points: Sequence[Point],
        pair: tuple[Tensor, Tensor] | None = None,
        score: float | None = None,
    ) -> None:
        """Show the results of a validation.

        Args:
            step: number of completed steps.
            points: results at one or more qualities.
            pair: an image and its reconstruction, both uint8 (3, h, w).
            score: result of :func:`gdncodec.training.validate.score`.
        """
        for point in points:
            for name, value in point._asdict().items():
                if name != "quality" and value is not None:
                    self._keep("add_scalar", f"validation/{name}_q{point.quality:g}", value, step)
        if score is not None:
            self._keep("add_scalar", "validation/score", score, step)
        plot = _rate_distortion_plot(points, step)
        self._keep("add_image", "validation/rate_distortion", plot, step, dataformats="HWC")
        if pair is not None:
            both = torch.cat(pair, dim=2)  # the original on the left
            self._keep("add_image", "validation/original_and_reconstruction", both, step)
        self._keep("flush")
        means = ", ".join(f"{p.bpp:.3f} bpp {p.psnr:.2f} dB" for p in points)
        self.note(f"step {step}: validation {means}")

    def note(self, text: str) -> None:
        """Print a line of text, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            self._report(text)

    def close(self) -> None:
        """Close the bar and the event file; a second call does nothing."""
        if self._bar is not None:
            self._bar.close()
        self._keep("close")

    def _keep(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Call a method of TensorBoard's writer; a full disk ends the logging, not the training."""
        if self._writer is None:
            return
        try:
            getattr(self._writer, method)(*args, **kwargs)
        except OSError as error:
            self._writer = None
            self.note(f"TensorBoard logging stopped: {error}")


def _to_standard_error(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _describe(step: int, figures: Mapping[str, float]) -> str:
    """Format figures as a line, least important last: a narrow terminal cuts off the end."""
    parts = [f"step {step}"]
    left = figures.get("seconds_left", float("nan"))
    if 0 <= left < float("inf"):
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        parts.append(f"{hours}:{minutes:02}:{seconds:02} left")
    parts += [f"{figures[k]:.0f} {k}" for k in ("skipped", "rollbacks") if figures.get(k)]
    parts += [form.format(figures[name]) for name, form in _FORMS.items() if name in figures]
    return ", ".join(parts)


def _rate_distortion_plot(points: Sequence[Point], step: int) -> NDArray[np.uint8]:
    """Plot PSNR over bits per pixel, with the quality at each point; return uint8 (H, W, 3)."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        xlabel="bits per pixel (estimated)", ylabel="PSNR in dB", title=f"step {step}"
    )
    axes.plot([p.bpp for p in points], [p.psnr for p in points], "o-")
    for point in points:
        place = (point.bpp, point.psnr)
        axes.annotate(f"q {point.quality:g}", place, xytext=(6, -10), textcoords="offset points")
    axes.grid(alpha=0.3)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
