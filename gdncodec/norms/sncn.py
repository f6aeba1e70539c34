"""Cross normalisation followed by self normalisation."""

from torch import Tensor, nn

from gdncodec.norms.crossnorm import CrossNorm
from gdncodec.norms.selfnorm import SelfNorm

__all__ = ["SNCN"]


class SNCN(nn.Module):
    """:class:`CrossNorm`, then :class:`SelfNorm`, on the same tensor.

    At inference it is only the SelfNorm. It has no nonlinearity of its own.

    Source: Tang et al., CrossNorm and SelfNorm, arXiv 2102.02811.

    Args:
        channels: number of channels C.
        inverse: the form for the synthesis, in which the CrossNorm acts only when activated.
        two_gates: see :class:`SelfNorm`.
        probability, places, crop, shuffle_channels, mix: see :class:`CrossNorm`.

    Shape: (N, C, L), (N, C, H, W) or (N, C, D, H, W), floating-point; N at least 2 in
        training. The output has the same shape and type.

    Raises:
        ValueError: as for the two layers.
    """

    def __init__(
        self,
        channels: int,
        *,
        inverse: bool = False,
        two_gates: bool = False,
        probability: float = 0.25,
        places: int = 0,
        crop: str = "neither",
        shuffle_channels: bool = False,
        mix: float = 0.0,
    ) -> None:
        super().__init__()
        self.cross = CrossNorm(
            channels,
            inverse=inverse,
            probability=probability,
            places=places,
            crop=crop,
            shuffle_channels=shuffle_channels,
            mix=mix,
        )
        self.self_norm = SelfNorm(channels, two_gates=two_gates)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.self_norm(self.cross(x))
        return y
