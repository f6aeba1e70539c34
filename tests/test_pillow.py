import copy
import io
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import gdncodec
import gdncodec.pillow
from gdncodec.container import HEADER_SIZE, MAGIC, Header, pack, unpack

ICC = b"a profile"
XMP = b"<x:xmpmeta/>"


@pytest.fixture
def exif():
    data = Image.Exif()
    data[0x0112] = 6
    return data.tobytes()


@pytest.fixture(scope="module")
def small(photo):
    return Image.fromarray(photo[:60, :80])


@pytest.fixture(scope="module")
def file(small):
    return saved(small, quality=60)


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, "GDN", **options)
    return file.getvalue()


def test_open_and_save_go_by_the_suffix(tmp_path, small):
    small.save(tmp_path / "a.gdn", quality=60)
    with Image.open(tmp_path / "a.gdn") as image:
        assert (image.format, image.mode, image.size) == ("GDN", "RGB", (80, 60))
        assert Image.MIME[image.format] == "image/x-gdn"
        assert (image.is_animated, image.n_frames) == (False, 1)
        array = np.asarray(image)
    data = (tmp_path / "a.gdn").read_bytes()
    np.testing.assert_array_equal(array, gdncodec.decompress(data))
    assert data == gdncodec.compress(small, quality=60)


def test_quality_effort_and_model_are_passed_on(small, tiny_model):
    assert unpack(saved(small, quality=12.5)).header.quality == 12.5
    assert saved(small, effort=2) == gdncodec.compress(small, effort=2) != saved(small)
    with pytest.raises(ValueError, match="effort must be from 0 to 9"):
        saved(small, effort=11)
    foreign = saved(small, model=tiny_model)
    with pytest.raises(OSError, match="not installed"), Image.open(io.BytesIO(foreign)) as image:
        image.load()
    with pytest.raises(ValueError, match="quality must be"):
        saved(small, quality=101)


def test_metadata_go_both_ways(small, exif):
    data = saved(small, exif=exif, icc_profile=ICC, xmp=XMP)
    with Image.open(io.BytesIO(data)) as image:
        assert image.info == {"exif": exif, "icc_profile": ICC, "xmp": XMP}
        assert image.getexif()[0x0112] == 6
        again = saved(image)
        assert unpack(again).chunks.keys() == unpack(data).chunks.keys()
        bare = saved(image, exif=None, icc_profile=b"", xmp=None)
        assert len(unpack(bare).chunks) == 1
        changed = image.getexif()
        changed[0x0112] = 1
        assert unpack(saved(image, exif=changed)).chunks[129] == changed.tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16"])
def test_the_mode_is_known_before_the_pixels(small, mode):
    image = small.convert("L") if mode == "I;16" else small.convert(mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    with Image.open(io.BytesIO(saved(image))) as opened:
        assert opened.mode == mode
        opened.load()
        assert opened.mode == mode
        assert np.asarray(opened).shape == np.asarray(image).shape


def test_opening_reads_the_header_only(file, monkeypatch):
    monkeypatch.setattr("gdncodec.api.decompress_image", None)
    with Image.open(io.BytesIO(file)) as image:
        assert image.size == (80, 60)
        with pytest.raises(TypeError):
            image.load()


def test_opening_loads_no_torch():
    code = (
        "import sys, io, gdncodec.pillow\nfrom PIL import Image\n"
        f"Image.open(io.BytesIO({saved(Image.new('L', (9, 9)))!r}))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def claiming(width, height):
    header = Header(1, 8, 50, bytes(8), width, height)
    return pack(header, {1: b"abcd"})


def test_pillows_limits_hold_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(claiming(40, 40)))
    assert caught[0].category is Image.DecompressionBombWarning
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(claiming(400, 40)))


