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
)

__all__ = ["EXISTS", "explained"]

EXISTS = 6
"""Exit code where an output exists."""

_CODES = {UsageError: 2, ImageError: 3, FormatError: 4, ModelError: 5}


def explained(error: BaseException) -> tuple[str, int] | None:
    """Return the line and the exit code for an error of this package or of the system.

    None stands for any other error, which is a bug.
    """
    if isinstance(error, GdnCodecError):
        return _with_detail(error), _CODES.get(type(error), 1)
    if isinstance(error, FileExistsError):
        return f"{error.args[0]} exists; --force overwrites it", EXISTS
    if isinstance(error, OSError):
        text = error.strerror or one_line(error)
        return f"{error.filename}: {text}" if error.filename else text, 1
    if _is_out_of_memory(error):
        return f"out of memory ({(str(error).splitlines() or ['no message'])[0]})", 1
    return None


def _with_detail(error: GdnCodecError) -> str:
    context = click.get_current_context(silent=True)
    if error.detail and context and context.meta.get(VERBOSE):
        return f"{error} ({error.detail})"
    return str(error)


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory is short; PyTorch has a type of its own for that, or only a text."""
    by_type = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return by_type or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
