"""Interpolation between the few qualities, the nodes, at which parameters are learned."""

from typing import NamedTuple

import torch
from torch import Tensor

from gdncodec.config import rate_position

__all__ = ["Place", "place"]


class Place(NamedTuple):
    """The places of the qualities of a batch among K nodes, evenly spaced in log lambda."""

    left: Tensor
    """Index of the node below, int64 (N,)."""
    part: Tensor
    """Fraction of the way from there to the next node, (N, 1)."""

    def of(self, values: Tensor) -> Tensor:
        """Interpolate values (K, C) at the nodes linearly: (N, C, 1, 1) at the qualities."""
        here = torch.lerp(values[self.left], values[self.left + 1], self.part)
        return here[:, :, None, None]


def place(quality: Tensor, nodes: int) -> Place:
    """Return the places of qualities (N,); those outside 0 to 100 extend the outer segments."""
    way = rate_position(quality.clamp(-10, 110)) * (nodes - 1)
    left = way.floor().clamp(0, nodes - 2)
    return Place(left.long(), (way - left)[:, None])
