import contextlib
import io
import itertools
import re
import zlib
from pathlib import Path

import pytest

from gdncodec import container
from gdncodec.container import ChunkType, ColorMode, Header, pack, unpack, unpack_header
from gdncodec.errors import FormatError

HEADER = Header(ColorMode.RGB, 8, 62.5, bytes(range(8)), 768, 512)
CHUNKS = {ChunkType.LATENTS: b"coded words", ChunkType.EXIF: b"Exif\0\0II"}
GOLDEN = (
    "8d47444e000201086a18000102030405060700030000000200005e8b87f7"
    "010b000000636f64656420776f726473d8297323"
    "810800000045786966000049492c4f4cdd"
)


@contextlib.contextmanager
def refused(detail):
    """Expect an error that says nothing of bytes by itself, and has them in its detail."""
    with pytest.raises(FormatError) as caught:
        yield
    assert detail in caught.value.detail
    assert "chunk" not in str(caught.value)


def test_bytes_are_the_golden_ones():
    data = pack(HEADER, CHUNKS)
    assert data.hex() == GOLDEN
    assert unpack(bytes.fromhex(GOLDEN)) == (HEADER, CHUNKS)


def test_one_chunk_costs_39_bytes():
    assert len(pack(HEADER, {ChunkType.LATENTS: b""})) == 39


def test_truncation_at_every_length_raises_format_error():
    data = pack(HEADER, CHUNKS)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            unpack(data[:length])


def test_any_flipped_bit_raises_format_error():
    data = pack(HEADER, CHUNKS)
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(FormatError):
                unpack(bytes(damaged))


def test_bytes_after_the_last_chunk_raise_format_error():
    with refused("follow the last chunk"):
        unpack(pack(HEADER, CHUNKS) + b"\0")


def with_type(kind, data=b"x"):
    """Return a file with one more chunk, of any type."""
    import struct
    import zlib

    chunk = struct.pack("<BI", kind, len(data)) + data
    packed = bytearray(pack(HEADER, CHUNKS))
    packed[5] += 1
    packed[26:30] = zlib.crc32(packed[:26]).to_bytes(4, "little")
    return bytes(packed) + chunk + zlib.crc32(chunk).to_bytes(4, "little")


def test_the_outline_reads_all_but_the_pixels():
    chunks = {**CHUNKS, ChunkType.ALPHA: b"alpha", ChunkType.XMP: b"<x/>"}
    file = io.BytesIO(pack(HEADER, chunks))
    expected = {**chunks, ChunkType.LATENTS: b"", ChunkType.ALPHA: b""}
    assert container.outline(file) == (HEADER, expected)


def test_the_outline_of_a_truncated_file_is_wrong_in_nothing_that_it_says():
    data = pack(HEADER, CHUNKS)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            container.outline(io.BytesIO(data[:length]))


def test_the_outline_reads_no_more_than_the_file_has():
    """A chunk may state any length; nothing of that length is allocated."""

    class Counting(io.BytesIO):
        largest = 0

        def read(self, size=-1):
            self.largest = max(self.largest, size)
            return super().read(size)

    data = bytearray(pack(HEADER, CHUNKS))
    position = 30 + 9 + len(CHUNKS[ChunkType.LATENTS])
    data[position + 1 : position + 5] = b"\xff" * 4
    file = Counting(bytes(data))
    with refused("4294967295 bytes goes beyond the end"):
        container.outline(file)
    assert file.largest <= 30


def test_the_outline_finds_damaged_metadata():
    data = bytearray(pack(HEADER, CHUNKS))
    data[-6] ^= 1
    with refused("CRC"):
        container.outline(io.BytesIO(data))


@pytest.mark.parametrize(
    ("mode", "depth", "usable"),
    [
        (ColorMode.GREY, 1, True), (ColorMode.GREY, 8, True), (ColorMode.GREY, 16, True),
        (ColorMode.RGB, 8, True), (ColorMode.RGB, 16, True), (ColorMode.RGB, 1, False),
        (ColorMode.GREY, 0, False), (ColorMode.GREY, 12, False), (2, 8, False),
    ],
)  # fmt: skip
def test_only_known_colours_and_depths_are_read(mode, depth, usable):
    data = pack(HEADER._replace(color_mode=mode, depth=depth), CHUNKS)
    if usable:
        assert unpack_header(data)[:2] == (mode, depth)
    else:
        with refused("header: mode"):
            unpack_header(data)


def test_an_unknown_optional_chunk_is_skipped():
    assert unpack(with_type(200)) == (HEADER, CHUNKS)


@pytest.mark.parametrize("kind", [1, 129])
def test_a_chunk_that_comes_twice_or_out_of_order_raises_format_error(kind):
    with refused("order"):
        unpack(with_type(kind))


def test_an_unknown_mandatory_chunk_raises_format_error():
    import struct
    import zlib

    chunk = struct.pack("<BI", 9, 0)
    header = bytearray(pack(HEADER, {})[:30])
    header[5] = 1
    header[26:30] = zlib.crc32(header[:26]).to_bytes(4, "little")
    data = bytes(header) + chunk + zlib.crc32(chunk).to_bytes(4, "little")
    with refused("type 9 is mandatory"):
        unpack(data)


