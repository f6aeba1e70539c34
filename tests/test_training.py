import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError
from gdncodec.nn.loss import RateDistortionLoss
from gdncodec.nn.model import CodecModel
from gdncodec.training import loop
from gdncodec.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gdncodec.training.data import CropSampler
from gdncodec.training.export import export_model
from gdncodec.training.loop import TrainingOptions, train

CONFIG = ModelConfig(widths=(4, 6, 8), synthesis_widths=(4, 6, 8), latent_channels=6)


def test_three_steps_change_every_parameter_and_leave_checkpoints(tmp_path, picture):
    torch.manual_seed(0)
    before = CodecModel(CONFIG).state_dict()
    options = TrainingOptions(
        steps=3,
        batch=2,
        crop=64,
        warmup=1,
        decay=0,
        mixed=0,
        frozen=0,
        ema=0.0,
        precision="float32",
    )
    lines = []
    network = train(CONFIG, options, [picture], [picture], tmp_path, report=lines.append)
    assert all(torch.isfinite(v).all() for v in network.state_dict().values())
    same = [k for k, v in network.state_dict().items() if torch.equal(v, before[k])]
    assert same == []
    assert "dB" in lines[-1]
    checkpoint = load_checkpoint(tmp_path / "last.safetensors")
    assert checkpoint.step == 3
    assert checkpoint.config == CONFIG


def test_the_loss_falls(tmp_path, picture):
    torch.manual_seed(0)
    x = torch.from_numpy(picture[:64, :64].copy()).permute(2, 0, 1)[None].float() / 255
    quality = torch.tensor([60.0])

    def cost(network):
        out = network(x, quality, "round")
        return (
            out.bits.sum() / 4096 + CONFIG.lambda_at(60) * 255**2 * (out.x_hat - x).square().mean()
        ).item()

    start = cost(CodecModel(CONFIG))
    options = TrainingOptions(steps=60, batch=2, crop=64, warmup=5, ema=0.5, precision="float32")
    network = train(CONFIG, options, [picture], [], tmp_path, report=lambda _: None)
    assert cost(network) < 0.7 * start


