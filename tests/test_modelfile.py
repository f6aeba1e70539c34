import dataclasses
import zlib

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save

from gdncodec.catalog import ModelEntry
from gdncodec.config import ModelConfig
from gdncodec.entropy.slices import encode_slice
from gdncodec.errors import ModelError
from gdncodec.modelchecks import largest_contexts
from gdncodec.modelfile import load_model, save_model


@pytest.fixture
def model(tiny_model):
    return load_model(ModelEntry(tiny_model))


def changed(model, name, value):
    return dataclasses.replace(model, tensors={**model.tensors, name: value})


def test_a_model_comes_back_as_it_was(model, tmp_path):
    save_model(tmp_path / "a.safetensors", model, {"minutes": 3})
    entry = ModelEntry(tmp_path / "a.safetensors")
    again = load_model(entry)
    assert again.config == model.config
    assert entry.card == {"minutes": 3}
    assert again.fingerprint == model.fingerprint == entry.fingerprint
    for name, array in model.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], array)
        assert again.tensors[name].dtype == array.dtype


def test_arrays_that_are_not_contiguous_come_back_too(model, tmp_path):
    tensors = {k: np.asfortranarray(v) for k, v in model.tensors.items()}
    save_model(tmp_path / "a.safetensors", dataclasses.replace(model, tensors=tensors), {})
    again = load_model(ModelEntry(tmp_path / "a.safetensors"))
    for name, array in model.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], array)


def test_the_fingerprint_covers_all_that_decoding_needs_and_no_more(model):
    for name, array in model.tensors.items():
        other = array.copy()
        other.flat[0] += 1
        same = changed(model, name, other).fingerprint == model.fingerprint
        assert same == name.startswith(("analysis.", "log_gain")), name
    norm = dataclasses.replace(model.config, synthesis_norm="gdn")
    assert dataclasses.replace(model, config=norm).fingerprint != model.fingerprint
    zeros = dataclasses.replace(model.config, padding="zeros")
    assert dataclasses.replace(model, config=zeros).fingerprint != model.fingerprint


def test_gains_are_linear_between_nodes(model):
    gain = np.exp(np.linspace(0, 5, 6))[:, None] * np.ones((6, 12))
    scaled = changed(model, "log_gain", np.log(gain).astype(np.float32))
    np.testing.assert_allclose(scaled.at(0).gain, 1, rtol=1e-5)
    np.testing.assert_allclose(scaled.at(100).gain, np.exp(5), rtol=1e-5)
    # Quality 50 is at 0.5 * (0.7 + 0.3 * 0.5) of the range, of which a segment is a fifth.
    np.testing.assert_allclose(scaled.at(50).gain, 0.875 * np.exp(2) + 0.125 * np.exp(3), rtol=1e-5)


def test_reciprocals_of_inverse_gains_are_linear_between_nodes(model):
    logs = np.linspace(5, 0, 6)[:, None] * np.ones((6, 12))
    scaled = changed(model, "log_inverse_gain", logs.astype(np.float32))
    reciprocal = 0.875 * np.exp(-3) + 0.125 * np.exp(-2)
    np.testing.assert_allclose(scaled.at(50).inverse_gain, 1 / reciprocal, rtol=1e-5)


def test_training_and_inference_have_the_same_gains(model):
    from gdncodec.nn.model import CodecModel
    from gdncodec.nn.nodes import place

    network = CodecModel(model.config)
    for name in ("log_gain", "log_inverse_gain"):
        values = torch.from_numpy(model.tensors[name]) + 0.1 * torch.randn(6, 12)
        getattr(network, name).data = values
        model = changed(model, name, values.numpy())
    for quality in (0.0, 7.5, 33.3, 60.0, 99.9, 100.0):
        gain, inverse, _ = network.gains(place(torch.tensor([quality]), model.config.gain_nodes))
        np.testing.assert_allclose(model.at(quality).gain, gain.detach().flatten(), rtol=1e-5)
        np.testing.assert_allclose(
            model.at(quality).inverse_gain, inverse.detach().flatten(), rtol=1e-5
        )


@pytest.mark.parametrize(
    ("quality", "row"),
    [(0, 0), (0.49, 0), (0.5, 1), (49.99, 50), (50, 50), (99.5, 100), (100, 100)],
)
def test_the_nearest_whole_quality_names_the_tables(model, quality, row):
    symbols = np.random.default_rng(0).integers(-3, 4, (12, 5, 6))
    expected = encode_slice(symbols, model.contexts.at(row), model.tables)
    assert model.at(quality).encode(symbols) == expected
    np.testing.assert_array_equal(model.at(quality).decode(expected, (5, 6)), symbols)


def test_a_changed_byte_of_the_decoder_is_noticed(tiny_model, model, tmp_path):
    data = bytearray(tiny_model.read_bytes())
    marker = model.tensors["tables.frequencies"].tobytes()
    data[data.index(marker) + 1] ^= 1
    path = tmp_path / "a.safetensors"
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="digest"):
        load_model(ModelEntry(path))
    tensors = load_file(path)  # as an older file, without a digest
    metadata = {k: v for k, v in ModelEntry(path).metadata.items() if k != "digest"}
    path.write_bytes(save(tensors, metadata))
    with pytest.raises(ModelError, match="its fingerprint is not the one it states"):
        load_model(ModelEntry(path))


def test_no_flipped_bit_of_a_model_file_is_accepted(tiny_model, tmp_path):
    """Of the encoder's weights neither, which the fingerprint does not cover."""
    data = tiny_model.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "a.safetensors"
    for position in [*range(200), *rng.integers(0, len(data), 300)]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(ModelError):
            load_model(ModelEntry(path))


