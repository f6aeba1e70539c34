"""Checkpoints, and runs that stop early and resume."""

import dataclasses
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import training_runs
from click.testing import CliRunner
from command_line import names
from command_line import run as gdncodec
from PIL import Image
from safetensors.torch import save_file
from training_runs import CONFIG, options, run

from gdncodec.cli import main
from gdncodec.cli.progress import FitProgress
from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError
from gdncodec.nn.model import CodecModel
from gdncodec.training.checkpoint import Checkpoint, Counters, load_checkpoint, save_checkpoint
from gdncodec.training.distributed import ALONE
from gdncodec.training.monitor import Monitor
from gdncodec.training.options import TrainingOptions
from gdncodec.training.signals import Stop
from gdncodec.training.state import TrainingState
from gdncodec.training.weights import load_weights

TINY = ["--batch", 2, "--crop", 32, "--widths", 4, 4, 4, "--latent-channels", 4, "--quiet"]


@pytest.fixture
def images(folder, photo):
    """A folder of three training images in the working folder."""
    (folder / "images").mkdir()
    for i in range(3):
        Image.fromarray(np.roll(photo, 20 * i, axis=1)).save(folder / "images" / f"{i}.png")
    return ["--data", "images"]


def train(images, *arguments, code=0):
    return gdncodec("train", *images, "--out", "run", *arguments, code=code)


def exit_code(images, *arguments):
    arguments = map(str, ["train", *images, "--out", "run", *arguments])
    return CliRunner().invoke(main, list(arguments)).exit_code


def test_after_kill_9_a_run_goes_on_with_the_losses_of_one_that_was_not(tmp_path, photo):
    steps, killed_at = 11, 8
    np.save(tmp_path / "images.npy", [photo, photo[::-1]])
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    images = np.load(tmp_path / "images.npy")
    _, whole = run(options(steps=steps), tmp_path / "whole", images)
    arguments = ["killed", "images.npy", steps, killed_at, torch.get_num_threads()]
    process = subprocess.run(
        [sys.executable, training_runs.__file__, *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.returncode == -signal.SIGKILL
    last = load_checkpoint(tmp_path / "killed" / "last.safetensors")
    assert last.counters.step == 6
    _, after = run(options(steps=steps), tmp_path / "killed", images, start=last)
    assert after.losses == {step: whole.losses[step] for step in range(7, steps + 1)}


@pytest.mark.parametrize(
    ("norm", "optimizer"), [("gdn", "soap"), ("batch", "adam"), ("mabn", "adam"), ("sncn", "adam")]
)
def test_a_resumed_run_ends_with_the_very_weights_of_one_that_was_not_stopped(
    tmp_path, photo, norm, optimizer
):
    config = dataclasses.replace(CONFIG, norm=norm, synthesis_norm=norm)
    how = options(steps=6, optimizer=optimizer)
    whole, _ = run(how, tmp_path, [photo], config=config)
    kept = load_checkpoint(tmp_path / "last.safetensors")
    assert kept.counters.step == 5
    state = TrainingState(config, how, ALONE)
    state.restore(kept)
    save_checkpoint(tmp_path / "again", state.checkpoint())
    again = load_checkpoint(tmp_path / "again")
    assert again.counters == kept.counters
    after, _ = run(how, tmp_path, [photo], config=config, start=again)
    for part in ("model", "average", "criterion"):
        ours, theirs = getattr(after, part).state_dict(), getattr(whole, part).state_dict()
        assert [k for k in theirs if not torch.equal(ours[k], theirs[k])] == []


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    weights = CodecModel(CONFIG).state_dict()
    average = {k: v + 1 for k, v in weights.items()}
    nested = {"state": {0: {"step": torch.tensor(3.0), "Q": [torch.eye(2), []]}}, "lr": 1e-3}
    before = Checkpoint(
        CONFIG, Counters(7, 9, 1.5, best=2.5), weights, average, nested, {}, {"seed": 3}
    )
    save_checkpoint(tmp_path / "a.safetensors", before)
    back = load_checkpoint(tmp_path / "a.safetensors")
    assert (back.config, back.counters, back.options) == (CONFIG, before.counters, before.options)
    for ours, theirs in ((back.weights, weights), (back.average, average)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], v) for k, v in theirs.items())
    assert list(back.optimizer["state"]) == [0]
    assert torch.equal(back.optimizer["state"][0]["Q"][0], torch.eye(2))
    assert back.optimizer["lr"] == 1e-3
    assert back.is_complete


def test_a_light_checkpoint_of_the_default_network_is_at_most_32_mb(tmp_path):
    state = TrainingState(ModelConfig(), TrainingOptions(), ALONE)
    save_checkpoint(tmp_path / "light", state.checkpoint().light)
    assert (tmp_path / "light").stat().st_size < 32e6
    back = load_checkpoint(tmp_path / "light")
    assert back.weights["g_a.0.weight"].dtype == torch.float32
    assert not back.is_complete


