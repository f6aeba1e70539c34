import subprocess
import sys
from pathlib import Path

import constriction
import numpy as np
import pytest

from gdncodec.entropy import coder as coding
from gdncodec.entropy import fallback
from gdncodec.entropy.coder import (
    MAX_SYMBOL,
    TOTAL_FREQUENCY,
    Tables,
    decode_symbols,
    encode_symbols,
    information,
)
from gdncodec.errors import FormatError, ModelError

STREAMS = Path(__file__).parent / "golden" / "streams"


@pytest.fixture(params=[constriction.stream, fallback], ids=["constriction", "fallback"])
def stream(request, monkeypatch):
    monkeypatch.setattr(coding, "stream", request.param)
    return request.param


@pytest.fixture(autouse=True)
def _both(stream):
    """Every test here is one of both coders."""


def encode(symbols, table_of, tables):
    coder = coding.stream.queue.RangeEncoder()
    encode_symbols(coder, symbols, table_of, tables)
    return coder.get_compressed().astype("<u4").tobytes()


def decode(data, table_of, tables):
    coder = coding.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    return decode_symbols(coder, table_of, tables)


def make_tables(*halfwidths, seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for half in halfwidths:
        weights = np.exp(-np.abs(np.arange(-half, half + 2)) / (half + 1)) * rng.uniform(
            0.5, 1.5, 2 * half + 2
        )
        frequencies = np.maximum(1, (weights / weights.sum() * TOTAL_FREQUENCY).astype(np.int64))
        frequencies[half] += TOTAL_FREQUENCY - frequencies.sum()
        parts.append(frequencies)
    return Tables(np.concatenate(parts).astype(np.int32), np.array(halfwidths, np.int32))


def draw(n, seed, scale=4.0, tables=3):
    rng = np.random.default_rng(seed)
    symbols = np.rint(rng.laplace(0, scale, n)).astype(np.int32)
    return symbols, rng.integers(0, tables, n).astype(np.uint8)


@pytest.mark.parametrize("n", [0, 1, 2, 17, 5000])
def test_round_trip_is_exact(n):
    tables = make_tables(0, 3, 12)
    symbols, table_of = draw(n, seed=n)
    data = encode(symbols, table_of, tables)
    np.testing.assert_array_equal(decode(data, table_of, tables), symbols)


def test_no_symbols_cost_no_bytes():
    assert encode(np.empty(0, np.int32), np.empty(0, np.uint8), make_tables(2)) == b""


@pytest.mark.parametrize("symbol", [1, -1, 2, 3, -4, 100, -65537, MAX_SYMBOL, -MAX_SYMBOL])
def test_symbols_outside_the_table_are_exact(symbol):
    tables = make_tables(0, 3, 12)
    symbols = np.array([0, symbol, 0, symbol], np.int32)
    table_of = np.array([0, 0, 1, 2], np.uint8)
    data = encode(symbols, table_of, tables)
    np.testing.assert_array_equal(decode(data, table_of, tables), symbols)
    assert len(data) <= 32  # bounded: escape, length, sign and mantissa


def test_symbol_beyond_the_limit_is_refused():
    symbols = np.array([MAX_SYMBOL + 1])
    with pytest.raises(ValueError, match="within"):
        encode(symbols, np.zeros(1, np.uint8), make_tables(2))


def test_coded_bits_are_within_half_a_percent_of_the_information():
    tables = make_tables(40, 60)
    rng = np.random.default_rng(5)
    table_of = rng.integers(0, 2, 40000).astype(np.uint8)
    symbols = np.empty(40000, np.int32)
    for table, half in enumerate((40, 60)):
        probabilities = 2.0 ** -tables.bits(table)[:-1]
        where = table_of == table
        symbols[where] = rng.choice(
            np.arange(-half, half + 1), where.sum(), p=probabilities / probabilities.sum()
        )
    expected = sum(
        tables.bits(table)[symbols[table_of == table] + half].sum()
        for table, half in enumerate((40, 60))
    )
    coded = 8 * len(encode(symbols, table_of, tables))
    assert information(symbols, table_of, tables) == pytest.approx(expected)
    assert expected < coded < 1.005 * expected


def test_escaped_symbols_count_with_all_their_fields():
    tables = make_tables(1)
    symbols = np.array([0, 2, -3, 9])
    bits = tables.bits(0)
    expected = bits[1] + 3 * bits[3] + (5 + 1 + 0) + (5 + 1 + 1) + (5 + 1 + 3)
    assert information(symbols, np.zeros(4, np.uint8), tables) == pytest.approx(expected)


def test_stream_is_the_golden_one():
    tables = make_tables(1, 3, 7, seed=9)
    symbols = np.array([0, 1, -1, 0, 2, -3, 5, 0, -7, 90, 0, 0, -2000, 1, 3], np.int32)
    table_of = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0, 1, 2], np.uint8)
    golden = "b8a7207ba9edbab35d7112b0"
    assert encode(symbols, table_of, tables).hex() == golden
    np.testing.assert_array_equal(decode(bytes.fromhex(golden), table_of, tables), symbols)


