"""``gdncodec compress --frame all``: one file for each frame or page."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import names, run
from PIL import Image

import gdncodec
from gdncodec.cli import main

COLOURS = ("red", "lime", "blue")


@pytest.fixture
def animations(folder):
    frames = [Image.new("RGB", (40, 30), colour) for colour in COLOURS]
    frames[0].save("anim.gif", save_all=True, append_images=frames[1:])
    frames[0].save("pages.tif", save_all=True, append_images=frames[1:] * 5)
    return folder


def colour(path):
    return COLOURS[int(np.argmax(np.asarray(gdncodec.open(path).convert("RGB"))[15, 20]))]


def test_each_frame_becomes_a_file_of_its_own_numbered_after_the_name(animations):
    run("compress", "anim.gif", "--frame", "all", "-o", "out.gdn")
    assert names(animations) == [
        "anim.gif",
        "img.png",
        *(f"out-{n}.gdn" for n in range(3)),
        "pages.tif",
    ]
    assert [colour(f"out-{n}.gdn") for n in range(3)] == list(COLOURS)


def test_numbers_have_as_many_digits_as_the_last_so_that_names_sort(animations):
    run("compress", "pages.tif", "anim.gif", "img.png", "--frame", "all", "-o", "out")
    pages = [f"pages-{n:02}.gdn" for n in range(11)]
    assert names(animations / "out") == [
        "anim-0.gdn",
        "anim-1.gdn",
        "anim-2.gdn",
        "img.gdn",
        *pages,
    ]
    assert colour("out/pages-10.gdn") == COLOURS[2]


def test_the_frames_of_a_file_share_its_bytes(animations):
    said = run("compress", "anim.gif", "--frame", "all", "-o", "out/", "--report", "r.jsonl")
    whole = (animations / "anim.gif").stat().st_size
    lines = [json.loads(line) for line in (animations / "r.jsonl").read_text().splitlines()]
    assert [line["bytes_before"] for line in lines] == [whole // 3] * 3
    assert "% of anim.gif" not in said.stdout
    assert said.stdout.splitlines()[-1].startswith("3 files, ")


@pytest.mark.parametrize("output", [(), ("-o", "-")])
def test_an_output_is_required(animations, output):
    said = run("compress", "anim.gif", "--frame", "all", *output, code=2).stderr
    assert "--frame all needs -o" in said
    assert not list(animations.glob("*.gdn"))


def test_no_frame_overwrites_a_file_unasked(animations):
    (animations / "out-1.gdn").write_bytes(b"mine")
    arguments = ["compress", "anim.gif", "--frame", "all", "-o", "out.gdn"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 6
    assert "Error: out-1.gdn exists; --force overwrites it\n" in result.stderr
    assert (animations / "out-1.gdn").read_bytes() == b"mine"
    assert colour("out-2.gdn") == COLOURS[2]
    run(*arguments, "--force")
    assert colour("out-1.gdn") == COLOURS[1]


def test_two_frames_never_get_one_name(animations):
    (animations / "anim-1.png").write_bytes((animations / "img.png").read_bytes())
    said = run("compress", "anim.gif", "anim-1.png", "--frame", "all", "-o", "out", code=2).stderr
    assert "would both become out/anim-1.gdn" in said


def test_what_cannot_be_taken_apart_is_refused(animations):
    with_keep = run("compress", "anim.gif", "--frame", "all", "--keep-smaller", "-o", "o", code=2)
    assert "--keep-smaller keeps whole files" in with_keep.stderr
    stdin = run("compress", "-", "--frame", "all", "-o", "out.gdn", code=2).stderr
    assert "--frame all takes files of this machine" in stdin
    assert "a number from 0, or all" in run("compress", "anim.gif", "--frame", "x", code=2).stderr


def test_a_damaged_file_fails_alone(animations):
    (animations / "bad.gif").write_bytes(b"GIF89a")
    result = CliRunner().invoke(
        main, ["compress", "bad.gif", "anim.gif", "--frame", "all", "-o", "out"]
    )
    assert result.exit_code == 3
    assert "Error: bad.gif: " in result.stderr
    assert len(names(animations / "out")) == 3


def test_by_default_several_frames_are_refused_with_both_ways_out(animations):
    said = run("compress", "anim.gif", code=3).stderr
    assert (
        "anim.gif: it has 3 frames; choose one with --frame 0 to --frame 2, or --frame all" in said
    )
