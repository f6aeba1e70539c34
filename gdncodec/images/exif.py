r"""EXIF blocks, edited in place: whatever is not meant stays where it is, byte for byte.

A block is ``Exif\0\0`` and then a TIFF file: a directory of entries (tag, type, count, value or
offset), with further directories behind some of the tags. Offsets count from the start of the TIFF
file, so a directory may be written anew at the end while all that it points to stays in place. That
also keeps what Pillow would lose, such as a camera's notes and the thumbnail.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXIF_START", "Directory", "with_entries", "without_gps"]

EXIF_START = b"Exif\0\0"

ORIENTATION = 0x0112
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
COMMENT = 0x9C9C
"""XPComment, "Comments" in Windows: text in UTF-16, beside the camera's own description."""

_GPS = 0x8825
_BYTE, _ASCII, _SHORT, _RATIONAL = 1, 2, 3, 5
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_UTF_16 = {0x9C9B, COMMENT}  # whose type is "bytes"
_INCHES, _CENTIMETRES = 2, 3


@dataclass(frozen=True)
class Directory:
    """The first directory of an EXIF block, or one that an entry points to.

    Args:
        tiff: the block without its first six bytes.
        order: of bytes, ``<`` or ``>``.
        start: offset of the directory.
    """

    tiff: bytes
    order: str
    start: int

    @classmethod
    def of(cls, exif: bytes) -> Directory | None:
        """Return the first directory of a block, or None if the block is unusable."""
        tiff = exif.removeprefix(EXIF_START)
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
        if order is None or len(tiff) < 8:
            return None
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        directory = cls(tiff, order, start)
        return directory if start >= 8 and directory.end + 4 <= len(tiff) else None

    @property
    def count(self) -> int:
        """Number of entries; none beyond the end of the block."""
        if self.start + 2 > len(self.tiff):
            return 0
        return int(struct.unpack_from(f"{self.order}H", self.tiff, self.start)[0])

    @property
    def end(self) -> int:
        """Offset of what follows the entries: the offset of the next directory."""
        return self.start + 2 + 12 * self.count

    def entries(self) -> dict[int, bytes]:
        """Return the twelve bytes of every entry by its tag."""
        parts = [self.tiff[at : at + 12] for at in range(self.start + 2, self.end, 12)]
        return {struct.unpack_from(f"{self.order}H", p)[0]: p for p in parts if len(p) == 12}

    def place(self, entry: bytes) -> slice:
        """Return where the value of an entry is, unless it is in the entry itself."""
        kind, count, offset = struct.unpack(f"{self.order}2xHII", entry)
        size = _SIZES.get(kind, 0) * count
        return slice(offset, offset + size) if size > 4 else slice(0, 0)

    def value(self, tag: int) -> str | int | float | None:
        """Return a text, a whole number or a fraction; None if there is no such value."""
        entry = self.entries().get(tag)
        if entry is None:
            return None
        kind, count = struct.unpack_from(f"{self.order}2xHI", entry)
        place = self.place(entry)
        size = _SIZES.get(kind, 0) * count
        data = self.tiff[place] if place.stop else entry[8 : 8 + size]
        if not data or len(data) < size:
            return None
        if tag in _UTF_16:
            return data.decode("utf-16-le", "replace").rstrip("\0")
        if kind == _ASCII:
            return data.rstrip(b"\0").decode("utf-8", "replace")
        if kind == _SHORT:
            return int(struct.unpack_from(f"{self.order}H", data)[0])
        if kind == _RATIONAL:
            above, below = struct.unpack_from(f"{self.order}II", data)
            return above / below if below else None
        return None


def orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8; 1, upright, if the block does not say."""
    directory = Directory.of(exif)
    found = directory.value(ORIENTATION) if directory else None
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def resolution(exif: bytes) -> tuple[float, float] | None:
    """Return dots per inch, horizontally and vertically, if the block states them."""
    directory = Directory.of(exif)
    if directory is None:
        return None
    unit = directory.value(RESOLUTION_UNIT) or _INCHES
    x, y = directory.value(X_RESOLUTION), directory.value(Y_RESOLUTION)
    factor = {_INCHES: 1.0, _CENTIMETRES: 2.54}.get(int(unit) if isinstance(unit, int) else 0)
    if factor is None or not isinstance(x, float) or not isinstance(y, float) or not x * y:
        return None
    return x * factor, y * factor


def comment(exif: bytes) -> str:
    """Return the comment, or an empty string."""
    directory = Directory.of(exif)
    return str((directory.value(COMMENT) if directory else None) or "")


def resolution_entries(dpi: tuple[float, float]) -> dict[int, int | Fraction]:
    """Return the values of the tags that state dots per inch."""
    x, y = (Fraction(value).limit_denominator(10000) for value in dpi)
    return {X_RESOLUTION: x, Y_RESOLUTION: y, RESOLUTION_UNIT: _INCHES}


def with_entries(exif: bytes, values: Mapping[int, str | int | Fraction]) -> bytes | None:
    """Return an EXIF block with more entries in its first directory.

    Args:
        exif: the block; empty begins a new one.
        values: by tags that the directory lacks: text, whole numbers of 16 bits, fractions.

    Returns:
        The block, or None if it is unusable.
    """
    directory = Directory.of(exif or EXIF_START + b"II*\0" + struct.pack("<IHI", 8, 0, 0))
    if directory is None:
        return None
    order, tiff = directory.order, bytearray(directory.tiff)
    entries = directory.entries()
    following = directory.tiff[directory.end : directory.end + 4]
    if not exif:
        tiff = tiff[:8]
    start = len(tiff) + len(tiff) % 2
    tiff += bytes(start - len(tiff))
    body = start + 2 + 12 * (len(entries) + len(values)) + 4
    data = b""
    for tag, value in values.items():
        kind, count, coded = _coded(tag, value, order)
        if len(coded) <= 4:
            field = coded.ljust(4, b"\0")
        else:
            field = struct.pack(f"{order}I", body + len(data))
            data += coded + bytes(len(coded) % 2)
        entries[tag] = struct.pack(f"{order}HHI", tag, kind, count) + field
    struct.pack_into(f"{order}I", tiff, 4, start)
    table = b"".join(entry for _, entry in sorted(entries.items()))
    tiff += struct.pack(f"{order}H", len(entries)) + table + following + data
    return EXIF_START + bytes(tiff)


def _coded(tag: int, value: str | int | Fraction, order: str) -> tuple[int, int, bytes]:
    """Return the type, the count and the bytes of a value."""
    if isinstance(value, Fraction):
        return _RATIONAL, 1, struct.pack(f"{order}II", value.numerator, value.denominator)
    if isinstance(value, int):
        return _SHORT, 1, struct.pack(f"{order}H", value)
    if tag in _UTF_16:
        coded = f"{value}\0".encode("utf-16-le", "replace")
        return _BYTE, len(coded), coded
    coded = f"{value}\0".encode("utf-8", "replace")
    return _ASCII, len(coded), coded


def without_gps(exif: bytes) -> bytes:
    """Return an EXIF block without the place where the image was taken; None stays of it.

    A block that is unusable becomes empty: the place may be in it.
    """
    directory = Directory.of(exif)
    if directory is None:
        return b""
    entry = directory.entries().get(_GPS)
    if entry is None:
        return exif
    order, tiff = directory.order, bytearray(directory.tiff)
    place = Directory(directory.tiff, order, struct.unpack(f"{order}8xI", entry)[0])
    for value in place.entries().values():
        where = place.place(value)
        tiff[where] = bytes(len(tiff[where]))
    where = slice(place.start, place.end + 4)
    tiff[where] = bytes(len(tiff[where]))
    kept = [e for tag, e in directory.entries().items() if tag != _GPS]
    following = directory.tiff[directory.end : directory.end + 4]
    table = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + following
    where = slice(directory.start, directory.end + 4)
    tiff[where] = table.ljust(len(tiff[where]), b"\0")
    return EXIF_START + bytes(tiff)
