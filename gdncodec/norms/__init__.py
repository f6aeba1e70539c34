"""Normalisation layers, by name."""

from collections.abc import Callable

from torch import nn

from gdncodec.norms.gdn import GDN, GDN1

__all__ = ["NORMS", "make_norm"]

NORMS: dict[str, Callable[..., nn.Module]] = {
    "gdn": GDN,
    "gdn1": GDN1,
}


def make_norm(name: str, channels: int, *, inverse: bool = False) -> nn.Module:
    """Build the normalisation layer called ``name`` for ``channels`` channels.

    Args:
        name: one of ``NORMS``.
        channels: number of channels.
        inverse: the form for the synthesis transform.

    Raises:
        ValueError: there is no layer of that name.
    """
    if name not in NORMS:
        msg = f"unknown norm {name!r}; choose one of {', '.join(sorted(NORMS))}"
        raise ValueError(msg)
    return NORMS[name](channels, inverse=inverse)
