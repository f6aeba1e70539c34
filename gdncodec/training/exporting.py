"""Models of checkpoints, after the run."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from gdncodec.errors import ModelError, UsageError, one_line
from gdncodec.nn.model import CodecModel
from gdncodec.training.data import find_images, load_images
from gdncodec.training.export import FITTED, export_model
from gdncodec.training.options import TrainingOptions
from gdncodec.training.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gdncodec.modelfile import Model

__all__ = ["export_checkpoint"]


def export_checkpoint(
    checkpoint: Path,
    data: Sequence[Path],
    *,
    flat: float | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[str, float], None] = lambda doing, done: None,
) -> tuple[Model, dict[str, Any]]:
    """Make a model of the averaged weights in a checkpoint, or of bare weights.

    Args:
        checkpoint: as :func:`gdncodec.training.weights.load_weights` reads it.
        data: folders of images, to which the entropy coding is fitted.
        flat: see :func:`gdncodec.training.export.export_model`; None takes that of the run.
        say: called with a line for each image that cannot be used.
        progress: called with what is being done, and the share of it that is done, 0 to 1.

    Returns:
        The model and its card.

    Raises:
        ModelError: the file is not what it should be.
        UsageError: there are no usable images.
    """
    start = load_weights(checkpoint)
    known = start.options or {}
    crop, seed = (known.get(k, getattr(TrainingOptions, k)) for k in ("crop", "seed"))
    flat = known.get("flat", TrainingOptions.flat) if flat is None else flat
    network = CodecModel(start.config).eval()
    try:
        network.load_state_dict(start.average)
    except RuntimeError as error:
        msg = f"{checkpoint}: from another version of the network: {one_line(error)}"
        raise ModelError(msg) from error
    files = find_images(data)
    chosen = random.Random(seed).sample(files, min(FITTED, len(files)))
    images, used = load_images(chosen, crop, say)
    if not images:
        msg = f"no usable images of at least {crop} x {crop} pixels in the data"
        raise UsageError(msg)
    arrays = [image.permute(1, 2, 0).numpy() for image in images]
    model, tables = export_model(network, arrays, flat=flat, seed=seed, progress=progress)
    card = {
        "exported": {"from": checkpoint.name, "images": len(used)},
        "options": {"flat": flat},
        "steps": start.counters.step,
        "tables": tables,
    }
    return model, card
