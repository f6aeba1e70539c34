"""``gdncodec train``."""

import sys
from pathlib import Path
from typing import Any

import click

from gdncodec.cli import options

__all__ = ["train"]

_folder = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.option(
    "--data",
    multiple=True,
    required=True,
    type=_folder,
    help="Folder of training images, searched recursively; may be given several times.",
)
@click.option(
    "--val",
    type=_folder,
    help="Folder of validation images.  [default: every 25th image of the data]",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the model file, its card and the checkpoints.",
)
@click.option("--norm", help="Norm of the analysis.  [default: gdn1]")
@click.option("--synthesis-norm", help="Norm of the synthesis.  [default: as --norm]")
@click.option("--widths", nargs=3, type=int, help="Channels inside.  [default: 48 96 160]")
@click.option("--latent-channels", type=int, help="Channels of the latent.  [default: 320]")
@click.option("--lambda-range", nargs=2, type=float, help="Lambda at quality 0 and 100.")
@click.option("--lambda", "one_lambda", type=float, help="One lambda, for a model of one rate.")
@click.option(
    "--metric",
    type=click.Choice(["mse", "ms-ssim"]),
    help="What lambda weighs against the bits.  [default: mse]",
)
@click.option("--steps", type=click.IntRange(1), help="Stop after so many steps.")
@click.option(
    "--max-minutes",
    type=click.FloatRange(0, min_open=True),
    help="Stop after so long, without reading and exporting.  [default: 120, without --steps]",
)
@click.option("--batch", type=click.IntRange(1), help="Crops in a step.  [default: 8; on CUDA 16]")
@click.option(
    "--crop",
    type=int,
    help="Side of a crop in pixels.  [default: 128; on CUDA 256; on the CPU with ms-ssim 192]",
)
@click.option(
    "--precision",
    type=click.Choice(["bf16", "float32"]),
    help="Of the inner convolutions.  [default: bf16]",
)
@click.option(
    "--optimizer",
    type=click.Choice(["adam", "soap"]),
    help="[default: soap; on CUDA adam]",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Peak rate of Adam; SOAP takes three times as much.  [default: 0.001]",
)
@click.option(
    "--decay",
    type=click.FloatRange(0, 1),
    help="Last part of the run, in which the learning rate falls to zero.  [default: 0.25]",
)
@click.option(
    "--mixed",
    type=click.FloatRange(0, 1),
    help="Last part of the run, in which the synthesis sees rounded latents.  [default: 0.2]",
)
@click.option(
    "--drawn",
    type=click.FloatRange(0, 1),
    help="Share of crops that show drawn flat colours, shapes and text.  [default: 0.05]",
)
@click.option(
    "--flat",
    type=click.FloatRange(1, 64),
    help="Divide the bins of channels that hold flat colours, at the end.  [default: 1]",
)
@click.option("--seed", type=int, help="Of weights, crops, qualities and noise.  [default: 0]")
@click.option("--resume", is_flag=True, help="Continue the run in --out, or begin it.")
@click.option(
    "--resume-weights",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Begin a run with the weights of a checkpoint, such as before-decay.safetensors.",
)
@click.option(
    "--compile",
    type=click.Choice(["auto", "on", "off"]),
    help="Use torch.compile.  [default: auto, on CUDA and in long runs on the CPU]",
)
@click.option("--device", metavar="NAME", help="Torch device.  [default: CUDA where there is one]")
@click.option("--threads", type=click.IntRange(1), help="Threads of the CPU to use.")
@options.verbose
@options.quiet
def train(threads: int | None, verbose: bool, quiet: bool, **given: Any) -> None:
    """Train a codec on folders of images; ends with a model file that compress accepts.

    Ctrl-C or SIGTERM end a run early, with everything written; --resume continues it. With
    `torchrun --nproc-per-node=N train.py` and the same options, N processes train together.
    """
    from gdncodec.training.session import run_session

    if threads:
        import torch

        torch.set_num_threads(threads)
    report = (lambda _: None) if quiet else None
    outcome = run_session(report=report, verbose=verbose, **given)
    if outcome.model and not quiet:
        use = f"use it with `gdncodec compress --model {outcome.model} IMAGE`"
        click.echo(f"{outcome.model}: {use}")
    if outcome.signal:
        sys.exit(128 + outcome.signal)
