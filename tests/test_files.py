import io
import os
from pathlib import Path

import pytest

import gdncodec
from gdncodec.files import STREAM, read_data, read_file, write_data, write_safely


def test_a_device_that_never_ends_is_no_file():
    for read in (read_data, read_file, gdncodec.open):
        with pytest.raises(OSError, match="a device, which may never end"):
            read(Path("/dev/zero"))
    assert read_data(Path(os.devnull)) == b""


def test_a_loop_of_links_is_an_error_of_the_system(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write_data(tmp_path / "a", b"data", overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b"}


def test_a_device_as_standard_input_is_refused(monkeypatch):
    with open("/dev/zero", encoding="latin-1") as zeros:
        monkeypatch.setattr("sys.stdin", zeros)
        with pytest.raises(OSError, match="a device, which may never end") as caught:
            read_data(STREAM)
    assert caught.value.filename == "standard input"


def test_the_file_appears_with_ordinary_permissions(tmp_path):
    with write_safely(tmp_path / "a.bin", overwrite=False) as temporary:
        temporary.write_bytes(b"new")
        assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), write_safely(tmp_path / "a", overwrite=True) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(RuntimeError), write_safely(tmp_path / "a", overwrite=True) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_an_existing_file_is_replaced_only_if_asked(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with (
        pytest.raises(FileExistsError),
        write_safely(tmp_path / "a", overwrite=False),
    ):
        pass
    with write_safely(tmp_path / "a", overwrite=True) as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_came_into_being_meanwhile_is_not_replaced(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with (
        pytest.raises(FileExistsError),
        write_safely(tmp_path / "a", overwrite=False) as temporary,
    ):
        temporary.write_bytes(b"mine")
        (tmp_path / "a").write_bytes(b"theirs")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"theirs"]


def test_a_file_system_without_links_works(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    with write_safely(tmp_path / "a", overwrite=False) as temporary:
        temporary.write_bytes(b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new"]


def test_a_dash_stands_for_the_standard_streams(monkeypatch):
    read, write = io.TextIOWrapper(io.BytesIO(b"\xff\n")), io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdin", read)
    monkeypatch.setattr("sys.stdout", write)
    assert read_data(STREAM) == b"\xff\n"
    write_data(STREAM, b"\xfe\n", overwrite=False)
    assert write.buffer.getvalue() == b"\xfe\n"


def test_data_are_written_whole_and_over_nothing(tmp_path):
    write_data(tmp_path / "a", b"1", overwrite=False)
    with pytest.raises(FileExistsError):
        write_data(tmp_path / "a", b"2", overwrite=False)
    assert read_data(tmp_path / "a") == b"1"
    write_data(tmp_path / "a", b"2", overwrite=True)
    assert read_data(tmp_path / "a") == b"2"
