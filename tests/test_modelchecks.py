"""A model file of a stranger: one error that names what is wrong, when it is loaded."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import save as save_torch

from gdncodec.catalog import ModelEntry
from gdncodec.errors import ModelError
from gdncodec.modelfile import Model, _digest, load_model
from gdncodec.norms import NORMS, make_norm


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(ModelEntry(tiny_model))


def loaded(path, model, tensors, config=None):
    """Load what a file with these tensors holds, with a digest and a fingerprint that are right."""
    model = Model(model.config, {k: np.ascontiguousarray(v) for k, v in tensors.items()})
    config = config or model.config.to_json()
    metadata = {"config": config, "fingerprint": model.fingerprint.hex(), "card": "{}"}
    metadata["digest"] = _digest(metadata, model.tensors)
    path.write_bytes(save(model.tensors, metadata))  # with contexts as in older files, not packed
    return load_model(ModelEntry(path))


def test_all_tensors_are_needed_but_centre_and_predicted(model, tmp_path):
    assert "latent_centre" not in model.tensors
    for name in model.tensors.keys() - {"contexts.predicted"}:
        rest = {k: v for k, v in model.tensors.items() if k != name}
        with pytest.raises(ModelError, match=f"tensor {name} is missing"):
            loaded(tmp_path / "a.safetensors", model, rest)


@pytest.mark.parametrize("name", ["else", "analysis.1.delta", "contexts.more", "synthesis.8.bias"])
def test_a_tensor_that_no_such_model_has_is_named(model, tmp_path, name):
    tensors = {**model.tensors, name: np.zeros(3, np.float32)}
    with pytest.raises(ModelError, match=f"tensor {name} is not part of"):
        loaded(tmp_path / "a.safetensors", model, tensors)


def test_a_tensor_of_another_shape_is_named(model, tmp_path):
    for name, array in model.tensors.items():
        for other in (array[:0], array[None], array.ravel()[:1], np.concatenate([array, array])):
            some = name == "contexts.predicted" and other.ndim == 1 and other.size == 1
            if other.shape == array.shape or some:  # any number of channels may be predicted
                continue
            # Of contexts that disagree on the number of sets, it may be another one.
            named = "contexts" if name.startswith("contexts") else f"{name} |tables are inconsist"
            with pytest.raises(ModelError, match=named):
                loaded(tmp_path / "a.safetensors", model, {**model.tensors, name: other})


def test_a_tensor_of_another_type_is_named(model, tmp_path):
    for name, array in model.tensors.items():
        other = array.astype(np.float32 if array.dtype.kind in "iu" else np.int32)
        with pytest.raises(ModelError, match=f"tensor {name} is of type {other.dtype}"):
            loaded(tmp_path / "a.safetensors", model, {**model.tensors, name: other})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_noticed_wherever_they_are(model, tmp_path, value):
    for name, array in model.tensors.items():
        if array.dtype.kind == "f":
            other = array.copy()
            other.flat[-1] = value
            with pytest.raises(ModelError, match=f"tensor {name} holds numbers that are not"):
                loaded(tmp_path / "a.safetensors", model, {**model.tensors, name: other})


@pytest.mark.parametrize(
    ("name", "value", "dtype"),
    [
        ("log_gain", 65, np.float32),
        ("log_inverse_gain", -100, np.float32),
        ("tables.frequencies", 0, np.int32),
        ("tables.frequencies", 1 << 25, np.int32),
        ("tables.halfwidths", -1, np.int16),
        ("tables.halfwidths", (1 << 62) - 1, np.int64),
        ("contexts.weights", -1, np.int16),
        ("contexts.weights", 1 << 62, np.int64),
        ("contexts.group_of_channel", 1024, np.int16),
        ("contexts.set_of_row", -1, np.int8),
    ],
)
def test_a_value_out_of_range_is_named(model, tmp_path, name, value, dtype):
    other = model.tensors[name].astype(dtype)
    other.flat[0] = value
    with pytest.raises(ModelError, match=f"tensor {name} holds values from .*, allowed are"):
        loaded(tmp_path / "a.safetensors", model, {**model.tensors, name: other})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_types_that_numpy_does_not_have_are_named(tiny_model, tmp_path, dtype):
    path = tmp_path / "a.safetensors"
    path.write_bytes(
        save_torch({"log_gain": torch.zeros(3).to(dtype)}, ModelEntry(tiny_model).metadata)
    )
    with pytest.raises(ModelError, match="tensor log_gain is of type"):
        load_model(ModelEntry(path))


def test_a_name_that_is_not_ascii_is_refused_and_shown_without_escapes(model, tmp_path):
    tensors = {**model.tensors, "\u20ac\x1b[31m": np.zeros(3, np.float32)}
    with pytest.raises(ModelError, match="not part of") as caught:
        loaded(tmp_path / "a.safetensors", model, tensors)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent_channels", 12.0), ("latent_channels", True), ("gain_nodes", "6"),
        ("lambdas", [0.1, 10**400]), ("lambdas", [True, 2]), ("lambdas", 3), ("pixel_offset", "0"),
        ("pixel_offset", False), ("norm", "gdn:beta_min=x"), ("norm", "gdn:beta_min=-1"),
        ("norm", "gdn\x1b[2J"), ("norm", "no-such-norm"), ("widths", [6, 8, 10.0]),
        ("widths", {}), ("metric", []), ("padding", {}), ("norm", "gdn1:beta_min=nan"),
    ],
)  # fmt: skip
def test_a_configuration_of_other_types_or_ranges_is_refused(model, tmp_path, field, value):
    config = json.dumps({**json.loads(model.config.to_json()), field: value})
    with pytest.raises(ModelError, match=r"norm|" + field) as caught:
        loaded(tmp_path / "a.safetensors", model, model.tensors, config)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("name", [name for name, info in NORMS.items() if info.state is not None])
def test_norms_have_the_tensors_that_their_entries_say(name, inverse):
    found = {k: tuple(v.shape) for k, v in make_norm(name, 8, inverse=inverse).state_dict().items()}
    stated = NORMS[name].state.items()
    assert found == {k: tuple(8 if n == "C" else n for n in axes) for k, axes in stated}


def test_models_of_every_norm_are_loaded(model, tmp_path):
    from gdncodec.nn.transforms import analysis, synthesis

    kept = {k: v for k, v in model.tensors.items() if not k.startswith(("analysis", "synthesis"))}
    for norm in NORMS:
        config = dataclasses.replace(model.config, norm=norm, synthesis_norm=norm, folded=False)
        tensors = dict(kept)
        for part, build in (("analysis", analysis), ("synthesis", synthesis)):
            state = build(config).state_dict().items()
            tensors.update({f"{part}.{name}": value.numpy() for name, value in state})
        found = loaded(tmp_path / "a.safetensors", Model(config, tensors), tensors)
        assert found.config.norm == norm
