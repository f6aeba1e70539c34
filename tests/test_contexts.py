import dataclasses

import numpy as np
import pytest

from gdncodec.coder import TOTAL_FREQUENCY, Tables
from gdncodec.contexts import (
    LEVELS,
    PHASES,
    QUALITY_ROWS,
    Contexts,
    decode_slice,
    encode_slice,
    slice_information,
)
from gdncodec.errors import FormatError, ModelError

M = 9


@pytest.fixture(scope="module")
def tables():
    """Tables of rising spread, half widths 1 to 12."""
    parts = []
    for half in range(1, 13):
        weights = np.exp(-np.abs(np.arange(-half, half + 2)) * 2.0 / half)
        frequencies = np.maximum(1, (weights / weights.sum() * TOTAL_FREQUENCY).astype(np.int64))
        frequencies[half] += TOTAL_FREQUENCY - frequencies.sum()
        parts.append(frequencies)
    return Tables(np.concatenate(parts).astype(np.int32), np.arange(1, 13, dtype=np.int32))


@pytest.fixture(scope="module")
def contexts():
    rng = np.random.default_rng(0)
    groups = np.array([2, 0, 1, 0, 3, 1, 2, 3, 3], np.uint8)
    weights = rng.integers(0, 900, (PHASES, M, M)).astype(np.int16)
    weights[:, groups[:, None] <= groups[None, :]] = 0
    table_of = np.minimum(
        rng.integers(0, 3, (QUALITY_ROWS, M, PHASES, 1)) + np.arange(LEVELS), 11
    ).astype(np.uint8)
    return Contexts(groups, weights, rng.integers(0, 300, M).astype(np.int16), table_of)


def draw(shape, seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    return np.rint(rng.laplace(0, scale, (M, *shape))).astype(np.int32)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 7), (13, 1), (5, 6), (64, 64)])
@pytest.mark.parametrize("scale", [0.3, 2.0, 50.0])
def test_round_trip_is_exact(shape, scale, contexts, tables):
    symbols = draw(shape, scale=scale)
    data = encode_slice(symbols, contexts, tables, 37)
    found = decode_slice(data, shape, contexts, tables, 37)
    np.testing.assert_array_equal(found, symbols)


def test_coded_bits_are_close_to_the_information(contexts, tables):
    symbols = draw((40, 40))
    bits = slice_information(symbols, contexts, tables, 50)
    coded = 8 * len(encode_slice(symbols, contexts, tables, 50))
    assert bits < coded < 1.005 * bits + 64


def test_a_symbol_is_coded_by_what_came_before_it_alone(contexts, tables):
    """Changing the last group's last phase leaves every earlier table as it was."""
    symbols = draw((6, 6))
    other = symbols.copy()
    last = np.flatnonzero(contexts.group_of_channel == 3)
    other[last, 0, 1] += 5  # row plus column is odd: the second phase
    flat = [np.minimum(np.abs(s.reshape(M, -1)), 63).astype(float) for s in (symbols, other)]
    for step in contexts.steps(6, 6):
        levels = [contexts.levels(step, magnitudes, (6, 6)) for magnitudes in flat]
        np.testing.assert_array_equal(*levels)


def test_contexts_follow_the_written_formula(contexts):
    symbols = draw((5, 7), scale=8.0)
    magnitudes = np.minimum(np.abs(symbols), 63)
    thresholds = [8, 14, 26, 47, 84, 151, 272, 490, 882, 1587, 2856, 5141, 9255, 16658, 29985]
    for step in contexts.steps(5, 7):
        levels = contexts.levels(step, magnitudes.reshape(M, -1).astype(float), (5, 7))
        for i, channel in enumerate(step.channels):
            for j, position in enumerate(step.positions):
                row, column = divmod(int(position), 7)
                assert (row + column) % 2 == step.phase
                total = sum(
                    int(contexts.weights[step.phase, channel, c]) * int(magnitudes[c, row, column])
                    for c in range(M)
                    if contexts.group_of_channel[c] < contexts.group_of_channel[channel]
                )
                if step.phase == 1:
                    around = [(row - 1, column), (row + 1, column), (row, column - 1),
                              (row, column + 1)]  # fmt: skip
                    total += int(contexts.neighbour_weights[channel]) * sum(
                        int(magnitudes[channel, r, c])
                        for r, c in around
                        if 0 <= r < 5 and 0 <= c < 7
                    )
                assert levels[i, j] == sum(t <= total for t in thresholds)


def test_damaged_words_raise_or_give_symbols_and_nothing_worse(contexts, tables):
    symbols = draw((8, 8))
    data = encode_slice(symbols, contexts, tables, 5)
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            found = decode_slice(bytes(damaged), (8, 8), contexts, tables, 5)
        except FormatError:
            continue
        assert found.shape == symbols.shape


@pytest.mark.parametrize("extra", [b"\1", b"\1\2\3\4" * 4])
def test_words_of_the_wrong_length_raise_format_error(contexts, tables, extra):
    data = encode_slice(draw((3, 3)), contexts, tables, 5)
    with pytest.raises(FormatError):
        decode_slice(data + extra, (3, 3), contexts, tables, 5)


def test_contexts_that_look_ahead_are_refused(contexts):
    weights = contexts.weights.copy()
    weights[0, 1, 4] = 1  # channel 4 comes in a later group than channel 1
    with pytest.raises(ModelError, match="inconsistent"):
        dataclasses.replace(contexts, weights=weights)


@pytest.mark.parametrize("name", ["weights", "neighbour_weights", "table_of"])
def test_arrays_of_the_wrong_shape_are_refused(contexts, name):
    with pytest.raises(ModelError, match="inconsistent"):
        dataclasses.replace(contexts, **{name: getattr(contexts, name)[:1]})
