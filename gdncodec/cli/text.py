"""Text for the terminal."""

__all__ = ["printable", "size_text"]


def printable(text: str) -> str:
    r"""Return a line that stays one line on any terminal.

    What cannot be shown, such as a line break in a file's name, becomes an escape.

    >>> printable("a\nb.png")
    'a\\nb.png'
    """
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def size_text(count: int) -> str:
    """Return a number of bytes, rounded.

    >>> size_text(12345)
    '12.3 kB'
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
