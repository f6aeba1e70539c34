"""``gdncodec info``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from gdncodec.cli import options
from gdncodec.cli.facts import facts_of_norms
from gdncodec.cli.files import about, read_gdn
from gdncodec.errors import ModelError, printable

if TYPE_CHECKING:
    from pathlib import Path

    from gdncodec.container import Container

__all__ = ["info"]


@click.command()
@options.source
@options.as_json
@options.more("Add slices, overhead and the model's file.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells the result.")
def info(source: Path, as_json: bool, verbose: bool, quiet: bool) -> None:
    """Print what is in the .gdn file INPUT, without decoding it."""
    options.refuse_both(as_json, quiet)
    with about(source):
        facts = _facts(source, read_gdn(source), verbose)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    elif not quiet:
        _print_list(facts)


def _facts(source: Path, data: bytes, verbose: bool) -> dict[str, Any]:
    from gdncodec.container import ChunkType, unpack

    container = unpack(data)
    header, chunks = container
    return {
        "file": str(source),
        "bytes": len(data),
        "format_version": data[4],
        "width": header.width,
        "height": header.height,
        "color_mode": header.color_mode.name.lower(),
        "depth": header.depth,
        "alpha": ChunkType.ALPHA in chunks,
        "quality": header.quality,
        "bpp": round(len(data) * 8 / (header.width * header.height), 4),
        **_facts_of_model(header.fingerprint, verbose),
        "fingerprint": header.fingerprint.hex(),
        "chunks": {ChunkType(kind).name.lower(): len(part) for kind, part in chunks.items()},
        **(_facts_of_layout(container, len(data)) if verbose else {}),
    }


def _facts_of_model(fingerprint: bytes, verbose: bool) -> dict[str, Any]:
    from gdncodec.catalog import find_model_for

    try:
        model = find_model_for(fingerprint)
        path = {"model_file": str(model.path)} if verbose else {}
        return {"model": model.name, **facts_of_norms(model.config), **path}
    except ModelError:
        return {"model": None}


def _facts_of_layout(container: Container, size: int) -> dict[str, Any]:
    from gdncodec.tiles.geometry import latent_shape, slice_count

    header, chunks = container
    return {
        "slices": slice_count(*latent_shape(header.height, header.width)),
        "overhead": size - sum(len(part) for part in chunks.values()),
    }


def _print_list(facts: dict[str, Any]) -> None:
    chunks = ", ".join(f"{name} {size} bytes" for name, size in facts["chunks"].items())
    shown = {**facts, "model": facts["model"] or "not installed", "chunks": chunks}
    if "overhead" in shown:
        shown["overhead"] = f"{shown['overhead']} bytes"
    for key, value in shown.items():
        click.echo(f"{key.replace('_', ' '):15} {printable(value)}")
