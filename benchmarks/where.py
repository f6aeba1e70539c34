"""Where the time of a compress and a decompress goes, and docs/plots/time.png.

    python benchmarks/where.py IMAGE [--engine numpy] [--repeats 5]

Runs whole commands with a clock around their parts, and takes the shortest time of each part. The
floor is the time of the network's multiplications alone, at the speed of a large matrix product
that is measured in the same run, in the engine's precision.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PARTS = {
    "start, import": "#bbbbbb",
    "load the model": "#8c8c8c",
    "read the image": "#2ca02c",
    "network": "#1f77b4",
    "rest: coding, writing": "#ff7f0e",
}

CLOCK = """
import json, sys, time
began, engine, *command = float(sys.argv[1]), *sys.argv[2:]
spent = {}
def timed(holder, name, part):
    inner = getattr(holder, name)
    def outer(*args, **options):
        start = time.monotonic()
        try: return inner(*args, **options)
        finally: spent[part] = spent.get(part, 0) + time.monotonic() - start
    setattr(holder, name, outer)
import gdncodec.cli, gdncodec.codec as codec, gdncodec.cli.compress as cli, gdncodec.api
spent["start, import"] = time.monotonic() - began
timed(gdncodec.api, "_cached_codec", "load the model")
import gdncodec.cli.files
timed(gdncodec.cli.compress, "read_source", "read the image")
from gdncodec.engines.numpy import NumpyTransforms as kind
if engine == "openvino":
    from gdncodec.engines.openvino import OpenVinoTransforms as kind
timed(kind, "analysis", "network")
timed(kind, "synthesis", "network")
try: gdncodec.cli.main([*command, "--engine", engine, "--force", "--quiet"])
except SystemExit: pass
spent["rest: coding, writing"] = time.monotonic() - began - sum(spent.values())
print(json.dumps(spent))
"""


def parts(engine: str, *command: str) -> dict[str, float]:
    arguments = [sys.executable, "-c", CLOCK, str(time.monotonic()), engine, *command]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def operations(pixels: int) -> float:
    """Return the floating-point operations of the analysis, which are those of the synthesis."""
    from gdncodec.catalog import find_model
    from gdncodec.modelfile import load_model

    config = load_model(find_model()).config
    inputs, total = 3, 0.0
    for stage, outputs in enumerate((*config.widths, config.latent_channels), 1):
        norm = 0 if stage == 4 else outputs**2
        total += (25 * inputs * outputs + norm) / 4**stage
        inputs = outputs
    return 2 * total * pixels


def peak(engine: str) -> float:
    """Return operations per second of a large product on all processors, the best of many."""
    n = 2048
    a = np.random.default_rng(0).random((n, n), np.float32)
    if engine == "openvino":
        import openvino as ov
        from openvino import opset13 as op

        x = op.parameter([n, n], np.float32)
        graph = ov.Model([op.matmul(x, a, False, False)], [x])
        compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
        request = compiled.create_infer_request()
        work = lambda: request.infer([a], share_inputs=True, share_outputs=True)  # noqa: E731
    else:
        work = lambda: a @ a  # noqa: E731
    best = np.inf
    for _ in range(30):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return 2 * n**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--engine", default="numpy")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--draw", action="store_true", help="write docs/plots/time.png")
    options = parser.parse_args()
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(options.image) as opened:
        pixels = opened.width * opened.height
    found = {"compress": [], "decompress": []}
    with tempfile.TemporaryDirectory() as folder:
        coded, out = f"{folder}/a.gdn", f"{folder}/a.png"
        for _ in range(options.repeats):
            one = parts(options.engine, "compress", str(options.image), "-o", coded)
            other = parts(options.engine, "decompress", coded, "-o", out)
            found["compress"].append(one)
            found["decompress"].append(other)
    shortest = {
        what: {part: min(run[part] for run in runs) for part in runs[0]}
        for what, runs in found.items()
    }
    floor = operations(pixels) / peak(options.engine)
    print(json.dumps({"parts": shortest, "floor": floor, "load": os.getloadavg()[0]}, indent=1))
    if options.draw:
        draw(shortest, floor, f"{pixels / 1e6:.1f} megapixels, engine {options.engine}")


def draw(found: dict[str, dict[str, float]], floor: float, title: str) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 2.4), layout="constrained")
    for row, spent in enumerate(found.values()):
        left = 0.0
        for part, colour in PARTS.items():
            width = spent.get(part, 0.0)
            axis.barh(row, width, left=left, color=colour, label=None if row else part)
            if part == "network":
                axis.plot([left + floor] * 2, [row - 0.4, row + 0.4], "k:", lw=2)
                axis.text(left + floor, row, " floor", va="center", color="white", fontsize=9)
            left += width
    axis.set_yticks(range(len(found)), list(found))
    axis.invert_yaxis()
    axis.set(xlabel="seconds", title=title)
    axis.legend(fontsize=8, ncols=5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    figure.savefig(ROOT / "docs" / "plots" / "time.png", dpi=110)


if __name__ == "__main__":
    main()
