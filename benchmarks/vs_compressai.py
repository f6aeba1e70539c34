"""Time and memory beside CompressAI's `bmshj2018-factorized`, side by side in one run.

    python benchmarks/vs_compressai.py IMAGE [--repeats 5]

First whole processes: they run once to warm the caches, then they all take turns. CompressAI
compresses and writes its streams, or reads and decompresses them and writes a PNG file, at quality
5. Then compressing and decompressing in one process, without reading and writing images, beside
qualities 5 and 8. CompressAI's networks have untrained weights, which take the same time. Read the
ratios, which are of times taken in turns: a busy machine slows all of them. The load is printed. In
one process the ratios are also given of the processors' time, which other work hardly changes; the
threads of PyTorch sleep while they wait, or their waiting would count.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

COMPRESSAI = """
import pickle, sys, torch
from PIL import Image
from torchvision.transforms.functional import to_pil_image, to_tensor
from compressai.zoo import bmshj2018_factorized
what, source, target = sys.argv[1:]
model = bmshj2018_factorized(5).eval()
model.update()
with torch.inference_mode():
    if what == "compress":
        x = to_tensor(Image.open(source).convert("RGB"))[None]
        x = torch.nn.functional.pad(x, (0, -x.shape[3] % 64, 0, -x.shape[2] % 64))
        pickle.dump(model.compress(x), open(target, "wb"))
    else:
        coded = pickle.load(open(source, "rb"))
        x_hat = model.decompress(coded["strings"], coded["shape"])["x_hat"]
        to_pil_image(x_hat[0].clamp(0, 1)).save(target)
"""


def measure(command):
    """Return seconds and MiB of one run."""
    began = time.perf_counter()
    with Path(os.devnull).open("wb") as nowhere:
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, nowhere.fileno(), fd) for fd in (1, 2)],
        )
        _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def processes(image, repeats):
    python = sys.executable
    gdncodec = [python, "-m", "gdncodec"]
    theirs = [python, "-c", COMPRESSAI]
    with tempfile.TemporaryDirectory() as folder:
        coded, decoded, streams = (f"{folder}/{name}" for name in ("a.gdn", "a.png", "streams"))
        commands = {
            "compress": [*gdncodec, "compress", image, "-o", coded, "--force"],
            "decompress": [*gdncodec, "decompress", coded, "-o", decoded, "--force"],
            "info": [*gdncodec, "info", coded],
            "--help": [*gdncodec, "--help"],
            "python -c pass": [python, "-c", "pass"],
            "CompressAI compress": [*theirs, "compress", image, streams],
            "CompressAI decompress": [*theirs, "decompress", streams, decoded],
        }
        results = {name: [] for name in commands}
        for turn in range(repeats + 1):
            for name, command in commands.items():
                result = measure(command)
                if turn:
                    results[name].append(result)
    print("| process | seconds | peak MiB | CompressAI's seconds | CompressAI's peak |")
    print("|---|---|---|---|---|")
    for name, runs in results.items():
        seconds = statistics.median(s for s, _ in runs)
        peak = max(m for _, m in runs)
        row = f"| {name} | {seconds:.2f} | {peak:.0f} |"
        if f"CompressAI {name}" in results:
            others = results[f"CompressAI {name}"]
            faster = statistics.median(s for s, _ in others) / seconds
            row += f" {faster:.1f}x | {max(m for _, m in others) / peak:.1f}x |"
        print(row if row.count("|") > 4 else f"{row} | |")


def in_float32():
    """Return a codec that runs OpenVINO in float32 where it would take bfloat16."""
    from gdncodec.codec import Codec
    from gdncodec.decoder import Decoder
    from gdncodec.encoder.encoder import Encoder
    from gdncodec.engines.openvino import OpenVinoEngine

    codec = Codec(engine="openvino")
    codec.engine = OpenVinoEngine(codec.model, bfloat16=False)
    codec.decoder = Decoder(codec.model, codec.engine, codec.entry.name)
    codec.encoder = Encoder(codec.model, codec.engine, codec.decoder, codec.entry.name)
    return codec


def in_process(path, repeats):
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch
    from compressai.zoo import bmshj2018_factorized

    from gdncodec.codec import Codec
    from gdncodec.images.reading import read_image

    image = read_image(path, strip=True)
    megapixels = image.pixels[..., 0].size / 1e6
    height, width = (-(-n // 64) * 64 for n in image.pixels.shape[:2])
    padding = [(0, height - image.pixels.shape[0]), (0, width - image.pixels.shape[1]), (0, 0)]
    padded = np.pad(image.pixels, padding, "edge")
    x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
    ours = {name: Codec(engine=name) for name in ("numpy", "openvino", "torch")}
    ours["openvino, float32"] = in_float32()
    files = {name: codec.compress(image) for name, codec in ours.items()}
    theirs = {f"CompressAI {q}": bmshj2018_factorized(q).eval() for q in (5, 8)}
    for model in theirs.values():
        model.update()
    work = {}
    for name, codec in ours.items():
        work[name] = (
            lambda codec=codec: codec.compress(image),
            lambda codec=codec, name=name: codec.decompress_image(files[name]),
        )
    with torch.inference_mode():
        coded = {name: model.compress(x) for name, model in theirs.items()}
        for name, model in theirs.items():
            work[name] = (
                lambda model=model: model.compress(x),
                lambda model=model, c=coded[name]: model.decompress(c["strings"], c["shape"]),
            )
        times = {name: ([], []) for name in work}
        for turn in range(repeats + 1):
            for name, pair in work.items():
                for taken, call in zip(times[name], pair, strict=True):
                    began = time.perf_counter(), time.process_time()
                    call()
                    ended = time.perf_counter(), time.process_time()
                    if turn:
                        taken.append([b - a for a, b in zip(began, ended, strict=True)])
    # (compress, decompress) x (wall, processors), seconds for a megapixel
    best = {
        name: np.array([np.median(taken, axis=0) for taken in pair]) / megapixels
        for name, pair in times.items()
    }
    for clock, title in enumerate(("seconds", "processor seconds")):
        print(f"\n| in one process, {title} | compress, /MP | decompress, /MP | ", end="")
        print("quality 5 takes | quality 8 takes |\n|---|---|---|---|---|")
        for name, found in best.items():
            rates = " | ".join(f"{rate:.2f}" for rate in found[:, clock])
            ratios = (
                ", ".join(f"{ratio:.1f}x" for ratio in best[other][:, clock] / found[:, clock])
                for other in theirs
            )
            print(f"| {name} | {rates} | {' | '.join(ratios)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}")
    processes(str(options.image), options.repeats)
    in_process(options.image, options.repeats)
    print(f"\nload after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
