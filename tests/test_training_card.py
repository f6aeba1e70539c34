import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import gdncodec
from gdncodec.codec import Codec
from gdncodec.config import QUALITY_LAMBDAS, ModelConfig
from gdncodec.errors import ImageError
from gdncodec.evaluation.metrics import ms_ssim, psnr_rgb
from gdncodec.images.raster import RasterImage
from gdncodec.modelfile import save_model
from gdncodec.nn.model import CodecModel
from gdncodec.training.card import for_model_file, run_card, write_card
from gdncodec.training.checkpoint import Counters
from gdncodec.training.export import export_model
from gdncodec.training.file_metrics import format_points, measure_files, write_points
from gdncodec.training.options import TrainingOptions
from gdncodec.training.validate import Point

CPU = torch.device("cpu")


def manifest_of(number):
    files = {f"{i}.png": f"{i:064x}" for i in range(number)}
    return {"images": number, "sha256": "ab" * 32, "files": files}


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/some/where/gdncodec", "train", "--data", "my images"])
    counters = Counters(step=1200, minutes=61.234, skipped=3, rollbacks=1)
    data = {"training": manifest_of(3), "validation": manifest_of(1)}
    options = TrainingOptions(steps=1200, seed=5)
    return run_card(ModelConfig(), options, counters, data=data, device=CPU, tables={"bits": 0.5})


@pytest.fixture(scope="module")
def files(tmp_path_factory, photo):
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(photo).save(folder / "a.png")
    Image.fromarray(photo[:70, :91]).save(folder / "b.png")
    return sorted(folder.iterdir())


def test_a_card_tells_how_to_repeat_the_run(card):
    assert card["command"] == "gdncodec train --data 'my images'"
    assert card["seed"] == card["options"]["seed"] == 5
    assert card["config"]["latent_channels"] == 320
    assert card["data"] == {"training": manifest_of(3), "validation": manifest_of(1)}
    assert (card["steps"], card["minutes"]) == (1200, 61.23)
    assert (card["skipped_steps"], card["rollbacks"]) == (3, 1)
    assert card["tables"] == {"bits": 0.5}
    assert card["versions"]["torch"] == str(torch.__version__)
    assert card["versions"]["gdncodec"] == gdncodec.__version__
    assert {"python", "numpy", "pillow", "safetensors"} <= card["versions"].keys()
    assert card["hardware"]["device"] == "cpu"
    assert card["hardware"]["threads"] == torch.get_num_threads()


def test_a_card_is_written_as_json_and_replaces_the_one_before(card, tmp_path):
    path = tmp_path / "model.json"
    write_card(path, {"old": 1})
    write_card(path, card)
    # JSON has no tuples.
    assert json.loads(path.read_text()) == json.loads(json.dumps(card))
    assert [p.name for p in tmp_path.iterdir()] == ["model.json"]


def test_long_lists_of_hashes_stay_out_of_the_model_file(card):
    assert for_model_file(card) == card
    card["data"]["training"] = manifest_of(1001)
    short = for_model_file(card)
    assert short["data"]["training"] == {"images": 1001, "sha256": "ab" * 32}
    assert short["data"]["validation"] == manifest_of(1)
    assert len(card["data"]["training"]["files"]) == 1001


def test_points_of_files_are_those_of_the_bytes_that_compress_writes(tiny_model, files):
    rows = measure_files(tiny_model, files, [Point(30, 0.5, 20.0), Point(80.5, 1.0, 22.0)])
    assert [row["quality"] for row in rows] == [30, 80.5]
    for row in rows:
        bpps, psnrs = [], []
        for file in files:
            pixels = np.asarray(Image.open(file))
            data = gdncodec.compress(pixels, quality=row["quality"], model=tiny_model)
            decoded = Codec(tiny_model).decompress(data).pixels
            bpps.append(8 * len(data) / pixels[..., 0].size)
            psnrs.append(psnr_rgb(pixels, decoded))
        assert row["bpp"] == pytest.approx(np.mean(bpps))
        assert row["psnr"] == pytest.approx(np.mean(psnrs))
        assert 0.5 * row["bpp"] < row["bpp_tables"] < row["bpp"]
    assert (rows[1]["bpp_estimated"], rows[1]["psnr_estimated"]) == (1.0, 22.0)


def test_large_images_are_measured_on_their_middle(tiny_model, files, monkeypatch):
    points = [Point(30, 0.5, 20.0)]
    small = np.asarray(Image.open(files[0]))[43:107, 69:133]
    Image.fromarray(small).save(files[0].parent / "small.png")
    expected = measure_files(tiny_model, [files[0].parent / "small.png"], points)
    monkeypatch.setattr("gdncodec.training.file_metrics.LARGEST_SIDE", 64)
    assert measure_files(tiny_model, [files[0]], points) == expected


def test_files_of_a_codec_for_ms_ssim_have_it_too(tmp_path, photo):
    torch.manual_seed(3)
    config = ModelConfig(
        widths=(6, 8, 10),
        synthesis_widths=(6, 8, 10),
        latent_channels=12,
        metric="ms-ssim",
        lambdas=QUALITY_LAMBDAS["ms-ssim"],
    )
    big = np.tile(photo, (2, 1, 1))
    Image.fromarray(big).save(tmp_path / "a.png")
    model, _ = export_model(CodecModel(config).eval(), [big])
    path = tmp_path / "model.safetensors"
    save_model(path, model, {})
    (row,) = measure_files(path, [tmp_path / "a.png"], [Point(60, 0.5, 20.0, 0.9)])
    codec = Codec(path)
    decoded = codec.decompress(codec.compress(RasterImage(big), 60)).pixels
    assert row["ms_ssim"] == pytest.approx(ms_ssim(big, decoded), abs=1e-5)
    assert row["ms_ssim_estimated"] == 0.9
    assert format_points([row]).splitlines()[0].endswith("MS-SSIM of files  estimated")


def test_a_file_that_is_no_image_is_named(tiny_model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"rubbish")
    with pytest.raises(ImageError, match=r"a\.png"):
        measure_files(tiny_model, [tmp_path / "a.png"], [Point(50, 1.0, 20.0)])


def test_the_table_shows_the_estimated_beside_the_real_bpp(tmp_path):
    row = {
        "quality": 25.0,
        "bpp": 0.51234,
        "bpp_tables": 0.5,
        "bpp_estimated": 0.61,
        "psnr": 30.126,
        "psnr_estimated": 30.2,
    }
    rows = [row, {**row, "quality": 62.5, "psnr": math.pi}]
    head, first, second = format_points(rows).splitlines()
    assert head.split("  ") == [
        "quality", "bpp of files", "tables", "estimated", "PSNR of files", "estimated",
    ]  # fmt: skip
    assert first.split() == ["25", "0.512", "0.500", "0.610", "30.13", "dB", "30.20", "dB"]
    assert second.split()[0] == "62.5"
    assert len(head) == len(first) == len(second)
    write_points(tmp_path / "rd.json", rows)
    assert json.loads((tmp_path / "rd.json").read_text()) == rows
