"""One training run from start to end: image folders in, a model file and its card out."""

from __future__ import annotations

import random
import shlex
import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from gdncodec.errors import UsageError
from gdncodec.files import remove_leftovers
from gdncodec.modelfile import save_model
from gdncodec.training.card import for_model_file, run_card, write_card
from gdncodec.training.checkpoint import load_start
from gdncodec.training.crops import CropSampler, images_of_slots
from gdncodec.training.data import find_images, load_images, manifest
from gdncodec.training.distributed import Workers, workers
from gdncodec.training.export import FITTED, export_model
from gdncodec.training.file_metrics import format_points, measure_files, write_points
from gdncodec.training.loop import train
from gdncodec.training.monitor import Monitor
from gdncodec.training.options import resolve_options
from gdncodec.training.recorder import Recorder
from gdncodec.training.signals import Stop
from gdncodec.training.state import TrainingState
from gdncodec.training.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from gdncodec.training.options import TrainingOptions

__all__ = ["Outcome", "run_session"]

_HELD_OUT = 25
"""Without a validation folder, one image in this many is held out of training."""

_VALIDATED = 24
"""Largest number of validation images."""


class Outcome(NamedTuple):
    """How a run ended."""

    model: Path | None
    """The model file; None in all processes but the main one."""
    signal: int | None
    """Number of the signal that stopped the run, or None."""


class _Images(NamedTuple):
    """The image files of a run, and the images that this process holds."""

    files: list[Path]
    held: dict[int, Tensor]
    """By their index in the files."""
    held_out: list[Path]
    """Files for validation."""


def run_session(
    *,
    data: Sequence[Path],
    out: Path,
    val: Path | None = None,
    resume: bool = False,
    resume_weights: Path | None = None,
    report: Callable[[str], None] | None = None,
    verbose: bool = False,
    fitting: Callable[[str, float], None] = lambda doing, done: None,
    **given: Any,
) -> Outcome:
    """Train a codec and export it.

    Args:
        data: folders of training images.
        out: folder for all output.
        val: folder of validation images; by default every 25th training image is held out.
        resume: resume the run in ``out``, or start one if there is none.
        resume_weights: checkpoint whose weights initialise a new run.
        report: called with every line of text; by default lines go to standard error.
        verbose: report network, options and number of parameters at the start.
        fitting: called while entropy coding is fitted, with what is being done and the share of
            the work that is done, 0 to 1.
        given: the other options of ``gdncodec train``, by name. An option that is missing or None
            keeps its value in a resumed run and has its default in a new one.

    Raises:
        FileExistsError: ``out`` already contains a run and ``resume`` is false.
        GdnCodecError: gradients are not finite even after several rollbacks, or a package is
            missing.
        ModelError: a file is not a checkpoint.
        OSError: the last checkpoint or the model file could not be written.
        UsageError: an option is out of range or differs from the run to resume, or there are no
            usable images.
    """
    with workers(given.pop("device", None) or "auto") as team:
        loaded = load_start(out, resume=resume) if team.is_main else None
        if loaded is None and resume_weights and team.is_main:
            loaded = load_weights(resume_weights).light
        start = team.from_main(loaded)
        config, options = resolve_options(given, start, team)
        state = TrainingState(config, options, team)
        if start:
            state.restore(start)
        if not team.is_main:
            say = report or partial(print, file=sys.stderr)
            sampler = _sampler(_read(data, val, options, team, say), options, team)
            with Stop() as stop:
                return Outcome(None, train(state, sampler, team=team, stop=stop))
        out.mkdir(parents=True, exist_ok=True)
        if resume:
            remove_leftovers(out)
        with closing(Monitor(out, report=report, step=state.counters.step)) as monitor:
            if verbose:
                count = sum(p.numel() for p in state.model.parameters())
                monitor.note(f"{config}\n{options}\n{count} parameters on {team.device}")
            images = _read(data, val, options, team, monitor.note)
            try:
                return _lead(state, images, val, monitor, out, team, fitting)
            except SystemExit:  # of a second signal, or of one while the tables are fitted
                if (out / "last.safetensors").exists():
                    monitor.note(_how_to_export(out, data))
                raise


