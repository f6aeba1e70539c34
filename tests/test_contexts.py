import dataclasses

import numpy as np
import pytest

from gdncodec.entropy.coder import TOTAL_FREQUENCY, Tables
from gdncodec.entropy.contexts import (
    LEVELS,
    MAX_WEIGHTS,
    QUALITY_ROWS,
    SILENT,
    Contexts,
    levels_of,
)
from gdncodec.entropy.phases import PHASES, Magnitudes, by_phase
from gdncodec.entropy.slices import (
    LARGEST_SYMBOL,
    decode_slice,
    encode_slice,
    slice_information,
    slice_prices,
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
    """Two sets: the second from quality 50 on; channel 8 is silent below quality 20.

    Channels 1, 7 and 8 are predicted.
    """
    rng = np.random.default_rng(0)
    groups = np.array([[2, 0, 1, 0, 3, 1, 2, 3, 3], [0, 1, 1, 2, 0, 3, 3, 2, 3]], np.uint8)
    weights = rng.integers(0, 900, (2, PHASES, M, M)).astype(np.int16)
    for w, g in zip(weights, groups, strict=True):
        w[:, g[:, None] <= g[None, :]] = 0
    table_of = np.minimum(
        rng.integers(0, 3, (QUALITY_ROWS, M, PHASES, 1)) + np.arange(LEVELS), 11
    ).astype(np.uint8)
    table_of[:20, 8] = SILENT
    set_of_row = (np.arange(QUALITY_ROWS) >= 50).astype(np.uint8)
    neighbours = rng.integers(0, 300, (2, PHASES, M)).astype(np.int16)
    neighbours[:, 0] = 0
    return Contexts(set_of_row, groups, weights, neighbours, table_of, np.array([1, 7, 8]))


def draw(shape, seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    return np.rint(rng.laplace(0, scale, (M, *shape))).astype(np.int32)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 7), (13, 1), (5, 6), (64, 64)])
@pytest.mark.parametrize("scale", [0.3, 2.0, 50.0])
@pytest.mark.parametrize("row", [3, 37, 80])
def test_round_trip_is_exact(shape, scale, row, contexts, tables):
    symbols = draw(shape, scale=scale)
    symbols[contexts.at(row).silent] = 0
    data = encode_slice(symbols, contexts.at(row), tables)
    found = decode_slice(data, shape, contexts.at(row), tables)
    np.testing.assert_array_equal(found, symbols)


@pytest.mark.parametrize("predicted", [[9], [2, 2], [3, 1]])
def test_predicted_channels_are_ascending_and_exist(contexts, predicted):
    with pytest.raises(ModelError, match="inconsistent"):
        dataclasses.replace(contexts, predicted=np.array(predicted))


def test_prediction_saves_bits_where_neighbours_are_alike(contexts, tables):
    symbols = np.zeros((M, 33, 33), np.int32)
    symbols[7] = 40 + np.add.outer(np.arange(33), np.arange(33))
    plain = dataclasses.replace(contexts, predicted=np.arange(0))
    bits = [slice_information(symbols, c.at(50), tables) for c in (contexts, plain)]
    assert bits[0] < 0.5 * bits[1]


def test_the_largest_symbols_are_coded_and_larger_ones_refused(contexts, tables):
    symbols = np.zeros((M, 2, 2), np.int32)
    symbols[1] = [[LARGEST_SYMBOL, -LARGEST_SYMBOL], [-LARGEST_SYMBOL, LARGEST_SYMBOL]]
    data = encode_slice(symbols, contexts.at(50), tables)
    np.testing.assert_array_equal(decode_slice(data, (2, 2), contexts.at(50), tables), symbols)
    symbols[1, 0, 0] += 1
    with pytest.raises(ValueError, match="must be within"):
        encode_slice(symbols, contexts.at(50), tables)


def test_prices_are_those_of_the_differences(contexts, tables):
    symbols = draw((6, 6))
    before = slice_information(symbols, contexts.at(50), tables)
    prices = slice_prices(symbols, symbols, contexts.at(50), tables)
    last = contexts.group_of_channel[1] == 3  # nothing depends on its last phase
    for channel in np.flatnonzero(last):
        moved = symbols.copy()
        moved[channel, 2, 1] += 1
        after = slice_information(moved, contexts.at(50), tables)
        assert after - before == pytest.approx(float(prices[channel, 2, 1]), abs=1e-3)


def test_neighbours_in_the_first_phase_are_refused(contexts):
    neighbours = contexts.neighbour_weights.copy()
    neighbours[0, 0, 3] = 1
    with pytest.raises(ModelError, match="inconsistent"):
        dataclasses.replace(contexts, neighbour_weights=neighbours)


def test_coded_bits_are_close_to_the_information(contexts, tables):
    symbols = draw((40, 40))
    bits = slice_information(symbols, contexts.at(50), tables)
    coded = 8 * len(encode_slice(symbols, contexts.at(50), tables))
    assert bits < coded < 1.005 * bits + 64


