"""Options that several commands share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

__all__ = [
    "Aim",
    "Work",
    "aiming",
    "as_json",
    "fast",
    "force",
    "listed",
    "max_pixels",
    "model",
    "numbers",
    "output",
    "quiet",
    "refuse_both",
    "source",
    "verbose",
    "working",
]

Command = Callable[..., None]
Decorator = Callable[[Command], Command]

_file = click.Path(path_type=Path, dir_okay=False, allow_dash=True)

source = click.argument("source", metavar="INPUT", type=_file)
output = click.option("-o", "--output", type=_file, help="Where to write; - for stdout.")
force = click.option("-f", "--force", is_flag=True, help="Overwrite an output that exists.")
model = click.option("--model", metavar="NAME|FILE", help="Model to use (see `gdncodec models`).")
max_pixels = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=1 << 28,
    show_default=True,
    help="Refuse larger images before anything is allocated.",
)
fast = click.option("--fast", is_flag=True, help="Faster, a little worse settings of the anchors.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
verbose = click.option("-v", "--verbose", is_flag=True, help="Say more.")
quiet = click.option("--quiet", is_flag=True, help="Say nothing but errors.")


def _gathered(name: str, kind: type, options: list[Decorator]) -> Decorator:
    """Return a decorator that adds options and gives their values to the command as one object."""
    own = [f.name for f in fields(kind) if f.init]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def gathering(**values: Any) -> None:
            one = kind(**{key: values.pop(key) for key in own})
            command(**values, **{name: one})

        decorated: Command = gathering
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


@dataclass(frozen=True)
class Work:
    """How a command computes, and how much it says."""

    device: str | None
    threads: int | None
    verbose: bool
    quiet: bool
    _began: float = field(init=False, default_factory=time.monotonic)

    def set_threads(self) -> None:
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)

    @property
    def took(self) -> str:
        """The time since the command began, to end a line with; empty unless more is to be said."""
        return f", {time.monotonic() - self._began:.2f} s" if self.verbose else ""


working = _gathered(
    "work",
    Work,
    [
        click.option(
            "--device", metavar="NAME", help="Torch device, such as cuda.  [default: cpu]"
        ),
        click.option("--threads", type=click.IntRange(1), help="Threads of the CPU to use."),
        verbose,
        quiet,
    ],
)
"""Gives a :class:`Work` as ``work`` to a command that computes."""


@dataclass(frozen=True)
class Aim:
    """A quality, or what to look for a quality for."""

    quality: float | None
    target_size: str | None
    target_bpp: float | None
    target_psnr: float | None
    target_ms_ssim: float | None

    def target(self) -> Any:
        """Return the :class:`gdncodec.encoder.targets.Target`, or None."""
        if sum(getattr(self, f.name) is not None for f in fields(self)) > 1:
            names = ", ".join(f"--{f.name.replace('_', '-')}" for f in fields(self))
            msg = f"give one of {names}"
            raise ValueError(msg)
        from gdncodec.encoder.targets import Target, parse_size

        if self.target_size is not None:
            return Target(parse_size(self.target_size), "bytes")
        if self.target_bpp is not None:
            return Target(self.target_bpp, "bpp")
        if self.target_psnr is not None:
            return Target(self.target_psnr, "dB")
        if self.target_ms_ssim is not None:
            return Target(self.target_ms_ssim, "MS-SSIM", _ms_ssim())
        return None


def _ms_ssim() -> Any:
    try:
        import pytorch_msssim  # noqa: F401

        from gdncodec.evaluation.metrics import ms_ssim
    except ImportError as error:
        from gdncodec.errors import GdnCodecError

        msg = f"--target-ms-ssim needs {error.name}: pip install 'gdncodec[eval]'"
        raise GdnCodecError(msg) from error
    return ms_ssim


aiming = _gathered(
    "aim",
    Aim,
    [
        click.option(
            "-q",
            "--quality",
            type=click.FloatRange(0, 100),
            help="0 (smallest) to 100 (best), fractions allowed.  [default: 50]",
        ),
        click.option("--target-size", metavar="BYTES", help="Largest size: 150000, 200k, 1.5M."),
        click.option("--target-bpp", type=float, help="Largest size in bits per pixel."),
        click.option("--target-psnr", type=float, metavar="DB", help="PSNR to reach, in dB."),
        click.option("--target-ms-ssim", type=float, help="MS-SSIM to reach, below 1."),
    ],
)
"""Gives an :class:`Aim` as ``aim`` to a command that chooses a quality."""


def refuse_both(as_json: bool, quiet: bool) -> None:
    """Refuse two options that contradict each other."""
    if as_json and quiet:
        msg = "give one of --json, --quiet"
        raise ValueError(msg)


def listed(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    """Split a list with commas."""
    return [part.strip() for part in value.split(",") if part.strip()]


def numbers(ctx: click.Context, param: click.Parameter, value: str) -> list[float]:
    """Split a list of numbers with commas."""
    try:
        return [float(part) for part in listed(ctx, param, value)]
    except ValueError as error:
        msg = f"expected numbers with commas between, got {value!r}"
        raise click.BadParameter(msg) from error
