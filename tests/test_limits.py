"""Our limit on pixels and Pillow's, whatever a program has set."""

import numpy as np
import pytest
from command_line import run
from PIL import Image

import gdncodec
from gdncodec.errors import FormatError, ImageError


@pytest.fixture
def files(folder, photo):
    """``plain.gdn``, and ``alpha.gdn`` with a transparency that is not constant."""
    alpha = np.random.default_rng(0).integers(0, 256, photo.shape[:2], np.uint8)
    Image.fromarray(np.dstack([photo, alpha])).save("alpha.png")
    for source, output in (("img.png", "plain.gdn"), ("alpha.png", "alpha.gdn")):
        run("compress", source, "-o", output)
    return folder


@pytest.mark.parametrize("limit", [0, 100, 15_000])  # of 30,450; Pillow refuses twice its limit
def test_a_limit_that_a_program_lowers_is_an_error_of_this_package(files, monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    message = rf"Pillow's limit of {limit:,}.*; Image\.MAX_IMAGE_PIXELS raises it"
    with pytest.raises(FormatError, match=message):
        gdncodec.open("alpha.gdn")
    with pytest.raises(ImageError, match=message):
        gdncodec.compress(Image.new("RGB", (203, 300)))
    assert gdncodec.open("plain.gdn").size == (203, 150)  # which Pillow does not decode
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_commands_have_a_limit_of_their_own(files, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("plain", "alpha"):
        run("verify", f"{name}.gdn")
        run("decompress", f"{name}.gdn")
        said = run("verify", f"{name}.gdn", "--max-pixels", 30_000, code=4).stderr
        assert "over the limit of 30,000; --max-pixels raises it" in said
    run("compress", "alpha.png", "--force")
    assert Image.MAX_IMAGE_PIXELS == 100


def test_python_takes_a_limit(files):
    for name in ("plain.gdn", "alpha.gdn"):
        with pytest.raises(FormatError, match=r"over the limit of 30,000; .*max_pixels"):
            gdncodec.open(name, max_pixels=30_000)
        with pytest.raises(FormatError, match=r"over the limit of 30,000; .*max_pixels"):
            gdncodec.decompress((files / name).read_bytes(), max_pixels=30_000)
