"""Which files are found in folders, and what is said about the others."""

import os

import pytest

from gdncodec.batch.inputs import Found, find, not_gdn, not_image
from gdncodec.errors import UsageError


def found(*sources, recursive=True, unwanted=not_image):
    return {
        str(f.path): f.skipped or f.failed or "taken"
        for f in find([str(s) for s in sources], unwanted, recursive=recursive)
    }


def test_a_list_holds_no_standard_input(tmp_path):
    (tmp_path / "list").write_text("a.png\n-\n")
    with pytest.raises(UsageError, match="standard input cannot be one of several inputs"):
        found(f"@{tmp_path}/list")


def test_every_file_is_told_once_taken_or_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/x.png", "a/x.gdn", "a/notes.txt", "a/none", "a/b/y.JPG", "a/.gdncodec-1.png"):
        (tmp_path / name).touch()
    os.mkfifo("a/pipe.png")
    assert found("a", "a") == {
        "a": "a folder that was searched already",
        "a/.gdncodec-1.png": "being written, or left by a process that was killed",
        "a/b/y.JPG": "taken",
        "a/none": "its name has no suffix",
        "a/notes.txt": "Pillow reads no .txt files",
        "a/pipe.png": "not an ordinary file",
        "a/x.gdn": "a .gdn file already",
        "a/x.png": "taken",
    }
    assert found("a", recursive=False)["a/b"] == "a subfolder"
    assert found("a", unwanted=not_gdn)["a/x.gdn"] == "taken"
    assert found("a/notes.txt") == {"a/notes.txt": "taken"}  # what is named is taken


def test_an_image_that_needs_a_plugin_is_named_with_it(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "registered_extensions", dict)
    (tmp_path / "a.heic").touch()
    (reason,) = found(tmp_path).values()
    assert reason == ".heic needs pillow-heif: pip install 'gdncodec[formats]'"


def test_a_file_is_found_under_its_own_name_before_a_link_and_a_loop_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t" / "z").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "t" / "z" / "1.png").touch()
    (tmp_path / "elsewhere" / "2.png").touch()
    (tmp_path / "t" / "a").symlink_to("z")
    (tmp_path / "t" / "z" / "loop").symlink_to("..")
    (tmp_path / "t" / "z" / "other").symlink_to("../../elsewhere")
    (tmp_path / "t" / "gone.png").symlink_to("nowhere")
    assert found("t") == {
        "t/a": "a folder that was searched already",
        "t/gone.png": "taken",  # reading it says that it leads nowhere
        "t/z/1.png": "taken",
        "t/z/loop": "a folder that was searched already",
        "t/z/other/2.png": "taken",
    }
    places = {f.path.name: str(f.place) for f in find(["t"], not_image, recursive=True)}
    assert (places["1.png"], places["2.png"]) == ("z", "z/other")


def test_a_folder_that_cannot_be_searched_is_a_failure(tmp_path, monkeypatch):
    def refuse(top, onerror):
        onerror(PermissionError(13, "Permission denied", str(top)))
        return iter(())

    monkeypatch.setattr(os, "walk", refuse)
    (one,) = find([str(tmp_path)], not_image, recursive=True)
    assert one == Found(tmp_path, failed=f"{tmp_path}: cannot be searched (Permission denied)")


def test_a_list_may_name_folders_and_must_be_readable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").touch()
    (tmp_path / "list").write_bytes(b"sub\n\nb.png\n../c.png\n")
    listed = {str(f.path): str(f.place) for f in find(["@list"], not_image, recursive=False)}
    assert listed == {"sub/a.png": "sub", "b.png": ".", "../c.png": "."}
    with pytest.raises(UsageError, match="@gone: the list cannot be read"):
        list(find(["@gone"], not_image, recursive=False))
