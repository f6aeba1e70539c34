"""Rate-distortion evaluation: metrics, classical codecs, curves, plots and the report."""
