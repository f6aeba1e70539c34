import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gdncodec.errors import GdnCodecError
from gdncodec.evaluation.curves import Curve, read_curve, write_curve
from gdncodec.evaluation.deltas import (
    NO_COMMON_RANGE,
    TOO_FEW_POINTS,
    TOO_LITTLE_OVERLAP,
    bd_psnr,
    bd_rate,
    compare_curves,
    savings,
)
from gdncodec.evaluation.tables import rate_cell

PUBLISHED = Path(__file__).parent / "golden" / "curves"


def published(name):
    return read_curve(PUBLISHED / f"{name}.json")


def straight(name, factor=1.0, low=0.1, high=1.6, n=6):
    """A curve of 6 dB a doubling of the rate, at ``factor`` times the bits."""
    rates = np.geomspace(low, high, n)
    return Curve(
        name, {"bpp": (rates * factor).tolist(), "psnr-rgb": (30 + 6 * np.log2(rates)).tolist()}
    )


def with_images(name, factors):
    base = straight(name)
    rates = np.outer(base.results["bpp"], factors)
    quality = np.repeat(np.array(base.results["psnr-rgb"])[:, None], len(factors), axis=1)
    results = {"bpp": rates.mean(1).tolist(), "psnr-rgb": base.results["psnr-rgb"]}
    return Curve(name, results, per_image={"bpp": rates, "psnr-rgb": quality})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("webp", 9.59),
        ("jpeg2000", 17.21),
        ("jpeg", 80.24),
        ("bpg", -24.56),
        ("bmshj2018-hyperprior", -21.13),
    ],
)
def test_published_curves_give_the_known_bd_rates(name, expected):
    anchor = published("bmshj2018-factorized")
    assert bd_rate(anchor, published(name)) == pytest.approx(expected, abs=0.01)
    assert bd_rate(anchor, published(name), method="akima") == pytest.approx(expected, abs=0.15)


def test_twenty_per_cent_fewer_bits_are_minus_twenty_per_cent_everywhere():
    found = compare_curves(straight("a"), straight("b", 0.8))
    assert found.bd_rate == pytest.approx(-20)
    assert found.bd_rate_akima == pytest.approx(-20)
    assert found.quarters == pytest.approx((-20,) * 4)
    assert found.bd_psnr == pytest.approx(6 * math.log2(1 / 0.8))
    assert found.interval is None
    quality, percent = savings(straight("a"), straight("b", 0.8))
    assert quality[0] == pytest.approx(found.common[0])
    assert percent == pytest.approx(-20)


def test_quarters_cover_the_common_range_of_rate_evenly():
    anchor = straight("a", n=9)
    results = dict(anchor.results)
    results["bpp"] = [r * (0.5 if q < 24 else 1) for r, q in zip(*results.values(), strict=True)]
    quarters = compare_curves(anchor, Curve("b", results)).quarters
    assert quarters[0] < -30
    assert abs(quarters[3]) < 1


@pytest.mark.parametrize(
    "other",
    [straight("b", low=3, high=9), straight("b", factor=100)],
    ids=["neither rate nor quality", "no rate"],
)
def test_disjoint_curves_have_no_common_range_and_no_number(other):
    found = compare_curves(straight("a"), other)
    assert found.bd_rate == found.bd_psnr == found.bd_rate_akima == NO_COMMON_RANGE
    assert set(found.quarters) == {NO_COMMON_RANGE}
    assert found.common is None
    assert savings(straight("a"), other)[0].size == 0


def test_a_tenth_of_a_decibel_in_common_gives_no_number():
    top = 30 + 6 * math.log2(1.6)
    barely = Curve("b", {"bpp": [1.5, 2, 3, 4], "psnr-rgb": [top - 0.1, 36, 38, 40]})
    found = compare_curves(straight("a"), barely)
    assert found.bd_rate == found.bd_psnr == TOO_LITTLE_OVERLAP
    assert found.caution is None


