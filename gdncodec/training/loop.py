"""The training loop, from pictures to checkpoints."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gdncodec.config import ModelConfig
from gdncodec.nn.loss import RateDistortionLoss, rate_distortion
from gdncodec.nn.model import CodecModel, Quantization
from gdncodec.norms import norm_info
from gdncodec.norms.statistics import freeze_stats
from gdncodec.norms.switchable import average_batch_statistics
from gdncodec.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gdncodec.training.data import CropSampler

__all__ = ["TrainingOptions", "train"]

_VALIDATION_QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How long and how to train.

    Args:
        steps: stop after so many steps, or None.
        max_minutes: stop after so many minutes, or None; one of the two is needed.
        batch: crops in a step.
        crop: side of a crop in pixels, a multiple of 16.
        learning_rate: peak rate of Adam; the density learns five times as fast.
        warmup: steps of rising rate at the start.
        decay: last part of the run, in which the rate falls to zero.
        mixed: last part of the run, in which the synthesis sees rounded latents.
        frozen: last part of the run, in which the analysis and all running statistics stand still.
        ema: weight of the old value in the moving average of the weights.
        statistics_batches: batches over which switchable norms average their statistics at the end.
        seed: seed of initial weights, crops, qualities and noise.
        precision: ``bf16`` runs the inner convolutions under autocast, ``float32`` none.
        device: a torch device.
        report_seconds: time between two reports.
    """

    steps: int | None = None
    max_minutes: float | None = None
    batch: int = 8
    crop: int = 128
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: float = 0.25
    mixed: float = 0.2
    frozen: float = 0.05
    ema: float = 0.999
    statistics_batches: int = 200
    seed: int = 0
    precision: str = "bf16"
    device: str = "cpu"
    report_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.steps is None and self.max_minutes is None:
            msg = "training needs an end: give steps or max_minutes"
            raise ValueError(msg)
        if self.crop % 16 or self.crop < 32:
            msg = f"crop must be a multiple of 16 and at least 32, got {self.crop}"
            raise ValueError(msg)


def train(
    config: ModelConfig,
    options: TrainingOptions,
    pictures: list[np.ndarray],
    validation: list[np.ndarray],
    out: Path,
    *,
    resume: Path | None = None,
    report: Callable[[str], None] = print,
) -> CodecModel:
    """Train a codec and return it with the averaged weights, ready for export.

    Writes ``before-decay.safetensors`` (continue from it) and ``last.safetensors`` into ``out``.

    Args:
        config: what to build; a resumed run takes the checkpoint's.
        options: how to train.
        pictures: uint8 (H, W, 3), each at least as large as a crop.
        validation: uint8 (H, W, 3); may be empty.
        out: an existing folder.
        resume: a checkpoint to continue from.
        report: called with one line of text at a time.
    """
    for norm in (config.norm, config.synthesis_norm):
        if options.batch < norm_info(norm).minimum_batch:
            msg = f"norm {norm} needs a batch of at least {norm_info(norm).minimum_batch}"
            raise ValueError(msg)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    start = load_checkpoint(resume) if resume else None
    config = start.config if start else config
    model = CodecModel(config)
    average = CodecModel(config)
    first_step = start.step if start else 0
    model.load_state_dict(start.weights if start else model.state_dict())
    average.load_state_dict(start.average if start else model.state_dict())
    model = model.to(device).to(memory_format=torch.channels_last)
    average = average.to(device).to(memory_format=torch.channels_last).eval()
    criterion = RateDistortionLoss((config.lambda_at(-2), config.lambda_at(102))).to(device)
    sampler = CropSampler(pictures, options.crop, options.seed + first_step)
    optimizer = _make_optimizer(model, options)

    def save(name: str) -> None:
        state = Checkpoint(config, step, model.state_dict(), average.state_dict())
        save_checkpoint(out / name, state)

    began = reported = time.monotonic()
    step, steps_reported, losses = first_step, first_step, torch.zeros((), device=device)
    decaying = False
    while (progress := _progress(step - first_step, began, options)) < 1:
        if not decaying and progress >= 1 - options.decay:
            decaying = True
            save("before-decay.safetensors")
        _set_rate(optimizer, step - first_step, progress, options)
        quantization: Quantization = "noise" if progress < 1 - options.mixed else "mixed"
        model.g_a.requires_grad_(progress < 1 - options.frozen)
        if progress >= 1 - options.frozen:
            quantization = "round"
            freeze_stats(model)

        x = sampler.draw(options.batch).to(device, memory_format=torch.channels_last)
        quality = _stratified_qualities(options.batch, config).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            output = model(x, quality, quantization)
        bpp, mse = rate_distortion(output, x)
        loss = criterion(bpp, mse, _lambdas(config, quality))
        optimizer.zero_grad()
        loss.backward()
        steepness = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(steepness):
            optimizer.step()
        _update_average(average, model, min(options.ema, (step + 1) / (step + 10)))
        step += 1
        losses += loss.detach()

        now = time.monotonic()
        if now - reported >= options.report_seconds:
            done = step - steps_reported
            rate = done * options.batch / (now - reported)
            text = f"step {step}: loss {losses.item() / done:.4f}, {rate:.1f} crops/s"
            report(f"{text}{_validate(average, validation)}")
            save("last.safetensors")
            reported, steps_reported = time.monotonic(), step
            losses = torch.zeros((), device=device)
    _average_statistics(average, sampler, options)
    save("last.safetensors")
    report(f"step {step}: end{_validate(average, validation)}")
    return average


