"""The training loop."""

import dataclasses
import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from gdncodec.config import DOWNSAMPLING, ModelConfig
from gdncodec.errors import GdnCodecError
from gdncodec.nn.loss import rate_distortion
from gdncodec.nn.model import CodecModel
from gdncodec.norms.crossnorm import activate_for_step
from gdncodec.norms.statistics import freeze_stats
from gdncodec.norms.switchable import average_batch_statistics
from gdncodec.training.checkpoint import Checkpoint
from gdncodec.training.crops import CropSampler
from gdncodec.training.distributed import ALONE, Workers, parallel
from gdncodec.training.meter import Meter
from gdncodec.training.options import Stage, TrainingOptions
from gdncodec.training.recorder import Recorder
from gdncodec.training.signals import Stop
from gdncodec.training.state import TrainingState

__all__ = ["train"]

_PULSE = 20
"""Steps on CUDA between two synchronisations of host and device."""

_FAULTS = 10
"""Consecutive steps with gradients that are not finite that trigger a rollback."""

_ROLLBACKS = 3
"""Most rollbacks in a run; the next one aborts it."""

_WORTH_COMPILING = 10.0
"""Length of a run on the CPU, in minutes, above which compiling pays."""


def train(
    state: TrainingState,
    sampler: CropSampler,
    recorder: Recorder | None = None,
    *,
    team: Workers = ALONE,
    stop: Stop | None = None,
) -> int | None:
    """Train until the limit of steps or time is reached, or a stop is requested.

    A step depends only on the state, the seed and the number of the step. A resumed run therefore
    continues exactly as it would have, and N processes compute the same as one, up to rounding.

    Args:
        state: training state, updated in place; at the end its ``average`` is ready for export.
        sampler: source of the crops of this process.
        recorder: shows figures, validates and saves checkpoints; only the main process has one.
        team: the processes that train; each calls this function.
        stop: tells whether a stop is requested.

    Returns:
        The number of the signal that stopped the run, or None if it reached its end.

    Raises:
        GdnCodecError: gradients are not finite even after several rollbacks.
    """
    if _compiles(state.options, team):
        _compile(state)
    pulse = _PULSE if team.device.type == "cuda" else 1
    with _tensor_cores(team.device):
        asked = _run(state, sampler, recorder, team, stop, pulse)
    if asked and recorder:  # before anything slow, because the process may be killed soon
        recorder.save("last.safetensors", state.checkpoint())
    _average_statistics(state, sampler)
    return asked


def _run(
    state: TrainingState,
    sampler: CropSampler,
    recorder: Recorder | None,
    team: Workers,
    stop: Stop | None,
    pulse: int,
) -> int | None:
    options = state.options
    began = time.monotonic() - 60 * state.counters.minutes
    meter, good = Meter(team), state.checkpoint()
    learner: nn.Module | None = None
    frozen: bool | None = None
    while True:
        # The host waits for the device here, and the processes agree on the state of the run.
        skipped, faults = meter.read()
        state.counters.skipped += skipped
        minutes, due, asked = team.largest(
            (time.monotonic() - began) / 60,
            bool(recorder and recorder.due),
            (stop and stop.asked) or 0,
        )
        state.counters.minutes = minutes
        if faults >= _FAULTS:
            _roll_back(state, good, recorder)
            meter.forget()
        progress = options.progress(state.counters.step, minutes)
        if recorder:
            recorder.show(state, progress, meter)
        if asked or progress >= 1:
            return int(asked) or None
        if due and not faults:
            good = state.checkpoint()
            if recorder:
                recorder.report(state, good)
        for _ in range(pulse):
            progress = options.progress(state.counters.step, minutes)
            if progress >= 1:
                break
            stage = options.stage(progress)
            if learner is None or stage.frozen is not frozen:
                learner = None  # delete the old one first, see parallel()
                learner, frozen = _learner(state.model, stage, team), stage.frozen
            _mark_decay(state, progress, recorder)
            state.set_rate(options.rate(state.counters.step, progress))
            meter.add(*_step(state, learner, stage, sampler, team))


