"""What contexts save, what they cost, and how evenly the qualities are spaced.

    python benchmarks/entropy.py --images FOLDER {--train FOLDER | --steps} [--model MODEL]

Symbols of the images are coded as in files, and compared with their information under one table for
each channel and quality, counted on every 18th image of the training data. Times are medians over
the images, on one thread. ``--steps`` compresses the images at all whole qualities instead, and
prints where the size or the PSNR falls.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gdncodec.catalog import find_model
from gdncodec.codec import Codec
from gdncodec.engines.torch import TorchEngine, TorchTransforms
from gdncodec.evaluation.metrics import psnr_rgb
from gdncodec.images.raster import RasterImage
from gdncodec.modelfile import Model, OperatingPoint, load_model
from gdncodec.training.data import find_images, read_rgb

QUALITIES = (0, 20, 40, 60, 80, 100)
LARGEST = 128  # symbol that has a table entry of its own
UNSEEN = 0.02  # counts of a symbol that was not seen, decreasing away from zero


def symbols(point: OperatingPoint, transforms: TorchTransforms, images: list[Any]) -> Iterator[Any]:
    """Yield the symbols (M, rows, columns) of the upper left of each image."""
    for pixels in images:
        height, width = (min(n // 16 * 16, 1024) for n in pixels.shape[:2])
        yield point.quantise(transforms.analysis(pixels[:height, :width].copy()))


def code_lengths(point: OperatingPoint, transforms: TorchTransforms, images: list[Any]) -> Any:
    """Return the bits (M, symbols) of one table for each channel, counted on images."""
    values = np.arange(-LARGEST, LARGEST + 1)
    counts = np.zeros((point.silent.size, len(values)))
    counts += UNSEEN * np.exp(-np.abs(values) / 20)
    for k in symbols(point, transforms, images):
        for channel, row in enumerate(at(k)):
            counts[channel] += np.bincount(row, minlength=len(values))
    return -np.log2(counts / counts.sum(axis=1, keepdims=True))


def at(k: Any) -> Any:
    """Return the indices of symbols in a table, (M, positions)."""
    return k.clip(-LARGEST, LARGEST).reshape(len(k), -1) + LARGEST


def contexts(model: Model, training: list[Any], images: list[Any]) -> None:
    engine = TorchEngine(model, None)
    print(
        "| quality | bpp, one table a channel | bpp as coded | saving | encode, ms | decode, ms |"
    )
    print("|---|---|---|---|---|---|")
    for quality in QUALITIES:
        point, transforms = model.at(quality), engine.at(quality)
        lengths = code_lengths(point, transforms, training)
        static = coded = area = 0.0
        encoding, decoding = [], []
        for k in symbols(point, transforms, images):
            area += 256 * k[0].size
            static += np.take_along_axis(lengths, at(k), axis=1).sum()
            began = time.perf_counter()
            data = point.encode(k)
            encoded = time.perf_counter()
            back = point.decode(data, k.shape[1:])
            decoding.append(1000 * (time.perf_counter() - encoded))
            encoding.append(1000 * (encoded - began))
            coded += 8 * len(data)
            np.testing.assert_array_equal(back, k)
        row = f"| {quality} | {static / area:.3f} | {coded / area:.3f} | {1 - coded / static:.1%} |"
        print(f"{row} {np.median(encoding):.1f} | {np.median(decoding):.1f} |", flush=True)


def steps(codec: Codec, files: list[Path]) -> None:
    count, growth, gain = 0, [0.0], [0.0]
    for file in files:
        pixels, before = read_rgb(file), None
        for quality in range(101):
            data = codec.compress(RasterImage(pixels), quality)
            now = len(data), psnr_rgb(pixels, codec.decompress(data).pixels)
            if before:
                count += 1
                growth.append(now[0] / before[0] - 1)
                gain.append(now[1] - before[1])
                if growth[-1] < 0 or growth[-1] > 0.05 or gain[-1] < 0:
                    print(f"{file.name} at {quality}: {growth[-1]:+.2%}, {gain[-1]:+.4f} dB")
            before = now
        print(
            f"{file.name}: {count} steps, size {min(growth[1:]):+.2%} to {max(growth):+.2%},",
            end=" ",
        )
        print(f"PSNR {min(gain[1:]):+.4f} dB at least", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, help="training images; not needed for the steps")
    parser.add_argument("--images", type=Path, required=True, help="images to code")
    parser.add_argument("--model", help="name or path; the default model if not given")
    parser.add_argument("--steps", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = find_images([options.images])
    if options.steps:
        steps(Codec(options.model), files)
        return
    if not options.train:
        parser.error("give --train or --steps")
    training = [read_rgb(file) for file in find_images([options.train])[::18]]
    contexts(load_model(find_model(options.model)), training, [read_rgb(file) for file in files])


if __name__ == "__main__":
    main()
