"""Codecs by their specs: what is known of them, and the opened codecs themselves."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gdncodec.errors import GdnCodecError, UsageError
from gdncodec.evaluation.anchors import find_anchor
from gdncodec.evaluation.codecs import CodecSpec, MeasuredCodec, open_codec
from gdncodec.evaluation.measurements import CodecInfo
from gdncodec.images.raster import RasterImage

__all__ = ["describe_codecs", "installed_anchors", "opened"]


def installed_anchors(names: Sequence[str], fast: bool) -> tuple[list[CodecSpec], list[str]]:
    """Return the anchors that are installed, and why the others are not.

    Raises:
        UsageError: there is no anchor of a name.
    """
    reasons = {name: _missing(name) for name in dict.fromkeys(names)}
    specs = [CodecSpec("anchor", n, (n,), fast=fast) for n, why in reasons.items() if why is None]
    return specs, [why for why in reasons.values() if why is not None]


def _missing(name: str) -> str | None:
    try:
        find_anchor(name)
    except UsageError:
        raise
    except GdnCodecError as error:
        return str(error)
    return None


def describe_codecs(
    specs: Sequence[CodecSpec], qualities: Sequence[float] | None = None
) -> list[CodecInfo]:
    """Return what is known of codecs before anything is measured.

    Args:
        specs: the codecs.
        qualities: qualities for the models of variable rate; None takes those of each codec.

    Raises:
        GdnCodecError: a model is missing, or an anchor is not installed.
        UsageError: two codecs have one name.
    """
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        msg = f"codecs must have different names, got {', '.join(names)}; write NAME=FILE"
        raise UsageError(msg)
    infos = []
    for spec in specs:
        codec = open_codec(spec)
        chosen = codec.qualities
        if qualities and spec.learned and codec.step:
            chosen = tuple(sorted(set(map(float, qualities))))
        description = codec.description()
        key = spec.key(description)
        infos.append(
            CodecInfo(spec.name, codec.label, description, chosen, key, spec.learned, spec.norm)
        )
    return infos


@lru_cache(maxsize=16)
def opened(spec: CodecSpec) -> MeasuredCodec:
    """Return a codec that has been warmed up; the same one each time in one process.

    Raises:
        GdnCodecError: it cannot be used.
    """
    codec = open_codec(spec)
    side = 64
    pixels = np.add.outer(np.arange(side), np.arange(side))[..., None] + np.zeros(3)
    data = codec.encode(RasterImage(pixels.astype(np.uint8)), codec.qualities[0])
    codec.decode(data)
    return codec
