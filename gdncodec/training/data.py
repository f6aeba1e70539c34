"""Training pictures, held in memory and cropped there."""

import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gdncodec.errors import ImageError

__all__ = ["CropSampler", "find_pictures", "read_rgb"]


def find_pictures(folders: Iterable[Path]) -> list[Path]:
    """Return every file below the folders that Pillow knows by its suffix, sorted."""
    suffixes = set(Image.registered_extensions())
    files = (p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in suffixes)
    return sorted(p for p in files if p.is_file())


def read_rgb(path: Path) -> np.ndarray:
    """Return a picture as uint8 (H, W, 3).

    Raises:
        ImageError: the file is not a readable picture.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        msg = f"{path}: not a readable picture ({error})"
        raise ImageError(msg) from error


class CropSampler:
    """Draws batches of random crops, scaled by 0.5 to 1, flipped and turned.

    Args:
        pictures: uint8 arrays (H, W, 3).
        crop: side of a crop in pixels.
        seed: seed of the draws.
    """

    def __init__(self, pictures: list[np.ndarray], crop: int, seed: int) -> None:
        self.pictures = pictures
        self.crop = crop
        self.random = random.Random(seed)

    def draw(self, batch: int) -> Tensor:
        """Return a batch (batch, 3, crop, crop), float32 in [0, 1]."""
        return torch.stack([self._draw_one() for _ in range(batch)])

    def _draw_one(self) -> Tensor:
        picture = self.random.choice(self.pictures)
        height, width, _ = picture.shape
        largest = min(2.0, min(height, width) / self.crop)
        # Half of the crops keep the scale of the picture.
        ratio = self.random.uniform(1.0, largest) if self.random.random() < 0.5 else 1.0
        side = int(self.crop * ratio)
        top = self.random.randint(0, height - side)
        left = self.random.randint(0, width - side)
        part = picture[top : top + side, left : left + side]
        if side != self.crop:
            image = Image.fromarray(part).resize((self.crop, self.crop), Image.Resampling.LANCZOS)
            part = np.asarray(image)
        part = np.rot90(part, self.random.randrange(4))
        if self.random.random() < 0.5:
            part = part[:, ::-1]
        return torch.from_numpy(part.copy()).permute(2, 0, 1).float() / 255
