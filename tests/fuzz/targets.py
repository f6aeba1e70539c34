"""What is fuzzed: each target makes the input of a number, and feeds it to the package."""

import io
import struct
import warnings
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
from mutations import damaged, damaged_gdn, damaged_model
from PIL import Image
from safetensors.numpy import save

from gdncodec import container
from gdncodec.catalog import ModelEntry, find_model
from gdncodec.codec import Codec
from gdncodec.config import ModelConfig
from gdncodec.errors import GdnCodecError, ImageError
from gdncodec.images.raster import Metadata, RasterImage
from gdncodec.images.reading import read_image
from gdncodec.images.writing import as_image, encoded
from gdncodec.modelfile import Model, load_model, save_model

__all__ = ["TARGETS", "Target"]

_LARGEST = 64
_PILLOWS_OWN = (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error)  # of EXIF


def _rng(seed, number):
    return np.random.default_rng([seed, number])


def _image(height, width, *, grey=False, alpha=False, metadata=True):
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    pixels = pixels.repeat(8, 0).repeat(8, 1)[:height, :width]
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a description", 6
    kept = Metadata(icc=b"profile" * 9, exif=exif.tobytes(), xmp=b"<x:xmpmeta/>")
    return RasterImage(
        np.ascontiguousarray(pixels),
        container.ColorMode.GREY if grey else container.ColorMode.RGB,
        kept if metadata else Metadata(),
        8,
        rng.integers(0, 256, (height, width), np.uint8) if alpha else None,
    )


