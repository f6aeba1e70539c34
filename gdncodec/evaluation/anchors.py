"""The anchors: classical codecs, each at its best settings for PSNR on RGB.

Every anchor runs on one thread, as in the published comparisons, and writes no metadata. JPEG,
JPEG 2000, WebP and AVIF come with Pillow; JPEG XL with ``pillow-jxl-plugin``; HEIC with
``pillow-heif``.
"""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, features

from gdncodec.container import ColorMode
from gdncodec.errors import GdnCodecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gdncodec.images.raster import RasterImage

__all__ = ["ANCHORS", "Anchor", "find_anchor"]


@dataclass(frozen=True)
class Anchor:
    """One classical codec.

    Args:
        name: its name on the command line.
        label: its name in tables and plots.
        pillow_format: Pillow's name of the format.
        qualities: the qualities that draw its curve, about 0.1 to 2 bits per pixel.
        scale: what the quality means.
        settings: Pillow's options at the codec's best.
        fast_settings: options that replace those; several times faster and slightly worse.
        quality_option: turns a quality into Pillow's options for it.
        choices: sets of options of which :meth:`encode` takes the best for each image and quality.
        module: the package to install, as ``pip name: import name``, where Pillow needs one.
        feature: Pillow's feature, where its build may lack it.
        quality_range: smallest and largest quality that make sense.
        step: smallest difference of two qualities.
        fast: whether ``fast_settings`` apply.
    """

    name: str
    label: str
    pillow_format: str
    qualities: tuple[float, ...]
    scale: str = "quality 0 to 100"
    settings: dict[str, Any] = field(default_factory=dict)
    fast_settings: dict[str, Any] = field(default_factory=dict)
    quality_option: Callable[[float], dict[str, Any]] = lambda quality: {"quality": round(quality)}
    choices: tuple[dict[str, Any], ...] = ()
    module: tuple[str, str] | None = None
    feature: str | None = None
    quality_range: tuple[float, float] = (0, 100)
    step: float = 1
    fast: bool = False

    def missing(self) -> str | None:
        """Return why the codec cannot be used here, or None where it can."""
        if self.feature and not features.check(self.feature):
            return f"{self.label}: this Pillow was built without {self.feature}"
        if self.module:
            package, name = self.module
            try:
                module = importlib.import_module(name)
            except ImportError:
                return f"{self.label}: not installed (pip install {package})"
            getattr(module, "register_heif_opener", lambda **_: None)()
        return None

    def version(self) -> str:
        """Return the versions of the libraries that encode and decode."""
        from importlib.metadata import version

        parts = [f"Pillow {version('pillow')}"]
        if self.feature and features.version(self.feature):
            parts.append(f"{self.feature} {features.version(self.feature)}")
        if self.module:
            parts.append(f"{self.module[0]} {version(self.module[0])}")
        return ", ".join(parts)

    def description(self) -> str:
        """Return settings and versions in one line, for the result files."""
        options = ", ".join(f"{k}={v}" for k, v in self._options().items())
        if self.choices:
            best = " or ".join(", ".join(f"{k}={v}" for k, v in c.items()) for c in self.choices)
            options += f", the better of {best} at each point"
        return f"{options}; {self.scale}; {self.version()}"

    def encode(self, image: RasterImage, quality: float) -> bytes:
        """Return the bytes of a file without metadata.

        Where there are ``choices``, the first one sets the size. Each other one is searched for the
        quality that gives the largest file of no more than that size, and the file with the
        smallest squared error is taken.
        """
        pil_image = Image.fromarray(image.pixels)
        if image.color_mode == ColorMode.GREY:
            pil_image = pil_image.convert("L")
        if not self.choices or pil_image.mode == "L":
            return self._save(pil_image, quality, {})
        first, *others = self.choices
        best = self._save(pil_image, quality, first)
        files = [best, *(self._largest_within(pil_image, len(best), choice) for choice in others)]
        return min(filter(None, files), key=lambda data: self._error(data, image.pixels))

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Return the image, uint8 (H, W, 3)."""
        with Image.open(io.BytesIO(data), formats=[self.pillow_format]) as image:
            pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
        return pixels

    def estimated_bits(self, data: bytes) -> float | None:
        """Return None: a classical codec offers no estimate."""
        del data
        return None

    def _options(self) -> dict[str, Any]:
        return {**self.settings, **(self.fast_settings if self.fast else {})}

    def _save(self, image: Image.Image, quality: float, choice: dict[str, Any]) -> bytes:
        buffer = io.BytesIO()
        options = {**self._options(), **self.quality_option(quality), **choice}
        image.save(buffer, self.pillow_format, **options)
        return buffer.getvalue()

    def _largest_within(self, image: Image.Image, size: int, choice: dict[str, Any]) -> bytes:
        """Return the largest file of at most ``size`` bytes over whole qualities, or nothing."""
        low, high, best = 0, 100, b""
        while low <= high:
            middle = (low + high) // 2
            data = self._save(image, middle, choice)
            if len(data) <= size:
                best, low = data, middle + 1
            else:
                high = middle - 1
        return best

    def _error(self, data: bytes, pixels: NDArray[np.uint8]) -> float:
        return float(np.square(pixels.astype(np.float32) - self.decode(data)).mean())


ANCHORS: dict[str, Anchor] = {
    anchor.name: anchor
    for anchor in (
        Anchor(
            name="jpeg",
            label="JPEG",
            pillow_format="JPEG",
            qualities=(3, 6, 10, 15, 25, 40, 55, 70, 80, 88, 93),
            settings={"optimize": True, "progressive": True},
            choices=({"subsampling": "4:4:4"}, {"subsampling": "4:2:0"}),
            feature="jpg",
        ),
        Anchor(
            name="jpeg2000",
            label="JPEG 2000",
            pillow_format="JPEG2000",
            qualities=(24, 26, 28, 30, 32, 34, 36, 38, 40, 42),
            scale="quality is the PSNR asked for, in dB",
            settings={"quality_mode": "dB", "irreversible": True, "mct": 1},
            quality_option=lambda quality: {"quality_layers": [quality]},
            feature="jpg_2000",
            quality_range=(15, 60),
            step=0.05,
        ),
        Anchor(
            name="webp",
            label="WebP",
            pillow_format="WEBP",
            qualities=(0, 5, 15, 30, 45, 60, 75, 83, 89, 94, 97),
            settings={"method": 6},
            feature="webp",
        ),
        Anchor(
            name="avif",
            label="AVIF",
            pillow_format="AVIF",
            qualities=(10, 20, 30, 40, 50, 60, 70, 80),
            settings={
                "speed": 0,
                "subsampling": "4:4:4",
                "max_threads": 1,
                "advanced": {"tune": "psnr"},
            },
            fast_settings={"speed": 6},
            feature="avif",
        ),
        Anchor(
            name="jxl",
            label="JPEG XL",
            pillow_format="JXL",
            qualities=(5, 15, 30, 45, 60, 70, 80, 87, 92, 95),
            settings={"effort": 9, "num_threads": 1},
            fast_settings={"effort": 7},
            module=("pillow-jxl-plugin", "pillow_jxl"),
            quality_range=(1, 99),
        ),
        Anchor(
            name="heic",
            label="HEIC",
            pillow_format="HEIF",
            qualities=(5, 12, 20, 28, 36, 44, 52, 60),
            settings={"chroma": "444", "enc_params": {"preset": "placebo", "tune": "psnr"}},
            fast_settings={"enc_params": {"preset": "slow", "tune": "psnr"}},
            module=("pillow-heif", "pillow_heif"),
        ),
    )
}
"""Every anchor by its name."""


def find_anchor(name: str, *, fast: bool = False) -> Anchor:
    """Return the anchor of that name.

    Args:
        name: a key of :data:`ANCHORS`.
        fast: use the faster settings.

    Raises:
        UsageError: there is no such anchor.
        GdnCodecError: the package that offers it is not installed.
    """
    from dataclasses import replace

    if name not in ANCHORS:
        msg = f"no anchor named {name!r}; there are: {', '.join(ANCHORS)}"
        raise UsageError(msg)
    anchor = replace(ANCHORS[name], fast=fast)
    reason = anchor.missing()
    if reason:
        raise GdnCodecError(reason)
    return anchor
