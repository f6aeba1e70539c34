import json
import math

import numpy as np
import pytest
from PIL import Image

from gdncodec.errors import ModelError
from gdncodec.evaluation.codecs import CodecSpec, LearnedCodec, model_spec, open_codec
from gdncodec.evaluation.measurements import MeasurementStore, mean_curve
from gdncodec.evaluation.parallel import Failed, in_parallel
from gdncodec.evaluation.run import evaluate
from gdncodec.evaluation.tables import write_csv

JPEG = CodecSpec("anchor", "jpeg", ("jpeg",))
WEBP = CodecSpec("anchor", "webp", ("webp",))


@pytest.fixture
def images(tmp_path, photo):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    Image.fromarray(photo[:70, :90]).save(paths[0])
    Image.fromarray(photo[-33:, -47:]).save(paths[1])
    return paths


@pytest.fixture
def store(tmp_path):
    return MeasurementStore(tmp_path / "measurements.jsonl")


def test_rate_is_the_file_over_the_images_own_pixels(images, store, tiny_model):
    spec = model_spec(f"tiny={tiny_model}")
    found = evaluate(images[1:], [spec], store, qualities=[50])
    (point,) = found.measurements
    codec = open_codec(spec)
    from gdncodec.evaluation.images import read_for_measuring

    data = codec.encode(read_for_measuring(images[1]), 50)
    assert point.size == len(data)
    assert point.bpp == 8 * len(data) / (33 * 47)
    assert 0 < point.estimated_bits <= 8 * len(data)
    assert point.encoding_time > 0
    assert point.decoding_time > 0
    assert found.failures == []


def test_a_second_run_measures_nothing_again(images, store, tmp_path):
    first = evaluate(images, [JPEG], store)
    calls = []
    again = evaluate(
        images,
        [JPEG],
        MeasurementStore(tmp_path / "measurements.jsonl"),
        progress=lambda *a: calls.append(a),
    )
    assert calls == [(22, 22)]
    assert {m.size for m in again.measurements} == {m.size for m in first.measurements}


def test_an_interrupted_line_is_measured_again(images, store, tmp_path):
    evaluate(images[:1], [JPEG], store)
    path = tmp_path / "measurements.jsonl"
    text = path.read_text()
    path.write_text(text[:-40])
    again = evaluate(images[:1], [JPEG], MeasurementStore(path))
    assert len(again.measurements) == 11
    lines = path.read_text().splitlines()
    assert len(lines) == 12
    assert json.loads(lines[-1])["image"] == "a.png"


def test_a_changed_image_or_other_settings_are_measured_anew(images, store, photo):
    evaluate(images[:1], [WEBP], store)
    Image.fromarray(photo[:60, :60]).save(images[0])
    found = evaluate(images[:1], [WEBP], store)
    assert {m.width for m in found.measurements} == {60}


def test_fresh_start_forgets_everything(images, store, tmp_path):
    evaluate(images[:1], [JPEG], store)
    MeasurementStore(tmp_path / "measurements.jsonl", resume=False)
    assert not (tmp_path / "measurements.jsonl").exists()


