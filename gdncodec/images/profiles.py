"""ICC profiles for colours that a file describes in another way."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SRGB_CHROMATICITIES", "profile"]

SRGB_CHROMATICITIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""x and y of white, red, green and blue, in the order of a PNG's cHRM chunk."""

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""Parameters g, a, b, c, d of ICC's parametric curve of type 3."""


def profile(
    gamma: float | None, chromaticities: Sequence[float] | None, *, grey: bool
) -> bytes | None:
    """Return an ICC profile (version 4) for samples of a given curve and given primaries.

    Args:
        gamma: exponent from samples to light; None takes the curve of sRGB.
        chromaticities: as :data:`SRGB_CHROMATICITIES`; None takes those of sRGB.
        grey: make a profile for images of one channel, whose primaries do not matter.

    Returns:
        The profile, or None if the numbers describe no colours.
    """
    curve = _curve(gamma)
    if grey:
        return _assembled(b"GRAY", {b"kTRC": curve})
    columns = _columns(chromaticities or SRGB_CHROMATICITIES)
    if columns is None:
        return None
    tags = {f"{c}XYZ".encode(): _xyz(columns[:, i]) for i, c in enumerate("rgb")}
    return _assembled(b"RGB ", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})


def _columns(chromaticities: Sequence[float]) -> np.ndarray | None:
    """Return XYZ of the primaries as columns, adapted to D50."""
    pairs = np.asarray(chromaticities, float).reshape(4, 2)
    if not np.isfinite(pairs).all() or (pairs[:, 1] <= 0).any():
        return None
    white, *primaries = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in pairs)
    matrix = np.stack(primaries, axis=1)
    if abs(np.linalg.det(matrix)) < 1e-6:
        return None
    matrix = matrix * np.linalg.solve(matrix, white)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ matrix
    return adapted if np.abs(adapted).max() < 100 else None


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: Sequence[float] | np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(float(v)) for v in values)


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"para" + struct.pack(">4xHH", 0, 0) + _fixed(gamma)
    return b"para" + struct.pack(">4xHH", 3, 0) + b"".join(_fixed(v) for v in _SRGB_CURVE)


def _text(text: str) -> bytes:
    coded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(coded), 28) + coded


def _assembled(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {
        b"desc": _text("As the image file describes its colours"),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _xyz(_D50),
        **tags,
    }
    start = 128 + 4 + 12 * len(tags)
    table, body, places = struct.pack(">I", len(tags)), b"", {}
    for name, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x12s",
        start + len(body), 0x04200000, b"mntr", space, b"XYZ ", b"acsp",
        b"".join(_fixed(float(v)) for v in _D50),
    )  # fmt: skip
    return header.ljust(128, b"\0") + table + body
