"""Compresses images to equal size with several codecs, to look at the results."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from gdncodec.evaluation.codecs import CodecSpec
from gdncodec.evaluation.images import file_digest, read_for_measuring
from gdncodec.evaluation.matching import match_size
from gdncodec.evaluation.measurements import CodecInfo, Failure, Measurement
from gdncodec.evaluation.metrics import measure
from gdncodec.evaluation.opening import opened
from gdncodec.evaluation.parallel import Failed, in_parallel
from gdncodec.evaluation.shown import Shown, as_webp
from gdncodec.files import write_data
from gdncodec.tiles.transforms import Progress

__all__ = ["show_at_sizes"]


@dataclass(frozen=True)
class _Task:
    path: Path
    spec: CodecSpec
    target: int
    known: dict[float, int]
    cache: Path


def show_at_sizes(
    targets: Sequence[tuple[Path, int]],
    specs: Sequence[CodecSpec],
    infos: Sequence[CodecInfo],
    folder: Path,
    *,
    measurements: Iterable[Measurement] = (),
    jobs: int = 1,
    progress: Progress = lambda done, total: None,
) -> tuple[list[Shown], list[Failure]]:
    """Compress each image with each codec to about the same size, and decode it.

    Args:
        targets: images with a size in bytes; an image may have several sizes.
        specs: the codecs.
        infos: their descriptions, in the same order.
        folder: where the decoded images are kept, so that a second run does not make them again.
        measurements: sizes that are known already, which shorten the search.
        jobs: processes.
        progress: called with the number of images done and of all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[tuple[str, str], dict[float, int]] = {}
    for m in measurements:
        known.setdefault((m.digest, m.key), {})[m.quality] = m.size
    tasks = []
    digests = {path: file_digest(path) for path, _ in targets}
    for path, target in targets:
        for spec, info in zip(specs, infos, strict=True):
            name = hashlib.sha256(f"{digests[path]} {info.key} {target}".encode()).hexdigest()
            sizes = known.get((digests[path], info.key), {})
            tasks.append(_Task(path, spec, target, sizes, folder / name[:24]))
    shown, failures = [], []
    for done, (task, outcome) in enumerate(in_parallel(_show, tasks, jobs), 1):
        if isinstance(outcome, Failed):
            failures.append(Failure(task.path.name, task.spec.name, outcome.reason))
        else:
            shown.append(outcome)
        progress(done, len(tasks))
    labels = [info.label for info in infos]
    shown.sort(key=lambda s: (s.image, s.target, labels.index(s.codec)))
    return shown, failures


def _show(task: _Task) -> Shown:
    record, pixels = task.cache.with_suffix(".json"), task.cache.with_suffix(".webp")
    if record.is_file() and pixels.is_file():
        fields = json.loads(record.read_text("utf-8"))
        return Shown(**{**fields, "image": task.path.name}, pixels=pixels.read_bytes())
    codec = opened(task.spec)
    image = read_for_measuring(task.path)
    match = match_size(codec, image, task.target, task.known)
    decoded = codec.decode(match.data)
    metrics = measure(image.pixels, decoded)
    shown = Shown(
        image=task.path.name,
        codec=codec.label,
        target=task.target,
        quality=match.quality,
        size=len(match.data),
        bpp=8 * len(match.data) / image.pixels[..., 0].size,
        psnr=metrics["psnr-rgb"],
        ms_ssim_db=metrics["ms-ssim-db"],
        pixels=as_webp(Image.fromarray(decoded)),
    )
    write_data(pixels, shown.pixels, overwrite=True)
    fields = asdict(shown)
    del fields["pixels"]
    write_data(record, json.dumps(fields).encode(), overwrite=True)
    return shown
