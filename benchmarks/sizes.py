"""Time and memory of whole processes against the size of the image, and docs/plots/sizes.png.

    python benchmarks/sizes.py --images FOLDER [--sides 640,1024,2048,4900,10000] [--repeats 3]

Images are mosaics of the folder's images, PNG in and out. The engines take turns; times are the
shortest of the repeats, memory is the largest. CompressAI (quality 5) runs on the smallest.
``--draw FILE`` draws the numbers that an earlier run has printed.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from large import mosaic
from vs_compressai import COMPRESSAI, measure

ROOT = Path(__file__).parents[1]
LARGEST_OF_COMPRESSAI = 1 << 19
COLOURS = {"numpy": "#1f77b4", "openvino": "#d62728", "CompressAI 5": "#7f7f7f"}


def runs_of(png: Path, pixels: int) -> dict[tuple[str, str], list[str]]:
    """Return the commands by who runs, and what."""
    python, work = sys.executable, png.parent
    commands = {}
    for engine in ("numpy", "openvino"):
        common = [python, "-m", "gdncodec"]
        options = ["--engine", engine, "--force", "--quiet"]
        coded, out = str(work / f"{engine}.gdn"), str(work / "out.png")
        commands[engine, "compress"] = [*common, "compress", str(png), "-o", coded, *options]
        commands[engine, "decompress"] = [*common, "decompress", coded, "-o", out, *options]
    if pixels <= LARGEST_OF_COMPRESSAI:
        streams, out = str(work / "streams"), str(work / "out.png")
        theirs = [python, "-c", COMPRESSAI]
        commands["CompressAI 5", "compress"] = [*theirs, "compress", str(png), streams]
        commands["CompressAI 5", "decompress"] = [*theirs, "decompress", streams, out]
    return commands


def measured(images: Path, sides: list[int], repeats: int) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        largest = mosaic(images, max(sides))
        for side in sides:
            png = Path(folder) / "image.png"
            largest.crop((0, 0, side, side)).save(png, compress_level=1)
            commands = runs_of(png, side * side)
            results = {key: [] for key in commands}
            for _ in range(1 if side > 6000 else repeats):
                for key, command in commands.items():
                    results[key].append(measure(command))
            for (who, what), found in results.items():
                seconds, peak = min(s for s, _ in found), max(m for _, m in found)
                load = round(os.getloadavg()[0], 1)
                megapixels = round(side * side / 1e6, 2)
                row = {"megapixels": megapixels, "who": who, "what": what}
                rows.append({**row, "seconds": round(seconds, 2), "mib": round(peak), "load": load})
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def draw(rows: list[dict]) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, value, title in zip(
        axes, ("seconds", "mib"), ("Time, s", "Peak memory, MiB"), strict=True
    ):
        for who, colour in COLOURS.items():
            for what, style in (("compress", "-"), ("decompress", "--")):
                points = [
                    (r["megapixels"], r[value])
                    for r in rows
                    if (r["who"], r["what"]) == (who, what)
                ]
                axis.plot(
                    *zip(*points, strict=True),
                    style,
                    color=colour,
                    marker=".",
                    label=f"{who}, {what}",
                )
        axis.set(xscale="log", yscale="log", xlabel="Megapixels", title=title)
        axis.grid(alpha=0.3, which="both")
    axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(ROOT / "docs" / "plots" / "sizes.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--sides", default="640,1024,2048,4900,10000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draw", type=Path)
    options = parser.parse_args()
    if options.draw:
        draw(json.loads(options.draw.read_text()))
        return
    if not options.images:
        parser.error("give --images or --draw")
    sides = [int(side) for side in options.sides.split(",")]
    rows = measured(options.images, sides, options.repeats)
    print(json.dumps(rows, indent=1))
    draw(rows)


if __name__ == "__main__":
    main()