def test_a_resumed_run_continues_from_the_checkpoint(tmp_path, picture):
    options = TrainingOptions(steps=2, batch=1, crop=64, warmup=1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    train(CONFIG, options, [picture], [], tmp_path / "a", report=lambda _: None)
    first = load_checkpoint(tmp_path / "a" / "last.safetensors")
    other = ModelConfig(latent_channels=5)  # the checkpoint's configuration wins
    train(
        other, options, [picture], [], tmp_path / "b",
        resume=tmp_path / "a" / "last.safetensors", report=lambda _: None,
    )  # fmt: skip
    second = load_checkpoint(tmp_path / "b" / "last.safetensors")
    assert second.step == 4
    assert second.config == CONFIG
    moved = (second.weights["g_a.0.weight"] - first.weights["g_a.0.weight"]).abs().max()
    assert 0 < moved < 0.1


def test_the_state_before_the_decay_is_kept_and_the_analysis_stands_still_at_the_end(
    tmp_path, picture, monkeypatch
):
    seen = []
    original = CodecModel.forward

    def spy(self, x, quality, quantization="noise"):
        seen.append((quantization, self.g_a[0].weight.requires_grad, self.g_a[0].weight.clone()))
        return original(self, x, quality, quantization)

    monkeypatch.setattr(CodecModel, "forward", spy)
    options = TrainingOptions(
        steps=10, batch=1, crop=32, warmup=1, decay=0.5, mixed=0.4, frozen=0.2
    )
    train(CONFIG, options, [picture], [], tmp_path, report=lambda _: None)
    assert [q for q, _, _ in seen] == ["noise"] * 6 + ["mixed"] * 2 + ["round"] * 2
    assert [g for _, g, _ in seen] == [True] * 8 + [False] * 2
    assert torch.equal(seen[-1][2], seen[-2][2])
    assert load_checkpoint(tmp_path / "before-decay.safetensors").step == 5


def test_a_step_with_a_gradient_that_is_no_number_is_skipped(tmp_path, picture, monkeypatch):
    monkeypatch.setattr(loop, "rate_distortion", lambda out, x: (out.bits.sum() * torch.nan,) * 2)
    options = TrainingOptions(steps=2, batch=1, crop=32, warmup=1)
    network = train(CONFIG, options, [picture], [], tmp_path, report=lambda _: None)
    assert all(torch.isfinite(v).all() for v in network.state_dict().values())


def test_qualities_cover_the_range_in_equal_parts():
    qualities = loop._stratified_qualities(8, CONFIG)
    parts = ((qualities + 2) // 13).long().sort().values
    assert parts.tolist() == list(range(8))
    one = ModelConfig(lambdas=(0.01, 0.01))
    assert loop._stratified_qualities(3, one).tolist() == pytest.approx([one.fixed_quality] * 3)


def test_the_normalised_loss_weighs_all_lambdas_alike():
    torch.manual_seed(0)
    criterion = RateDistortionLoss((0.001, 0.2), momentum=0.5)
    lambdas = torch.logspace(math.log10(0.001), math.log10(0.2), 12)
    bpp = torch.linspace(0.1, 2, 12)
    mse = 0.0005 * torch.ones(12)
    for _ in range(60):
        criterion(bpp, mse, lambdas)
    each = torch.stack(
        [criterion(bpp[i : i + 1], mse[i : i + 1], lambdas[i : i + 1]) for i in range(12)]
    )
    assert each.min() > 0.6
    assert each.max() < 1.6


def test_crops_have_their_size_and_range(picture):
    batch = CropSampler([picture], 64, seed=1).draw(5)
    assert batch.shape == (5, 3, 64, 64)
    assert batch.dtype == torch.float32
    assert batch.min() >= 0
    assert batch.max() <= 1
    again = CropSampler([picture], 64, seed=1).draw(5)
    assert torch.equal(batch, again)
    assert not torch.equal(batch, CropSampler([picture], 64, seed=2).draw(5))


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    network = CodecModel(CONFIG)
    weights = network.state_dict()
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint(CONFIG, 7, weights, weights))
    back = load_checkpoint(tmp_path / "a.safetensors")
    assert back.step == 7
    assert back.config == CONFIG
    assert all(torch.equal(back.weights[k], v) for k, v in weights.items())


def test_what_is_no_checkpoint_raises_model_error(tmp_path, tiny_model):
    (tmp_path / "a").write_bytes(b"rubbish")
    for path in (tmp_path / "a", tmp_path / "none", tiny_model):
        with pytest.raises(ModelError, match="not a training checkpoint"):
            load_checkpoint(path)


def test_an_exported_model_says_the_same_as_the_network(picture):
    from gdncodec.engines.torch import TorchEngine

    torch.manual_seed(1)
    network = CodecModel(CONFIG).eval()
    model, _ = export_model(network, [picture])
    engine = TorchEngine(model)
    pixels = picture[:64, :96]
    y = engine.analysis(pixels)
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = network.g_a(x - 0.5)[0].numpy()
        gain, inverse = network.gains(torch.tensor([33.0]))
    np.testing.assert_allclose(y, expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_allclose(model.gain(33.0), gain.flatten().numpy(), rtol=1e-5)
    np.testing.assert_allclose(model.inverse_gain(33.0), inverse.flatten().numpy(), rtol=1e-5)


def test_training_without_an_end_is_refused():
    with pytest.raises(ValueError, match="steps or max_minutes"):
        TrainingOptions()


def test_switchable_norms_end_with_statistics_of_the_averaged_weights(tmp_path, picture):
    config = dataclasses.replace(CONFIG, norm="switchable", synthesis_norm="switchable")
    options = TrainingOptions(steps=2, batch=2, crop=32, warmup=1, statistics_batches=6)
    network = train(config, options, [picture], [], tmp_path, report=lambda _: None)
    x = torch.from_numpy(picture[:96, :96].copy()).permute(2, 0, 1)[None].float() / 255 - 0.5
    with torch.no_grad():
        features = network.g_a[0](x)
    layer = network.g_a[1][0]
    assert not layer.training
    near = (layer.running_mean.flatten() - features.mean(dim=(0, 2, 3))).abs().mean()
    assert near < 0.5 * features.std()


def test_a_batch_too_small_for_the_norm_is_refused(tmp_path, picture):
    config = dataclasses.replace(CONFIG, norm="selfnorm", synthesis_norm="selfnorm")
    with pytest.raises(ValueError, match="selfnorm needs a batch of at least 2"):
        train(config, TrainingOptions(steps=1, batch=1, crop=32), [picture], [], tmp_path)


def test_the_embedded_models_training_can_be_continued(tmp_path, picture):
    path = Path(__file__).parents[1] / "models" / "training" / "photo.before-decay.safetensors"
    checkpoint = load_checkpoint(path)
    assert checkpoint.config.latent_channels == 192
    options = TrainingOptions(steps=1, batch=1, crop=32, warmup=1)
    train(
        CONFIG, options, [picture], [], tmp_path, resume=path, report=lambda _: None
    )  # fmt: skip
    again = load_checkpoint(tmp_path / "last.safetensors")
    assert again.config == checkpoint.config
    assert again.step == checkpoint.step + 1
