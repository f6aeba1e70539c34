"""Time and memory of every normalisation layer, beside torch's and CompressAI's, in one run.

Layers that are compared take turns, so that a busy machine slows all of them: read the ratios
rather than the times. "beside" names the other layer; the columns after it are its time divided
by ours, and its memory. Memory is the peak above the input. Inference is what an engine runs:
parameters computed in advance, no gradients, and a tensor of its own that the layer may
overwrite.

    python benchmarks/norms.py --shape 16,192,128,128 --repeats 5
"""

import argparse
import platform
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from gdncodec.nn.inference import prepare_inference
from gdncodec.norms import NORMS, make_norm

MODES = ("train", "infer")


def references(channels: int) -> dict[str, tuple[str, nn.Module]]:
    """Return what each of our layers is compared with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from compressai.layers import GDN, GDN1
    groups = make_norm("group", channels).groups
    return {
        "gdn": ("CompressAI GDN", GDN(channels)),
        "gdn inverse": ("CompressAI GDN inverse", GDN(channels, inverse=True)),
        "gdn1": ("CompressAI GDN1", GDN1(channels)),
        "gdn1 inverse": ("CompressAI GDN1 inverse", GDN1(channels, inverse=True)),
        "batch": ("torch BatchNorm2d", nn.BatchNorm2d(channels)),
        "group": (f"torch GroupNorm({groups})", nn.GroupNorm(groups, channels)),
        "layer": ("torch GroupNorm(1)", nn.GroupNorm(1, channels)),
        "instance": ("torch InstanceNorm2d", nn.InstanceNorm2d(channels, affine=True)),
    }


def rows(channels: int) -> Iterator[tuple[str, nn.Module, str, nn.Module | None]]:
    beside = references(channels)
    for name in NORMS:
        active = ":probability=1" if name in ("crossnorm", "sncn") else ""
        for inverse in (False, True) if name in ("gdn", "gdn1") else (False,):
            label = f"{name} inverse" if inverse else name
            theirs = beside.get(label, ("", None))
            yield label, make_norm(name + active, channels, inverse=inverse), *theirs


class Peak:
    """Peak memory, in bytes, above what is in use at the start of the block."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = float("nan")

    def _read(self, field: str) -> float:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        return float(found[1]) * 1024 if found else float("nan")

    def __enter__(self) -> "Peak":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.start = float(torch.cuda.memory_allocated())
        elif platform.system() == "Linux":
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
            self.start = self._read("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated() - self.start
        elif platform.system() == "Linux":
            self.bytes = self._read("VmHWM") - self.start


def seconds(call: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(call: Callable[[], object], device: torch.device) -> float:
    with Peak(device) as measured:
        result = call()
    del result
    return measured.bytes


def train_step(layer: nn.Module, x: Tensor, gradient: Tensor) -> Callable[[], object]:
    def step() -> object:
        layer.zero_grad()
        parameters = list(layer.parameters())
        y = layer(x)
        return torch.autograd.grad(y, [x, *parameters], gradient) if y is not x else None

    return step


def infer(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    own = x.detach().clone(memory_format=torch.preserve_format)

    def step() -> object:
        with torch.inference_mode():
            return layer(own)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="16,192,128,128", help="N,C,H,W")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="contiguous")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="names, separated by commas")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    shape = [int(n) for n in options.shape.split(",")]
    layout = torch.channels_last if options.layout == "channels_last" else torch.contiguous_format
    torch.manual_seed(0)
    x = torch.randn(shape, device=device).to(memory_format=layout).requires_grad_()
    gradient = torch.randn(shape, device=device).to(memory_format=layout)

    print(f"{platform.machine()}, torch {torch.__version__}, {device}, {options.layout}, ", end="")
    print(f"{torch.get_num_threads()} threads, {shape}, median of {options.repeats}\n")
    print("| norm | fwd+bwd ms | MB | infer ms | MB | beside | fwd+bwd | MB | infer | MB |")
    print("|---|---:|---:|---:|---:|---|---:|---:|---:|---:|")
    for label, ours, their_name, theirs in rows(shape[1]):
        if options.only and label.split()[0] not in options.only.split(","):
            continue
        layers = [layer.to(device) for layer in (ours, theirs) if layer is not None]
        results = [compare(layers, mode, x, gradient, options.repeats) for mode in MODES]
        cells, ratios = [], []
        for times, megabytes in results:
            cells += [f"{1e3 * times[0]:.1f}", f"{megabytes[0]:.0f}"]
            ratios += [f"{times[1] / times[0]:.2f}x", f"{megabytes[1]:.0f}"] if theirs else ["", ""]
        print("|", " | ".join([label, *cells, their_name, *ratios]), "|", flush=True)


def compare(
    layers: list[nn.Module], mode: str, x: Tensor, gradient: Tensor, repeats: int
) -> tuple[list[float], list[float]]:
    """Return the median seconds and the peak memory in megabytes of each layer."""
    layers = [layer.train(mode == "train") for layer in layers]
    if mode == "infer":
        layers = list(prepare_inference(nn.Sequential(*layers)))

    def step(layer: nn.Module) -> Callable[[], object]:
        return train_step(layer, x, gradient) if mode == "train" else infer(layer, x)

    megabytes = [peak(step(layer), x.device) / 1e6 for layer in layers]
    times: list[list[float]] = [[] for _ in layers]
    for repeat in range(repeats):
        order = list(enumerate(layers))
        # The first one finds the memory in another state, so that takes turns as well.
        for i, layer in reversed(order) if repeat % 2 else order:
            times[i].append(seconds(step(layer), x.device))
    return [statistics.median(t) for t in times], megabytes


if __name__ == "__main__":
    main()
