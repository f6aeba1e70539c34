"""Ending a run early, but not in the middle of a step."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["Stop"]

_SAME = 1.0
"""Signals within so many seconds are one: a terminal and a launcher may both send it."""


class Stop(AbstractContextManager["Stop"]):
    """Takes Ctrl-C and SIGTERM as a wish to stop, and a second one as an order.

    Inside the block the first signal only sets :attr:`asked`; a second one raises SystemExit with
    128 and the signal's number, as a shell reports it. Outside of the main thread nothing happens.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        """Number of the signal that came, or None."""
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: object) -> None:
        now = time.monotonic()
        if self.asked is None:
            self.asked, self._when = number, now
        elif now - self._when > _SAME:
            sys.exit(128 + number)
