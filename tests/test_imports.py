"""What may import what: checked in fresh processes and in the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gdncodec"

HEAVY = {"torch", "numpy", "PIL", "compressai", "torchvision", "constriction", "safetensors"}

# Third-party packages that modules import, by module or by folder.
ALLOWED = {
    "_version": set(),
    "errors": set(),
    "extras": set(),
    "files": set(),
    "measures": set(),
    "threads": {"threadpoolctl"},
    "container": set(),
    "salvage": set(),
    "config": set(),
    "catalog": {"platformdirs"},
    "images": {"PIL", "numpy"},
    "information": set(),
    "entropy": {"numpy", "constriction"},
    "modelchecks": {"numpy"},
    "modelfile": {"numpy", "safetensors"},
    "tiles": {"numpy"},
    "decoder": {"numpy", "PIL"},
    "encoder": {"numpy"},
    "codec": set(),
    "api": {"numpy", "PIL"},
    "batch": set(),
    "pillow": {"PIL"},
}

# Modules and folders, from the first to the last: each imports only from those before it.
ORDER = [
    "_version", "errors", "extras", "files", "measures", "threads", "container", "salvage",
    "config",
    "catalog", "images", "information", "entropy", "norms", "modelchecks", "modelfile", "nn",
    "engines", "tiles",
    "decoder", "encoder", "codec", "api", "batch", "pillow", "compressai", "training", "evaluation",
    "cli",
    "__main__",
]  # fmt: skip


def modules_loaded_by(code):
    script = f"{code}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


def command(*arguments):
    return (
        f"from gdncodec.cli import main\ntry: main({list(arguments)!r})\nexcept SystemExit: pass\n"
    )


@pytest.fixture(scope="module")
def small_file(tmp_path_factory, photo):
    import gdncodec

    path = tmp_path_factory.mktemp("imports") / "a.gdn"
    path.write_bytes(gdncodec.compress(photo))
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["compress"],
        ["compress", "--help"],
        ["nonsense"],
        ["models"],
        ["models", "--verbose"],
        ["models", "--help"],
        ["models", "import", "--help"],
        ["train", "--help"],
    ],
)
def test_help_models_and_usage_errors_load_nothing_heavy(arguments):
    assert not modules_loaded_by(command(*arguments)) & HEAVY


def test_info_loads_nothing_heavy(small_file):
    assert not modules_loaded_by(command("info", "--verbose", str(small_file))) & HEAVY


def test_importing_the_package_loads_nothing_heavy():
    assert not modules_loaded_by("import gdncodec") & HEAVY


def test_decompressing_loads_neither_torch_nor_an_evaluation_package(small_file):
    loaded = modules_loaded_by(command("verify", str(small_file)))
    assert "numpy" in loaded
    heavy = {"torch", "compressai", "torchvision", "matplotlib", "scipy", "pytorch_msssim"}
    assert not loaded & heavy


def top_level_imports(path):
    """Return the modules that a file imports when it is itself imported."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_a_module_imports_only_from_above_itself(path):
    relative = path.relative_to(PACKAGE)
    if str(relative) == "__init__.py":
        return
    room = relative.parts[0].removesuffix(".py")
    own = ORDER.index(room)
    for name in top_level_imports(path):
        parts = name.split(".")
        if parts[0] == "gdncodec" and len(parts) > 1:
            assert ORDER.index(parts[1]) <= own, f"{relative} imports {name}"
        elif room in ALLOWED and parts[0] not in sys.stdlib_module_names:
            assert parts[0] in ALLOWED[room], f"{relative} imports {name}"


def test_every_module_that_is_ordered_exists():
    """So that neither list outlives what it speaks of."""
    rooms = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__"} == set(ORDER)
    assert set(ALLOWED) <= set(ORDER)


def test_torch_is_imported_in_its_own_places_only():
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0]
        if any(name.split(".")[0] == "torch" for name in top_level_imports(path)):
            assert part in {"norms", "nn", "engines", "compressai", "training"}, path
