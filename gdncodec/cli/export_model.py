"""``gdncodec models export``."""

from functools import partial
from pathlib import Path

import click

from gdncodec.cli import options
from gdncodec.cli.progress import FitProgress
from gdncodec.cli.user_models import destination
from gdncodec.extras import check_installed

__all__ = ["export_model"]

_file = click.Path(path_type=Path, dir_okay=False)
_existing_file = click.Path(path_type=Path, dir_okay=False, exists=True)
_folder = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("export")
@click.argument("checkpoint", type=_existing_file)
@click.option(
    "--data",
    multiple=True,
    required=True,
    type=_folder,
    help="Folder of training images, to which the entropy coding is fitted; repeatable.",
)
@click.option("--name", help="Name of the model.  [default: that of CHECKPOINT]")
@click.option("-o", "--output", type=_file, help="Write this file.  [default: among your models]")
@click.option(
    "--flat",
    type=click.FloatRange(1, 64),
    help="Divisor of the quantisation bins that represent flat colours.  [default: as trained]",
)
@options.force
@options.quiet
def export_model(
    checkpoint: Path,
    data: tuple[Path, ...],
    name: str | None,
    output: Path | None,
    flat: float | None,
    force: bool,
    quiet: bool,
) -> None:
    """Make a model of CHECKPOINT, as the end of a training run does.

    CHECKPOINT is one that `gdncodec train` left, such as last.safetensors, or a safetensors file of
    a network's weights whose metadata hold its configuration. It takes a minute or two.
    """
    path, wanted = destination(
        checkpoint, checkpoint.name.removesuffix(checkpoint.suffix), name, output, force
    )
    check_installed("torch", extra="train")
    from gdncodec.modelfile import save_model
    from gdncodec.training.exporting import export_checkpoint

    progress = FitProgress(quiet)
    with progress:
        say = partial(click.echo, err=True)
        model, card = export_checkpoint(
            checkpoint, data, flat=flat, say=say, progress=progress.share
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, model, card)
    if not quiet:
        click.echo(f"{path}\nuse it with `gdncodec compress --model {wanted} IMAGE`")
