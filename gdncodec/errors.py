"""The errors of this package; any other error that comes out of it is a bug."""

import sys
import warnings
from typing import Any

__all__ = [
    "FormatError",
    "GdnCodecError",
    "ImageError",
    "ModelError",
    "SkippedModelWarning",
    "UsageError",
    "one_line",
    "printable",
    "show_skipped_models",
]


class GdnCodecError(Exception):
    """Base of every error that this package raises about its input.

    Args:
        message: what is wrong, for anybody to read.
        detail: what was expected and what was found, for those who look into the file; the command
            line shows it with ``-v``.
    """

    def __init__(self, message: str = "", *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class FormatError(GdnCodecError):
    """A ``.gdn`` file is damaged, truncated, of an unknown version, or over a limit."""


class ModelError(GdnCodecError):
    """A model file is missing, damaged, or not the one that is needed."""


class ImageError(GdnCodecError):
    """An image cannot be read, or is of a kind that is not supported."""


class UsageError(GdnCodecError, ValueError):
    """An argument or an option has a value that is not allowed, or does not fit another one."""


class SkippedModelWarning(UserWarning):
    """A file among the user's models cannot be used, and was passed over."""


def show_skipped_models() -> None:
    """Show these warnings in one line on standard error, each once, as a program does.

    Changes ``warnings.showwarning``.
    """
    usual = warnings.showwarning

    def show(message: Any, category: Any, *where: Any, **more: Any) -> None:
        if issubclass(category, SkippedModelWarning):
            print(f"Warning: {printable(message)}", file=sys.stderr)
        else:
            usual(message, category, *where, **more)

    warnings.simplefilter("default", SkippedModelWarning)
    warnings.showwarning = show


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line; the name of its type if it says nothing."""
    return printable(" ".join(str(error).split())) or type(error).__name__


def printable(text: object) -> str:
    r"""Return a text of a stranger for a terminal: what it would not print becomes ``\x1b``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
