"""What runs the transforms of a model: arrays in, arrays out.

An engine holds the weights of one model, and ``engine.at(quality)`` gives its transforms at one
quality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rectangle = tuple[slice, slice]

__all__ = ["Engine", "Transforms"]


class Engine(Protocol):
    """Runs the transforms of one model on one device."""

    @property
    def name(self) -> str:
        """Its name, as in :data:`gdncodec.engines.choice.ENGINES`."""
        ...

    @property
    def threads(self) -> int | None:
        """Number of CPU threads; None leaves it to a library."""
        ...

    @property
    def used(self) -> str:
        """The engine and the precision of the transforms that :meth:`at` gave last."""
        ...

    def at(self, quality: float, pixels: int | None = None) -> Transforms:
        """Return the transforms at one quality.

        Args:
            quality: 0 to 100.
            pixels: how many are going to be transformed, for an engine that chooses by it; None
                stands for few.
        """
        ...


class Transforms(Protocol):
    """The analysis and the synthesis of a model at one quality, and the gradient of the synthesis.

    Nothing is computed or loaded before it is needed.
    """

    def analysis(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the latent of an image.

        Args:
            x: (H, W, 3) uint8 or uint16, both sides multiples of 16.

        Returns:
            (M, H/16, W/16) float32.
        """
        ...

    def synthesis(self, y: NDArray[np.float32], depth: int = 8) -> NDArray[Any]:
        """Return the image of a latent.

        Args:
            y: (M, H/16, W/16) float32.
            depth: 8 or 16 bits per sample.

        Returns:
            (H, W, 3) uint8 or uint16.
        """
        ...

    def error_gradient(
        self, y: NDArray[np.float32], x: NDArray[Any], where: Rectangle
    ) -> NDArray[np.float32]:
        """Return the gradient of the squared error of an image with respect to its latent.

        Args:
            y: (M, H/16, W/16) float32.
            x: (h, w, 3) uint8 or uint16, what a part of the image should be.
            where: rows and columns of that part; errors elsewhere do not count.

        Returns:
            (M, H/16, W/16), the gradient of the sum of squared errors of samples in [0, 1].
        """
        ...
