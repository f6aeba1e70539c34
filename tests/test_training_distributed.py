"""Training one network in several processes."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import training_team
from PIL import Image
from safetensors.torch import load_file
from training_runs import CONFIG

from gdncodec.nn.nodes import place
from gdncodec.training.checkpoint import load_checkpoint
from gdncodec.training.distributed import ALONE, Workers, synchronise_norms, workers
from gdncodec.training.options import resolve_options
from gdncodec.training.state import TrainingState

BEFORE_BATCH_NORM = [
    name for net in ("g_a", "g_s") for i in (0, 2, 4)
    for name in (f"{net}.{i}.bias", f"{net}.{i + 1}.0.running_mean")
]  # fmt: skip
"""Biases whose true gradient is zero, and the running means that follow them."""

PAIR = Workers(rank=1, world=2)


def torchrun(folder, *arguments):
    """Run training_team.py in two processes; return their standard error."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--standalone", "--max-restarts=1"]
    command += ["--monitor-interval=0.1", training_team.__file__, *map(str, arguments)]
    path = f"{Path(__file__).parents[1]}"
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stderr


def test_two_processes_learn_what_one_does_with_the_same_batch(tmp_path, photo):
    images = np.stack([np.roll(photo, 11 * i, axis=i % 2) for i in range(12)])
    np.save(tmp_path / "images.npy", images)
    torchrun(tmp_path, "compare", ".", "images.npy")
    for norm in training_team.NORMS:
        one = training_team.weights(norm, images, ALONE)
        two = load_file(tmp_path / norm)
        assert one.keys() == two.keys()
        same = one.keys() - {f"average.{k}" for k in BEFORE_BATCH_NORM if norm == "batch"}
        apart = torch.cat([(one[k] - two[k]).abs().flatten() for k in same])
        # Where a gradient is nearly zero, Adam turns its rounding error into a step.
        assert apart.quantile(0.99) < 1e-5, norm
        assert apart.max() < 3 * training_team.HOW.learning_rate, norm


def test_a_killed_worker_is_started_again_and_goes_on_from_the_checkpoint(tmp_path, photo):
    (tmp_path / "images").mkdir()
    for i in range(4):
        image = Image.fromarray(np.roll(photo, 20 * i, axis=1))
        image.save(tmp_path / "images" / f"{i}.png")
    (tmp_path / "images" / "bad.png").write_text("no image")
    said = torchrun(
        tmp_path, "die", "mark", "--data", "images", "--out", "run", "--steps", 6, "--batch", 4,
        "--crop", 32, "--widths", 4, 4, 4, "--latent-channels", 4, "--device", "cpu", "--resume",
    )  # fmt: skip
    lives = [line.split() for line in (tmp_path / "mark.log").read_text().splitlines()]
    assert [int(step) for life, step in lives if life == "0"] == [0, 1, 2, 3, 4]
    assert [int(step) for life, step in lives if life == "1"] == [4, 5]
    assert "skipped images/bad.png" in said
    assert load_checkpoint(tmp_path / "run" / "last.safetensors").counters.step == 6
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert card["steps"] == 6
    assert card["hardware"]["processes"] == 2
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("norm", ["mabn", "switchable", "selfnorm", "crossnorm", "sncn"])
def test_norms_that_see_other_images_are_refused_by_name(norm):
    with pytest.raises(ValueError, match=f"norm {norm} depends on the other images in a batch"):
        resolve_options({"synthesis_norm": norm}, None, PAIR)
    assert resolve_options({"synthesis_norm": norm}, None, ALONE)[0].synthesis_norm == norm
    assert resolve_options({"synthesis_norm": "batch:eps=0.001"}, None, PAIR)


def test_a_batch_that_cannot_be_shared_out_is_refused():
    assert PAIR.slots(8) == range(4, 8)
    with pytest.raises(ValueError, match="multiple of the number of processes, got 7 for 2"):
        resolve_options({"batch": 7}, None, PAIR)


def test_at_inference_synchronised_norms_are_ordinary_ones():
    config = dataclasses.replace(CONFIG, norm="batch", synthesis_norm="batch")
    state = TrainingState(config, training_team.HOW, ALONE)
    before, x = state.model.state_dict(), torch.rand(1, 3, 32, 32)
    where = place(torch.tensor([50.0]), config.gain_nodes)
    expected = state.average.g_a(x, where)
    synchronise_norms(state.model, PAIR)
    assert torch.equal(state.model.eval().g_a(x, where), expected)
    assert state.model.state_dict().keys() == before.keys()


def test_one_process_needs_no_others(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with workers("cpu") as team:
        assert team == ALONE
        assert team.is_main
        assert team.largest(1.5, True) == [1.5, True]
        assert team.from_main("x") == "x"
        assert team.all_of([1, 2]) == [1, 2]


def test_unknown_devices_and_missing_ones_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="device must be auto or a torch device"), workers("gpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="2 CUDA devices for 3 processes"), workers("cuda"):
        pass


def test_the_best_device_is_taken_by_default(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for there, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        with workers("auto") as team:
            assert team.device.type == expected