def test_what_is_no_checkpoint_raises_model_error(tmp_path, tiny_model):
    (tmp_path / "a").write_bytes(b"rubbish")
    for path in (tmp_path / "a", tmp_path / "none", tiny_model):
        with pytest.raises(ModelError, match="not a training checkpoint"):
            load_checkpoint(path)


def test_an_exported_model_is_told_from_a_checkpoint(tiny_model):
    with pytest.raises(ModelError, match="it is an exported model; last, best and before-decay"):
        load_checkpoint(tiny_model)


def test_the_embedded_models_training_can_be_continued(tmp_path, photo):
    folder = Path(__file__).parents[1] / "models" / "training"
    start = load_weights(folder / "photo.weights.safetensors")
    assert start.config.latent_channels >= 192
    state, _ = run(options(steps=1), tmp_path, [photo], config=start.config, start=start.light)
    assert state.counters.step == 1


def test_a_run_starts_from_bare_weights(folder, images):
    config = ModelConfig(widths=(4, 4, 4), synthesis_widths=(4, 4, 4), latent_channels=4)
    torch.manual_seed(3)
    weights = {name: value.clone() for name, value in CodecModel(config).state_dict().items()}
    save_file(weights, folder / "bare.safetensors", {"config": config.to_json()})
    given = ["--resume-weights", "bare.safetensors", "--learning-rate", 1e-9, *TINY]
    train(images, "--steps", 1, *given)
    trained = load_checkpoint(folder / "run" / "last.safetensors")
    assert trained.counters.step == 1
    for name, value in weights.items():
        torch.testing.assert_close(trained.weights[name], value, atol=1e-6, rtol=0)


def test_ctrl_c_while_entropy_coding_is_fitted_says_how_to_export_later(
    folder, images, monkeypatch
):
    notes = []

    def interrupt(doing, done):
        if done > 0.5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(FitProgress, "share", lambda self, doing, done: interrupt(doing, done))
        patch.setattr(Monitor, "note", lambda self, text: notes.append(text))
        assert exit_code(images, "--steps", 2, *TINY) == 130
    assert load_checkpoint(folder / "run" / "last.safetensors").counters.step == 2
    assert not (folder / "run" / "model.safetensors").exists()
    message, command = notes[-1].split("later\n")
    assert "stopped before the model was made; run/last.safetensors holds the run" in message
    program, *arguments = shlex.split(command)
    assert program == "gdncodec"
    gdncodec(*arguments)
    gdncodec("compress", "img.png", "--model", "run/model.safetensors")


def test_weights_begin_a_run_with_a_new_optimiser_and_their_own_average(tmp_path, photo):
    first, _ = run(options(steps=20), tmp_path, [photo])
    light = load_checkpoint(tmp_path / "last.safetensors").light
    state = TrainingState(CONFIG, options(steps=5, warmup=100), ALONE)
    state.restore(light)
    assert state.counters == Counters(averaged=19)
    assert not state.optimizer.state
    assert all(torch.equal(v, light.average[k]) for k, v in state.average.state_dict().items())
    second, notes = run(options(steps=1, warmup=100), tmp_path, [photo], start=light)
    assert second.counters.step == 1
    assert notes.figures[1]["rate"] == pytest.approx(1e-5)
    assert first.counters.averaged == second.counters.averaged == 20


def test_a_run_leaves_everything_and_can_be_lengthened(folder, images):
    train(images, "--steps", 4, *TINY)
    assert names(folder / "run") == [
        "before-decay.safetensors", "best.safetensors", "last.safetensors", "model.json",
        "model.safetensors", "rd.json", "tensorboard",
    ]  # fmt: skip
    first = (folder / "run" / "model.safetensors").read_bytes()
    gdncodec("compress", "img.png", "--model", "run/model.safetensors")
    refused = train(images, "--steps", 6, *TINY, code=6)
    assert "run/last.safetensors exists; --resume continues that run" in refused.stderr
    wrong = train(images, "--steps", 6, *TINY, "--seed", 1, "--resume", code=2)
    assert "seed is 0 in the run to resume, got 1" in wrong.stderr
    train(images, "--steps", 6, "--resume", "--quiet")
    assert json.loads((folder / "run" / "model.json").read_text())["steps"] == 6
    assert (folder / "run" / "model.safetensors").read_bytes() != first
    train(images, "--resume", "--quiet")  # its end was reached: it is exported again
    assert load_checkpoint(folder / "run" / "last.safetensors").counters.step == 6


