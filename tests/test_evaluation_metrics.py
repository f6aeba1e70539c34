import math

import numpy as np
import pytest

from gdncodec.evaluation import metrics
from gdncodec.evaluation.metrics import measure, ms_ssim, psnr_rgb, psnr_ycbcr


@pytest.fixture(scope="module")
def pair():
    """A smooth image and a noisy copy, (190, 181, 3): odd sides exercise the halving."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:190, 0:181]
    smooth = 128 + 80 * np.sin(rows / 13)[..., None] * np.cos(columns[..., None] / (9, 14, 21))
    noisy = smooth + generator.normal(0, 9, smooth.shape)
    return tuple(np.clip(np.rint(a), 0, 255).astype(np.uint8) for a in (smooth, noisy))


def test_psnr_of_a_known_error_is_the_textbook_number():
    black = np.zeros((4, 6, 3), np.uint8)
    assert psnr_rgb(black, black + 1) == pytest.approx(48.1308, abs=1e-4)


def test_equal_images_have_infinite_psnr_and_a_similarity_of_one():
    grey = np.full((16, 16, 3), 77, np.uint8)
    found = measure(grey, grey)
    assert found["psnr-rgb"] == found["psnr-611"] == found["ms-ssim-db"] == math.inf
    assert found["ms-ssim-rgb"] == 1


def test_an_error_of_luma_alone_is_no_error_of_chroma():
    grey = np.full((8, 8, 3), 100, np.uint8)
    luma, weighted = psnr_ycbcr(grey, grey + 2)
    assert luma == pytest.approx(20 * math.log10(255 / 2))
    assert weighted > 100


def test_weighted_psnr_follows_bt709_written_out(pair):
    x, y = (a.astype(float) for a in pair)
    d = x - y
    luma = d @ (0.2126, 0.7152, 0.0722)
    planes = luma, (d[..., 2] - luma) / 1.8556, (d[..., 0] - luma) / 1.5748
    psnr_y, cb, cr = (10 * math.log10(255**2 / np.mean(p**2)) for p in planes)
    assert psnr_ycbcr(*pair) == pytest.approx((psnr_y, (6 * psnr_y + cb + cr) / 8))


def test_the_rule_for_small_images_continues_the_one_for_large_ones(pair):
    by_package = ms_ssim(*pair)
    assert metrics._small_ms_ssim(*pair, 5) == pytest.approx(by_package, abs=5e-6)


@pytest.mark.parametrize(
    "size", [(160, 300), (81, 80), (41, 41), (20, 90), (10, 10), (3, 17), (1, 1)]
)
def test_similarity_is_defined_for_small_images(size, pair):
    x, y = (a[: size[0], : size[1]] for a in pair)
    assert 0 < ms_ssim(x, y) < 1
    assert ms_ssim(x, x) == 1


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 5, 3), np.uint8)]
)
def test_wrong_arrays_are_refused(wrong):
    with pytest.raises(ValueError, match=r"expected uint8|one shape"):
        measure(np.zeros((4, 4, 3), np.uint8), wrong)


def test_lpips_never_downloads_its_weights(monkeypatch, tmp_path):
    pytest.importorskip("lpips")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert str(tmp_path) in metrics.lpips_missing()
    metrics._lpips_network.cache_clear()
    photo = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(RuntimeError, match="LPIPS cannot be measured"):
        metrics.lpips_distance(photo, photo)
