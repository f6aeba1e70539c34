"""Crops per second of the training loop and of CompressAI's example, in one run.

    python benchmarks/training.py --data FOLDER --threads 2 --batch 8 --crop 256 --out FILE.json

The first two rows train the same network: CompressAI's `bmshj2018-factorized` at quality 8 (N =
192, M = 320) with the loop of its `examples/train.py`, and ours with these widths and `gdn` with
the loop of `gdncodec train`. All loops take turns of a few steps, so that a busy machine slows all
of them: read the ratios rather than the rates. Ratios compare the turns of one round; the table
gives the median and, in brackets, the range.

Fractions of the peak refer to the faster of a large matrix product and a large convolution, in the
same precision and the same run. They count convolutions and the norms' products across channels,
forward and backward: 74 GFLOP for a crop of 256 and the first network. In bf16 some layers still
run in float32, so those rows cannot come near the peak of bf16.

CompressAI's loop opens a file for each crop, as the example does: in the same process on a CPU,
which is busy anyway, and in one worker process per core on a GPU. Crops that the workers fetch
during the turn of another loop are free, so turns should be long on a GPU.
"""

import argparse
import dataclasses
import itertools
import json
import math
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from gdncodec.config import ModelConfig
from gdncodec.training.crops import CropSampler
from gdncodec.training.data import find_images, load_images
from gdncodec.training.distributed import Workers
from gdncodec.training.loop import train
from gdncodec.training.options import TrainingOptions
from gdncodec.training.state import TrainingState

N, M = 192, 320
LOOK = 10
"""The example reads its losses once in this many steps."""

Turn = Callable[[int], None]


