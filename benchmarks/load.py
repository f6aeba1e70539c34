"""Many calls in one process: memory, open files and threads stay as they are, and so do the bytes.

Usage: python benchmarks/load.py [--rounds N] [--threads N] [--side PIXELS] [--engine NAME]

A round is three calls: it compresses an image at one of five qualities, and decompresses it through
the codec and through the Pillow plugin. The rounds are done in one thread, and again in several.
Printed are the resident memory, the open files and the threads of the process after each tenth, and
how many rounds gave something else than the first one of their quality.
"""

import argparse
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import gdncodec.pillow
from gdncodec.api import codec_for
from gdncodec.catalog import find_model
from gdncodec.images.raster import RasterImage

QUALITIES = (0, 25, 50, 75.5, 100)


def state():
    """Return resident megabytes, open files and threads of this process."""
    status = Path("/proc/self/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
    return resident / 1e3, len(os.listdir("/proc/self/fd")), threading.active_count()


class Work:
    """A round, and what it gave the first time."""

    def __init__(self, side, engine):
        rows, columns = np.mgrid[0:side, 0:side]
        waves = 128 + 90 * np.sin(rows / 9) * np.cos(columns / 13)
        noise = np.random.default_rng(0).normal(0, 9, (side, side, 3))
        self._pixels = np.clip(waves[..., None] + noise, 0, 255).astype(np.uint8)
        self._engine = engine
        self._expected = {quality: self.result(quality) for quality in QUALITIES}

    def result(self, quality):
        """Return the file and the pixels, from the codec and from the plugin."""
        codec = codec_for(find_model(), engine=self._engine)
        data = codec.compress(RasterImage(self._pixels), quality)
        with Image.open(io.BytesIO(data)) as opened:
            plugin = opened.tobytes()
        return data, codec.decompress(data).pixels.tobytes(), plugin

    def __call__(self, number):
        """Return whether a round gives something else than the first one."""
        quality = QUALITIES[number % len(QUALITIES)]
        return self.result(quality) != self._expected[quality]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3340)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--engine", default="numpy")
    options = parser.parse_args()
    gdncodec.pillow.register()
    work = Work(options.side, options.engine)
    tenth = max(options.rounds // 10, 1)
    for threads in (1, options.threads):
        print(f"{threads} threads: resident MB, open files, threads, different rounds")
        print("  before", *state())
        for part in range(10):
            numbers = range(part * tenth, (part + 1) * tenth)
            with ThreadPoolExecutor(threads) as pool:
                different = sum(pool.map(work, numbers))
            print(f"  {(part + 1) * tenth:6}", *state(), different, flush=True)


if __name__ == "__main__":
    main()
