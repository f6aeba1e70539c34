"""A model, loaded, that compresses and decompresses images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdncodec.catalog import ModelEntry, find_model
from gdncodec.config import DEFAULT_EFFORT, DEFAULT_QUALITY, MAX_PIXELS
from gdncodec.decoder import Damage, Decoder
from gdncodec.encoder.encoder import Encoder
from gdncodec.engines.choice import open_engine
from gdncodec.modelfile import load_model
from gdncodec.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL import Image

    from gdncodec.encoder.targets import Target
    from gdncodec.images.raster import RasterImage
    from gdncodec.tiles.geometry import Region
    from gdncodec.tiles.transforms import Progress

__all__ = ["DEFAULT_EFFORT", "DEFAULT_QUALITY", "MAX_PIXELS", "Codec"]


class Codec:
    """One loaded model on one device.

    Args:
        model: name or path of a model; None takes the default model.
        device: a torch device; None takes the CPU.
        engine: what runs the network, see :data:`gdncodec.engines.choice.ENGINES`.
        threads: number of CPU threads; None leaves it to the engine.

    Raises:
        ModelError: there is no such model, or it is damaged.
        ValueError: the device cannot be used.
    """

    def __init__(
        self,
        model: str | Path | ModelEntry | None = None,
        device: str | None = None,
        *,
        engine: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.entry = model if isinstance(model, ModelEntry) else find_model(model)
        self.model = load_model(self.entry)
        self.engine = open_engine(self.model, engine, device=device, threads=threads)
        self.decoder = Decoder(self.model, self.engine, self.entry.name)
        self.encoder = Encoder(self.model, self.engine, self.decoder, self.entry.name)

    def compress(
        self,
        image: RasterImage,
        quality: float | None = None,
        *,
        effort: int | None = None,
        progress: Progress | None = None,
    ) -> bytes:
        """Return the bytes of a ``.gdn`` file.

        Args:
            image: what to compress.
            quality: 0 to 100, rounded to hundredths; None takes 50, or the only quality of a
                model of one rate.
            effort: 0 to 9, how long to look for better symbols, see
                :mod:`gdncodec.encoder.refinement`; None takes DEFAULT_EFFORT, or 0 with a model for
                which only that is possible.
            progress: called with the number of tiles analysed and of all tiles.

        Raises:
            ImageError: the image is too large for a model that measures all of an image.
            ValueError: the quality is out of range, or not the model's only one; or the effort is
                out of range, or not possible with the model.
        """
        with one_blas_thread():
            return self.encoder.compress(image, quality, effort=effort, progress=progress)

    def compress_to(
        self,
        image: RasterImage,
        target: Target,
        *,
        effort: int | None = None,
        on_trial: Callable[[int], None] | None = None,
    ) -> bytes:
        """Return the bytes of a ``.gdn`` file at the quality that meets a target.

        Args:
            image: what to compress.
            target: a size of the file, or a measure of the decoded image.
            effort: as in :meth:`compress`.
            on_trial: called with the number of each trial, from 1, that looks for the quality.

        Raises:
            ImageError: the image is too large for a model that measures all of an image.
            ValueError: no quality meets the target, or the model has only one; or the effort is out
                of range, or not possible with the model.
        """
        with one_blas_thread():
            return self.encoder.compress_to(image, target, effort=effort, on_trial=on_trial)

    def decompress(
        self,
        data: bytes,
        *,
        region: Region | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
        on_damage: Damage | None = None,
    ) -> RasterImage:
        """Return the image in the bytes of a ``.gdn`` file, or a region of it.

        Args:
            data: the file.
            region: decode only this rectangle, from no more slices than it needs.
            max_pixels: refuse larger images before anything is allocated.
            progress: called with the number of tiles done and of all tiles.
            on_damage: decode what is intact of a damaged file, make the rest grey, and call this
                with a line about each part that is lost; None makes damage an error. That a slice
                is damaged is noticed where its coded words do not end with its last symbol, which
                is nearly always so.

        Raises:
            FormatError: the file is damaged, or larger than allowed.
            ModelError: the file was made with another model.
            ValueError: the region is not inside the image, or the model decodes whole images
                only.
        """
        with one_blas_thread():
            return self.decoder.decompress(
                data, region=region, max_pixels=max_pixels, progress=progress, on_damage=on_damage
            )

    def decompress_image(
        self,
        data: bytes,
        *,
        region: Region | None = None,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
        on_damage: Damage | None = None,
    ) -> Image.Image:
        """Return what :meth:`decompress` returns as a Pillow image.

        It is put together tile by tile, so that a large image is in memory only once.
        """
        with one_blas_thread():
            return self.decoder.decompress_image(
                data, region=region, max_pixels=max_pixels, progress=progress, on_damage=on_damage
            )

    def estimated_bits(self, data: bytes) -> float:
        """Return what the model's tables say the latents of a file cost, in bits.

        The coded slices are a little longer: at most a word each, and what the coder loses.
        """
        with one_blas_thread():
            return self.decoder.estimated_bits(data)