def test_a_symbol_is_coded_by_what_came_before_it_alone(contexts, tables):
    """Changing the last group's last phase leaves every earlier table as it was."""
    symbols = draw((6, 6))
    other = symbols.copy()
    last = np.flatnonzero(contexts.group_of_channel[0] == 3)
    other[last, 0, 1] += 5  # row plus column is odd: the last phase
    for step in contexts.at(30).steps:
        levels = [levels_of(step, Magnitudes.of(s)) for s in (symbols, other)]
        np.testing.assert_array_equal(*levels)


@pytest.mark.parametrize("row", [3, 37, 80])
def test_contexts_follow_the_written_formula(row, contexts):
    chosen = int(row >= 50)
    groups, weights = contexts.group_of_channel[chosen], contexts.weights[chosen]
    symbols = draw((5, 7), scale=8.0)
    thresholds = [8, 14, 26, 47, 84, 151, 272, 490, 882, 1587, 2856, 5141, 9255, 16658, 29985]
    symbols[contexts.at(row).silent] = 0
    magnitudes = np.minimum(np.abs(symbols), 63)
    places = by_phase(np.arange(5 * 7).reshape(1, 5, 7))
    for step in contexts.at(row).steps:
        levels = levels_of(step, Magnitudes.of(symbols))
        assert levels.shape == (len(step.channels), places[step.phase].size)
        for i, channel in enumerate(step.channels):
            for j, position in enumerate(places[step.phase][0]):
                y, x = divmod(int(position), 7)
                assert step.phase == {(0, 0): 0, (1, 1): 1}.get((y % 2, x % 2), 2)
                total = sum(
                    int(weights[step.phase, channel, c]) * int(magnitudes[c, y, x])
                    for c in range(M)
                    if groups[c] < groups[channel]
                )
                around = {
                    0: [],
                    1: [(y - 1, x - 1), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x + 1)],
                    2: [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)],
                }[step.phase]
                total += int(contexts.neighbour_weights[chosen, step.phase, channel]) * sum(
                    int(magnitudes[channel, r, c]) for r, c in around if 0 <= r < 5 and 0 <= c < 7
                )
                assert levels[i, j] == sum(t <= total for t in thresholds)


def test_damaged_words_raise_or_give_symbols_and_nothing_worse(contexts, tables):
    symbols = draw((8, 8))
    data = encode_slice(symbols, contexts.at(25), tables)
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            found = decode_slice(bytes(damaged), (8, 8), contexts.at(25), tables)
        except FormatError:
            continue
        assert found.shape == symbols.shape


@pytest.mark.parametrize("extra", [b"\1", b"\1\2\3\4" * 4])
def test_words_of_the_wrong_length_raise_format_error(contexts, tables, extra):
    data = encode_slice(draw((3, 3)), contexts.at(25), tables)
    with pytest.raises(FormatError):
        decode_slice(data + extra, (3, 3), contexts.at(25), tables)


def test_contexts_that_look_ahead_are_refused(contexts):
    weights = contexts.weights.copy()
    weights[0, 0, 1, 4] = 1  # channel 4 comes in a later group than channel 1
    with pytest.raises(ModelError, match="inconsistent"):
        dataclasses.replace(contexts, weights=weights)


def test_weights_whose_sums_float32_could_not_hold_are_refused(contexts):
    weights, neighbours = contexts.weights.astype(np.int64), contexts.neighbour_weights.copy()
    weights[0, 1, 4], neighbours[0, 1, 4] = 0, 1
    weights[0, 1, 4, 1] = most = MAX_WEIGHTS - 4
    assert np.float32((most + 4) * 63) == (most + 4) * 63 < 2**24
    dataclasses.replace(contexts, weights=weights, neighbour_weights=neighbours)
    weights[0, 1, 4, 1] += 1
    with pytest.raises(ModelError, match="inconsistent"):
        dataclasses.replace(contexts, weights=weights, neighbour_weights=neighbours)


def test_a_channel_that_is_silent_in_part_is_refused(contexts):
    table_of = contexts.table_of.copy()
    table_of[60, 3, 1, 5] = SILENT
    with pytest.raises(ModelError, match="inconsistent"):
        dataclasses.replace(contexts, table_of=table_of)


def test_a_silent_channel_costs_nothing_and_must_be_zero(contexts, tables):
    symbols = draw((6, 6))
    with pytest.raises(ValueError, match="silent at this quality must be zero"):
        encode_slice(symbols, contexts.at(10), tables)
    symbols[8] = 0
    coded = dataclasses.replace(
        contexts, table_of=np.where(contexts.table_of == SILENT, 0, contexts.table_of)
    )
    with_it = slice_information(symbols, coded.at(10), tables)
    assert slice_information(symbols, contexts.at(10), tables) < with_it


@pytest.mark.parametrize(
    "name", ["set_of_row", "group_of_channel", "weights", "neighbour_weights", "table_of"]
)
def test_arrays_of_the_wrong_shape_are_refused(contexts, name):
    with pytest.raises(ModelError, match="inconsistent"):
        dataclasses.replace(contexts, **{name: getattr(contexts, name)[:1].repeat(3, axis=0)})
