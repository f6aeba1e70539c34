"""The command line."""

import contextlib
import io
import json
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from gdncodec._version import __version__
from gdncodec.errors import FormatError, GdnCodecError, ImageError, ModelError
from gdncodec.files import STREAM, read_data, write_data, write_safely

__all__ = ["main"]

_EXIT_CODES = """\b
Exit codes:
  0  done
  1  any other failure, such as a full disk
  2  the command line is wrong
  3  a picture cannot be read or written
  4  a .gdn file is damaged or cannot be read
  5  a model is missing or damaged
  6  the output exists (--force overwrites it)
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
                warnings.filterwarnings("ignore", module="PIL")  # of damaged or large pictures
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
            message = f"{error.args[0]} exists; --force overwrites it"
            raise _failure(message, _EXIT_EXISTS) from error
        except GdnCodecError as error:
            raise _failure(str(error), _EXIT_CODE_OF.get(type(error), 1)) from error
        except ValueError as error:
            raise _failure(str(error), 2) from error
        except (OSError, MemoryError, RuntimeError) as error:  # PyTorch raises RuntimeError
            text = getattr(error, "strerror", None) or str(error) or type(error).__name__
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
    r"""Compress pictures with a trained neural codec.

    \b
    gdncodec compress photo.png            writes photo.gdn
    gdncodec decompress photo.gdn          writes photo.decoded.png
    """


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every command working on pictures has."""
    options = [
        click.option(
            "--device", metavar="NAME", help="Torch device, such as cuda.  [default: cpu]"
        ),
        click.option("--threads", type=click.IntRange(1), help="Threads of the CPU to use."),
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
        click.option("--quiet", is_flag=True, help="Say nothing but errors."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


_file = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
_input = click.argument("source", metavar="INPUT", type=_file)
_output = click.option("-o", "--output", type=_file, help="Where to write; - for stdout.")
_force = click.option("-f", "--force", is_flag=True, help="Overwrite an output that exists.")
_model = click.option("--model", metavar="NAME|FILE", help="Model to use (see `gdncodec models`).")
_max_pixels = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=1 << 28,
    show_default=True,
    help="Refuse larger pictures before anything is allocated.",
)


def _targets(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that look for a quality."""
    options = [
        click.option("--target-size", metavar="BYTES", help="Largest size: 150000, 200k, 1.5M."),
        click.option("--target-bpp", type=float, help="Largest size in bits per pixel."),
        click.option("--target-psnr", type=float, metavar="DB", help="PSNR to reach, in dB."),
        click.option("--target-ms-ssim", type=float, help="MS-SSIM to reach, below 1."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@_input
@_output
@click.option(
    "-q",
    "--quality",
    type=click.FloatRange(0, 100),
    help="0 (smallest) to 100 (best), fractions allowed.  [default: 50]",
)
@_targets
@click.option("--strip", is_flag=True, help="Leave ICC profile, EXIF and XMP behind.")
@click.option("--frame", type=int, metavar="N", help="Frame or page of a file of several, from 0.")
@_max_pixels
@_model
@_force
@_common
def compress(
    source: Path,
    output: Path | None,
    quality: float | None,
    strip: bool,
    frame: int | None,
    max_pixels: int,
    model: str | None,
    force: bool,
    device: str | None,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    **targets: Any,
) -> None:
    """Compress the picture INPUT (- for stdin) into a .gdn file.

    The output is INPUT with the suffix .gdn unless -o names another. ICC profile, EXIF and XMP are
    kept, and the EXIF orientation stays a tag; --strip applies orientation and profile to the
    pixels first. A target looks for the quality that meets it.
    """
    output = output or (STREAM if source == STREAM else source.with_suffix(".gdn"))
    _refuse_existing(output, force, source)
    began = time.monotonic()
    target = _target(quality, **targets)
    with _Progress("compressing", quiet) as progress:
        from gdncodec.codec import codec_for
        from gdncodec.image import read_picture

        _set_threads(threads)
        with _pillow_limit(max_pixels):
            picture = read_picture(
                io.BytesIO(read_data(source)) if source == STREAM else source,
                frame=frame,
                strip=strip,
                max_pixels=max_pixels,
            )
        codec = codec_for(_find_model(model), device)
        data = codec.compress(picture, quality, target=target, progress=progress)
    write_data(output, data, overwrite=force)
    if not quiet:
        for notice in picture.notices:
            click.echo(f"{source}: note: {notice}", err=True)
        _report_compressed(source, output, data, picture.pixels.shape, verbose, began)


@main.command()
@_input
@_output
@click.option("--format", "format_name", metavar="NAME", help="Format of the output, such as ppm.")
@click.option("--region", metavar="X,Y,W,H", help="Decode this rectangle alone, in pixels.")
@_max_pixels
@_model
@_force
@_common
def decompress(
    source: Path,
    output: Path | None,
    format_name: str | None,
    region: str | None,
    max_pixels: int,
    model: str | None,
    force: bool,
    device: str | None,
    threads: int | None,
    verbose: bool,
    quiet: bool,
) -> None:
    """Decompress the .gdn file INPUT (- for stdin) into a picture.

    The output is INPUT with the suffix .decoded.png unless -o names another; its suffix decides
    the format unless --format does. What goes to stdout (-o -) is PNG unless --format says else.
    """
    suffix = f".decoded.{(format_name or 'png').lower()}"
    output = output or (STREAM if source == STREAM else source.with_suffix(suffix))
    _refuse_existing(output, force, source)
    began = time.monotonic()
    with _Progress("decompressing", quiet) as progress:
        from gdncodec.image import output_format

        name = output_format(output, format_name or ("png" if output == STREAM else None))
        image = _decoded(
            source, model, device, threads, progress, region=_region(region), max_pixels=max_pixels
        )
        _write_image(output, image, name, force)
    if not quiet:
        text = f"{output}: {image.width} x {image.height}"
        text += f", {time.monotonic() - began:.2f} s" if verbose else ""
        click.echo(text, err=output == STREAM)


@main.command()
@_input
@_max_pixels
@_model
@_common
def view(
    source: Path,
    max_pixels: int,
    model: str | None,
    device: str | None,
    threads: int | None,
    verbose: bool,
    quiet: bool,
) -> None:
    """Show the picture in the .gdn file INPUT.

    It opens in the system's viewer, from a temporary PNG file. Without a display, an HTML page is
    written beside that file, and its path is printed.
    """
    began = time.monotonic()
    with _Progress("decompressing", quiet) as progress:
        from gdncodec.view import has_display, write_view

        image = _decoded(source, model, device, threads, progress, max_pixels=max_pixels)
        png, page = write_view(image, source.name, f"{image.width} x {image.height} pixels")
    if has_display() and click.launch(str(png)) == 0:
        page.unlink()
        if not quiet:
            click.echo(f"{png}" + (f", {time.monotonic() - began:.2f} s" if verbose else ""))
    else:
        click.echo(page)


@main.command()
@_input
@_max_pixels
@_model
@_common
def verify(
    source: Path,
    max_pixels: int,
    model: str | None,
    device: str | None,
    threads: int | None,
    verbose: bool,
    quiet: bool,
) -> None:
    """Decode the .gdn file INPUT without writing anything."""
    began = time.monotonic()
    with _Progress("verifying", quiet) as progress:
        image = _decoded(source, model, device, threads, progress, max_pixels=max_pixels)
    if not quiet:
        text = f"{source}: good, {image.width} x {image.height}"
        click.echo(text + (f", {time.monotonic() - began:.2f} s" if verbose else ""))


@main.command()
@_input
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(source: Path, as_json: bool) -> None:
    """Say what is in the .gdn file INPUT, without decoding it."""
    from gdncodec.catalog import find_model_for
    from gdncodec.container import ChunkType, unpack

    data = _read_gdn(source)
    header, chunks = unpack(data)
    try:
        model = find_model_for(header.fingerprint)
        of_model: dict[str, Any] = {"model": model.name, **_facts_of_norms(model.config)}
    except ModelError:
        of_model = {"model": None}
    facts: dict[str, Any] = {
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
        **of_model,
        "fingerprint": header.fingerprint.hex(),
        "chunks": {ChunkType(kind).name.lower(): len(part) for kind, part in chunks.items()},
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    facts["model"] = facts["model"] or "not installed"
    facts["chunks"] = ", ".join(f"{k} {v} bytes" for k, v in facts["chunks"].items())
    for key, value in facts.items():
        click.echo(f"{key.replace('_', ' '):15} {value}")


def _facts_of_norms(config: Any) -> dict[str, str]:
    """Return names and tile class of a model's norms."""
    from gdncodec.norms import TileClass, norm_info

    names = {"norm": config.norm, "synthesis_norm": config.synthesis_norm}
    try:
        classes = [norm_info(name).tile for name in names.values()]
    except ValueError:
        return {**names, "tile_class": "unknown: the norm is not registered"}
    # The class of a codec is that of its less local transform.
    return {**names, "tile_class": max(classes, key=list(TileClass).index).value}


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(as_json: bool) -> None:
    """List the models that are installed."""
    from gdncodec.catalog import list_models, user_folder

    rows: list[dict[str, Any]] = []
    for entry in list_models():
        try:
            config, card, fingerprint = entry.config, entry.card, entry.fingerprint.hex()
        except ModelError as error:
            click.echo(f"Skipped: {error}", err=True)
            continue
        rows.append(
            {
                "name": entry.name,
                "bpp": card.get("bpp_range"),
                **_facts_of_norms(config),
                "quality": config.fixed_quality,
                "bytes": entry.path.stat().st_size,
                "fingerprint": fingerprint,
                "path": str(entry.path),
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(f"{'name':12} {'bpp':12} {'norm':20} {'size':>8}  fingerprint")
    for row in rows:
        bpp = "-".join(f"{b:.2f}" for b in row["bpp"] or []) or "?"
        norms = " / ".join(dict.fromkeys([row["norm"], row["synthesis_norm"]]))
        size = f"{row['bytes'] / 1e6:.1f} MB"
        click.echo(f"{row['name']:12} {bpp:12} {norms:20} {size:>8}  {row['fingerprint']}")
    click.echo(f"Your own models go into {user_folder()}")


@main.command()
@click.option(
    "--data",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of training pictures, searched recursively; may be given several times.",
)
@click.option(
    "--val",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of validation pictures.  [default: every 25th picture of the data]",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the model file, its card and the checkpoints.",
)
@click.option("--norm", default="gdn1", show_default=True, help="Norm of the analysis.")
@click.option("--synthesis-norm", help="Norm of the synthesis.  [default: as --norm]")
@click.option(
    "--widths", nargs=3, type=int, default=(48, 96, 160), show_default=True, help="Channels inside."
)
@click.option("--latent-channels", type=int, default=192, show_default=True)
@click.option("--lambda-range", nargs=2, type=float, help="Lambda at quality 0 and 100.")
@click.option("--lambda", "one_lambda", type=float, help="One lambda, for a model of one rate.")
@click.option("--steps", type=click.IntRange(1), help="Stop after so many steps.")
@click.option("--max-minutes", type=click.FloatRange(0, min_open=True), help="Stop after so long.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True)
@click.option("--crop", type=int, default=128, show_default=True, help="Side of a crop in pixels.")
@click.option(
    "--precision", type=click.Choice(["bf16", "float32"]), default="bf16", show_default=True
)
@click.option(
    "--decay",
    type=click.FloatRange(0, 1),
    default=0.25,
    show_default=True,
    help="Last part of the run, in which the learning rate falls to zero.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Checkpoint to continue from, such as before-decay.safetensors.",
)
@click.option("--device", default="cpu", show_default=True)
def train(**options: Any) -> None:
    """Train a codec on folders of pictures; ends with a model file that compress accepts."""
    from gdncodec.training.session import run_session

    path = run_session(report=click.echo, **options)
    click.echo(f"{path}: use it with `gdncodec compress --model {path} PICTURE`")


def _listed(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    """Split a list with commas."""
    return [part.strip() for part in value.split(",") if part.strip()]


def _numbers(ctx: click.Context, param: click.Parameter, value: str) -> list[float]:
    """Split a list of numbers with commas."""
    try:
        return [float(part) for part in _listed(ctx, param, value)]
    except ValueError as error:
        msg = f"expected numbers with commas between, got {value!r}"
        raise click.BadParameter(msg) from error


_ANCHORS = "jpeg,jpeg2000,webp,avif,jxl,heic"
_fast = click.option("--fast", is_flag=True, help="Faster, a little worse settings of the anchors.")


@main.command("eval")
@click.argument(
    "pictures", metavar="IMAGES...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the results; a run that was interrupted goes on from there.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="[LABEL=]NAME|FILE",
    help="Model to measure; LABEL=FILE,FILE,... joins models of one rate. Repeatable.",
)
@click.option("--norms", callback=_listed, default="", help="Installed models by norm, or all.")
@click.option(
    "--qualities",
    callback=_numbers,
    default="",
    help="Qualities of the models.  [default: 0,10..100]",
)
@click.option(
    "--anchors", callback=_listed, default=_ANCHORS, show_default=True, help="Classical codecs."
)
@click.option(
    "--compare",
    "published",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Published curve in CompressAI's JSON. Repeatable.",
)
@click.option("--reference", metavar="NAME", help="Curve that all others are compared with.")
@click.option(
    "--show",
    "shown_bpp",
    callback=_numbers,
    default="0.25,0.75",
    show_default=True,
    help="Bits per pixel at which the report shows the pictures; empty for none.",
)
@click.option("--lpips", is_flag=True, help="Measure LPIPS too, where its weights are.")
@_fast
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, help="Processes.  [default: 1]")
@click.option("--resume/--fresh", default=True, help="Keep or drop what the folder holds.")
@_common
def evaluate(out: Path, threads: int | None, verbose: bool, quiet: bool, **options: Any) -> None:
    """Measure models and classical codecs on IMAGES, files or folders.

    Writes curves in CompressAI's JSON, a CSV of every picture, plots, a summary in Markdown, and a
    report in one HTML file. A picture that cannot be read is named and skipped; exit code 3.
    """
    from gdncodec.evaluation.session import EvaluationRequest, run_evaluation

    _set_threads(threads)
    request = EvaluationRequest(out=out, quiet=quiet, **options)
    summary = run_evaluation(request, partial(click.echo, err=True))
    if not quiet:
        click.echo("\n".join([*summary.lines(), f"{out / 'report.html'}"]))


@main.command()
@click.argument("source", metavar="PICTURE", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Page to write.  [default: PICTURE.compare.html]",
)
@click.option("--size-of", metavar="CODEC:QUALITY", help="Give all this size, such as jpeg:50.")
@click.option("--bpp", type=float, help="Give all this many bits per pixel instead.")
@click.option(
    "--anchors",
    callback=_listed,
    default="jpeg,webp,avif,jxl",
    show_default=True,
    help="Classical codecs.",
)
@_model
@_fast
@_force
@_common
def compare(
    source: Path,
    output: Path | None,
    force: bool,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Lay PICTURE at equal bytes in several codecs over each other, in one HTML file."""
    from gdncodec.evaluation.compare import compare_picture

    _set_threads(threads)
    output = output or source.with_suffix(".compare.html")
    say = partial(click.echo, err=True)
    compare_picture(source, output, overwrite=force, quiet=quiet, say=say, **options)
    if not quiet:
        click.echo(output)


def _decoded(
    source: Path,
    model: str | None,
    device: str | None,
    threads: int | None,
    progress: Any,
    **options: Any,
) -> Any:
    """Return the Pillow image in a .gdn file."""
    from gdncodec.catalog import find_model, find_model_for
    from gdncodec.container import unpack_header

    data = _read_gdn(source)
    fingerprint = unpack_header(data).fingerprint
    entry = find_model(model) if model else find_model_for(fingerprint)
    from gdncodec.codec import codec_for

    _set_threads(threads)
    return codec_for(entry, device).decompress_image(data, progress=progress, **options)


def _read_gdn(source: Path) -> bytes:
    try:
        return read_data(source)
    except OSError as error:
        msg = f"{source}: cannot be read ({error.strerror})"
        raise FormatError(msg) from error


def _region(text: str | None) -> Any:
    from gdncodec.tiling import Region

    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        msg = f"--region takes four whole numbers X,Y,W,H, got {text!r}"
        raise ValueError(msg) from None
    return Region(x, y, width, height)


def _target(
    quality: float | None,
    target_size: str | None,
    target_bpp: float | None,
    target_psnr: float | None,
    target_ms_ssim: float | None,
) -> Any:
    """Return what to aim at, or None."""
    given = [quality, target_size, target_bpp, target_psnr, target_ms_ssim]
    if sum(value is not None for value in given) > 1:
        msg = "give one of --quality, --target-size, --target-bpp, --target-psnr, --target-ms-ssim"
        raise ValueError(msg)
    from gdncodec.rate import Target, parse_size

    if target_size is not None:
        return Target(parse_size(target_size), "bytes")
    if target_bpp is not None:
        return Target(target_bpp, "bpp")
    if target_psnr is not None:
        return Target(target_psnr, "dB")
    return None if target_ms_ssim is None else Target(target_ms_ssim, "MS-SSIM", _ms_ssim())


def _ms_ssim() -> Any:
    try:
        import pytorch_msssim  # noqa: F401

        from gdncodec.evaluation.metrics import ms_ssim
    except ImportError as error:
        message = f"--target-ms-ssim needs {error.name}: pip install 'gdncodec[eval]'"
        raise _failure(message, 1) from error
    return ms_ssim


@contextlib.contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Let Pillow's own limit follow --max-pixels, in this process and for the time of reading."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _find_model(name: str | None) -> Any:
    from gdncodec.catalog import find_model

    return find_model(name)


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _refuse_existing(output: Path, force: bool, source: Path) -> None:
    """Say before the work, and not after it, that the output cannot be written."""
    if output == STREAM:
        if sys.stdout.isatty():
            msg = "stdout is a terminal; name a file with -o, or redirect the output"
            raise ValueError(msg)
        return
    if not output.parent.is_dir():
        msg = f"{output}: there is no folder {output.parent}"
        raise ValueError(msg)
    if output.exists() and source.exists() and output.samefile(source):
        msg = f"{output} is the input itself; name another output with -o"
        raise ValueError(msg)
    if output.exists() and not force:
        raise FileExistsError(output)


def _write_image(output: Path, image: Any, format_name: str, force: bool) -> None:
    from gdncodec.image import write_image

    if output == STREAM:
        data = io.BytesIO()
        lost = write_image(data, image, format_name=format_name)
        write_data(output, data.getvalue(), overwrite=force)
    else:
        with write_safely(output, overwrite=force) as temporary:
            lost = write_image(temporary, image, format_name=format_name)
    for notice in lost:
        click.echo(f"{output}: {notice}", err=True)


def _report_compressed(
    source: Path, output: Path, data: bytes, shape: tuple[int, ...], verbose: bool, began: float
) -> None:
    height, width, channels = shape
    bpp = len(data) * 8 / (height * width)
    ratio = height * width * channels / len(data)
    lines = [f"{output}: {len(data)} bytes, {bpp:.3f} bpp, {ratio:.1f}:1"]
    if verbose:
        from gdncodec.container import unpack

        header, chunks = unpack(data)
        sizes = ", ".join(f"type {kind} {len(part)} bytes" for kind, part in chunks.items())
        lines.append(f"  {width} x {height}, quality {header.quality:g}, chunks: {sizes}")
        if source != STREAM:
            share = len(data) / source.stat().st_size
            lines.append(f"  {share:.1%} of {source}, {time.monotonic() - began:.2f} s")
    click.echo("\n".join(lines), err=output == STREAM)


class _Progress(contextlib.AbstractContextManager["_Progress"]):
    """A line on the terminal for work that takes more than two seconds."""

    def __init__(self, what: str, quiet: bool) -> None:
        self._what = what
        self._done = ""
        self._shown = False
        self._timer = threading.Timer(2, self._show)
        self._timer.daemon = True
        if not quiet and sys.stderr.isatty():
            self._timer.start()

    def __call__(self, done: int, total: int) -> None:
        self._done = f" {100 * done // total} %"
        if self._shown:
            self._show()

    def _show(self) -> None:
        self._shown = True
        click.echo(f"\r{self._what} ...{self._done}", nl=False, err=True)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._shown:
            click.echo("\r" + " " * 40 + "\r", nl=False, err=True)
