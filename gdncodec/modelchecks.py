"""What the tensors of a model file have to be: names, types, shapes and ranges, by configuration.

A model file may be anybody's. All of it is checked when it is loaded, so that what runs the model
need not check anything.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdncodec.entropy.coder import MAX_TABLES, TOTAL_FREQUENCY
from gdncodec.entropy.contexts import LEVELS, MAX_WEIGHTS, QUALITY_ROWS
from gdncodec.entropy.phases import PHASES
from gdncodec.errors import ModelError
from gdncodec.norms import TileClass, norm_info

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from gdncodec.config import ModelConfig

__all__ = ["check_tensors", "largest_contexts"]

_LARGEST_LOG = 64.0
"""Of a gain: its square, times any symbol, is still a float32."""

_MOST_SETS = 16
"""Of contexts: more than training ever fits."""

_WEIGHT_TYPES = ("float16", "float32")
_FLOAT_TYPES = (*_WEIGHT_TYPES, "float64")
_INTEGER_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")


class _Expected(NamedTuple):
    """What one tensor has to be.

    A letter among the axes stands for a size that the configuration does not give: any, but the
    same wherever the letter is.
    """

    axes: tuple[int | str, ...]
    types: tuple[str, ...] = _WEIGHT_TYPES
    low: float = -math.inf
    high: float = math.inf
    optional: bool = False


def check_tensors(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Check the tensors of a model against its configuration.

    The parameters of norms that a program registered are only known to be finite numbers, unless
    the entry says what they are; the layer itself checks their names and shapes.

    Raises:
        ModelError: a tensor is missing, or is not part of such a model, or has another type or
            shape, or holds values that are out of range; the message names it.
    """
    expected = dict(_expected(config))
    free = tuple(_free_stages(config))
    sizes: dict[str, int] = {}
    for name, what in expected.items():
        if name in tensors:
            _check(name, tensors[name], what, sizes)
        elif not what.optional:
            msg = f"tensor {name} is missing"
            raise ModelError(msg)
    for name in sorted(tensors.keys() - expected.keys()):
        array = tensors[name]
        if name.startswith(free):
            _check(name, array, _Expected(array.shape, _FLOAT_TYPES + _INTEGER_TYPES), sizes)
        else:
            msg = f"tensor {name} is not part of a model of this configuration"
            raise ModelError(msg)


def largest_contexts(config: ModelConfig) -> int:
    """Return more bytes than the contexts of a model of this configuration unpack to."""
    m = config.latent_channels
    weights = 2 * _MOST_SETS * PHASES * m * (m + 1)
    tables = QUALITY_ROWS * m * PHASES * LEVELS
    return weights + tables + 8 * (_MOST_SETS * m + QUALITY_ROWS + m) + (1 << 12)


def _expected(config: ModelConfig) -> Iterator[tuple[str, _Expected]]:
    m, k = config.latent_channels, config.gain_nodes
    for name in ("log_gain", "log_inverse_gain"):
        yield name, _Expected((k, m), _FLOAT_TYPES, -_LARGEST_LOG, _LARGEST_LOG)
    yield "latent_centre", _Expected((m,), _FLOAT_TYPES, -(2.0**31), 2.0**31, optional=True)
    integers = {
        "tables.frequencies": _Expected(("F",), _INTEGER_TYPES, 1, TOTAL_FREQUENCY),
        "tables.halfwidths": _Expected(("T",), _INTEGER_TYPES, 0, TOTAL_FREQUENCY),
        "contexts.set_of_row": _Expected((QUALITY_ROWS,), _INTEGER_TYPES, 0, QUALITY_ROWS),
        "contexts.group_of_channel": _Expected(("S", m), _INTEGER_TYPES, 0, 1023),
        "contexts.weights": _Expected(("S", PHASES, m, m), _INTEGER_TYPES, 0, MAX_WEIGHTS),
        "contexts.neighbour_weights": _Expected(("S", PHASES, m), _INTEGER_TYPES, 0, MAX_WEIGHTS),
        "contexts.table_of": _Expected(
            (QUALITY_ROWS, m, PHASES, LEVELS), ("uint8",), 0, MAX_TABLES
        ),
        "contexts.predicted": _Expected(("P",), _INTEGER_TYPES, 0, m - 1, optional=True),
    }
    yield from integers.items()
    widths, up = config.widths, config.synthesis_widths[::-1]
    yield from _transform("analysis", (3, *widths, m), config, transposed=False)
    yield from _transform("synthesis", (m, *up, 3), config, transposed=True)


