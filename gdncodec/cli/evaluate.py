"""``gdncodec eval``."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from gdncodec.cli import options
from gdncodec.cli.options import Work
from gdncodec.evaluation import EVALUATED_ANCHORS

__all__ = ["evaluate"]


@click.command("eval")
@click.argument(
    "images", metavar="IMAGES...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the results; an interrupted run continues from there.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[LABEL=]NAME|FILE",
    help="Model to measure; LABEL=FILE,FILE,... joins models of one rate. Repeatable.",
)
@click.option(
    "--qualities",
    callback=options.numbers,
    default="",
    help="Qualities of the models.  [default: 0,10..100]",
)
@click.option(
    "-e",
    "--effort",
    "efforts",
    multiple=True,
    type=click.IntRange(0, 9),
    help="Effort of the models; each makes its own curve. Repeatable.",
)
@click.option(
    "--anchors",
    callback=options.listed,
    default=",".join(EVALUATED_ANCHORS),
    show_default=True,
    help="Classical codecs.",
)
@click.option(
    "--compare",
    "published",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Published curve in CompressAI's JSON. Repeatable.",
)
@click.option("--reference", metavar="NAME", help="Curve with which all others are compared.")
@click.option(
    "--show",
    "shown_bpp",
    callback=options.numbers,
    default="0.25,0.75",
    show_default=True,
    help="Bits per pixel at which the report shows the images; empty for none.",
)
@click.option("--lpips", is_flag=True, help="Measure LPIPS too, if its weights are installed.")
@options.fast
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, help="Processes.  [default: 1]")
@click.option("--resume/--fresh", default=True, help="Keep or discard earlier results.")
@options.working
def evaluate(out: Path, work: Work, **chosen: Any) -> None:
    """Measure models and classical codecs on IMAGES, files or folders.

    Writes curves in CompressAI's JSON, a CSV of every image, plots, a summary in Markdown, and a
    report in one HTML file. An image that cannot be read is named and skipped; exit code 3.
    """
    from gdncodec.evaluation.session import EvaluationRequest, run_evaluation

    request = EvaluationRequest(
        out=out,
        device=work.device,
        engine=work.engine,
        threads=work.threads,
        quiet=work.quiet,
        **chosen,
    )
    summary = run_evaluation(request, partial(click.echo, err=True))
    if not work.quiet:
        click.echo("\n".join([*summary.lines(), f"{out / 'report.html'}"]))
