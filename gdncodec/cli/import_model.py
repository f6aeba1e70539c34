"""``gdncodec models import``."""

from pathlib import Path

import click

from gdncodec.cli import options
from gdncodec.cli.user_models import destination
from gdncodec.errors import UsageError
from gdncodec.extras import check_installed

__all__ = ["import_model"]

_file = click.Path(path_type=Path, dir_okay=False)
_existing_file = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("import")
@click.argument("checkpoint", metavar="FILE", type=_existing_file)
@click.option("--name", help="Name of the model.  [default: that of FILE]")
@click.option("-o", "--output", type=_file, help="Write this file.  [default: among your models]")
@click.option(
    "--lambda",
    "one_lambda",
    type=click.FloatRange(0, min_open=True),
    help="Lambda it was trained with.",
)
@options.force
def import_model(
    checkpoint: Path,
    name: str | None,
    output: Path | None,
    one_lambda: float | None,
    force: bool,
) -> None:
    """Make a model of FILE, a checkpoint of CompressAI's bmshj2018-factorized.

    FILE is what torch.save wrote: a state dict, or a dictionary with one under "state_dict"; no
    code in it is run. The model gives CompressAI's latents, pixels and bits.

    Lambda is not in FILE. It changes nothing but the quality that the model's files are marked
    with. Unless given, it is known from the name of a file that CompressAI publishes, or taken to
    be the default of its examples/train.py.
    """
    if checkpoint.suffix == ".safetensors":
        msg = f"{checkpoint} is none of CompressAI's; try `gdncodec models add`, or export"
        raise UsageError(msg)
    # Theirs end in .pth.tar, but are no archives.
    own = checkpoint.name.removesuffix(".tar").removesuffix(".pth").removesuffix(".pt")
    path, wanted = destination(checkpoint, own, name, output, force)
    check_installed("torch", extra="train")
    from gdncodec.compressai.conversion import import_compressai
    from gdncodec.modelfile import save_model

    model, card = import_compressai(checkpoint, one_lambda=one_lambda)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, model, card)
    click.echo(f"{path}: lambda {card['lambda']['value']:g} ({card['lambda']['from']})")
    click.echo(f"use it with `gdncodec compress --model {wanted} IMAGE`")
