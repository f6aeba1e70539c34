"""Text for the terminal."""

__all__ = ["size_text"]


def size_text(count: int) -> str:
    """Return a number of bytes, rounded.

    >>> size_text(12345)
    '12.3 kB'
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
