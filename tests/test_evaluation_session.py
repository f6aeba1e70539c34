import csv
import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gdncodec.errors import GdnCodecError, ImageError, UsageError
from gdncodec.evaluation import COMPARED_ANCHORS, EVALUATED_ANCHORS
from gdncodec.evaluation import images as images_module
from gdncodec.evaluation.anchors import ANCHORS
from gdncodec.evaluation.compare import compare_image
from gdncodec.evaluation.images import read_for_measuring
from gdncodec.evaluation.session import EvaluationRequest, run_evaluation
from gdncodec.extras import check_installed

PUBLISHED = Path(__file__).parent / "golden" / "curves"


@pytest.fixture(scope="module")
def images(tmp_path_factory, photo):
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(photo[:64, :80]).save(folder / "one.png")
    Image.fromarray(photo[-50:, -70:]).save(folder / "two.png")
    return folder


def request_for(images, tiny_model, out):
    return EvaluationRequest(
        [images],
        out,
        models=[f"tiny={tiny_model}", f"again={tiny_model}"],
        anchors=["jpeg", "webp"],
        published=[PUBLISHED / "webp.json"],
        qualities=[10, 60],
        shown_bpp=[1.0],
        quiet=True,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, images, tiny_model):
    """A folder with an evaluation, and what was said."""
    said = []
    out = tmp_path_factory.mktemp("out")
    run_evaluation(request_for(images, tiny_model, out), said.append)
    return out, said


def test_every_promised_file_is_there(finished):
    out, said = finished
    plots = ["rd-psnr", "rd-ms-ssim", "savings", "images", "time"]
    expected = {
        "measurements.jsonl",
        "measurements.csv",
        "summary.md",
        "bd.json",
        "report.html",
        *(f"curves/{name}.json" for name in ("tiny", "again", "jpeg", "webp")),
        *(f"plots/{name}.{kind}" for name in plots for kind in ("png", "svg")),
    }
    found = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert expected == {name for name in found if not name.startswith("shown/")}
    assert said == []


def test_curves_are_sorted_by_rate_and_hold_what_compressai_wants(finished):
    data = json.loads((finished[0] / "curves" / "jpeg.json").read_text())
    assert data["name"] == "JPEG"
    results = data["results"]
    assert {"psnr-rgb", "ms-ssim-rgb", "bpp", "encoding_time", "decoding_time"} <= results.keys()
    assert results["bpp"] == sorted(results["bpp"])


