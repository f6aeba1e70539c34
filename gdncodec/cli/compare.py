"""``gdncodec compare``."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from gdncodec.batch.files import refuse_existing
from gdncodec.cli import options
from gdncodec.cli.options import Work
from gdncodec.evaluation import COMPARED_ANCHORS
from gdncodec.files import remove_leftovers

__all__ = ["compare"]


@click.command()
@click.argument("source", metavar="IMAGE", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Page to write.  [default: IMAGE.compare.html]",
)
@click.option(
    "--bpp",
    type=float,
    help="Size of the files in bits per pixel.  [default: that of the model at quality 50]",
)
@click.option(
    "--anchors",
    callback=options.listed,
    default=",".join(COMPARED_ANCHORS),
    show_default=True,
    help="Classical codecs.",
)
@options.model
@options.fast
@options.force
@options.working
def compare(
    source: Path,
    output: Path | None,
    force: bool,
    work: Work,
    **chosen: Any,
) -> None:
    """Overlay IMAGE from several codecs at equal file size, in one HTML file."""
    from gdncodec.evaluation.compare import compare_image

    output = output or source.with_suffix(".compare.html")
    refuse_existing(output, force, source)
    remove_leftovers(output.parent)
    say = partial(click.echo, err=True)
    shown = compare_image(
        source,
        output,
        overwrite=force,
        device=work.device,
        engine=work.engine,
        threads=work.threads,
        quiet=work.quiet,
        say=say,
        **chosen,
    )
    if not work.quiet:
        for s in shown:
            size = f"{s.size:11,} bytes  {s.bpp:6.3f} bpp  {s.psnr:6.2f} dB"
            click.echo(f"{s.codec:12} {size}  quality {s.quality:g}")
        click.echo(output)