def test_a_truncated_model_file_raises_model_error(tiny_model, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(tiny_model.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged"):
        load_model(ModelEntry(path))


def test_contexts_are_packed_and_older_files_that_do_not_pack_them_are_read(model, tmp_path):
    entry = ModelEntry(tmp_path / "a.safetensors")
    save_model(entry.path, model, {})
    stored = load_file(entry.path)
    assert stored["contexts"].dtype == np.uint8
    assert not any(name.startswith("contexts.") for name in stored)
    packed = load_model(entry)

    with safe_open(entry.path, "np") as file:
        old = {k: v for k, v in file.metadata().items() if k != "digest"}
        entry.path.write_bytes(save(model.tensors, old))
    dense = load_model(ModelEntry(entry.path))

    for loaded in (packed, dense):
        assert loaded.fingerprint == model.fingerprint
        assert loaded.tensors.keys() == model.tensors.keys()
        for name, array in model.tensors.items():
            assert loaded.tensors[name].dtype == array.dtype
            np.testing.assert_array_equal(loaded.tensors[name], array)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "no tensors"])
def test_damaged_contexts_raise_model_error(model, tmp_path, damage):
    entry = ModelEntry(tmp_path / "a.safetensors")
    save_model(entry.path, model, {})
    with safe_open(entry.path, "np") as file:
        metadata = file.metadata()
    tensors = load_file(entry.path)
    contexts = tensors["contexts"].copy()
    if damage == "changed":
        contexts[len(contexts) // 2 :][:9] ^= 255
    elif damage == "no tensors":
        contexts = np.frombuffer(zlib.compress(b"an image"), np.uint8)
    tensors["contexts"] = {"cut": contexts[:-40], "empty": contexts[:0]}.get(damage, contexts)
    entry.path.write_bytes(save(tensors, metadata))
    with pytest.raises(ModelError, match="damaged"):
        load_model(entry)


def test_contexts_unpack_to_no_more_than_a_model_of_the_configuration_has(model, tmp_path):
    entry = ModelEntry(tmp_path / "a.safetensors")
    save_model(entry.path, model, {})
    limit = largest_contexts(model.config)
    assert len(save(model._group("contexts"))) < limit < 1e5
    with safe_open(entry.path, "np") as file:
        metadata = {k: v for k, v in file.metadata().items() if k != "digest"}
    bomb = zlib.compress(save({"weights": np.zeros(limit, np.uint8)}))
    tensors = {**load_file(entry.path), "contexts": np.frombuffer(bomb, np.uint8)}
    entry.path.write_bytes(save(tensors, metadata))
    with pytest.raises(ModelError, match=f"damaged .*of more than {limit} bytes"):
        load_model(ModelEntry(entry.path))


@pytest.mark.parametrize("name", ["log_gain", "contexts.table_of", "tables.frequencies"])
def test_a_missing_tensor_raises_model_error(model, tmp_path, name):
    tensors = {k: v for k, v in model.tensors.items() if k != name}
    with pytest.raises(ModelError, match=name.split(".")[-1]):
        save_model(tmp_path / "a.safetensors", dataclasses.replace(model, tensors=tensors), {})
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_comes_back_from_json():
    config = ModelConfig(widths=(8, 16, 24), lambdas=(0.01, 0.02))
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    "text", ["", "[]", '{"widths": [1, 2]}', '{"colour": 3}', '{"lambdas": 1}']
)
def test_an_unusable_configuration_raises_model_error(text):
    with pytest.raises(ModelError, match="configuration"):
        ModelConfig.from_json(text)


@pytest.mark.parametrize(
    "field",
    [
        {"widths": (1, 2)},
        {"widths": (0, 1, 2)},
        {"latent_channels": 0},
        {"lambdas": (0.0, 1.0)},
        {"lambdas": (0.2, 0.1)},
        {"gain_nodes": 1},
        {"padding": "reflect"},
    ],
)
def test_a_value_out_of_range_is_named(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        ModelConfig(**field)


def test_a_file_that_does_not_say_how_it_pads_is_from_before_and_refused():
    fields = ModelConfig().to_json().replace('"padding": "replicate", ', "")
    assert "padding" not in fields
    with pytest.raises(ModelError, match="older version of gdncodec"):
        ModelConfig.from_json(fields)


@pytest.mark.parametrize(
    ("lambdas", "quality"), [((0.0013, 0.22), None), ((0.0013, 0.0013), 0.0), ((0.22, 0.22), 100.0)]
)
def test_only_a_model_of_one_rate_has_a_fixed_quality(lambdas, quality):
    assert ModelConfig(lambdas=lambdas).fixed_quality == quality


def test_steps_of_lambda_grow_with_the_quality():
    config = ModelConfig(lambdas=(0.01, 1.0))
    logs = np.log(config.lambda_at(np.arange(101.0)))
    np.testing.assert_allclose(logs[[0, 50, 100]] / np.log(100), [-1, -0.575, 0], atol=1e-12)
    steps = np.diff(logs)
    np.testing.assert_allclose(np.diff(steps), steps[1] - steps[0])
    assert steps[-1] / steps[0] == pytest.approx(1.3 / 0.7, rel=0.02)


@pytest.mark.parametrize("quality", [0.0, 12.5, 50.0, 99.0])
def test_a_model_of_one_rate_has_the_quality_of_its_lambda(quality):
    one = ModelConfig().lambda_at(quality)
    assert ModelConfig(lambdas=(one, one)).fixed_quality == pytest.approx(quality)
