"""How the work on images computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gdncodec.threads import processors

if TYPE_CHECKING:
    from gdncodec.catalog import ModelEntry
    from gdncodec.codec import Codec

__all__ = ["Computing"]


@dataclass(frozen=True)
class Computing:
    """A device, an engine, and a number of threads; the arguments of :class:`Codec`."""

    device: str | None = None
    engine: str = "auto"
    threads: int | None = None

    def codec(self, entry: ModelEntry) -> Codec:
        """Return the codec of a model that computes so; a process loads each model once."""
        from gdncodec.api import codec_for

        return codec_for(entry, self.device, engine=self.engine, threads=self.threads)

    def codec_of_file(self, fingerprint: bytes) -> Codec:
        """Return the codec of the installed model that a file names."""
        from gdncodec.api import codec_of_file

        return codec_of_file(fingerprint, self.device, engine=self.engine, threads=self.threads)

    def shared_by(self, processes: int) -> Computing:
        """Return how each of several processes computes, so that they share the processors."""
        if processes == 1 or self.threads is not None:
            return self
        return replace(self, threads=max(1, processors() // processes))
