"""Rate-distortion evaluation: metrics, classical codecs, curves, plots and the report."""

__all__ = ["COMPARED_ANCHORS", "EVALUATED_ANCHORS", "MAX_BPP"]

MAX_BPP = 1000
"""Bits per pixel above which a wanted size is taken for a mistake."""

EVALUATED_ANCHORS = ("jpeg", "jpeg2000", "webp", "avif", "jxl", "heic")
"""Names of the classical codecs that ``eval`` measures by default: all there are."""

COMPARED_ANCHORS = ("jpeg", "webp", "avif", "jxl")
"""Names of the classical codecs that ``compare`` shows by default."""
