"""``gdncodec compress``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gdncodec.batch.compressing import Compression
from gdncodec.batch.jobs import plan, renamed
from gdncodec.cli import options
from gdncodec.cli.batch import Batch, computing_batch, do
from gdncodec.cli.stripping import TakesStrip, strip
from gdncodec.config import DEFAULT_EFFORT
from gdncodec.errors import UsageError
from gdncodec.files import STREAM

if TYPE_CHECKING:
    from gdncodec.batch.jobs import Plan
    from gdncodec.batch.outcomes import Outcome
    from gdncodec.cli.options import Aim, Work

__all__ = ["compress"]

_ALL = "all"


def _frame(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    """Return the number of a frame, or that of all."""
    if value is None or value.lower() == _ALL:
        return value and _ALL
    try:
        return int(value)
    except ValueError as error:
        msg = f"expected a number from 0, or all, got {value!r}"
        raise click.BadParameter(msg) from error


@click.command(cls=TakesStrip)
@options.sources
@options.output
@options.suffix
@options.aiming
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(0, 9),
    help=f"0 (fastest) to 9 (smallest files), see docs/entropy.md.  [default: {DEFAULT_EFFORT}]",
)
@strip
@click.option("--exact", is_flag=True, help="Keep colours below fully transparent pixels.")
@click.option(
    "--frame",
    metavar="N|all",
    callback=_frame,
    help="Frame or page to take, from 0; all writes one file for each, and needs -o.",
)
@click.option(
    "--accept-truncated", is_flag=True, help="Take what can be read of a truncated image."
)
@options.max_pixels
@options.model
@options.force
@options.preserve
@click.option(
    "--keep-smaller", is_flag=True, help="Keep the original where the result is not smaller."
)
@click.option("--verify", "check", is_flag=True, help="Decode each result before it gets its name.")
@computing_batch(writes=True)
def compress(
    sources: tuple[str, ...],
    output: str | None,
    suffix: str | None,
    aim: Aim,
    frame: int | str | None,
    batch: Batch,
    work: Work,
    **chosen: Any,
) -> None:
    """Compress images INPUT (- for stdin) into .gdn files.

    INPUT may be several files and folders, and @FILE, a list of them. The output is INPUT with the
    suffix .gdn unless -o, or a second name that ends in .gdn, names another file, or -o a folder.
    ICC profile, EXIF and XMP are kept, and the EXIF orientation stays a tag; --strip applies
    orientation and profile to the pixels first. With a --target option, the quality that meets the
    target is found.
    """
    from gdncodec.batch.files import with_output
    from gdncodec.batch.inputs import not_gdn, not_image

    inputs, output = with_output(sources, output, not_gdn)
    jobs = plan(
        inputs,
        output,
        renamed=renamed(".gdn" if suffix is None else suffix),
        unwanted=not_image,
        recursive=batch.recursive,
        keep=chosen["keep_smaller"],
    )
    options.refuse_suffix(suffix, output, jobs)
    if isinstance(frame, str):
        jobs, frame = _each_frame(jobs, output, chosen["keep_smaller"]), None
    compression = Compression(
        quality=aim.quality,
        target=aim.target(),
        frame=frame,
        computing=batch.computing(work, jobs),
        **chosen,
    )
    do("compressing", jobs, compression, batch, work, _lines)


def _each_frame(jobs: Plan, output: str | None, keep_smaller: bool) -> Plan:
    from gdncodec.batch.frames import each_frame

    if keep_smaller:
        msg = "--keep-smaller keeps whole files, --frame all takes them apart; give one of them"
        raise UsageError(msg)
    return each_frame(jobs, output)


def _lines(outcome: Outcome, work: Work) -> list[str]:
    if outcome.status == "kept":
        return [f"{outcome.source}: kept the original, {outcome.reason}"]
    line = f"{outcome.output}: {outcome.after:,} bytes, {outcome.bpp:.3f} bpp"
    if outcome.source != STREAM and not outcome.facts["frame"]:
        line += f", {outcome.after / outcome.before:.1%} of {outcome.source.name}"
    lines = [line + work.took(outcome.seconds, outcome.engine)]
    if work.verbose:
        sizes = ", ".join(f"type {k} {n} bytes" for k, n in outcome.facts["chunks"].items())
        size = f"{outcome.width} x {outcome.height}"
        lines.append(f"  {size}, quality {outcome.quality:g}, chunks: {sizes}")
    return lines
