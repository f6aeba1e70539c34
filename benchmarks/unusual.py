"""What the codec does to images that are not well-lit photographs.

    python benchmarks/unusual.py [--model MODEL]

Images are drawn, compressed at several qualities, and as PNG and WebP by Pillow. The numbers
go to ``docs/unusual.md``, the images, side by side, to ``docs/plots/unusual.webp``.
"""

import argparse
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw, ImageFont, ImageOps

from gdncodec.codec import Codec
from gdncodec.evaluation.metrics import psnr_rgb
from gdncodec.images.raster import RasterImage

ROOT = Path(__file__).resolve().parents[1]
SIZE = WIDTH, HEIGHT = 384, 256
QUALITIES = (20, 50, 80)
FAR = 48  # pixels
PILLOW: dict[str, dict[str, Any]] = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP lossless": {"format": "WEBP", "method": 6, "lossless": True, "quality": 100},
    "WebP 50": {"format": "WEBP", "method": 6, "quality": 50},
}
# What is shown of some images: how many times as large, left and top of the part.
PARTS = {"text": (2, 0, 0), "noise": (8, 0, 0), "line art": (2, 90, 64), "dark": (2, 90, 5)}
PARTS["gradient"] = (2, 96, 64)
PAGE = """# Unusual images

Images of 384 x 256 pixels, compressed with the model `{model}` and by Pillow.
`python benchmarks/unusual.py` makes this page.

What to look for: specks around letters and thin lines, contrast that noise loses, tints of flat
regions, and what is lost of the dark image, which has a high PSNR only because its levels are few
and is shown brighter than it is. Lossless WebP, which has no error at all, takes fewer bytes

- than quality {lowest} here: {below_lowest};
- than quality {highest} here: {below_highest}.

![Originals and decoded images](plots/unusual.webp)

## Bytes and PSNR

| image | q20 | q50 | q80 | PNG | WebP lossless | WebP 50 |
|---|---|---|---|---|---|---|
{sizes}
## Errors in levels of 255

Colour shift is the mean of the decoded image minus that of the original. The last two columns
are the largest error in flat regions, further than {far} pixels from any edge: inside the image,
and within {far} pixels of its border. A dash means that there is no such region.

| image | codec | shift of R | of G | of B | error inside | at the border |
|---|---|---|---|---|---|---|
{errors}
## Flat colours in levels of 255

The largest shift of a channel, of {colours} images of one colour: greys, the corners of the RGB
cube, and any. The three rows of a block have nearly the same bits per pixel on photographs.

| quality | mean | 90 % are below | largest | mean of the greys |
|---|---|---|---|---|
{tints}"""
# Of about 0.2, 0.5 and 1.3 bpp on Kodak.
ALIKE = {"this codec": QUALITIES, "JPEG": (6, 25, 70), "WebP": (5, 30, 83)}


class Decoded(NamedTuple):
    """An image after one codec, and its errors in levels; -1 where there is no flat region."""

    pixels: Any
    bytes: int
    psnr: float
    shift: list[float]
    largest: list[float]

    def __str__(self) -> str:
        return f"{self.bytes} B, " + (f"{self.psnr:.1f} dB" if self.psnr < np.inf else "exact")


def text() -> Image.Image:
    """Return a window with text, and nothing in its lowest third."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, WIDTH, 22), fill=(40, 70, 130))
    draw.text((8, 3), "File   Edit   View   Help", "white", ImageFont.load_default(14))
    colors = {10: "#444", 12: "#c00", 18: "#06c"}
    for size, top in ((8, 28), (10, 42), (12, 58), (14, 76), (18, 96), (24, 120)):
        line = f"{size} pixels: the quick brown fox jumps over 0123456789 lazy dogs {{[(;,.)]}}"
        draw.text((8, top), line, colors.get(size, "black"), ImageFont.load_default(size))
    return image


def line_art() -> Image.Image:
    """Return lines and circles of one pixel, and nothing in the right third."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    for n in range(13):
        draw.line((8, 8 + 9 * n, 120, 8 + 4 * n), "black")
        draw.line((8 + 9 * n, 140, 8 + 9 * n, 248), "black")
        for y, color in ((68, "black"), (190, ("red", "green", "blue")[n % 3])):
            draw.ellipse((186 - 4 * n, y - 4 - 4 * n, 194 + 4 * n, y + 4 + 4 * n), outline=color)
    return image


