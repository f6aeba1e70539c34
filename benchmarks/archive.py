"""Many images: megapixels a second with 1 to N processes, in one run, and where the time goes.

    python benchmarks/archive.py --images FOLDER [--count 200] [--jobs 1,2] [--json FILE]

The images are parts of 512 x 384 pixels of the folder's, as PNG files. Numbers of processes take
turns, because only ratios mean something on a machine that does other work; so does the time that
the processors spend on a megapixel. ``overhead`` is the
time of the run, its start included, over the time within the transforms. ``peak_mb`` is the memory
of the largest process, after the first tenth of the files and at the end.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gdncodec.batch import compressing, decompressing
from gdncodec.batch.compressing import Compression
from gdncodec.batch.computing import Computing
from gdncodec.batch.decompressing import Decoding, Decompression
from gdncodec.batch.inputs import not_gdn, not_image
from gdncodec.batch.jobs import Job, plan, renamed
from gdncodec.batch.outcomes import Outcome
from gdncodec.batch.run import run
from gdncodec.codec import Codec

WIDTH, HEIGHT = 512, 384
SPENT: Counter[str] = Counter()
"""Seconds of the present file, by what they were spent on."""


def timed(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def timing(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            SPENT[what] += time.perf_counter() - began

    return timing


class TimedTransforms:
    """The transforms of an engine, timed."""

    def __init__(self, transforms: Any) -> None:
        self._transforms = transforms

    def __getattr__(self, name: str) -> Any:
        return timed("transforms", getattr(self._transforms, name))


def watch_this_process() -> None:
    """Time reading, transforms and writing from now on."""
    original = Codec.__init__

    def watching(codec: Codec, *args: Any, **kwargs: Any) -> None:
        original(codec, *args, **kwargs)
        at = codec.engine.at
        codec.engine.at = lambda quality: TimedTransforms(at(quality))  # type: ignore[method-assign]

    Codec.__init__ = watching  # type: ignore[method-assign]
    compressing.read_source = timed("reading", compressing.read_source)
    compressing.write_result = timed("writing", compressing.write_result)
    decompressing.read_gdn = timed("reading", decompressing.read_gdn)
    decompressing.write_result = timed("writing", decompressing.write_result)


@dataclass(frozen=True)
class Timed:
    """Work whose outcome says where its time went."""

    work: Callable[[Job], Outcome]

    def __call__(self, job: Job) -> Outcome:
        """Do the work."""
        if not hasattr(compressing.read_source, "__wrapped_here__"):
            watch_this_process()
            compressing.read_source.__wrapped_here__ = True  # type: ignore[attr-defined]
        SPENT.clear()
        began = time.process_time()
        outcome = self.work(job)
        cpu = time.process_time() - began
        return replace(outcome, facts={**SPENT, "peak_mb": peak_mb(), "cpu": cpu})


def explain(error: Exception) -> tuple[str, int]:
    return repr(error), 1


def peak_mb() -> float:
    """Return the peak memory of this process; ``ru_maxrss`` has that of the parent in it."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def make_images(source: Path, folder: Path, count: int) -> None:
    """Write parts of images, different ones each time."""
    rng = np.random.default_rng(5)
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    for i in range(count):
        with Image.open(files[i % len(files)]) as image:
            large = image.convert("RGB")
        if large.width < WIDTH or large.height < HEIGHT:
            large = large.resize((WIDTH, HEIGHT))
        left = int(rng.integers(large.width - WIDTH + 1))
        top = int(rng.integers(large.height - HEIGHT + 1))
        large.crop((left, top, left + WIDTH, top + HEIGHT)).save(folder / f"{i:05}.png")


def measure(source: Path, output: Path, work: Any, jobs: int, suffix: str) -> dict[str, float]:
    unwanted = not_image if suffix == ".gdn" else not_gdn
    shutil.rmtree(output, ignore_errors=True)
    files = plan(
        [str(source)], f"{output}/", renamed=renamed(suffix), unwanted=unwanted, recursive=False
    )
    spent: Counter[str] = Counter()
    pixels, sizes, peaks, working = 0, [0, 0], [], 0.0
    began = time.perf_counter()
    for outcome in run(files, Timed(work), explain, processes=jobs):
        if outcome.status != "done":
            sys.exit(f"{outcome.source}: {outcome.error or outcome.reason}")
        peaks.append(outcome.facts["peak_mb"])
        spent.update({k: v for k, v in outcome.facts.items() if k != "peak_mb"})
        pixels += outcome.pixels
        sizes = [sizes[0] + outcome.before, sizes[1] + outcome.after]
        working += outcome.seconds
    wall = time.perf_counter() - began
    parts = {name: spent[name] / working for name in ("reading", "transforms", "writing")}
    return {
        "seconds": wall,
        "megapixels_per_second": pixels / 1e6 / wall,
        "cpu_seconds_per_megapixel": spent["cpu"] / pixels * 1e6,
        "bytes_per_file_before": sizes[0] / len(peaks),
        "bytes_per_file_after": sizes[1] / len(peaks),
        "overhead": wall * jobs / spent["transforms"],
        **parts,
        "coding and the rest": 1 - sum(parts.values()),
        "peak_mb_at_tenth": max(peaks[: max(1, len(peaks) // 10)]),
        "peak_mb_at_end": max(peaks),
    }


def main() -> None:
    """Make the images, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--jobs", default="1,2")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int, help="of each process; else they share all")
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    jobs = [int(n) for n in options.jobs.split(",")]
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        images, coded, back = (Path(folder, name) for name in ("images", "coded", "back"))
        images.mkdir()
        make_images(options.images, images, options.count)
        for _ in range(options.rounds):
            for n in jobs:
                computing = Computing(options.device, options.engine, options.threads).shared_by(n)
                work = Compression(computing=computing)
                row = measure(images, coded, work, n, ".gdn")
                found.setdefault(f"compress -j {n}", []).append(row)
                work = Decompression(Decoding(computing=computing))
                row = measure(coded, back, work, n, ".png")
                found.setdefault(f"decompress -j {n}", []).append(row)
    middle = {
        name: {key: float(np.median([row[key] for row in rows])) for key in rows[0]}
        for name, rows in found.items()
    }
    for name, row in middle.items():
        what, _, n = name.partition(" -j ")
        first = middle[f"{what} -j {jobs[0]}"]["megapixels_per_second"]
        row[f"times_j_{jobs[0]}"] = row["megapixels_per_second"] / first
    result = {"count": options.count, "rounds": options.rounds, **middle}
    text = json.dumps(result, indent=2, default=str, sort_keys=False)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
