"""From a trained network to a model file: integer tables are fitted by counting."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gdncodec.coder import TOTAL_FREQUENCY, Tables
from gdncodec.config import MID_GREY
from gdncodec.nn.model import CodecModel
from gdncodec.training.data import CropSampler
from gdncodec.weights import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["export_model", "fit_tables"]

_QUALITIES = 101
_LARGEST = 511  # a symbol beyond it is always escaped
_TABLES = 128
_ROUNDS = 12
_FLOOR = 0.02  # counts given to symbols that were not seen
_TAIL = 1e-5  # share of the symbols that a table leaves to the escape


def export_model(
    network: CodecModel, pictures: "list[NDArray[np.uint8]]", *, crops: int = 384, seed: int = 0
) -> tuple[Model, dict[str, float]]:
    """Turn a network into a model, with tables fitted to the latents of crops of the pictures.

    Args:
        network: the trained network.
        pictures: training pictures (H, W, 3), uint8.
        crops: number of crops of 256 x 256, or less where a picture is smaller.
        seed: seed of the choice of crops.

    Returns:
        The model, with weights rounded to float16, and the report of :func:`fit_tables`.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for ours, theirs in (("analysis", network.g_a), ("synthesis", network.g_s)):
        for name, value in theirs.state_dict().items():
            tensors[f"{ours}.{name}"] = value.detach().cpu().numpy().astype(np.float16)
    tensors["log_gain"] = network.log_gain.detach().cpu().numpy()
    tensors["log_inverse_gain"] = network.log_inverse_gain.detach().cpu().numpy()

    latents = _latents(network, pictures, crops, seed)
    model = Model(network.config, tensors)
    histograms = _histograms(latents, model)
    tables, index, report = fit_tables(histograms.reshape(-1, histograms.shape[-1]))
    tensors["tables.frequencies"] = tables.frequencies
    tensors["tables.halfwidths"] = tables.halfwidths
    tensors["table_index"] = index.reshape(_QUALITIES, -1)
    return model, report


@torch.inference_mode()
def _latents(
    network: CodecModel, pictures: "list[NDArray[np.uint8]]", crops: int, seed: int
) -> "NDArray[np.float32]":
    """Return latents (M, n) of random crops."""
    smallest = min(min(p.shape[:2]) for p in pictures)
    sampler = CropSampler(pictures, min(256, smallest // 16 * 16), seed)
    device = next(network.parameters()).device
    found = []
    for _ in range(crops):
        y = network.g_a(sampler.draw(1).to(device) - MID_GREY)[0]
        # Positions at the border have seen the padding, as few in a real picture have.
        inside = y[:, 1:-1, 1:-1] if min(y.shape[1:]) > 2 else y
        found.append(inside.flatten(1).cpu().numpy())
    return np.concatenate(found, axis=1)


def _histograms(latents: "NDArray[np.float32]", model: Model) -> "NDArray[np.int64]":
    """Return counts (101, M, 2 * largest + 3) of the symbols at whole qualities, escapes last."""
    channels = len(latents)
    size = 2 * _LARGEST + 2
    counts = np.empty((_QUALITIES, channels, size), np.int64)
    offsets = np.arange(channels)[:, None] * size
    for row in range(_QUALITIES):
        gain = model.gain(row)[:, None]
        symbols = np.rint(latents * gain).astype(np.int64)
        entries = np.where(np.abs(symbols) > _LARGEST, size - 1, symbols + _LARGEST)
        flat = np.bincount((entries + offsets).ravel(), minlength=channels * size)
        counts[row] = flat.reshape(channels, size)
    return counts


def fit_tables(
    histograms: "NDArray[Any]", tables: int = _TABLES
) -> "tuple[Tables, NDArray[np.uint8], dict[str, float]]":
    """Fit a bank of tables to histograms, and choose one for each.

    Lloyd's algorithm with the code length as its distance: each histogram takes the table that
    codes it shortest, each table becomes the sum of the histograms that took it.

    Args:
        histograms: counts (n, 2 * L + 2) of the symbols -L to L, and of those beyond.
        tables: size of the bank, at most 256; fewer if there are fewer histograms.

    Returns:
        The bank; the table of each histogram (n,); and a report with ``bits_own`` (bits for a
        symbol if each histogram had a table of its own) and ``bits_bank`` (with the bank).
    """
    counts = histograms.astype(np.float64)
    total = counts.sum(axis=1, keepdims=True)
    share = counts / total
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)
    groups = np.array_split(np.argsort(entropy), min(tables, len(counts)))
    chosen = np.empty(len(counts), np.int64)
    for group, members in enumerate(groups):
        chosen[members] = group
    for _ in range(_ROUNDS):
        used = np.unique(chosen)
        summed = np.stack([counts[chosen == t].sum(axis=0) for t in used])
        built = [_integer_table(c) for c in summed]
        costs = np.stack([_code_lengths(f, counts.shape[1]) for f in built])
        chosen = (counts @ costs.T).argmin(axis=1)
    bits = (counts * costs[chosen]).sum()
    halfwidths = np.array([f.size // 2 - 1 for f in built], np.int32)
    bank = Tables(np.concatenate(built).astype(np.int32), halfwidths)
    symbols = counts.sum()
    report = {
        "bits_own": float((entropy * total[:, 0]).sum() / symbols),
        "bits_bank": bits / symbols,
    }
    return bank, chosen.astype(np.uint8), report


def _integer_table(counts: "NDArray[np.float64]") -> "NDArray[np.int64]":
    """Return the frequencies (2K + 2,) of a table for counts (2L + 2,), K as small as pays."""
    largest = counts.size // 2 - 1
    inner = counts[:-1]
    magnitude = inner[largest:].copy()
    magnitude[1:] += inner[:largest][::-1]
    beyond = counts[-1] + magnitude[::-1].cumsum()[::-1] - magnitude  # of symbols above each |k|
    half = min(int((beyond > _TAIL * counts.sum()).sum()), largest)
    kept = inner[largest - half : largest + half + 1] + _FLOOR
    weights = np.append(kept, beyond[half] + _FLOOR)
    frequencies = np.maximum(1, np.floor(weights / weights.sum() * TOTAL_FREQUENCY)).astype(
        np.int64
    )
    frequencies[frequencies.argmax()] += TOTAL_FREQUENCY - frequencies.sum()
    return frequencies


def _code_lengths(frequencies: "NDArray[np.int64]", size: int) -> "NDArray[np.float64]":
    """Return the bits (size,) of every entry of a histogram under a table."""
    bits = -np.log2(frequencies / TOTAL_FREQUENCY)
    half, largest = frequencies.size // 2 - 1, size // 2 - 1
    reach = np.abs(np.arange(-largest, largest + 2)) - half
    escape = bits[-1] + 6 + 2 * np.log2(np.maximum(reach, 1))
    escape[largest - half : largest + half + 1] = bits[:-1]
    return escape
