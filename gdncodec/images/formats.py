"""Image formats that Pillow reads and writes, with those of plugins wherever they are installed."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["missing_plugin", "readable_suffixes", "register_plugins", "without_plugin"]


class _Plugin(NamedTuple):
    package: str
    module: str
    suffixes: tuple[str, ...]


_PLUGINS = (
    _Plugin("pillow-heif", "pillow_heif", (".heic", ".heics", ".heif", ".heifs", ".hif")),
    _Plugin("pillow-jxl-plugin", "pillow_jxl", (".jxl",)),
)


@lru_cache(maxsize=1)
def register_plugins() -> None:
    """Make Pillow know the formats of the plugins that are installed; the second call is free."""
    Image.init()
    for plugin in _PLUGINS:
        with suppress(ImportError, OSError):  # not installed, or not for this system
            module = import_module(plugin.module)
            if hasattr(module, "register_heif_opener"):
                module.register_heif_opener()


def readable_suffixes() -> set[str]:
    """Return the suffixes, such as ``.jpg``, of all formats that can be read."""
    register_plugins()
    return {s for s, name in Image.registered_extensions().items() if name in Image.OPEN}


def missing_plugin(suffix: str) -> str | None:
    """Return what a file with this suffix needs, if that is a plugin that is not installed."""
    register_plugins()
    for plugin in _PLUGINS:
        if (
            suffix.lower() in plugin.suffixes
            and suffix.lower() not in Image.registered_extensions()
        ):
            return f"{suffix} needs {plugin.package}: pip install 'gdncodec[formats]'"
    return None


def without_plugin(paths: Iterable[Path]) -> list[str]:
    """Return one line for every kind of image among the files that a missing plugin would read."""
    skipped: dict[str, list[str]] = {}
    for path in paths:
        reason = missing_plugin(path.suffix)
        if reason:
            skipped.setdefault(reason, []).append(path.name)
    return [
        f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}: {reason}"
        for reason, names in skipped.items()
    ]
