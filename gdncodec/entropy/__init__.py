"""Symbols to bytes and back, in integers."""
