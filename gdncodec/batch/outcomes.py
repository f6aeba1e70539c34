"""What came of inputs: one record each, their sum, and a file of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gdncodec.files import naming

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from gdncodec.batch.remote import Place

__all__ = ["INCOMPLETE", "Outcome", "ReportFile", "Totals"]


INCOMPLETE = 7
"""Exit code where a result was made of a damaged input, because an option asked for that."""


@dataclass(frozen=True)
class Outcome:
    """What came of one input."""

    source: Place
    output: Place | None = None
    status: str = "done"
    """``done``, ``kept`` (the input, because the result was no smaller), ``skipped``, ``planned``
    or ``failed``."""
    before: int = 0
    """Bytes of the input."""
    after: int = 0
    """Bytes of the output."""
    width: int = 0
    height: int = 0
    bpp: float | None = None
    """Bits of the compressed file for each pixel of its image."""
    quality: float | None = None
    seconds: float = 0.0
    engine: str = ""
    """What ran the network, with its precision where it has a choice."""
    reason: str = ""
    """Why it was skipped or kept."""
    error: str = ""
    """Why it failed, with the name of the file."""
    damage: str = ""
    """What the result lacks because the input is damaged."""
    code: int = 0
    """Exit code of a failure."""
    notices: tuple[str, ...] = ()
    """What the user should know about a result, one line each."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the command prints besides."""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def record(self) -> dict[str, Any]:
        """Return what a report says about it, ready for JSON."""
        return {
            "input": str(self.source),
            "output": str(self.output) if self.output else None,
            "status": self.status,
            "bytes_before": self.before,
            "bytes_after": self.after,
            "width": self.width or None,
            "height": self.height or None,
            "bpp": None if self.bpp is None else round(self.bpp, 4),
            "quality": self.quality,
            "seconds": round(self.seconds, 4),
            "reason": self.reason or None,
            "error": self.error or None,
            "damage": self.damage or None,
        }


@dataclass
class Totals:
    """The sum of outcomes, without the outcomes, however many there are."""

    files: int = 0
    before: int = 0
    after: int = 0
    pixels: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    codes: set[int] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.by_status[outcome.status] = self.by_status.get(outcome.status, 0) + 1
        if outcome.damage:
            self.codes.add(INCOMPLETE)
        if outcome.status == "failed":
            self.codes.add(outcome.code)
        elif outcome.status in ("done", "kept"):
            self.files += 1
            self.before += outcome.before
            self.after += outcome.after
            self.pixels += outcome.pixels

    @property
    def code(self) -> int:
        """Exit code: that of the failures, or 1 if they have different ones."""
        return max(self.codes) if len(self.codes) == 1 else min(len(self.codes), 1)


class ReportFile:
    """A file of JSON, one line for each outcome, which is whole after each line.

    Args:
        path: of the file.
        replace: replace a file that exists.
        append: add to a file that exists.

    Raises:
        FileExistsError: the file exists, and neither is allowed.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, *, replace: bool, append: bool) -> None:
        self._path = path
        mode = "a" if append else "w" if replace else "x"
        try:
            self._file = path.open(mode, encoding="utf-8")
        except FileExistsError:
            raise FileExistsError(path) from None
        if append and path.read_bytes()[-1:] not in (b"", b"\n"):
            self._file.write("\n")  # after a line that was cut off when a process was killed

    def __enter__(self) -> ReportFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with naming(self._path):
            self._file.close()

    def add(self, outcome: Outcome) -> None:
        """Write the line of an outcome."""
        with naming(self._path):
            self._file.write(json.dumps(outcome.record()) + "\n")
            self._file.flush()
