"""The option ``--strip`` of commands that read or write images."""

from __future__ import annotations

import click

__all__ = ["TakesStrip", "strip"]


class TakesStrip(click.Command):
    """A command whose ``--strip`` takes a value after ``=`` only, so never the name of a file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        options = ["--strip=all" if arg == "--strip" else arg for arg in args[:end]]
        return super().parse_args(ctx, options + args[end:])


def _names(_: click.Context, __: click.Parameter, value: str | None) -> frozenset[str]:
    if value is None:
        return frozenset()
    from gdncodec.images.stripping import parsed

    return parsed(value)


strip = click.option(
    "--strip",
    metavar="[=WHAT]",
    callback=_names,
    help="Leave out metadata: all, or a list of icc, exif, xmp, gps (--strip=gps).",
)