def _step(
    state: TrainingState, learner: nn.Module, stage: Stage, sampler: CropSampler, team: Workers
) -> tuple[Tensor, Tensor]:
    """Do one step; return whether it was skipped, and loss, bpp and PSNR (3,), on the device.

    Qualities and noise are drawn for the whole batch, and each process uses its share.
    """
    config, options, device = state.config, state.options, team.device
    torch.manual_seed(_seed(options.seed, state.counters.step))
    x = sampler.draw(state.counters.step)
    mine = slice(team.slots(options.batch).start, team.slots(options.batch).stop)
    quality = _stratified_qualities(options.batch, config)[mine].to(device, non_blocking=True)
    side = options.crop // DOWNSAMPLING
    shape = (options.batch, config.latent_channels, side, side)
    noise = torch.rand(shape, device=device)[mine] - 0.5

    before = state.buffers()
    activate_for_step(state.model)
    with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
        output = learner(x, quality, stage.quantization, noise)
    result = rate_distortion(output, x, config.metric)
    loss = state.criterion(result.bpp, result.distortion, config.lambda_at(quality))
    state.optimizer.zero_grad()
    loss.backward()
    bad = state.update(before)
    return bad, torch.stack([loss, result.bpp.mean(), result.psnr.mean()]).detach()


def _learner(model: CodecModel, stage: Stage, team: Workers) -> nn.Module:
    """Return the network set up for a stage."""
    model.g_a.requires_grad_(not stage.frozen)
    freeze_stats(model, frozen=stage.frozen)
    return parallel(model, team)


def _mark_decay(state: TrainingState, progress: float, recorder: Recorder | None) -> None:
    """Save the weights just before the learning rate decays, for later runs to start from."""
    falls = state.options.falls(progress)
    if recorder and falls and not state.counters.falling:
        recorder.save("before-decay.safetensors", state.checkpoint().light)
    state.counters.falling = falls


def _roll_back(state: TrainingState, good: Checkpoint, recorder: Recorder | None) -> None:
    """Return to the last good state, with half the learning rate."""
    now = state.counters
    back = dataclasses.replace(
        now,
        step=good.counters.step,
        averaged=good.counters.averaged,
        falling=good.counters.falling,
        rollbacks=now.rollbacks + 1,
        slowdown=now.slowdown / 2,
    )
    if now.rollbacks >= _ROLLBACKS:
        if recorder:
            # A resumed run gets a fresh rollback budget but keeps the reduced learning rate.
            counters = dataclasses.replace(back, rollbacks=0)
            recorder.save("last.safetensors", good._replace(counters=counters))
        msg = f"gave up at step {now.step}: after {now.rollbacks} rollbacks to the last good state,"
        msg += f" step {good.counters.step}, gradients are still not finite. That state is saved in"
        msg += " last.safetensors; a new run can start from it with --resume-weights and"
        msg += " --precision float32"
        raise GdnCodecError(msg)
    state.restore(good)
    state.counters = back
    if recorder:
        text = f"step {now.step}: {_FAULTS} gradients in a row were not finite; went back to step"
        recorder.monitor.note(f"{text} {good.counters.step} with half the learning rate")


def _seed(seed: int, step: int) -> int:
    return random.Random(f"{seed}/{step}").getrandbits(63)


def _stratified_qualities(batch: int, config: ModelConfig) -> Tensor:
    """Draw one quality from each of ``batch`` equal parts of the range from -2 to 102."""
    if config.fixed_quality is not None:
        return torch.full((batch,), config.fixed_quality)
    return (torch.randperm(batch) + torch.rand(batch)) * (104 / batch) - 2


@torch.no_grad()
def _average_statistics(state: TrainingState, sampler: CropSampler) -> None:
    """Recompute the statistics of switchable norms with the averaged weights, over many batches."""
    first = state.counters.step
    torch.manual_seed(_seed(state.options.seed, first))

    def forward(x: Tensor) -> None:
        state.average(x, _stratified_qualities(len(x), state.config).to(x.device), "round")

    batches = (sampler.draw(first + i) for i in range(state.options.statistics_batches))
    average_batch_statistics(state.average, batches, forward)


def _compiles(options: TrainingOptions, team: Workers) -> bool:
    if options.compile != "auto":
        return options.compile == "on"
    names = [os.environ.get("CXX", "c++"), "g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        return False
    if team.device.type == "cuda":
        return find_spec("triton") is not None
    return team.device.type == "cpu" and (options.minutes or 0) > _WORTH_COMPILING


def _compile(state: TrainingState) -> None:
    if state.options.compile == "auto":
        # By default, what cannot be compiled runs uncompiled, with a warning.
        torch._dynamo.config.suppress_errors = True
    state.model.compile(dynamic=False)


@contextmanager
def _tensor_cores(device: torch.device) -> Iterator[None]:
    """Let CUDA use TF32 for float32 products and benchmark its convolution algorithms."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
