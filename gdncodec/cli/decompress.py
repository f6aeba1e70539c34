"""``gdncodec decompress``, ``view`` and ``verify``: the commands that decode a ``.gdn`` file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gdncodec.batch.decompressing import Decoding, Decompression, Verification
from gdncodec.batch.inputs import not_gdn
from gdncodec.batch.jobs import plan, renamed
from gdncodec.cli import options
from gdncodec.cli.batch import Batch, computing_batch, do
from gdncodec.cli.progress import ProgressLine
from gdncodec.cli.stripping import TakesStrip, strip
from gdncodec.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gdncodec.batch.outcomes import Outcome
    from gdncodec.cli.options import Work
    from gdncodec.tiles.geometry import Region

__all__ = ["decompress", "verify", "view"]


@click.command(cls=TakesStrip)
@options.sources
@options.output
@options.suffix
@click.option("--format", "format_name", metavar="NAME", help="Format of the output, such as ppm.")
@strip
@click.option(
    "--output-quality",
    type=click.FloatRange(1, 100),
    metavar="Q",
    help="Quality of a JPEG, WebP, AVIF, HEIC or JPEG XL output.  [default: 95]",
)
@click.option("--region", metavar="X,Y,W,H", help="Decode only this rectangle, in pixels as shown.")
@click.option(
    "--ignore-errors", is_flag=True, help="Decode what is intact of a damaged file, rest grey."
)
@options.max_pixels
@options.model
@options.force
@options.preserve
@computing_batch(writes=True)
def decompress(
    sources: tuple[str, ...],
    output: str | None,
    suffix: str | None,
    format_name: str | None,
    force: bool,
    preserve: bool,
    ignore_errors: bool,
    strip: frozenset[str],
    output_quality: float | None,
    region: str | None,
    batch: Batch,
    work: Work,
    **chosen: Any,
) -> None:
    """Decompress .gdn files INPUT (- for stdin) into images.

    INPUT may be several files and folders, and @FILE, a list of them. The output is INPUT with the
    suffix .decoded.png unless -o, or a second name with the suffix of an image, names another file,
    whose suffix then determines the format, or -o a folder. --format overrides that. What goes to
    stdout (-o -) is PNG by default.
    """
    from gdncodec.batch.files import with_output
    from gdncodec.batch.inputs import not_image

    inputs, output = with_output(sources, output, not_image)
    default = f".decoded.{(format_name or 'png').lower()}"
    jobs = plan(
        inputs,
        output,
        renamed=renamed(default if suffix is None else suffix),
        unwanted=not_gdn,
        recursive=batch.recursive,
    )
    options.refuse_suffix(suffix, output, jobs)
    decoding = Decoding(region=_region(region), computing=batch.computing(work, jobs), **chosen)
    decompression = Decompression(
        decoding, format_name, force, preserve, ignore_errors, strip, output_quality
    )
    do("decompressing", jobs, decompression, batch, work, _lines)


def _lines(outcome: Outcome, work: Work) -> list[str]:
    size = f"{outcome.width} x {outcome.height}"
    return [f"{outcome.output}: {size}{work.took(outcome.seconds, outcome.engine)}"]


@click.command()
@options.source
@options.max_pixels
@options.model
@options.working
def view(source: Path, work: Work, **chosen: Any) -> None:
    """Show the image in the .gdn file INPUT.

    It is written to a temporary PNG file, which opens in the system's viewer. Without a display, an
    HTML page is written beside that file, and its path is printed.
    """
    with ProgressLine("decompressing", source, work.quiet) as progress:
        from gdncodec.cli.viewer import has_display, write_view

        image, header, size, _ = Decoding(computing=work.computing, **chosen)(source, progress)
        rate = 8 * size / (image.width * image.height)
        facts = f"{image.width} x {image.height}, quality {header.quality:g}"
        png, page = write_view(image, source.name, f"{facts}, {size:,} bytes, {rate:.3f} bpp")
    if has_display() and click.launch(str(png)) == 0:
        page.unlink()
        if not work.quiet:
            click.echo(f"{png}{work.took()}")
    else:
        click.echo(page)


@click.command()
@options.sources
@options.max_pixels
@options.model
@computing_batch(writes=False)
def verify(sources: tuple[str, ...], batch: Batch, work: Work, **chosen: Any) -> None:
    """Decode .gdn files INPUT without writing anything.

    INPUT may be several files and folders, and @FILE, a list of them.
    """
    jobs = plan(
        sources, None, renamed=lambda path: path, unwanted=not_gdn, recursive=batch.recursive
    )
    decoding = Decoding(computing=batch.computing(work, jobs), **chosen)
    do("verifying", jobs, Verification(decoding), batch, work, _verified)


def _verified(outcome: Outcome, work: Work) -> list[str]:
    size = f"{outcome.width} x {outcome.height}"
    return [f"{outcome.source}: good, {size}{work.took(outcome.seconds, outcome.engine)}"]


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
