"""Runs over many files that are interrupted or killed: nothing partial, and the next goes on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import names, run
from PIL import Image

import gdncodec
from gdncodec.cli import main

# Sends a signal to itself when the third file has been written and is about to get its name.
INTERRUPTED = """
import os, signal, sys
if __name__ == "__main__":
    from gdncodec.batch import outcomes
    from gdncodec.__main__ import program
    add = outcomes.ReportFile.add
    def counted(report, outcome, seen=[]):
        add(report, outcome)
        seen.append(outcome)
        if len(seen) == 3:
            os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    outcomes.ReportFile.add = counted
    program(sys.argv[2:])
"""

# Kills a worker, or the only process, at the end of each second file that it writes.
KILLED = """
import os, signal, sys
written, fsync = [], os.fsync
def kill(file):
    fsync(file)
    written.append(file)
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = kill
if __name__ == "__main__":
    from gdncodec.cli import main
    main(sys.argv[1:])
"""


@pytest.fixture
def tree(folder, photo):
    (folder / "img.png").unlink()
    (folder / "in").mkdir()
    for i in range(8):
        Image.fromarray(np.roll(photo[:32, :32], i, axis=1)).save(folder / "in" / f"{i}.png")
    return folder


def start(script, *arguments):
    path = Path("script.py")
    path.write_text(script)
    return subprocess.run(
        [sys.executable, str(path), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(gdncodec.__file__).parents[1])},
    )


def results(folder):
    return sorted(p.name for p in (folder / "out").iterdir())


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_what_runs_sums_up_and_ends_by_the_signal(tree, jobs):
    words = ["compress", "in", "-o", "out/", "-j", jobs, "--report", "r.jsonl"]
    ended = start(INTERRUPTED, "SIGINT", *words)
    assert ended.returncode == -signal.SIGINT
    done = len(results(tree))
    assert 3 <= done <= 4
    assert f"\n{done} files, " in ended.stdout
    assert ended.stdout.endswith(f"; {8 - done} not begun\n")
    assert ended.stderr == ""
    run("compress", "in", "-o", "out/", "--skip-existing", "--report", "r.jsonl")
    assert results(tree) == [f"{i}.gdn" for i in range(8)]
    run("verify", "out", "--quiet")
    records = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert sorted(r["input"] for r in records if r["status"] == "done") == [
        f"in/{i}.png" for i in range(8)
    ]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_sigterm_ends_at_once_and_leaves_nothing_partial(tree, jobs):
    words = ["compress", "in", "-o", "out/", "-j", jobs, "--report", "r.jsonl"]
    assert start(INTERRUPTED, "SIGTERM", *words).returncode == 128 + signal.SIGTERM
    assert all(name.endswith(".gdn") and name[0] != "." for name in results(tree))
    run("verify", "out", "--quiet")


def test_a_killed_run_leaves_nothing_partial_and_the_next_removes_what_it_left(tree):
    ended = start(KILLED, "compress", "in", "-o", "out/")
    assert ended.returncode == -signal.SIGKILL
    found = results(tree)
    assert [name for name in found if not name.startswith(".gdncodec-")] == ["0.gdn"]
    assert len(found) == 2
    run("compress", "in", "-o", "out/", "--skip-existing")
    assert results(tree) == [f"{i}.gdn" for i in range(8)]


def test_a_worker_that_is_killed_costs_no_file_and_leaves_nothing(tree):
    ended = start(KILLED, "compress", "in", "-o", "out/", "-j", "2")
    assert ended.returncode == 0, ended.stderr
    assert results(tree) == [f"{i}.gdn" for i in range(8)]
    run("verify", "out", "--quiet")


# Ctrl-C reaches the workers of -j, too, even before they run any code of ours.
AT_THE_START = """
import os, signal, sys
if __name__ == "__main__":
    from gdncodec.__main__ import program
    program(sys.argv[1:])
else:
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_ctrl_c_does_not_end_workers_that_are_starting(tree):
    ended = start(AT_THE_START, "compress", "in", "-o", "out/", "-j", "2")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert results(tree) == [f"{i}.gdn" for i in range(8)]


WHILE_IMPORTING = """
import signal, sys
class Interrupting:
    @staticmethod
    def find_spec(name, *_):
        if name == sys.argv[1]:
            signal.raise_signal(signal.SIGINT)
if __name__ == "__main__":
    from gdncodec.__main__ import program
    sys.meta_path.insert(0, Interrupting)
    program(sys.argv[2:])
"""


@pytest.mark.parametrize("module", ["click", "gdncodec.codec"])
def test_ctrl_c_while_a_command_starts_shows_no_traceback(folder, module):
    ended = start(WHILE_IMPORTING, module, "compress", "img.png")
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
    assert names(folder) == ["img.png", "script.py"]


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("compress img.png", "gdncodec.codec.Codec.compress"),
        ("compress img.png --target-bpp 1", "gdncodec.codec.Codec.compress_to"),
        ("decompress a.gdn", "gdncodec.codec.Codec.decompress_image"),
        ("decompress a.gdn -o a.tiff", "gdncodec.images.writing.encoded"),
        ("verify a.gdn", "gdncodec.codec.Codec.decompress_image"),
        ("view a.gdn", "gdncodec.cli.viewer.encoded"),
        ("info a.gdn", "gdncodec.container.unpack"),
        ("models", "gdncodec.catalog.list_models"),
        ("models add m.safetensors --name other", "gdncodec.modelfile.load_model"),
        ("models import a.pth", "gdncodec.compressai.conversion.import_compressai"),
        ("models export a.pth --data .", "gdncodec.training.exporting.export_checkpoint"),
        ("eval img.png --out ev --anchors jpeg", "gdncodec.codec.Codec.compress"),
        ("compare img.png --anchors jpeg", "gdncodec.codec.Codec.compress"),
        ("train --data . --out run", "gdncodec.training.session.run_session"),
    ],
)
def test_ctrl_c_ends_every_command_without_an_error_or_a_file(
    folder, monkeypatch, tiny_model, words, place
):
    run("compress", "img.png", "-o", "a.gdn", "--model", tiny_model)
    Path("m.safetensors").write_bytes(tiny_model.read_bytes())
    Path("a.pth").touch()
    Path("models").mkdir()
    Path("tmp").mkdir()
    before = sorted(folder.rglob("*"))
    monkeypatch.setenv("GDNCODEC_MODELS", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(place, lambda *_, **__: signal.raise_signal(signal.SIGINT))
    ended = CliRunner().invoke(main, words.split())
    assert ended.exit_code == 130  # which the program ends by the signal itself
    assert ended.output == ""
    left = set(folder.rglob("*")) - set(before)
    assert left <= {folder / "ev"}
