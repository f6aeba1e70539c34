"""``gdncodec decompress``, ``view`` and ``verify``: the commands that decode a ``.gdn`` file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gdncodec.cli import options
from gdncodec.cli.batch import Sizes, plan, run
from gdncodec.cli.failures import Incomplete
from gdncodec.cli.files import (
    about,
    is_gdn,
    pillow_limit,
    read_gdn,
    refuse_existing,
    write_output,
)
from gdncodec.cli.progress import ProgressLine
from gdncodec.errors import UsageError, printable
from gdncodec.files import STREAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL import Image

    from gdncodec.cli.options import Work
    from gdncodec.tiles.geometry import Region

__all__ = ["decompress", "verify", "view"]


@click.command()
@options.sources
@options.output
@options.recursive
@options.skip_existing
@click.option("--format", "format_name", metavar="NAME", help="Format of the output, such as ppm.")
@click.option("--region", metavar="X,Y,W,H", help="Decode only this rectangle, in pixels.")
@click.option(
    "--ignore-errors", is_flag=True, help="Decode what is intact of a damaged file, rest grey."
)
@options.max_pixels
@options.model
@options.force
@options.working
def decompress(
    sources: tuple[Path, ...],
    output: str | None,
    recursive: bool,
    skip_existing: bool,
    work: Work,
    **chosen: Any,
) -> None:
    """Decompress .gdn files INPUT (- for stdin) into images.

    INPUT may be several files and folders. The output is INPUT with the suffix .decoded.png unless
    -o names another file, whose suffix then determines the format, or a folder. --format overrides
    that. What goes to stdout (-o -) is PNG by default.
    """
    suffix = f".decoded.{(chosen['format_name'] or 'png').lower()}"

    def renamed(source: Path) -> Path:
        return STREAM if source == STREAM else source.with_suffix(suffix)

    def decompress_one(source: Path, target: Path) -> Sizes:
        return _decompress(source, target, work=work, **chosen)

    jobs, many = plan(sources, output, renamed=renamed, wanted=is_gdn, recursive=recursive)
    if many:
        run(jobs, decompress_one, skip_existing=skip_existing, quiet=work.quiet)
    elif not (skip_existing and jobs[0].output.exists()):
        decompress_one(*jobs[0])


def _decompress(
    source: Path,
    output: Path,
    *,
    format_name: str | None,
    ignore_errors: bool,
    force: bool,
    work: Work,
    **decoding: Any,
) -> Sizes:
    refuse_existing(output, force, source)
    damages: list[str] = []
    with ProgressLine("decompressing", source, work.quiet) as progress:
        from gdncodec.images.writing import output_format

        name = output_format(output, format_name or ("png" if output == STREAM else None))
        on_damage = damages.append if ignore_errors else None
        image = _decoded(source, work, progress, on_damage=on_damage, **decoding)
        write_output(output, image, name, force)
    if not work.quiet:
        text = f"{printable(output)}: {image.width} x {image.height}{work.took}"
        click.echo(text, err=output == STREAM)
    if damages:
        msg = f"{source}: {'; '.join(damages)}"
        raise Incomplete(msg)
    before, after = (0 if p == STREAM else p.stat().st_size for p in (source, output))
    return Sizes(before, after, image.width * image.height)


@click.command()
@options.source
@options.max_pixels
@options.model
@options.working
def view(source: Path, work: Work, **decoding: Any) -> None:
    """Show the image in the .gdn file INPUT.

    It is written to a temporary PNG file, which opens in the system's viewer. Without a display, an
    HTML page is written beside that file, and its path is printed.
    """
    with ProgressLine("decompressing", source, work.quiet) as progress:
        from gdncodec.cli.viewer import has_display, write_view

        image = _decoded(source, work, progress, **decoding)
        png, page = write_view(image, source.name, f"{image.width} x {image.height} pixels")
    if has_display() and click.launch(str(png)) == 0:
        page.unlink()
        if not work.quiet:
            click.echo(f"{png}{work.took}")
    else:
        click.echo(page)


@click.command()
@options.sources
@options.recursive
@options.max_pixels
@options.model
@options.working
def verify(sources: tuple[Path, ...], recursive: bool, work: Work, **decoding: Any) -> None:
    """Decode .gdn files INPUT without writing anything.

    INPUT may be several files and folders.
    """

    def verify_one(source: Path, _: Path) -> Sizes:
        with ProgressLine("verifying", source, work.quiet) as progress:
            image = _decoded(source, work, progress, **decoding)
        if not work.quiet:
            click.echo(f"{printable(source)}: good, {image.width} x {image.height}{work.took}")
        size = 0 if source == STREAM else source.stat().st_size
        pixels = image.width * image.height
        return Sizes(size, pixels * len(image.getbands()), pixels)

    jobs, many = plan(sources, None, renamed=lambda path: path, wanted=is_gdn, recursive=recursive)
    if many:
        run(jobs, verify_one, skip_existing=False, quiet=work.quiet)
    else:
        verify_one(*jobs[0])


def _decoded(
    source: Path,
    work: Work,
    progress: ProgressLine,
    *,
    model: str | None,
    max_pixels: int,
    region: str | None = None,
    on_damage: Callable[[str], None] | None = None,
) -> Image.Image:
    """Return the image in a .gdn file."""
    from gdncodec.catalog import find_model
    from gdncodec.container import unpack_header

    part = _region(region)
    data = read_gdn(source)
    with about(source):
        fingerprint = unpack_header(data).fingerprint
        codec = work.codec(find_model(model)) if model else work.codec_of_file(fingerprint)
        with pillow_limit(max_pixels):
            return codec.decompress_image(
                data, region=part, max_pixels=max_pixels, progress=progress, on_damage=on_damage
            )


def _region(text: str | None) -> Region | None:
    from gdncodec.tiles.geometry import Region

    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        msg = f"--region takes four whole numbers X,Y,W,H, got {text!r}"
        raise UsageError(msg) from None
    return Region(x, y, width, height)
