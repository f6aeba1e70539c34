"""Damages valid files, and makes right again what would only hide the damage: CRCs and digests."""

import json
import struct
import zlib

import numpy as np

from gdncodec.container import HEADER_SIZE, MAGIC
from gdncodec.modelfile import _digest

__all__ = ["damaged", "damaged_gdn", "damaged_model", "refreshed_gdn"]

_EXTREMES = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)


def damaged(rng, data, times=None):
    """Return bytes with a few places damaged."""
    data = bytearray(data)
    for _ in range(times or rng.integers(1, 5)):
        n = len(data)
        if not n:
            break
        at = int(rng.integers(n))
        match rng.integers(7):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.integers(256))
            case 2:
                number = struct.pack("<I", _EXTREMES[rng.integers(len(_EXTREMES))])
                data[at : at + 4] = number[: min(4, n - at)]
            case 3:
                del data[at : at + int(rng.integers(1, 33))]
            case 4:
                data[at:at] = rng.bytes(int(rng.integers(1, 33)))
            case 5:
                data[at:at] = data[at : at + int(rng.integers(1, 65))]
            case _:
                del data[at:]
    return bytes(data)


def refreshed_gdn(header, chunks):
    """Return a file of a header of 26 bytes, whatever it says, and chunks (type, data)."""
    parts = [header, struct.pack("<I", zlib.crc32(header))]
    for kind, data in chunks:
        chunk = struct.pack("<BI", kind, len(data)) + data
        parts += [chunk, struct.pack("<I", zlib.crc32(chunk))]
    return b"".join(parts)


def _split(data):
    chunks, position = [], HEADER_SIZE
    while position < len(data):
        kind, length = struct.unpack_from("<BI", data, position)
        chunks.append((kind, data[position + 5 : position + 5 + length]))
        position += 9 + length
    return bytearray(data[: HEADER_SIZE - 4]), chunks


def damaged_gdn(rng, data, *, largest=None):
    """Return a damaged file, in nine of ten cases with CRCs that are right.

    Args:
        rng: a NumPy generator.
        data: a valid file.
        largest: if given, most headers state no larger sides.
    """
    if rng.random() < 0.1:
        return damaged(rng, data)
    header, chunks = _split(data)
    for _ in range(rng.integers(1, 4)):
        match rng.integers(6):
            case 0:
                field = [(6, "<B", 3), (7, "<B", 17), (8, "<H", 10002), (5, "<B", 9)]
                at, kind, most = field[rng.integers(4)]
                struct.pack_into(kind, header, at, int(rng.integers(most)))
            case 1:
                sides = [int(rng.choice([*_EXTREMES, 15, 16, 17, 64, 1024])) for _ in range(2)]
                if largest and rng.random() < 0.95:
                    sides = [min(max(side, 1), largest) for side in sides]
                struct.pack_into("<II", header, 18, *sides)
            case 2 if chunks:
                i = int(rng.integers(len(chunks)))
                chunks[i] = (chunks[i][0], damaged(rng, chunks[i][1]))
            case 3 if chunks:
                i = int(rng.integers(len(chunks)))
                chunks[i] = (int(rng.choice([1, 2, 3, 128, 129, 130, 131, 255])), chunks[i][1])
            case 4 if chunks:
                chunks.append(chunks[rng.integers(len(chunks))])
                chunks.sort(key=lambda chunk: chunk[0])
            case _:
                words = rng.bytes(4 * int(rng.integers(64)))
                chunks = [(k, words if k == 1 else d) for k, d in chunks]
    if rng.random() < 0.8:
        header[5] = len(chunks) % 256
        header[:5] = MAGIC + b"\0"
    return refreshed_gdn(bytes(header), chunks)


def _damaged_array(rng, array):
    array = array.copy()
    match rng.integers(6):
        case 0:
            kind = rng.choice([np.float32, np.float16, np.int64, np.uint8, np.bool_])
            with np.errstate(all="ignore"):
                return array.astype(kind)
        case 1:
            return array[: len(array) // 2] if array.ndim else array
        case 2:
            return array[None] if rng.random() < 0.5 else array.ravel()
        case 3 if array.dtype.kind == "f" and array.size:
            values = (np.nan, np.inf, 1e4, -1e4, 0)
            array.flat[rng.integers(array.size)] = values[rng.integers(5)]
            return array
        case 4 if array.size and array.dtype.kind != "b":
            info = np.iinfo(array.dtype) if array.dtype.kind in "iu" else np.finfo(array.dtype)
            array.flat[rng.integers(array.size)] = (info.min, info.max)[rng.integers(2)]
            return array
        case _:
            flat = array.reshape(-1)
            return rng.permutation(flat).reshape(array.shape)


def damaged_model(rng, metadata, tensors, save, fingerprint):
    """Return a damaged model file, mostly with a digest and a fingerprint that are right.

    Args:
        rng: a NumPy generator.
        metadata: of a valid file.
        tensors: of the file, contexts unpacked.
        save: makes the bytes of a file of tensors and metadata.
        fingerprint: returns the fingerprint, as text, of a configuration and tensors.
    """
    tensors, metadata = dict(tensors), dict(metadata)
    names = sorted(tensors)
    for _ in range(rng.integers(0, 3)):
        name = names[rng.integers(len(names))]
        match rng.integers(4):
            case 0:
                tensors.pop(name, None)
            case 1:
                tensors[damaged(rng, name.encode(), 1).decode("utf-8", "replace")] = tensors.get(
                    name, np.zeros(1, np.float32)
                )
            case _:
                tensors[name] = _damaged_array(rng, tensors.get(name, np.zeros(2, np.float32)))
    if rng.random() < 0.4:
        config = json.loads(metadata["config"])
        key = sorted(config)[rng.integers(len(config))]
        values = [0, -1, 1, 2.5, True, None, "x", [], [1, 2], [1, 2, 3], {}, 1 << 70, "gdn", "frn"]
        values += ["batch", "mabn", "gdn:beta_min=2", "sncn", 1e308, 1024, 12, "zeros"]
        config[key] = values[rng.integers(len(values))]
        metadata["config"] = json.dumps(config)
    if rng.random() < 0.1:
        key = ("config", "fingerprint", "card", "digest")[rng.integers(4)]
        text = damaged(rng, metadata.get(key, "x").encode())
        metadata[key] = text.decode("utf-8", "replace")
    if rng.random() < 0.9:
        metadata["fingerprint"] = fingerprint(metadata["config"], tensors) or "00" * 8
        metadata["digest"] = _digest(metadata, tensors)
    data = save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, metadata)
    return damaged(rng, data) if rng.random() < 0.15 else data
