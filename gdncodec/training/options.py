"""Training options: their defaults, ranges and schedules, and how a resumed run keeps them."""

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

from gdncodec.config import QUALITY_LAMBDAS, ModelConfig
from gdncodec.errors import UsageError
from gdncodec.nn.loss import check_metric
from gdncodec.norms import norm_info
from gdncodec.training.checkpoint import Checkpoint
from gdncodec.training.distributed import Workers, refuse_batch_statistics

__all__ = ["Stage", "TrainingOptions", "resolve_options"]

_MINUTES = 120.0
"""Length of a run, in minutes, without a limit of steps or time."""

_BINDING = (
    "batch", "crop", "learning_rate", "warmup", "decay", "mixed", "frozen", "ema",
    "statistics_batches", "optimizer", "seed", "precision", "drawn", "flat",
)  # fmt: skip
"""Options that cannot change when a run is resumed."""

_CUDA: dict[str, Any] = {"batch": 16, "crop": 256, "optimizer": "adam"}
"""Defaults on a GPU; SOAP consists of many small operations and is not confirmed there yet."""

_MS_SSIM: dict[str, Any] = {"crop": 192}
"""Smaller crops are too small for five scales."""

Precision = Literal["bf16", "float32"]
Compile = Literal["auto", "on", "off"]
OptimizerName = Literal["adam", "soap"]


