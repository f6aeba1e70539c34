"""``gdncodec compress``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gdncodec.cli import options
from gdncodec.cli.batch import Sizes, plan, run
from gdncodec.cli.failures import Incomplete
from gdncodec.cli.files import is_image, read_source, refuse_existing
from gdncodec.cli.progress import ProgressLine
from gdncodec.config import DEFAULT_EFFORT
from gdncodec.errors import printable
from gdncodec.files import STREAM, write_data

if TYPE_CHECKING:
    from pathlib import Path

    from gdncodec.cli.options import Aim, Work
    from gdncodec.encoder.targets import Target

__all__ = ["compress"]


@click.command()
@options.sources
@options.output
@options.recursive
@options.skip_existing
@options.aiming
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(0, 9),
    help=f"0 (fastest) to 9 (smallest files), see docs/entropy.md.  [default: {DEFAULT_EFFORT}]",
)
@click.option("--strip", is_flag=True, help="Leave out ICC profile, EXIF and XMP.")
@click.option("--frame", type=int, metavar="N", help="Frame or page of the file to take, from 0.")
@click.option(
    "--accept-truncated", is_flag=True, help="Take what can be read of a truncated image."
)
@options.max_pixels
@options.model
@options.force
@options.working
def compress(
    sources: tuple[Path, ...],
    output: str | None,
    recursive: bool,
    skip_existing: bool,
    work: Work,
    **chosen: Any,
) -> None:
    """Compress images INPUT (- for stdin) into .gdn files.

    INPUT may be several files and folders. The output is INPUT with the suffix .gdn unless -o names
    another file, or a folder. ICC profile, EXIF and XMP
    are kept, and the EXIF orientation stays a tag; --strip applies orientation and profile to the
    pixels first. With a --target option, the quality that meets the target is found.
    """

    def compress_one(source: Path, target: Path) -> Sizes:
        return _compress(source, target, work=work, **chosen)

    jobs, many = plan(sources, output, renamed=_renamed, wanted=is_image, recursive=recursive)
    if many:
        run(jobs, compress_one, skip_existing=skip_existing, quiet=work.quiet)
    elif not (skip_existing and jobs[0].output.exists()):
        compress_one(*jobs[0])


def _renamed(source: Path) -> Path:
    return STREAM if source == STREAM else source.with_suffix(".gdn")


def _compress(
    source: Path,
    output: Path,
    *,
    aim: Aim,
    effort: int | None,
    model: str | None,
    force: bool,
    work: Work,
    **reading: Any,
) -> Sizes:
    refuse_existing(output, force, source)
    target = aim.target()
    with ProgressLine("compressing", source, work.quiet) as progress:
        image = read_source(source, **reading)
        from gdncodec.catalog import find_model

        codec = work.codec(find_model(model))
        if target:
            data = codec.compress_to(image, target, effort=effort, on_trial=progress.trial)
        else:
            data = codec.compress(image, aim.quality, effort=effort, progress=progress)
    write_data(output, data, overwrite=force)
    if not work.quiet:
        for notice in (*image.notices, *_unfilled(target, data)):
            click.echo(printable(f"{source}: note: {notice}"), err=True)
        _report(source, output, data, image.pixels.shape, work)
    if image.damage:
        msg = f"{source}: {image.damage}; what could be read of it is in {output}"
        raise Incomplete(msg)
    before = 0 if source == STREAM else source.stat().st_size
    return Sizes(before, len(data), image.pixels[..., 0].size)


def _unfilled(target: Target | None, data: bytes) -> list[str]:
    """Return a note if not even quality 100 fills the size that was asked for."""
    from gdncodec.container import unpack_header

    header = unpack_header(data)
    if target is None or not target.is_size or header.quality < 100:
        return []
    per_unit = 1 if target.unit == "bytes" else 8 / (header.width * header.height)
    unfilled = target.scaled(len(data) * per_unit) < target.interval[0]
    return ["quality 100, the best, needs less than the target"] if unfilled else []


def _report(source: Path, output: Path, data: bytes, shape: tuple[int, ...], work: Work) -> None:
    height, width, _ = shape
    bpp = len(data) * 8 / (height * width)
    line = f"{printable(output)}: {len(data)} bytes, {bpp:.3f} bpp"
    if source != STREAM:
        size = source.stat().st_size
        line += f", {len(data) / size:.1%} of {printable(source.name)}"
        if len(data) > size:
            note = f"{printable(source)}: note: the result is larger than this file of {size} bytes"
            click.echo(note, err=True)
    lines = [line + work.took]
    if work.verbose:
        from gdncodec.container import unpack

        header, chunks = unpack(data)
        sizes = ", ".join(f"type {kind} {len(part)} bytes" for kind, part in chunks.items())
        lines.append(f"  {width} x {height}, quality {header.quality:g}, chunks: {sizes}")
    click.echo("\n".join(lines), err=output == STREAM)