def images() -> dict[str, Image.Image]:
    greys = np.array([[112, 128, 144], [136, 120, 104]], np.uint8).repeat(128, 0).repeat(128, 1)
    noise = np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    dark = ImageOps.fit(Image.open(ROOT / "data/astronaut.png"), SIZE, centering=(0.5, 0.1))
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    gradient = np.stack([40 + 180 * x, 60 + 150 * y, 200 - 90 * x - 60 * y], axis=-1)
    return {
        **{color: Image.new("RGB", SIZE, color) for color in ("white", "black", "red")},
        "greys": Image.fromarray(greys).convert("RGB"),
        "text": text(),
        "noise": Image.fromarray(noise),
        "line art": line_art(),
        "dark": dark.point(lambda level: round(0.08 * level)),
        "gradient": Image.fromarray(gradient.round().astype(np.uint8)),
    }


def shown(name: str, image: Image.Image) -> Image.Image:
    """Return an image or its most telling part; a dark one is brightened."""
    times, left, top = PARTS.get(name, (1, 0, 0))
    image = image.point(lambda level: min(10 * level, 255)) if name == "dark" else image
    part = image.crop((left, top, left + WIDTH // times, top + HEIGHT // times))
    return part.resize(SIZE, Image.Resampling.NEAREST)


def far_from_edges(pixels: Any) -> Any:
    """Return where no two neighbours within FAR pixels differ; the border is no edge."""
    differs = np.zeros(pixels.shape[:2], bool)
    differs[1:] |= (pixels[1:] != pixels[:-1]).any(axis=-1)
    differs[:, 1:] |= (pixels[:, 1:] != pixels[:, :-1]).any(axis=-1)
    in_rows = sliding_window_view(np.pad(differs, FAR), 2 * FAR + 1, axis=1).any(axis=-1)
    return ~sliding_window_view(in_rows, 2 * FAR + 1, axis=0).any(axis=-1)


def compared(image: Image.Image, pixels: Any, size: int) -> Decoded:
    original = np.asarray(image)
    error = pixels.astype(float) - original
    far = far_from_edges(original)
    inside = np.pad(np.ones((HEIGHT - 2 * FAR, WIDTH - 2 * FAR), bool), FAR)
    largest = [np.abs(error)[part].max(initial=-1) for part in (far & inside, far & ~inside)]
    return Decoded(pixels, size, psnr_rgb(original, pixels), [*error.mean(axis=(0, 1))], largest)


def measure(codec: Codec, image: Image.Image) -> dict[str, Decoded]:
    found = {}
    for quality in QUALITIES:
        data = codec.compress(RasterImage(np.asarray(image)), quality)
        found[f"q{quality}"] = compared(image, codec.decompress(data).pixels, len(data))
    for name, options in PILLOW.items():
        image.save(file := io.BytesIO(), **options)
        pixels = np.asarray(Image.open(file).convert("RGB"))
        found[name] = compared(image, pixels, len(file.getvalue()))
    return found


def colours() -> Any:
    """Return some colours (N, 3), the greys first."""
    greys = np.arange(0, 256, 15)[:, None].repeat(3, axis=1)
    corners = [(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)][1:-1]
    return np.concatenate([greys, corners, np.random.default_rng(0).integers(0, 256, (40, 3))])


def shift(color: Any, decode: Callable[[Any], Any]) -> float:
    """Return the largest shift of a channel, in the mean over the middle of a flat image."""
    flat = np.full((128, 192, 3), color, np.uint8)
    return float(np.abs((decode(flat).astype(float) - flat)[32:96, 48:144].mean(axis=(0, 1))).max())


def tints(codec: Codec) -> str:
    """Return rows of a table: the shifts of flat colours."""

    def by_codec(pixels: Any, quality: int) -> Any:
        return codec.decompress(codec.compress(RasterImage(pixels), quality)).pixels

    def by_pillow(pixels: Any, quality: int, kind: str) -> Any:
        Image.fromarray(pixels).save(file := io.BytesIO(), kind, quality=quality)
        return np.asarray(Image.open(file).convert("RGB"))

    greys = (colours() == colours()[:, :1]).all(axis=1)
    rows = ""
    for qualities in zip(*ALIKE.values(), strict=True):
        for name, quality in zip(ALIKE, qualities, strict=True):
            through = by_codec if name == "this codec" else partial(by_pillow, kind=name)
            found = np.array([shift(c, partial(through, quality=quality)) for c in colours()])
            cells = found.mean(), np.quantile(found, 0.9), found.max(), found[greys].mean()
            rows += f"| {name} {quality} | {' | '.join(f'{c:.1f}' for c in cells)} |\n"
    return rows


def page(model: str, found: dict[str, dict[str, Decoded]], tints: str) -> str:
    sizes = errors = ""
    for name, row in found.items():
        sizes += f"| {name} | {' | '.join(map(str, row.values()))} |\n"
        for codec in (codec for codec in row if codec not in ("PNG", "WebP lossless")):
            cells = [f"{value:+.2f}" for value in row[codec].shift]
            cells += ["-" if value < 0 else f"{value:.0f}" for value in row[codec].largest]
            errors += f"| {name} | {codec} | {' | '.join(cells)} |\n"

    def below(quality: int) -> str:
        names = [n for n, r in found.items() if r["WebP lossless"].bytes < r[f"q{quality}"].bytes]
        return ", ".join(names) or "none"

    low, high = QUALITIES[0], QUALITIES[-1]
    return PAGE.format(
        model=model, far=FAR, sizes=sizes, errors=errors, lowest=low, below_lowest=below(low),
        highest=high, below_highest=below(high), tints=tints, colours=len(colours()),
    )  # fmt: skip


def sheet(images: dict[str, Image.Image], found: dict[str, dict[str, Decoded]]) -> Image.Image:
    width, height = WIDTH + 12, HEIGHT + 48
    result = Image.new("RGB", (4 * width + 12, len(images) * height + 12), (205, 205, 205))
    draw = ImageDraw.Draw(result)
    for row, (name, image) in enumerate(images.items()):
        png, lossless, webp = (found[name][codec] for codec in PILLOW)
        sizes = f"PNG {png.bytes} B, WebP lossless {lossless.bytes} B, WebP 50 {webp}"
        note = f", a part, {PARTS[name][0]} times as large" if name in PARTS else ""
        note += " and 10 times as bright" if name == "dark" else ""
        cells = [(f"{name}{note}\n{sizes}", image)]
        for codec, decoded in [*found[name].items()][: len(QUALITIES)]:
            cells.append((f"{codec}: {decoded}", Image.fromarray(decoded.pixels)))
        for column, (caption, part) in enumerate(cells):
            left, top = 12 + column * width, 12 + row * height
            result.paste(shown(name, part), (left, top))
            draw.text((left, top + HEIGHT + 3), caption, "black", ImageFont.load_default(12))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="name or path; the default model if not given")
    codec = Codec(parser.parse_args().model)
    examples = images()
    found = {name: measure(codec, image) for name, image in examples.items()}
    (ROOT / "docs/unusual.md").write_text(
        page(codec.entry.name, found, tints(codec)), encoding="utf-8"
    )
    path = ROOT / "docs/plots/unusual.webp"
    sheet(examples, found).save(path, lossless=True, quality=100, method=6)


if __name__ == "__main__":
    main()
