"""The command line: the group of all commands, and how it reports errors.

Until a command runs, its module imports only click and what needs nothing but the standard library,
so that help, lists and usage errors appear at once.
"""

import contextlib
import io
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import click

from gdncodec._version import __version__
from gdncodec.cli import (
    compare,
    compress,
    decompress,
    desktop,
    evaluate,
    info,
    models,
    options,
    train,
)
from gdncodec.cli.failures import EXISTS, explained
from gdncodec.errors import printable, show_skipped_models

__all__ = ["main"]

_EXIT_CODES = """\b
Exit codes:
  0  done
  1  any other failure, such as a full disk, or a bug in gdncodec
  2  the command line is wrong
  3  an image cannot be read or written
  4  a .gdn file is damaged or cannot be read
  5  a model is missing or damaged
  6  the output exists (--force overwrites it)
  7  the output lacks what is damaged in the input (--ignore-errors, --accept-truncated)
  130, 143  stopped by Ctrl-C or SIGTERM; a training run has saved everything
"""

_OTHER_NAMES = {"encode": "compress", "decode": "decompress"}


class _Commands(click.Group):
    """Knows the other names of commands, and reports errors in one line.

    Only errors of this package and of the system are the user's business. Anything else is a bug,
    and its report says so.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _OTHER_NAMES.get(cmd_name, cmd_name))

    def invoke(self, ctx: click.Context) -> Any:
        _show_any_text()
        try:
            with warnings.catch_warnings(), _ended_by_signals():
                warnings.filterwarnings("ignore", module="PIL")  # of damaged or large images
                show_skipped_models()
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)  # the program ends by the signal itself
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "gdncodec"
            lines = error.format_message().expandtabs().splitlines()
            message = "\n".join(map(printable, lines)) + f" (see {where} --help)"
            raise _failure(message, 2) from error
        except BrokenPipeError:
            raise  # click ends quietly when the reader of a pipe has gone
        except Exception as error:
            found = explained(error)
            if found is None:
                raise _bug(error, ctx) from error
            message, code = found
            if code == EXISTS and ctx.invoked_subcommand == "train":
                message = message.replace("--force overwrites it", "--resume continues that run")
            raise _failure(message, code) from error


def _bug(error: Exception, ctx: click.Context) -> click.ClickException:
    message = f"{type(error).__name__}: {_first_line(error)}. This is a bug in gdncodec; "
    if ctx.meta.get(options.VERBOSE, True):  # commands without -v show the traceback at once
        click.echo("".join(traceback.format_exception(error)), nl=False, err=True)
        return _failure(f"{message}please report it with the traceback above", 1)
    return _failure(f"{message}run the command again with -v for the traceback, and report it", 1)


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or ["no message"])[0])


def _show_any_text() -> None:
    """Print what the terminal's encoding cannot show as backslash sequences; it is no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program the way an exception does, so that it cleans up."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failure(message: str, code: int) -> click.ClickException:
    failure = click.ClickException(message)
    failure.exit_code = code  # type: ignore[misc]
    return failure


@click.group(
    cls=_Commands, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, "-V", "--version", prog_name="gdncodec")
def main() -> None:
    """Compress images with a trained neural codec.

    \b
    gdncodec compress photo.png            writes photo.gdn
    gdncodec decompress photo.gdn          writes photo.decoded.png
    """  # noqa: D301 - click wants the backspace itself


main.add_command(compress.compress)
main.add_command(decompress.decompress)
main.add_command(decompress.view)
main.add_command(decompress.verify)
main.add_command(info.info)
main.add_command(models.models)
main.add_command(train.train)
main.add_command(evaluate.evaluate)
main.add_command(compare.compare)
main.add_command(desktop.mime)
