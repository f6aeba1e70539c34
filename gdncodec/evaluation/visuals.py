"""Decoded images at equal size, for looking at."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from gdncodec.evaluation.codecs import CodecSpec
from gdncodec.evaluation.images import file_digest, read_for_measuring
from gdncodec.evaluation.matching import match_size
from gdncodec.evaluation.measurements import CodecInfo, Failure, Measurement
from gdncodec.evaluation.metrics import measure
from gdncodec.evaluation.parallel import Failed, in_parallel
from gdncodec.evaluation.run import opened

__all__ = ["Shown", "cropped", "show_at_sizes"]


@dataclass(frozen=True)
class Shown:
    """A decoded image.

    Args:
        image: name of the file.
        codec: label of the codec.
        target: size that was aimed at, in bytes.
        quality: on the codec's own scale.
        size: bytes of the file.
        bpp: bits of the file over the pixels of the image.
        psnr: PSNR-RGB in dB.
        ms_ssim_db: MS-SSIM in dB.
        pixels: bytes of a lossless WebP file.
    """

    image: str
    codec: str
    target: int
    quality: float
    size: int
    bpp: float
    psnr: float
    ms_ssim_db: float
    pixels: bytes


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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Shown], list[Failure]]:
    """Compress each image with each codec to about the same size, and decode it.

    Args:
        targets: images with a size in bytes; an image may come with several sizes.
        specs: the codecs.
        infos: what is known of them, in the same order.
        folder: keeps the decoded images, so that a second run need not make them again.
        measurements: save the search some work.
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
        pixels=_webp(Image.fromarray(decoded)),
    )
    pixels.write_bytes(shown.pixels)
    fields = asdict(shown)
    del fields["pixels"]
    record.write_text(json.dumps(fields), "utf-8")
    return shown


def cropped(path_or_pixels: Path | bytes, share: float) -> tuple[bytes, int, int]:
    """Return the middle of an image as a lossless WebP file, with its width and height.

    Args:
        path_or_pixels: an image file, or the bytes of a lossless WebP file.
        share: part of the area to keep, up to 1.
    """
    image: Image.Image
    if isinstance(path_or_pixels, bytes):
        image = Image.open(io.BytesIO(path_or_pixels))
    else:
        image = Image.fromarray(read_for_measuring(path_or_pixels).pixels)
    width, height = (max(1, round(n * min(share, 1) ** 0.5)) for n in image.size)
    if (width, height) == image.size and isinstance(path_or_pixels, bytes):
        return path_or_pixels, width, height
    left, top = (image.width - width) // 2, (image.height - height) // 2
    part = image.crop((left, top, left + width, top + height))
    return _webp(part), width, height


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=40, method=2, exact=True)
    return buffer.getvalue()
