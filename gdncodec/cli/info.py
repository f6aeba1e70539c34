"""``gdncodec info``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gdncodec.batch.files import about, read_gdn
from gdncodec.batch.inputs import not_gdn
from gdncodec.batch.jobs import plan
from gdncodec.batch.outcomes import Outcome
from gdncodec.cli import options
from gdncodec.cli.batch import Batch, batching, do
from gdncodec.cli.facts import facts_of_norms
from gdncodec.cli.options import Work
from gdncodec.errors import ModelError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gdncodec.batch.jobs import Job
    from gdncodec.container import Container

__all__ = ["info"]


@click.command()
@options.sources
@options.as_json
@options.more("Add slices, overhead and the model's file.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells the result.")
@batching(writes=False)
def info(sources: tuple[str, ...], as_json: bool, verbose: bool, quiet: bool, batch: Batch) -> None:
    """Print what is in .gdn files INPUT, without decoding them.

    INPUT may be several files and folders, and @FILE, a list of them. --json prints an object for
    each file, on one line if there are many.
    """
    options.refuse_both(as_json, quiet)
    files = plan(
        sources, None, renamed=lambda path: path, unwanted=not_gdn, recursive=batch.recursive
    )
    indent = None if files.many else 2

    def lines(outcome: Outcome, _: Work) -> list[str]:
        if as_json:
            return json.dumps(outcome.facts, indent=indent).splitlines()
        return [*_list(outcome.facts), *([""] if files.many else [])]

    work = Work(None, "auto", None, verbose, quiet)
    do("reading", files, _Inspection(verbose), batch, work, lines, summary=not as_json)


@dataclass(frozen=True)
class _Inspection:
    """Says what is in a file."""

    verbose: bool

    def __call__(self, job: Job, progress: object = None) -> Outcome:
        with about(job.source):
            facts = _facts(job.source, read_gdn(job.source), self.verbose)
        return Outcome(
            job.source,
            before=facts["bytes"],
            width=facts["width"],
            height=facts["height"],
            bpp=facts["bpp"],
            quality=facts["quality"],
            facts=facts,
        )


def _facts(source: Path, data: bytes, verbose: bool) -> dict[str, Any]:
    from gdncodec.container import ChunkType, unpack
    from gdncodec.images.exif import orientation

    container = unpack(data)
    header, chunks = container
    return {
        "file": str(source),
        "bytes": len(data),
        "format_version": data[4],
        "width": header.width,
        "height": header.height,
        "orientation": orientation(chunks.get(ChunkType.EXIF, b"")),
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


def _list(facts: Mapping[str, Any]) -> list[str]:
    chunks = ", ".join(f"{name} {size} bytes" for name, size in facts["chunks"].items())
    shown = {**facts, "model": facts["model"] or "not installed", "chunks": chunks}
    if "overhead" in shown:
        shown["overhead"] = f"{shown['overhead']} bytes"
    return [f"{key.replace('_', ' '):15} {printable(value)}" for key, value in shown.items()]