def test_csv_and_curves_agree(finished):
    with (finished[0] / "measurements.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["codec"] == "tiny"]
    assert len(rows) == 4
    mean = np.mean([float(row["bpp"]) for row in rows if row["quality"] == "10"])
    curve = json.loads((finished[0] / "curves" / "tiny.json").read_text())["results"]
    assert curve["bpp"][curve["quality"].index(10)] == pytest.approx(mean, abs=1e-5)
    for row in rows:
        assert float(row["bpp"]) == pytest.approx(
            8 * int(row["bytes"]) / (int(row["width"]) * int(row["height"])), abs=1e-6
        )
        assert float(row["bpp_estimate"]) < float(row["bpp"])


def test_the_summary_has_a_table_of_models_by_norm(finished):
    text = (finished[0] / "summary.md").read_text()
    assert "## Models by norm: BD-rate" in text
    assert "| tiny | gdn1 | 0 |" in text
    assert "## The others against WebP (published)" in text


def test_nothing_tells_where_it_was_made(finished, images):
    for path in finished[0].rglob("*"):
        if path.suffix in {".json", ".md", ".csv", ".html", ".svg", ".jsonl"}:
            text = path.read_text()
            assert str(images) not in text
            assert str(finished[0]) not in text


def test_the_same_numbers_give_the_same_plot(finished, images, tiny_model):
    out = finished[0]
    before = (out / "plots" / "rd-psnr.svg").read_bytes()
    run_evaluation(request_for(images, tiny_model, out), print)
    assert (out / "plots" / "rd-psnr.svg").read_bytes() == before


def test_failures_come_after_everything_is_written(tmp_path, images, tiny_model):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    request = EvaluationRequest(
        [bad, images / "one.png"],
        tmp_path / "out",
        models=[str(tiny_model)],
        anchors=["jpeg"],
        qualities=[50],
        shown_bpp=[],
        quiet=True,
    )
    with pytest.raises(
        ImageError, match=r"1 could not be measured; the rest is in .*\n  bad\.png: "
    ):
        run_evaluation(request, print)
    assert "bad.png" in (tmp_path / "out" / "summary.md").read_text()
    assert (tmp_path / "out" / "report.html").is_file()


def test_only_unreadable_images_still_end_with_their_names(tmp_path, tiny_model):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    request = EvaluationRequest([bad], tmp_path / "out", models=[str(tiny_model)], quiet=True)
    with pytest.raises(ImageError, match=r"bad\.png: not an image"):
        run_evaluation(request, print)


def test_an_anchor_that_is_missing_is_said_and_written(tmp_path, images, tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    said = []
    request = EvaluationRequest(
        [images / "one.png"],
        tmp_path,
        models=[str(tiny_model)],
        anchors=["heic"],
        qualities=[50],
        shown_bpp=[],
        quiet=True,
    )
    run_evaluation(request, said.append)
    assert said == ["left out: HEIC: not installed (pip install pillow-heif)"]
    assert said[0].removeprefix("left out: ") in (tmp_path / "report.html").read_text()
    assert said[0].removeprefix("left out: ") in (tmp_path / "summary.md").read_text()


def test_an_unknown_reference_lists_the_curves(tmp_path, images, tiny_model):
    request = EvaluationRequest(
        [images / "one.png"],
        tmp_path,
        models=[str(tiny_model)],
        anchors=["jpeg"],
        qualities=[50],
        reference="vtm",
        shown_bpp=[],
        quiet=True,
    )
    with pytest.raises(ValueError, match="no curve named 'vtm' to refer to; there are: tiny, JPEG"):
        run_evaluation(request, print)
    assert list(tmp_path.iterdir()) == []  # it is found out before anything is measured


def test_curves_of_codecs_that_are_no_longer_measured_go(tmp_path, images, tiny_model):
    request = request_for(images / "one.png", tiny_model, tmp_path)
    run_evaluation(dataclasses.replace(request, anchors=["jpeg", "webp"], shown_bpp=[]), print)
    mine = tmp_path / "curves" / "mine.json"
    mine.write_text((tmp_path / "curves" / "jpeg.json").read_text())
    run_evaluation(dataclasses.replace(request, anchors=["jpeg"], shown_bpp=[]), print)
    assert sorted(p.name for p in mine.parent.iterdir()) == [
        "again.json", "jpeg.json", "mine.json", "tiny.json",
    ]  # fmt: skip


def test_animations_are_refused_without_naming_an_option_that_is_not_there(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(
        ImageError, match=r"a\.gif: it has several frames; .* still images"
    ) as caught:
        read_for_measuring(tmp_path / "a.gif")
    assert "--frame" not in str(caught.value)


def test_a_name_that_is_no_text_is_shown_as_its_bytes(tmp_path, photo, tiny_model):
    path = tmp_path / os.fsdecode(b"\xff\xfe.png")
    Image.fromarray(photo[:48, :64]).save(path)
    out = tmp_path / "out"
    run_evaluation(
        EvaluationRequest(
            [path], out, [str(tiny_model)], anchors=["jpeg"], qualities=[10], shown_bpp=[1.0]
        ),
        print,
    )
    for name in ("report.html", "measurements.csv"):
        assert r"\udcff\udcfe.png" in (out / name).read_text("utf-8")
    compare_image(path, tmp_path / "page.html", model=str(tiny_model), anchors=["jpeg"])
    assert r"\udcff\udcfe.png" in (tmp_path / "page.html").read_text("utf-8")


def test_an_image_is_compared_at_equal_bytes(tmp_path, images, tiny_model):
    page = tmp_path / "page.html"
    options = {"model": f"tiny={tiny_model}", "anchors": ["jpeg", "webp"], "quiet": True}
    shown = compare_image(images / "one.png", page, bpp=2.0, **options)
    assert [s.codec for s in shown] == ["tiny", "JPEG", "WebP"]
    target = 2 * 64 * 80 / 8
    assert [s.size for s in shown[1:]] == pytest.approx([target] * 2, rel=0.15)
    assert "one.png at about 1,280 bytes" in page.read_text()
    with pytest.raises(FileExistsError):
        compare_image(images / "one.png", page, bpp=2.0, **options)


def test_without_a_size_that_of_the_model_sets_all(tmp_path, images, tiny_model):
    options = {"model": f"tiny={tiny_model}", "anchors": ["jpeg", "webp"], "quiet": True}
    shown = compare_image(images / "one.png", tmp_path / "b.html", **options)
    assert shown[0].size == shown[0].target


def test_a_size_that_a_codec_cannot_reach_is_said(tmp_path, images, tiny_model):
    said = []
    options = {"model": f"tiny={tiny_model}", "anchors": ["jpeg"], "quiet": True}
    shown = compare_image(
        images / "one.png", tmp_path / "a.html", bpp=0.001, say=said.append, **options
    )
    assert [line.split(" does not reach 1 bytes")[0] for line in said] == ["tiny", "JPEG"]
    assert f"its nearest is {shown[1].size:,}" in said[1]


def test_a_size_that_makes_no_sense_is_refused(tmp_path, images, tiny_model):
    options = {"model": f"tiny={tiny_model}", "anchors": ["jpeg"], "quiet": True}
    with pytest.raises(UsageError, match="must be positive"):
        compare_image(images / "one.png", tmp_path / "a.html", bpp=-1.0, **options)


def test_the_default_anchors_are_known():
    assert set(COMPARED_ANCHORS) <= ANCHORS.keys()
    assert tuple(ANCHORS) == EVALUATED_ANCHORS


@pytest.fixture
def reads(monkeypatch):
    """Names of the images that were decoded, and of those whose bytes were hashed."""
    decoded, hashed = [], []
    read_image, read_bytes = images_module.read_image, Path.read_bytes

    def decoding(path, **options):
        decoded.append(path.name)
        return read_image(path, **options)

    def hashing(path):
        hashed.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(images_module, "read_image", decoding)
    monkeypatch.setattr(Path, "read_bytes", hashing)
    return decoded, hashed


def test_eval_decodes_and_hashes_every_image_once(tmp_path, photo, tiny_model, reads):
    for i in range(4):  # more than are kept in memory
        Image.fromarray(photo[i : i + 50, :60]).save(tmp_path / f"{i}.png")
    request = dataclasses.replace(request_for(tmp_path, tiny_model, tmp_path / "out"), shown_bpp=())
    run_evaluation(request, print)
    decoded, hashed = reads
    assert decoded == [f"{i}.png" for i in range(4)]
    assert [name for name in hashed if name.endswith(".png")] == decoded


def test_compare_decodes_its_image_once(tmp_path, photo, tiny_model, reads):
    Image.fromarray(photo[:50, :60]).save(tmp_path / "a.png")
    options = {"model": f"tiny={tiny_model}", "anchors": ["jpeg", "webp"], "quiet": True}
    compare_image(tmp_path / "a.png", tmp_path / "a.html", **options)
    assert reads[0] == ["a.png"]


def test_a_missing_package_is_named_before_the_work():
    with pytest.raises(GdnCodecError, match=r"no_such_package not installed: pip install .*eval"):
        check_installed("numpy", "no_such_package", extra="eval")
