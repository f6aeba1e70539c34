"""``gdncodec mime``."""

from importlib.resources import files

import click

__all__ = ["mime"]


@click.command()
def mime() -> None:
    """Print a shared MIME info file, by which a desktop knows .gdn files (image/x-gdn).

    \b
    gdncodec mime > ~/.local/share/mime/packages/gdncodec.xml
    update-mime-database ~/.local/share/mime
    """  # noqa: D301 - click wants the backspace itself
    click.echo(files("gdncodec").joinpath("gdncodec-mime.xml").read_text("utf-8"), nl=False)
