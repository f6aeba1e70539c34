import math

import numpy as np
import pytest
from PIL import Image

from gdncodec.codec import Codec
from gdncodec.container import unpack
from gdncodec.encoder import encoder
from gdncodec.encoder.encoder import _compact
from gdncodec.encoder.fidelity import regions
from gdncodec.encoder.targets import MAX_TRIALS, Target, parse_size, search
from gdncodec.engines.numpy import NumpyTransforms
from gdncodec.images.raster import Metadata, RasterImage
from gdncodec.images.reading import from_pil
from gdncodec.measures import ms_ssim_db


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return Codec(tiny_model)


@pytest.fixture
def analyses(monkeypatch):
    """Qualities of what went through the analysis."""
    seen = []
    original = NumpyTransforms.analysis

    def counting(self, x):
        seen.append(self.quality)
        return original(self, x)

    monkeypatch.setattr(NumpyTransforms, "analysis", counting)
    return seen


@pytest.fixture
def trials(monkeypatch):
    """Qualities that were tried."""
    tried = []

    def counting(measure, target):
        def measured(quality):
            tried.append(quality)
            return measure(quality)

        return search(measured, target)

    monkeypatch.setattr(encoder, "search", counting)
    return tried


def psnr(a, b, peak=255):
    return 10 * np.log10(peak**2 / np.square(a.astype(float) - b).mean())


def reachable(codec, photo):
    return [len(codec.compress(photo, quality)) for quality in (0, 100)]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_a_size_is_met_from_below_within_2_percent(tiny, photo, analyses, trials, share):
    low, high = reachable(tiny, RasterImage(photo))
    target = int(low + share * (high - low))
    del analyses[:]
    told = []
    data = tiny.compress_to(RasterImage(photo), Target(target, "bytes"), on_trial=told.append)
    assert 0.98 * target <= len(data) <= target
    assert analyses == trials
    assert len(trials) <= 8
    assert told == list(range(1, len(trials) + 1))
    again = tiny.compress(RasterImage(photo), unpack(data).header.quality)
    assert again == data


def test_metadata_and_alpha_count_in_the_size(tiny, photo):
    alpha = np.random.default_rng(0).integers(0, 256, photo.shape[:2], np.uint8)
    whole = RasterImage(photo, metadata=Metadata(exif=bytes(5000)), alpha=alpha)
    target = len(tiny.compress(whole, 40)) + 7
    data = tiny.compress_to(whole, Target(target, "bytes"))
    assert 0.98 * target <= len(data) <= target


def test_bits_per_pixel_are_those_of_the_whole_file(tiny, photo):
    bpp = len(tiny.compress(RasterImage(photo), 30)) * 8 / (150 * 203)
    data = tiny.compress_to(RasterImage(photo), Target(bpp, "bpp"))
    assert 0.98 * bpp <= len(data) * 8 / (150 * 203) <= bpp


@pytest.mark.parametrize("kind", ["RGB", "L", "I;16"])
def test_a_psnr_is_met_within_a_twentieth_of_a_db(tiny, photo, analyses, trials, kind):
    image = Image.fromarray(photo)
    if kind != "RGB":
        image = image.convert("L")
    if kind == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    source = from_pil(image)
    peak = 65535 if kind == "I;16" else 255

    def reached(data):
        return psnr(source.pixels, tiny.decompress(data).pixels, peak)

    low, high = (reached(tiny.compress(source, quality)) for quality in (0, 100))
    del analyses[:]
    data = tiny.compress_to(source, Target((low + high) / 2, "dB"))
    assert reached(data) == pytest.approx((low + high) / 2, abs=0.05)
    assert analyses == trials  # the file is made of what was measured
    assert len(trials) <= 8


def test_an_ms_ssim_is_met(tiny, photo):
    metrics = pytest.importorskip("gdncodec.evaluation.metrics")
    pytest.importorskip("pytorch_msssim")

    def reached(quality):
        data = tiny.compress(RasterImage(photo), quality)
        return metrics.ms_ssim(photo, tiny.decompress(data).pixels)

    wanted = (reached(0) + reached(100)) / 2
    data = tiny.compress_to(RasterImage(photo), Target(wanted, "MS-SSIM", metrics.ms_ssim))
    found = reached(unpack(data).header.quality)
    assert ms_ssim_db(found) == pytest.approx(ms_ssim_db(wanted), abs=0.05)