def _make_optimizer(model: CodecModel, options: TrainingOptions) -> torch.optim.Optimizer:
    density = list(model.density.parameters())
    ids = {id(p) for p in density}
    rest = [p for p in model.parameters() if id(p) not in ids]
    groups = [
        {"params": rest, "peak": options.learning_rate},
        {"params": density, "peak": 5 * options.learning_rate},
    ]
    return torch.optim.Adam(groups, lr=options.learning_rate, fused=True)


def _set_rate(
    optimizer: torch.optim.Optimizer, step: int, progress: float, options: TrainingOptions
) -> None:
    rise = min(1.0, (step + 1) / options.warmup)
    fall = min(1.0, (1 - progress) / options.decay) if options.decay else 1.0
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rise * fall


def _progress(steps: int, began: float, options: TrainingOptions) -> float:
    """Return how much of the run is done: 1 when the steps or the time are used up."""
    by_steps = steps / options.steps if options.steps else 0.0
    minutes = (time.monotonic() - began) / 60
    return max(by_steps, minutes / options.max_minutes if options.max_minutes else 0.0)


def _stratified_qualities(batch: int, config: ModelConfig) -> Tensor:
    """Draw one quality from each of ``batch`` equal parts of a range a little beyond 0 to 100."""
    if config.fixed_quality is not None:
        return torch.full((batch,), config.fixed_quality)
    return (torch.randperm(batch) + torch.rand(batch)) * (104 / batch) - 2


def _lambdas(config: ModelConfig, quality: Tensor) -> Tensor:
    low, high = (math.log(v) for v in config.lambdas)
    return (low + (high - low) * quality / 100).exp()


@torch.no_grad()
def _average_statistics(
    average: CodecModel, sampler: CropSampler, options: TrainingOptions
) -> None:
    """Give switchable norms the statistics of the averaged weights over many batches."""
    device = next(average.parameters()).device

    def forward(x: Tensor) -> None:
        average(x.to(device), _stratified_qualities(len(x), average.config).to(device), "round")

    batches = (sampler.draw(options.batch) for _ in range(options.statistics_batches))
    average_batch_statistics(average, batches, forward)


@torch.no_grad()
def _update_average(average: CodecModel, model: CodecModel, keep: float) -> None:
    """Move the averaged parameters a little; buffers are taken over as they are."""
    old: list[Tensor] = list(average.parameters())
    new: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(old, new, 1 - keep)
    for mine, theirs in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(theirs)


@torch.no_grad()
def _validate(model: CodecModel, pictures: list[np.ndarray]) -> str:
    """Return estimated bpp and PSNR at a few qualities, on the middles of the pictures."""
    if not pictures:
        return ""
    device = next(model.parameters()).device
    text = []
    for q in _VALIDATION_QUALITIES:
        quality = torch.tensor([q], device=device)
        bpps, psnrs = [], []
        for picture in pictures:
            height, width = (min(512, n // 16 * 16) for n in picture.shape[:2])
            top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
            part = picture[top : top + height, left : left + width]
            x = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].to(device).float() / 255
            out = model(x, quality, "round")
            bpp, mse = rate_distortion(out._replace(x_hat=out.x_hat.clamp(0, 1)), x)
            bpps.append(bpp.item())
            psnrs.append(-10 * math.log10(mse.item()))
        text.append(f"{np.mean(bpps):.3f} bpp {np.mean(psnrs):.2f} dB")
    return "; " + ", ".join(text)
