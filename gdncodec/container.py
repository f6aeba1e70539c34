r"""The ``.gdn`` container: a header and chunks, as bytes.

All numbers are unsigned and little-endian. A file is one header, 30 bytes:

======  =====  ==========================================================================
offset  bytes  field
======  =====  ==========================================================================
0       4      magic: 8D 47 44 4E (the last three are "GDN")
4       1      version of the format: 0
5       1      number of chunks
6       1      colour mode of the image: 0 grey, 1 RGB
7       1      bits of a sample of the image: 8 or 16, or 1 for black and white (grey only)
8       2      quality in hundredths, 0 to 10000
10      8      fingerprint of the model that decodes the file
18      4      width in pixels, at least 1
22      4      height in pixels, at least 1
26      4      CRC-32 of bytes 0 to 25
======  =====  ==========================================================================

and then the chunks, in ascending order of type, each type at most once:

======  =====  ==========================================================================
offset  bytes  field
======  =====  ==========================================================================
0       1      type; from 128 upwards a reader that does not know it skips the chunk
1       4      length n of the data
5       n      data
5 + n   4      CRC-32 of type, length and data
======  =====  ==========================================================================

======  ==================================================================================
type    data
======  ==================================================================================
1       latents: the slices in raster order, after the lengths (4 bytes each) of all but
        the last of them
2       alpha of the whole image, 8 bits, lossless: one byte that names the coding, then
        0: one byte, the value everywhere; 1: a PNG file; 2: a WebP file; grey = alpha
128     ICC profile
129     EXIF block, as in a JPEG's APP1 segment ("Exif\0\0" first)
130     XMP packet
======  ==================================================================================

Nothing may follow the last chunk. CRC-32 is that of zlib.
"""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import IO, NamedTuple

from gdncodec.errors import FormatError

__all__ = [
    "HEADER_SIZE",
    "MAGIC",
    "VERSION",
    "AlphaCoding",
    "ChunkType",
    "ColorMode",
    "Container",
    "Header",
    "join_slices",
    "metadata_chunks",
    "metadata_fields",
    "outline",
    "pack",
    "split_slices",
    "unpack",
    "unpack_header",
]

MAGIC = b"\x8dGDN"
VERSION = 0

_HEADER = struct.Struct("<4sBBBBH8sII")
_CRC = struct.Struct("<I")
_CHUNK = struct.Struct("<BI")
_OPTIONAL_FROM = 128

_TRUNCATED = "truncated: the end of the file is missing"
_DAMAGED = "damaged: its contents have changed since it was written"
_UNUSABLE = "damaged, or not written by gdncodec"

HEADER_SIZE = _HEADER.size + _CRC.size
"""Bytes of the header with its CRC."""


class ColorMode(IntEnum):
    """Whether the source image was grey or RGB."""

    GREY = 0
    RGB = 1


class AlphaCoding(IntEnum):
    """How the alpha chunk holds the alpha channel; the first byte of its data."""

    CONSTANT = 0
    PNG = 1
    WEBP = 2


class ChunkType(IntEnum):
    """Known chunks."""

    LATENTS = 1
    ALPHA = 2
    ICC = 128
    EXIF = 129
    XMP = 130


class Header(NamedTuple):
    """What is known about an image before it is decoded."""

    color_mode: ColorMode
    depth: int
    """Bits of a sample: 8, 16, or 1 for black and white."""
    quality: float
    """0 to 100, in steps of 0.01."""
    fingerprint: bytes
    """First 8 bytes of a SHA-256; see :mod:`gdncodec.modelfile`."""
    width: int
    height: int


class Container(NamedTuple):
    """The parts of a file."""

    header: Header
    chunks: dict[int, bytes]
    """Data by type, without unknown types that may be skipped."""


def pack(header: Header, chunks: dict[ChunkType, bytes]) -> bytes:
    """Return the bytes of a file."""
    fixed = _HEADER.pack(
        MAGIC,
        VERSION,
        len(chunks),
        header.color_mode,
        header.depth,
        round(header.quality * 100),
        header.fingerprint,
        header.width,
        header.height,
    )
    parts = [fixed, _CRC.pack(zlib.crc32(fixed))]
    for kind, data in sorted(chunks.items()):
        chunk = _CHUNK.pack(kind, len(data)) + data
        parts += [chunk, _CRC.pack(zlib.crc32(chunk))]
    return b"".join(parts)


def unpack_header(data: bytes) -> Header:
    """Read only the header.

    Raises:
        FormatError: not a ``.gdn`` file, a newer version, damaged or truncated.
    """
    if not data.startswith(MAGIC):
        found = data[: len(MAGIC)].hex(" ") or "nothing"
        msg = "not a .gdn file" if data else "not a .gdn file: it is empty"
        detail = f"expected the first bytes {MAGIC.hex(' ')}, found {found}"
        raise FormatError(msg, detail=detail)
    if len(data) < HEADER_SIZE:
        detail = f"expected {HEADER_SIZE} bytes of header, found {len(data)}"
        raise FormatError(_TRUNCATED, detail=detail)
    _, version, _, mode, depth, quality, fingerprint, width, height = _HEADER.unpack_from(data)
    if version != VERSION:
        msg = f"made by another version of gdncodec: format version {version} is not known"
        detail = f"this program reads version {VERSION}"
        raise FormatError(msg, detail=detail)
    if _CRC.unpack_from(data, _HEADER.size)[0] != zlib.crc32(data[: _HEADER.size]):
        raise FormatError(_DAMAGED, detail="the CRC of the header does not match")
    depths = (1, 8, 16) if mode == ColorMode.GREY else (8, 16)
    known = mode in set(ColorMode) and depth in depths
    if not known or quality > 10000 or not width or not height:
        detail = f"header: mode {mode}, {depth} bits, quality {quality}, {width} x {height}"
        raise FormatError(_UNUSABLE, detail=detail)
    return Header(ColorMode(mode), depth, quality / 100, fingerprint, width, height)


