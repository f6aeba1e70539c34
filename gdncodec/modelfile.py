"""Model files: one safetensors file with configuration, weights and integer tables.

The metadata of the file hold ``config`` (JSON of :class:`gdncodec.config.ModelConfig`),
``fingerprint`` (16 hexadecimal digits) and ``card`` (JSON: how it was trained, what it measured).
The tensors are:

====================  ==============  ========================================================
name                  shape           meaning
====================  ==============  ========================================================
``analysis.*``        as in the nets  weights of g_a, float16 or float32, and how they follow the
                                      quality, see :class:`gdncodec.nn.transforms.Transform`
``synthesis.*``       as in the nets  weights of g_s, float16 or float32
``log_gain``          (K, M)          logarithm of the gains at K qualities, evenly spaced in
                                      :func:`gdncodec.config.rate_position`
``log_inverse_gain``  (K, M)          the same for the inverse gains
``latent_centre``     (M,)            values of the latent whose symbol is 0; absent: zeros
``tables.*``                          the bank, see :class:`gdncodec.entropy.coder.Tables`
``contexts.*``                        :class:`gdncodec.entropy.contexts.Contexts`; mostly zeros
                                      and repetitions, so they are together in one tensor of
                                      bytes, ``contexts``, a safetensors file in a zlib stream
====================  ==============  ========================================================

``digest``, also in the metadata, is the SHA-256 over everything else in the file: the metadata as
JSON with sorted keys, then, by sorted name, every tensor as "name, dtype, shape" in ASCII and its
little-endian bytes. Files that were written before there was one are not checked.

The fingerprint is the first 8 bytes of a SHA-256 over what decoding needs: the name of the
synthesis norm (and ``padding=zeros`` or ``pixel_offset=`` with the number, unless it is
``replicate`` or 0.5), then, by sorted name, every tensor but ``analysis.*`` and ``log_gain`` as
"name, dtype, shape" in ASCII and its little-endian bytes. A better encoder for the same decoder
keeps its files readable.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, load_file, save

from gdncodec.config import MID_GREY, ModelConfig, rate_position
from gdncodec.entropy.coder import Tables
from gdncodec.entropy.contexts import SILENT, Contexts, Plan
from gdncodec.entropy.slices import (
    LARGEST_SYMBOL,
    decode_slice,
    encode_slice,
    slice_information,
    slice_prices,
)
from gdncodec.errors import ModelError, UsageError, printable
from gdncodec.files import write_safely
from gdncodec.modelchecks import check_tensors, largest_contexts
from gdncodec.norms import check_options

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from gdncodec.catalog import ModelEntry

__all__ = ["Model", "OperatingPoint", "load_model", "save_model"]

_ENCODER_ONLY = ("analysis.", "log_gain")

_READABLE = {"F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL"}
"""Types of safetensors that NumPy has."""


@dataclass(frozen=True)
class Model:
    """A trained codec as arrays."""

    config: ModelConfig
    tensors: dict[str, NDArray[Any]]

    def network(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the state of ``analysis`` or ``synthesis``, by name in the net; never float16."""
        return {
            key: value.astype(np.float32) if value.dtype == np.float16 else value
            for key, value in self._group(name).items()
        }

    @cached_property
    def centre(self) -> NDArray[np.float32]:
        """The values (M,) of the latent whose symbol is 0 at every quality."""
        zeros = np.zeros(self.config.latent_channels)
        return self.tensors.get("latent_centre", zeros).astype(np.float32)

    @cached_property
    def tables(self) -> Tables:
        return Tables(**self._group("tables"))

    @cached_property
    def contexts(self) -> Contexts:
        return Contexts(**self._group("contexts"))

    def at(self, quality: float) -> OperatingPoint:
        """Return the model at one quality, 0 to 100."""
        return OperatingPoint(self, quality)

    @cached_property
    def fingerprint(self) -> bytes:
        digest = hashlib.sha256(self.config.synthesis_norm.encode())
        if self.config.padding != "replicate":
            digest.update(f"padding={self.config.padding}".encode("ascii"))
        if self.config.pixel_offset != MID_GREY:
            digest.update(f"pixel_offset={float(self.config.pixel_offset)}".encode("ascii"))
        for name in sorted(self.tensors):
            if not name.startswith(_ENCODER_ONLY):
                _add(digest, name, self.tensors[name])
        return digest.digest()[:8]

    def _group(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the tensors whose names begin so, by the rest of their names."""
        prefix = f"{name}."
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


class OperatingPoint:
    """A model at one quality: what scales, quantises and codes its latents.

    Args:
        model: the model.
        quality: 0 to 100, in hundredths.
    """

    def __init__(self, model: Model, quality: float) -> None:
        self.quality = quality
        self._model = model
        tensors = model.tensors
        self.gain = _between_nodes(tensors["log_gain"], quality).astype(np.float32)
        """(M,) float32: latent minus centre, times gain, is rounded to the symbol."""
        reciprocal = _between_nodes(-tensors["log_inverse_gain"], quality)
        self.inverse_gain = (1 / reciprocal).astype(np.float32)
        """(M,) float32: symbol times inverse gain, plus centre, is the latent."""
        self.centre = model.centre
        """(M,) float32, values of the latent whose symbol is 0."""
        self.rate_weight = model.config.lambda_at(quality)
        """Lambda of the loss ``bpp + lambda * distortion`` at this quality."""

    @cached_property
    def _plan(self) -> Plan:  # a model has gains before its contexts are fitted
        return self._model.contexts.at(_row(self.quality))

    @property
    def silent(self) -> NDArray[np.bool_]:
        """Which channels (M,) are not coded: their symbols must be 0."""
        return self._plan.silent

    def scaled(self, y: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return a latent (M, rows, columns) in units of symbols, to be rounded."""
        return (y - self.centre[:, None, None]) * self.gain[:, None, None]

    def quantise(self, y: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Return the symbols (M, rows, columns) of a latent of the same shape.

        Raises:
            ModelError: the latent holds a number that is not finite, or too large.
        """
        rounded = np.rint(self.scaled(y))
        if not np.abs(rounded).max() <= LARGEST_SYMBOL:  # also catches NaN
            msg = "the model's latent is too large or not finite"
            raise ModelError(msg)
        rounded[self.silent] = 0
        return rounded.astype(np.int32)

    def dequantise(self, symbols: NDArray[Any]) -> NDArray[np.float32]:
        """Return the latent (M, rows, columns) that symbols, or values between, stand for."""
        scaled = np.multiply(symbols, self.inverse_gain[:, None, None], dtype=np.float64)
        return (scaled + self.centre[:, None, None]).astype(np.float32)

    def encode(self, symbols: NDArray[Any]) -> bytes:
        """Return the coded words of the symbols (M, rows, columns) of a slice.

        Raises:
            ValueError: a symbol is out of range, or a silent channel is not zero.
        """
        return encode_slice(symbols, self._plan, self._model.tables)

    def decode(self, data: bytes, shape: tuple[int, int]) -> NDArray[np.int32]:
        """Return the symbols (M, rows, columns) of a slice of a shape (rows, columns).

        Raises:
            FormatError: the data are damaged.
        """
        return decode_slice(data, shape, self._plan, self._model.tables)

    def information(self, symbols: NDArray[Any]) -> float:
        """Return what the model's tables say the symbols of a slice cost, in bits."""
        return slice_information(symbols, self._plan, self._model.tables)

    def prices_above(self, symbols: NDArray[Any], lower: NDArray[Any]) -> NDArray[np.float32]:
        """Return the bits that ``lower + 1`` needs more than ``lower``, each (M, rows, columns).

        Contexts and predictions are those of the symbols of a slice. The price of a silent channel
        is 0.
        """
        return slice_prices(symbols, lower, self._plan, self._model.tables)


def _between_nodes(log_gain: NDArray[Any], quality: float) -> NDArray[np.float64]:
    """Return the gains (M,) at a quality, linear between K nodes, of their logarithms (K, M)."""
    gains = np.exp(log_gain.astype(np.float64))
    place = rate_position(quality) * (len(gains) - 1)
    left = min(int(place), len(gains) - 2)
    part = place - left
    return gains[left] * (1 - part) + gains[left + 1] * part


def load_model(entry: ModelEntry) -> Model:
    """Read a model file, and check it against its digest, its fingerprint and its configuration.

    Raises:
        ModelError: the file is damaged or incomplete, or does not fit its configuration.
    """
    config, stated = entry.config, entry.fingerprint
    try:
        packed = _tensors_of(entry.path)
        _check_digest(entry.metadata, packed)
        tensors = _unpacked(packed, largest_contexts(config))
    except (OSError, SafetensorError, ValueError, OverflowError, zlib.error) as error:
        msg = f"{entry.path}: damaged model file ({printable(error)})"
        raise ModelError(msg) from error
    model = Model(config, tensors)
    if model.fingerprint != stated:
        msg = f"{entry.path}: damaged: its fingerprint is not the one it states"
        raise ModelError(msg)
    _check(model, entry.path)
    return model


def _tensors_of(path: Path) -> dict[str, NDArray[Any]]:
    with safe_open(path, "np") as file:
        for name in file.keys():  # noqa: SIM118
            kind = file.get_slice(name).get_dtype()
            if kind not in _READABLE:
                msg = f"tensor {name} is of type {kind}"
                raise ValueError(msg)
    return load_file(path)


def save_model(path: Path, model: Model, card: dict[str, Any]) -> None:
    """Write a model file; a crash leaves the old file or the new one, whole."""
    _check(model, path)
    metadata = {
        "config": model.config.to_json(),
        "fingerprint": model.fingerprint.hex(),
        "card": json.dumps(card, sort_keys=True),
    }
    tensors = {name: np.ascontiguousarray(array) for name, array in _packed(model).items()}
    metadata["digest"] = _digest(metadata, tensors)
    with write_safely(path, overwrite=True) as temporary:
        temporary.write_bytes(save(tensors, metadata))  # save_file would raise no OSError


def _add(digest: hashlib._Hash, name: str, array: NDArray[Any]) -> None:
    array = np.ascontiguousarray(array)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    digest.update(f"{name},{array.dtype.str},{array.shape}".encode())
    digest.update(array.data.cast("B") if array.size else b"")


def _digest(metadata: dict[str, str], tensors: dict[str, NDArray[Any]]) -> str:
    """Return the SHA-256, in hexadecimal, over the contents of a file."""
    others = {key: value for key, value in metadata.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(others, sort_keys=True).encode())
    for name in sorted(tensors):
        _add(digest, name, tensors[name])
    return digest.hexdigest()


def _check_digest(metadata: dict[str, str], tensors: dict[str, NDArray[Any]]) -> None:
    # An older file has none, and only these; the name of the digest may be what is damaged.
    old = metadata.keys() <= {"config", "fingerprint", "card", "format"}
    if not old and metadata.get("digest") != _digest(metadata, tensors):
        msg = "its digest is not that of its contents"
        raise ValueError(msg)


def _packed(model: Model) -> dict[str, NDArray[Any]]:
    """Return the tensors as they are in a file."""
    # Of an array that is not contiguous, safetensors would write the wrong bytes.
    inner = {k: np.ascontiguousarray(v) for k, v in model._group("contexts").items()}
    contexts = np.frombuffer(zlib.compress(save(inner), 9), np.uint8)
    others = {k: v for k, v in model.tensors.items() if not k.startswith("contexts.")}
    return {**others, "contexts": contexts}


def _unpacked(tensors: dict[str, NDArray[Any]], largest: int) -> dict[str, NDArray[Any]]:
    """Undo :func:`_packed`; tensors of older files, which were never packed, stay as they are."""
    if "contexts" not in tensors:
        return tensors
    stream = zlib.decompressobj()
    plain = stream.decompress(tensors.pop("contexts").tobytes(), largest)
    if not stream.eof:
        msg = f"contexts are cut off, or of more than {largest} bytes"
        raise ValueError(msg)
    try:
        contexts = load(plain)
    except KeyError as error:
        msg = f"contexts are of type {error}"
        raise ValueError(msg) from error
    return {**tensors, **{f"contexts.{name}": array for name, array in contexts.items()}}


def _row(quality: float) -> int:
    """Return the whole quality nearest to a quality of two decimals; halves round up."""
    return (round(quality * 100) + 50) // 100


def _check(model: Model, path: Path) -> None:
    try:
        check_options(model.config.norm)
        check_options(model.config.synthesis_norm)
    except UsageError as error:
        msg = f"{path}: cannot be used: {printable(error)}"
        raise ModelError(msg) from error
    try:
        check_tensors(model.config, model.tensors)
        tables, contexts = model.tables, model.contexts
    except ModelError as error:
        msg = f"{path}: damaged, or made by another version of gdncodec ({printable(error)})"
        raise ModelError(msg) from error
    chosen = contexts.table_of[contexts.table_of != SILENT]
    if (chosen >= tables.halfwidths.size).any():
        msg = f"{path}: the contexts do not fit the tables"
        raise ModelError(msg)
