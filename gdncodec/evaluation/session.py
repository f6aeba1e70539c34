"""What ``gdncodec eval`` does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gdncodec.errors import UsageError
from gdncodec.evaluation import EVALUATED_ANCHORS, MAX_BPP
from gdncodec.evaluation.codecs import CodecSpec, model_spec
from gdncodec.evaluation.curves import read_curve
from gdncodec.evaluation.images import find_images
from gdncodec.evaluation.measurements import (
    Evaluation,
    Failure,
    MeasurementStore,
    raise_failures,
)
from gdncodec.evaluation.metrics import lpips_missing
from gdncodec.evaluation.opening import describe_codecs, installed_anchors
from gdncodec.evaluation.progress import progress_bar
from gdncodec.evaluation.run import evaluate
from gdncodec.evaluation.shown import Shown
from gdncodec.evaluation.summary import Summary, check_reference, summarise, write_files
from gdncodec.evaluation.visuals import show_at_sizes
from gdncodec.extras import check_installed
from gdncodec.files import remove_leftovers
from gdncodec.threads import processors

__all__ = ["EvaluationRequest", "run_evaluation"]

_ABOUT_PUBLISHED = (
    "They are means over the images that their authors measured: compare them only with results "
    "on the same images. They have no intervals, and their times were taken on other machines."
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate.

    Args:
        images: files and folders; see :func:`gdncodec.evaluation.images.find_images`.
        out: folder for everything that is written. An interrupted run continues from there.
        models: as :func:`gdncodec.evaluation.codecs.model_spec` reads them; empty takes the default
            model.
        efforts: efforts of the models, 0 to 9, or None for the default; each makes its own curve.
        anchors: names of classical codecs.
        published: result files in CompressAI's format.
        qualities: for models of variable rate; empty takes 0, 10, ... 100.
        reference: name of the curve with which all others are compared; None takes the first
            published one, or else the first anchor.
        shown_bpp: sizes in bits per pixel at which the report shows the images; empty for none.
        lpips: measure LPIPS too.
        fast: use the anchors' faster settings.
        jobs: number of processes.
        device: torch device of the models; None takes the CPU.
        engine: what runs the models, see :data:`gdncodec.engines.choice.ENGINES`.
        threads: CPU threads of each process; None divides the processors among them.
        resume: keep earlier measurements in the folder.
        quiet: show no progress.
    """

    images: Sequence[Path]
    out: Path
    models: Sequence[str] = ()
    efforts: Sequence[int | None] = ()
    anchors: Sequence[str] = EVALUATED_ANCHORS
    published: Sequence[Path] = ()
    qualities: Sequence[float] = ()
    reference: str | None = None
    shown_bpp: Sequence[float] = (0.25, 0.75)
    lpips: bool = False
    fast: bool = False
    jobs: int = 1
    device: str | None = None
    engine: str = "auto"
    threads: int | None = None
    resume: bool = True
    quiet: bool = False


def run_evaluation(request: EvaluationRequest, say: Say) -> Summary:
    """Measure, compare, and write every file; see ``docs/evaluation.md`` for what they are.

    Args:
        request: what to do.
        say: called with each line that the user should see.

    Raises:
        ImageError: an image or a point could not be measured; the others are written first.
        GdnCodecError: a model or a result file is missing or damaged.
        UsageError: a name is unknown, or given twice.
    """
    check_installed("torch", "bjontegaard", "matplotlib", "pytorch_msssim", "tqdm", extra="eval")
    _check(request)
    paths = find_images(request.images, say)
    published = [read_curve(path) for path in request.published]
    specs = [
        model_spec(
            text,
            device=request.device,
            effort=effort,
            engine=request.engine,
            threads=request.threads or max(1, processors() // request.jobs),
        )
        for text in dict.fromkeys(request.models) or [""]
        for effort in request.efforts or [None]
    ]
    anchors, missing = installed_anchors(request.anchors, request.fast)
    specs += anchors
    for reason in missing:
        say(f"left out: {reason}")
    if request.reference:
        check_reference(request.reference, describe_codecs(specs, request.qualities), published)
    no_lpips = lpips_missing() if request.lpips else None
    if no_lpips:
        say(f"LPIPS is left out: {no_lpips}")
    request.out.mkdir(parents=True, exist_ok=True)
    for name in (".", "curves", "plots", "shown"):
        remove_leftovers(request.out / name)
    store = MeasurementStore(request.out / "measurements.jsonl", resume=request.resume)
    with progress_bar("measuring", request.quiet) as progress:
        evaluation = evaluate(
            paths,
            specs,
            store,
            qualities=request.qualities,
            lpips=request.lpips and not no_lpips,
            jobs=request.jobs,
            progress=progress,
        )
    shown, failures = _shown(request, paths, specs, evaluation)
    evaluation.failures.extend(failures)
    notes = [("Left out", reason) for reason in missing]
    notes.append(("Time", _about_time(request.jobs)))
    if published:
        notes.append(("Published curves", _ABOUT_PUBLISHED))
    summary = summarise(evaluation, published, reference=request.reference, notes=notes)
    originals = {path.name: path for path in paths}
    write_files(
        request.out,
        evaluation,
        summary,
        shown=shown,
        originals=originals,
        kept=request.published,
    )
    raise_failures(evaluation.failures, str(request.out))
    return summary


def _check(request: EvaluationRequest) -> None:
    """Refuse numbers that would only fail after hours."""
    for bpp in request.shown_bpp:
        if not 0 < bpp <= MAX_BPP:
            msg = f"bits per pixel to show must be positive and at most {MAX_BPP}, got {bpp:g}"
            raise UsageError(msg)
    for quality in request.qualities:
        if not 0 <= quality <= 100:
            msg = f"quality must be from 0 to 100, got {quality:g}"
            raise UsageError(msg)


def _shown(
    request: EvaluationRequest,
    paths: Sequence[Path],
    specs: Sequence[CodecSpec],
    evaluation: Evaluation,
) -> tuple[list[Shown], list[Failure]]:
    areas = {m.image: m.width * m.height for m in evaluation.measurements}
    targets = [
        (path, max(1, round(bpp * areas[path.name] / 8)))
        for path in paths
        if path.name in areas
        for bpp in request.shown_bpp
    ]
    with progress_bar("images for the report", request.quiet) as progress:
        return show_at_sizes(
            targets,
            specs,
            evaluation.codecs,
            request.out / "shown",
            measurements=evaluation.measurements,
            jobs=request.jobs,
            progress=progress,
        )


def _about_time(jobs: int) -> str:
    how = "one process at a time" if jobs == 1 else f"{jobs} processes at once: not comparable"
    return (
        f"From pixels to bytes and back, in memory, after a warm-up; {how}. JPEG's encoding time "
        "includes the search for the better subsampling."
    )
