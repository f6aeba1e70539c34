import numpy as np
import pytest

from gdncodec.entropy.phases import Magnitudes, by_phase, in_raster, zeros_by_phase


def test_phases_take_a_slice_in_raster_order():
    parts = by_phase(np.arange(12).reshape(1, 3, 4))
    assert [p.tolist() for p in parts] == [[[0, 2, 8, 10]], [[5, 7]], [[1, 3, 4, 6, 9, 11]]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (5, 4), (4, 5)])
def test_raster_undoes_phases(shape):
    values = np.random.default_rng(0).integers(-9, 9, (3, *shape))
    np.testing.assert_array_equal(in_raster(by_phase(values), shape), values)
    empty = zeros_by_phase(3, shape, np.int16)
    assert [p.shape for p in empty] == [p.shape for p in by_phase(values)]
    assert not in_raster(empty, shape).any()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (6, 5)])
def test_magnitudes_learned_in_turn_are_those_of_all_symbols(shape):
    symbols = np.random.default_rng(0).integers(-99, 99, (4, *shape))
    channels = np.array([2, 0])
    known, learning = Magnitudes.of(symbols), Magnitudes(4, shape)
    for phase, part in enumerate(by_phase(symbols)):
        near = learning.sum_near(phase, channels)
        np.testing.assert_array_equal(near, known.sum_near(phase, channels))
        learning.learn(phase, channels, part[channels])
        np.testing.assert_array_equal(
            learning.of_phase[phase][channels], np.minimum(np.abs(part[channels]), 63)
        )
    assert not learning.of_phase[0][[1, 3]].any()


def test_the_smallest_number_of_a_type_has_a_magnitude():
    assert Magnitudes.of(np.full((1, 1, 1), -128, np.int8)).of_phase[0] == 63
