"""What a damaged or truncated ``.gdn`` file still holds."""

import struct
import zlib
from collections.abc import Callable

from gdncodec.container import HEADER_SIZE, ChunkType, Container, unpack_header
from gdncodec.errors import FormatError

__all__ = ["salvage", "salvage_slices"]

_CHUNK = struct.Struct("<BI")
_CRC = struct.Struct("<I")


def salvage(data: bytes, on_damage: Callable[[str], None]) -> tuple[Container, int]:
    """Return what is intact, and the latents in any state.

    The header must be intact. A chunk that is damaged is left out, except the latents, of which
    :func:`salvage_slices` and the decoder tell what is usable.

    Args:
        data: the file.
        on_damage: called with a line for each chunk that is lost.

    Returns:
        The parts, and how many bytes the latents should have.

    Raises:
        FormatError: the header is damaged, or there are no latents.
    """
    header = unpack_header(data)
    chunks: dict[int, bytes] = {}
    position, last, whole = HEADER_SIZE, 0, 0
    for _ in range(data[5]):
        if position + _CHUNK.size > len(data):
            on_damage("the file ends before its last chunk")
            break
        kind, length = _CHUNK.unpack_from(data, position)
        body, end = position + _CHUNK.size, position + _CHUNK.size + length
        if kind <= last or (end + _CRC.size > len(data) and kind != ChunkType.LATENTS):
            on_damage(f"what begins at byte {position} is no chunk")
            break
        intact = data[end : end + _CRC.size] == _CRC.pack(zlib.crc32(data[position:end]))
        if kind == ChunkType.LATENTS or (intact and kind in set(ChunkType)):
            chunks[kind] = data[body:end]
            whole = length if kind == ChunkType.LATENTS else whole
        elif not intact:
            on_damage(f"{_name(kind)} is damaged and left out")
        position, last = end + _CRC.size, kind
    if ChunkType.LATENTS not in chunks:
        msg = "damaged: nothing is left of the latents"
        raise FormatError(msg)
    return Container(header, chunks), whole


def salvage_slices(data: bytes, count: int, whole: int) -> list[bytes | None]:
    """Return the slices of a latents chunk, None for those that are cut off or not there.

    Args:
        data: of the chunk.
        count: number of slices.
        whole: bytes that the data should have.
    """
    start = 4 * (count - 1)
    if start > len(data):
        return [None] * count
    lengths: list[int | None] = [*struct.unpack_from(f"<{count - 1}I", data), None]
    slices: list[bytes | None] = []
    for length in lengths:
        end = whole if length is None else start + length
        slices.append(data[start:end] if start <= end <= len(data) else None)
        start = end
    return slices


def _name(kind: int) -> str:
    known = kind in set(ChunkType)
    return f"the chunk {ChunkType(kind).name}" if known else f"the chunk of type {kind}"