def reference_decode(data, frequencies_of_symbols):
    """Decode as docs/format.md says, with Python's integers alone."""
    words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    words += [0] * (2 + len(frequencies_of_symbols))
    point, span, position = (words[0] << 32) | words[1], (1 << 64) - 1, 2
    entries = []
    for frequencies in frequencies_of_symbols:
        scale = span >> 24
        target, cumulative, entry = point // scale, 0, 0
        while cumulative + frequencies[entry] <= target:
            cumulative += frequencies[entry]
            entry += 1
        entries.append(entry)
        point -= scale * cumulative
        span = scale * frequencies[entry]
        if span < 1 << 32:
            point = (point << 32) | words[position]
            span <<= 32
            position += 1
    return entries


def test_stream_follows_the_written_format():
    tables = make_tables(5, 9)
    symbols, table_of = draw(400, seed=4, scale=2.0, tables=2)
    table_of.sort()
    symbols = np.clip(symbols, -5, 5)
    split = np.split(tables.frequencies, [12])
    entries = reference_decode(
        encode(symbols, table_of, tables), [[int(f) for f in split[t]] for t in table_of]
    )
    np.testing.assert_array_equal(np.array(entries) - np.where(table_of == 0, 5, 9), symbols)


@pytest.mark.parametrize(
    ("frequencies", "halfwidths"),
    [
        ([TOTAL_FREQUENCY], [0]),
        ([TOTAL_FREQUENCY - 1, 2], [0]),
        ([TOTAL_FREQUENCY, 0], [0]),
        ([TOTAL_FREQUENCY - 1, 1], [-1]),
        ([], []),
    ],
)
def test_inconsistent_tables_raise_model_error(frequencies, halfwidths):
    with pytest.raises(ModelError):
        Tables(np.array(frequencies, np.int32), np.array(halfwidths, np.int32))


def outcome(one, words, table_of, tables):
    """Return the symbols that a coder finds and whether it is at the end, or None."""
    coding.stream = one
    decoder = one.queue.RangeDecoder(words)
    try:
        return decode_symbols(decoder, table_of, tables).tolist(), decoder.maybe_exhausted()
    except (ValueError, AssertionError, FormatError):
        return None


def damaged(words, rng):
    """Yield words that are cut off, continued, or wrong."""
    yield words[: rng.integers(len(words) + 1)]
    yield np.append(words, rng.integers(0, 1 << 32, rng.integers(1, 3), np.uint32))
    wrong = words.copy()
    wrong[rng.integers(len(words))] ^= rng.integers(1, 1 << 32, dtype=np.uint32)
    yield wrong
    yield np.full(4, (1 << 32) - 1, np.uint32)
    yield np.empty(0, np.uint32)


@pytest.mark.parametrize("seed", range(40))
def test_the_fallback_is_constriction_symbol_for_symbol(seed, monkeypatch):
    monkeypatch.setattr(coding, "stream", None)  # restored afterwards
    rng = np.random.default_rng(seed)
    scale, count = rng.choice([0.05, 1, 4, 3000]), int(rng.integers(1, 300))
    symbols, table_of = draw(count, seed, scale, tables=4)
    pair = [(one, make_tables(0, 3, 12, 40, seed=seed)) for one in (constriction.stream, fallback)]
    streams = []
    for one, tables in pair:
        coding.stream = one
        streams.append(encode(symbols, table_of, tables))
    assert streams[0] == streams[1]
    words = np.frombuffer(streams[0], "<u4").astype(np.uint32)
    for tried in (words, *damaged(words, rng)):
        theirs, ours = (outcome(one, tried, table_of, tables) for one, tables in pair)
        assert ours == theirs


def test_a_carry_goes_through_many_words(monkeypatch):
    """Rare symbols at the upper end keep the coder just below a carry."""
    tables = Tables(np.array([1, 1, TOTAL_FREQUENCY - 3, 1], np.int32), np.array([1], np.int32))
    rng = np.random.default_rng(3)
    symbols = rng.choice([1, 1, 1, 0, -1], 3000).astype(np.int32)
    table_of = np.zeros(3000, np.uint8)
    data = encode(symbols, table_of, tables)
    np.testing.assert_array_equal(decode(data, table_of, tables), symbols)


def test_files_are_the_same_without_constriction():
    code = f"""
import sys
sys.modules["constriction"] = None
from pathlib import Path
import numpy as np
from gdncodec.codec import Codec
from gdncodec.container import ChunkType, split_slices, unpack
from gdncodec.entropy import coder, fallback
assert coder.stream is fallback
folder = Path({str(STREAMS)!r})
data = (folder / "texture.gdn").read_bytes()
codec = Codec(folder / "tiny.safetensors", engine="numpy")
container = unpack(data)
point = codec.model.at(container.header.quality)
for part in codec.decoder.coded_slices(container):
    assert point.encode(point.decode(*part)) == part.data
print(len(codec.decoder.coded_slices(container)), "slices")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "1 slices\n", run.stderr