@pytest.mark.parametrize(
    ("value", "unit"), [(10, "bytes"), (0.0001, "bpp"), (90, "dB"), (0.1, "dB")]
)
def test_an_unreachable_target_says_what_can_be_reached(tiny, photo, trials, value, unit):
    low, high = reachable(tiny, RasterImage(photo))
    with pytest.raises(ValueError, match=f"{unit} is out of reach: this image reaches") as error:
        tiny.compress_to(RasterImage(photo), Target(value, unit))
    assert len(trials) <= 8
    if unit == "bytes":
        assert f"reaches {low:,} to {high:,} bytes" in str(error.value)


@pytest.mark.parametrize(("value", "unit"), [(10**6, "bytes"), (300, "bpp")])
def test_a_size_that_quality_100_does_not_fill_gets_quality_100(tiny, photo, trials, value, unit):
    data = tiny.compress_to(RasterImage(photo), Target(value, unit))
    assert unpack(data).header.quality == 100
    assert trials == [50, 100]


def test_a_tiny_image_gets_what_its_coarse_sizes_allow(tiny):
    photo = RasterImage(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))
    low, high = reachable(tiny, photo)
    for target in range(low, high, 3):
        assert low <= len(tiny.compress_to(photo, Target(target, "bytes"))) <= target


def test_symbols_are_kept_in_16_bits_only_where_they_fit():
    for largest, kind in ((32767, np.int16), (32768, np.int32)):
        symbols = np.array([[0, -largest]], np.int32)
        assert _compact(symbols).dtype == kind
        np.testing.assert_array_equal(_compact(symbols), symbols)


@pytest.mark.parametrize(
    ("value", "unit"),
    [(0, "bytes"), (-1, "bpp"), (math.inf, "dB"), (math.nan, "dB"), (1, "MS-SSIM")],
)
def test_a_target_must_be_possible(value, unit):
    with pytest.raises(ValueError, match=f"a target in {unit}"):
        Target(value, unit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1500", 1500), ("200k", 200_000), ("200kB", 200_000), ("1.5M", 1_500_000),
        ("2KiB", 2048), ("1Mi", 1 << 20), (" 7 ", 7), ("9B", 9),
    ],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "k", "12x", "1e400", "nan", "2 GB", "1kk"])
def test_what_is_no_size_is_named(text):
    with pytest.raises(ValueError, match="a size is a number of bytes"):
        parse_size(text)


CURVES = {
    "a codec": lambda q: 9000 * math.exp(0.02 * q),
    "bent": lambda q: 5000 + q**3,
    "stairs": lambda q: 1000 * (1 + q // 4),
    "a cliff": lambda q: 1000 + 100000 * (q > 73.205),
    "flat, then steep": lambda q: 1000 + 2 ** max(q - 80, 0),
    "noisy": lambda q: 9000 * math.exp(0.03 * q) * (1 + 0.004 * math.sin(1000 * q)),
}


@pytest.mark.parametrize("name", CURVES)
def test_the_search_ends_and_never_exceeds_a_size(name):
    curve = CURVES[name]
    for share in np.linspace(0.01, 0.999, 25):
        aim = curve(0) + share * (curve(100) - curve(0))
        calls = []

        def measure(q, calls=calls):
            calls.append(q)
            return curve(q)

        quality = search(measure, Target(aim, "bytes"))
        assert curve(quality) <= aim
        assert len(calls) <= MAX_TRIALS
        if name in ("a codec", "bent", "noisy"):
            assert curve(quality) >= 0.98 * aim


@pytest.mark.parametrize("size", [(1, 1), (1500, 1024), (3000, 5000), (1537, 100)])
def test_parts_that_are_measured_cover_the_image(size):
    seen = np.zeros(size, int)
    for region in regions(*size, 1024):
        seen[region.rectangle] += 1
        assert max(region.width, region.height) <= 1536
        assert min(region.width, region.height) >= min(*size, 683)
    assert (seen == 1).all()
