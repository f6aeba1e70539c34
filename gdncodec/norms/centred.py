"""The convolution that the authors of MABN centre."""

from torch import Tensor, nn

__all__ = ["CentredConv2d"]


class CentredConv2d(nn.Conv2d):
    r"""Convolution whose weights have mean zero in each output channel, for use with MABN.

    .. math::
        w'_{oikl} = w_{oikl} - \tfrac{1}{I K L} \sum_{ikl} w_{oikl}

    MABN subtracts no mean, so its authors centre the weights instead. In a codec this is for inner
    analysis convolutions only. A centred first convolution maps every flat image to the same
    output, so the brightness would be lost; a centred last one would do the same to the latent. A
    transposed convolution cannot be centred this way: each of its stride phases uses a part of the
    kernel, and the parts do not have mean zero, which shows as a checkerboard.

    Source: Yan et al., arXiv 2001.06838; see :class:`gdncodec.norms.mabn.MABN`.

    Args and shape: those of torch.nn.Conv2d.
    """

    def effective_weight(self) -> Tensor:
        """Return the centred weights."""
        return self.weight - self.weight.mean((1, 2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.effective_weight(), self.bias)