@pytest.mark.parametrize(
    ("other", "caution"),
    [
        (straight("b", 0.8, n=2), "from 2 points"),
        (straight("b", 0.8, low=1.0, high=9), "only 4.1 of 19.0 dB in common"),
        (straight("b", 0.8), None),
    ],
    ids=["two points", "little in common", "enough"],
)
def test_numbers_from_few_points_or_little_in_common_come_with_a_caution(other, caution):
    found = compare_curves(straight("a"), other)
    assert found.bd_rate == pytest.approx(-20)
    assert found.caution == caution
    said = rate_cell(found, explain=True)
    assert said == ("-20.0 %" if caution is None else f"-20.0 % (not reliable: {caution})")
    assert rate_cell(found) == ("-20.0 %" if caution is None else "-20.0 % *")


def test_a_single_point_is_too_few():
    one = Curve("one", {"bpp": [0.5], "psnr-rgb": [30.0]})
    assert bd_rate(straight("a"), one) == TOO_FEW_POINTS
    assert bd_psnr(straight("a"), one, metric="ms-ssim-db") == TOO_FEW_POINTS


def test_points_that_are_no_better_or_not_finite_are_left_out():
    curve = Curve("c", {"bpp": [0.4, 0.1, 0.2, 0.2, 0.8], "psnr-rgb": [29.0, 28, 30, 31, math.inf]})
    rate, quality = curve.points("psnr-rgb")
    assert rate.tolist() == [0.1, 0.2]
    assert quality.tolist() == [28, 30]


def test_the_interval_over_images_holds_the_estimate_and_is_repeatable():
    anchor = with_images("a", [1, 1, 1, 1, 1, 1])
    test = with_images("b", [0.7, 0.75, 0.8, 0.8, 0.85, 0.9])
    found = compare_curves(anchor, test, resamples=200)
    low, high = found.interval
    assert -30 < low < found.bd_rate < high < -10
    assert compare_curves(anchor, test, resamples=200).interval == found.interval


def test_a_curve_survives_writing_and_reading(tmp_path):
    curve = published("jpeg")
    write_curve(tmp_path / "c.json", curve)
    again = read_curve(tmp_path / "c.json")
    assert (again.name, again.description) == (curve.name, curve.description)
    assert again.results == curve.results


def test_infinite_values_become_null_and_no_invalid_json(tmp_path):
    curve = Curve("c", {"bpp": [1.0, 2], "psnr-rgb": [40, math.inf]})
    write_curve(tmp_path / "c.json", curve)
    assert "Infinity" not in (tmp_path / "c.json").read_text()
    assert math.isnan(read_curve(tmp_path / "c.json").results["psnr-rgb"][1])


def test_bare_lists_and_similarity_in_decibels_are_read(tmp_path):
    path = tmp_path / "bare.json"
    path.write_text(json.dumps({"bpp": [2, 1], "psnr-rgb": [40, 30], "ms-ssim-db-rgb": [20, 10]}))
    curve = read_curve(path)
    assert curve.name == "bare"
    assert curve.results["bpp"] == [1, 2]
    assert curve.results["ms-ssim-db"] == [10, 20]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"bpp": [1, 2], "psnr-rgb": [3]}', '{"bpp": [0], "psnr-rgb": [3]}']
)
def test_a_file_that_is_no_curve_is_named(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(GdnCodecError, match=r"bad\.json: not a result file"):
        read_curve(path)


def test_a_missing_result_file_is_named(tmp_path):
    with pytest.raises(GdnCodecError, match=r"gone\.json: cannot be read"):
        read_curve(tmp_path / "gone.json")


def test_compressai_draws_our_file(tmp_path):
    if find_spec("compressai") is None:
        pytest.skip("CompressAI is not installed")
    write_curve(tmp_path / "ours.json", published("webp"))
    # The same as "python -m compressai.utils.plot", twice in one process: importing takes seconds.
    script = """
import runpy, sys
for metric in ("psnr", "ms-ssim"):
    sys.argv = ["plot", "-f", "ours.json", "-m", metric, "-o", metric + ".png"]
    runpy.run_module("compressai.utils.plot", run_name="__main__", alter_sys=True)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=tmp_path)
    assert all((tmp_path / f"{metric}.png").stat().st_size > 1000 for metric in ("psnr", "ms-ssim"))
