"""No normalisation."""

from torch import Tensor, nn

__all__ = ["NoNorm"]


class NoNorm(nn.Module):
    """The identity; with the LeakyReLU that the transforms add, a plain convolutional codec.

    It has no nonlinearity of its own.

    Args:
        channels: number of channels; has no effect.
        inverse: has no effect.

    Shape: any.
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x
