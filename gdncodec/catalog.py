"""Finds models and reads their headers, but not their weights."""

import json
import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gdncodec.config import ModelConfig
from gdncodec.errors import ModelError, SkippedModelWarning

__all__ = [
    "DEFAULT_MODEL",
    "ModelEntry",
    "find_model",
    "find_model_for",
    "find_models_for",
    "list_models",
    "user_folder",
]

DEFAULT_MODEL = "photo"
"""Name of the model that is used by default."""

_SUFFIX = ".safetensors"
_MAX_HEADER = 1 << 24


@dataclass(frozen=True)
class ModelEntry:
    """A model file, of which only the header is read."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(_SUFFIX)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The safetensors metadata.

        Raises:
            ModelError: the file is not a model file.
        """
        try:
            if self.path.exists() and not self.path.is_file():
                msg = "not an ordinary file"  # a pipe, for example, would be waited for
                raise ValueError(msg)
            with self.path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > _MAX_HEADER:
                    msg = f"its header claims {length} bytes"
                    raise ValueError(msg)
                metadata = json.loads(file.read(length))["__metadata__"]
        except (
            OSError, ValueError, struct.error, KeyError, TypeError, RecursionError,
        ) as error:  # fmt: skip
            msg = f"{self.path}: not a model file ({error})"
            raise ModelError(msg) from error
        needed = ("config", "fingerprint")
        if not isinstance(metadata, dict) or not all(
            isinstance(metadata.get(name), str) for name in needed
        ):
            msg = f"{self.path}: a safetensors file, but not a model of this program"
            raise ModelError(msg)
        return metadata

    @property
    def config(self) -> ModelConfig:
        """The configuration of the codec.

        Raises:
            ModelError: the file holds none that is usable.
        """
        try:
            return ModelConfig.from_json(self.metadata["config"])
        except ModelError as error:
            if str(self.path) in str(error):
                raise
            msg = f"{self.path}: {error}"
            raise ModelError(msg) from error

    @property
    def fingerprint(self) -> bytes:
        """First 8 bytes of the SHA-256 over what decoding needs; see :mod:`gdncodec.modelfile`."""
        try:
            return bytes.fromhex(self.metadata["fingerprint"])
        except ValueError as error:
            msg = f"{self.path}: its fingerprint is not a hexadecimal number"
            raise ModelError(msg) from error

    @property
    def card(self) -> dict[str, Any]:
        """How the model was trained and what it measured; may be empty."""
        try:
            card = json.loads(self.metadata.get("card", "{}"))
        except (ValueError, RecursionError):
            card = None
        if not isinstance(card, dict):
            msg = f"{self.path}: its card is not a JSON object"
            raise ModelError(msg)
        return card


def user_folder() -> Path:
    """Return the folder for the user's own models, which may not exist yet."""
    import platformdirs

    override = os.environ.get("GDNCODEC_MODELS")
    return Path(override) if override else Path(platformdirs.user_data_dir("gdncodec")) / "models"


def list_models() -> list[ModelEntry]:
    """Return the models that can be named, the user's before the installed ones."""
    found: dict[str, ModelEntry] = {}
    for path in _model_files():
        entry = ModelEntry(path)
        found.setdefault(entry.name, entry)
    return list(found.values())


def find_model(name_or_path: str | Path | None = None) -> ModelEntry:
    """Return the model of that name, or the file at that path, or the default model.

    Raises:
        ModelError: there is none.
    """
    wanted = str(name_or_path or DEFAULT_MODEL)
    if os.sep in wanted or wanted.endswith(_SUFFIX):
        entry = ModelEntry(Path(wanted))
        _ = entry.metadata
        return entry
    models = list_models()
    for entry in models:
        if entry.name == wanted:
            return entry
    names = ", ".join(m.name for m in models) or "none"
    msg = f"no model named {wanted!r}; there are: {names} (a path must end in {_SUFFIX})"
    raise ModelError(msg)


def find_model_for(fingerprint: bytes) -> ModelEntry:
    """Return the first model that states this fingerprint, which may not be its own.

    Raises:
        ModelError: there is none.
    """
    return find_models_for(fingerprint)[0]


def find_models_for(fingerprint: bytes) -> list[ModelEntry]:
    """Return the models that state this fingerprint, at least one.

    A file may state the fingerprint of another; loading it tells. Of files that are no models, a
    warning tells.

    Raises:
        ModelError: there is none.
    """
    found = []
    for path in _model_files():
        entry = ModelEntry(path)
        try:
            if entry.fingerprint == fingerprint:
                found.append(entry)
        except ModelError as error:  # which must not stop decoding
            warnings.warn(f"passed over {error}", SkippedModelWarning, stacklevel=2)
    if found:
        return found
    msg = (
        f"the file was made with model {fingerprint.hex()}, which is not installed; "
        f"put its model file into {user_folder()} or name it with --model"
    )
    raise ModelError(msg)


def _model_files() -> Iterator[Path]:
    package = Path(__file__).resolve().parent
    # The wheel maps models/ into the package; a clone and an editable install keep it beside.
    for folder in (user_folder(), package / "models", package.parent / "models"):
        yield from sorted(folder.glob(f"*{_SUFFIX}"))
