"""Numbers that are learned at a few qualities, and what they are between those."""

from typing import NamedTuple

import torch
from torch import Tensor

from gdncodec.config import rate_position

__all__ = ["Place", "place"]


class Place(NamedTuple):
    """Where the qualities of a batch lie among K nodes, evenly spaced in log lambda."""

    left: Tensor
    """Number of the node below, int64 (N,)."""
    part: Tensor
    """How far it is from there to the next one, (N, 1)."""

    def of(self, values: Tensor) -> Tensor:
        """Return what values (K, C) at the nodes are at the qualities, linearly: (N, C, 1, 1)."""
        here = torch.lerp(values[self.left], values[self.left + 1], self.part)
        return here[:, :, None, None]


def place(quality: Tensor, nodes: int) -> Place:
    """Return where qualities (N,) lie; those outside of 0 to 100 continue the outer segments."""
    way = rate_position(quality.clamp(-10, 110)) * (nodes - 1)
    left = way.floor().clamp(0, nodes - 2)
    return Place(left.long(), (way - left)[:, None])
