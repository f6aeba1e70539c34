import math

import numpy as np
import pytest

from gdncodec.measures import middle, ms_ssim_db, psnr


def test_psnr_is_that_of_the_definition():
    assert psnr(1.0) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(0.01, peak=1.0) == pytest.approx(20.0)
    assert psnr(65535.0**2, peak=65535.0) == 0
    assert psnr(0.0) == math.inf


def test_similarity_in_decibels():
    assert ms_ssim_db(0.99) == pytest.approx(20.0)
    assert ms_ssim_db(0.0) == 0
    assert ms_ssim_db(1.0) == math.inf


def test_the_middle_leaves_as_much_on_both_sides():
    values = np.arange(42).reshape(6, 7)
    np.testing.assert_array_equal(values[middle((6, 7), (2, 3))], [[16, 17, 18], [23, 24, 25]])
    assert middle((5, 4), (2, 4)) == (slice(1, 3), slice(0, 4))
