"""CompressAI's own codecs, loaded from checkpoints, as the evaluation measures them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gdncodec.compressai.checkpoints import read_state_dict
from gdncodec.errors import FormatError, ModelError, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gdncodec.images.raster import RasterImage

__all__ = ["CompressAICodec"]

_MULTIPLE = 64
_HEADER = struct.Struct("<BIIHHB")


class CompressAICodec:
    """A family of CompressAI checkpoints of one architecture; quality i is the i-th file, from 1.

    CompressAI has no file format, so its streams are given the smallest one that can be decoded: 14
    bytes (checkpoint, width, height, latent height and width, number of streams) and 4 bytes for
    the length of each stream. Images are padded by their edge to a multiple of 64.

    Args:
        name: how it is named in the results.
        architecture: a key of ``compressai.zoo.image.model_architectures``.
        files: checkpoints with a state dict, or with one under ``state_dict``.
        device: a torch device; None takes the CPU.

    Raises:
        ModelError: CompressAI is not installed, knows no such architecture, or a checkpoint does
            not fit it.
    """

    def __init__(
        self, name: str, architecture: str, files: tuple[str, ...], device: str | None = None
    ) -> None:
        self.name = self.label = name
        self.qualities = tuple(float(i) for i in range(1, len(files) + 1))
        self.quality_range = (1.0, float(len(files)))
        self.step = 0.0
        self._architecture = architecture
        self._device = device or "cpu"
        self._models = [_load(architecture, file).to(self._device) for file in files]

    def description(self) -> str:
        from importlib.metadata import version

        return f"{self._architecture}, compressai {version('compressai')}; {self._device}"

    def encode(self, image: RasterImage, quality: float) -> bytes:
        import torch

        index = round(quality) - 1
        height, width, _ = image.pixels.shape
        border = ((0, -height % _MULTIPLE), (0, -width % _MULTIPLE), (0, 0))
        pixels = torch.tensor(np.pad(image.pixels, border, mode="edge"), device=self._device)
        with torch.inference_mode():
            out = self._models[index].compress(pixels.permute(2, 0, 1)[None].float() / 255)
        streams = [stream[0] for stream in out["strings"]]
        header = _HEADER.pack(index, width, height, *out["shape"], len(streams))
        lengths = struct.pack(f"<{len(streams)}I", *map(len, streams))
        return header + lengths + b"".join(streams)

    def decode(self, data: bytes) -> NDArray[Any]:
        import torch

        try:
            index, width, height, rows, columns, count = _HEADER.unpack_from(data)
            lengths = struct.unpack_from(f"<{count}I", data, _HEADER.size)
        except struct.error as error:
            msg = f"truncated in the header: {error}"
            raise FormatError(msg) from error
        position = _HEADER.size + 4 * count
        streams = []
        for length in lengths:
            streams.append([data[position : position + length]])
            position += length
        with torch.inference_mode():
            out = self._models[index].decompress(streams, (rows, columns))
        x_hat = (out["x_hat"][0, :, :height, :width].clamp(0, 1) * 255).round()
        pixels: NDArray[Any] = x_hat.byte().permute(1, 2, 0).cpu().numpy()
        return pixels

    def estimated_bits(self, data: bytes) -> float | None:
        """Return None: CompressAI gives likelihoods when it encodes, not for a file."""
        del data
        return None


def _load(architecture: str, file: str) -> Any:
    try:
        from compressai.zoo import load_state_dict
        from compressai.zoo.image import model_architectures
    except ImportError as error:
        msg = "CompressAI is not installed (pip install 'gdncodec[baselines]')"
        raise ModelError(msg) from error
    if architecture not in model_architectures:
        known = ", ".join(sorted(model_architectures))
        msg = f"CompressAI has no architecture {architecture!r}; it has: {known}"
        raise ModelError(msg)
    state = read_state_dict(Path(file))
    try:
        model = model_architectures[architecture].from_state_dict(load_state_dict(state))
    except (RuntimeError, KeyError, AttributeError, ValueError) as error:
        msg = f"{file}: no checkpoint of {architecture} ({one_line(error)})"
        raise ModelError(msg) from error
    model.update(force=True)
    return model.eval()
