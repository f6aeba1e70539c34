"""``gdncodec models``: the models that are installed."""

import json
import os
from pathlib import Path
from typing import Any

import click

from gdncodec.cli import options
from gdncodec.cli.export_model import export_model
from gdncodec.cli.facts import facts_of_norms
from gdncodec.cli.import_model import import_model
from gdncodec.cli.user_models import path_for
from gdncodec.errors import ModelError, UsageError, printable
from gdncodec.files import read_data, write_data

__all__ = ["models"]


@click.group(invoke_without_command=True)
@options.as_json
@options.more("Add qualities and tile classes; to JSON, the cards.")
@click.option("--quiet", is_flag=True, help="Print only the names, one per line.")
@click.pass_context
def models(ctx: click.Context, as_json: bool, verbose: bool, quiet: bool) -> None:
    """List the models that are installed, or change which are."""
    if ctx.invoked_subcommand is not None:
        del ctx.meta[options.VERBOSE]  # which is an option of the list only
        return
    options.refuse_both(as_json, quiet)
    rows = _rows(verbose)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif quiet:
        click.echo("".join(f"{printable(row['name'])}\n" for row in rows), nl=False)
    else:
        _print_table(rows, verbose)


@models.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", help="Name of the model.  [default: that of FILE]")
@options.force
def add(file: Path, name: str | None, force: bool) -> None:
    """Copy the model file FILE among your models, so that its name is enough."""
    from gdncodec.catalog import ModelEntry
    from gdncodec.modelfile import load_model

    load_model(ModelEntry(file))  # it is whole
    path = path_for(name or file.name, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_data(path, read_data(file), overwrite=force)
    name = path.stem
    click.echo(f"{path}\nuse it with `gdncodec compress --model {name} IMAGE`")


@models.command()
@click.argument("name")
def remove(name: str) -> None:
    """Delete NAME from your models; files that were made with it need it to be decompressed."""
    from gdncodec.catalog import find_model, user_folder

    path = user_folder() / f"{name.removesuffix('.safetensors')}.safetensors"
    if Path(name).name != name or path.is_dir() or not os.path.lexists(path):
        shipped = find_model(path.stem).path if Path(name).name == name else None
        where = f"{shipped} came with gdncodec" if shipped else f"{name} is no name"
        msg = f"{where}; only models in {user_folder()} can be removed, and by their names"
        raise UsageError(msg)
    path.unlink()
    click.echo(f"removed {path}")


models.add_command(import_model)
models.add_command(export_model)


def _rows(with_cards: bool) -> list[dict[str, Any]]:
    """Return facts about each model, and report the damaged ones."""
    from gdncodec.catalog import list_models

    rows: list[dict[str, Any]] = []
    for entry in list_models():
        try:
            config, card, fingerprint = entry.config, entry.card, entry.fingerprint.hex()
        except ModelError as error:
            click.echo(f"Skipped: {printable(error)}", err=True)
            continue
        rows.append(
            {
                "name": entry.name,
                "bpp": _range(card.get("bpp_range")),
                **facts_of_norms(config),
                "quality": config.fixed_quality,
                "bytes": entry.path.stat().st_size,
                "fingerprint": fingerprint,
                "path": str(entry.path),
                **({"card": card} if with_cards else {}),
            }
        )
    return rows


def _range(stated: Any) -> list[float] | None:
    """Return two rates from a card, which may hold anything; None if these are none."""
    if not isinstance(stated, list) or len(stated) != 2:
        return None
    return stated if all(type(bpp) in (int, float) for bpp in stated) else None


def _print_table(rows: list[dict[str, Any]], verbose: bool) -> None:
    from gdncodec.catalog import user_folder

    click.echo(f"{'name':12} {'bpp':10} {'norm':12} {'size':>8}  {'fingerprint':16}  file")
    for row in rows:
        bpp = "-".join(f"{b:.2f}" for b in row["bpp"] or []) or "?"
        norms = " / ".join(dict.fromkeys([row["norm"], row["synthesis_norm"]]))
        size = f"{row['bytes'] / 1e6:.1f} MB"
        facts = f"{printable(row['name']):12} {bpp:10} {norms:12} {size:>8}  {row['fingerprint']}"
        click.echo(f"{facts}  {printable(row['path'])}")
        if verbose:
            quality = "0 to 100" if row["quality"] is None else f"{row['quality']:g} only"
            click.echo(f"{'':12} quality {quality}, {row['tile_class']}")
    click.echo(f"`gdncodec models add FILE` copies your own models into {user_folder()}")
