"""A tree of files as archives have them, and a run over it in which each must turn up once.

python tests/messy_tree.py [FILES] [JOBS]
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from gdncodec.cli import main

__all__ = ["build", "check"]

_FOLDERS = [
    "plain",
    "with space",
    "new\nline",
    "\u00fcml\u00e4ut \u65e5\u672c",
    "q'uo\"te",
    ".hidden",
    "-dash",
]
_SUFFIXES = ["png", "jpg", "PNG", "webp", "bmp"]


def build(top, files, seed=0):
    """Make the tree; return what must come of each path in it: done, failed or skipped."""
    rng = np.random.default_rng(seed)
    expected = {}
    folders = [top]
    for i in range(max(8, files // 40)):
        folder = folders[rng.integers(len(folders))] / f"{_FOLDERS[i % len(_FOLDERS)]}{i}"
        folder.mkdir(parents=True)
        folders.append(folder)
    for i in range(files):
        folder = folders[rng.integers(len(folders))]
        kind = "damaged" if i % 100 == 7 else _KINDS.get(i % 50, "image")
        path, status = _make(kind, folder, i, rng)
        expected[str(path)] = status
    _add_links(top, folders, expected)
    return expected


_KINDS = {
    11: "empty", 13: "unreadable", 17: "other suffix", 19: "no image", 23: "no suffix",
    29: "wrong format", 31: "link", 37: "broken link", 41: "bytes in its name",
}  # fmt: skip


def _make(kind, folder, i, rng):
    """Make one file; return its path and what must come of it."""
    stem = folder / f"{i} \u00e9\n{_FOLDERS[i % 3]}" if i % 9 == 0 else folder / str(i)
    path = Path(f"{stem}.{_SUFFIXES[i % len(_SUFFIXES)]}")
    if kind == "empty":
        path.touch()
        return path, "failed"
    if kind == "broken link":
        path.symlink_to("nowhere")
        return path, "failed"
    if kind == "no image":
        path.write_text("This is no image.")
        return path, "failed"
    if kind in ("other suffix", "no suffix"):
        path = Path(f"{stem}.txt" if kind == "other suffix" else f"{stem}-")
    if kind == "bytes in its name":
        path = Path(os.fsdecode(os.fsencode(f"{stem}") + b"\xff\xfe.png"))
    pixels = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    suffix = {"other suffix": "png", "no suffix": "png", "wrong format": "gif"}.get(kind)
    written = folder / f"being made.{suffix or path.suffix[1:]}"
    Image.fromarray(pixels).save(written)
    written.rename(path)
    if kind == "damaged":
        path.write_bytes(path.read_bytes()[:30])
        return path, "failed"
    if kind == "unreadable":
        path.chmod(0)
        return path, "done" if os.access(path, os.R_OK) else "failed"
    if kind == "link":
        real = path.rename(path.with_name(f"real {path.stem}{path.suffix}.not"))
        path.symlink_to(real.name)
    return path, "skipped" if kind in ("other suffix", "no suffix") else "done"


def _add_links(top, folders, expected):
    """Add links to folders, a loop among them, and the real files of links to what is expected."""
    (folders[2] / "loop").symlink_to(top.resolve())
    (folders[3] / "again").symlink_to(folders[4].resolve())
    expected[str(folders[2] / "loop")] = "skipped"
    expected[str(folders[3] / "again")] = "skipped"
    for folder in folders:
        expected.update({str(p): "skipped" for p in folder.iterdir() if p.suffix == ".not"})


def check(top, expected, work, jobs):
    """Compress the tree, and check that the report accounts for each path exactly once."""
    out, report = work / "out", work / "report.jsonl"
    command = ["compress", str(top), "-r", "-o", f"{out}/", "-j", str(jobs), "-e", "0"]
    result = CliRunner().invoke(main, [*command, "--report", str(report)])
    assert result.exit_code in (1, 3), result.output[-500:]
    records = [json.loads(line) for line in report.read_text("utf-8").splitlines()]
    times = Counter(record["input"] for record in records)
    assert set(times) == set(expected), set(times) ^ set(expected)
    assert set(times.values()) == {1}
    found = {record["input"]: record["status"] for record in records}
    assert found == expected, {p: (found[p], expected[p]) for p in found if found[p] != expected[p]}
    counts = Counter(expected.values())
    written = [p for p in out.rglob("*") if p.is_file()]
    assert len(written) == counts["done"]
    assert {str(p) for p in written} == {r["output"] for r in records if r["status"] == "done"}
    assert len(result.stderr.splitlines()) == counts["failed"]
    assert f"{counts['failed']} failed; {counts['skipped']} skipped" in result.stdout
    verified = CliRunner().invoke(main, ["verify", str(out), "-r", "-j", str(jobs)])
    assert verified.exit_code == 0, verified.output[-500:]
    again = CliRunner().invoke(main, [*command, "--skip-existing"])
    assert again.stdout.splitlines()[-1].startswith("0 files")
    return counts


def _main():
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    with tempfile.TemporaryDirectory() as folder:
        top, work = Path(folder, "top"), Path(folder, "work")
        top.mkdir()
        work.mkdir()
        expected = build(top, files)
        began = time.monotonic()
        counts = check(top, expected, work, jobs)
        print(dict(counts), f"{sum(counts.values())} paths, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    _main()
