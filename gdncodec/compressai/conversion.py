"""From a checkpoint of CompressAI's ``bmshj2018-factorized`` to a model file of ours.

That network is our transforms with ``gdn``, with two differences in how it meets the image and
the latent: it sees the pixels as they are, from 0 to 1, and it rounds the distance from a learned
median. Both have a place in our model files (``pixel_offset`` and ``latent_centre``). The weights
stay as they are, in float32; the learned density of every channel becomes a table of integers.
"""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gdncodec._version import __version__
from gdncodec.compressai.checkpoints import read_state_dict
from gdncodec.config import Metric, ModelConfig
from gdncodec.entropy.bank import cheapest_tables, fit_bank
from gdncodec.entropy.coder import MAX_TABLES
from gdncodec.entropy.contexts import LEVELS, QUALITY_ROWS
from gdncodec.entropy.phases import PHASES
from gdncodec.errors import ModelError
from gdncodec.modelfile import Model
from gdncodec.nn.transforms import Transform, analysis, synthesis

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gdncodec.entropy.coder import Tables

__all__ = ["COMPRESSAI_LAMBDAS", "import_compressai"]

COMPRESSAI_LAMBDAS: dict[Metric, tuple[float, ...]] = {
    "mse": (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800),
    "ms-ssim": (2.40, 4.58, 8.73, 16.64, 31.73, 60.50, 115.37, 220.00),
}
"""The lambdas of CompressAI's qualities 1 to 8."""

_DEFAULT_LAMBDA = 0.01  # of CompressAI's examples/train.py, which trains on squared error
_PUBLISHED = re.compile(r"bmshj2018-factorized-(prior|ms-ssim)-([1-8])-[0-9a-f]{8}\b")

_DENSITY_WIDTHS = (1, 3, 3, 3, 3, 1)
_LARGEST = 1023  # a symbol beyond it is always escaped
_CONDITION = r"(scale|shift)_\d+"  # how our transforms follow the quality
_COUNTS = 1 << 24  # counts that stand for a probability of 1: the finest a table can tell

# What a state dict holds beside what is learned: numbers that the layers never change, whose
# values are given here, and tables, which are built again from the density.
_CONSTANTS = {
    r"g_[as]\.[135]\.beta_reparam\.lower_bound\.bound": (1e-6 + 2**-36) ** 0.5,
    r"g_[as]\.[135]\.gamma_reparam\.lower_bound\.bound": 2**-18,
    r"g_[as]\.[135]\.(beta|gamma)_reparam\.pedestal": 2**-36,
    r"entropy_bottleneck\.(target|likelihood_lower_bound\.bound)": None,
    r"entropy_bottleneck\.(_offset|_quantized_cdf|_cdf_length)": None,
}


