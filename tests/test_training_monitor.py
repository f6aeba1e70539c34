import io
import math
import random
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from gdncodec.config import QUALITY_LAMBDAS, ModelConfig
from gdncodec.errors import GdnCodecError
from gdncodec.nn.loss import rate_distortion
from gdncodec.nn.model import CodecModel
from gdncodec.training.monitor import Monitor
from gdncodec.training.validate import Point, reconstruct, score, validate

CONFIG = ModelConfig(widths=(4, 6, 8), synthesis_widths=(4, 6, 8), latent_channels=6)
SIMILAR = ModelConfig(
    widths=(4, 6, 8),
    synthesis_widths=(4, 6, 8),
    latent_channels=6,
    metric="ms-ssim",
    lambdas=QUALITY_LAMBDAS["ms-ssim"],
)

FIGURES = {
    "loss": 0.98765,
    "bpp": 0.5,
    "psnr": 31.25,
    "rate": 1e-3,
    "patches_per_second": 70.1,
    "seconds_left": 3723.0,
    "skipped": 0,
    "rollbacks": 0,
}
POINTS = [Point(0, 0.2, 26.0), Point(100, 1.5, 36.0)]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CodecModel(CONFIG)


@pytest.fixture(scope="module")
def images(photo):
    tensor = torch.from_numpy(photo).permute(2, 0, 1)
    return [tensor, tensor.flip(1)[:, :80, :99]]


def events(out):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(out / "tensorboard"), size_guidance={"images": 0}).Reload()


def image(accumulator, tag):
    return np.asarray(Image.open(io.BytesIO(accumulator.Images(tag)[-1].encoded_image_string)))


def test_points_are_means_over_images_with_rounded_latents(network, images):
    points = validate(network, images)
    assert [p.quality for p in points] == [0, 25, 50, 75, 100]
    expected = []
    for part in (images[0][:, 3:147, 5:197], images[1][:, :, 1:97]):
        x = part[None] / 255
        with torch.no_grad():
            out = network.eval()(x, torch.tensor([75.0]), "round")
        bpp, mse, _ = rate_distortion(out._replace(x_hat=out.x_hat.clamp(0, 1)), x)
        expected.append((bpp.item(), -10 * math.log10(mse.item())))
    assert points[3][1:3] == pytest.approx(np.mean(expected, axis=0).tolist(), rel=1e-5)
    assert points[3].ms_ssim is None
    assert points[4].bpp > points[0].bpp


def test_large_images_are_measured_on_their_middle(network, images):
    whole = images[0]
    assert validate(network, [whole], side=64) == validate(network, [whole[:, 43:107, 69:133]])


def test_a_network_of_one_rate_has_one_point_at_its_quality(images):
    config = ModelConfig(
        widths=(4, 6, 8), synthesis_widths=(4, 6, 8), latent_channels=6, lambdas=(0.01, 0.01)
    )
    (point,) = validate(CodecModel(config), images)
    assert point.quality == config.fixed_quality


def test_without_images_there_are_no_points(network):
    assert validate(network, []) == []


def test_points_of_a_network_for_ms_ssim_have_it():
    big = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 176, 180), np.uint8))
    points = validate(CodecModel(SIMILAR), [big])
    assert all(0 <= p.ms_ssim < 1 for p in points)
    with pytest.raises(ValueError, match="above 160"):
        validate(CodecModel(SIMILAR), [big[:, :160]])


def test_measuring_draws_no_random_number_and_leaves_the_modes_of_all_layers(network, images):
    network.train()
    network.g_a[1].eval()
    modes = [m.training for m in network.modules()]
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    validate(network, images[1:])
    reconstruct(network, images[1])
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]
    assert [m.training for m in network.modules()] == modes


def test_the_modes_come_back_after_an_error(network):
    network.train()
    with pytest.raises(RuntimeError):
        validate(network, [torch.zeros(3, 8, 8, dtype=torch.uint8)])
    assert all(m.training for m in network.modules())


def test_the_score_is_the_mean_logarithm_of_the_cost():
    low, high = (
        math.log(bpp + weight * 255**2 * 10 ** (-psnr / 10))
        for (bpp, psnr), weight in zip([(0.2, 26), (1.5, 36)], CONFIG.lambdas, strict=True)
    )
    assert score(POINTS, CONFIG) == pytest.approx((low + high) / 2)
    better = [POINTS[0]._replace(psnr=26.1), POINTS[1]]
    assert score(better, CONFIG) < score(POINTS, CONFIG)
    similar = [Point(0, 0.2, 26.0, 0.9), Point(100, 1.5, 36.0, 0.99)]
    expected = (math.log(0.2 + 1.74 * 0.1) + math.log(1.5 + 268 * 0.01)) / 2
    assert score(similar, SIMILAR) == pytest.approx(expected)


