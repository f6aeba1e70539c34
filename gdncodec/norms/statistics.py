"""Code that layers share: input checks, the precision of statistics, freezing statistics."""

import torch
from torch import Tensor, nn

__all__ = [
    "RunningStatistics",
    "check_shape",
    "freeze_stats",
    "per_channel",
    "spatial_axes",
    "widen",
]


def check_shape(x: Tensor, channels: int, smallest_rank: int) -> None:
    """Raise ValueError unless ``x`` is (N, channels, ...) of rank ``smallest_rank`` to 5."""
    if not smallest_rank <= x.ndim <= 5 or x.shape[1] != channels:
        axes = ", *S" if smallest_rank > 2 else " or with spatial axes"
        msg = f"expected (N, {channels}{axes}), rank {smallest_rank} to 5, got {tuple(x.shape)}"
        raise ValueError(msg)


def widen(x: Tensor, parameter: Tensor) -> Tensor:
    """Return ``x`` in the type for computation: at least float32, and that of x and the layer."""
    wide = torch.promote_types(torch.promote_types(x.dtype, parameter.dtype), torch.float32)
    return x.to(wide)


def spatial_axes(x: Tensor) -> tuple[int, ...]:
    """Return the axes after batch and channel."""
    return tuple(range(2, x.ndim))


def per_channel(v: Tensor, x: Tensor) -> Tensor:
    """Return ``v`` (C,) in the type of ``x`` and in a shape that broadcasts against it."""
    return v.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))


class RunningStatistics(nn.Module):
    """Base of layers that use the batch's statistics in training and stored ones at inference."""

    frozen = False
    """With frozen statistics, training uses the stored ones as inference does."""

    @property
    def uses_batch(self) -> bool:
        """Whether the next forward pass uses the batch's statistics, and stores them."""
        return self.training and not self.frozen


def freeze_stats(module: nn.Module, *, frozen: bool = True) -> None:
    """Freeze or unfreeze the running statistics of every layer below ``module``.

    For the last part of training: the rest of the network then learns to work with the constants
    that inference uses. Parameters are still trained. The state is not part of a checkpoint; call
    this again after loading one.
    """
    for layer in module.modules():
        if isinstance(layer, RunningStatistics):
            layer.frozen = frozen
