"""A line on the terminal that shows how far a long task has come."""

import contextlib
import shutil
import sys
import threading
from pathlib import Path

import click

from gdncodec.errors import printable
from gdncodec.files import STREAM

__all__ = ["ProgressLine"]

_PATIENCE = 2.0
"""Seconds before anything is shown."""


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