def _transform(
    name: str, channels: tuple[int, ...], config: ModelConfig, *, transposed: bool
) -> Iterator[tuple[str, _Expected]]:
    """Yield the tensors of :class:`gdncodec.nn.transforms.Transform`."""
    norm = config.synthesis_norm if transposed else config.norm
    for n, (c_in, c_out) in enumerate(pairwise(channels)):
        i = 2 * n
        axes = (c_in, c_out) if transposed else (c_out, c_in)
        yield f"{name}.{i}.weight", _Expected((*axes, 5, 5))
        yield f"{name}.{i}.bias", _Expected((c_out,))
        if n < len(channels) - 2:
            yield f"{name}.scale_{i}", _Expected((config.gain_nodes, c_out))
            yield f"{name}.shift_{i}", _Expected((config.gain_nodes, c_out))
            for key, value in (_stage(norm, c_out, config.folded) or {}).items():
                yield f"{name}.{i + 1}.{key}", value


def _stage(norm: str, channels: int, folded: bool) -> dict[str, _Expected] | None:
    """Return the tensors of a norm with its activation; None if only the layer knows them."""
    info = norm_info(norm)
    if folded and info.tile is TileClass.FROZEN_AFFINE:
        return {}
    if info.state is None:
        return None
    inside = "" if info.own_nonlinearity else "0."
    return {
        f"{inside}{key}": _Expected(
            tuple(channels if axis == "C" else axis for axis in axes),
            low=0 if key.endswith("running_var") else -math.inf,
        )
        for key, axes in info.state.items()
    }


def _free_stages(config: ModelConfig) -> Iterator[str]:
    """Yield what the names of the parameters begin with that only their layer knows."""
    for name, norm in (("analysis", config.norm), ("synthesis", config.synthesis_norm)):
        if _stage(norm, 1, config.folded) is None:
            yield from (f"{name}.{i}." for i in (1, 3, 5))


def _check(name: str, array: NDArray[Any], expected: _Expected, sizes: dict[str, int]) -> None:
    if array.dtype.name not in expected.types:
        msg = f"tensor {name} is of type {array.dtype}, expected {' or '.join(expected.types)}"
        raise ModelError(msg)
    axes = expected.axes
    if array.ndim == len(axes):
        for axis, size in zip(axes, array.shape, strict=True):
            if isinstance(axis, str):
                sizes.setdefault(axis, size)
    wanted = tuple(sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in axes)
    if array.shape != wanted or (array.ndim and not array.size):
        text = ", ".join(map(str, wanted))
        msg = f"tensor {name} has shape {array.shape}, expected ({text})"
        raise ModelError(msg)
    if not _is_finite(array):
        msg = f"tensor {name} holds numbers that are not finite"
        raise ModelError(msg)
    low, high = expected.low, expected.high
    if (low > -math.inf and array.min() < low) or (high < math.inf and array.max() > high):
        values = f"from {array.min():g} to {array.max():g}"
        msg = f"tensor {name} holds values {values}, allowed are {low:g} to {high:g}"
        raise ModelError(msg)


def _is_finite(array: NDArray[Any]) -> bool:
    if array.dtype == np.float16:  # twice as fast by their bits as by np.isfinite
        largest = (np.ascontiguousarray(array).view(np.uint16) & 0x7FFF).max(initial=0)
        return int(largest) < 0x7C00
    return bool(np.isfinite(array).all())
