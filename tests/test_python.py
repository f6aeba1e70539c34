"""The functions of the package, as programs call them."""

import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gdncodec

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rgb(photo):
    return photo[:48, :64]


@pytest.fixture
def cwd(tmp_path, monkeypatch, rgb):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(rgb).save("photo.png")
    return tmp_path


def with_alpha(array):
    alpha = np.zeros(array.shape[:2], array.dtype)
    alpha[4:30, 9:50] = np.iinfo(array.dtype).max
    return np.dstack([array, alpha])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["grey", "grey and alpha", "RGB", "RGB and alpha"])
def test_an_array_comes_back_with_its_shape_its_type_and_its_alpha(rgb, kind, dtype):
    array = rgb[..., 0] if "grey" in kind else rgb
    array = with_alpha(array) if "alpha" in kind else array
    array = array.astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    back = gdncodec.decompress(gdncodec.compress(array, quality=90))
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert back.flags.writeable
    error = np.abs(back.astype(float) - array) / np.iinfo(dtype).max
    assert error.mean() < 0.02
    if "alpha" in kind:
        np.testing.assert_array_equal(back[..., -1], array[..., -1])


def test_one_channel_is_grey(rgb):
    assert gdncodec.compress(rgb[..., :1]) == gdncodec.compress(rgb[..., 0])


def test_the_order_of_bytes_and_of_axes_in_memory_does_not_matter(rgb):
    wide = rgb.astype(np.uint16) * 257
    expected = gdncodec.compress(wide)
    assert gdncodec.compress(wide.astype(">u2")) == expected
    assert gdncodec.compress(np.asfortranarray(wide)) == expected
    assert gdncodec.compress(wide[:, ::-1][:, ::-1]) == expected


def test_alpha_of_sixteen_bits_that_eight_cannot_hold_is_warned_of(rgb):
    array = np.full((8, 8, 4), 300, np.uint16)
    with pytest.warns(UserWarning, match="alpha of 16 bits is kept with 8") as caught:
        data = gdncodec.compress(array)
    assert caught[0].filename == __file__
    assert (gdncodec.decompress(data)[..., 3] == 257).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.filterwarnings("ignore:its CMYK colours")
def test_a_pillow_image_of_any_mode_is_taken(rgb, mode):
    image = Image.fromarray(rgb).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    shape = {"LA": (48, 64, 2), "RGBA": (48, 64, 4)}.get(mode, (48, 64, 3))
    shape = (48, 64) if mode in ("1", "L", "I;16") else shape
    back = gdncodec.decompress(gdncodec.compress(image, quality=90))
    assert back.shape == shape
    assert (back.dtype == np.uint16) == (mode == "I;16")
    if mode == "1":
        assert set(np.unique(back)) == {0, 255}


def test_a_path_gives_what_the_image_in_it_gives(cwd, rgb):
    expected = gdncodec.compress(rgb)
    assert gdncodec.compress("photo.png") == expected
    assert gdncodec.compress(cwd / "photo.png") == expected


def test_anything_that_numpy_makes_an_array_of_is_taken(rgb):
    class Picture:
        def __array__(self, dtype=None, copy=None):
            return rgb

    assert gdncodec.compress(Picture()) == gdncodec.compress(rgb)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "got NoneType"),
        (3, "got int"),
        (b"\x89PNG", r"got bytes; PIL.Image.open\(io.BytesIO\(image\)\)"),
        (np.zeros((4, 4, 3)), r"got float64 \(4, 4, 3\); samples from 0 to 1 become uint8"),
        (np.zeros((4, 4), bool), "got bool .*black and white"),
        (np.zeros((4, 4), np.int64), r"got int64 \(4, 4\).*astype\('uint8'\)"),
        (np.zeros((3, 40, 50), np.uint8), r"got uint8 \(3, 40, 50\); numpy.moveaxis"),
        (np.zeros((6, 4, 5), np.uint8), r"got uint8 \(6, 4, 5\)$"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"got uint8 \(2, 4, 4, 3\)$"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        ([[1, 2], [3]], "got list"),
        (np.array("abc"), "got ndarray"),
    ],
)
def test_what_is_no_image_is_refused_by_name_with_what_would_be_right(image, said):
    with pytest.raises(gdncodec.UsageError, match=f"^image: .*{said}") as error:
        gdncodec.compress(image)
    assert "(H, W, 4)" in str(error.value) or said == "no pixels"


