"""The progress bar of an evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

from gdncodec.tiles.transforms import Progress

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(label: str, quiet: bool) -> Iterator[Progress]:
    """Yield a function that draws a bar on a terminal, from the number done and of all."""
    from tqdm import tqdm

    with tqdm(desc=label, disable=True if quiet else None, unit="file") as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update
