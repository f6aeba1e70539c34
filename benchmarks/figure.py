"""Draws docs/plots/example.webp: one photograph as original, JPEG and gdncodec at equal bytes.

python benchmarks/figure.py [--jpeg 10]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gdncodec.codec import Codec
from gdncodec.encoder.targets import Target
from gdncodec.evaluation.anchors import find_anchor
from gdncodec.evaluation.images import read_for_measuring
from gdncodec.evaluation.metrics import psnr_rgb

ROOT = Path(__file__).parents[1]
SIDE = 288
CROP = (150, 20, 294, 164)  # left, top, right, bottom; enlarged twice
GAP, LABEL = 8, 40


def column(pixels: np.ndarray, title: str, detail: str) -> Image.Image:
    """Return the whole image above an enlarged crop of it, with two lines of text on top."""
    image = Image.fromarray(pixels)
    made = Image.new("RGB", (SIDE, LABEL + 2 * SIDE + GAP), "white")
    text = ImageDraw.Draw(made)
    text.text((0, 0), title, "black", ImageFont.load_default(17))
    text.text((0, 20), detail, "#444444", ImageFont.load_default(14))
    made.paste(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (0, LABEL))
    crop = image.crop(CROP).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    made.paste(crop, (0, LABEL + SIDE + GAP))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jpeg", type=int, default=10, help="quality of the JPEG file")
    options = parser.parse_args()
    image = read_for_measuring(ROOT / "data" / "astronaut.png")
    codec, jpeg = Codec(), find_anchor("jpeg")
    theirs = jpeg.encode(image, options.jpeg)
    ours = codec.compress_to(image, Target(len(theirs), "bytes"))

    def detail(data: bytes, pixels: np.ndarray) -> str:
        return f"{len(data):,} bytes, PSNR {psnr_rgb(image.pixels, pixels):.1f} dB"

    decoded = {
        f"JPEG, quality {options.jpeg}": (theirs, jpeg.decode(theirs)),
        "gdncodec": (ours, codec.decompress(ours).pixels),
    }
    columns = [column(image.pixels, "Original", f"{image.pixels.nbytes:,} bytes, uncompressed")]
    columns += [column(p, name, detail(data, p)) for name, (data, p) in decoded.items()]
    width = len(columns) * (SIDE + GAP) - GAP
    figure = Image.new("RGB", (width, columns[0].height), "white")
    for i, part in enumerate(columns):
        figure.paste(part, (i * (SIDE + GAP), 0))
    figure.save(ROOT / "docs" / "plots" / "example.webp", quality=92, method=6)
    for name, (data, p) in decoded.items():
        print(f"{name}: {detail(data, p)}")


if __name__ == "__main__":
    main()
