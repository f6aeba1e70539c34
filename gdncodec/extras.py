"""Packages that only some commands need."""

from importlib.util import find_spec

from gdncodec.errors import GdnCodecError

__all__ = ["check_installed"]


def check_installed(*modules: str, extra: str) -> None:
    """Raise an error if a package is missing, before hours of work and not after them.

    Args:
        modules: top-level modules.
        extra: name of the extra of this package that installs them.

    Raises:
        GdnCodecError: one of the modules cannot be imported.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        msg = f"{', '.join(missing)} not installed: pip install 'gdncodec[{extra}]'"
        raise GdnCodecError(msg)