def import_compressai(
    path: Path, *, one_lambda: float | None = None
) -> tuple[Model, dict[str, Any]]:
    """Convert a checkpoint; no code in it is run.

    Lambda changes no symbol and no pixel: it says which quality the model's files are marked with.
    A checkpoint does not hold it. Unless given, it is known from the name of a file that CompressAI
    publishes, as the metric is, or taken to be the default of its ``examples/train.py``.

    Args:
        path: a state dict, or a dictionary with one under ``state_dict``, written by torch.save.
        one_lambda: the lambda that it was trained with.

    Returns:
        The model, and its card: where it came from, how its lambda is known, and the bits for a
        symbol that the learned density and the tables expect.

    Raises:
        ModelError: the file is damaged, or holds something else.
        UsageError: the lambda is out of range.
    """
    metric, trade_off, lambda_from = _trade_off(path, one_lambda)
    state = read_state_dict(path)
    try:
        config = _config(state, metric, trade_off)
        _check(state, config)
    except ModelError as error:
        msg = f"{path}: no bmshj2018-factorized of CompressAI: {error}"
        raise ModelError(msg) from error
    model, report = _convert(state, config)
    card = {
        "imported": {
            "from": "CompressAI bmshj2018-factorized",
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
        "lambda": {"value": trade_off, "from": lambda_from},
        "tables": report,
        "versions": {"gdncodec": __version__, "torch": torch.__version__},
    }
    return model, card


def _trade_off(path: Path, one_lambda: float | None) -> tuple[Metric, float, str]:
    """Return metric and lambda, and how lambda is known."""
    published = _PUBLISHED.match(path.name)
    metric: Metric = "ms-ssim" if published and published[1] == "ms-ssim" else "mse"
    if one_lambda is not None:
        return metric, one_lambda, "given"
    if published:
        known = COMPRESSAI_LAMBDAS[metric][int(published[2]) - 1]
        return metric, known, "known from the name of the file"
    return metric, _DEFAULT_LAMBDA, "assumed, the default of CompressAI's examples/train.py"


def _config(state: dict[str, Tensor], metric: Metric, trade_off: float) -> ModelConfig:
    """Return the configuration that the shapes of the convolutions tell."""

    def channels(name: str, axis: int) -> int:
        if name not in state:
            msg = f"{name} is missing"
            raise ModelError(msg)
        shape = tuple(state[name].shape)
        if len(shape) != 4 or not all(1 <= n <= 1024 for n in shape):
            msg = f"{name} has shape {shape}, expected four axes of 1 to 1024"
            raise ModelError(msg)
        return state[name].shape[axis]

    down = [channels(f"g_a.{i}.weight", 0) for i in (0, 2, 4, 6)]
    up = [channels(f"g_s.{i}.weight", 1) for i in (4, 2, 0)]
    return ModelConfig(
        norm="gdn",
        synthesis_norm="gdn",
        widths=(down[0], down[1], down[2]),
        synthesis_widths=(up[0], up[1], up[2]),
        latent_channels=down[3],
        lambdas=(trade_off, trade_off),
        gain_nodes=2,
        folded=True,
        pixel_offset=0.0,
        padding="zeros",
        metric=metric,
    )


def _transforms(config: ModelConfig) -> dict[str, Transform]:
    """Return both transforms by CompressAI's names, without memory for what is learned."""
    with torch.device("meta"):
        return {"g_a": analysis(config), "g_s": synthesis(config)}


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all that is learned there."""
    m = config.latent_channels
    shapes: dict[str, tuple[int, ...]] = {
        f"{net}.{name}": tuple(value.shape)
        for net, transform in _transforms(config).items()
        for name, value in transform.state_dict().items()
        if not re.fullmatch(_CONDITION, name)
    }
    shapes["entropy_bottleneck.quantiles"] = (m, 1, 3)
    last = len(_DENSITY_WIDTHS) - 2
    for i, (n_in, n_out) in enumerate(pairwise(_DENSITY_WIDTHS)):
        shapes[f"entropy_bottleneck.matrices.{i}"] = (m, n_out, n_in)
        shapes[f"entropy_bottleneck.biases.{i}"] = (m, n_out, 1)
        if i < last:
            shapes[f"entropy_bottleneck.factors.{i}"] = (m, n_out, 1)
    return shapes


def _check(state: dict[str, Tensor], config: ModelConfig) -> None:
    """Refuse a state dict that is not exactly what that configuration has."""
    shapes = _shapes(config)
    for name in sorted(state.keys() - shapes.keys()):
        known = [value for pattern, value in _CONSTANTS.items() if re.fullmatch(pattern, name)]
        if not known:
            msg = f"{name} is not part of one"
            raise ModelError(msg)
        if known[0] is not None:
            _check_constant(name, state[name], known[0])
    for name, shape in shapes.items():
        if name not in state:
            msg = f"{name} is missing"
            raise ModelError(msg)
        if state[name].shape != shape:
            msg = f"{name} has shape {tuple(state[name].shape)}, expected {shape}"
            raise ModelError(msg)
        if not _is_plain(state[name]):
            msg = f"{name} is of type {state[name].dtype}, expected floating point, dense"
            raise ModelError(msg)
        if not state[name].float().isfinite().all():
            msg = f"{name} holds numbers that are not finite in float32"
            raise ModelError(msg)


def _is_plain(value: Tensor) -> bool:
    return value.is_floating_point() and value.layout is torch.strided and not value.is_meta


def _check_constant(name: str, value: Tensor, expected: float) -> None:
    good = value.numel() == 1 and _is_plain(value)
    if not good or not (value.float() / expected - 1).abs().item() < 1e-5:
        msg = f"{name} is not {expected:.6g}"
        raise ModelError(msg)


def _convert(state: dict[str, Tensor], config: ModelConfig) -> tuple[Model, dict[str, float]]:
    m = config.latent_channels
    tensors: dict[str, NDArray[Any]] = {}
    transforms = _transforms(config)
    for theirs, ours in (("g_a", "analysis"), ("g_s", "synthesis")):
        # The parametrisation of GDN is the same, and so is the order of gamma's axes. Nothing
        # follows the quality there.
        for name, value in transforms[theirs].state_dict().items():
            follows = re.fullmatch(_CONDITION, name)
            found = torch.zeros(value.shape) if follows else state[f"{theirs}.{name}"]
            tensors[f"{ours}.{name}"] = found.float().numpy()
    medians = state["entropy_bottleneck.quantiles"][:, 0, 1].float()
    tables, table_of, report = _tables(_probabilities(state, medians))
    tensors |= {
        "log_gain": np.zeros((config.gain_nodes, m), np.float32),
        "log_inverse_gain": np.zeros((config.gain_nodes, m), np.float32),
        "latent_centre": medians.numpy(),
        "tables.frequencies": tables.frequencies,
        "tables.halfwidths": tables.halfwidths,
        # One group of channels without weights: every symbol of a channel has the same table.
        "contexts.set_of_row": np.zeros(QUALITY_ROWS, np.uint8),
        "contexts.group_of_channel": np.zeros((1, m), np.uint8),
        "contexts.weights": np.zeros((1, PHASES, m, m), np.int16),
        "contexts.neighbour_weights": np.zeros((1, PHASES, m), np.int16),
        "contexts.table_of": np.broadcast_to(
            table_of[:, None, None], (QUALITY_ROWS, m, PHASES, LEVELS)
        ),
    }
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return Model(config, tensors), report


def _probabilities(state: dict[str, Tensor], medians: Tensor) -> NDArray[np.float64]:
    """Return what the density gives the symbols -L to L, and those beyond: (M, 2 * L + 2)."""
    part = {
        name.removeprefix("entropy_bottleneck."): value.double() for name, value in state.items()
    }
    edges = torch.arange(-_LARGEST, _LARGEST + 2, dtype=torch.float64) - 0.5
    logits = (medians.double()[:, None] + edges)[:, None]
    for i in range(len(_DENSITY_WIDTHS) - 1):
        logits = F.softplus(part[f"matrices.{i}"]) @ logits + part[f"biases.{i}"]
        if f"factors.{i}" in part:
            logits = logits + part[f"factors.{i}"].tanh() * logits.tanh()
    low, high = logits[:, 0, :-1], logits[:, 0, 1:]
    # In the upper tail both sigmoids round to 1; mirrored, their difference keeps its digits.
    sign = torch.where(low + high > 0, -1.0, 1.0)
    inside = (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()
    beyond = torch.sigmoid(low[:, :1]) + torch.sigmoid(-high[:, -1:])
    probabilities: NDArray[np.float64] = torch.cat([inside, beyond], dim=1).numpy()
    return probabilities


def _tables(
    probabilities: NDArray[np.float64],
) -> tuple[Tables, NDArray[np.uint8], dict[str, float]]:
    """Return a bank, the table (M,) of every channel, and the bits for a symbol that both expect.

    A bank has MAX_TABLES tables; channels beyond that share them.
    """
    bank = fit_bank(probabilities * _COUNTS, MAX_TABLES)
    table_of, bits = cheapest_tables(probabilities, bank)
    logs = np.log2(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    entropy = -(probabilities * logs).sum(axis=1)
    report = {"bits_density": float(entropy.mean()), "bits_tables": float(bits.mean())}
    return bank, table_of, report
