"""Where computing in bfloat16 costs nothing that can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdncodec.config import ModelConfig

__all__ = ["BFLOAT16_QUALITY", "bfloat16_pays"]

BFLOAT16_QUALITY = 50.0
"""Up to this quality, bfloat16 in encoder and decoder costs at most 0.01 dB at the same size.

Measured on six Kodak images with the model ``photo``; see ``docs/performance.md``.
"""


def bfloat16_pays(config: ModelConfig, quality: float) -> bool:
    """Return whether a model may compute in bfloat16 at a quality, 0 to 100.

    One that is trained on MS-SSIM may not: the limit is one of PSNR.
    """
    return config.metric == "mse" and quality <= BFLOAT16_QUALITY