def test_a_limit_that_is_raised_in_pillow_is_raised(small, monkeypatch):
    data = saved(small)
    monkeypatch.setattr("gdncodec.codec.MAX_PIXELS", 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(io.BytesIO(data)) as image:
        image.load()


def test_truncation_raises_and_never_gives_an_image(file):
    for length in (len(MAGIC), HEADER_SIZE - 1, HEADER_SIZE, HEADER_SIZE + 3, 60, len(file) - 1):
        with pytest.raises(OSError), Image.open(io.BytesIO(file[:length])) as image:  # noqa: PT011
            image.load()


def test_damage_anywhere_raises(file):
    for position in range(0, len(file), 29):
        damaged = bytearray(file)
        damaged[position] ^= 16
        with pytest.raises(OSError), Image.open(io.BytesIO(damaged)) as image:  # noqa: PT011
            image.load()


def test_a_failed_save_leaves_no_file(tmp_path):
    with pytest.raises(OSError, match="mode F"):
        Image.new("F", (4, 4)).save(tmp_path / "a.gdn")
    assert list(tmp_path.iterdir()) == []


def test_the_frame_at_hand_is_saved(tmp_path):
    frames = [Image.new("RGB", (16, 16), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(1)
        image.save(tmp_path / "a.gdn")
    with Image.open(tmp_path / "a.gdn") as image:
        red, _, blue = image.getpixel((8, 8))
        assert blue > red + 30


def test_files_are_closed_after_loading(tmp_path, small):
    small.save(tmp_path / "a.gdn")
    image = Image.open(tmp_path / "a.gdn")
    file = image.fp
    image.load()
    assert file.closed
    image.load()
    assert image.convert("L").size == (80, 60)


def test_a_file_of_the_callers_stays_open(file):
    stream = io.BytesIO(file)
    Image.open(stream).load()
    assert not stream.closed


def test_verify_and_copy_work(file):
    with Image.open(io.BytesIO(file)) as image:
        assert image.copy().size == (80, 60)
    Image.open(io.BytesIO(file)).verify()


def test_threads_get_the_same_images(small, file):
    expected = gdncodec.decompress(file).astype(int)

    def work(_):
        with Image.open(io.BytesIO(file)) as image:
            return np.asarray(image), saved(small, quality=60)

    with ThreadPoolExecutor(4) as pool:
        for array, data in pool.map(work, range(8)):
            assert np.abs(expected - array).max() <= 1
            assert data == file


def test_registering_twice_changes_nothing():
    before = list(Image.ID)
    gdncodec.pillow.register()
    assert before == Image.ID
    assert Image.registered_extensions()[".gdn"] == "GDN"


def test_an_image_folder_of_torchvision_reads_gdn_files(tmp_path, small):
    datasets = pytest.importorskip("torchvision.datasets")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            small.rotate(90 * i).save(tmp_path / name / f"{i}.gdn", quality=30)
    folder = datasets.ImageFolder(tmp_path, is_valid_file=lambda path: path.endswith(".gdn"))
    assert folder.classes == ["cat", "dog"]
    assert len(folder) == 4
    image, label = folder[3]
    assert (image.mode, image.size, label) == ("RGB", (80, 60), 1)


def test_jupyter_displays_an_opened_file(file):
    formatters = pytest.importorskip("IPython.core.formatters")
    formats, _ = formatters.DisplayFormatter().format(Image.open(io.BytesIO(file)))
    with Image.open(io.BytesIO(formats["image/png"])) as shown:
        np.testing.assert_array_equal(np.asarray(shown), gdncodec.decompress(file))


@pytest.fixture
def path(file, tmp_path):
    (tmp_path / "a.gdn").write_bytes(file)
    return tmp_path / "a.gdn"


def test_one_image_shared_by_threads_is_decoded_once_and_right(path):
    from concurrent.futures import ThreadPoolExecutor

    with Image.open(path) as alone:
        expected = alone.convert("RGB").tobytes()
    shared = Image.open(path)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: shared.convert("RGB").tobytes(), range(6)))
    assert found == [expected] * 6


def test_a_closed_image_says_so(path):
    image = Image.open(path)
    image.close()
    with pytest.raises(ValueError, match="closed"):
        image.load()


def test_verify_finds_damage_without_decoding(path, tmp_path):
    with Image.open(path) as image:
        image.verify()
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    (tmp_path / "damaged.gdn").write_bytes(data)
    with Image.open(tmp_path / "damaged.gdn") as image, pytest.raises(OSError, match="damaged"):
        image.verify()


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_images_can_be_copied_and_sent_to_other_processes(file, loaded, again):
    with Image.open(io.BytesIO(file)) as image:
        if loaded:
            image.load()
        other = again(image)
        assert other.tobytes() == image.tobytes()
        assert (other.mode, other.size, other.info) == (image.mode, image.size, image.info)


FORK = """
import io, os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
from PIL import Image
import gdncodec, gdncodec.pillow
data = sys.stdin.buffer.read()
inside, forked = threading.Event(), threading.Event()

def load():
    {work}

thread = threading.Thread(target=load)
thread.start()
inside.wait()
child = os.fork()
forked.set()
if child == 0:
    signal.alarm(60)  # ends a child that hangs
    Image.open(io.BytesIO(data)).load()
    gdncodec.decompress(data)
    os._exit(0)
thread.join()
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.parametrize("where", ["the plugin", "the library", "a cached property"])
def test_a_process_forked_while_a_thread_was_loading_can_load_too(file, where):
    work = {
        "the plugin": """
    from gdncodec import decoder
    unpack = decoder.unpack

    def slow(data):
        inside.set()
        forked.wait()
        return unpack(data)

    decoder.unpack = slow
    Image.open(io.BytesIO(data)).load()""",
        "the library": """
    from gdncodec import threads
    with threads.one_blas_thread(), threads._LOCK:
        inside.set()
        forked.wait()""",
        "a cached property": """
    from gdncodec.api import codec_for
    from gdncodec.modelfile import OperatingPoint
    lock = getattr(vars(OperatingPoint)["_plan"], "lock", threading.Lock())
    with lock:
        inside.set()
        forked.wait()""",
    }[where]
    run = subprocess.run(
        [sys.executable, "-c", FORK.replace("{work}", work)],
        input=file,
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
