"""``gdncodec models``: the models that are installed."""

import json
from typing import Any

import click

from gdncodec.cli import options
from gdncodec.cli.facts import facts_of_norms
from gdncodec.cli.import_model import import_model
from gdncodec.errors import ModelError, printable

__all__ = ["models"]


@click.group(invoke_without_command=True)
@options.as_json
@options.more("Add qualities and files; to JSON, the cards.")
@click.option("--quiet", is_flag=True, help="Print only the names, one per line.")
@click.pass_context
def models(ctx: click.Context, as_json: bool, verbose: bool, quiet: bool) -> None:
    """List the models that are installed."""
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


models.add_command(import_model)


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
                "bpp": _numbers(card.get("bpp_range")),
                **facts_of_norms(config),
                "quality": config.fixed_quality,
                "bytes": entry.path.stat().st_size,
                "fingerprint": fingerprint,
                "path": str(entry.path),
                **({"card": card} if with_cards else {}),
            }
        )
    return rows


def _numbers(value: Any) -> list[float] | None:
    """Return what a card, which may be anybody's, says if it is a list of numbers."""
    good = isinstance(value, list) and all(isinstance(number, int | float) for number in value)
    return [float(number) for number in value] if good else None


def _print_table(rows: list[dict[str, Any]], verbose: bool) -> None:
    from gdncodec.catalog import user_folder

    click.echo(f"{'name':12} {'bpp':12} {'norm':20} {'size':>8}  fingerprint")
    for row in rows:
        bpp = "-".join(f"{b:.2f}" for b in row["bpp"] or []) or "?"
        name = printable(row["name"])
        norms = " / ".join(dict.fromkeys([row["norm"], row["synthesis_norm"]]))
        size = f"{row['bytes'] / 1e6:.1f} MB"
        click.echo(f"{name:12} {bpp:12} {norms:20} {size:>8}  {row['fingerprint']}")
        if verbose:
            quality = "0 to 100" if row["quality"] is None else f"{row['quality']:g} only"
            click.echo(f"{'':12} quality {quality}, {row['tile_class']}, {printable(row['path'])}")
    click.echo(f"Put your own models into {user_folder()}")
