"""One training run as a user starts it: folders in, a model file and its card out."""

import dataclasses
import hashlib
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gdncodec._version import __version__
from gdncodec.config import QUALITY_LAMBDAS, ModelConfig
from gdncodec.errors import ImageError
from gdncodec.nn.model import CodecModel
from gdncodec.training.data import find_pictures, read_rgb
from gdncodec.training.export import export_model
from gdncodec.training.loop import TrainingOptions, train
from gdncodec.weights import save_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["run_session"]

_HELD_OUT = 25
"""Without a folder for validation, every picture of this number is held out of training."""


def run_session(
    *,
    data: Sequence[Path],
    val: Path | None,
    out: Path,
    norm: str,
    synthesis_norm: str | None,
    widths: tuple[int, int, int],
    latent_channels: int,
    lambda_range: tuple[float, float] | None,
    one_lambda: float | None,
    resume: Path | None,
    report: Callable[[str], None],
    **options: Any,
) -> Path:
    """Train a codec and export it; return the path of the model file.

    The arguments are the options of ``gdncodec train``; ``options`` go to
    :class:`gdncodec.training.loop.TrainingOptions`.

    Raises:
        ValueError: an option is out of range, or there are no usable pictures.
        FileExistsError: ``out`` already holds a model file.
    """
    if lambda_range and one_lambda:
        msg = "give --lambda or --lambda-range, not both"
        raise ValueError(msg)
    lambdas = (one_lambda, one_lambda) if one_lambda else lambda_range or QUALITY_LAMBDAS
    config = ModelConfig(norm, synthesis_norm or norm, widths, widths, latent_channels, lambdas)
    how = TrainingOptions(**options)
    path = out / "model.safetensors"
    if path.exists():
        raise FileExistsError(path)
    CodecModel(config)  # refuses an unknown norm before any picture is read

    files = find_pictures(data)
    held_out = find_pictures([val]) if val else files[::_HELD_OUT] if len(files) > 1 else []
    pictures, names = _load([f for f in files if f not in set(held_out)], how.crop, report)
    if not pictures:
        msg = f"no usable pictures of at least {how.crop} x {how.crop} pixels in the data"
        raise ValueError(msg)
    validation, _ = _load(held_out[:8], how.crop, report)
    report(f"{len(pictures)} pictures for training, {len(validation)} for validation")

    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    network = train(config, how, pictures, validation, out, resume=resume, report=report)
    model, tables = export_model(network, pictures, seed=how.seed)
    card = {
        "command": shlex.join(["gdncodec", *sys.argv[1:]]),
        "options": dataclasses.asdict(how),
        "pictures": len(pictures),
        "data_sha256": _manifest_hash(names),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, {how.device}",
        "versions": {
            "gdncodec": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "tables": tables,
    }
    save_model(path, model, card)
    return path


def _load(
    files: Sequence[Path], crop: int, report: Callable[[str], None]
) -> "tuple[list[NDArray[np.uint8]], list[Path]]":
    """Read pictures; name those that cannot be used and go on."""
    pictures, names = [], []
    for file in files:
        try:
            picture = read_rgb(file)
        except ImageError as error:
            report(f"skipped {error}")
            continue
        if min(picture.shape[:2]) < crop:
            height, width, _ = picture.shape
            report(f"skipped {file}: {width} x {height} is smaller than a crop of {crop}")
            continue
        pictures.append(picture)
        names.append(file)
    return pictures, names


def _manifest_hash(files: Sequence[Path]) -> str:
    """Return one SHA-256 over the SHA-256 of every file, sorted, so that folders do not matter."""
    hashes = sorted(hashlib.sha256(f.read_bytes()).hexdigest() for f in files)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
