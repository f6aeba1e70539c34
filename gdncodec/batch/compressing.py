"""The work on one image: from an image file to a ``.gdn`` file."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from gdncodec.batch.computing import Computing
from gdncodec.batch.files import (
    read_source,
    refuse_existing,
    refuse_wrong_suffix,
    size_of,
    write_result,
)
from gdncodec.batch.outcomes import Outcome
from gdncodec.config import MAX_PIXELS
from gdncodec.errors import FormatError, GdnCodecError, UsageError
from gdncodec.files import STREAM

if TYPE_CHECKING:
    from pathlib import Path

    from gdncodec.batch.jobs import Job
    from gdncodec.codec import Codec
    from gdncodec.encoder.targets import Target
    from gdncodec.images.raster import RasterImage

__all__ = ["Compression", "Watch"]


class Watch(Protocol):
    """Shows how far the work on an image has come."""

    def __call__(self, done: int, total: int) -> None:
        """Take the number of tiles done and of all tiles."""
        ...

    def trial(self, number: int) -> None:
        """Take the number of a trial that looks for a quality."""
        ...


@dataclass(frozen=True)
class Compression:
    """Compresses an image file; the arguments are those of ``gdncodec compress``.

    Args:
        quality: 0 to 100; None takes the default.
        target: the quality is found that meets it, instead.
        effort: 0 to 9; None takes the default.
        model: name or path of a model; None takes the default model.
        frame: which image of a file with several, from 0.
        strip: metadata to leave out, of :data:`gdncodec.images.stripping.STRIPPED`.
        exact: keep the colours below fully transparent pixels.
        accept_truncated: take what can be read of an image that ends early.
        max_pixels: refuse larger images.
        force: overwrite a file that exists.
        preserve: give the result the times of the input.
        keep_smaller: keep the input where the result is not smaller.
        check: decode what was written before it gets its name.
        computing: how to compute.
    """

    quality: float | None = None
    target: Target | None = None
    effort: int | None = None
    model: str | None = None
    frame: int | None = None
    strip: frozenset[str] = frozenset()
    exact: bool = False
    accept_truncated: bool = False
    max_pixels: int = MAX_PIXELS
    force: bool = False
    preserve: bool = True
    keep_smaller: bool = False
    check: bool = False
    computing: Computing = field(default_factory=Computing)

    def __call__(self, job: Job, watch: Watch | None = None) -> Outcome:
        """Compress one file.

        Raises:
            GdnCodecError: the image or the model cannot be read, or what was written not decoded.
            OSError: a file cannot be read or written.
        """
        from gdncodec.catalog import find_model
        from gdncodec.container import unpack

        began = time.monotonic()
        source, output = job.source, job.output
        force = self.force or job.again
        if output != source:
            refuse_wrong_suffix(output)
        refuse_existing(output, force, source)
        frame = self.frame if job.frame is None else job.frame
        image = read_source(
            source,
            frame=frame,
            strip=self.strip,
            exact=self.exact,
            max_pixels=self.max_pixels,
            accept_truncated=self.accept_truncated,
        )
        codec = self.computing.codec(find_model(self.model))
        data = self._data(codec, image, watch, source)
        before = size_of(source) if job.frame is None else job.size
        kept = self.keep_smaller and source != STREAM and len(data) >= before
        if kept:
            output = self._keep(job, force)
        else:
            like = source if self.preserve else None
            check = self._checker(codec, data) if self.check else None
            write_result(output, data, overwrite=force, like=like, check=check)
        header, chunks = unpack(data)
        notices = [*image.notices, *_unfilled(self.target, header, len(data))]
        if not kept:
            notices += _advice(image, len(data), before if frame is None else 0)
        return Outcome(
            source,
            output,
            status="kept" if kept else "done",
            reason=f"the result would have {len(data):,} bytes, not fewer" if kept else "",
            before=before,
            after=before if kept else len(data),
            width=header.width,
            height=header.height,
            bpp=8 * len(data) / (header.width * header.height),
            quality=header.quality,
            seconds=time.monotonic() - began,
            engine=codec.engine.used,
            damage=f"{image.damage}; what could be read of it is in {output}"
            if image.damage
            else "",
            notices=tuple(notices),
            facts={
                "chunks": {kind: len(part) for kind, part in chunks.items()},
                "frame": frame is not None,
            },
        )

    def _data(self, codec: Codec, image: RasterImage, watch: Watch | None, source: Path) -> bytes:
        if self.target is None:
            return codec.compress(image, self.quality, effort=self.effort, progress=watch)
        on_trial = watch.trial if watch else None
        try:
            return codec.compress_to(image, self.target, effort=self.effort, on_trial=on_trial)
        except UsageError as error:  # this image cannot have what others may
            msg = f"{source}: {error}"
            raise UsageError(msg) from error

    def _keep(self, job: Job, force: bool) -> Any:
        """Let the input stand for its result; in a folder of results, as a copy."""
        if job.keep_at is None or (job.keep_at.exists() and job.keep_at.samefile(job.source)):
            return job.source
        like = job.source if self.preserve else None
        write_result(job.keep_at, job.source.read_bytes(), overwrite=force, like=like)
        return job.keep_at

    def _checker(self, codec: Codec, data: bytes) -> Any:
        def check(written: bytes) -> None:
            if written != data:
                msg = "what is read back is not what was written"
                raise OSError(msg)
            try:
                codec.decompress_image(written, max_pixels=self.max_pixels)
            except GdnCodecError as error:
                msg = f"what was written cannot be decoded ({error})"
                raise FormatError(msg) from error

        return check


def _unfilled(target: Target | None, header: Any, size: int) -> list[str]:
    """Return a note if not even quality 100 fills the size that was asked for."""
    if target is None or not target.is_size or header.quality < 100:
        return []
    per_unit = 1 if target.unit == "bytes" else 8 / (header.width * header.height)
    if target.scaled(size * per_unit) >= target.interval[0]:
        return []
    return [f"quality 100, the best, needs {target.text(size * per_unit)}, less than the target"]


def _advice(image: RasterImage, size: int, before: int) -> list[str]:
    """Return what to say about a result that serves its image badly.

    Args:
        image: what was compressed.
        size: bytes of the result.
        before: bytes of the file that the image is from; 0 if it is not the only one in it.
    """
    from gdncodec.images.lossless import lossless_size

    said = []
    if 0 < before < size:
        said.append(
            f"the result is larger than this file of {before:,} bytes, which --keep-smaller keeps"
        )
    lossless = lossless_size(image)
    if lossless is not None and lossless < size:
        said.append(
            f"as lossless WebP or PNG this image has {lossless:,} bytes; that suits flat colours, "
            "text and screenshots better"
        )
    return said
