"""What the codec does to pictures that are no photographs in good light.

    python benchmarks/unusual.py [--model MODEL] [--out docs]

Pictures are drawn, compressed at several qualities, and as PNG and WebP by Pillow. The numbers go to
``unusual.md`` in the output folder, the pictures, side by side, to ``plots/unusual.png``.
"""

import argparse
import io
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from gdncodec.codec import Codec
from gdncodec.evaluation.metrics import psnr_rgb
from gdncodec.image import Picture

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 384, 256
QUALITIES = (20, 50, 80)
FAR = 48
"""Pixels from an edge at which a flat region is far from it."""
GAP, CAPTION = 12, 36
MAX_SHEET_BYTES = 900_000

MEANING = """\
TODO
"""


def flat(*color: int) -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), color)


def patchwork() -> Image.Image:
    greys = np.array([[112, 128, 144], [136, 120, 104]], np.uint8)
    return Image.fromarray(greys.repeat(128, axis=0).repeat(128, axis=1)).convert("RGB")


def text() -> Image.Image:
    """Return a window with text, and nothing in its lowest quarter."""
    image = flat(255, 255, 255)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, 22), fill=(40, 70, 130))
    draw.text((8, 3), "File   Edit   View   Help", "white", ImageFont.load_default(14))
    top = 28
    for size, color in zip(
        (8, 9, 10, 12, 14, 18, 24), ("black", "#444", "black", "#c00", "black", "#06c", "black"),
        strict=True,
    ):  # fmt: skip
        line = f"{size} pixels: the quick brown fox jumps over 0123456789 lazy dogs {{[(;,.)]}}"
        draw.text((8, top), line, color, ImageFont.load_default(size))
        top += size + 7
    return image


