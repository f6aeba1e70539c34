"""The program ``gdncodec``, also as ``python -m gdncodec``."""

import os

from gdncodec.cli import main

__all__ = ["program"]


def program() -> None:
    """Run a command, in a process that does nothing else."""
    # PyTorch's threads would spin while they wait, and halve the speed on a machine that is busy.
    # They read this when PyTorch is imported. A library leaves it to the program that imports it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()


if __name__ == "__main__":
    program()
