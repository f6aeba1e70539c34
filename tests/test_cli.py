"""The command line as a whole: what is refused, overwritten, interrupted and said."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import names, run
from PIL import Image

import gdncodec
from gdncodec import __version__
from gdncodec.cli import main


def test_quiet_says_nothing_and_verbose_says_more(folder):
    assert run("compress", "img.png", "--quiet").output == ""
    plain = run("compress", "img.png", "--force").stdout
    verbose = run("compress", "img.png", "--force", "-v").stdout
    assert len(verbose) > len(plain)
    assert "quality 50" in verbose
    assert " s (engine numpy)\n" in verbose
    assert run("decompress", "img.gdn", "--quiet").output == ""
    assert run("verify", "img.gdn", "--quiet").output == ""


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_an_existing_output_is_overwritten_only_with_force(folder, command):
    run("compress", "img.png", "-o", "in.gdn")
    source, name = ("img.png", "out.gdn") if command == "compress" else ("in.gdn", "out.png")
    (folder / name).write_bytes(b"precious")
    result = run(command, source, "-o", name, code=6)
    assert "--force" in result.stderr
    assert (folder / name).read_bytes() == b"precious"
    run(command, source, "-o", name, "--force")
    assert (folder / name).read_bytes() != b"precious"


def test_the_input_is_never_the_output(folder):
    before = (folder / "img.png").read_bytes()
    result = run("compress", "img.png", "-o", "img.png", "--force", code=2)
    assert "input itself" in result.stderr
    assert (folder / "img.png").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("compress", "nothing.png"), 3, "no such file"),
        (("compress", "text.png"), 3, "text.png"),
        (("compress", "truncated.png"), 3, "truncated.png"),
        (("compress", "nan.tiff"), 3, "mode F"),
        (("compress", "empty.ppm"), 3, "empty.ppm"),
        (("compress", "animation.gif"), 3, "--frame 0 to --frame 1"),
        (("compress", "animation.gif", "--frame", "2"), 3, "no frame 2"),
        (("compress", "img.png", "--max-pixels", "20000"), 3, "over the limit of 20,000"),
        (("compress", "img.png", "--max-pixels", "9"), 3, "the limit of 9; --max-pixels raises it"),
        (("compress", "img.png", "-q", "50", "--target-bpp", "1"), 2, "give one of"),
        (("compress", "img.png", "--target-size", "many"), 2, "number of bytes"),
        (("compress", "img.png", "--target-size", "1"), 2, "out of reach: this image reaches"),
        (("compress", "img.png", "--target-psnr", "99"), 2, "dB"),
        (("compress", "img.png", "--target-ms-ssim", "1"), 2, "below 1"),
        (("compress", "img.png", "--model", "nothing"), 5, "photo"),
        (("compress", "img.png", "--model", "text.png.safetensors"), 5, "not a model file"),
        (("compress", "img.png", "-q", "101"), 2, "quality"),
        (("compress", "img.png", "-q", "nan"), 2, "quality"),
        (("compress", "img.png", "--device", "nowhere"), 2, "nowhere"),
        (("compress", "img.png", "-o", "no/folder.gdn"), 2, "no folder"),
        (("view", "."), 2, "is a directory"),
        (("decompress", "nothing.gdn"), 4, "nothing.gdn"),
        (("decompress", "img.png"), 4, "not a .gdn file"),
        (("decompress", "short.gdn"), 4, "truncated"),
        (("decompress", "damaged.gdn"), 4, "damaged"),
        (("decompress", "good.gdn", "-o", "out.nonsense"), 3, "cannot write"),
        (("decompress", "good.gdn", "--format", "nonsense"), 3, "cannot write"),
        (("decompress", "alpha.gdn", "-o", "out.jpg"), 3, "cannot keep the transparency"),
        (("decompress", "good.gdn", "--region", "1,2,3"), 2, "X,Y,W,H"),
        (("decompress", "good.gdn", "--region", "0,0,204,9"), 2, "not inside"),
        (("decompress", "good.gdn", "--max-pixels", "9"), 4, "over the limit of 9"),
        (("view", "damaged.gdn"), 4, "damaged"),
        (("decompress", "good.gdn", "--model", "TINY"), 5, "was made with model"),
        (("verify", "damaged.gdn"), 4, "damaged"),
        (("verify", "foreign.gdn"), 5, "--model"),
        (("info", "img.png"), 4, "not a .gdn file"),
        (("info", "nothing.gdn"), 4, "nothing.gdn"),
    ],
)
def test_bad_input_gets_one_line_and_its_exit_code_and_leaves_nothing(
    folder, tiny_model, arguments, code, text
):
    (folder / "text.png").write_text("no image")
    (folder / "truncated.png").write_bytes((folder / "img.png").read_bytes()[:5000])
    (folder / "empty.ppm").write_bytes(b"P6 0 0 255\n")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save("nan.tiff")
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save("animation.gif", save_all=True, append_images=frames[1:])
    frames[0].putalpha(9)
    frames[0].save("alpha.png")
    run("compress", "alpha.png")
    run("compress", "img.png", "-o", "good.gdn")
    run("compress", "img.png", "-o", "foreign.gdn", "--model", tiny_model)
    good = (folder / "good.gdn").read_bytes()
    (folder / "short.gdn").write_bytes(good[:-9])
    (folder / "damaged.gdn").write_bytes(good[:60] + bytes([good[60] ^ 4]) + good[61:])
    before = names(folder)
    result = run(*(str(tiny_model) if a == "TINY" else a for a in arguments), code=code)
    assert text in result.stderr
    assert names(folder) == before


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch):
    import errno

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in run("compress", "img.png", code=1).stderr
    assert names(folder) == ["img.png"]


@pytest.mark.parametrize("command", ["decompress", "verify", "view", "info"])
def test_an_error_about_what_is_in_a_file_names_it(folder, tiny_model, command):
    (folder / "bad.gdn").write_bytes(b"x" * 50)
    assert run(command, "bad.gdn", code=4).stderr.startswith("Error: bad.gdn: not a .gdn file")
    if command != "info":
        run("compress", "img.png", "-o", "foreign.gdn", "--model", tiny_model)
        assert run(command, "foreign.gdn", code=5).stderr.startswith("Error: foreign.gdn: ")


@pytest.mark.parametrize(
    "output",
    ["a.jpg", "a.tiff", "a.bmp", "a.ppm", "a.dds", "a.pcx", "a.jp2", "a.webp", "a.png", "a.gdn"],
)
def test_a_disk_that_fills_up_loses_nothing_and_is_named(folder, output):
    """What is written is cut off at several lengths, as by ``prlimit --fsize``."""
    run("compress", "img.png", "-o", "good.gdn")
    words = ["compress", "img.png"] if output == "a.gdn" else ["decompress", "good.gdn"]
    run(*words, "-o", "whole" + output[1:])
    size = (folder / f"whole{output[1:]}").stat().st_size
    (folder / output).write_bytes(b"old")
    before = names(folder)
    for limit in (0, 1, 1000, size // 2, size - 1):
        code = (
            f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2); "
            f"from gdncodec.cli import main; main({[*words, '-o', output, '--force']!r})"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(gdncodec.__file__).parents[1])},
        )
        assert ended.returncode == 1, limit
        assert ended.stderr == f"Error: {folder / output}: File too large\n"
        assert (folder / output).read_bytes() == b"old"
        assert names(folder) == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("verify good.gdn --report r.jsonl", "r.jsonl"),
        ("view good.gdn", "tmp/gdncodec-"),
        ("eval img.png --out ev --anchors jpeg --qualities 50", "ev/measurements.jsonl"),
        ("compare img.png --anchors jpeg", "img.compare.html"),
        ("models add m.safetensors --name other", "models/other.safetensors"),
    ],
)
def test_a_full_disk_is_named_with_the_file_by_every_command(
    folder, tiny_model, monkeypatch, words, named
):
    run("compress", "img.png", "-o", "good.gdn")
    (folder / "tmp").mkdir()
    (folder / "m.safetensors").write_bytes(tiny_model.read_bytes())
    monkeypatch.setenv("TMPDIR", "tmp")
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("GDNCODEC_MODELS", "models")
    monkeypatch.delenv("DISPLAY", raising=False)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        result = CliRunner().invoke(main, words.split())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert named in line
    assert line.endswith(": File too large")
    assert not list((folder / "tmp").iterdir())
    assert not [path for path in folder.rglob("*") if path.name.startswith(".gdncodec-")]


def test_a_link_stays_and_a_device_is_never_replaced(folder):
    (folder / "real.gdn").write_bytes(b"old")
    (folder / "link.gdn").symlink_to("real.gdn")
    run("compress", "img.png", "-o", "link.gdn", "--force")
    assert (folder / "link.gdn").is_symlink()
    run("verify", "real.gdn")
    os.mkfifo("pipe.gdn")
    result = run("compress", "img.png", "-o", "pipe.gdn", "--force", code=1)
    assert "not an ordinary file" in result.stderr
    assert (folder / "pipe.gdn").is_fifo()


def test_ctrl_c_ends_by_the_signal_and_leaves_no_partial_file(folder):
    code = (
        "import os, signal\n"
        "from gdncodec.__main__ import program\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGINT)\n"
        "program(['compress', 'img.png'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(gdncodec.__file__).parents[1])},
    )
    assert ended.returncode == -signal.SIGINT  # 130 for a shell
    assert names(folder) == ["img.png"]
    assert ended.stderr == b""


def test_sigterm_leaves_no_partial_file(folder):
    code = (
        "import os, signal, sys\n"
        "from gdncodec.cli import main\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGTERM)\n"
        "main(['compress', 'img.png'])\n"
    )
    place = str(Path(gdncodec.__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": place},
    )
    assert ended.returncode == 128 + signal.SIGTERM
    assert names(folder) == ["img.png"]


def failing_with(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x\ny"), KeyError(), TypeError()])
def test_an_error_that_is_not_ours_is_reported_as_a_bug(folder, monkeypatch, error):
    monkeypatch.setattr("gdncodec.codec.Codec.compress", failing_with(error))
    said = run("compress", "img.png", code=1).stderr
    assert said.startswith(f"Error: {type(error).__name__}: ")
    assert "This is a bug in gdncodec; run the command again with -v" in said
    assert names(folder) == ["img.png"]
    result = CliRunner().invoke(main, ["compress", "-v", "img.png"])
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "in fail" in result.stderr
    assert "please report it with the traceback above" in result.stderr.splitlines()[-1]


def test_a_bug_in_a_command_without_verbose_shows_the_traceback_at_once(folder, monkeypatch):
    monkeypatch.setattr("gdncodec.cli.user_models.refuse_existing", failing_with(ValueError("x")))
    result = CliRunner().invoke(main, ["models", "import", "img.png", "-o", "a.safetensors"])
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("\n"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("can't start new thread"),
        RuntimeError("Exception from core.cpp:268:\nCannot load library: failed to map segment\n"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_a_lack_of_memory_is_no_bug(folder, monkeypatch, error):
    monkeypatch.setattr("gdncodec.codec.Codec.compress", failing_with(error))
    said = run("compress", "img.png", code=1).stderr
    assert "out of memory" in said
    assert "()" not in said
    assert "bug" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has such a device")
@pytest.mark.parametrize(
    ("words", "named"),
    [("--help", ""), ("compress --help", ""), ("compress img.png -o -", "standard output: ")],
)
def test_what_cannot_be_printed_is_one_line(folder, words, named):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "gdncodec", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(gdncodec.__file__).parents[1])},
        )
    assert ended.returncode == 1
    assert ended.stderr == f"Error: {named}No space left on device\n"


def test_info_unpacks_a_file_once(folder, monkeypatch):
    from gdncodec import container

    run("compress", "img.png")
    seen, original = [], container.unpack

    def counting(data):
        seen.append(data)
        return original(data)

    monkeypatch.setattr(container, "unpack", counting)
    assert "slices" in run("info", "-v", "img.gdn").stdout
    assert len(seen) == 1


def test_an_error_of_torch_is_one_line(folder):
    assert "meta" in run("compress", "img.png", "--device", "meta", code=2).stderr


def test_threads_are_set_for_the_work(folder, monkeypatch):
    import torch

    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    run("compress", "img.png", "--threads", 1, "--engine", "torch")
    own = torch.get_num_threads()
    assert seen == ([] if own == 1 else [1, own])  # for the work alone
    from gdncodec.engines import numpy

    threads, original = [], numpy._in_chunks

    def counting(*given):
        threads.append(given[-1])
        original(*given)

    monkeypatch.setattr(numpy, "_in_chunks", counting)
    run("compress", "img.png", "--threads", 3, "--engine", "numpy", "-o", "c.gdn")
    assert set(threads) == {3}
    run("compress", "img.png", "--threads", 0, "-o", "b.gdn", code=2)


def test_the_version_is_told():
    assert __version__ in run("--version").stdout


def every_command(group):
    for name, command in group.commands.items():
        yield name, command
        if isinstance(command, click.Group):
            yield from every_command(command)


def test_every_command_and_option_has_help():
    for name, command in every_command(main):
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                documented = parameter.help or parameter.show_default
                assert documented, f"{name} {parameter.opts}"


def test_the_help_shows_its_examples_line_by_line():
    shown = run("--help").stdout
    assert "\\b" not in shown
    assert "\n  gdncodec compress photo.png            writes photo.gdn\n" in shown


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_no_number_of_threads_is_too_large(folder, engine):
    code = (
        "from gdncodec.cli import main; "
        f"main(['compress', 'img.png', '--threads', '100000', '--engine', '{engine}'])"
    )
    path = str(Path(gdncodec.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path}
    run_ = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert run_.returncode == 0


@pytest.mark.parametrize("command", ["info", "verify", "decompress"])
def test_a_device_that_never_ends_is_refused(folder, command):
    extra = ["-o", "a.png"] if command == "decompress" else []
    assert "a device" in run(command, "/dev/zero", *extra, code=4).stderr


def test_an_empty_name_is_not_the_current_folder(folder):
    before = names(folder)
    for command in ("compress", "decompress", "verify"):
        assert "an input has an empty name" in run(command, "", code=2).stderr
    assert names(folder) == before


def test_compare_never_overwrites_its_image(folder):
    data = (folder / "img.png").read_bytes()
    assert "is the input itself" in run("compare", "img.png", "-o", "img.png", "-f", code=2).stderr
    assert (folder / "img.png").read_bytes() == data
    assert "no folder" in run("compare", "img.png", "-o", "gone/a.html", code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "img.png", "--out", "o", "--show", "nan"],
        ["eval", "img.png", "--out", "o", "--show", "-1"],
        ["eval", "img.png", "--out", "o", "--qualities", "200"],
        ["compare", "img.png", "--bpp", "inf"],
        ["train", "--data", ".", "--out", "o", "--seed", str(2**64)],
        ["train", "--data", ".", "--out", "o", "--norm", "mabn:window=" + "9" * 400],
        ["train", "--data", ".", "--out", "o", "--norm", "batch:eps=0"],
        ["compress", "img.png", "--device", "hpu"],
    ],
)
def test_numbers_that_cannot_be_are_refused_before_the_work(folder, arguments):
    for package in ("bjontegaard", "pytorch_msssim", "matplotlib", "tqdm"):
        pytest.importorskip(package)
    assert "bug" not in run(*arguments, code=2).stderr
    assert names(folder) == ["img.png"]
