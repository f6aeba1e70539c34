"""What errors become: one line, and an exit code."""

import click

from gdncodec.cli.options import VERBOSE
from gdncodec.errors import (
    FormatError,
    GdnCodecError,
    ImageError,
    ModelError,
    UsageError,
    one_line,
    printable,
)

__all__ = ["EXISTS", "explained"]

EXISTS = 6
"""Exit code where an output exists."""

_CODES = {UsageError: 2, ImageError: 3, FormatError: 4, ModelError: 5}


def explained(error: BaseException) -> tuple[str, int] | None:
    """Return the line and the exit code for an error of this package or of the system.

    None stands for any other error, which is a bug. Names and texts out of files are in the line
    without what a terminal would obey.
    """
    if isinstance(error, GdnCodecError):
        return printable(_with_detail(error)), _CODES.get(type(error), 1)
    if isinstance(error, FileExistsError):
        return printable(f"{error.args[0]} exists; --force overwrites it"), EXISTS
    if isinstance(error, OSError):
        text = error.strerror or one_line(error)
        return printable(f"{error.filename}: {text}" if error.filename else text), 1
    if _is_out_of_memory(error):
        return f"out of memory ({one_line(error)})", 1
    return None


def _with_detail(error: GdnCodecError) -> str:
    context = click.get_current_context(silent=True)
    if error.detail and context and context.meta.get(VERBOSE):
        return f"{error} ({error.detail})"
    return str(error)


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory is short; PyTorch has a type of its own for that, or only a text."""
    by_type = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    # A library that finds no room, for itself, for threads or for arrays.
    texts = ("failed to map segment", "can't start new thread", "can't allocate memory")
    by_text = isinstance(error, ImportError | RuntimeError) and any(t in str(error) for t in texts)
    return by_type or by_text