def test_a_path_without_an_image_is_named(cwd):
    with pytest.raises(gdncodec.ImageError, match=r"^absent.png: no such file"):
        gdncodec.compress("absent.png")


@pytest.mark.parametrize("data", ["photo.gdn", 5, None])
def test_decompress_of_what_is_not_bytes_names_open(data):
    with pytest.raises(gdncodec.UsageError, match=r"^data: expected the bytes .*gdncodec.open"):
        gdncodec.decompress(data)


def test_save_open_and_info_go_together(cwd, rgb):
    gdncodec.save(with_alpha(rgb), "a.gdn", quality=70)
    assert Path("a.gdn").read_bytes() == gdncodec.compress(with_alpha(rgb), quality=70)
    found = gdncodec.info("a.gdn")
    size = os.path.getsize("a.gdn")
    assert (found.width, found.height, found.mode, found.depth) == (64, 48, "RGBA", 8)
    assert (found.quality, found.size, found.model) == (70, size, "photo")
    assert found.bpp == pytest.approx(size * 8 / (64 * 48))
    assert found.metadata == ()
    assert gdncodec.open("a.gdn").mode == found.mode


def test_info_names_the_metadata_and_a_model_that_is_not_installed(cwd, rgb, tiny_model):
    image = Image.fromarray(rgb)
    image.info["icc_profile"] = b"a profile"
    gdncodec.save(image, "a.gdn", model=tiny_model)
    found = gdncodec.info("a.gdn")
    assert (found.metadata, found.model) == (("icc",), None)


def test_save_overwrites_only_if_told(cwd, rgb):
    gdncodec.save(rgb, "a.gdn", quality=30)
    before = Path("a.gdn").read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True replaces it"):
        gdncodec.save(rgb, "a.gdn")
    assert Path("a.gdn").read_bytes() == before
    gdncodec.save(rgb, "a.gdn", overwrite=True)
    assert Path("a.gdn").read_bytes() != before


def test_save_refuses_the_name_of_another_format_and_what_is_no_path(cwd, rgb):
    with pytest.raises(gdncodec.UsageError, match=r"^path: a.jpg would hold .gdn data"):
        gdncodec.save(rgb, "a.jpg")
    with pytest.raises(gdncodec.UsageError, match=r"^path: expected a path, got BytesIO"):
        gdncodec.save(rgb, io.BytesIO())
    with pytest.raises(gdncodec.UsageError, match=r"^image: "):
        gdncodec.save(None, "a.gdn")
    assert os.listdir() == ["photo.png"]


def test_warnings_of_save_point_to_its_caller(cwd):
    with pytest.warns(UserWarning, match="CMYK") as caught:
        gdncodec.save(Image.new("CMYK", (8, 8)), "a.gdn")
    assert caught[0].filename == __file__


@pytest.mark.parametrize("read", [gdncodec.open, gdncodec.info])
def test_errors_about_a_file_name_it(cwd, read):
    with pytest.raises(gdncodec.FormatError, match=r"^photo.png: "):
        read("photo.png")
    with pytest.raises(gdncodec.UsageError, match="expected a path, got bytes"):
        read(b"\x8dGDN")
    with pytest.raises(FileNotFoundError):
        read("absent.gdn")


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_examples_of_the_documentation_run(page, cwd, photo):
    text = (ROOT / page).read_text("utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert examples
    (cwd / "data").mkdir()
    (cwd / "data" / "astronaut.png").write_bytes((cwd / "photo.png").read_bytes())
    (cwd / "images" / "cats").mkdir(parents=True)
    gdncodec.save(photo, cwd / "images" / "cats" / "one.gdn")
    names = {}
    for example in examples:
        for module in re.findall(r"^(?:from|import) ([a-z]+)", example, re.MULTILINE):
            pytest.importorskip(module)
        exec(compile(example, page, "exec"), names)
