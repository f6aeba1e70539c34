"""Options, and the training loop in one process."""

import copy
import dataclasses
import errno
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import CONFIG, Notes, as_tensor, options, run

from gdncodec.config import QUALITY_LAMBDAS, ModelConfig
from gdncodec.errors import GdnCodecError
from gdncodec.nn.loss import RateDistortionLoss
from gdncodec.nn.model import CodecModel
from gdncodec.norms import crossnorm
from gdncodec.training import loop
from gdncodec.training.checkpoint import Checkpoint, Counters, load_checkpoint
from gdncodec.training.distributed import ALONE, Workers
from gdncodec.training.meter import Meter
from gdncodec.training.options import Stage, TrainingOptions, resolve_options


@pytest.mark.parametrize(
    ("norm", "optimizer"),
    [*[(n, "adam") for n in ("gdn1", "batch", "mabn", "switchable", "sncn")], ("gdn", "soap")],
)
def test_three_steps_change_every_parameter_and_leave_checkpoints(tmp_path, photo, norm, optimizer):
    config = dataclasses.replace(CONFIG, norm=norm, synthesis_norm=norm)
    how = options(
        steps=3, decay=0.5, mixed=0, frozen=0, ema=0.0, optimizer=optimizer, statistics_batches=1
    )
    torch.manual_seed(0)
    before = CodecModel(config).state_dict()
    state, notes = run(how, tmp_path, [photo], config=config, validation=[photo])
    after = state.average.state_dict()
    assert all(torch.isfinite(v).all() for v in after.values())
    assert [k for k, v in after.items() if torch.equal(v, before[k])] == []
    assert list(notes.losses) == [1, 2, 3]
    assert min(notes.scores) == pytest.approx(state.counters.best)
    last = load_checkpoint(tmp_path / "last.safetensors")
    assert last.counters.step == 2  # at the last report; the session saves the end
    assert last.config == config
    light = load_checkpoint(tmp_path / "before-decay.safetensors")
    assert light.counters.step == 2
    assert not light.is_complete
    assert not load_checkpoint(tmp_path / "best.safetensors").is_complete


def test_each_step_activates_two_places_of_crossnorm(tmp_path, photo, monkeypatch):
    acted = []

    def exchange(x, *_, **__):
        acted.append(x.shape[1])
        return x

    monkeypatch.setattr(crossnorm, "exchange_statistics", exchange)
    config = dataclasses.replace(CONFIG, norm="crossnorm:places=2,probability=1")
    run(options(steps=3), tmp_path, [photo], config=config)
    assert len(acted) == 6
    assert set(acted) <= set(CONFIG.widths)


def test_three_steps_on_ms_ssim_need_crops_of_several_scales(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (192, 200, 3), np.uint8)
    config = dataclasses.replace(CONFIG, metric="ms-ssim", lambdas=QUALITY_LAMBDAS["ms-ssim"])
    _, notes = run(options(steps=3, crop=192), tmp_path, [noise], config=config)
    assert all(math.isfinite(loss) for loss in notes.losses.values())
    with pytest.raises(ValueError, match="ms-ssim needs crops above 160 pixels, got 128"):
        resolve_options({"metric": "ms-ssim", "crop": 128}, None, ALONE)


def test_the_loss_falls(tmp_path, photo):
    x = as_tensor(photo[:64, :64])[None].float() / 255
    quality = torch.tensor([60.0])

    @torch.no_grad()
    def cost(network):
        out = network(x, quality, "round")
        error = (out.x_hat - x).square().mean()
        return (out.bits.sum() / 4096 + CONFIG.lambda_at(60) * 255**2 * error).item()

    torch.manual_seed(0)
    start = cost(CodecModel(CONFIG))
    how = options(steps=60, crop=64, ema=0.5, learning_rate=3e-3, report_seconds=60.0)
    state, _ = run(how, tmp_path, [photo])
    assert cost(state.average) < 0.7 * start