def test_resume_begins_a_run_where_there_is_none(folder, images):
    train(images, "--steps", 4, *TINY)
    weights = "run/before-decay.safetensors"
    out = ["--out", "other", "--steps", 2, "--batch", 2, "--crop", 32, "--quiet", "--resume"]
    gdncodec("train", *images, *out, "--resume-weights", weights)
    checkpoint = load_checkpoint(folder / "other" / "last.safetensors")
    assert checkpoint.config.widths == (4, 4, 4)
    assert checkpoint.counters.averaged > checkpoint.counters.step == 2


def test_other_images_on_resume_are_noticed(folder, images):
    train(images, "--steps", 2, *TINY)
    tiny = TINY[:-1]  # not quiet
    same = train(images, "--steps", 4, *tiny, "--resume").stderr
    (folder / "images" / "1.png").unlink()
    other = train(images, "--steps", 6, *tiny, "--resume").stderr
    notice = "the training images differ from those that this run was trained on before"
    assert (notice in same, notice in other) == (False, True)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    state = TrainingState(CONFIG, options(steps=1), ALONE)
    checkpoint = state.checkpoint()
    del checkpoint.weights["log_width"]
    with pytest.raises(ModelError, match=r"another version of the network: .*log_width"):
        state.restore(checkpoint)


@pytest.fixture(scope="module")
def last(tmp_path_factory, photo):
    """The last checkpoint of a short run."""
    out = tmp_path_factory.mktemp("run")
    run(options(steps=3), out, [photo])
    return out / "last.safetensors"


def test_no_flipped_bit_of_a_checkpoint_is_resumed_from(last, tmp_path):
    data = last.read_bytes()
    rng = np.random.default_rng(0)
    for position in [*range(0, 400, 7), *rng.integers(0, len(data), 200)]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.integers(8)
        (tmp_path / "a.safetensors").write_bytes(damaged)
        with pytest.raises(ModelError, match="not a training checkpoint"):
            load_checkpoint(tmp_path / "a.safetensors")


def test_a_flipped_bit_is_noticed_on_resume(folder, images):
    train(images, "--steps", 2, *TINY)
    path = folder / "run" / "last.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 64
    path.write_bytes(data)
    result = train(images, "--steps", 4, *TINY, "--resume", code=5)
    assert "last.safetensors: not a training checkpoint (damaged" in result.stderr


@pytest.mark.parametrize("part", ["weights", "average", "optimizer", "criterion"])
def test_numbers_that_are_not_finite_are_not_resumed_from(last, tmp_path, part):
    checkpoint = load_checkpoint(last)
    value = getattr(checkpoint, part)
    if part == "optimizer":
        value = value["state"][0]
    next(v for v in value.values() if torch.is_tensor(v)).view(-1)[0] = np.nan
    save_checkpoint(tmp_path / "a", checkpoint)
    with pytest.raises(ModelError, match=f"tensor {part}.* not finite"):
        load_checkpoint(tmp_path / "a")


@pytest.mark.parametrize("damage", ["shape", "missing", "type", "count", "criterion"])
def test_optimisers_that_do_not_fit_are_refused(last, damage):
    checkpoint = load_checkpoint(last)
    state, groups = checkpoint.optimizer["state"], checkpoint.optimizer["param_groups"]
    if damage == "shape":
        state[0]["exp_avg"] = state[0]["exp_avg"][..., :1]
    elif damage == "missing":
        del state[0]["exp_avg_sq"]
    elif damage == "type":
        state[0]["step"] = "x"
    elif damage == "count":
        groups[0]["params"].pop()
    else:
        checkpoint.criterion["usual"] = torch.zeros(5)
    with pytest.raises(ModelError, match="does not fit the run"):
        TrainingState(CONFIG, options(steps=4), ALONE).restore(checkpoint)


@pytest.mark.parametrize("field", [{"step": "x"}, {"step": -1}, {"minutes": np.nan}])
def test_counters_are_numbers_from_0(field):
    with pytest.raises((ValueError, TypeError)):
        Counters(**field)


def test_drawn_crops_are_drawn_in_a_run_and_stay_as_many(folder, images, monkeypatch):
    drawn = []

    def draw(rng, side):
        drawn.append(side)
        return torch.zeros(3, side, side, dtype=torch.uint8)

    monkeypatch.setattr("gdncodec.training.crops.draw_image", draw)
    train(images, "--steps", 2, *TINY, "--drawn", 1)
    assert drawn == [32] * 4
    refused = train(images, "--steps", 4, *TINY, "--drawn", 0.5, "--resume", code=2)
    assert "drawn is 1.0 in the run to resume, got 0.5" in refused.stderr


