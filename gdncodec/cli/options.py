"""Options that several commands share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gdncodec.config import DEFAULT_QUALITY, MAX_PIXELS
from gdncodec.engines.choice import ENGINES
from gdncodec.errors import UsageError
from gdncodec.extras import check_installed
from gdncodec.files import STREAM

if TYPE_CHECKING:
    from gdncodec.batch.computing import Computing
    from gdncodec.batch.jobs import Plan
    from gdncodec.encoder.targets import Target

__all__ = [
    "RAY",
    "VERBOSE",
    "Aim",
    "Work",
    "aiming",
    "as_json",
    "fast",
    "force",
    "gathered",
    "listed",
    "max_pixels",
    "model",
    "more",
    "numbers",
    "output",
    "preserve",
    "quiet",
    "refuse_both",
    "refuse_suffix",
    "source",
    "sources",
    "suffix",
    "verbose",
    "working",
    "working_with",
]

Command = Callable[..., None]
Decorator = Callable[[Command], Command]

RAY = "ray"
"""Name that ``--engine`` has for a cluster, whose processes choose their engines themselves."""

VERBOSE = "gdncodec.verbose"
"""Key in the meta data of click's context: whether the command was given ``--verbose``."""

_file = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    ctx.meta[VERBOSE] = value
    return value


def more(help_text: str) -> Decorator:
    """Return the option ``--verbose`` with a help text of its own."""
    return click.option("-v", "--verbose", is_flag=True, callback=_remember, help=help_text)


source = click.argument("source", metavar="INPUT", type=_file)


def _not_empty(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse an empty name, which as a path would be the current folder."""
    if "" in values:
        msg = "an input has an empty name"
        raise click.BadParameter(msg)
    return values


sources = click.argument(
    "sources",
    metavar="INPUT...",
    nargs=-1,
    required=True,
    type=click.Path(allow_dash=True),
    callback=_not_empty,
)
output = click.option(
    "-o",
    "--output",
    metavar="FILE|FOLDER/",
    help="File to write, - for stdout; or a folder (existing, or ending in a slash).",
)
suffix = click.option("--suffix", metavar="TEXT", help="End of the names of outputs.")
preserve = click.option(
    "--preserve/--no-preserve", default=True, help="Keep the modification time.  [default: keep]"
)
force = click.option("-f", "--force", is_flag=True, help="Overwrite an output that exists.")
model = click.option("--model", metavar="NAME|FILE", help="Model to use (see `gdncodec models`).")
max_pixels = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=MAX_PIXELS,
    show_default=True,
    help="Refuse images with more pixels.",
)
fast = click.option(
    "--fast", is_flag=True, help="Use faster, slightly worse settings of the anchors."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
verbose = more("Print more.")
quiet = click.option("--quiet", is_flag=True, help="Print errors only.")


def gathered(name: str, kind: type, options: list[Decorator]) -> Decorator:
    """Return a decorator that adds options and passes their values to the command as one object."""
    own = [f.name for f in fields(kind) if f.init]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def gathering(**values: Any) -> None:
            one = kind(**{key: values.pop(key) for key in own if key in values})
            command(**values, **{name: one})

        decorated: Command = gathering
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


@dataclass(frozen=True)
class Work:
    """How a command computes, and how much it prints."""

    device: str | None
    engine: str
    threads: int | None
    verbose: bool
    quiet: bool
    _began: float = field(init=False, default_factory=time.monotonic)

    @property
    def computing(self) -> Computing:
        """What of this the library needs to know."""
        from gdncodec.batch.computing import Computing

        engine = "auto" if self.engine == RAY else self.engine
        return Computing(self.device, engine, self.threads)

    def took(self, seconds: float | None = None, engine: str = "") -> str:
        """Return a time, and the engine, as the end of a line; empty without --verbose.

        Args:
            seconds: the time; None takes that since the command began.
            engine: what ran the network.
        """
        if seconds is None:
            seconds = time.monotonic() - self._began
        return f", {seconds:.2f} s{f' (engine {engine})' * bool(engine)}" if self.verbose else ""


def working_with(engines: Sequence[str]) -> Decorator:
    """Return a decorator that passes a :class:`Work` as ``work`` to a command that computes."""
    cluster = "; ray runs many inputs on a cluster" if RAY in engines else ""
    return gathered(
        "work",
        Work,
        [
            click.option(
                "--device", metavar="NAME", help="Torch device, such as cuda.  [default: cpu]"
            ),
            click.option(
                "--engine",
                type=click.Choice(engines),
                default="auto",
                help=f"What runs the network{cluster}.  [default: auto, by the size of the image]",
            ),
            click.option("--threads", type=click.IntRange(1), help="Number of CPU threads to use."),
            verbose,
            quiet,
        ],
    )


working = working_with(ENGINES)
"""Passes a :class:`Work` as ``work`` to a command that computes."""


@dataclass(frozen=True)
class Aim:
    """A quality, or the target for which to find one."""

    quality: float | None
    target_size: str | None
    target_bpp: float | None
    target_psnr: float | None
    target_ms_ssim: float | None

    def target(self) -> Target | None:
        """Return the target, or None if there is none.

        Raises:
            UsageError: there is more than one, or a quality too; or it is not possible.
        """
        if sum(getattr(self, f.name) is not None for f in fields(self)) > 1:
            names = ", ".join(f"--{f.name.replace('_', '-')}" for f in fields(self))
            msg = f"give one of {names}"
            raise UsageError(msg)
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


def _ms_ssim() -> Callable[[Any, Any], float]:
    check_installed("torch", "pytorch_msssim", extra="eval")
    from gdncodec.evaluation.metrics import ms_ssim

    return ms_ssim


aiming = gathered(
    "aim",
    Aim,
    [
        click.option(
            "-q",
            "--quality",
            type=click.FloatRange(0, 100),
            help=f"0 (smallest) to 100 (best), with fractions.  [default: {DEFAULT_QUALITY:g}]",
        ),
        click.option("--target-size", metavar="BYTES", help="Largest size: 150000, 200k, 1.5M."),
        click.option("--target-bpp", type=float, help="Largest size in bits per pixel."),
        click.option("--target-psnr", type=float, metavar="DB", help="PSNR to reach, in dB."),
        click.option("--target-ms-ssim", type=float, help="MS-SSIM to reach, below 1."),
    ],
)
"""Passes an :class:`Aim` as ``aim`` to a command that chooses a quality."""


def refuse_suffix(suffix: str | None, output: str | None, plan: Plan) -> None:
    """Refuse a suffix for an output that has a whole name, or none."""
    if suffix is not None and not plan.many and (output or plan.jobs[0].output == STREAM):
        msg = "--suffix names outputs beside their inputs or in a folder; this one has its place"
        raise UsageError(msg)


def refuse_both(as_json: bool, quiet: bool) -> None:
    """Refuse two options that contradict each other."""
    if as_json and quiet:
        msg = "give one of --json, --quiet"
        raise UsageError(msg)


def listed(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    """Split a list at its commas."""
    return [part.strip() for part in value.split(",") if part.strip()]


def numbers(ctx: click.Context, param: click.Parameter, value: str) -> list[float]:
    """Split a list of numbers at its commas."""
    try:
        return [float(part) for part in listed(ctx, param, value)]
    except ValueError as error:
        msg = f"expected numbers separated by commas, got {value!r}"
        raise click.BadParameter(msg) from error
