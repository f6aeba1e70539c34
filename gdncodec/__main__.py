"""The program ``gdncodec``, also as ``python -m gdncodec``."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

__all__ = ["program"]


def program(arguments: Sequence[str] | None = None) -> None:
    """Run a command, in a process that does nothing else.

    Args:
        arguments: of the command line; None takes those of the process.
    """
    # PyTorch's threads would spin while they wait, and halve the speed on a machine that is busy.
    # They read this when PyTorch is imported. A library leaves it to the program that imports it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from gdncodec.cli import main  # takes a tenth of a second, in which Ctrl-C may come

        main(arguments)
    except KeyboardInterrupt:
        _end_by_ctrl_c()
    except SystemExit as ended:
        if ended.code == 128 + signal.SIGINT:
            _end_by_ctrl_c()
        raise
    except OSError as error:  # of --help, which has no file to name
        sys.exit(f"Error: {error.strerror}")


def _end_by_ctrl_c() -> None:
    """End as if Ctrl-C had not been handled, so that a shell's loop ends, too."""
    if sys.platform != "win32":
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):  # None if it was closed
                stream.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    program()
