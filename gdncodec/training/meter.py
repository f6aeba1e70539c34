"""Training figures, summed on the device and read by the host at intervals."""

import torch
from torch import Tensor

from gdncodec.training.distributed import Workers

__all__ = ["Meter"]

_FIGURES = ("loss", "bpp", "psnr")


class Meter:
    """Means of loss, bpp and PSNR, and counts of skipped steps.

    Args:
        team: the processes that train; the means are over all of them.
    """

    def __init__(self, team: Workers) -> None:
        self._team = team
        # Steps done, steps skipped, and sums of the figures over the steps done.
        self._sums = torch.zeros(2 + len(_FIGURES), device=team.device)
        self._in_a_row = torch.zeros((), device=team.device)
        self._totals = [0.0] * len(self._sums)

    @torch.no_grad()
    def add(self, bad: Tensor, figures: Tensor) -> None:
        """Add a step, without waiting for the device.

        Args:
            bad: whether the step was skipped, bool ().
            figures: loss, bpp and PSNR, (3,).
        """
        counts = torch.stack([~bad, bad]).float()
        self._sums += torch.cat([counts, torch.where(bad, 0.0, figures)])
        self._in_a_row = (self._in_a_row + 1) * bad

    def read(self) -> tuple[int, int]:
        """Wait for the device; return steps skipped since the last call, and the current streak."""
        sums = torch.cat([self._team.add(self._sums) / self._team.world, self._in_a_row[None]])
        *values, in_a_row = sums.tolist()
        self._totals = [a + b for a, b in zip(self._totals, values, strict=True)]
        self._sums = torch.zeros_like(self._sums)
        return round(values[1]), round(in_a_row)

    def forget(self) -> None:
        """Reset the streak of skipped steps."""
        self._in_a_row = torch.zeros_like(self._in_a_row)

    def means(self) -> tuple[int, dict[str, float]]:
        """Return the number of steps read since the last call, and their mean figures by name."""
        done, skipped, *sums = self._totals
        self._totals = [0.0] * len(self._totals)
        means = {k: v / done if done else float("nan") for k, v in zip(_FIGURES, sums, strict=True)}
        return round(done + skipped), means