def test_a_compiled_network_learns_the_same(tmp_path, photo, monkeypatch):
    plain, _ = run(options(steps=2, precision="float32", compile="off"), tmp_path, [photo])
    compiled = []

    def compile_eagerly(self, **kwargs):  # the real one takes a minute
        compiled.append(kwargs)
        torch.nn.Module.compile(self, backend="eager", **kwargs)

    monkeypatch.setattr(CodecModel, "compile", compile_eagerly, raising=False)
    how = options(steps=2, precision="float32", compile="on")
    state, _ = run(how, tmp_path, [photo])
    assert compiled == [{"dynamic": False}]
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(state.model.state_dict()[name], value)


@pytest.mark.parametrize(
    ("how", "compiler", "expected"),
    [
        ({"max_minutes": 30}, True, True),
        ({}, True, True),  # 120 minutes
        ({"max_minutes": 30}, False, False),
        ({"max_minutes": 5}, True, False),
        ({"steps": 10**6}, True, False),  # nobody knows how long they take
        ({"steps": 10, "compile": "on"}, False, True),
        ({"compile": "off"}, True, False),
    ],
)
def test_on_the_cpu_only_long_runs_are_compiled(how, compiler, expected, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if compiler else None)
    assert loop._compiles(TrainingOptions(**how), ALONE) == expected


def test_stages_and_rate_follow_the_progress():
    how = options(steps=100, warmup=4, decay=0.25, mixed=0.2, frozen=0.05)
    moments = [0.0, 0.79, 0.8, 0.94, 0.95, 0.99]
    assert [how.stage(p) for p in moments] == [
        *[Stage("noise", False)] * 2, *[Stage("mixed", False)] * 2, *[Stage("round", True)] * 2,
    ]  # fmt: skip
    assert [how.rate(step, step / 100) for step in (0, 1, 3, 50, 74)] == [0.25, 0.5, 1, 1, 1]
    assert how.rate(75, 0.75) == 1
    assert how.rate(90, 0.9) == pytest.approx(0.4)
    assert options(steps=1, warmup=0, decay=0).rate(0, 0.99) == 1


def test_progress_goes_by_steps_alone_unless_time_is_limited():
    assert options(steps=10).progress(5, minutes=1e9) == 0.5
    assert options(max_minutes=4).progress(10**9, minutes=1) == 0.25
    assert options(steps=10, max_minutes=4).progress(5, minutes=3) == 0.75
    assert options().progress(0, minutes=60) == 0.5


def test_the_analysis_stands_still_at_the_end(tmp_path, photo, monkeypatch):
    seen = []
    original = CodecModel.forward

    def spy(self, x, quality, quantization="noise", noise=None):
        if self.training:
            first = self.g_a[0].weight
            seen.append((quantization, first.requires_grad, first.detach().clone()))
            assert noise.shape == (1, 8, 2, 2)
            assert -0.5 <= noise.min() < noise.max() < 0.5
        return original(self, x, quality, quantization, noise)

    monkeypatch.setattr(CodecModel, "forward", spy)
    how = options(steps=10, batch=1, decay=0.5, mixed=0.4, frozen=0.2)
    state, _ = run(how, tmp_path, [photo])
    assert [q for q, _, _ in seen] == ["noise"] * 6 + ["mixed"] * 2 + ["round"] * 2
    assert [g for _, g, _ in seen] == [True] * 8 + [False] * 2
    assert torch.equal(seen[-1][2], seen[-2][2])
    assert torch.equal(seen[-1][2], state.model.g_a[0].weight)
    assert load_checkpoint(tmp_path / "before-decay.safetensors").counters.step == 5


