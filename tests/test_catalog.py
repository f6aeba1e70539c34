import json
import os
import shutil
import struct

import pytest
from safetensors.numpy import load_file, save_file

import gdncodec
from gdncodec.catalog import ModelEntry, find_model, find_model_for, list_models, user_folder
from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError, SkippedModelWarning


@pytest.fixture
def user_model(tiny_model, tmp_path, monkeypatch):
    """A model in the user's folder, known by its name alone."""
    monkeypatch.setenv("GDNCODEC_MODELS", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def test_a_path_is_found(tiny_model):
    entry = find_model(tiny_model)
    assert entry.path == tiny_model
    assert entry.config == ModelConfig(
        widths=(6, 8, 10), synthesis_widths=(6, 8, 10), latent_channels=12, folded=True
    )


def test_a_model_in_the_users_folder_is_found_by_name_and_by_fingerprint(user_model):
    assert user_folder() == user_model.parent
    entry = find_model("mine")
    assert entry.path == user_model
    assert find_model_for(entry.fingerprint).path == user_model
    assert {"mine", "photo"} <= {m.name for m in list_models()}


def test_the_users_model_comes_before_the_installed_one_of_the_same_name(user_model):
    shutil.copy(user_model, user_model.with_name("photo.safetensors"))
    assert find_model("photo").path.parent == user_model.parent
    assert [m.name for m in list_models()].count("photo") == 1


def test_a_damaged_file_beside_a_good_one_does_not_hide_it(user_model):
    user_model.with_name("broken.safetensors").write_bytes(b"rubbish")
    with pytest.warns(SkippedModelWarning, match="broken"):
        assert find_model_for(ModelEntry(user_model).fingerprint).path == user_model


def test_an_unknown_name_lists_the_names_there_are():
    with pytest.raises(ModelError, match="photo"):
        find_model("no-such-model")


def test_a_missing_model_says_where_to_put_it():
    with pytest.raises(ModelError, match=r"0011223344556677.*--model"):
        find_model_for(bytes.fromhex("0011223344556677"))


def header(content):
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        struct.pack("<Q", 1 << 60),
        header({}),
        header([]),
        header({"__metadata__": {"format": "pt"}}),
        header({"__metadata__": 3}),
    ],
)
def test_what_is_no_model_file_raises_model_error(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.safetensors"):
        find_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "kind", ["truncated", "null", "nested", "nested inside", "pipe", "another's fingerprint"]
)
def test_no_bad_file_stops_decoding(user_model, photo, kind):
    data = gdncodec.compress(photo)
    bad = user_model.with_name("a-bad-one.safetensors")
    good = find_model("photo")
    if kind == "truncated":
        bad.write_bytes(good.path.read_bytes()[:-1000])
    elif kind == "null":
        bad.write_bytes(header({"__metadata__": {"config": "{}", "fingerprint": None}}))
    elif kind == "nested":
        text = b'{"__metadata__": ' + b"[" * 100_000
        bad.write_bytes(struct.pack("<Q", len(text)) + text)
    elif kind == "nested inside":
        stated = {"config": "[" * 100_000, "fingerprint": good.fingerprint.hex()}
        bad.write_bytes(header({"__metadata__": stated}))
    elif kind == "pipe":
        os.mkfifo(bad)
    else:
        tensors = load_file(user_model)
        save_file(
            tensors, bad, {**ModelEntry(user_model).metadata, "fingerprint": good.fingerprint.hex()}
        )
    with pytest.warns(SkippedModelWarning, match=r"passed over .*a-bad-one\.safetensors"):
        assert gdncodec.decompress(data).shape == photo.shape
    assert "photo" in [entry.name for entry in list_models()]
