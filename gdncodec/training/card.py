"""The run card: a JSON record of how a model was trained."""

import contextlib
import dataclasses
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from gdncodec._version import __version__
from gdncodec.config import ModelConfig
from gdncodec.files import write_safely
from gdncodec.training.checkpoint import Counters
from gdncodec.training.options import TrainingOptions

__all__ = ["for_model_file", "run_card", "write_card"]

_PACKAGES = ("numpy", "pillow", "pytorch-msssim", "safetensors")
"""Packages besides PyTorch whose versions can affect the result."""

_LISTED = 1000
"""Longest list of image hashes in a model file: opening the model reads the whole card."""


def run_card(
    config: ModelConfig,
    options: TrainingOptions,
    counters: Counters,
    *,
    data: Mapping[str, Mapping[str, Any]],
    device: torch.device,
    processes: int = 1,
    **more: Any,
) -> dict[str, Any]:
    """Return the card of a run, ready for JSON.

    Args:
        config: architecture of the network.
        options: options of the training.
        counters: counters at the end of the run.
        data: manifests (see :func:`gdncodec.training.data.manifest`) of the images, under
            ``training`` and ``validation``.
        device: device that the run used.
        processes: number of processes that trained together.
        more: further entries, such as the report on the entropy tables.
    """
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "config": dataclasses.asdict(config),
        "options": dataclasses.asdict(options),
        "seed": options.seed,
        "data": {name: dict(manifest) for name, manifest in data.items()},
        "steps": counters.step,
        "minutes": round(counters.minutes, 2),
        "skipped_steps": counters.skipped,
        "rollbacks": counters.rollbacks,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "hardware": _hardware(device, processes),
        "versions": _versions(),
        **more,
    }


def for_model_file(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card without the lists of hashes that are too long for a model file.

    The single hash over all images of such a list is kept.
    """
    data = {
        name: {k: v for k, v in manifest.items() if k != "files" or len(v) <= _LISTED}
        for name, manifest in card["data"].items()
    }
    return {**card, "data": data}


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write a card as JSON; a crash leaves either the old file or the new one intact.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    with write_safely(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _hardware(device: torch.device, processes: int) -> dict[str, Any]:
    hardware: dict[str, Any] = {
        "device": str(device),
        "processes": processes,
        "machine": platform.machine(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(device)
    return hardware


def _processor() -> str:
    try:
        lines: Sequence[str] = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _versions() -> dict[str, str]:
    versions = {
        "gdncodec": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
