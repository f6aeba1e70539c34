"""Many calls in one process: the same bytes, and nothing is kept."""

import io
import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import gdncodec.pillow
from gdncodec.api import codec_for
from gdncodec.catalog import ModelEntry
from gdncodec.images.raster import RasterImage

QUALITIES = (0, 50, 100)


@pytest.fixture
def work(tiny_model, photo, monkeypatch):
    """A function that does a round of calls, and returns what they gave."""
    monkeypatch.setenv("GDNCODEC_MODELS", str(tiny_model.parent))
    gdncodec.pillow.register()
    pixels = np.ascontiguousarray(photo[:48, :48])

    def round_of_calls(number):
        codec = codec_for(ModelEntry(tiny_model), engine="numpy")
        data = codec.compress(RasterImage(pixels), QUALITIES[number % len(QUALITIES)], effort=0)
        with Image.open(io.BytesIO(data)) as opened:
            plugin = opened.tobytes()
        with pytest.raises(gdncodec.FormatError):
            gdncodec.decompress(data[:-1])
        return data, codec.decompress(data).pixels.tobytes(), plugin

    return round_of_calls


def open_files():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def test_eight_threads_get_the_same_bytes_and_nothing_is_kept(work):
    expected = [work(number) for number in range(len(QUALITIES))]

    def differs(number):
        return work(number) != expected[number % len(QUALITIES)]

    def many(count):
        with ThreadPoolExecutor(8) as pool:
            assert not any(pool.map(differs, range(count)))

    many(30)  # after this, what is made once has been made
    files, threads = open_files(), threading.active_count()
    many(60)  # of four calls each
    tracemalloc.start()  # counts Python's and NumPy's memory, not what the system keeps for later
    try:
        many(8)
        before, _ = tracemalloc.get_traced_memory()
        many(16)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (open_files(), threading.active_count()) == (files, threads)
    assert after - before < 16 * 2000  # pixels alone are seven kilobytes a round
