import json
import shutil
import struct

import pytest

from gdncodec.catalog import ModelEntry, find_model, find_model_for, list_models, user_folder
from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError


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
