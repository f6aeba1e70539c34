"""What the main process does besides training: figures, validation, checkpoints."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from gdncodec.training.checkpoint import Checkpoint, save_checkpoint
from gdncodec.training.meter import Meter
from gdncodec.training.monitor import Monitor
from gdncodec.training.state import TrainingState
from gdncodec.training.validate import Point, reconstruct, score, validate

__all__ = ["Recorder"]

_SHARE = 0.05
"""Largest share of the time to spend on validation, approximately."""

_BETWEEN_FIGURES = 1.0
"""Least seconds between two updates of the figures."""


class Recorder:
    """Shows the progress of a run and saves its checkpoints.

    Args:
        out: existing folder for ``last``, ``best`` and ``before-decay.safetensors``.
        monitor: display of the figures.
        validation: images, uint8 (3, H, W); may be empty.
        report_seconds: seconds between two reports.
    """

    def __init__(
        self, out: Path, monitor: Monitor, validation: Sequence[Tensor], report_seconds: float
    ) -> None:
        self.out = out
        self.monitor = monitor
        self._validation = validation
        self._pause = report_seconds
        self._began = self._shown = time.monotonic()
        self._next = self._began + self._pause
        self._next_validation = self._next
        self._first: float | None = None  # progress when this process began

    @property
    def due(self) -> bool:
        """Whether it is time for a report."""
        return time.monotonic() >= self._next

    def show(self, state: TrainingState, progress: float, meter: Meter) -> None:
        """Show the figures, at most once per second."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = progress, now
        if now - self._shown < min(_BETWEEN_FIGURES, self._pause):
            return
        steps, figures = meter.means()
        if not steps:
            return
        counters, seconds = state.counters, max(now - self._shown, 1e-9)
        way = (progress - self._first) / max(now - self._began, 1e-9)
        figures |= {
            "rate": state.rate,
            "patches_per_second": steps * state.options.batch / seconds,
            "seconds_left": (1 - progress) / way if way else float("nan"),
            "skipped": counters.skipped,
            "rollbacks": counters.rollbacks,
        }
        self.monitor.progress(counters.step, min(progress, 1.0), figures)
        self._shown = now

    def report(self, state: TrainingState, checkpoint: Checkpoint) -> None:
        """Save a checkpoint, and validate unless that would take too large a share of the time."""
        began = time.monotonic()
        if began >= self._next_validation:
            self.validate(state)
            self._next_validation = time.monotonic() + (time.monotonic() - began) / _SHARE
        self.save("last.safetensors", checkpoint._replace(counters=state.counters))
        self._next = time.monotonic() + self._pause
        self._shown += time.monotonic() - began  # crops per second count training time only

    def validate(self, state: TrainingState) -> list[Point]:
        """Validate the averaged weights, and save them if they are the best so far."""
        points = validate(state.average, self._validation)
        if not points:
            return points
        loss, pair = score(points, state.config), reconstruct(state.average, self._validation[0])
        self.monitor.points(state.counters.step, points, pair, loss)
        best_before = state.counters.best
        if math.isfinite(loss) and (best_before is None or loss < best_before):
            state.counters.best = loss
            average = state.average.state_dict()
            best = Checkpoint(state.config, state.counters, average, average)
            self.save("best.safetensors", best)
        return points

    def save(self, name: str, checkpoint: Checkpoint) -> bool:
        """Write a checkpoint and return True, or keep the previous one and note the error."""
        try:
            save_checkpoint(self.out / name, checkpoint)
        except OSError as error:
            self.monitor.note(f"{name} could not be written, the previous one is kept: {error}")
            return False
        return True
