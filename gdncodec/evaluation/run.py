"""Measures images with codecs: in parallel, resumable, and naming whatever fails."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from gdncodec.errors import ImageError
from gdncodec.evaluation.codecs import CodecSpec
from gdncodec.evaluation.images import file_digest, read_for_measuring
from gdncodec.evaluation.measurements import (
    CodecInfo,
    Evaluation,
    Failure,
    Measurement,
    MeasurementStore,
)
from gdncodec.evaluation.metrics import lpips_distance, measure
from gdncodec.evaluation.opening import describe_codecs, opened
from gdncodec.evaluation.parallel import Failed, in_parallel
from gdncodec.images.raster import RasterImage
from gdncodec.tiles.transforms import Progress

__all__ = ["evaluate"]


@dataclass(frozen=True)
class _Task:
    """One image through one codec at one quality."""

    path: Path
    digest: str
    spec: CodecSpec
    key: str
    quality: float
    lpips: bool


def evaluate(
    images: Sequence[Path],
    specs: Sequence[CodecSpec],
    store: MeasurementStore,
    *,
    qualities: Sequence[float] | None = None,
    lpips: bool = False,
    jobs: int = 1,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Measure every image with every codec at every quality.

    Args:
        images: files, of different names.
        specs: codecs, of different names.
        store: holds what is measured already, and gets what is measured now.
        qualities: see :func:`describe_codecs`.
        lpips: measure LPIPS too.
        jobs: processes. With more than one, the times are those of a busy machine.
        progress: called with the number of measurements done and of all.

    Raises:
        GdnCodecError: a codec cannot be used at all.
        UsageError: two codecs have one name.
    """
    infos = describe_codecs(specs, qualities)
    unreadable: dict[Path, _Unreadable] = {}
    failures: list[Failure] = []
    measurements: list[Measurement] = []
    tasks = []
    for path in images:
        try:
            digest = file_digest(path)
        except OSError as error:
            unreadable[path] = _unreadable(path, error)
            continue
        for spec, info in zip(specs, infos, strict=True):
            for quality in info.qualities:
                known = store.get(digest, info.key, quality)
                if known and ("lpips" in known.metrics or not lpips):
                    measurements.append(replace(known, image=path.name, codec=spec.name))
                else:
                    tasks.append(_Task(path, digest, spec, info.key, quality, lpips))

    resumed, total = len(measurements), len(measurements) + len(tasks)
    progress(resumed, total)
    for done, (task, outcome) in enumerate(in_parallel(_measure, tasks, jobs), resumed + 1):
        if isinstance(outcome, _Unreadable):
            unreadable[task.path] = outcome
        elif isinstance(outcome, Failed):
            reason = f"quality {task.quality:g}: {outcome.reason}"
            failures.append(Failure(task.path.name, task.spec.name, reason))
        else:
            store.add(outcome)
            measurements.append(outcome)
        progress(done, total)
    failures = [
        *(Failure(p.name, None, found.reason) for p, found in unreadable.items()),
        *failures,
    ]
    readable = [path.name for path in images if path not in unreadable]
    complete = _complete(readable, infos, measurements)
    return Evaluation(infos, complete, measurements, failures)


class _Unreadable(NamedTuple):
    """An image that cannot be read, with any codec."""

    reason: str


def _measure(task: _Task) -> Measurement | _Unreadable:
    try:
        image = read_for_measuring(task.path)
    except (ImageError, OSError) as error:
        return _unreadable(task.path, error)
    codec = opened(task.spec)
    if task.spec.learned:
        _warm_up(task.spec, image)
    began = _now(task.spec.device)
    data = codec.encode(image, task.quality)
    encoded = _now(task.spec.device)
    pixels = codec.decode(data)
    decoded = _now(task.spec.device)
    metrics = measure(image.pixels, pixels)
    if task.lpips:
        metrics["lpips"] = lpips_distance(image.pixels, pixels)
    return Measurement(
        image=task.path.name,
        digest=task.digest,
        width=image.pixels.shape[1],
        height=image.pixels.shape[0],
        codec=task.spec.name,
        key=task.key,
        quality=task.quality,
        size=len(data),
        estimated_bits=codec.estimated_bits(data),
        metrics=metrics,
        encoding_time=encoded - began,
        decoding_time=decoded - encoded,
    )


_warm_shapes: set[tuple[CodecSpec, tuple[int, ...]]] = set()


def _warm_up(spec: CodecSpec, image: RasterImage) -> None:
    """Run a network once on a size that is new to it: libraries choose and allocate then."""
    shape = (spec, image.pixels.shape)
    if shape not in _warm_shapes:
        codec = opened(spec)
        codec.decode(codec.encode(image, codec.qualities[0]))
        _warm_shapes.add(shape)


def _now(device: str | None) -> float:
    """Return the time in seconds, after what a GPU still does."""
    if device and device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter()


def _unreadable(path: Path, error: Exception) -> _Unreadable:
    return _Unreadable(str(error).removeprefix(f"{path}: "))


def _complete(
    images: Sequence[str], infos: Sequence[CodecInfo], measurements: Sequence[Measurement]
) -> list[str]:
    """Return the images without gaps; means over others would compare different images."""
    measured = {(m.image, m.codec, m.quality) for m in measurements}
    wanted = [(info.name, quality) for info in infos for quality in info.qualities]
    return [name for name in images if all((name, *point) in measured for point in wanted)]
