"""Libraries that read images with Pillow read ``.gdn`` files, too."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

import gdncodec
import gdncodec.pillow


@pytest.fixture
def file(tmp_path, photo):
    gdncodec.save(photo[:60, :80], tmp_path / "a.gdn", quality=30)
    return tmp_path / "a.gdn"


@pytest.fixture
def pixels(file):
    return gdncodec.decompress(file.read_bytes())


@pytest.mark.parametrize("how", [{}, {"plugin": "pillow"}])
def test_imageio_reads_a_file_and_its_properties(file, pixels, how):
    imageio = pytest.importorskip("imageio.v3")
    np.testing.assert_array_equal(imageio.imread(file, **how), pixels)
    np.testing.assert_array_equal(imageio.imread(file.read_bytes(), plugin="pillow"), pixels)
    assert imageio.improps(file, **how).shape == (60, 80, 3)


def test_imageio_writes_a_file(tmp_path, photo):
    imageio = pytest.importorskip("imageio.v3")
    imageio.imwrite(tmp_path / "b.gdn", photo, plugin="pillow", quality=20)
    assert gdncodec.info(tmp_path / "b.gdn").quality == 20


def test_scikit_image_reads_a_file(file, pixels):
    pytest.importorskip("skimage")
    from skimage import io as skimage_io

    np.testing.assert_array_equal(skimage_io.imread(file), pixels)


def test_a_loader_of_torchvision_may_be_the_packages_own(file, photo):
    datasets = pytest.importorskip("torchvision.datasets")
    (file.parent / "cats").mkdir()
    grey = Image.fromarray(photo).convert("LA")
    gdncodec.save(grey, file.parent / "cats" / "b.gdn", quality=20)
    folder = datasets.ImageFolder(
        file.parent, loader=gdncodec.open, is_valid_file=lambda path: path.endswith(".gdn")
    )
    image, label = folder[0]
    assert (image.mode, image.size, label) == ("LA", (203, 150), 0)


def test_a_loader_that_decodes_to_a_tensor_gets_the_pixels(file, pixels):
    functional = pytest.importorskip("torchvision.transforms.functional")
    tensor = functional.pil_to_tensor(gdncodec.open(file))
    np.testing.assert_array_equal(tensor.numpy(), np.moveaxis(pixels, -1, 0))


def test_jupyter_displays_what_the_package_opens(file, pixels):
    formatters = pytest.importorskip("IPython.core.formatters")
    for image in (gdncodec.open(file), Image.open(file)):
        formats, _ = formatters.DisplayFormatter().format(image)
        with Image.open(io.BytesIO(formats["image/png"])) as shown:
            np.testing.assert_array_equal(np.asarray(shown), pixels)


@pytest.mark.parametrize("read", [gdncodec.open, Image.open])
def test_records_of_images_go_through_pickle_and_through_bytes(file, pixels, read):
    record = pickle.loads(pickle.dumps({"image": read(file), "label": 3}))
    np.testing.assert_array_equal(np.asarray(record["image"]), pixels)
    stored = {"bytes": file.read_bytes(), "path": str(file)}  # as tables of images hold them
    with Image.open(io.BytesIO(pickle.loads(pickle.dumps(stored))["bytes"])) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels)