class Stage(NamedTuple):
    """Phase of a run: which parameters are trained, and on which latents."""

    quantization: Literal["noise", "mixed", "round"]
    """See :class:`gdncodec.nn.model.CodecModel`."""
    frozen: bool
    """Whether the analysis and all running statistics are frozen."""


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How long and how to train.

    Schedules depend on the progress of a run, 0 to 1, in steps or in time, or whichever is further
    if both are limited. A run without limits takes 120 minutes.

    ::

        progress       0 ----------------------------- 0.75 --- 0.8 ------ 0.95 -- 1
        learning rate  warm-up, constant                | decays to zero ----------|
        latents        noise ------------------------------------|- mixed ---|round|
        analysis       trained ----------------------------------------------|frozen

    Args:
        steps: number of steps after which to stop, or None.
        max_minutes: training time in minutes after which to stop, including the time before a
            resume, or None.
        batch: crops per step over all processes.
        crop: side length of a crop in pixels, a multiple of 16, at least 32.
        learning_rate: peak learning rate under Adam, above 0 and below 1; under SOAP it is three
            times as high, and for the density five times as high again.
        warmup: steps at the start over which the learning rate rises.
        decay: fraction of the run, at its end, over which the learning rate decays to zero.
        mixed: fraction of the run, at its end, in which the synthesis gets rounded latents.
        frozen: fraction of the run, at its end, in which the analysis and all running statistics
            are frozen and the rate is estimated from rounded latents too.
        ema: weight of the previous value in the moving average of the weights, 0 or more and below
            1.
        statistics_batches: batches over which switchable norms average their statistics at the end.
        optimizer: ``adam`` or ``soap``.
        seed: random seed for initial weights, crops, qualities and noise.
        precision: ``bf16`` runs the inner convolutions under autocast, ``float32`` does not.
        drawn: fraction of the crops, 0 to 1, that are synthetic instead of photographs, see
            :mod:`gdncodec.training.synthetic`.
        flat: divisor, 1 to 64, of the quantisation bins of latent channels that represent flat
            colours, see :func:`gdncodec.training.export.export_model`.
        compile: ``on`` uses torch.compile; ``auto`` uses it on CUDA, and on the CPU in runs of more
            than ten minutes, if a C++ compiler is installed; ``off`` does not use it.
        report_seconds: seconds between two reports; each saves a checkpoint and may validate.

    Raises:
        UsageError: a value is out of range.
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
    optimizer: OptimizerName = "soap"
    seed: int = 0
    precision: Precision = "bf16"
    drawn: float = 0.05
    flat: float = 1.0
    compile: Compile = "auto"
    report_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.crop % 16 or self.crop < 32:
            msg = f"crop must be a multiple of 16 and at least 32, got {self.crop}"
            raise UsageError(msg)
        for name in ("steps", "batch", "statistics_batches"):
            self._check(name, getattr(self, name) is None or getattr(self, name) >= 1, "1 or more")
        self._check("max_minutes", self.max_minutes is None or self.max_minutes > 0, "above 0")
        self._check("learning_rate", 0 < self.learning_rate < 1, "above 0 and below 1")
        self._check("ema", 0 <= self.ema < 1, "from 0 to below 1")
        self._check("flat", 1 <= self.flat <= 64, "from 1 to 64")
        for name in ("warmup", "report_seconds"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("decay", "mixed", "frozen", "drawn"):
            self._check(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        choices = {"optimizer": OptimizerName, "precision": Precision, "compile": Compile}
        for name, kind in choices.items():
            known = get_args(kind)
            self._check(name, getattr(self, name) in known, f"one of {', '.join(known)}")

    def _check(self, name: str, good: bool, expected: str) -> None:
        if not good:
            msg = f"{name} must be {expected}, got {getattr(self, name)}"
            raise UsageError(msg)

    @property
    def minutes(self) -> float | None:
        """Limit of the training time in minutes, or None."""
        return self.max_minutes or (None if self.steps else _MINUTES)

    def progress(self, step: int, minutes: float) -> float:
        """Return the completed fraction of the run; 1 or more when its end is reached.

        Args:
            step: completed steps.
            minutes: training time in minutes; ignored without a limit of time.
        """
        by_steps = step / self.steps if self.steps else 0.0
        return max(by_steps, minutes / self.minutes if self.minutes else 0.0)

    def stage(self, progress: float) -> Stage:
        """Return the phase of the run at a given progress, 0 to 1."""
        if progress >= 1 - self.frozen:
            return Stage("round", frozen=True)
        return Stage("noise" if progress < 1 - self.mixed else "mixed", frozen=False)

    def falls(self, progress: float) -> bool:
        """Return whether the learning rate decays at a given progress, 0 to 1."""
        return self.decay > 0 and progress >= 1 - self.decay

    def rate(self, step: int, progress: float) -> float:
        """Return the factor on the learning rate, 0 to 1, at a given step and progress."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        fall = max(0.0, (1 - progress) / self.decay) if self.falls(progress) else 1.0
        return rise * fall


def resolve_options(
    given: dict[str, Any], start: Checkpoint | None, team: Workers
) -> tuple[ModelConfig, TrainingOptions]:
    """Return network and options: as given, else as in the checkpoint, else the defaults.

    Args:
        given: options of ``gdncodec train`` by name; None counts as not given.
        start: checkpoint that the run starts from, or None.
        team: the processes that train.

    Raises:
        GdnCodecError: a package that the metric needs is not installed.
        UsageError: an option is out of range, differs from the run to resume, or conflicts with
            another option.
    """
    given = {k: v for k, v in given.items() if v is not None}
    config = _config(_take_network(given), start)
    options = _options(given, start, config, team)
    for norm in (config.norm, config.synthesis_norm):
        smallest = norm_info(norm).minimum_batch
        if options.batch < smallest:
            msg = f"norm {norm} needs a batch of at least {smallest}, got {options.batch}"
            raise UsageError(msg)
    team.slots(options.batch)  # raises ValueError if the batch cannot be split evenly
    refuse_batch_statistics(config, team)
    check_metric(config.metric, options.crop)
    return config, options


def _take_network(given: dict[str, Any]) -> dict[str, Any]:
    """Remove the options that describe the network; return them as configuration fields."""
    fields: dict[str, Any]
    fields = {k: given.pop(k) for k in ("norm", "latent_channels", "metric") if k in given}
    if "synthesis_norm" in given or "norm" in fields:
        fields["synthesis_norm"] = given.pop("synthesis_norm", fields.get("norm"))
    if "widths" in given:
        fields["widths"] = fields["synthesis_widths"] = tuple(given.pop("widths"))
    if "one_lambda" in given and "lambda_range" in given:
        msg = "give --lambda or --lambda-range, not both"
        raise UsageError(msg)
    if "one_lambda" in given:
        fields["lambdas"] = (given.pop("one_lambda"),) * 2
    elif "lambda_range" in given:
        fields["lambdas"] = tuple(given.pop("lambda_range"))
    return fields


def _config(fields: dict[str, Any], start: Checkpoint | None) -> ModelConfig:
    before = start.config if start else ModelConfig()
    if fields.get("metric", before.metric) != before.metric:
        fields.setdefault("lambdas", QUALITY_LAMBDAS[fields["metric"]])
    if start:
        # Weights for a new run may be trained for another target, not for another architecture.
        free = () if start.is_complete else ("lambdas", "metric")
        for name in fields.keys() - set(free):
            _refuse_change(name, getattr(before, name), fields[name])
    return dataclasses.replace(before, **fields)


def _options(
    given: dict[str, Any], start: Checkpoint | None, config: ModelConfig, team: Workers
) -> TrainingOptions:
    defaults = _MS_SSIM if config.metric == "ms-ssim" else {}
    if team.device.type == "cuda":
        defaults = _CUDA
    before = start.options if start and start.is_complete and start.options else {}
    kept = {name: before[name] for name in _BINDING if name in before}
    if not given.keys() & {"steps", "max_minutes"}:
        kept |= {name: before.get(name) for name in ("steps", "max_minutes")}
    for name in kept.keys() & given.keys() & set(_BINDING):
        _refuse_change(name, before[name], given[name])
    return TrainingOptions(**{**defaults, **kept, **given})


def _refuse_change(name: str, before: Any, now: Any) -> None:
    if now != before:
        option = name.replace("_", "-")
        msg = f"{option} is {before} in the run to resume, got {now}; omit the option"
        raise UsageError(msg)
