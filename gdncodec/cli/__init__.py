"""The command line: the group of all commands, and what becomes of their errors.

No command's file imports more than click and the standard library before the command runs, so that
help, lists and mistakes are answered at once.
"""

import contextlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import click

from gdncodec._version import __version__
from gdncodec.cli import compare, compress, decompress, evaluate, info, models, train
from gdncodec.errors import FormatError, GdnCodecError, ImageError, ModelError

__all__ = ["main"]

_EXIT_CODES = """\b
Exit codes:
  0  done
  1  any other failure, such as a full disk
  2  the command line is wrong
  3  an image cannot be read or written
  4  a .gdn file is damaged or cannot be read
  5  a model is missing or damaged
  6  the output exists (--force overwrites it)
  130, 143  a training was stopped by Ctrl-C or SIGTERM, with everything written
"""

_EXIT_CODE_OF = {ImageError: 3, FormatError: 4, ModelError: 5}
_EXIT_EXISTS = 6
_OTHER_NAMES = {"encode": "compress", "decode": "decompress"}


class _Commands(click.Group):
    """Knows the other names of commands, and turns the library's errors into one line."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _OTHER_NAMES.get(cmd_name, cmd_name))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings(), _ended_by_signals():
                warnings.filterwarnings("ignore", module="PIL")  # of damaged or large images
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "gdncodec"
            message = f"{error.format_message()} (see {where} --help)"
            raise _failure(message, 2) from error
        except BrokenPipeError:
            raise  # click ends quietly when the reader of a pipe has gone
        except FileExistsError as error:
            way = "--resume continues that run"
            if ctx.invoked_subcommand != "train":
                way = "--force overwrites it"
            message = f"{error.args[0]} exists; {way}"
            raise _failure(message, _EXIT_EXISTS) from error
        except GdnCodecError as error:
            raise _failure(str(error), _EXIT_CODE_OF.get(type(error), 1)) from error
        except ValueError as error:
            raise _failure(str(error), 2) from error
        except (OSError, MemoryError, RuntimeError) as error:  # PyTorch raises RuntimeError
            text = getattr(error, "strerror", None) or str(error) or type(error).__name__
            name = getattr(error, "filename", None)
            text = f"{name}: {text}" if name else text
            raise _failure(text.splitlines()[0], 1) from error


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as an exception does, so that it can clean up."""

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
    r"""Compress images with a trained neural codec.

    \b
    gdncodec compress photo.png            writes photo.gdn
    gdncodec decompress photo.gdn          writes photo.decoded.png
    """


main.add_command(compress.compress)
main.add_command(decompress.decompress)
main.add_command(decompress.view)
main.add_command(decompress.verify)
main.add_command(info.info)
main.add_command(models.models)
main.add_command(train.train)
main.add_command(evaluate.evaluate)
main.add_command(compare.compare)