def test_a_reconstruction_is_as_large_as_the_middle_it_shows(network, images):
    original, decoded = reconstruct(network, images[0])
    assert torch.equal(original, images[0][:, 3:147, 5:197])
    assert (decoded.shape, decoded.dtype) == (original.shape, torch.uint8)


def test_event_files_hold_the_figures_the_points_and_the_images(tmp_path):
    monitor = Monitor(tmp_path, report=lambda _: None)
    monitor.progress(10, 0.1, FIGURES)
    monitor.progress(20, 0.2, {**FIGURES, "loss": 0.5})
    pair = tuple(torch.full((3, 32, 48), v, dtype=torch.uint8) for v in (10, 200))
    monitor.points(20, [*POINTS, Point(50, 0.7, 31.0, 0.97)], pair, score=0.25)
    monitor.close()
    monitor.close()
    found = events(tmp_path)
    scalars = {
        tag: [(e.step, pytest.approx(e.value)) for e in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }
    assert scalars.pop("train/loss") == [(10, 0.98765), (20, 0.5)]
    for name in ("bpp", "psnr", "rate", "patches_per_second", "skipped", "rollbacks"):
        assert scalars.pop(f"train/{name}") == [(10, FIGURES[name]), (20, FIGURES[name])]
    assert scalars == {
        "validation/bpp_q0": [(20, 0.2)],
        "validation/psnr_q0": [(20, 26.0)],
        "validation/bpp_q50": [(20, 0.7)],
        "validation/psnr_q50": [(20, 31.0)],
        "validation/ms_ssim_q50": [(20, 0.97)],
        "validation/bpp_q100": [(20, 1.5)],
        "validation/psnr_q100": [(20, 36.0)],
        "validation/score": [(20, 0.25)],
    }
    both = image(found, "validation/original_and_reconstruction")
    assert both.shape == (32, 96, 3)
    assert (both[:, :48] == 10).all()
    assert (both[:, 48:] == 200).all()
    plot = image(found, "validation/rate_distortion")
    assert plot.shape == (400, 600, 3)
    assert 0.5 < (plot == 255).all(axis=2).mean() < 0.99  # a drawing on white


def test_what_was_written_after_the_state_that_is_resumed_is_hidden(tmp_path):
    first = Monitor(tmp_path, report=lambda _: None)
    for step in (10, 20, 30):
        first.progress(step, 0.1, FIGURES)
    first.close()
    resumed = Monitor(tmp_path, report=lambda _: None, step=15)
    resumed.progress(25, 0.2, FIGURES)
    resumed.close()
    assert [e.step for e in events(tmp_path).Scalars("train/loss")] == [10, 25]


def test_lines_tell_rate_psnr_loss_speed_and_time_left(tmp_path):
    lines = []
    monitor = Monitor(tmp_path, report=lines.append)
    monitor.progress(10, 0.1, FIGURES)
    monitor.progress(20, 0.2, {**FIGURES, "skipped": 2, "seconds_left": math.nan})
    monitor.points(20, POINTS)
    monitor.note("a word")
    monitor.close()
    figures = "loss 0.988, 0.500 bpp, 31.25 dB, 70.1 patches/s, learning rate 1.0e-03"
    assert lines == [
        f" 10% step 10, 1:02:03 left, {figures}",
        f" 20% step 20, 2 skipped, {figures}",
        "step 20: validation 0.200 bpp 26.00 dB, 1.500 bpp 36.00 dB",
        "a word",
    ]


def test_without_a_terminal_there_is_a_line_now_and_then(tmp_path, capsys):
    monitor = Monitor(tmp_path)
    for step in range(50):
        monitor.progress(step, step / 50, FIGURES)
    monitor.note("a word")
    monitor.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(",")[0] for line in err.splitlines()] == ["  0% step 0", "a word"]


def test_on_a_terminal_there_is_a_bar(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "150")
    monitor = Monitor(tmp_path)
    monitor.progress(10, 0.5, FIGURES)
    monitor.note("a word")
    monitor.close()
    shown = terminal.getvalue()
    assert " 50%|####    | step 10, 1:02:03 left, loss 0.988" in shown.replace("█", "#")
    assert "a word\n" in shown


def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path, monkeypatch):
    monkeypatch.setattr("gdncodec.extras.find_spec", lambda name: None)
    with pytest.raises(
        GdnCodecError, match=r"matplotlib, tensorboard, tqdm .*pip install 'gdncodec\[train\]'"
    ):
        Monitor(tmp_path)


def test_a_full_disk_ends_the_event_file_and_not_the_training(tmp_path, monkeypatch):
    lines = []
    monitor = Monitor(tmp_path, report=lines.append)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for method in ("add_scalar", "add_image", "flush"):
        monkeypatch.setattr(monitor._writer, method, full)
    monitor.progress(1, 0.5, {"loss": 1.0})
    monitor.progress(2, 1.0, {"loss": 0.5})
    monitor.close()
    assert sum("TensorBoard logging stopped" in line for line in lines) == 1
    assert any("step 2" in line for line in lines)
