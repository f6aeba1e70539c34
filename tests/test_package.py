"""The package as it is built, installed and documented."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def call(*command, cwd, **environment):
    result = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The tracked files alone, as a stranger has them."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a clone with its history to know which files belong to the project")
    target = tmp_path_factory.mktemp("clone")
    listed = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
    return target


@pytest.fixture(scope="module")
def built(clone):
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", clone / "dist", cwd=clone)
    return clone / "dist"


def test_the_wheel_compresses_elsewhere(built, tmp_path, photo):
    from PIL import Image

    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "gdncodec/models/photo.safetensors" in names
    assert "gdncodec/py.typed" in names
    assert not any(name.startswith(("tests/", "models/", "docs/")) for name in names)
    Image.fromarray(photo).save(tmp_path / "a.png")
    code = (
        "import gdncodec, sys\n"
        "assert gdncodec.__file__.startswith(sys.argv.pop(1))\n"
        "from gdncodec.cli import main\n"
        "main()\n"
    )
    call(
        sys.executable, "-c", code, tmp_path / "site", "compress", "a.png",
        cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"),
    )  # fmt: skip
    assert (tmp_path / "a.gdn").stat().st_size > 39


def test_the_sdist_holds_what_building_and_testing_need(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {
        "models/photo.safetensors", "models/photo.md", "tests/conftest.py", "data/astronaut.png",
        "train.py", "LICENSE", "CHANGELOG.md", "README.md", "docs/format.md",
    } <= names  # fmt: skip


def test_a_plain_clone_finds_the_model(clone):
    code = "from gdncodec.catalog import find_model; print(find_model().path)"
    found = call(sys.executable, "-c", code, cwd=clone, PYTHONPATH=str(clone))
    assert Path(found.strip()) == clone / "models" / "photo.safetensors"


def test_ci_runs_the_readmes_own_commands():
    readme = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    for name in ("install", "test"):
        blocks = re.findall(rf"<!-- {name} -->\n```\w*\n(.*?)```", readme, re.DOTALL)
        assert [block.count("\n") for block in blocks] == [1], f"one line after <!-- {name} -->"
        assert blocks[0].strip() not in script
        assert name in script


def test_the_readme_is_short_and_leads_to_a_page_that_names_every_command():
    from gdncodec.cli import main

    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 90
    assert "(docs/command-line.md)" in readme
    page = (ROOT / "docs" / "command-line.md").read_text()
    for name in main.commands:
        assert f"| `gdncodec {name}" in page, name


def test_the_page_of_the_command_line_has_the_exit_codes_of_the_help():
    from gdncodec.cli import _EXIT_CODES

    page = (ROOT / "docs" / "command-line.md").read_text()
    stated = re.findall(r"^  (\d[\d, ]*?)  +(.*)$", _EXIT_CODES, re.MULTILINE)
    rows = re.findall(r"^\| (\d[\d, ]*) \| (.*) \|$", page, re.MULTILINE)
    assert [code for code, _ in stated] == [code for code, _ in rows]
    one, other = ([re.sub(r"[();`]", "", text) for _, text in found] for found in (rows, stated))
    assert one == other


def test_every_package_is_shipped():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    stated = set(setup["options"]["packages"].split())
    found = {
        ".".join(p.relative_to(ROOT).parent.parts) for p in ROOT.glob("gdncodec/**/__init__.py")
    }
    assert stated == found | {"gdncodec.models"}
