"""Options under a heading of their own in the help."""

from __future__ import annotations

import click

__all__ = ["RareOption", "SortedCommand"]


class RareOption(click.Option):
    """An option that few people need."""


class SortedCommand(click.Command):
    """A command whose help lists rare options after the others."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, in two lists."""
        lists: dict[str, list[tuple[str, str]]] = {"Options": [], "Rarely needed": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                rare = isinstance(parameter, RareOption)
                lists["Rarely needed" if rare else "Options"].append(record)
        for title, records in lists.items():
            with formatter.section(title):
                formatter.write_dl(records)
