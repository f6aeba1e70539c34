"""Slices and tiles of a latent, and the transforms run over them."""
