"""Memory and time of a large image, beside those of an image of one slice, in one run.

    python benchmarks/large.py --images FOLDER [--side 10000] [--json FILE]

The large image is a mosaic of the folder's images, mirrored at random so that nothing repeats;
the small one is a part of it of 1024 x 1024 pixels. Peak memory is that of whole ``gdncodec``
processes. Times of both sizes are taken in turns in one process, because only their ratio means
something on a machine that does other work.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SMALL = 1024
REGION = 512


def mosaic(folder: Path, side: int) -> Image.Image:
    """Return a square image of random parts of images."""
    rng = np.random.default_rng(7)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    result = Image.new("RGB", (side, side))
    for top in range(0, side, 512):
        for left in range(0, side, 768):
            with Image.open(files[rng.integers(len(files))]) as opened:
                part = opened.convert("RGB").resize((768, 512))
            for flip in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM):
                if rng.integers(2):
                    part = part.transpose(flip)
            result.paste(part, (left, top))
    return result


def process(*arguments: str) -> dict[str, float]:
    """Run a command of gdncodec; return its seconds and its peak memory in megabytes of 10^6."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "gdncodec", *arguments, "--force", "--quiet"])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"gdncodec {' '.join(arguments)} failed")
    return {"seconds": time.monotonic() - began, "peak_mb": usage.ru_maxrss * 1024 / 1e6}


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    taken = []
    for _ in range(times):
        began = time.monotonic()
        work()
        taken.append(time.monotonic() - began)
    return float(np.median(taken))


def in_turns(small: Callable[[], Any], large: Callable[[], Any]) -> dict[str, float]:
    """Time the small work before and after the large one."""
    small()
    before = seconds(small, 5)
    during = seconds(large)
    after = seconds(small, 5)
    return {"small_before": before, "large": during, "small_after": after}


def measure_processes(work: Path, side: int, targets: list[str]) -> dict[str, Any]:
    """Measure whole processes on the files in the folder ``work``."""
    found: dict[str, Any] = {}
    for name in ("small", "large"):
        png, gdn, out = (str(work / f"{name}{end}") for end in (".png", ".gdn", ".out.png"))
        found[f"compress {name}"] = process("compress", png, "-o", gdn)
        found[f"decompress {name}"] = process("decompress", gdn, "-o", out)
    middle = side // 2 - REGION // 2 + 9
    region = f"{middle},{middle},{REGION},{REGION}"
    large, out = str(work / "large.gdn"), str(work / "region.png")
    found["region of large"] = process("decompress", large, "--region", region, "-o", out)
    for target in targets:
        name, value = target.split("=")
        aimed = str(work / "aimed.gdn")
        large_png = str(work / "large.png")
        found[f"compress large to {target}"] = process(
            "compress", large_png, f"--target-{name}", value, "-o", aimed
        )
        found[f"compress large to {target}"]["bytes"] = Path(aimed).stat().st_size
    return found


def measure_in_turns(work: Path, side: int) -> dict[str, Any]:
    """Measure the ratios of times, with a codec that is already loaded."""
    from gdncodec.codec import Codec
    from gdncodec.images.reading import read_image
    from gdncodec.tiles.geometry import Region

    Image.MAX_IMAGE_PIXELS = None
    codec = Codec()
    images = {name: read_image(work / f"{name}.png") for name in ("small", "large")}
    files = {name: (work / f"{name}.gdn").read_bytes() for name in images}
    pixels = {name: p.pixels[..., 0].size for name, p in images.items()}
    region = Region(side // 2 - 247, side // 2 - 247, REGION, REGION)
    found: dict[str, Any] = {}
    for name, work_on in (
        ("compress", lambda n: codec.compress(images[n])),
        ("decompress", lambda n: codec.decompress(files[n])),
    ):
        turns = in_turns(lambda w=work_on: w("small"), lambda w=work_on: w("large"))
        small = (turns["small_before"] + turns["small_after"]) / 2
        turns["ratio_per_pixel"] = turns["large"] / pixels["large"] / (small / pixels["small"])
        found[name] = turns
    ratios = [
        seconds(lambda: codec.decompress(files["large"], region=region))
        / seconds(lambda: codec.decompress(files["small"]))
        for _ in range(9)
    ]
    found["region over a file of one slice"] = float(np.median(ratios))
    return found


def main() -> None:
    """Make the images, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--side", type=int, default=10000)
    parser.add_argument("--target", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        large = mosaic(options.images, options.side)
        large.save(work / "large.png", compress_level=1)
        large.crop((0, 0, SMALL, SMALL)).save(work / "small.png")
        found = {
            "side": options.side,
            "processes": measure_processes(work, options.side, options.target),
            "in one process": measure_in_turns(work, options.side),
        }
    text = json.dumps(found, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
