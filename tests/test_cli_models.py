"""``gdncodec info`` and ``gdncodec models``."""

import json
import shutil

import pytest
from command_line import run

from gdncodec.container import ChunkType, ColorMode, Header, pack


def test_info_says_what_is_in_the_file(folder):
    run("compress", "img.png", "-q", 12.5)
    size = (folder / "img.gdn").stat().st_size
    facts = json.loads(run("info", "img.gdn", "--json").stdout)
    assert facts["bytes"] == size
    assert (facts["width"], facts["height"], facts["quality"]) == (203, 150, 12.5)
    assert facts["model"] == "photo"
    assert facts["norm"] == facts["synthesis_norm"] == "gdn1"
    assert facts["tile_class"] == "pointwise"
    assert facts["bpp"] == pytest.approx(size * 8 / 203 / 150, abs=1e-4)
    assert sum(facts["chunks"].values()) == size - 39
    assert "203" in run("info", "img.gdn").stdout


def test_info_of_a_file_of_a_foreign_model_still_works(folder, tiny_model):
    run("compress", "img.png", "--model", tiny_model)
    assert "not installed" in run("info", "img.gdn").stdout
    assert json.loads(run("info", "img.gdn", "--json").stdout)["model"] is None
    run("verify", "img.gdn", "--model", tiny_model)


def test_info_says_more_or_nothing(folder):
    run("compress", "img.png")
    plain = json.loads(run("info", "img.gdn", "--json").stdout)
    facts = json.loads(run("info", "img.gdn", "--json", "-v").stdout)
    assert {name: facts[name] for name in plain} == plain
    assert facts.keys() - plain.keys() == {"model_file", "slices", "overhead"}
    assert facts["model_file"].endswith("photo.safetensors")
    assert facts["slices"] == 1
    assert facts["overhead"] == 39
    assert "39 bytes" in run("info", "img.gdn", "-v").stdout
    assert run("info", "img.gdn", "--quiet").output == ""
    (folder / "short.gdn").write_bytes((folder / "img.gdn").read_bytes()[:-1])
    run("info", "short.gdn", "--quiet", code=4)


@pytest.mark.parametrize("command", [["info", "img.gdn"], ["models"]])
def test_json_is_never_quiet(folder, command):
    assert "give one of" in run(*command, "--json", "--quiet", code=2).stderr


