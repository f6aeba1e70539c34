"""The work on one ``.gdn`` file: to an image file, or only through the decoder."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gdncodec.batch.computing import Computing
from gdncodec.batch.files import (
    about,
    check_is_gdn,
    pillow_limit,
    read_gdn,
    refuse_existing,
    size_of,
    write_result,
)
from gdncodec.batch.outcomes import Outcome
from gdncodec.config import MAX_PIXELS
from gdncodec.errors import FormatError
from gdncodec.files import STREAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL import Image

    from gdncodec.batch.jobs import Job
    from gdncodec.container import Header
    from gdncodec.tiles.geometry import Region
    from gdncodec.tiles.transforms import Progress

__all__ = ["Decoding", "Decompression", "Verification"]


@dataclass(frozen=True)
class Decoding:
    """Decodes a file.

    Args:
        model: name or path of a model; None takes the installed one that the file names.
        max_pixels: refuse larger images.
        region: decode only this rectangle of the image as it is shown, turned as EXIF says.
        computing: how to compute.
    """

    model: str | None = None
    max_pixels: int = MAX_PIXELS
    region: Region | None = None
    computing: Computing = field(default_factory=Computing)

    def __call__(
        self,
        source: Path,
        progress: Progress | None = None,
        on_damage: Callable[[str], None] | None = None,
    ) -> tuple[Image.Image, Header, int, str]:
        """Return the image in a file, the file's header, its bytes, and the engine.

        See :meth:`gdncodec.codec.Codec.decompress` about ``on_damage``.
        """
        from gdncodec.catalog import find_model
        from gdncodec.container import ChunkType, unpack, unpack_header
        from gdncodec.images.exif import orientation

        data = read_gdn(source)
        with about(source):
            header, region = unpack_header(data), self.region
            if region is not None:
                exif = b""
                with contextlib.suppress(FormatError):  # the decoder says what is damaged
                    exif = unpack(data).chunks.get(ChunkType.EXIF, b"")
                region = region.stored(orientation(exif), header.width, header.height)
            if self.model:
                codec = self.computing.codec(find_model(self.model))
            else:
                codec = self.computing.codec_of_file(header.fingerprint)
            with pillow_limit(self.max_pixels):
                image = codec.decompress_image(
                    data,
                    region=region,
                    max_pixels=self.max_pixels,
                    progress=progress,
                    on_damage=on_damage,
                )
        return image, header, len(data), codec.engine.used


@dataclass(frozen=True)
class Decompression:
    """Decompresses a file; the arguments are those of ``gdncodec decompress``.

    Args:
        decoding: how to decode.
        format_name: format of the output; None takes that of its suffix.
        strip: metadata to leave out, of :data:`gdncodec.images.stripping.STRIPPED`.
        output_quality: of a lossy output, 1 to 100; None takes 95.
        ignore_errors: decode what is intact of a damaged file, and make the rest grey.
        force: overwrite a file that exists.
        preserve: give the result the times of the input.
    """

    decoding: Decoding
    format_name: str | None = None
    force: bool = False
    preserve: bool = True
    ignore_errors: bool = False
    strip: frozenset[str] = frozenset()
    output_quality: float | None = None

    def __call__(self, job: Job, progress: Progress | None = None) -> Outcome:
        """Decompress one file.

        Raises:
            GdnCodecError: the file is damaged, or the image cannot be written in the format.
            OSError: a file cannot be written.
        """
        from gdncodec.images.stripping import stripped_image
        from gdncodec.images.writing import encoded, output_format

        began = time.monotonic()
        source, output = job.source, job.output
        force = self.force or job.again
        check_is_gdn(source)
        refuse_existing(output, force, source)
        format_name = self.format_name or ("png" if output == STREAM else None)
        name = output_format(output, format_name)
        damages: list[str] = []
        on_damage = damages.append if self.ignore_errors else None
        image, header, before, engine = self.decoding(source, progress, on_damage)
        image, told = stripped_image(image, self.strip)
        data, lost = encoded(image, name, self.output_quality)
        write_result(output, data, overwrite=force, like=source if self.preserve else None)
        return Outcome(
            source,
            output,
            before=before,
            after=size_of(output),
            width=image.width,
            height=image.height,
            bpp=8 * before / (header.width * header.height),
            quality=header.quality,
            seconds=time.monotonic() - began,
            engine=engine,
            damage="; ".join(damages),
            notices=(*told, *lost),
        )


@dataclass(frozen=True)
class Verification:
    """Decodes a file and writes nothing."""

    decoding: Decoding

    def __call__(self, job: Job, progress: Progress | None = None) -> Outcome:
        """Decode one file.

        Raises:
            GdnCodecError: the file is damaged.
        """
        began = time.monotonic()
        image, header, before, engine = self.decoding(job.source, progress)
        return Outcome(
            job.source,
            before=before,
            after=image.width * image.height * len(image.getbands()),
            width=image.width,
            height=image.height,
            bpp=8 * before / (header.width * header.height),
            quality=header.quality,
            seconds=time.monotonic() - began,
            engine=engine,
        )
