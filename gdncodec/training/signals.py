"""Stopping a run early on a signal, but not in the middle of a step."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["Stop"]

_SAME = 1.0
"""Signals within this many seconds count as one: terminal and launcher may both send it."""


class Stop(AbstractContextManager["Stop"]):
    """Handles Ctrl-C and SIGTERM: the first one requests a stop, a second one exits.

    Inside the block the first signal only sets :attr:`asked`, unless :attr:`at_once`; a second one
    raises SystemExit with 128 plus the signal number, as shells report it. Outside the main thread
    signals are not handled.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        """Number of the signal received, or None."""
        self.at_once = False
        """Whether a first signal exits, too: what is done now can be done again later."""
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
            if self.at_once:
                sys.exit(128 + number)
        elif now - self._when > _SAME:
            sys.exit(128 + number)
