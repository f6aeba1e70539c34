"""Engines run the transforms: arrays in, arrays out."""
