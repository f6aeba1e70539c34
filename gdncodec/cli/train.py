"""``gdncodec train``."""

import sys
from pathlib import Path
from typing import Any

import click

from gdncodec.cli import options
from gdncodec.cli.progress import FitProgress
from gdncodec.cli.rare import RareOption, SortedCommand
from gdncodec.extras import check_installed
from gdncodec.threads import bounded

__all__ = ["train"]

_folder = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(cls=SortedCommand)
@click.option(
    "--data",
    multiple=True,
    required=True,
    type=_folder,
    help="Folder of training images, searched recursively; repeatable.",
)
@click.option(
    "--val",
    type=_folder,
    help="Folder of validation images.  [default: every 25th training image]",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Output folder for the model file, its card and the checkpoints.",
)
@click.option("--norm", help="Norm in the analysis transform.  [default: gdn1]")
@click.option(
    "--synthesis-norm", help="Norm in the synthesis transform.  [default: same as --norm]"
)
@click.option(
    "--widths", nargs=3, type=int, help="Channels of the inner layers.  [default: 48 96 160]"
)
@click.option("--latent-channels", type=int, help="Channels of the latent.  [default: 320]")
@click.option("--lambda-range", nargs=2, type=float, help="Lambda at qualities 0 and 100.")
@click.option(
    "--lambda", "one_lambda", type=float, help="A single lambda, for a model of one rate."
)
@click.option(
    "--metric",
    type=click.Choice(["mse", "ms-ssim"]),
    help="Distortion metric.  [default: mse]",
)
@click.option("--steps", type=click.IntRange(1), help="Stop after this many steps.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(0, min_open=True),
    help="Stop after this many minutes of training.  [default: 120, unless --steps]",
)
@click.option("--batch", type=click.IntRange(1), help="Crops per step.  [default: 8; on CUDA 16]")
@click.option(
    "--crop",
    type=int,
    help="Side of a crop in pixels.  [default: 128; on CUDA 256; on the CPU with ms-ssim 192]",
)
@click.option(
    "--precision",
    type=click.Choice(["bf16", "float32"]),
    help="Precision of the inner convolutions.  [default: bf16]",
)
@click.option(
    "--optimizer",
    type=click.Choice(["adam", "soap"]),
    help="Optimiser.  [default: soap; on CUDA adam]",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Peak learning rate of Adam; SOAP uses three times as much.  [default: 0.001]",
)
@click.option(
    "--decay",
    cls=RareOption,
    type=click.FloatRange(0, 1),
    help="Fraction of the run, at its end, over which the learning rate decays.  [default: 0.25]",
)
@click.option(
    "--mixed",
    cls=RareOption,
    type=click.FloatRange(0, 1),
    help="Fraction of the run, at its end, with rounded latents in the synthesis.  [default: 0.2]",
)
@click.option(
    "--drawn",
    cls=RareOption,
    type=click.FloatRange(0, 1),
    help="Fraction of crops that are synthetic: flat colours, shapes, text.  [default: 0.05]",
)
@click.option(
    "--flat",
    cls=RareOption,
    type=click.FloatRange(1, 64),
    help="Divisor of the quantisation bins that represent flat colours.  [default: 1]",
)
@click.option("--seed", type=click.IntRange(-(2**63), 2**63 - 1), help="Random seed.  [default: 0]")
@click.option("--resume", is_flag=True, help="Resume the run in --out, or start one.")
@click.option(
    "--resume-weights",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Start from a checkpoint, such as before-decay.safetensors, or from bare weights.",
)
@click.option(
    "--compile",
    cls=RareOption,
    type=click.Choice(["auto", "on", "off"]),
    help="Use torch.compile.  [default: auto: on CUDA and in long CPU runs]",
)
@click.option("--device", metavar="NAME", help="Torch device.  [default: CUDA if available]")
@click.option("--threads", type=click.IntRange(1), help="Number of CPU threads.")
@options.verbose
@options.quiet
def train(threads: int | None, verbose: bool, quiet: bool, **given: Any) -> None:
    """Train a codec on folders of images; the result is a model file for compress --model.

    Ctrl-C or SIGTERM stop a run early but save everything; --resume continues it. With
    `torchrun --nproc-per-node=N train.py` and the same options, N processes train together.
    """
    check_installed("torch", extra="train")
    from gdncodec.training.session import run_session

    if threads:
        import torch

        torch.set_num_threads(bounded(threads))
    report = (lambda _: None) if quiet else None
    progress = FitProgress(quiet)
    with progress:
        outcome = run_session(report=report, verbose=verbose, fitting=progress.share, **given)
    if outcome.model and not quiet:
        use = f"use it with `gdncodec compress --model {outcome.model} IMAGE`"
        click.echo(f"{outcome.model}: {use}")
    if outcome.signal:
        sys.exit(128 + outcome.signal)
