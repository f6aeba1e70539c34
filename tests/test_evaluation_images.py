import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gdncodec.container import ColorMode
from gdncodec.errors import ImageError
from gdncodec.evaluation.images import find_images, read_for_measuring


@pytest.fixture
def data_set(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    lines = []
    for n in range(3):
        Image.new("RGB", (4, 4), (n, 0, 0)).save(folder / f"{n}.png")
        digest = hashlib.sha256((folder / f"{n}.png").read_bytes()).hexdigest()
        lines.append(f"{digest}  {n}.png\n")
    (tmp_path / "set.sha256").write_text("".join(lines))
    return folder


def test_a_data_set_is_checked_and_listed(data_set):
    assert [path.name for path in find_images([data_set])] == ["0.png", "1.png", "2.png"]


def test_an_absent_data_set_says_where_to_look(data_set):
    for path in data_set.iterdir():
        path.unlink()
    data_set.rmdir()
    with pytest.raises(ImageError, match=r"the 3 images .* are not there; data/README\.md"):
        find_images([data_set])


def test_a_changed_or_missing_image_of_a_data_set_is_named(data_set):
    (data_set / "0.png").unlink()
    Image.new("RGB", (5, 5)).save(data_set / "1.png")
    with pytest.raises(ImageError, match=r"missing: 0\.png; other content: 1\.png"):
        find_images([data_set])


def test_a_checksum_file_inside_the_folder_counts_too(data_set):
    (data_set.parent / "set.sha256").rename(data_set / "SHA256SUMS")
    assert len(find_images([data_set])) == 3


def test_a_folder_stands_for_its_images_only(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "b.png")
    Image.new("L", (2, 2)).save(tmp_path / "a.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    assert [path.name for path in find_images([tmp_path])] == ["a.jpg", "b.png"]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(ImageError, match="no such file or folder"):
        find_images([tmp_path / "gone"])
    with pytest.raises(ImageError, match="holds no image"):
        find_images([tmp_path])


def test_two_images_of_one_name_are_refused(data_set):
    other = data_set.parent / "0.png"
    Image.new("RGB", (4, 4)).save(other)
    with pytest.raises(ImageError, match=r"come twice: 0\.png"):
        find_images([data_set, other])


def test_kodak_recipe_lists_24_images():
    lines = (Path(__file__).parents[1] / "data" / "kodak.sha256").read_text().split()
    assert lines[1::2] == [f"kodim{n:02}.png" for n in range(1, 25)]
    assert all(len(digest) == 64 for digest in lines[::2])


def test_transparency_is_laid_on_white_and_16_bits_are_rounded(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(path)
    assert (read_for_measuring(path).pixels == 255).all()
    Image.fromarray(np.full((2, 2), 257 * 100 + 120, np.uint16)).save(path)
    photo = read_for_measuring(path)
    assert photo.color_mode == ColorMode.GREY
    assert photo.pixels.dtype == np.uint8
    assert (photo.pixels == 100).all()


def test_files_that_are_left_out_are_named(tmp_path):
    for name in ("a.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    lines = []
    assert find_images([tmp_path], lines.append) == [tmp_path / "a.png"]
    assert lines == [
        f"{tmp_path}/sub: left out, a subfolder",
        f"{tmp_path}/notes.txt: left out, Pillow reads no .txt files",
    ]
