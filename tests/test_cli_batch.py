"""Many inputs: files, folders, trees, and what becomes of the bad ones."""

import re

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import names, run
from PIL import Image

from gdncodec.cli import main


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def photos(folder, photo):
    """A tree with images of other names and kinds, an unreadable one and a text."""
    (folder / "img.png").unlink()
    for i, name in enumerate(["a.png", "b c.jpg", "sub/a.png", "sub/deep/\u00e9.PNG"]):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(photo[:40, :50], i, axis=0)).save(path)
    (folder / "photos" / "sub" / "bad.jpg").write_text("no image")
    (folder / "photos" / "notes.txt").write_text("no image either")
    return folder / "photos"


def test_several_files_become_files_beside_them(photos):
    result = run("compress", "photos/a.png", "photos/b c.jpg")
    assert "photos/a.gdn: " in result.stdout
    assert tree(photos)[:2] == ["a.gdn", "a.png"]
    assert (photos / "b c.gdn").is_file()
    assert re.search(r"^2 files, [\d.]+ kB to [\d.]+ .*; [\d.]+ s, ", result.stdout, re.MULTILINE)
    run("decompress", "photos/a.gdn", "photos/b c.gdn")
    assert {"a.decoded.png", "b c.decoded.png"} <= set(names(photos))


def test_a_folder_is_taken_without_the_folders_in_it_unless_asked(photos, folder):
    run("compress", "photos", "-o", "flat/")
    assert tree(folder / "flat") == ["a.gdn", "b c.gdn"]


def test_a_tree_is_mirrored_and_a_bad_file_is_one_line(photos, folder):
    result = invoke("compress", "photos", "-r", "-o", "out/new/", "-q", 30)
    assert result.exit_code == 3
    assert result.stderr.splitlines() == [
        "Error: photos/sub/bad.jpg: not an image in a format that Pillow reads"
    ]
    assert "4 files, " in result.stdout
    assert result.stdout.rstrip().endswith("; 1 failed")
    found = tree(folder / "out" / "new")
    assert found == ["a.gdn", "b c.gdn", "sub/a.gdn", "sub/deep/\u00e9.gdn"]
    run("decompress", "out", "-r", "-o", "back", "--format", "ppm")
    assert tree(folder / "back") == [
        "new/a.decoded.ppm", "new/b c.decoded.ppm", "new/sub/a.decoded.ppm",
        "new/sub/deep/\u00e9.decoded.ppm",
    ]  # fmt: skip


def test_an_output_that_ends_in_a_slash_is_a_folder_for_one_file_too(photos, folder):
    run("compress", "photos/a.png", "-o", "made/")
    assert tree(folder / "made") == ["a.gdn"]
    run("compress", "photos/b c.jpg", "-o", "made")
    assert tree(folder / "made") == ["a.gdn", "b c.gdn"]


def test_two_inputs_of_one_output_are_refused_before_any_work(photos, folder, photo):
    Image.fromarray(photo).save(photos / "a.jpg")
    said = run("compress", "photos/a.png", "photos/a.jpg", code=2).stderr
    assert "photos/a.png and photos/a.jpg would both become photos/a.gdn" in said
    run("compress", "photos/a.png", "photos/sub/a.png", "-o", "out/", code=2)
    assert not (folder / "out").exists()
    assert not list(photos.rglob("*.gdn"))


def test_outputs_that_exist_are_errors_or_skipped_or_overwritten(photos):
    (photos / "a.gdn").write_bytes(b"old")
    result = invoke("compress", "photos")
    assert result.exit_code == 6
    assert result.stderr == "Error: photos/a.gdn exists; --force overwrites it\n"
    assert (photos / "a.gdn").read_bytes() == b"old"
    assert (photos / "b c.gdn").is_file()
    assert run("compress", "photos", "--skip-existing").stdout.startswith("0 files")
    assert (photos / "a.gdn").read_bytes() == b"old"
    assert run("compress", "photos/a.png", "--skip-existing").stdout == ""
    run("compress", "photos", "--force", "--quiet")
    assert (photos / "a.gdn").read_bytes() != b"old"


def test_failures_of_several_kinds_give_the_general_code(photos):
    (photos / "a.gdn").write_bytes(b"old")
    (photos / "c.png").write_text("no image")
    assert invoke("compress", "photos").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["photos/a.png", "-"], "standard input cannot be one of several inputs"),
        (["photos", "-o", "-"], "several inputs cannot go to standard output"),
        (["photos", "-o", "photos/notes.txt"], "notes.txt is a file; several inputs need a folder"),
        (["photos/sub/deep/empty"], "no input in this folder; -r searches"),
    ],
)
def test_what_cannot_be_is_refused(photos, arguments, text):
    (photos / "sub" / "deep" / "empty").mkdir()
    assert text in run("compress", *arguments, code=2).stderr


def test_a_bug_is_named_and_does_not_stop_the_other_files(photos, monkeypatch):
    def fail(*_, **__):
        raise KeyError

    monkeypatch.setattr("gdncodec.codec.Codec.compress", fail)
    result = invoke("compress", "photos")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["photos/a.png", "photos/b c.jpg"]
    assert all("KeyError: no message. This is a bug in gdncodec" in line for line in lines)


def test_a_folder_is_verified_and_the_damaged_file_named(photos):
    run("compress", "photos", "--quiet")
    (photos / "a.gdn").write_bytes((photos / "a.gdn").read_bytes()[:-1])
    result = invoke("verify", "photos")
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: photos/a.gdn: truncated")
    assert "photos/b c.gdn: good, 50 x 40" in result.stdout
    assert "1 file, " in result.stdout
