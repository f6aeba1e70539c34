"""Random crops of the training images."""

import random
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gdncodec.training.synthetic import draw_image

__all__ = ["CropSampler", "images_of_slots"]

_LARGEST_REDUCTION = 2.0


def images_of_slots(count: int, batch: int, slots: Iterable[int]) -> list[int]:
    """Return the sorted indices of the images that some slots of a batch draw from.

    Slot i draws from the images i, i + batch, i + 2 * batch and so on; if there are fewer images
    than slots, from image i modulo the number of images. A process that computes some of the slots
    thus holds only some of the images.

    Args:
        count: number of usable images over all processes.
        batch: number of slots over all processes.
        slots: indices of slots, each 0 or more and below ``batch``.
    """
    return sorted({index for slot in slots for index in _images_of(count, batch, slot)})


def _images_of(count: int, batch: int, slot: int) -> range:
    if 0 < count <= slot:
        return range(slot % count, slot % count + 1)
    return range(slot, count, batch)


class CropSampler:
    """Draws batches of random crops.

    A crop is a square window of an image. Half of the windows have the size of the crop; the
    others are up to twice as large and are downscaled to it with an antialiased bicubic filter.
    Each crop is then rotated and flipped at random into one of its eight symmetries. A share of the
    crops is synthetic instead, see :mod:`gdncodec.training.synthetic`.

    The crop in a slot of a batch is a function of the seed, the step and the slot: it depends
    neither on earlier draws nor on the process that draws it.

    Args:
        images: uint8 tensors (3, H, W): all of them, or those that the slots need, by index.
        crop: side length of a crop in pixels.
        batch: crops per step over all processes.
        seed: random seed.
        slots: which crops of a batch to draw; all by default.
        device: device that holds and crops the images.
        count: number of images over all processes; by default the number given.
        drawn: fraction of the crops, 0 to 1, that are synthetic.

    Raises:
        ValueError: there are no images, an image that a slot draws from is missing, or an image is
            smaller than a crop.
    """

    def __init__(
        self,
        images: Mapping[int, Tensor] | Sequence[Tensor],
        crop: int,
        batch: int,
        seed: int,
        *,
        slots: range | None = None,
        device: torch.device | str = "cpu",
        count: int | None = None,
        drawn: float = 0.0,
    ) -> None:
        held = images if isinstance(images, Mapping) else dict(enumerate(images))
        self.crop = crop
        self.batch = batch
        self.seed = seed
        self.slots = range(batch) if slots is None else slots
        self.device = torch.device(device)
        self.count = len(held) if count is None else count
        self.drawn = drawn
        needed = images_of_slots(self.count, batch, self.slots)
        missing = [index for index in needed if index not in held]
        if missing or not needed:
            what = f"image {missing[0]} of {self.count} is missing" if missing else "no images"
            msg = f"{what}: nothing to draw crops from"
            raise ValueError(msg)
        for index in needed:
            _, height, width = held[index].shape
            if min(height, width) < crop:
                msg = f"image {index} is {width} x {height}, smaller than a crop of {crop}"
                raise ValueError(msg)
        self._images = {index: held[index].to(self.device) for index in needed}

    def draw(self, step: int) -> Tensor:
        """Return the crops of a step.

        Args:
            step: number of the step, from 0.

        Returns:
            (number of slots, 3, crop, crop), float32 in [0, 1], channels_last, on the device.
        """
        shape = (len(self.slots), self.crop, self.crop, 3)
        batch = torch.empty(shape, dtype=torch.uint8, device=self.device).permute(0, 3, 1, 2)
        for place, slot in zip(batch, self.slots, strict=True):
            place.copy_(self._draw_one(random.Random(f"{self.seed}/{step}/{slot}"), slot))
        return batch / 255

    def _draw_one(self, rng: random.Random, slot: int) -> Tensor:
        if rng.random() < self.drawn:
            return draw_image(rng, self.crop)
        image = self._images[rng.choice(_images_of(self.count, self.batch, slot))]
        _, height, width = image.shape
        largest = min(_LARGEST_REDUCTION, min(height, width) / self.crop)
        side = int(self.crop * (rng.uniform(1.0, largest) if rng.random() < 0.5 else 1.0))
        top = rng.randint(0, height - side)
        left = rng.randint(0, width - side)
        window = image[:, top : top + side, left : left + side]
        if side != self.crop:
            window = _reduced(window, self.crop)
        if rng.random() < 0.5:
            window = window.transpose(1, 2)
        return window.flip([axis for axis in (1, 2) if rng.random() < 0.5])


def _reduced(window: Tensor, side: int) -> Tensor:
    """Downscale a square uint8 image (3, H, H) to (3, side, side)."""
    on_cpu = window.device.type == "cpu"
    x = window[None] if on_cpu else window[None].float()  # only the CPU can filter integers
    y = interpolate(x, (side, side), mode="bicubic", antialias=True)[0]
    return y if on_cpu else y.round_().clamp_(0, 255).byte()
