"""Images through codecs: parallel over images, resumable, and nothing dropped in silence."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from gdncodec.errors import ImageError, UsageError
from gdncodec.evaluation.codecs import CodecSpec, MeasuredCodec, open_codec
from gdncodec.evaluation.images import file_digest, read_for_measuring
from gdncodec.evaluation.measurements import CodecInfo, Failure, Measurement, MeasurementStore
from gdncodec.evaluation.metrics import lpips_distance, measure
from gdncodec.evaluation.parallel import Failed, in_parallel
from gdncodec.images.raster import RasterImage

__all__ = ["Evaluation", "describe_codecs", "evaluate", "opened"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """The result of :func:`evaluate`.

    Args:
        codecs: what was measured.
        images: names of the images that every codec could be measured on.
        measurements: of those images and of all others.
        failures: what could not be measured.
    """

    codecs: list[CodecInfo]
    images: list[str]
    measurements: list[Measurement]
    failures: list[Failure]


@dataclass(frozen=True)
class _Task:
    """One image through one codec at one quality."""

    path: Path
    digest: str
    spec: CodecSpec
    key: str
    quality: float
    lpips: bool


def describe_codecs(
    specs: Sequence[CodecSpec], qualities: Sequence[float] | None = None
) -> list[CodecInfo]:
    """Return what is known of codecs before anything is measured.

    Args:
        specs: the codecs.
        qualities: qualities for the models of variable rate; None takes those of each codec.

    Raises:
        GdnCodecError: a model is missing, or an anchor is not installed.
        UsageError: two codecs have one name.
    """
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        msg = f"codecs must have different names, got {', '.join(names)}; write NAME=FILE"
        raise UsageError(msg)
    infos = []
    for spec in specs:
        codec = open_codec(spec)
        chosen = codec.qualities
        if qualities and spec.learned and codec.step:
            chosen = tuple(sorted(set(map(float, qualities))))
        description = codec.description()
        key = spec.key(description)
        infos.append(
            CodecInfo(spec.name, codec.label, description, chosen, key, spec.learned, spec.norm)
        )
    return infos


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
    readable, failures = _readable(images)
    unreadable = len(failures)
    measurements: list[Measurement] = []
    tasks = []
    for path, digest in readable:
        for spec, info in zip(specs, infos, strict=True):
            for quality in info.qualities:
                known = store.get(digest, info.key, quality)
                if known and ("lpips" in known.metrics or not lpips):
                    measurements.append(replace(known, image=path.name, codec=spec.name))
                else:
                    tasks.append(_Task(path, digest, spec, info.key, quality, lpips))

    total = len(measurements) + len(tasks)
    progress(total - len(tasks), total)
    for task, outcome in in_parallel(_measure, tasks, jobs):
        if isinstance(outcome, Failed):
            reason = f"quality {task.quality:g}: {outcome.reason}"
            failures.append(Failure(task.path.name, task.spec.name, reason))
        else:
            store.add(outcome)
            measurements.append(outcome)
        progress(len(measurements) + len(failures) - unreadable, total)
    complete = _complete([path.name for path, _ in readable], infos, measurements)
    return Evaluation(infos, complete, measurements, failures)


@lru_cache(maxsize=16)
def opened(spec: CodecSpec) -> MeasuredCodec:
    """Return a codec that has been warmed up; the same one each time in one process.

    Raises:
        GdnCodecError: it cannot be used.
    """
    codec = open_codec(spec)
    side = 64
    pixels = np.add.outer(np.arange(side), np.arange(side))[..., None] + np.zeros(3)
    data = codec.encode(RasterImage(pixels.astype(np.uint8)), codec.qualities[0])
    codec.decode(data)
    return codec


@lru_cache(maxsize=2)
def _image(path: Path, digest: str) -> RasterImage:
    del digest  # a changed file is another image
    return read_for_measuring(path)


def _measure(task: _Task) -> Measurement:
    codec = opened(task.spec)
    image = _image(task.path, task.digest)
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


def _readable(paths: Sequence[Path]) -> tuple[list[tuple[Path, str]], list[Failure]]:
    """Return the images that can be read, with their digests, and the failures of the others."""
    readable, failures = [], []
    for path in paths:
        reason = _unreadable(path)
        if reason is None:
            readable.append((path, file_digest(path)))
        else:
            failures.append(Failure(path.name, None, reason))
    return readable, failures


def _unreadable(path: Path) -> str | None:
    """Return why an image cannot be read, or None."""
    try:
        _image(path, file_digest(path))
    except (ImageError, OSError) as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def _complete(
    images: Sequence[str], infos: Sequence[CodecInfo], measurements: Sequence[Measurement]
) -> list[str]:
    """Return the images without gaps; means over others would compare different images."""
    measured = {(m.image, m.codec, m.quality) for m in measurements}
    wanted = [(info.name, quality) for info in infos for quality in info.qualities]
    return [name for name in images if all((name, *point) in measured for point in wanted)]
