"""Errors that a caller may want to catch; everything else is a defect or a caller's mistake."""

__all__ = ["FormatError", "GdnCodecError", "ImageError", "ModelError", "one_line"]


class GdnCodecError(Exception):
    """Base of every error this package raises about its input."""


class FormatError(GdnCodecError):
    """A ``.gdn`` file is damaged, truncated, of an unknown version, or over a limit."""


class ModelError(GdnCodecError):
    """A model file is missing, damaged, or not the one that is needed."""


class ImageError(GdnCodecError):
    """An image cannot be read, or is of a kind that is not supported."""


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line; the name of its type if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