def test_an_unreadable_image_is_named_and_skipped(images, store, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    found = evaluate([bad, *images], [JPEG], store)
    assert found.images == ["a.png", "b.png"]
    assert [str(f) for f in found.failures] == [
        "bad.png: not an image in a format that Pillow reads"
    ]


def test_a_codec_that_fails_on_an_image_is_named_and_the_image_left_out(images, store):
    class Flawed:
        name = label = "flawed"
        qualities = (1.0,)
        quality_range = (1.0, 1.0)
        step = 0.0

        def description(self):
            return "fails on wide images"

        def encode(self, photo, quality):
            if photo.pixels.shape[1] > 80:
                msg = "too wide"
                raise RuntimeError(msg)
            return photo.pixels.tobytes()

        def decode(self, data):
            return np.frombuffer(data, np.uint8).reshape(-1, 47 if len(data) < 5000 else 64, 3)

        def estimated_bits(self, data):
            return None

    from gdncodec.evaluation import opening

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_codec", lambda spec: Flawed())
        opening.opened.cache_clear()
        found = evaluate(images, [CodecSpec("anchor", "flawed", ())], store)
    opening.opened.cache_clear()
    assert found.images == ["b.png"]
    assert [str(f) for f in found.failures] == ["a.png with flawed: quality 1: too wide"]
    assert found.measurements[0].metrics["psnr-rgb"] == math.inf


def test_processes_give_what_one_process_gives(images, store, tmp_path):
    alone = evaluate(images, [JPEG], store)
    together = evaluate(images, [JPEG], MeasurementStore(tmp_path / "other.jsonl"), jobs=2)

    def sizes(found):
        return {(m.image, m.quality): m.size for m in found.measurements}

    assert sizes(together) == sizes(alone)


def test_a_failing_task_does_not_stop_the_others():
    outcomes = dict(in_parallel(lambda n: 6 // n, [3, 0, 2], 1))
    assert outcomes == {3: 2, 2: 3, 0: Failed("integer division or modulo by zero")}


def test_lines_of_older_versions_are_read(images, tmp_path):
    path = tmp_path / "old.jsonl"
    evaluate(images, [JPEG], MeasurementStore(path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["picture"] = line.pop("image")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    old = MeasurementStore(path)
    assert all(old.get(line["digest"], line["key"], line["quality"]) for line in lines)


def test_mean_curve_averages_images_and_keeps_each(images, store):
    found = evaluate(images, [WEBP], store)
    curve = mean_curve(found.codecs[0], found.measurements, found.images)
    assert curve.per_image["bpp"].shape == (11, 2)
    assert curve.results["bpp"] == pytest.approx(curve.per_image["bpp"].mean(1).tolist())
    assert "bpp-estimate" not in curve.results
    similarity = np.array(curve.results["ms-ssim-rgb"])
    assert curve.results["ms-ssim-db"] == pytest.approx((-10 * np.log10(1 - similarity)).tolist())


def test_csv_has_a_line_for_every_file(images, store, tmp_path):
    found = evaluate(images, [WEBP], store)
    write_csv(tmp_path / "m.csv", found.measurements)
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[0].startswith("image,width,height,codec,quality,bytes,bpp,bpp_estimate,psnr_rgb")
    assert len(lines) == 23
    assert {len(line.split(",")) for line in lines} == {15}


def test_codecs_of_one_name_are_refused(images, store):
    with pytest.raises(ValueError, match="different names"):
        evaluate(images, [JPEG, JPEG], store)


def test_models_of_one_rate_make_a_curve_together(tmp_path, photo):
    import torch

    from gdncodec.config import ModelConfig
    from gdncodec.modelfile import save_model
    from gdncodec.nn.model import CodecModel
    from gdncodec.training.export import export_model

    paths = []
    for n, value in enumerate((0.002, 0.05)):
        torch.manual_seed(n)
        config = ModelConfig(
            widths=(4, 4, 4), synthesis_widths=(4, 4, 4), latent_channels=5, lambdas=(value, value)
        )
        model, _ = export_model(CodecModel(config).eval(), [photo])
        paths.append(tmp_path / f"m{n}.safetensors")
        save_model(paths[-1], model, {})
    spec = model_spec(f"family={paths[1]},{paths[0]}")
    codec = LearnedCodec(spec.name, spec.sources)
    assert len(codec.qualities) == 2
    assert codec.qualities == tuple(sorted(codec.qualities))
    path = tmp_path / "a.png"
    Image.fromarray(photo[:40, :40]).save(path)
    store = MeasurementStore(tmp_path / "s.jsonl")
    found = evaluate([path], [spec], store, qualities=[1, 2, 3])
    assert [m.quality for m in found.measurements] == list(codec.qualities)


def test_models_of_variable_rate_make_no_family(tiny_model):
    spec = model_spec(f"family={tiny_model},{tiny_model}")
    with pytest.raises(ModelError, match="only models of one rate"):
        open_codec(spec)


@pytest.mark.filterwarnings("ignore")
def test_compressai_checkpoints_are_measured_like_ours(tmp_path, photo):
    models = pytest.importorskip("compressai.models")
    import torch

    torch.manual_seed(0)
    net = models.FactorizedPrior(8, 12)
    net.update()
    torch.save({"state_dict": net.state_dict()}, tmp_path / "c.pth.tar")
    spec = model_spec(f"theirs=compressai:bmshj2018-factorized:{tmp_path / 'c.pth.tar'}")
    path = tmp_path / "a.png"
    Image.fromarray(photo[:65, :47]).save(path)
    found = evaluate([path], [spec], MeasurementStore(tmp_path / "s.jsonl"))
    assert found.failures == []
    assert found.measurements[0].estimated_bits is None
    assert found.measurements[0].bpp == 8 * found.measurements[0].size / (65 * 47)


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    import torch

    pytest.importorskip("compressai")
    path = tmp_path / "c.pth"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match=r"c\.pth: damaged"):
        open_codec(model_spec(f"x=compressai:mbt2018:{path}"))
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match=r"c\.pth: no checkpoint of mbt2018"):
        open_codec(model_spec(f"x=compressai:mbt2018:{path}"))
    with pytest.raises(ModelError, match="no architecture 'vtm'"):
        open_codec(model_spec(f"x=compressai:vtm:{path}"))
    with pytest.raises(ModelError, match="no such checkpoint"):
        model_spec("x=compressai:mbt2018:gone.pth")
