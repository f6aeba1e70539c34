"""What killed processes leave, and who may remove it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run

import gdncodec
from gdncodec.files import remove_leftovers, write_safely

KILLED = """
import os, signal, sys
from pathlib import Path
from gdncodec.files import write_safely
with write_safely(Path(sys.argv[1]), overwrite=False) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_writer(path):
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(gdncodec.__file__).parents[1])},
    )
    assert ended.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    kill_a_writer(tmp_path / "a.gdn")
    (tmp_path / "b.gdn").touch()
    (left,) = tmp_path.glob(".gdncodec-*.gdn")
    assert left.read_bytes() == b"half"
    (tmp_path / ".gdncodec-folder").mkdir()
    (tmp_path / ".gdncodec-link").symlink_to("b.gdn")
    remove_leftovers(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"b.gdn", ".gdncodec-folder", ".gdncodec-link"}
    remove_leftovers(tmp_path / "gone")


def test_what_a_process_is_writing_is_never_removed(tmp_path):
    remover = (
        "import sys; from pathlib import Path; from gdncodec.files import remove_leftovers; "
        "remove_leftovers(Path(sys.argv[1]))"
    )
    with write_safely(tmp_path / "a", overwrite=False) as temporary:
        temporary.write_bytes(b"new")
        remove_leftovers(tmp_path)
        environment = {**os.environ, "PYTHONPATH": str(Path(gdncodec.__file__).parents[1])}
        subprocess.run([sys.executable, "-c", remover, str(tmp_path)], check=True, env=environment)
        assert temporary.exists()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new"]


def test_a_file_that_is_taken_for_a_leftover_before_it_is_locked_is_made_anew(
    tmp_path, monkeypatch
):
    import fcntl

    lock, removed = fcntl.flock, []

    def late(file, how):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with write_safely(tmp_path / "a", overwrite=False) as temporary:
        temporary.write_bytes(b"new")
    assert removed
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new"]


def test_a_file_system_without_locks_is_written_and_nothing_on_it_removed(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    kill_a_writer(tmp_path / "a")
    monkeypatch.setattr(fcntl, "flock", refuse)
    with write_safely(tmp_path / "a", overwrite=False) as temporary:
        temporary.write_bytes(b"new")
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("compress img.png -o out/a.gdn", "out"),
        ("decompress a.gdn -o out/a.png", "out"),
        ("models add m.safetensors --name other", "models"),
        ("compare img.png --anchors jpeg -o out/a.html", "out"),
        ("eval img.png --anchors jpeg --qualities 50 --show 1 --out out", "out/plots"),
    ],
)
def test_every_command_removes_what_a_killed_one_left(
    folder, tiny_model, monkeypatch, words, place
):
    monkeypatch.setenv("GDNCODEC_MODELS", "models")
    run("compress", "img.png", "-o", "a.gdn")
    Path("m.safetensors").write_bytes(tiny_model.read_bytes())
    Path(place).mkdir(parents=True)
    Path(place, ".gdncodec-abc.png").touch()
    run(*words.split())
    assert not [path for path in folder.rglob("*") if path.name.startswith(".gdncodec-")]
