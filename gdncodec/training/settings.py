"""What a run is to be: what was asked for, joined with what it continues."""

import dataclasses
from pathlib import Path
from typing import Any

from gdncodec.config import QUALITY_LAMBDAS, ModelConfig
from gdncodec.errors import ModelError
from gdncodec.nn.loss import check_metric
from gdncodec.norms import norm_info
from gdncodec.training.checkpoint import Checkpoint, load_checkpoint
from gdncodec.training.distributed import Workers, refuse_batch_statistics
from gdncodec.training.options import BINDING, TrainingOptions

__all__ = ["beginning", "settle"]

_CUDA: dict[str, Any] = {"batch": 16, "crop": 256, "optimizer": "adam"}
"""Defaults that make use of a GPU; SOAP, which is many small operations, is not measured there."""

_MS_SSIM: dict[str, Any] = {"crop": 192}
"""Smaller crops have too few scales."""


def beginning(out: Path, *, resume: bool, weights: Path | None) -> Checkpoint | None:
    """Return what a run begins with: all of the run it continues, or weights, or nothing.

    Args:
        out: the run's folder.
        resume: continue the run in it, or begin it if there is none.
        weights: a checkpoint whose weights a run shall begin with.

    Raises:
        FileExistsError: ``out`` already holds a run, and it is not to be resumed.
        ModelError: a file is no checkpoint, or the run to continue has none.
    """
    last, model = out / "last.safetensors", out / "model.safetensors"
    if resume and last.exists():
        return load_checkpoint(last)
    if resume and model.exists():
        msg = f"{last}: not there, so the run that made {model.name} cannot be continued"
        raise ModelError(msg)
    for path in (last, model):
        if path.exists():
            raise FileExistsError(path)
    return load_checkpoint(weights).light if weights else None


def settle(
    given: dict[str, Any], start: Checkpoint | None, team: Workers
) -> tuple[ModelConfig, TrainingOptions]:
    """Return what to train and how: as given, else as before, else by default.

    Args:
        given: options of ``gdncodec train`` by their names there; None is as good as missing.
        start: what the run begins with.
        team: the processes that train.

    Raises:
        GdnCodecError: a package that the metric needs is not installed.
        ValueError: an option is out of its range, another than in the run to continue, or does not
            go with another one.
    """
    given = {k: v for k, v in given.items() if v is not None}
    config = _config(_take_network(given), start)
    options = _options(given, start, config, team)
    for norm in (config.norm, config.synthesis_norm):
        smallest = norm_info(norm).minimum_batch
        if options.batch < smallest:
            msg = f"norm {norm} needs a batch of at least {smallest}, got {options.batch}"
            raise ValueError(msg)
    team.slots(options.batch)  # refuses a batch that cannot be shared out
    refuse_batch_statistics(config, team)
    check_metric(config.metric, options.crop)
    return config, options


def _take_network(given: dict[str, Any]) -> dict[str, Any]:
    """Take what describes the network out of the options, as fields of a configuration."""
    fields: dict[str, Any]
    fields = {k: given.pop(k) for k in ("norm", "latent_channels", "metric") if k in given}
    if "synthesis_norm" in given or "norm" in fields:
        fields["synthesis_norm"] = given.pop("synthesis_norm", fields.get("norm"))
    if "widths" in given:
        fields["widths"] = fields["synthesis_widths"] = tuple(given.pop("widths"))
    if "one_lambda" in given and "lambda_range" in given:
        msg = "give --lambda or --lambda-range, not both"
        raise ValueError(msg)
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
        # Weights that begin a run may be tuned to something else, but not be those of another net.
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
    kept = {name: before[name] for name in BINDING if name in before}
    if not given.keys() & {"steps", "max_minutes"}:
        kept |= {name: before.get(name) for name in ("steps", "max_minutes")}
    for name in kept.keys() & given.keys() & set(BINDING):
        _refuse_change(name, before[name], given[name])
    return TrainingOptions(**{**defaults, **kept, **given})


def _refuse_change(name: str, before: Any, now: Any) -> None:
    if now != before:
        option = name.replace("_", "-")
        msg = f"{option} is {before} in the run to continue, got {now}; leave the option out"
        raise ValueError(msg)