def test_a_stop_saves_before_anything_that_takes_long(tmp_path, photo, monkeypatch):
    names = []
    monkeypatch.setattr(
        "gdncodec.training.loop._average_statistics", lambda *_: names.append("...")
    )
    monkeypatch.setattr(
        "gdncodec.training.recorder.save_checkpoint", lambda path, _: names.append(path.name)
    )
    with Stop() as stop:
        stop.asked = signal.SIGTERM
        run(options(steps=5, report_seconds=60.0), tmp_path, [photo], stop=stop)
    assert names == ["last.safetensors", "..."]


def test_validation_images_are_looked_for_beyond_the_first_bad_ones(
    folder, images, photo, monkeypatch
):
    monkeypatch.setattr("gdncodec.training.session._VALIDATED", 2)
    (folder / "val").mkdir()
    for i in range(3):
        (folder / "val" / f"{i}.png").write_text("no image")
    Image.fromarray(photo).save(folder / "val" / "good.png")
    output = train(images, "--val", "val", "--steps", 2, *TINY[:-1]).stderr
    assert "3 images for training, 1 for validation" in output


def test_a_run_whose_checkpoint_is_gone_is_not_begun_again(folder, images):
    train(images, "--steps", 2, *TINY)
    (folder / "run" / "last.safetensors").unlink()
    model = (folder / "run" / "model.safetensors").read_bytes()
    result = train(images, "--steps", 4, *TINY, "--resume", code=5)
    assert "last.safetensors: not found" in result.stderr
    assert (folder / "run" / "model.safetensors").read_bytes() == model


def test_what_a_killed_run_was_writing_is_removed(folder, images):
    (folder / "run").mkdir()
    (folder / "run" / ".gdncodec-abc.safetensors").write_bytes(b"half")
    train(images, "--steps", 2, *TINY, "--resume")
    assert not list((folder / "run").glob(".gdncodec-*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(folder, images):
    result = train(images, "--steps", 2, *TINY, "--device", "cuda", code=2)
    assert "torch finds no CUDA device" in result.stderr


@pytest.mark.parametrize(
    ("val", "complaint"),
    [
        ("bad", "no usable images of at least 32 x 32 pixels in bad"),
        ("images", "all images of the data are in images too"),
        ("empty", "there are no images in empty"),
    ],
)
def test_unusable_validation_images_are_refused(folder, images, val, complaint):
    for name in ("bad", "empty"):
        (folder / name).mkdir()
    (folder / "bad" / "a.png").write_text("no image")
    result = train(images, "--val", val, "--steps", 2, *TINY, code=2)
    assert complaint in result.stderr
    assert not (folder / "run" / "model.safetensors").exists()


def send(monkeypatch, *signals):
    """Send signals to this process at the first figures; return the notes of the run."""
    notes, left = [], list(signals)

    def progress(self, step, done, figures):
        while left:
            os.kill(os.getpid(), left.pop())

    monkeypatch.setattr(Monitor, "progress", progress)
    monkeypatch.setattr(Monitor, "note", lambda self, text: notes.append(text))
    monkeypatch.setattr("gdncodec.training.recorder._BETWEEN_FIGURES", 0.0)
    return notes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_leave_a_checkpoint_and_a_model(
    folder, images, monkeypatch, number, code
):
    notes = send(monkeypatch, number, number)  # a terminal and a launcher may both send it
    before = signal.getsignal(number)
    assert exit_code(images, "--steps", 1000, *TINY) == code
    assert signal.getsignal(number) == before
    assert any("a second signal stops at once" in text for text in notes)
    steps = load_checkpoint(folder / "run" / "last.safetensors").counters.step
    assert 1 <= steps < 100
    assert json.loads((folder / "run" / "model.json").read_text())["steps"] == steps
    gdncodec("compress", "img.png", "--model", "run/model.safetensors")


def test_a_second_ctrl_c_stops_at_once_and_leaves_old_files_whole(folder, images, monkeypatch):
    train(images, "--steps", 2, *TINY)
    old = {p.name: p.read_bytes() for p in (folder / "run").iterdir() if p.is_file()}
    monkeypatch.setattr("gdncodec.training.signals._SAME", -1.0)
    send(monkeypatch, signal.SIGINT, signal.SIGINT)
    assert exit_code(images, "--steps", 50, "--resume", *TINY) == 130
    assert old == {p.name: p.read_bytes() for p in (folder / "run").iterdir() if p.is_file()}


def test_a_last_checkpoint_that_cannot_be_written_is_an_error_after_the_model(
    folder, images, monkeypatch
):
    original = Path.write_bytes

    def write(self, data):
        if len(data) > 100_000:  # of the files of this run, the full checkpoint alone
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    result = train(images, "--steps", 2, *TINY, code=1)
    assert "last.safetensors could not be written" in result.stderr
    assert (folder / "run" / "model.safetensors").exists()
    assert not (folder / "run" / "last.safetensors").exists()
