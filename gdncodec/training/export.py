"""Export of a trained network as a model."""

from __future__ import annotations

import dataclasses
import random
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gdncodec.config import DOWNSAMPLING, quality_at, rate_position
from gdncodec.engines.torch_state import own_state
from gdncodec.entropy.contexts import QUALITY_ROWS, SILENT
from gdncodec.entropy.fitting import fit_contexts
from gdncodec.modelfile import Model
from gdncodec.nn.inference import fold, prepare_inference
from gdncodec.nn.nodes import place
from gdncodec.tiles.geometry import SLICE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gdncodec.nn.model import CodecModel

__all__ = ["FITTED", "export_model"]

FITTED = 48
"""Largest number of images whose latents the entropy coding is fitted to."""


def export_model(
    network: CodecModel,
    images: list[NDArray[np.uint8]],
    *,
    flat: float = 1.0,
    limit: int = FITTED,
    seed: int = 0,
    progress: Callable[[str, float], None] = lambda doing, done: None,
) -> tuple[Model, dict[str, float]]:
    """Turn a network into a model, with entropy tables and contexts fitted to image latents.

    Args:
        network: the trained network, in evaluation mode.
        images: training images, uint8 (H, W, 3).
        flat: divisor, above 0, of the quantisation bins of those latent channels that represent
            flat colours. Only a few channels do, and with the bin widths that suit photographs
            rounding shifts the hue of a flat area.
        limit: largest number of images to fit to.
        seed: random seed for the choice of images.
        progress: called with what is being done, and the share of the work that is done, 0 to 1.

    Returns:
        The model, with weights rounded to float16, frozen norms folded and channels that are never
        coded removed; and the report of :func:`gdncodec.entropy.fitting.fit_contexts`.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for ours, theirs in (("analysis", network.g_a), ("synthesis", network.g_s)):
        net = fold(theirs)
        learned = {name for name, _ in net.named_parameters()}
        for name, value in net.state_dict().items():
            array = value.detach().cpu().numpy()
            tensors[f"{ours}.{name}"] = array.astype(np.float16) if name in learned else array
    finer = np.log(flat, dtype=np.float32) * _hold_flat_colours(network)
    tensors["log_gain"] = network.log_gain.detach().cpu().numpy() + finer
    tensors["log_inverse_gain"] = network.log_inverse_gain.detach().cpu().numpy() - finer
    model = Model(dataclasses.replace(network.config, folded=True), tensors)

    chosen = random.Random(seed).sample(images, min(limit, len(images)))
    gains = np.stack([model.at(row).gain for row in range(QUALITY_ROWS)])
    tables, contexts, report = fit_contexts(_interpolated(network, chosen), gains, progress)
    tensors["tables.frequencies"] = tables.frequencies
    tensors["tables.halfwidths"] = tables.halfwidths
    for field in dataclasses.fields(contexts):
        array = getattr(contexts, field.name)
        if array.size:
            tensors[f"contexts.{field.name}"] = array
    return _without_silent(model), report


@torch.inference_mode()
def _hold_flat_colours(network: CodecModel) -> NDArray[np.bool_]:
    """Return which channels (M,) have symbols that vary with the colour of a flat image.

    An image that spans a single latent position is enough, because padding repeats its border.
    """
    levels = torch.linspace(0, 1, 5, device=network.log_gain.device)
    colours = torch.cartesian_prod(levels, levels, levels)
    x = colours[:, :, None, None].expand(-1, -1, DOWNSAMPLING, DOWNSAMPLING)
    fixed = network.config.fixed_quality
    quality = torch.full((len(x),), 100.0 if fixed is None else fixed, device=x.device)
    where = place(quality, network.config.gain_nodes)
    gain, _, _ = network.gains(where)
    y = network.g_a(x - network.config.pixel_offset, where).float() * gain
    held: NDArray[np.bool_] = (y.std(dim=0) > 1).flatten().cpu().numpy()
    return held


def _without_silent(model: Model) -> Model:
    """Return a model without the channels that are not coded at any quality.

    Their symbols are always 0 and add nothing in the synthesis: the bits stay the same, and pixels
    change by rounding error at most. At least one channel is kept.
    """
    kept = np.flatnonzero((model.contexts.table_of != SILENT).any(axis=(0, 2, 3)))
    kept = kept if kept.size else np.arange(1)
    axes = {"analysis.6.weight": [0], "analysis.6.bias": [0], "synthesis.0.weight": [0]}
    axes |= {"log_gain": [1], "log_inverse_gain": [1]}
    axes |= {"contexts.group_of_channel": [1], "contexts.weights": [2, 3]}
    axes |= {"contexts.neighbour_weights": [2], "contexts.table_of": [1]}
    tensors = dict(model.tensors)
    for name, along in axes.items():
        for axis in along:
            tensors[name] = tensors[name].take(kept, axis)
    if "contexts.predicted" in tensors:
        predicted = np.isin(kept, tensors["contexts.predicted"])
        tensors["contexts.predicted"] = np.flatnonzero(predicted).astype(np.uint16)
    return Model(dataclasses.replace(model.config, latent_channels=int(kept.size)), tensors)


def _interpolated(
    network: CodecModel, images: list[NDArray[np.uint8]]
) -> Callable[[float], list[NDArray[np.float32]]]:
    """Return a function of the quality that gives the latents (M, rows, columns) of images.

    They are computed at the nodes, and linear in between as the conditioning of the transforms is.
    All are kept, up to 5 MB for each image and node.
    """
    segments = network.config.gain_nodes - 1
    at_node = lru_cache(maxsize=None)(
        lambda node: _latents(network, images, quality_at(node / segments))
    )

    def at(quality: float) -> list[NDArray[np.float32]]:
        place = rate_position(quality) * segments
        left = min(int(place), segments - 1)
        part = np.float32(place - left)
        if part < 1e-6:
            return at_node(left)
        return [a + part * (b - a) for a, b in zip(at_node(left), at_node(left + 1), strict=True)]

    return at


def _latents(
    network: CodecModel, images: list[NDArray[np.uint8]], quality: float
) -> list[NDArray[np.float32]]:
    """Return the latents (M, rows, columns) of the top left of images, at most one slice each.

    The inner convolutions are computed as in training, in bfloat16, where the processor has it.
    """
    device = next(network.parameters()).device
    analysis = prepare_inference(network.g_a.at(quality))
    on_cpu = device.type == "cpu"
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # of newer PyTorch
    has_bfloat16 = on_cpu and bool(known.get("avx512_bf16"))

    @torch.inference_mode()
    def latent(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = (min(n // 16, SLICE) * 16 for n in image.shape[:2])
        x = torch.from_numpy(image[:height, :width].copy()).permute(2, 0, 1)[None].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16):
            y = analysis(x.float() / 255 - network.config.pixel_offset)
        array: NDArray[np.float32] = y[0].float().cpu().numpy()
        return array

    # Images side by side, each on one thread, finish sooner than one after another on all threads.
    workers = torch.get_num_threads() if on_cpu else 1
    with own_state(device, 1 if on_cpu else None), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(latent, images))
