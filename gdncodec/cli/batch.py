"""Many inputs: which files they are, where the outputs go, and the work on one after another."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from gdncodec.cli.failures import EXISTS, explained
from gdncodec.errors import UsageError, printable
from gdncodec.files import STREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Job", "Sizes", "plan", "run"]


class Job(NamedTuple):
    """One input and its output."""

    source: Path
    output: Path


class Sizes(NamedTuple):
    """What one job came to."""

    before: int
    """Bytes of the input."""
    after: int
    """Bytes of the output."""
    pixels: int


def plan(
    sources: Sequence[Path],
    output: str | None,
    *,
    renamed: Callable[[Path], Path],
    wanted: Callable[[Path], bool],
    recursive: bool,
) -> tuple[list[Job], bool]:
    """Return the jobs, and whether they are many, even if only one was found.

    There are many if there are several inputs, one of them is a folder, or the output is a folder:
    one that exists, or any name that ends in a slash. They go into that folder, at the place that
    they have in the input's folder, or beside the inputs.

    Args:
        sources: files and folders, or the standard input alone.
        output: a file or a folder; None puts outputs beside the inputs.
        renamed: gives the default output of a file.
        wanted: says which files of a folder are inputs.
        recursive: take the files in folders of folders, too.

    Raises:
        UsageError: two inputs have the same output, several shall go to a file or to standard
            output, or a folder holds no input.
    """
    into_folder = output is not None and (output.endswith(("/", os.sep)) or Path(output).is_dir())
    many = into_folder or len(sources) > 1 or any(source.is_dir() for source in sources)
    if not many:
        (source,) = sources
        return [Job(source, Path(output) if output else renamed(source))], False
    if STREAM in sources:
        msg = "standard input cannot be one of several inputs, nor go into a folder"
        raise UsageError(msg)
    if output == str(STREAM):
        msg = "several inputs cannot go to standard output"
        raise UsageError(msg)
    if output is not None and Path(output).exists() and not Path(output).is_dir():
        msg = f"{output} is a file; several inputs need a folder"
        raise UsageError(msg)
    jobs: dict[Path, Path] = {}  # by output
    for source in sources:
        for path, place in _files(source, wanted, recursive):
            target = renamed(path)
            if output is not None:
                target = Path(output) / place / target.name
            other = jobs.setdefault(target, path)
            if other != path:
                msg = f"{other} and {path} would both become {target}; give one of them alone"
                raise UsageError(msg)
    return [Job(source, target) for target, source in jobs.items()], True


def _files(
    source: Path, wanted: Callable[[Path], bool], recursive: bool
) -> list[tuple[Path, Path]]:
    """Return the files of an input, each with the path of its folder within the input."""
    if not source.is_dir():
        return [(source, Path())]
    found = []
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(folders) if recursive else []
        here = Path(folder)
        found += [(here / n, here.relative_to(source)) for n in sorted(names) if wanted(here / n)]
    if not found:
        hint = "" if recursive else "; -r searches the folders in it, too"
        msg = f"{source}: no input in this folder{hint}"
        raise UsageError(msg)
    return found


def run(
    jobs: Sequence[Job],
    work: Callable[[Path, Path], Sizes],
    *,
    skip_existing: bool,
    quiet: bool,
) -> None:
    """Do many jobs; one that fails is one line and does not stop the others.

    At the end a line says what was done. If something failed, the exit code is that of the
    failures, or 1 if they have different ones.

    Args:
        jobs: inputs and outputs.
        work: does one job.
        skip_existing: leave out jobs whose output exists.
        quiet: print errors only.
    """
    began = time.monotonic()
    done: list[Sizes] = []
    codes: list[int] = []
    skipped = 0
    for source, output in jobs:
        if skip_existing and output.exists():
            skipped += 1
            continue
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            done.append(work(source, output))
        except Exception as error:
            text, code = explained(error) or (_bug(error), 1)
            name = printable(source)
            named = text if name in text or code == EXISTS else f"{name}: {text}"
            click.echo(f"Error: {named}", err=True)
            codes.append(code)
    if not quiet:
        click.echo(_summary(done, len(codes), skipped, time.monotonic() - began))
    if codes:
        raise click.exceptions.Exit(codes[0] if len(set(codes)) == 1 else 1)


def _bug(error: Exception) -> str:
    text = printable((str(error).splitlines() or ["no message"])[0])
    return (
        f"{type(error).__name__}: {text}. This is a bug in gdncodec; run the command for this file "
        "alone with -v for the traceback, and report it"
    )


def _summary(done: Sequence[Sizes], failed: int, skipped: int, seconds: float) -> str:
    before, after, pixels = (sum(sizes) for sizes in zip(*done, strict=True)) if done else (0, 0, 0)
    files = "1 file" if len(done) == 1 else f"{len(done)} files"
    parts = [f"{files}, {_size(before)} to {_size(after)}"]
    parts.append(f"{seconds:.1f} s, {pixels / 1e6 / max(seconds, 1e-9):.1f} megapixels per second")
    if failed:
        parts.append(f"{failed} failed")
    if skipped:
        parts.append(f"{skipped} skipped")
    return "; ".join(parts)


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
