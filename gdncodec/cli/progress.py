"""A line on the terminal that shows how far a long task has come."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gdncodec.errors import printable
from gdncodec.files import STREAM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gdncodec.batch.jobs import Job
    from gdncodec.batch.outcomes import Outcome

__all__ = ["BatchLine", "FitProgress", "ProgressLine"]

_PATIENCE = 2.0
"""Seconds before anything is shown."""

_OFTEN = 0.2
"""Seconds after which the line of a batch is drawn anew."""


class ProgressLine(contextlib.AbstractContextManager["ProgressLine"]):
    """A line on the terminal, for a task that takes more than two seconds.

    Args:
        doing: the task, such as ``compressing``.
        source: the file that it is done to.
        quiet: show nothing.
    """

    def __init__(self, doing: str, source: Path, quiet: bool) -> None:
        self._what = f"{doing} {'the input' if source == STREAM else printable(source.name)}"
        self._state = "..."
        self._width = 0  # of the line that is shown
        self._shown = False
        self._timer = threading.Timer(_PATIENCE, self._show)
        self._timer.daemon = True
        if not quiet and sys.stderr and sys.stderr.isatty():
            self._timer.start()

    def __call__(self, done: int, total: int) -> None:
        """Show which part of the image is done."""
        self._say(f"{100 * done // total} %")

    def trial(self, number: int) -> None:
        """Show the number of a trial that looks for a quality."""
        self._say(f"looking for the quality, trial {number}")

    def _say(self, state: str) -> None:
        self._state = state
        if self._shown:
            self._show()

    def _show(self) -> None:
        self._shown = True
        self._write(f"{self._what}: {self._state}")

    def _write(self, line: str) -> None:
        """Replace the line that is shown, cut to the width of the terminal."""
        line = line[: shutil.get_terminal_size().columns - 1]
        click.echo("\r" + line.ljust(self._width), nl=False, err=True)
        self._width = len(line)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._shown:
            self._write("")
            click.echo("\r", nl=False, err=True)


class BatchLine(contextlib.AbstractContextManager["BatchLine"]):
    """A line below the others that shows how many megapixels are done, and the time left.

    The sizes of images that have not been read yet are guessed from those of their files.

    Args:
        doing: the task, such as ``compressing``.
        jobs: what is to be done.
        quiet: show nothing.
    """

    def __init__(self, doing: str, jobs: Sequence[Job], quiet: bool) -> None:
        self._doing, self._count = doing, len(jobs)
        self._active = not quiet and sys.stderr.isatty()
        self._bytes = sum(job.size for job in jobs) if self._active else 0
        self._done = self._done_bytes = self._pixels = self._seen_bytes = 0
        self._began = self._shown_at = time.monotonic()
        self._width = 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self._done += 1
        self._done_bytes += outcome.before
        if outcome.pixels:
            self._pixels += outcome.pixels
            self._seen_bytes += outcome.before
        if self._active and time.monotonic() - self._shown_at > _OFTEN:
            self._write(self.text(time.monotonic() - self._began))
            self._shown_at = time.monotonic()

    def text(self, seconds: float) -> str:
        """Return the line after this time."""
        line = f"{self._doing}: {self._done} of {self._count} files"
        if not self._pixels:
            return line
        left = max(0, self._bytes - self._done_bytes) * self._pixels / self._seen_bytes
        rate = self._pixels / max(seconds, 1e-9)
        megapixels = (
            f"{self._pixels / 1e6:.1f} of about {(self._pixels + left) / 1e6:.1f} megapixels"
        )
        return f"{line}, {megapixels}, {_duration(left / rate)} left"

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the line away while other lines are printed."""
        if self._width:
            self._write("")
            click.echo("\r", nl=False, err=True)
        yield

    def _write(self, line: str) -> None:
        line = line[: shutil.get_terminal_size().columns - 1]
        click.echo("\r" + line.ljust(self._width), nl=False, err=True)
        self._width = len(line)

    def __exit__(self, *_: object) -> None:
        with self.hidden():
            pass


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


class FitProgress(ProgressLine):
    """The line for fitting the entropy coding, with the time that is left."""

    def __init__(self, quiet: bool) -> None:
        super().__init__("fitting", Path("the entropy coding"), quiet)
        self._began: float | None = None

    def share(self, doing: str, done: float) -> None:
        """Show what is being done, which share of the work is done, and how long the rest takes."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        left = f", about {_duration((now - self._began) * (1 - done) / done)} left" if done else ""
        self._say(f"{100 * done:.0f} %, {doing}{left}")
        if done == 1 and self._shown:
            self._write("")
