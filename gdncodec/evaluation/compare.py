"""What ``gdncodec compare`` does: overlays an image from several codecs at equal file size."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from gdncodec.errors import UsageError
from gdncodec.evaluation import COMPARED_ANCHORS, MAX_BPP
from gdncodec.evaluation.codecs import CodecSpec, model_spec
from gdncodec.evaluation.images import read_for_measuring
from gdncodec.evaluation.measurements import raise_failures
from gdncodec.evaluation.opening import describe_codecs, installed_anchors, opened
from gdncodec.evaluation.progress import progress_bar
from gdncodec.evaluation.report import Report, write_report
from gdncodec.evaluation.shown import Shown
from gdncodec.evaluation.tables import Table
from gdncodec.evaluation.visuals import show_at_sizes
from gdncodec.extras import check_installed

__all__ = ["compare_image"]

_NEAR = 1.05
"""Sizes that differ by a larger factor are not taken for equal."""


def compare_image(
    source: Path,
    output: Path,
    *,
    model: str | None = None,
    anchors: Sequence[str] = COMPARED_ANCHORS,
    bpp: float | None = None,
    fast: bool = False,
    device: str | None = None,
    engine: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Shown]:
    """Write a page that overlays an image from several codecs at equal file size.

    Args:
        source: the image.
        output: the page.
        model: as :func:`gdncodec.evaluation.codecs.model_spec` reads it; None takes the default.
        anchors: names of classical codecs.
        bpp: size in bits per pixel. Without it, that of the model at quality 50, or at the middle
            one of its qualities.
        fast: use the anchors' faster settings.
        device: torch device of the model.
        engine: what runs the model, see :data:`gdncodec.engines.choice.ENGINES`.
        threads: number of CPU threads.
        overwrite: replace a page that exists.
        quiet: show no progress.
        say: called with each line that the user should see.

    Raises:
        FileExistsError: the page exists.
        ImageError: the image cannot be read, or a codec failed; the page is written first.
        GdnCodecError: the model is missing or damaged.
        UsageError: a name is unknown, or the size is out of range.
    """
    check_installed("torch", "pytorch_msssim", "tqdm", extra="eval")
    if output.exists() and not overwrite:
        raise FileExistsError(output)
    spec = model_spec(model or "", device=device, engine=engine, threads=threads)
    found, missing = installed_anchors(anchors, fast)
    specs = [spec, *found]
    for reason in missing:
        say(f"left out: {reason}")
    pixels = read_for_measuring(source).pixels[..., 0].size
    target = _target_size(source, spec, pixels, bpp)
    infos = describe_codecs(specs)
    with (
        tempfile.TemporaryDirectory(prefix="gdncodec-") as folder,
        progress_bar("compressing", quiet) as progress,
    ):
        shown, failures = show_at_sizes(
            [(source, target)], specs, infos, Path(folder), progress=progress
        )
    report = Report(
        title=f"{source.name} at about {target:,} bytes",
        summary=f"The size nearest to {target:,} bytes ({8 * target / pixels:.3f} bits per pixel) "
        "that each codec makes.",
        tables=[_size_table(shown)],
        shown=shown,
        originals={source.name: source},
        notes=[(info.label, info.description) for info in infos],
        image_budget=400_000_000,
    )
    write_report(output, report, overwrite=overwrite)
    for s in shown:
        if not 1 / _NEAR <= s.size / target <= _NEAR:
            say(f"{s.codec} does not reach {target:,} bytes; its nearest is {s.size:,}")
    raise_failures(failures, str(output))
    return shown


def _target_size(source: Path, spec: CodecSpec, pixels: int, bpp: float | None) -> int:
    if bpp is not None:
        if not 0 < bpp <= MAX_BPP:
            msg = f"bits per pixel must be positive and at most {MAX_BPP}, got {bpp}"
            raise UsageError(msg)
        return max(1, round(bpp * pixels / 8))
    codec = opened(spec)
    middle = 50.0 if codec.step else codec.qualities[len(codec.qualities) // 2]
    return len(codec.encode(read_for_measuring(source), middle))


def _size_table(shown: Sequence[Shown]) -> Table:
    formats = ("{:g}", "{:,}", "{:.4f}", "{:.2f}", "{:.2f}")
    rows = [
        (s.codec, *map(str.format, formats, (s.quality, s.size, s.bpp, s.psnr, s.ms_ssim_db)))
        for s in shown
    ]
    columns = ("codec", "quality", "bytes", "bpp", "PSNR, dB", "MS-SSIM, dB")
    return Table("At equal size", columns, rows)
