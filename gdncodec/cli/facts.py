"""Facts about models that several commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdncodec.config import ModelConfig

__all__ = ["facts_of_norms"]


def facts_of_norms(config: ModelConfig) -> dict[str, str]:
    """Return the names of a model's norms, and their tile class."""
    from gdncodec.norms import TileClass, norm_info

    names = {"norm": config.norm, "synthesis_norm": config.synthesis_norm}
    try:
        classes = [norm_info(name).tile for name in names.values()]
    except ValueError:
        return {**names, "tile_class": "unknown: the norm is not registered"}
    # The class of a codec is that of its less local transform.
    return {**names, "tile_class": max(classes, key=list(TileClass).index).value}
