"""Many inputs: files, folders, trees, and what becomes of the bad ones."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import names, run
from messy_tree import build, check
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
    assert "photos/notes.txt: skipped, Pillow reads no .txt files\n" in result.stdout
    assert result.stdout.rstrip().endswith("; 1 failed; 1 skipped")
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
    said = run("compress", "photos", "--skip-existing").stdout
    assert "photos/a.png: skipped, photos/a.gdn exists\n" in said
    assert "\n0 files, " in said
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


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_two_processes_write_what_one_writes(photos, folder):
    run("compress", "photos", "-o", "one/", "-q", 30)
    result = run("compress", "photos", "-o", "two/", "-q", 30, "-j", 2, "--report", "r.jsonl")
    assert "two/a.gdn: " in result.stdout
    for name in tree(folder / "one"):
        assert (folder / "two" / name).read_bytes() == (folder / "one" / name).read_bytes()
    records = lines_of(folder / "r.jsonl")
    assert {r["input"]: r["status"] for r in records} == {
        "photos/a.png": "done",
        "photos/b c.jpg": "done",
        "photos/notes.txt": "skipped",
        "photos/sub": "skipped",
    }
    done = next(r for r in records if r["input"] == "photos/a.png")
    size = (folder / "two" / "a.gdn").stat().st_size
    assert (done["output"], done["bytes_after"], done["quality"]) == ("two/a.gdn", size, 30)
    assert done["bpp"] == round(8 * size / (40 * 50), 4)
    assert done["bytes_before"] == (photos / "a.png").stat().st_size
    assert (done["width"], done["height"], done["error"]) == (50, 40, None)


def test_a_report_is_not_overwritten_but_continued_where_a_run_is(photos, folder):
    report = ["--report", "r.jsonl"]
    run("compress", "photos", *report)
    result = invoke("compress", "photos", *report)
    assert (result.exit_code, result.stderr) == (
        6,
        "Error: r.jsonl exists; --force overwrites it\n",
    )
    with (folder / "r.jsonl").open("a") as file:
        file.write('{"cut off')
    run("compress", "photos", "--skip-existing", *report)
    lines = (folder / "r.jsonl").read_text().splitlines()
    assert lines.count('{"cut off') == 1
    assert json.loads(lines[-1])["reason"] == "photos/b c.gdn exists"
    run("compress", "photos", "--force", *report)
    assert {r["status"] for r in lines_of(folder / "r.jsonl")} == {"done", "skipped"}


def test_modification_times_are_kept_unless_asked_not_to(photos):
    os.utime(photos / "a.png", ns=(10**18, 10**18 + 7))
    run("compress", "photos/a.png")
    assert (photos / "a.gdn").stat().st_mtime_ns == 10**18 + 7
    run("decompress", "photos/a.gdn", "-o", "photos/out/")
    assert (photos / "out" / "a.decoded.png").stat().st_mtime_ns == 10**18 + 7
    run("compress", "photos/a.png", "--force", "--no-preserve")
    assert (photos / "a.gdn").stat().st_mtime_ns > 10**18 + 7


def test_the_smaller_file_is_kept_and_copied_into_a_folder_of_results(photos, folder):
    Image.new("L", (1, 1)).save(photos / "dot.png")
    dot = (photos / "dot.png").read_bytes()
    run("compress", "photos/dot.png", "-o", "large.gdn", "-q", 100)
    assert (folder / "large.gdn").stat().st_size < len(dot)
    (photos / "dot.png").write_bytes(tiny := b"P5 1 1 255\n\x80")
    for extra in ([], ["-j", 2]):
        out = folder / f"out{len(extra)}"
        result = run("compress", "photos", "-o", f"{out}/", "--keep-smaller", *extra)
        assert "photos/dot.png: kept the original, the result would have " in result.stdout
        assert "; 1 kept; " in result.stdout
        assert tree(out) == ["a.gdn", "b c.gdn", "dot.png"]
        assert (out / "dot.png").read_bytes() == tiny
    again = run("compress", "photos", "-o", f"{out}/", "--keep-smaller", "--skip-existing").stdout
    assert f"photos/dot.png: skipped, {out}/dot.png exists" in again
    run("compress", "photos/dot.png", "--keep-smaller")
    assert (photos / "dot.png").read_bytes() == tiny
    assert not (photos / "dot.gdn").exists()


def test_a_suffix_names_outputs(photos, folder):
    run("compress", "photos", "--suffix", "_small.gdn")
    assert {"a_small.gdn", "b c_small.gdn"} <= set(names(photos))
    run("decompress", "photos", "-o", "out/", "--suffix", ".jpg")
    with Image.open(folder / "out" / "a_small.jpg") as image:
        assert image.format == "JPEG"
    for text in ("a/b", "", "."):
        said = run("compress", "photos", "--suffix", text, code=2).stderr
        assert "--suffix takes the end of a name" in said
    assert (
        "--suffix"
        in run("compress", "photos/a.png", "-o", "x.gdn", "--suffix", ".y", code=2).stderr
    )


def test_a_dry_run_says_what_would_be_done_and_does_nothing(photos, folder):
    before = tree(folder)
    said = run("compress", "photos", "-r", "-o", "out/", "--dry-run").stdout
    assert "photos/sub/a.png -> out/sub/a.gdn\n" in said
    assert said.endswith("\n5 planned; 1 skipped\n")
    assert not (folder / "out").exists()
    assert tree(folder) == before
    (photos / "a.gdn").touch()
    assert invoke("compress", "photos", "--dry-run").exit_code == 6
    assert "photos/a.png -> photos/a.gdn" in run("compress", "photos", "--dry-run", "-f").stdout


def test_what_is_written_is_decoded_before_it_gets_its_name(photos, monkeypatch):
    assert run("compress", "photos", "--verify").stdout.count("bpp") == 2
    written = Path.write_bytes

    def damaging(path, data):
        return written(path, data[:-1] + bytes([data[-1] ^ 1]))

    monkeypatch.setattr(Path, "write_bytes", damaging)
    result = invoke("compress", "photos/a.png", "photos/b c.jpg", "-o", "out/", "--verify")
    assert result.exit_code == 1
    assert "photos/a.png: what is read back is not what was written" in result.stderr
    assert not list(Path("out").iterdir())


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_a_list_names_inputs_and_keeps_their_folders(photos, folder, end):
    listed = ["photos/a.png", "photos/sub/a.png", str(photos / "b c.jpg")]
    (folder / "list.txt").write_text(end.join(listed) + end)
    run("compress", "@list.txt", "-o", "out/")
    assert tree(folder / "out") == ["b c.gdn", "photos/a.gdn", "photos/sub/a.gdn"]
    result = CliRunner().invoke(
        main, ["verify", "@-"], input="out/b c.gdn\nout/photos/a.gdn\nout/photos/gone.gdn\n"
    )
    assert result.exit_code == 4
    assert "Error: out/photos/gone.gdn: cannot be read" in result.stderr
    assert "\n2 files, " in result.stdout
    assert "the list cannot be read" in run("compress", "@gone.txt", code=2).stderr


def test_info_takes_many_files_and_prints_a_line_of_json_for_each(photos):
    invoke("compress", "photos", "-r")
    (photos / "bad.gdn").write_bytes(b"bad")
    result = invoke("info", "photos", "-r", "--json", "-j", 2)
    assert result.exit_code == 4
    facts = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert len(facts) == 4
    assert result.stderr.startswith("Error: photos/bad.gdn: ")
    assert "file            photos/a.gdn\n" in invoke("info", "photos").stdout


def test_a_name_of_several_lines_stays_one_line(photos):
    (photos / "a.png").rename(photos / "two\nlines\udcff.png")
    (photos / "no\nimage.png").touch()
    result = invoke("compress", "photos")
    assert "photos/two\\nlines\\udcff.gdn: " in result.stdout
    assert result.stderr.startswith("Error: photos/no\\nimage.png: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_file_of_a_messy_tree_is_accounted_for_once(tmp_path, jobs):
    (top := tmp_path / "top").mkdir()
    check(top, build(top, 150), tmp_path, jobs)


def test_a_name_with_escapes_is_said_once(folder):
    (folder / "list").write_bytes(b"\x1b[2J.gdn\n")
    result = CliRunner().invoke(main, ["verify", "@list"])
    assert result.exit_code == 4
    assert result.stderr == "Error: \\x1b[2J.gdn: cannot be read (No such file or directory)\n"
