"""What bfloat16 costs, by quality: the numbers behind gdncodec/engines/precision.py.

    python benchmarks/precision.py IMAGE... [--qualities 0,30,50,60,80,100]

Every image is compressed and decompressed by OpenVINO, in float32 and in bfloat16. "At equal size"
adds to the lost PSNR what the larger files would have bought: the slope of PSNR over the logarithm
of the size, from this quality to one 5 higher. "Levels" are the largest difference between what the
two precisions decode from the same file.
"""

import argparse
from pathlib import Path

import numpy as np

from gdncodec.catalog import find_model
from gdncodec.engines.openvino import OpenVinoEngine, OpenVinoTransforms
from gdncodec.evaluation.metrics import psnr_rgb
from gdncodec.images.reading import read_image
from gdncodec.modelfile import OperatingPoint, load_model
from gdncodec.tiles.geometry import cut, slices


def coded(point: OperatingPoint, transforms: OpenVinoTransforms, pixels: np.ndarray) -> tuple:
    """Return the bytes of the slices, the latent and the decoded pixels."""
    symbols = point.quantise(transforms.analysis(pixels))
    grid = slices(*symbols.shape[1:])
    size = sum(len(point.encode(np.ascontiguousarray(cut(symbols, part)))) for part in grid)
    latent = point.dequantise(symbols)
    return size, latent, transforms.synthesis(latent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--qualities", default="0,30,50,60,80,100")
    options = parser.parse_args()
    model = load_model(find_model())
    full, low = (OpenVinoEngine(model, bfloat16=b) for b in (False, True))
    images = [read_image(path, strip=True).pixels for path in options.images]
    print("| quality | lost PSNR, dB | larger files | lost at equal size, dB | levels, largest |")
    print("|---|---|---|---|---|")
    for quality in map(float, options.qualities.split(",")):
        point, near = model.at(quality), model.at(min(quality + 5, 100) - 5 * (quality == 100))
        rows = []
        for image in images:
            height, width = (n // 16 * 16 for n in image.shape[:2])
            x = np.ascontiguousarray(image[:height, :width])
            size, latent, plain = coded(point, full.at(quality), x)
            other_size, _, other = coded(near, full.at(near.quality), x)
            low_size, _, rounded = coded(point, low.at(quality), x)
            slope = (psnr_rgb(x, other) - psnr_rgb(x, plain)) / np.log(other_size / size)
            lost = psnr_rgb(x, plain) - psnr_rgb(x, rounded)
            growth = np.log(low_size / size)
            levels = np.abs(plain.astype(int) - low.at(quality).synthesis(latent)).max()
            rows.append((lost, growth, lost + slope * growth, levels))
        lost, growth, total, _ = np.mean(rows, axis=0)
        row = f"| {quality:g} | {lost:.4f} | {growth:+.2%} | {total:.4f} |"
        print(f"{row} {np.max(rows, axis=0)[3]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