def test_models_lists_names_alone_or_more(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("GDNCODEC_MODELS", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / "mine.safetensors")
    assert {"mine", "photo"} <= set(run("models", "--quiet").stdout.splitlines())
    text = run("models", "-v").stdout
    assert "quality 0 to 100, pointwise\n" in text
    assert str(tmp_path / "mine.safetensors") in text
    assert "card" not in run("models", "--json").stdout
    rows = {row["name"]: row for row in json.loads(run("models", "--json", "-v").stdout)}
    assert rows["mine"]["card"] == {}
    assert rows["photo"]["card"]["bpp_range"] == rows["photo"]["bpp"]


def test_models_refuses_what_is_no_command_of_it():
    assert "nonsense" in run("models", "nonsense", code=2).stderr


def test_models_lists_what_there_is(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("GDNCODEC_MODELS", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / "mine.safetensors")
    rows = {row["name"]: row for row in json.loads(run("models", "--json").stdout)}
    assert {"mine", "photo"} <= rows.keys()
    assert rows["photo"]["norm"] == "gdn1"
    assert len(rows["photo"]["bpp"]) == 2
    text = run("models").stdout
    assert rows["mine"]["fingerprint"] in text
    assert rows["photo"]["fingerprint"] in text


def test_a_damaged_model_is_named_and_the_others_are_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("GDNCODEC_MODELS", str(tmp_path))
    (tmp_path / "bad.safetensors").write_bytes(b"rubbish")
    result = run("models")
    assert "bad.safetensors" in result.stderr
    assert "photo" in result.stdout


def test_a_model_in_the_users_folder_decodes_its_files_by_itself(
    folder, tiny_model, tmp_path_factory, monkeypatch
):
    run("compress", "img.png", "--model", tiny_model)
    models = tmp_path_factory.mktemp("own")
    monkeypatch.setenv("GDNCODEC_MODELS", str(models))
    run("verify", "img.gdn", code=5)
    shutil.copy(tiny_model, models)
    run("verify", "img.gdn")


@pytest.mark.parametrize("metadata", [{"fingerprint": "zz"}, {"card": "[1]"}, {"card": "{"}])
def test_a_malformed_model_beside_the_good_ones_stops_nothing(
    folder, tiny_model, tmp_path_factory, monkeypatch, metadata
):
    from safetensors.numpy import load_file, save_file

    from gdncodec.catalog import ModelEntry

    run("compress", "img.png")
    models = tmp_path_factory.mktemp("malformed")
    monkeypatch.setenv("GDNCODEC_MODELS", str(models))
    entry = ModelEntry(tiny_model)
    save_file(load_file(tiny_model), models / "bad.safetensors", {**entry.metadata, **metadata})
    (models / "worse.safetensors").touch()
    lines = run("verify", "img.gdn", "img.gdn").stderr.splitlines()
    worse = f"Warning: passed over {models}/worse.safetensors: not a model file"
    assert sum(line.startswith(worse) for line in lines) == 1  # and not for each file
    listed = run("models")
    assert "bad.safetensors" in listed.stderr
    assert "photo" in listed.stdout


def test_info_lists_no_slices_of_a_size_that_is_only_stated(folder):
    header = Header(ColorMode.RGB, 8, 50, bytes(8), 2**32 - 1, 2**32 - 1)
    (folder / "huge.gdn").write_bytes(pack(header, {ChunkType.LATENTS: b""}))
    assert "slices          17592186044416" in run("info", "-v", "huge.gdn").stdout


def test_a_model_is_added_by_name_and_removed_again(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("GDNCODEC_MODELS", str(tmp_path / "mine"))
    assert "--model tiny" in run("models", "add", tiny_model).stdout
    run("models", "add", tiny_model, code=6)
    run("models", "add", tiny_model, "--name", "other.safetensors")
    assert {"tiny", "other"} <= set(run("models", "--quiet").stdout.splitlines())
    assert str(tmp_path / "mine" / "tiny.safetensors") in run("models").stdout
    run("models", "remove", "tiny")
    run("models", "remove", "other")
    assert list((tmp_path / "mine").iterdir()) == []
    assert "came with gdncodec" in run("models", "remove", "photo", code=2).stderr


def test_a_card_with_a_wrong_range_is_listed(tiny_model, tmp_path, monkeypatch):
    from gdncodec.catalog import ModelEntry
    from gdncodec.modelfile import load_model, save_model

    monkeypatch.setenv("GDNCODEC_MODELS", str(tmp_path))
    model = load_model(ModelEntry(tiny_model))
    save_model(tmp_path / "odd.safetensors", model, {"bpp_range": "wide"})
    assert "odd" in run("models").stdout


def test_the_second_of_two_names_is_the_output_if_its_kind_says_so(folder):
    run("compress", "img.png", "out.gdn")
    run("decompress", "out.gdn", "back.png")
    assert (folder / "out.gdn").exists()
    assert (folder / "back.png").exists()


def test_no_gdn_data_go_into_an_image_file(folder):
    assert "name it .gdn" in run("compress", "img.png", "-o", "b.jpg", code=2).stderr
    assert not (folder / "b.jpg").exists()


def test_what_is_no_gdn_file_is_said_before_that_the_output_exists(folder):
    (folder / "img.decoded.png").write_bytes(b"precious")
    assert "not a .gdn file" in run("decompress", "img.png", code=4).stderr
    assert "first bytes" not in run("decompress", "img.png", code=4).stderr
    assert "first bytes 8d 47 44 4e" in run("decompress", "img.png", "-v", code=4).stderr
