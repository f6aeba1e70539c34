"""Wall time and peak memory of whole processes, side by side in one run.

    python benchmarks/commands.py IMAGE [--repeats 5]

Every process runs once to warm the caches; then they all take turns. The table gives medians and
the ratio to importing PyTorch, with which every command that runs a network begins.
CompressAI's `bmshj2018-factorized` (quality 4, without trained weights) compresses and decompresses
the same image if CompressAI is installed.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

COMPRESSAI = """
import sys, torch
from PIL import Image
from torchvision.transforms.functional import to_tensor
from compressai.zoo import bmshj2018_factorized
model = bmshj2018_factorized(4).eval()
model.update()
x = to_tensor(Image.open(sys.argv[1]).convert("RGB"))[None]
x = torch.nn.functional.pad(x, (0, -x.shape[3] % 64, 0, -x.shape[2] % 64))
with torch.inference_mode():
    coded = model.compress(x)
    model.decompress(coded["strings"], coded["shape"])
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    python = sys.executable
    gdncodec = [python, "-m", "gdncodec"]
    with tempfile.TemporaryDirectory() as folder:
        coded, decoded = f"{folder}/a.gdn", f"{folder}/a.png"
        compress = [*gdncodec, "compress", str(options.image), "-o", coded, "--force"]
        measure(compress)
        commands = {
            "python -c pass": [python, "-c", "pass"],
            "import torch": [python, "-c", "import torch"],
            "gdncodec --help": [*gdncodec, "--help"],
            "gdncodec info": [*gdncodec, "info", coded],
            "gdncodec compress": compress,
            "gdncodec decompress": [*gdncodec, "decompress", coded, "-o", decoded, "--force"],
        }
        if importlib.util.find_spec("compressai"):
            commands["CompressAI, both ways"] = [python, "-c", COMPRESSAI, str(options.image)]
        results = {name: [] for name in commands}
        for turn in range(options.repeats + 1):
            for name, command in commands.items():
                result = measure(command)
                if turn:
                    results[name].append(result)
    torch_seconds = statistics.median(seconds for seconds, _ in results["import torch"])
    print("| process | seconds | to import torch | peak MiB |\n|---|---|---|---|")
    for name, runs in results.items():
        seconds = statistics.median(s for s, _ in runs)
        memory = max(m for _, m in runs)
        print(f"| {name} | {seconds:.2f} | {seconds / torch_seconds:.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
