"""``gdncodec models import``."""

from pathlib import Path
from typing import Any

import click

from gdncodec.batch.files import refuse_existing
from gdncodec.cli import options
from gdncodec.errors import UsageError
from gdncodec.extras import check_installed

__all__ = ["import_model"]

_file = click.Path(path_type=Path, dir_okay=False)
_existing_file = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("import")
@click.argument("checkpoint", metavar="FILE", type=_existing_file)
@click.option("--name", help="Name of the model.  [default: that of FILE]")
@click.option("-o", "--output", type=_file, help="Write this file.  [default: among your models]")
@click.option("--quality", type=click.IntRange(1, 8), help="CompressAI's quality.")
@click.option(
    "--lambda",
    "one_lambda",
    type=click.FloatRange(0, min_open=True),
    help="Lambda, in place of a quality.",
)
@click.option("--metric", type=click.Choice(["mse", "ms-ssim"]), help="What it was trained on.")
@options.force
def import_model(
    checkpoint: Path, name: str | None, output: Path | None, force: bool, **trained: Any
) -> None:
    """Make a model of FILE, a checkpoint of CompressAI's bmshj2018-factorized.

    FILE is what torch.save wrote: a state dict, or a dictionary with one under "state_dict"; no
    code in it is run. The model gives CompressAI's latents, pixels and bits.

    Quality, lambda and metric are not in FILE. They change nothing but the quality that the
    model's files are marked with. Unless given, they are known from the name of a file that
    CompressAI publishes, or taken to be the defaults of its examples/train.py.
    """
    path, wanted = _destination(checkpoint, name, output, force)
    check_installed("torch", extra="train")
    from gdncodec.compressai.conversion import import_compressai
    from gdncodec.modelfile import save_model

    model, card = import_compressai(checkpoint, **trained)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, model, card)
    click.echo(f"{path}: lambda {card['lambda']['value']:g} ({card['lambda']['from']})")
    click.echo(f"use it with `gdncodec compress --model {wanted} IMAGE`")


def _destination(
    checkpoint: Path, name: str | None, output: Path | None, force: bool
) -> tuple[Path, str]:
    """Return the path of the new model file, and what --model will know it by."""
    from gdncodec.catalog import list_models, user_folder

    if output is not None:
        if name is not None or output.suffix != ".safetensors":
            msg = "--output takes a name that ends in .safetensors, and no --name beside it"
            raise UsageError(msg)
        refuse_existing(output, force, checkpoint)
        return output.absolute(), str(output.absolute())
    if name is None:  # theirs end in .pth.tar, but are no archives
        name = checkpoint.name.removesuffix(".tar").removesuffix(".pth").removesuffix(".pt")
    if name in {"", ".", ".."} or Path(name).name != name or name.endswith(".safetensors"):
        msg = f"a model cannot be named {name!r}; give another --name"
        raise UsageError(msg)
    path = user_folder() / f"{name}.safetensors"
    if path.exists() and not force:
        raise FileExistsError(path)
    if not force and name in {entry.name for entry in list_models()}:
        msg = f"a model named {name} is installed; give another --name, or --force to go before it"
        raise UsageError(msg)
    return path, name