def poison(monkeypatch, is_bad):
    """Make the gradients of some calls, counted from 0, NaN."""
    calls = []
    original = loop.rate_distortion

    def poisoned(out, x, metric):
        calls.append(0)
        result = original(out, x, metric)
        bad = is_bad(len(calls) - 1)
        return result._replace(bpp=result.bpp * torch.nan) if bad else result

    monkeypatch.setattr(loop, "rate_distortion", poisoned)
    return calls


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_a_step_whose_gradient_is_no_number_changes_nothing_but_the_count(
    tmp_path, photo, monkeypatch, optimizer
):
    config = dataclasses.replace(CONFIG, norm="batch", synthesis_norm="batch")
    states = []

    def keep(_):
        states.append(copy.deepcopy([current.model.state_dict(), current.criterion.state_dict()]))

    poison(monkeypatch, lambda call: call == 2)
    original = loop._step

    def spy(state, *rest):
        nonlocal current
        current = state
        return original(state, *rest)

    current = None
    monkeypatch.setattr(loop, "_step", spy)
    how = options(steps=4, optimizer=optimizer)
    state, notes = run(how, tmp_path, [photo], config=config, notes=Notes(keep))
    for before, after in zip(states[1], states[2], strict=True):  # the third step
        assert all(torch.equal(before[k], after[k]) for k in before)
    assert not torch.equal(states[2][0]["g_a.0.weight"], states[3][0]["g_a.0.weight"])
    assert state.counters.skipped == 1
    assert math.isnan(notes.losses[3])
    assert math.isfinite(notes.losses[4])
    assert notes.figures[4]["skipped"] == 1


def test_ten_bad_gradients_in_a_row_lead_back_to_the_last_good_state(tmp_path, photo, monkeypatch):
    calls = poison(monkeypatch, lambda call: 3 <= call < 13)
    state, notes = run(options(steps=15, decay=0), tmp_path, [photo])
    assert len(calls) == 13 + 12
    counters = state.counters
    assert (counters.step, counters.skipped, counters.rollbacks) == (15, 10, 1)
    assert state.rate == 0.5 * TrainingOptions().learning_rate
    assert any("went back to step 3 with half the learning rate" in text for text in notes.lines)
    assert all(torch.isfinite(v).all() for v in state.average.state_dict().values())


def test_a_run_that_stays_bad_is_given_up_and_its_good_state_kept(tmp_path, photo, monkeypatch):
    calls = poison(monkeypatch, lambda call: call >= 2)
    with pytest.raises(GdnCodecError, match=r"gave up at step 12: after 3 rollbacks .* step 2"):
        run(options(steps=50), tmp_path, [photo])
    assert len(calls) == 2 + 4 * loop._FAULTS
    last = load_checkpoint(tmp_path / "last.safetensors")
    assert last.counters.step == 2
    assert (last.counters.rollbacks, last.counters.slowdown) == (0, 1 / 16)
    assert last.is_complete


def test_a_full_disk_leaves_the_checkpoint_of_before_and_training_goes_on(
    tmp_path, photo, monkeypatch
):
    original = Path.write_bytes

    def write(self, data):
        if full:
            original(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, data)

    full = False
    monkeypatch.setattr(Path, "write_bytes", write)

    def fill(step):
        nonlocal full
        full = step >= 3

    state, notes = run(options(steps=4), tmp_path, [photo], notes=Notes(fill))
    assert state.counters.step == 4
    assert load_checkpoint(tmp_path / "last.safetensors").counters.step == 2
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]
    assert any("last.safetensors could not be written" in text for text in notes.lines)


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
    distortion = 32.5 * torch.ones(12)
    for _ in range(60):
        criterion(bpp, distortion, lambdas)
    each = torch.stack(
        [criterion(bpp[i : i + 1], distortion[i : i + 1], lambdas[i : i + 1]) for i in range(12)]
    )
    assert each.min() > 0.6
    assert each.max() < 1.6


def test_a_meter_gives_means_over_the_steps_that_were_done():
    meter = Meter(ALONE)
    good, bad = torch.tensor(False), torch.tensor(True)
    meter.add(good, torch.tensor([1.0, 2.0, 30.0]))
    meter.add(bad, torch.full((3,), torch.nan))
    meter.add(bad, torch.full((3,), torch.inf))
    assert meter.read() == (2, 2)
    meter.add(good, torch.tensor([2.0, 4.0, 32.0]))
    assert meter.read() == (0, 0)
    assert meter.means() == (4, {"loss": 1.5, "bpp": 3.0, "psnr": 31.0})
    steps, means = meter.means()
    assert steps == 0
    assert all(math.isnan(v) for v in means.values())