def unpack(data: bytes) -> Container:
    """Split a file into its parts, checking every CRC.

    Raises:
        FormatError: not a ``.gdn`` file, a newer version, damaged, truncated, or too long.
    """
    header = unpack_header(data)
    chunks: dict[int, bytes] = {}
    position, last = HEADER_SIZE, 0
    for _ in range(data[5]):
        kind, chunk_data, position = _read_chunk(data, position)
        if kind <= last:
            raise FormatError(_UNUSABLE, detail=f"the chunk of type {kind} is out of order")
        last = kind
        if kind in set(ChunkType):
            chunks[kind] = chunk_data
        elif kind < _OPTIONAL_FROM:
            msg = "made by a newer version of gdncodec; this one cannot read it"
            raise FormatError(msg, detail=f"a chunk of the unknown type {kind} is mandatory")
    if position != len(data):
        msg = "damaged: something was added to the end of the file"
        detail = f"{len(data) - position} bytes follow the last chunk"
        raise FormatError(msg, detail=detail)
    if ChunkType.LATENTS not in chunks:
        raise FormatError(_UNUSABLE, detail="the file holds no latents")
    return Container(header, chunks)


def outline(file: IO[bytes]) -> Container:
    """Read the header and the small chunks, and skip the chunks of the pixels.

    Args:
        file: positioned at the start of the data; must be seekable.

    Returns:
        The header, and all known chunks; the data of those below 128 are empty.

    Raises:
        FormatError: not a ``.gdn`` file, a newer version, or what was read is damaged or truncated.
    """
    begin = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(begin)
    start = file.read(HEADER_SIZE)
    header = unpack_header(start)
    chunks: dict[int, bytes] = {}
    for _ in range(start[5]):
        front = file.read(_CHUNK.size)
        if len(front) < _CHUNK.size:
            raise FormatError(_TRUNCATED, detail="a chunk is missing")
        kind, length = _CHUNK.unpack(front)
        if file.tell() + length + _CRC.size > size:  # before anything of that length is read
            detail = f"a chunk of {length} bytes goes beyond the end of the file"
            raise FormatError(_TRUNCATED, detail=detail)
        if kind < _OPTIONAL_FROM:
            file.seek(length + _CRC.size, 1)
            data = b""
        else:
            _, data, _ = _read_chunk(front + file.read(length + _CRC.size), 0)
        if kind in set(ChunkType):
            chunks[kind] = data
    return Container(header, chunks)


def _read_chunk(data: bytes, start: int) -> tuple[int, bytes, int]:
    """Return type, data and the position after the chunk."""
    body = start + _CHUNK.size
    if body > len(data):
        detail = f"a chunk should begin at byte {start}, the file has {len(data)}"
        raise FormatError(_TRUNCATED, detail=detail)
    kind, length = _CHUNK.unpack_from(data, start)
    end = body + length
    if end + _CRC.size > len(data):
        detail = f"a chunk ends at byte {end + _CRC.size}, the file has {len(data)}"
        raise FormatError(_TRUNCATED, detail=detail)
    if _CRC.unpack_from(data, end)[0] != zlib.crc32(data[start:end]):
        detail = f"the CRC of the chunk at byte {start} does not match"
        raise FormatError(_DAMAGED, detail=detail)
    return kind, data[body:end], end + _CRC.size


def metadata_chunks(*, icc: bytes, exif: bytes, xmp: bytes) -> dict[ChunkType, bytes]:
    """Return the chunks of an image's metadata; those that are empty have none."""
    found = {ChunkType.ICC: icc, ChunkType.EXIF: exif, ChunkType.XMP: xmp}
    return {kind: data for kind, data in found.items() if data}


def metadata_fields(chunks: Mapping[int, bytes]) -> dict[str, bytes]:
    """Return the ``icc``, ``exif`` and ``xmp`` among the chunks, by these names."""
    kinds = {"icc": ChunkType.ICC, "exif": ChunkType.EXIF, "xmp": ChunkType.XMP}
    return {name: chunks[kind] for name, kind in kinds.items() if kind in chunks}


def join_slices(slices: Sequence[bytes]) -> bytes:
    """Return the data of a latents chunk: lengths of all but the last slice, then the slices."""
    lengths = struct.pack(f"<{len(slices) - 1}I", *(len(s) for s in slices[:-1]))
    return lengths + b"".join(slices)


def split_slices(data: bytes, count: int) -> list[bytes]:
    """Return the ``count`` slices of a latents chunk.

    Raises:
        FormatError: the lengths do not fit the data.
    """
    start = 4 * (count - 1)
    if start > len(data):
        detail = f"expected {count} slices, but the latents have {len(data)} bytes"
        raise FormatError(_UNUSABLE, detail=detail)
    lengths = [*struct.unpack_from(f"<{count - 1}I", data)]
    lengths.append(len(data) - start - sum(lengths))
    if lengths[-1] < 0:
        raise FormatError(_UNUSABLE, detail="the lengths of the slices exceed the latents")
    slices = []
    for length in lengths:
        slices.append(data[start : start + length])
        start += length
    return slices