def test_a_file_without_latents_raises_format_error():
    with refused("no latents"):
        unpack(pack(HEADER, {ChunkType.EXIF: b"x"}))


def test_another_version_is_named():
    data = bytearray(pack(HEADER, CHUNKS))
    data[4] = 7
    with pytest.raises(FormatError, match="version 7"):
        unpack_header(bytes(data))


@pytest.mark.parametrize("data", [b"", b"PK", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_another_kind_of_file_is_refused_by_its_magic(data):
    with pytest.raises(FormatError, match=re.escape("not a .gdn file")):
        unpack_header(data)


@pytest.mark.parametrize("parts", [[b"a"], [b"abcd", b"", b"xy"]])
def test_slices_come_back(parts):
    data = container.join_slices(parts)
    assert container.split_slices(data, len(parts)) == parts


def test_one_slice_costs_nothing():
    assert container.join_slices([b"abc"]) == b"abc"


@pytest.mark.parametrize(("data", "count"), [(b"abc", 2), (b"\xff\0\0\0abc", 2), (b"", 3)])
def test_lengths_that_do_not_fit_raise_format_error(data, count):
    with pytest.raises(FormatError):
        container.split_slices(data, count)


FORMAT = (Path(__file__).parents[1] / "docs" / "format.md").read_text()


def table_after(title):
    """Return the cells of the rows of the first table under a heading row of the format's page."""
    lines = FORMAT[FORMAT.index(title) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|---")) + 1
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
    return [[cell.strip() for cell in row.strip("|").split("|", 2)] for row in rows]


def test_a_reader_of_the_documented_header_finds_its_fields():
    rows = table_after("Header, 30 bytes")
    ends = [int(offset) + int(size) for offset, size, _ in rows]
    assert [int(offset) for offset, _, _ in rows] == [0, *ends[:-1]]
    data = bytes.fromhex(GOLDEN)
    parts = [data[end - int(row[1]) : end] for row, end in zip(rows, ends, strict=True)]
    magic, version, chunks, color, depth, quality, fingerprint, width, height, crc = parts
    assert f"`{magic.hex(' ').upper()}`" in rows[0][2]
    assert version == b"\0"
    assert rows[1][2].endswith("format: 0")
    numbers = [int.from_bytes(n, "little") for n in (chunks, color, depth, quality, width, height)]
    expected = [len(CHUNKS), HEADER.color_mode, HEADER.depth, 100 * HEADER.quality]
    assert numbers == [*expected, HEADER.width, HEADER.height]
    words = [
        "chunks",
        "colour mode",
        "bits of a sample",
        "quality",
        "fingerprint",
        "width",
        "height",
    ]
    assert all(word in row[2] for word, row in zip(words, rows[2:9], strict=True))
    assert fingerprint == HEADER.fingerprint
    assert int.from_bytes(crc, "little") == zlib.crc32(data[: ends[-2]])
    assert rows[9][2] == f"CRC-32 of bytes 0 to {ends[-2] - 1}"


def test_a_reader_of_the_documented_chunks_finds_them():
    kind, length, content, crc = table_after("The chunks follow")
    assert [kind[:2], length[:2], content[:2], crc[:2]] == [
        ["0", "1"], ["1", "4"], ["5", "n"], ["5 + n", "4"],
    ]  # fmt: skip
    assert [row[2].split()[0] for row in (kind, length, content, crc)] == [
        "type", "length", "data", "CRC-32",
    ]  # fmt: skip
    data, position = bytes.fromhex(GOLDEN), 30
    for wanted, inside in CHUNKS.items():
        n = int.from_bytes(data[position + 1 : position + 5], "little")
        assert (data[position], data[position + 5 : position + 5 + n]) == (wanted, inside)
        end = position + 5 + n
        assert int.from_bytes(data[end : end + 4], "little") == zlib.crc32(data[position:end])
        position = end + 4
    assert position == len(data)


def test_the_documented_types_are_those_of_the_chunks():
    documented = {int(kind): meaning for kind, meaning in table_after("| type | data |")}
    assert documented.keys() == {kind.value for kind in ChunkType}
    words = {
        ChunkType.LATENTS: "latents", ChunkType.ALPHA: "alpha", ChunkType.ICC: "ICC",
        ChunkType.EXIF: "EXIF", ChunkType.XMP: "XMP",
    }  # fmt: skip
    assert words.keys() == set(ChunkType)
    assert all(documented[kind].startswith(word) for kind, word in words.items())


def test_the_docstring_has_the_tables_of_the_format():
    def rows(pattern, text):
        return re.findall(pattern, text, re.MULTILINE)

    stated = rows(r"^(\d+)  +(\d+)  +(\S+)", container.__doc__)
    header = [(offset, size, text.split()[0]) for offset, size, text in table_after("Header, 30")]
    chunks = [tuple(row[:2]) for row in table_after("The chunks follow")]
    assert stated[: len(header)] == header
    assert [row[:2] for row in rows(r"^([\dn+ ]+?)  +(\d+|n)  +(\S+)", container.__doc__)][
        len(header) : len(header) + 4
    ] == chunks
