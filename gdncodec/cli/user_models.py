"""Where a new model of the user's goes."""

from pathlib import Path

from gdncodec.batch.files import refuse_existing
from gdncodec.errors import UsageError
from gdncodec.files import remove_leftovers

__all__ = ["destination", "path_for"]

_SUFFIX = ".safetensors"


def path_for(name: str, force: bool) -> Path:
    """Return the path that a model of this name gets in the user's folder.

    Args:
        name: of the model, with or without the suffix of model files.
        force: replace a model of that name, or go before one that came with this program.

    Raises:
        FileExistsError: the user has a model of that name.
        UsageError: it is no name, or that of a model that came with this program.
    """
    from gdncodec.catalog import list_models, user_folder

    stem = name.removesuffix(_SUFFIX)
    if stem in {"", ".", ".."} or Path(stem).name != stem:
        msg = f"a model cannot be named {name!r}; give another --name"
        raise UsageError(msg)
    remove_leftovers(user_folder())
    path = user_folder() / f"{stem}{_SUFFIX}"
    if path.exists() and not force:
        raise FileExistsError(path)
    if not force and stem in {entry.name for entry in list_models()}:
        msg = f"a model named {stem} is installed; give another --name, or --force to go before it"
        raise UsageError(msg)
    return path


def destination(
    source: Path, default: str, name: str | None, output: Path | None, force: bool
) -> tuple[Path, str]:
    """Return the path of a model that is made of a file, and what --model will know it by.

    Args:
        source: what it is made of.
        default: its name, if neither a name nor an output is given.
        name: its name among the user's models.
        output: or its file.
        force: replace what is there.

    Raises:
        FileExistsError: it exists.
        UsageError: name or output cannot be used.
    """
    if output is None:
        path = path_for(default if name is None else name, force)
        return path, path.stem
    if name is not None or output.suffix != _SUFFIX:
        msg = f"--output takes a name that ends in {_SUFFIX}, and no --name beside it"
        raise UsageError(msg)
    refuse_existing(output, force, source)
    remove_leftovers(output.parent)
    return output.absolute(), str(output.absolute())