class Files(Dataset[Tensor]):
    """Random crops; each opens its file anew."""

    def __init__(self, files: Sequence[Path], crop: int) -> None:
        from torchvision import transforms

        self.files = files
        self.transform = transforms.Compose([transforms.RandomCrop(crop), transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        crop: Tensor = self.transform(Image.open(self.files[index]).convert("RGB"))
        return crop


def compressai_loop(files: Sequence[Path], options: argparse.Namespace) -> Turn:
    """Return CompressAI's loop: two optimisers, the second one for the quantiles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from compressai.zoo import bmshj2018_factorized
    device = torch.device(options.device)
    net = bmshj2018_factorized(8).to(device).train()
    named = dict(net.named_parameters())
    quantiles = {name for name in named if name.endswith(".quantiles")}
    main = torch.optim.Adam([p for name, p in named.items() if name not in quantiles], lr=1e-4)
    aux = torch.optim.Adam([named[name] for name in quantiles], lr=1e-3)
    dataset = Files(files, options.crop)
    loader = DataLoader(
        dataset,
        options.batch,
        sampler=RandomSampler(dataset, replacement=True, num_samples=10**9),
        num_workers=options.workers,
        pin_memory=device.type == "cuda",
    )
    batches: Iterator[Tensor] = iter(loader)
    numbers = itertools.count()

    def step() -> None:
        x = next(batches).to(device)
        main.zero_grad()
        aux.zero_grad()
        out = net(x)
        bits = sum(p.log().sum() / -math.log(2) for p in out["likelihoods"].values())
        bpp = bits / (x.numel() // 3)
        mse = torch.nn.functional.mse_loss(out["x_hat"], x)
        loss = bpp + 0.18 * 255**2 * mse
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        main.step()
        aux_loss = net.aux_loss()
        aux_loss.backward()
        aux.step()
        if next(numbers) % LOOK == 0:
            for figure in (loss, mse, bpp, aux_loss):
                figure.item()

    def turn(steps: int) -> None:
        for _ in range(steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return turn


def our_loop(
    images: Sequence[Tensor], config: ModelConfig, precision: str, options: argparse.Namespace
) -> Turn:
    """Return our loop as it runs far from the end of a training."""
    how = TrainingOptions(
        batch=options.batch,
        crop=options.crop,
        decay=0,
        mixed=0,
        frozen=0,
        precision=precision,
        compile=options.compile,
        optimizer="adam",  # as in CompressAI's example
    )
    team = Workers(device=torch.device(options.device))
    state = TrainingState(config, how, team)
    sampler = CropSampler(images, how.crop, how.batch, how.seed, device=team.device)

    def turn(steps: int) -> None:
        state.options = dataclasses.replace(how, steps=state.counters.step + steps)
        train(state, sampler, team=team)

    return turn


def flop(config: ModelConfig, crop: int) -> float:
    """Return the floating-point operations of forward and backward on one crop."""
    products = 0.0
    for widths in (config.widths, config.synthesis_widths):
        channels = [3, *widths, config.latent_channels]
        for i, (a, b) in enumerate(itertools.pairwise(channels), start=1):
            norm = b * b if i < len(widths) + 1 else 0
            products += (25 * a * b + norm) * (crop / 2**i) ** 2
    return 3 * 2 * products


def peak(precision: str, device: torch.device) -> float:
    """Return the operations per second of a large matrix product or convolution, the faster one."""
    n, channels = (8192, 2048) if device.type == "cuda" else (1024, 512)
    kind = {"device": device, "dtype": torch.bfloat16 if precision == "bf16" else torch.float32}
    a = torch.randn(n, n, **kind)
    x = torch.randn(1, channels, 32, 32, **kind).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 5, 5, **kind).to(memory_format=torch.channels_last)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32, as in the convolutions of both loops
    try:
        product = min(seconds(lambda: a @ a, device) for _ in range(5))
        convolution = min(
            seconds(lambda: torch.nn.functional.conv2d(x, weight, stride=2, padding=2), device)
            for _ in range(5)
        )
    finally:
        torch.set_float32_matmul_precision(before)
    return max(2 * n**3 / product, 2 * weight.numel() * 16**2 / convolution)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def utilisation(device: torch.device) -> float | None:
    """Return the recent utilisation of the GPU in percent."""
    if device.type != "cuda":
        return None
    try:
        return torch.cuda.utilization(device)
    except (ModuleNotFoundError, RuntimeError):
        return None


def measure(
    loops: dict[str, Turn], options: argparse.Namespace
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Return crops per second and utilisation of each loop in each round, and the peaks."""
    device = torch.device(options.device)
    found: dict[str, dict[str, Any]] = {name: {"rates": [], "gpu": []} for name in loops}
    peaks = dict.fromkeys(("float32", "bf16"), 0.0)
    for turn in loops.values():
        turn(options.warmup)
    for number in range(options.rounds):
        order = list(loops.items())
        for name, turn in reversed(order) if number % 2 else order:
            taken = seconds(lambda turn=turn: turn(options.steps), device)
            found[name]["gpu"].append(utilisation(device))
            found[name]["rates"].append(options.batch * options.steps / taken)
        peaks = {name: max(best, peak(name, device)) for name, best in peaks.items()}
    return found, peaks


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5, help="steps per turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2, help="steps before the first round")
    parser.add_argument("--compile", choices=["auto", "on", "off"], default="auto")
    parser.add_argument("--workers", type=int, help="worker processes of CompressAI's loop")
    parser.add_argument("--images", type=int, default=100, help="largest number of images")
    parser.add_argument("--only", type=int, default=0, help="number of rows to run; 0: all")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    if options.workers is None:
        options.workers = 0 if options.device == "cpu" else os.cpu_count() or 1
    return options


def main() -> None:
    """Load, measure, print."""
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    found_files = find_images([options.data])[: options.images]
    images, files = load_images(found_files, options.crop, print)

    same = ModelConfig("gdn", "gdn", (N, N, N), (N, N, N), M, padding="zeros")
    simpler = dataclasses.replace(same, norm="gdn1", synthesis_norm="gdn1")
    rows = {
        "CompressAI, float32": (same, "float32"),
        "gdncodec, same network, bf16": (same, "bf16"),
        "gdncodec, same network, float32": (same, "float32"),
        "gdncodec, gdn1, bf16": (simpler, "bf16"),
        "gdncodec, default network, bf16": (ModelConfig(), "bf16"),
    }
    rows = dict(list(rows.items())[: options.only or None])
    loops = {
        name: our_loop(images, config, precision, options)
        if name.startswith("gdncodec")
        else compressai_loop(files, options)
        for name, (config, precision) in rows.items()
    }
    found, peaks = measure(loops, options)

    machine = f"{platform.machine()}, torch {torch.__version__}, {options.device}, "
    machine += f"{torch.get_num_threads()} threads"
    print(f"{machine}, batch {options.batch}, crop {options.crop}; the peak is", end="")
    print("".join(f" {value / 1e9:.0f} GFLOP/s in {k}" for k, value in peaks.items()), "\n")
    print("| loop | crops/s | to CompressAI | of the peak | GPU busy |\n|---|---:|---:|---:|---:|")
    base = found["CompressAI, float32"]["rates"]
    for name, (config, precision) in rows.items():
        rates = found[name]["rates"]
        rate = statistics.median(rates)
        ratios = [a / b for a, b in zip(rates, base, strict=True)]
        part = rate * flop(config, options.crop) / peaks[precision]
        busy = [value for value in found[name]["gpu"] if value is not None]
        found[name] |= {"rate": rate, "ratio": statistics.median(ratios), "part_of_peak": part}
        print(
            f"| {name} | {rate:.3g} | {statistics.median(ratios):.2f}x "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {part:.0%} |",
            f"{statistics.median(busy):.0f} % |" if busy else "|",
        )
    if options.out:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        result = {"machine": machine, "options": settings, "peaks": peaks, "loops": found}
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