def _lead(
    state: TrainingState,
    images: _Images,
    val: Path | None,
    monitor: Monitor,
    out: Path,
    team: Workers,
    fitting: Callable[[str, float], None],
) -> Outcome:
    """Train as the main process, which writes everything."""
    options = state.options
    validation, used = _for_validation(images, options, monitor.note)
    if val and not used:
        msg = f"no usable images of at least {options.crop} x {options.crop} pixels in {val}"
        raise UsageError(msg)
    monitor.note(f"{len(images.files)} images for training, {len(used)} for validation")
    data = {"training": manifest(images.files), "validation": manifest(used)}
    counters, digest = state.counters, data["training"]["sha256"]
    if counters.data not in (None, digest):
        monitor.note("the training images differ from those that this run was trained on before")
    counters.data = digest
    fitted = _for_fitting(images, options)
    sampler = _sampler(images, options, team)
    recorder = Recorder(out, monitor, validation, options.report_seconds)
    with Stop() as stop:
        asked = train(state, sampler, recorder, team=team, stop=stop)
        if asked:
            monitor.note("stopping and saving; a second signal stops at once")
        saved = recorder.save("last.safetensors", state.checkpoint())
        points = [] if asked else recorder.validate(state)
        monitor.note(f"fitting the entropy coding to {len(fitted)} images")
        stop.at_once = not asked
        model, tables = export_model(
            state.average, fitted, flat=options.flat, seed=options.seed, progress=fitting
        )
        stop.at_once = False
        card = run_card(
            state.config, options, state.counters, data=data, device=team.device,
            processes=team.world, tables=tables, stopped_by_signal=asked,
            coded_latent_channels=model.config.latent_channels,
        )  # fmt: skip
        path = out / "model.safetensors"
        save_model(path, model, for_model_file(card))
        write_card(out / "model.json", card)
        (out / "rd.json").unlink(missing_ok=True)  # it belongs to the previous model
        asked = asked or stop.asked
    if points and not asked:
        rows = measure_files(path, used, points)
        write_points(out / "rd.json", rows)
        monitor.note(format_points(rows))
    if not saved:
        msg = f"{out / 'last.safetensors'} could not be written; the model file is complete"
        raise OSError(msg)
    return Outcome(path, asked)


def _how_to_export(out: Path, data: Sequence[Path]) -> str:
    last, model = out / "last.safetensors", out / "model.safetensors"
    words = ["gdncodec", "models", "export", str(last), *(f"--data={d}" for d in data)]
    command = shlex.join([*words, "-o", str(model), "--force"])
    return f"stopped before the model was made; {last} holds the run, and later\n  {command}"


def _read(
    data: Sequence[Path],
    val: Path | None,
    options: TrainingOptions,
    team: Workers,
    say: Callable[[str], None],
) -> _Images:
    """Read the images for this process's crops; all processes skip a file that one cannot use."""
    named = say if team.is_main else lambda _: None
    found = find_images(data, named)
    held_out = find_images([val], named) if val else found[::_HELD_OUT] if len(found) > 1 else []
    if val and not held_out:
        msg = f"there are no images in {val}"
        raise UsageError(msg)
    left_out = {file.resolve() for file in held_out}
    files = [file for file in found if file.resolve() not in left_out]
    if val and found and not files:
        msg = f"all images of the data are in {val} too, so none are left for training"
        raise UsageError(msg)
    if len(set(team.all_of([len(files)]))) > 1:
        msg = "the processes find different numbers of images; all must see the same folders"
        raise UsageError(msg)
    read: dict[Path, Tensor] = {}
    while True:
        own = images_of_slots(len(files), options.batch, team.slots(options.batch))
        missing = [files[i] for i in own if files[i] not in read]
        images, usable = load_images(missing, options.crop, say)
        read |= dict(zip(usable, images, strict=True))
        unusable = set(team.all_of([file for file in missing if file not in read]))
        if not unusable:
            break
        files = [file for file in files if file not in unusable]
    if not files:
        msg = f"no usable images of at least {options.crop} x {options.crop} pixels in the data"
        raise UsageError(msg)
    return _Images(files, {i: read[files[i]] for i in own}, held_out)


def _sampler(images: _Images, options: TrainingOptions, team: Workers) -> CropSampler:
    return CropSampler(
        images.held, options.crop, options.batch, options.seed,
        slots=team.slots(options.batch), device=team.device, count=len(images.files),
        drawn=options.drawn,
    )  # fmt: skip


def _for_validation(
    images: _Images, options: TrainingOptions, say: Callable[[str], None]
) -> tuple[list[Tensor], list[Path]]:
    """Return the first usable validation images, and their files."""
    validation: list[Tensor] = []
    used: list[Path] = []
    for first in range(0, len(images.held_out), _VALIDATED):
        files = images.held_out[first : first + _VALIDATED]
        tensors, usable = load_images(files, options.crop, say)
        validation += tensors
        used += usable
        if len(used) >= _VALIDATED:
            break
    return validation[:_VALIDATED], used[:_VALIDATED]


def _for_fitting(images: _Images, options: TrainingOptions) -> list[NDArray[np.uint8]]:
    """Return a sample of the images, the same for any number of processes."""
    count = len(images.files)
    chosen = random.Random(options.seed).sample(range(count), min(FITTED, count))
    elsewhere = [images.files[i] for i in chosen if i not in images.held]
    found, _ = load_images(elsewhere, options.crop, lambda _: None)
    found += [images.held[i] for i in chosen if i in images.held]
    return [image.permute(1, 2, 0).numpy() for image in found]
