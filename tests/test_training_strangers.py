"""Weights and checkpoints of strangers: one error, before anything is trained or written."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from safetensors.torch import save

from gdncodec.config import ModelConfig
from gdncodec.entropy.fitting import fit_contexts
from gdncodec.errors import ModelError
from gdncodec.nn.model import CodecModel
from gdncodec.training.checkpoint import load_checkpoint
from gdncodec.training.weights import load_weights

CONFIG = ModelConfig(widths=(4, 4, 4), synthesis_widths=(4, 4, 4), latent_channels=6)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return {k: v.contiguous() for k, v in CodecModel(CONFIG).state_dict().items()}


def written(path, state, config=None):
    path.write_bytes(save(state, {"config": config or CONFIG.to_json()}))
    return path


def test_bare_weights_are_read(tmp_path, state):
    found = load_weights(written(tmp_path / "a.safetensors", state))
    assert found.config == CONFIG
    assert found.weights.keys() == state.keys()


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_named(tmp_path, state, factor):
    name = "g_a.0.weight"
    bad = {**state, name: torch.ones_like(state[name], dtype=torch.float64) * factor}
    with pytest.raises(ModelError, match=r"a\.safetensors: tensor g_a\.0\.weight holds numbers"):
        load_weights(written(tmp_path / "a.safetensors", bad))


@pytest.mark.parametrize("config", ["[" * 100_000, "[]", "{", '{"norm": "\x1b[2J"}'])
def test_a_configuration_that_is_none_is_refused(tmp_path, state, config):
    with pytest.raises(ModelError, match="no usable configuration") as caught:
        load_weights(written(tmp_path / "a.safetensors", state, config))
    assert str(caught.value).isprintable()


def test_latents_that_are_not_finite_make_no_model():
    latents = [np.full((2, 4, 4), np.nan, np.float32)]
    with pytest.raises(ModelError, match="latents are not finite"):
        fit_contexts(lambda _: latents, np.ones((101, 2), np.float32), lambda done, total: None)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_not_waited_for(folder, monkeypatch, kind):
    path = Path("a.pth")
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    for load in (load_checkpoint, load_weights):
        with pytest.raises(ModelError, match="not an ordinary file"):
            load(path)
    if kind == "pipe":  # of folders the command line says so itself
        assert "not an ordinary file" in run("models", "import", path, code=5).stderr
        assert "not an ordinary file" in run("models", "export", path, "--data", ".", code=5).stderr
