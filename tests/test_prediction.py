import numpy as np
import pytest

from gdncodec.entropy.prediction import differences, undo_differences
from gdncodec.errors import FormatError

SHAPES = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (1, 9), (7, 1), (5, 6), (8, 8), (13, 64)]
EVERY = np.arange(3)


def draw(shape, largest=300):
    return np.random.default_rng(0).integers(-largest, largest + 1, (3, *shape)).astype(np.int32)


def prediction_at(plane, row, column):
    """Predict one position as docs/format.md words it."""
    if row == column == 0:
        return 0
    step = 1
    while row % (2 * step) == 0 and column % (2 * step) == 0:
        step *= 2
    offsets = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    if row % (2 * step) and column % (2 * step):
        offsets = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    near = [(row + step * down, column + step * across) for down, across in offsets]
    rows, columns = plane.shape
    values = [int(plane[y, x]) for y, x in near if 0 <= y < rows and 0 <= x < columns]
    return (2 * sum(values) + len(values)) // (2 * len(values))


@pytest.mark.parametrize("shape", SHAPES)
def test_differences_are_those_of_the_format(shape):
    symbols = draw(shape)
    found = differences(symbols, EVERY)
    for plane, difference in zip(symbols, found, strict=True):
        for place in np.ndindex(shape):
            assert difference[place] == plane[place] - prediction_at(plane, *place)


def test_halves_are_rounded_up():
    row = np.array([[[-1, 5, 0]]], np.int32)  # 0 is visited first, then 2, then 1
    np.testing.assert_array_equal(differences(row, np.arange(1)), [[[-1, 5, 1]]])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("largest", [1, 1 << 21])
def test_undoing_gives_the_symbols_back(shape, largest):
    symbols = draw(shape, largest)
    found = undo_differences(differences(symbols, EVERY), EVERY, largest)
    np.testing.assert_array_equal(found, symbols)
    assert found.dtype == np.int32


def test_other_channels_stay_as_they_are():
    symbols = draw((9, 9))
    found = differences(symbols, np.array([1]))
    np.testing.assert_array_equal(found[[0, 2]], symbols[[0, 2]])
    assert (found[1] != symbols[1]).any()
    np.testing.assert_array_equal(differences(symbols, np.arange(0)), symbols)


def test_a_slope_costs_next_to_nothing():
    rows, columns = np.mgrid[:33, :33]
    slope = (rows + 2 * columns)[None].astype(np.int32)
    inner = differences(slope, np.arange(1))[0, 1:-1, 1:-1]
    assert np.abs(inner).max() <= 1


def test_differences_that_add_up_to_too_much_are_refused():
    found = np.full((1, 8, 8), 3, np.int32)
    assert np.abs(undo_differences(found, np.arange(1), 100)).max() > 8
    with pytest.raises(FormatError, match="predicted symbol is out of range"):
        undo_differences(found, np.arange(1), 8)