def noise() -> Image.Image:
    rng = np.random.default_rng(7)
    return Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def line_art() -> Image.Image:
    """Return lines and circles of one pixel, and nothing in the right third."""
    image = flat(255, 255, 255)
    draw = ImageDraw.Draw(image)
    for n in range(13):
        draw.line((8, 8 + 9 * n, 120, 8 + 4 * n), "black")
        draw.line((8 + 9 * n, 140, 8 + 9 * n, 248), "black")
    for radius in range(4, 60, 6):
        draw.circle((190, 68), radius, outline="black")
        draw.circle((190, 190), radius, outline=("red", "green", "blue")[radius // 2 % 3])
    return image


def dark() -> Image.Image:
    with Image.open(ROOT / "data" / "astronaut.png") as opened:
        part = ImageOps.fit(opened.convert("RGB"), (WIDTH, HEIGHT), centering=(0.5, 0.1))
    return part.point([round(0.08 * level) for level in range(256)] * 3)


def gradient() -> Image.Image:
    y, x = np.mgrid[0:1:HEIGHT * 1j, 0:1:WIDTH * 1j]  # fmt: skip
    levels = np.stack([40 + 180 * x, 60 + 150 * y, 200 - 90 * x - 60 * y], axis=-1)
    return Image.fromarray(levels.round().astype(np.uint8))


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "white": lambda: flat(255, 255, 255),
    "black": lambda: flat(0, 0, 0),
    "red": lambda: flat(255, 0, 0),
    "greys": patchwork,
    "text": text,
    "noise": noise,
    "line art": line_art,
    "dark": dark,
    "gradient": gradient,
}
SHOWN: dict[str, tuple[str, Callable[[Image.Image], Image.Image]]] = {
    "noise": ("a part, 4 times as large", lambda image: enlarged(image, 4)),
    "dark": ("10 times as bright", lambda image: image.point(lambda level: min(10 * level, 255))),
}


def enlarged(image: Image.Image, times: int) -> Image.Image:
    part = image.crop((0, 0, WIDTH // times, HEIGHT // times))
    return part.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)


class Decoded(NamedTuple):
    """A picture after one codec; an error that is not a number has no region to be measured in."""

    pixels: Any
    bytes: int
    psnr: float
    shift: list[float]
    """Mean of the decoded minus mean of the original, of R, G and B."""
    far_error: float
    """Largest absolute error further than FAR pixels from any edge."""


def far_from_edges(pixels: Any) -> Any:
    """Return where no two neighbours within FAR pixels differ; the border is no edge."""
    differs = np.zeros(pixels.shape[:2], bool)
    differs[1:] |= (pixels[1:] != pixels[:-1]).any(axis=-1)
    differs[:, 1:] |= (pixels[:, 1:] != pixels[:, :-1]).any(axis=-1)
    sums = np.pad(np.pad(differs, FAR).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    side = 2 * FAR + 1
    return sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] == -sums[:-side, :-side]


def compared(original: Any, pixels: Any, size: int) -> Decoded:
    error = pixels.astype(float) - original
    far = np.abs(error)[far_from_edges(original)]
    largest = far.max() if far.size else math.nan
    shift = error.mean(axis=(0, 1)).tolist()
    return Decoded(pixels, size, psnr_rgb(original, pixels), shift, largest)


def pillow(image: Image.Image, **options: Any) -> Decoded:
    with io.BytesIO() as file:
        image.save(file, **options)
        with Image.open(file) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        return compared(np.asarray(image), pixels, len(file.getvalue()))


def measure(codec: Codec, image: Image.Image) -> dict[str, Decoded]:
    original = np.asarray(image)
    files = {q: codec.compress(Picture(original), quality=q) for q in QUALITIES}
    return {
        **{
            f"q{q}": compared(original, codec.decompress(f).pixels, len(f))
            for q, f in files.items()
        },
        "PNG": pillow(image, format="PNG", optimize=True),
        "WebP lossless": pillow(image, format="WEBP", lossless=True, quality=100, method=6),
        "WebP 50": pillow(image, format="WEBP", quality=50, method=6),
    }


def decibels(value: float) -> str:
    return f"{value:.1f} dB" if math.isfinite(value) else "exact"


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    columns = head.count("|") + 1
    lines = [f"| {head} |", "|---" * columns + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def report(model: str, found: dict[str, dict[str, Decoded]]) -> str:
    ours = [f"q{quality}" for quality in QUALITIES]
    codecs = [*ours, "PNG", "WebP lossless", "WebP 50"]
    heads = " | ".join(codecs)
    sizes = ([name, *(str(row[c].bytes) for c in codecs)] for name, row in found.items())
    quality = ([name, *(decibels(row[c].psnr) for c in codecs)] for name, row in found.items())
    errors = (
        [name, codec, *(f"{shift:+.2f}" for shift in row[codec].shift)]
        + ["-" if math.isnan(row[codec].far_error) else f"{row[codec].far_error:.0f}"]
        for name, row in found.items()
        for codec in (*ours, "WebP 50")
    )
    return f"""# Unusual pictures

Drawn pictures of {WIDTH} x {HEIGHT} pixels, compressed with the model `{model}` and by Pillow, made by
`python benchmarks/unusual.py`.

{MEANING}
![Originals and decoded pictures](plots/unusual.png)

## Size in bytes

{table("picture | " + heads, sizes)}
## PSNR

{table("picture | " + heads, quality)}
## Errors in levels of 255

Colour shift is the mean of the decoded picture minus that of the original. Far from edges are pixels
with nothing but their own colour within {FAR} pixels; a picture without any has a dash there.

{table("picture | codec | R | G | B | largest error far from edges", errors)}"""


def sheet(images: dict[str, Image.Image], found: dict[str, dict[str, Decoded]]) -> Image.Image:
    columns = 1 + len(QUALITIES)
    size = (columns * (WIDTH + GAP) + GAP, len(images) * (HEIGHT + CAPTION + GAP) + GAP)
    result = Image.new("RGB", size, (205, 205, 205))
    draw = ImageDraw.Draw(result)
    for row, (name, image) in enumerate(images.items()):
        note, show = SHOWN.get(name, ("", lambda picture: picture))
        png, lossless, webp = (found[name][c] for c in ("PNG", "WebP lossless", "WebP 50"))
        title = f"{name} (shown: {note})" if note else name
        sizes = f"PNG {png.bytes} B, WebP lossless {lossless.bytes} B, "
        captions = [f"{title}\n{sizes}WebP 50 {webp.bytes} B, {decibels(webp.psnr)}"]
        shown = [image]
        for quality in QUALITIES:
            ours = found[name][f"q{quality}"]
            captions.append(f"quality {quality}\n{ours.bytes} B, {decibels(ours.psnr)}")
            shown.append(Image.fromarray(ours.pixels))
        top = GAP + row * (HEIGHT + CAPTION + GAP)
        for column, (caption, part) in enumerate(zip(captions, shown, strict=True)):
            left = GAP + column * (WIDTH + GAP)
            result.paste(show(part), (left, top))
            draw.text((left, top + HEIGHT + 3), caption, "black", ImageFont.load_default(12))
    return result


def save_sheet(image: Image.Image, path: Path) -> None:
    """Save a PNG that is not too large, with fewer colours or pixels if need be."""
    image.save(path, optimize=True)
    for width in (image.width, 1200, 900):
        if path.stat().st_size <= MAX_SHEET_BYTES:
            return
        smaller = image.resize((width, image.height * width // image.width))
        smaller.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="name or path; the default model if not given")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    codec = Codec(options.model)
    images = {name: draw() for name, draw in PICTURES.items()}
    found = {name: measure(codec, image) for name, image in images.items()}
    (options.out / "plots").mkdir(parents=True, exist_ok=True)
    (options.out / "unusual.md").write_text(report(codec.entry.name, found), encoding="utf-8")
    save_sheet(sheet(images, found), options.out / "plots" / "unusual.png")


if __name__ == "__main__":
    main()
