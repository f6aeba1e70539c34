"""Files in an object store, and a cluster of two machines of which one dies.

They run where Ray, s3fs and moto are installed; the extra ``dev`` leaves them out, because they
take 400 MB. ``pip install "gdncodec[ray]" "moto[server]"`` adds them.
"""

import io
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import run
from PIL import Image

import gdncodec
from gdncodec.batch.remote import Url
from gdncodec.cli import main


def png(seed):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def invoke(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def records(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_an_address_has_the_parts_of_a_path():
    url = Url("s3://bucket/folder/a.b.png")
    assert (url.name, url.stem, url.suffix) == ("a.b.png", "a.b", ".png")
    assert url.parent == "s3://bucket/folder"
    assert url.with_name("c.gdn") == "s3://bucket/folder/c.gdn"
    assert url.parent / "." == "s3://bucket/folder"


def test_an_address_without_a_cluster_and_the_other_way_round_is_refused(folder):
    said = run("compress", "img.png", "--address", "auto", code=2).stderr
    assert "it needs --engine ray" in said


@pytest.fixture
def memory():
    """A file system in the memory of this process."""
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.store.clear()
    for i in range(2):
        system.pipe_file(f"/in/sub/{i}.png", png(i))
    system.pipe_file("/in/bad.png", b"no image")
    system.pipe_file("/in/notes.txt", b"no image")
    system.pipe_file("/in/tiny.ppm", b"P5 1 1 255\n\x80")
    yield system
    system.store.clear()


def test_a_file_system_of_another_kind_is_mirrored_and_reported(memory, folder):
    words = ["compress", "memory://in", "-r", "-o", "memory://out/", "--report", "r.jsonl"]
    result = invoke(*words, "--keep-smaller", "--verify")
    assert result.exit_code == 3, result.output
    assert result.stderr.startswith("Error: memory://in/bad.png: not an image")
    assert sorted(memory.find("/out")) == ["/out/sub/0.gdn", "/out/sub/1.gdn", "/out/tiny.ppm"]
    found = {r["input"]: (r["status"], r["output"]) for r in records("r.jsonl")}
    assert found == {
        "memory://in/bad.png": ("failed", None),
        "memory://in/notes.txt": ("skipped", None),
        "memory://in/sub/0.png": ("done", "memory://out/sub/0.gdn"),
        "memory://in/sub/1.png": ("done", "memory://out/sub/1.gdn"),
        "memory://in/tiny.ppm": ("kept", "memory://out/tiny.ppm"),
    }
    assert memory.cat_file("/out/tiny.ppm") == memory.cat_file("/in/tiny.ppm")
    again = invoke("compress", "memory://in/sub/", "-o", "memory://out/sub/")
    assert again.exit_code == 6
    assert "memory://out/sub/0.gdn exists; --force overwrites it" in again.stderr
    run("decompress", "memory://out", "-r", "-o", "back/")
    (folder / "0.png").write_bytes(png(0))
    run("compress", "0.png")
    assert memory.cat_file("/out/sub/0.gdn") == (folder / "0.gdn").read_bytes()
    run("decompress", "0.gdn")
    assert (folder / "back/sub/0.decoded.png").read_bytes() == Path("0.decoded.png").read_bytes()
    run("verify", "memory://out/sub/1.gdn")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("info", "verify memory://in/x.gdn"),
        ("find", "verify memory://in/"),
        ("get_file", "compress memory://in/sub/0.png -o out/"),
        ("exists", "compress img.png -o memory://out/"),
        ("put_file", "compress img.png -o memory://out/"),
    ],
)
def test_errors_of_file_systems_are_one_line_with_the_address(
    memory, folder, monkeypatch, method, words
):
    def fail(*_, **__):
        msg = "Unable to locate credentials"
        raise LookupError(msg)

    monkeypatch.setattr(type(memory), method, fail)
    result = invoke(*words.split())
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: memory://")
    assert line.endswith(" (Unable to locate credentials)")


@pytest.fixture
def bucket(monkeypatch):
    """An object store that runs here."""
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = server_module.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    store.mkdir("bucket")
    yield store
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_an_object_store_and_a_cluster_of_which_one_machine_dies_lose_nothing(
    bucket, folder, monkeypatch
):
    """Every file is done, none twice, none half; the bytes are those that one process writes."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(gdncodec.__file__).parents[1]))
    import ray
    from ray.cluster_utils import Cluster

    count = 40
    for i in range(count):
        bucket.pipe_file(f"bucket/in/{i % 4}/{i}.png", png(i))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    report = folder / "r.jsonl"

    def kill_when_some_are_done():
        for _ in range(2400):
            if report.exists() and report.read_text().count("\n") >= 5:
                break
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill_when_some_are_done)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        killer.start()
        words = ["compress", "s3://bucket/in", "-r", "-o", "s3://bucket/out/", "--report", report]
        result = invoke(*words, "--engine", "ray", "-q", 30)
        killer.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert result.exit_code == 0, result.output
    found = records(report)
    assert sorted(r["input"] for r in found) == sorted(
        f"s3://bucket/in/{i % 4}/{i}.png" for i in range(count)
    )
    assert {r["status"] for r in found} == {"done"}
    bucket.invalidate_cache()
    assert len(bucket.find("bucket/out")) == count
    run("compress", "s3://bucket/in", "-r", "-o", "here/", "-q", 30, "--quiet")
    for i in range(count):
        name = f"{i % 4}/{i}.gdn"
        assert bucket.cat_file(f"bucket/out/{name}") == (folder / "here" / name).read_bytes()
