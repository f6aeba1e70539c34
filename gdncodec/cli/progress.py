"""A line on the terminal for work that takes long."""

import contextlib
import shutil
import sys
import threading
from pathlib import Path

import click

from gdncodec.files import STREAM

__all__ = ["Progress"]

_PATIENCE = 2.0
"""Seconds before anything is shown."""


class Progress(contextlib.AbstractContextManager["Progress"]):
    """A line on the terminal for work that takes more than two seconds.

    Args:
        doing: what is done, such as ``compressing``.
        source: the file with which it is done.
        quiet: show nothing.
    """

    def __init__(self, doing: str, source: Path, quiet: bool) -> None:
        self._what = f"{doing} {'the input' if source == STREAM else source.name}"
        self._state = "..."
        self._width = 0  # of the line that is shown
        self._shown = False
        self._timer = threading.Timer(_PATIENCE, self._show)
        self._timer.daemon = True
        if not quiet and sys.stderr.isatty():
            self._timer.start()

    def __call__(self, done: int, total: int) -> None:
        """Say how much of the image is done."""
        self._say(f"{100 * done // total} %")

    def trial(self, number: int) -> None:
        """Say that a quality is looked for."""
        self._say(f"looking for the quality, trial {number}")

    def _say(self, state: str) -> None:
        self._state = state
        if self._shown:
            self._show()

    def _show(self) -> None:
        self._shown = True
        self._write(f"{self._what}: {self._state}")

    def _write(self, line: str) -> None:
        """Write a line over the one that is shown, no longer than the terminal is wide."""
        line = line[: shutil.get_terminal_size().columns - 1]
        click.echo("\r" + line.ljust(self._width), nl=False, err=True)
        self._width = len(line)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._shown:
            self._write("")
            click.echo("\r", nl=False, err=True)
