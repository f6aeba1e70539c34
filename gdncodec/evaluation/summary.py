"""From measurements to curves, comparisons and files."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gdncodec.errors import UsageError
from gdncodec.evaluation.curves import Curve, write_curve
from gdncodec.evaluation.deltas import Comparison, compare_curves
from gdncodec.evaluation.measurements import CodecInfo, Evaluation, mean_curve
from gdncodec.evaluation.plots import write_plots
from gdncodec.evaluation.report import Report, write_report
from gdncodec.evaluation.shown import Shown
from gdncodec.evaluation.tables import (
    HEADINGS,
    Table,
    comparison_cells,
    markdown_table,
    points_table,
    rate_cell,
    times_table,
    write_csv,
)
from gdncodec.files import write_data

__all__ = ["Summary", "summarise", "write_files"]

_EXPLANATIONS = (
    (
        "Rate",
        "Bytes of the whole file, header and all, over the pixels of the image. The estimate is "
        "what the entropy model says of the latents only.",
    ),
    (
        "Quality",
        "On 8-bit RGB, the mean over images of the metric of each; MS-SSIM in dB is that of the "
        "mean value. PSNR 6:1:1 weights the PSNRs of Y, Cb and Cr of BT.709.",
    ),
    (
        "BD-rate",
        "Mean difference in bits at equal PSNR-RGB over the common range, of the mean curves; "
        "negative is a saving. Pchip interpolation unless Akima is named. The interval is the 95 % "
        "bootstrap over images. Low rate to high rate are quarters of the common range of "
        "log rate. No number is given where two codecs have less than half a decibel in common.",
    ),
)


@dataclass(frozen=True)
class Summary:
    """What an evaluation says.

    Args:
        curves: models first, then anchors, then published curves.
        models: names of the models' curves.
        norms: normalisation layer of each model, by name.
        reference: name of the curve that every other is compared with too.
        comparisons: by PSNR-RGB and by MS-SSIM, for every model against every other curve, and for
            every other curve against the reference.
        notes: what the reader must know.
    """

    curves: list[Curve]
    models: list[str]
    norms: dict[str, str | None]
    reference: str
    comparisons: list[tuple[Comparison, Comparison]]
    notes: list[tuple[str, str]]

    def lines(self) -> list[str]:
        """Return the BD-rate of every model against every other codec, one line each."""
        return [
            f"{found.test} against {found.anchor}: BD-rate {rate_cell(found, explain=True)}"
            for found, _ in self.comparisons
            if found.test in self.models
        ]


def summarise(
    evaluation: Evaluation,
    published: Sequence[Curve] = (),
    *,
    reference: str | None = None,
    resamples: int = 1000,
    notes: Sequence[tuple[str, str]] = (),
) -> Summary:
    """Average over images and compare.

    Args:
        evaluation: what was measured.
        published: curves of others, on the same images.
        reference: name of a curve; None takes the first published one, else the first anchor.
        resamples: see :func:`gdncodec.evaluation.deltas.compare_curves`.
        notes: terms and explanations to add.

    Raises:
        UsageError: there is no curve of that name.
    """
    infos = sorted(evaluation.codecs, key=lambda info: not info.learned)
    curves = []
    for info in infos:
        curve = mean_curve(info, evaluation.measurements, evaluation.images)
        curves += [curve] if curve else []
    names = _published_names([curve.name for curve in curves], published)
    curves += [replace(curve, name=name) for curve, name in zip(published, names, strict=True)]
    models = [info.label for info in infos if info.learned]
    others = [curve for curve in curves if curve.name not in models]
    defaults = [*others[len(others) - len(published) :], *others, *curves, None]
    chosen = defaults[0]
    if reference:
        position = _position([curve.name for curve in curves], reference)
        chosen = curves[position]
    pairs = [
        (anchor, test)
        for test in curves
        for anchor in curves
        if anchor is not test and (test.name in models or anchor is chosen)
    ]
    comparisons = [
        (
            compare_curves(anchor, test, resamples=resamples),
            compare_curves(anchor, test, metric="ms-ssim-db", resamples=0),
        )
        for anchor, test in pairs
    ]
    norms = {info.label: info.norm for info in infos if info.learned}
    name = chosen.name if chosen else ""
    return Summary(curves, models, norms, name, comparisons, [*_EXPLANATIONS, *notes])


def check_reference(
    reference: str, infos: Sequence[CodecInfo], published: Sequence[Curve] = ()
) -> None:
    """Refuse a reference that no curve will have as its name, before anything is measured.

    Raises:
        UsageError: there will be no curve of that name.
    """
    labels = [info.label for info in infos]
    _position([*labels, *_published_names(labels, published)], reference)


def write_files(
    folder: Path,
    evaluation: Evaluation,
    summary: Summary,
    *,
    shown: Sequence[Shown] = (),
    originals: dict[str, Path] | None = None,
    kept: Sequence[Path] = (),
) -> None:
    """Write every file of an evaluation but its store of measurements.

    Args:
        folder: gets ``measurements.csv``, ``summary.md``, ``bd.json``, ``report.html``,
            ``curves/NAME.json`` and ``plots/``.
        evaluation: what was measured.
        summary: what follows from it.
        shown: decoded images for the report.
        originals: file of each of those images, by its name.
        kept: curves that were read, which stay even if an earlier run wrote them there.
    """
    write_csv(folder / "measurements.csv", evaluation.measurements)
    curves = _write_curves(folder, summary, [path.resolve() for path in kept])
    write_data(
        folder / "bd.json",
        _bd_json(summary, curves).encode(),
        overwrite=True,
    )
    tables = _tables(summary)
    heading = _heading(evaluation)
    text = _markdown(heading, evaluation, summary, tables)
    write_data(folder / "summary.md", text.encode(errors="backslashreplace"), overwrite=True)
    if summary.curves:
        write_plots(folder / "plots", summary.curves, summary.models, summary.reference)
    failures = [Table("Not measured", ("what", "why"), [_failed(f) for f in evaluation.failures])]
    report = Report(
        title=f"Rate and distortion: {', '.join(summary.models) or 'anchors'}",
        summary=heading,
        curves=summary.curves,
        models=summary.models,
        images=evaluation.images,
        tables=[*tables, *(failures if evaluation.failures else [])],
        shown=shown,
        originals=originals or {},
        notes=[*summary.notes, *((c.name, c.description) for c in summary.curves)],
    )
    write_report(folder / "report.html", report)


def _published_names(taken: Sequence[str], published: Sequence[Curve]) -> list[str]:
    """Return names for published curves, which may have those of measured ones."""
    names = list(taken)
    for curve in published:
        name = curve.name
        while name in names:
            name += " (published)"
        names.append(name)
    return names[len(taken) :]


def _position(names: Sequence[str], name: str) -> int:
    """Return where a name is among others, whatever its case and spaces."""
    plain = [known.casefold().replace(" ", "") for known in names]
    try:
        return plain.index(name.casefold().replace(" ", ""))
    except ValueError:
        msg = f"no curve named {name!r} to refer to; there are: {', '.join(names)}"
        raise UsageError(msg) from None


def _failed(failure: object) -> tuple[str, str]:
    what, _, why = str(failure).partition(": ")
    return what, why


def _heading(evaluation: Evaluation) -> str:
    count, measured = len(evaluation.images), len(evaluation.measurements)
    images = f"{count} image{'' if count == 1 else 's'}"
    return f"{images}, {len(evaluation.codecs)} codecs, {measured} files made and decoded."


def _tables(summary: Summary) -> list[Table]:
    cells = [comparison_cells(*pair) for pair in summary.comparisons]
    of_models = [row for row in cells if row[0] in summary.models]
    others = [row for row in cells if row[0] not in summary.models]
    note = "BD-rate: bits more (+) or fewer (-) at equal quality."
    if any(c.caution for pair in summary.comparisons for c in pair):
        note += " An asterisk: from few points or a small common range, so do not rely on it."
    tables = [Table("Against each codec", HEADINGS, of_models, note)] if of_models else []
    if others:
        tables.append(Table(f"The others against {summary.reference}", HEADINGS, others, note))
    if len(summary.models) > 1:
        rates = _rates(summary)
        rows = [
            [name, summary.norms[name] or "-", *(rates.get((name, m), "0") for m in summary.models)]
            for name in summary.models
        ]
        columns = ["model", "norm", *(f"against {name}" for name in summary.models)]
        tables.append(Table("Models by norm: BD-rate", columns, rows, note))
    timed = [curve for curve in summary.curves if curve.per_image]
    return [*tables, times_table(timed)] if timed else tables


def _rates(summary: Summary) -> dict[tuple[str, str], str]:
    return {(c.test, c.anchor): rate_cell(c) for c, _ in summary.comparisons}


def _markdown(
    heading: str, evaluation: Evaluation, summary: Summary, tables: Sequence[Table]
) -> str:
    parts = ["# Rate and distortion\n", f"{heading}\n"]
    if evaluation.failures:
        lines = "".join(f"- {failure}\n" for failure in evaluation.failures)
        parts.append(f"## Not measured\n\n{lines}")
    parts += [
        f"## {table.heading}\n\n{table.note}\n\n{markdown_table(table.columns, table.rows)}"
        for table in tables
    ]
    parts += [
        f"## {curve.name}\n\n{curve.description}\n\n{points_table(curve)}"
        for curve in summary.curves
        if curve.per_image
    ]
    parts.append("## Terms\n\n" + "".join(f"- {k}: {v}\n" for k, v in summary.notes))
    return "\n".join(parts)


def _write_curves(folder: Path, summary: Summary, kept: Sequence[Path]) -> list[str]:
    """Write the measured curves and return their file names; those of an earlier run go."""
    (folder / "curves").mkdir(exist_ok=True)
    written = []
    for curve in summary.curves:
        if curve.per_image:
            written.append(f"{_file_name(curve.name)}.json")
            write_curve(folder / "curves" / written[-1], curve)
    try:
        before = json.loads((folder / "bd.json").read_text("utf-8")).get("curves", [])
    except (OSError, ValueError, AttributeError, RecursionError):
        before = []
    for name in before if isinstance(before, list) else []:
        path = folder / "curves" / Path(str(name)).name
        if path.name not in written and path.resolve() not in kept:
            path.unlink(missing_ok=True)
    return written


def _bd_json(summary: Summary, curves: Sequence[str]) -> str:
    records = [c._asdict() for pair in summary.comparisons for c in pair]
    found = {"reference": summary.reference, "curves": curves, "comparisons": records}
    return json.dumps(found, indent=2) + "\n"


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.").lower() or "codec"