def test_switchable_norms_end_with_statistics_of_the_averaged_weights(tmp_path, photo):
    config = dataclasses.replace(CONFIG, norm="switchable", synthesis_norm="switchable")
    state, _ = run(options(steps=2, statistics_batches=6), tmp_path, [photo], config=config)
    with torch.no_grad():
        features = state.average.g_a[0](as_tensor(photo[:96, :96])[None].float() / 255 - 0.5)
    layer = state.average.g_a[1][0]
    assert not layer.training
    near = (layer.running_mean.flatten() - features.mean(dim=(0, 2, 3))).abs().mean()
    assert near < 0.5 * features.std()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop": 50}, "crop must be a multiple of 16 and at least 32, got 50"),
        ({"batch": 0}, "batch must be 1 or more, got 0"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"flat": 0.5}, "flat must be from 1 to 64, got 0.5"),
        ({"flat": math.inf}, "flat must be from 1 to 64, got inf"),
        ({"max_minutes": 0.0}, "max_minutes must be above 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"ema": 1.0}, "ema must be from 0 to below 1"),
        ({"decay": 1.1}, "decay must be from 0 to 1"),
        ({"warmup": -1}, "warmup must be 0 or more"),
        ({"optimizer": "sgd"}, "optimizer must be one of adam, soap, got sgd"),
        ({"precision": "fp16"}, "precision must be one of bf16, float32"),
        ({"compile": "maybe"}, "compile must be one of auto, on, off"),
        ({"norm": "nonsense"}, "unknown norm 'nonsense'"),
        ({"norm": "selfnorm", "batch": 1}, "selfnorm needs a batch of at least 2, got 1"),
        ({"one_lambda": 0.01, "lambda_range": (0.01, 0.02)}, "give --lambda or --lambda-range"),
        ({"one_lambda": 0.0}, "lambdas must be finite with 0 < low"),
        ({"widths": (4, 0, 4)}, "widths must be three numbers"),
    ],
)
def test_wrong_options_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        resolve_options(wrong, None, ALONE)


def test_defaults_suit_the_device_and_the_metric():
    gpu = Workers(device=torch.device("cuda", 0))
    crops = [resolve_options(given, None, team)[1].crop for given, team in (
        ({}, ALONE), ({"metric": "ms-ssim"}, ALONE), ({}, gpu), ({"crop": 64}, gpu),
    )]  # fmt: skip
    assert crops == [128, 192, 256, 64]
    config, _ = resolve_options(
        {"metric": "ms-ssim", "norm": "gdn", "widths": [8, 9, 10]}, None, ALONE
    )
    assert config.lambdas == QUALITY_LAMBDAS["ms-ssim"]
    assert (config.norm, config.synthesis_norm) == ("gdn", "gdn")
    assert config.widths == config.synthesis_widths == (8, 9, 10)


def continued(**changes):
    how = dataclasses.asdict(options(steps=9, batch=3, seed=4))
    return resolve_options(changes, Checkpoint(CONFIG, Counters(5), {}, {}, {}, {}, how), ALONE)


def test_a_resumed_run_keeps_what_is_not_named_and_refuses_what_would_change_it():
    config, how = continued()
    assert config == CONFIG
    assert (how.steps, how.batch, how.seed) == (9, 3, 4)
    assert continued(steps=20)[1].steps == 20
    assert continued(max_minutes=7.0)[1].steps is None
    assert continued(batch=3, widths=(8, 8, 8), compile="off")[1].compile == "off"
    for name, value in {"batch": 4, "seed": 5, "latent_channels": 9, "one_lambda": 0.01}.items():
        with pytest.raises(ValueError, match=r"is .* in the run to resume, got"):
            continued(**{name: value})


def test_weights_may_be_tuned_to_other_rates_but_not_to_another_network():
    start = Checkpoint(CONFIG, Counters(step=5), {}, {})
    config, how = resolve_options({"metric": "ms-ssim", "batch": 4}, start, ALONE)
    assert config.lambdas == QUALITY_LAMBDAS["ms-ssim"]
    assert config.widths == CONFIG.widths
    assert how.batch == 4
    with pytest.raises(ValueError, match=r"latent-channels is 8 in the run to resume, got 9"):
        resolve_options({"latent_channels": 9}, start, ALONE)