class Target:
    """Makes inputs and feeds them to the package.

    Args:
        folder: for files; may be shared by targets.
        seed: with the number of an input, all that it depends on.
    """

    def __init__(self, folder, seed):
        self.folder, self.seed = Path(folder), seed
        self.prepare()

    def prepare(self):
        """Make the valid files that are damaged."""

    def input(self, number):
        """Return the input of this number."""
        rng = _rng(self.seed, number)
        return self.damage(rng, self.samples[rng.integers(len(self.samples))])

    def damage(self, rng, sample):
        return damaged_gdn(rng, sample, largest=_LARGEST)

    def feed(self, data):
        """Give the package an input; errors of the package are what it is expected to raise."""
        raise NotImplementedError

    def run(self, data):
        """Feed an input, and say whether it was taken."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", module="PIL")
            try:
                self.feed(data)
            except (GdnCodecError, *self.refusals):
                return False
        return True

    refusals = ()


@lru_cache(maxsize=1)
def _tiny(folder):
    """Return a codec of a small untrained model; NumPy alone makes it."""
    rng = np.random.default_rng(3)
    config = ModelConfig(widths=(4, 4, 6), synthesis_widths=(6, 4, 4), latent_channels=8)
    installed = load_model(find_model())
    m, tensors = config.latent_channels, {}
    for side, channels in (("analysis", (3, 4, 4, 6, m)), ("synthesis", (m, 4, 4, 6, 3))):
        for n, (c_in, c_out) in enumerate(pairwise(channels)):
            axes = (c_out, c_in) if side == "analysis" else (c_in, c_out)
            i = 2 * n
            tensors[f"{side}.{i}.weight"] = rng.normal(0, 0.2, (*axes, 5, 5)).astype(np.float16)
            tensors[f"{side}.{i}.bias"] = np.zeros(c_out, np.float16)
            if n < 3:
                tensors[f"{side}.{i + 1}.beta"] = np.ones(c_out, np.float16)
                tensors[f"{side}.{i + 1}.gamma"] = 0.3 * np.eye(c_out, dtype=np.float16)
                for name in ("scale", "shift"):
                    tensors[f"{side}.{name}_{i}"] = np.zeros((6, c_out), np.float16)
    tensors["log_gain"] = np.full((6, m), 2, np.float32)
    tensors["log_inverse_gain"] = np.full((6, m), -2, np.float32)
    own = installed.tensors
    for name in ("tables.frequencies", "tables.halfwidths", "contexts.set_of_row"):
        tensors[name] = own[name]
    tensors["contexts.group_of_channel"] = own["contexts.group_of_channel"][:, :m]
    tensors["contexts.weights"] = own["contexts.weights"][:, :, :m, :m]
    tensors["contexts.neighbour_weights"] = own["contexts.neighbour_weights"][:, :, :m]
    tensors["contexts.table_of"] = own["contexts.table_of"][:, :m]
    path = Path(folder) / "tiny.safetensors"
    save_model(path, Model(config, tensors), {"bpp_range": [0.1, 2]})
    return Codec(path)


def _samples(codec):
    images = [
        _image(40, 64),
        _image(33, 17, grey=True),
        _image(16, 48, alpha=True),
        _image(8, 8, alpha=True, grey=True, metadata=False),
        _image(1, 1, metadata=False),
    ]
    return [codec.compress(image, q) for image in images for q in (5, 60, 99.5)]


class Container(Target):
    """Headers, chunks and slices."""

    def prepare(self):
        self.samples = _samples(_tiny(self.folder))

    def damage(self, rng, sample):
        return damaged_gdn(rng, sample)

    def feed(self, data):
        with suppress(GdnCodecError):
            container.outline(io.BytesIO(data))
        latents = container.unpack(data).chunks[container.ChunkType.LATENTS]
        container.split_slices(latents, 1 + len(latents) % 3)


class Decoder(Target):
    """All of a file but the network: symbols, alpha channel, metadata."""

    def prepare(self):
        self.codec = _tiny(self.folder)
        self.samples = _samples(self.codec)

    def feed(self, data):
        from gdncodec.images.alpha import unpack_alpha

        found = container.unpack(data)
        header, chunks = found.header, found.chunks
        point = self.codec.model.at(header.quality)
        Metadata(**container.metadata_fields(chunks))
        coded = self.codec.decoder.coded_slices(found, 1 << 14)
        if container.ChunkType.ALPHA in chunks:
            unpack_alpha(chunks[container.ChunkType.ALPHA], header.height, header.width)
        for part in coded:
            point.dequantise(point.decode(*part))


class Plugin(Target):
    """``Image.open`` and what Pillow does with the metadata."""

    refusals = (OSError, Image.DecompressionBombError)

    def prepare(self):
        import gdncodec.pillow

        gdncodec.pillow.register()
        self.samples = _samples(_tiny(self.folder))

    def feed(self, data):
        with Image.open(io.BytesIO(data), formats=["GDN"]) as image:
            if image.width * image.height > 1 << 12:
                return
            image.verify()
        with Image.open(io.BytesIO(data), formats=["GDN"]) as image, suppress(*_PILLOWS_OWN):
            image.getexif()


class ModelFile(Target):
    """Model files, and the tables of a quality."""

    def prepare(self):
        codec = _tiny(self.folder)
        self.metadata = codec.entry.metadata
        self.tensors = codec.model.tensors
        self.path = self.folder / "model.safetensors"

    def input(self, number):
        rng = _rng(self.seed, number)
        return damaged_model(rng, self.metadata, self.tensors, save, self._fingerprint)

    @staticmethod
    def _fingerprint(config, tensors):
        try:
            return Model(ModelConfig.from_json(config), tensors).fingerprint.hex()
        except GdnCodecError:
            return None

    def feed(self, data):
        self.path.write_bytes(data)
        entry = ModelEntry(self.path)
        _ = entry.card
        model = load_model(entry)
        point = model.at(50)
        m = model.config.latent_channels
        symbols = np.zeros((m, 3, 4), np.int32)
        symbols[~point.silent] = 1
        again = point.decode(point.encode(symbols), (3, 4))
        assert (again == symbols).all()


class Import(Target):
    """``gdncodec models import``."""

    def prepare(self):
        import torch

        from gdncodec.compressai.conversion import _CONSTANTS, _shapes

        config = ModelConfig(
            norm="gdn", synthesis_norm="gdn", widths=(3, 4, 5), synthesis_widths=(3, 4, 5),
            latent_channels=6, folded=True, padding="zeros", lambdas=(0.01, 0.01), gain_nodes=2,
        )  # fmt: skip
        torch.manual_seed(0)
        state = {name: 0.1 + torch.rand(shape) for name, shape in _shapes(config).items()}
        for pattern, value in _CONSTANTS.items():
            if value is not None and "(" not in pattern and "[" not in pattern:
                state[pattern.replace("\\", "")] = torch.tensor([value])
        self.state = state
        self.path = self.folder / "checkpoint.pth"

    def input(self, number):
        import torch

        rng = _rng(self.seed, number)
        state = dict(self.state)
        names = sorted(state)
        for _ in range(rng.integers(0, 3)):
            name = names[rng.integers(len(names))]
            value = state.get(name, torch.zeros(1))
            changes = [
                lambda v: v.double() * 1e300, lambda v: v.half(), lambda v: v.long(),
                lambda v: v.to(torch.complex64), lambda v: v * float("nan"), lambda v: v[None],
                lambda v: v.flatten(), lambda v: v[:0], lambda v: v.bool(), lambda v: 3,
                lambda v: torch.zeros(1).expand(1 << 20), lambda v: v.to_sparse(),
                lambda v: -v * 1e4, lambda v: v.to(torch.bfloat16), lambda v: v * 1e30,
            ]  # fmt: skip
            try:
                state[name] = changes[rng.integers(len(changes))](value)
            except (RuntimeError, AttributeError, TypeError):
                state.pop(name, None)
        if rng.random() < 0.1:
            state.pop(names[rng.integers(len(names))], None)
        file = io.BytesIO()
        torch.save(
            {"state_dict": state} if rng.random() < 0.3 else state,
            file,
            _use_new_zipfile_serialization=bool(rng.random() < 0.5),
        )
        data = file.getvalue()
        return damaged(rng, data) if rng.random() < 0.5 else data

    def feed(self, data):
        from gdncodec.compressai.conversion import import_compressai

        self.path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="torch")
            model, card = import_compressai(self.path)
        save_model(self.folder / "imported.safetensors", model, card)


class Salvage(Target):
    """What is intact of a damaged file, with ``on_damage``."""

    def prepare(self):
        self.codec = _tiny(self.folder)
        wide = self.codec.compress(_image(24, 1100, alpha=True), 50)
        self.samples = [*_samples(self.codec), wide]

    def damage(self, rng, sample):
        return damaged(rng, sample) if rng.random() < 0.6 else super().damage(rng, sample)

    def feed(self, data):
        said = []
        self.codec.decompress_image(data, max_pixels=1 << 16, on_damage=said.append)
        assert all(line.isprintable() for line in said)


class Images(Target):
    """Image files that are compressed, also with ``--accept-truncated``."""

    formats: ClassVar = {
        "PNG": {}, "JPEG": {"progressive": True}, "TIFF": {"compression": "tiff_lzw"}, "GIF": {},
        "WEBP": {}, "BMP": {}, "PPM": {}, "JPEG2000": {}, "TGA": {}, "PCX": {}, "SGI": {},
        "AVIF": {"quality": 30},
    }  # fmt: skip

    def prepare(self):
        Image.init()  # registers all formats
        image = as_image(_image(40, 56).pixels, None, "RGB")
        exif = Image.Exif()
        exif[0x0112] = 6
        self.samples = []
        for name, options in self.formats.items():
            if name in Image.SAVE:
                kept = {"exif": exif} if name in ("PNG", "JPEG", "WEBP", "AVIF") else {}
                file = io.BytesIO()
                image.save(file, name, **options, **kept)
                self.samples.append(file.getvalue())

    def damage(self, rng, sample):
        return damaged(rng, sample)

    def feed(self, data):
        taken, strip = len(data) % 2 == 1, len(data) % 3 == 1
        read_image(io.BytesIO(data), strip=strip, accept_truncated=taken, max_pixels=1 << 16)


class Network(Target):
    """Decoding with the installed model, and every format of output."""

    formats = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000")

    def prepare(self):
        self.codec = Codec()
        self.samples = _samples(self.codec)

    def feed(self, data):
        image = self.codec.decompress_image(data, max_pixels=1 << 14)
        name = self.formats[len(data) % len(self.formats)]
        try:
            encoded(image, name)
        except ImageError:
            encoded(image, "PNG")


TARGETS = {
    "container": Container,
    "decoder": Decoder,
    "plugin": Plugin,
    "model": ModelFile,
    "import": Import,
    "images": Images,
    "salvage": Salvage,
    "network": Network,
}
"""Each target by its name."""
