from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gdncodec
from gdncodec.catalog import ModelEntry, find_model
from gdncodec.codec import Codec
from gdncodec.container import ChunkType, ColorMode, pack, unpack
from gdncodec.errors import FormatError, ModelError
from gdncodec.images.raster import RasterImage, eight_bits
from gdncodec.images.reading import from_pil

SAMPLE = Path(__file__).parents[1] / "data" / "astronaut.png"


def psnr(a, b):
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b.astype(float)).mean())


@pytest.fixture(scope="module")
def codec():
    return Codec()


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return Codec(tiny_model)


@pytest.fixture(scope="module")
def sample():
    with Image.open(SAMPLE) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (17, 1), (16, 16), (241, 181)])
def test_any_size_comes_back_in_its_size(codec, shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pixels = np.stack([rows % 256, columns % 256, (rows + columns) // 5 % 256], -1).astype(np.uint8)
    photo = codec.decompress(codec.compress(RasterImage(pixels)))
    assert photo.pixels.shape == pixels.shape
    assert photo.pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("quality", "decibels", "size"), [(20, 29.35, 6450), (60, 34.00, 17220), (100, 39.00, 53780)]
)
def test_the_embedded_model_is_as_good_as_it_was(codec, sample, quality, decibels, size):
    """0.05 dB and a hundredth of the size, or less, are left for other machines."""
    data = codec.compress(RasterImage(sample), quality)
    assert psnr(codec.decompress(data).pixels, sample) > decibels
    assert len(data) < size


def test_higher_quality_is_larger_and_better(codec, sample):
    part = RasterImage(sample[100:356, 100:356])
    sizes, psnrs = [], []
    for quality in (0, 25, 50, 75, 100):
        data = codec.compress(part, quality)
        sizes.append(len(data))
        psnrs.append(psnr(codec.decompress(data).pixels, part.pixels))
    assert sizes == sorted(sizes)
    assert psnrs == sorted(psnrs)
    assert sizes[-1] > 4 * sizes[0]


def test_overhead_is_at_most_40_bytes_and_the_estimate_is_close(codec):
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(60, 190, (32, 48, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    data = codec.compress(RasterImage(pixels))
    words = unpack(data).chunks[ChunkType.LATENTS]
    assert len(data) - len(words) <= 40
    estimate = codec.estimated_bits(data) / 8
    assert estimate < len(words) < 1.005 * estimate + 8


def test_compression_is_deterministic(tiny, photo):
    assert tiny.compress(RasterImage(photo)) == tiny.compress(RasterImage(photo))


def test_what_is_decoded_does_not_depend_on_the_number_of_threads(codec, sample):
    before = torch.get_num_threads()
    data = codec.compress(RasterImage(sample))
    decoded, bits = codec.decompress(data).pixels, codec.estimated_bits(data)
    try:
        torch.set_num_threads(1)
        assert codec.estimated_bits(data) == bits  # of the symbols, which are exact
        np.testing.assert_allclose(
            codec.decompress(data).pixels.astype(int), decoded.astype(int), atol=1
        )
    finally:
        torch.set_num_threads(before)


def test_quality_is_kept_in_hundredths(tiny, photo):
    data = tiny.compress(RasterImage(photo), 33.337)
    assert unpack(data).header.quality == 33.34


@pytest.mark.parametrize("quality", [-0.01, 100.01, float("nan"), float("inf")])
def test_a_quality_out_of_range_is_refused(tiny, photo, quality):
    with pytest.raises(ValueError, match="quality must be"):
        tiny.compress(RasterImage(photo), quality)


def test_a_foreign_model_is_named(codec, tiny, photo):
    with pytest.raises(ModelError, match=tiny.entry.fingerprint.hex()):
        codec.decompress(tiny.compress(RasterImage(photo)))


def test_an_image_over_the_limit_is_refused_before_decoding(tiny, photo):
    data = tiny.compress(RasterImage(photo))
    with pytest.raises(FormatError, match="over the limit"):
        tiny.decompress(data, max_pixels=1000)


def test_a_header_that_claims_a_huge_image_allocates_nothing(tiny, photo):
    container = unpack(tiny.compress(RasterImage(photo)))
    header = container.header._replace(width=2**32 - 1, height=2**32 - 1)
    with pytest.raises(FormatError, match="over the limit"):
        tiny.decompress(pack(header, container.chunks))


def test_wrong_coded_words_behind_a_right_crc_raise_or_give_an_image(tiny, photo):
    container = unpack(tiny.compress(RasterImage(photo)))
    rng = np.random.default_rng(3)
    for length in (0, 4, 40, 400):
        chunks = {ChunkType.LATENTS: rng.bytes(length)}
        try:
            found = tiny.decompress(pack(container.header, chunks))
        except FormatError:
            continue
        assert found.pixels.shape == photo.shape


def test_golden_file_decodes_to_its_symbols_and_pixels():
    golden = Path(__file__).parent / "golden" / "streams"
    codec = Codec(ModelEntry(golden / "tiny.safetensors"))
    data = (golden / "texture.gdn").read_bytes()
    expected = np.load(golden / "texture.npz")
    (part,) = codec.decoder.coded_slices(unpack(data), 10**6)
    point = codec.model.at(unpack(data).header.quality)
    np.testing.assert_array_equal(point.decode(*part), expected["symbols"])
    pixels = codec.decompress(data).pixels
    np.testing.assert_allclose(pixels.astype(int), expected["pixels"].astype(int), atol=1)


def test_python_functions_do_what_they_say(tmp_path, sample):
    data = gdncodec.compress(sample[:64, :80], quality=70)
    array = gdncodec.decompress(data)
    assert array.shape == (64, 80, 3)
    (tmp_path / "a.gdn").write_bytes(data)
    image = gdncodec.open(tmp_path / "a.gdn")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), array)
    assert gdncodec.compress(Image.fromarray(sample[:64, :80]), quality=70) == data


def test_metadata_and_grey_survive(tmp_path, sample):
    image = Image.fromarray(sample[:40, :40]).convert("L")
    exif = Image.Exif()
    exif[0x0112] = 8
    image.info["exif"] = exif.tobytes()
    image.info["icc_profile"] = b"profile"
    image.info["xmp"] = b"<x/>"
    (tmp_path / "a.gdn").write_bytes(gdncodec.compress(image))
    back = gdncodec.open(tmp_path / "a.gdn")
    assert back.mode == "L"
    assert back.size == (40, 40)
    assert back.info["exif"] == exif.tobytes()
    assert back.info["icc_profile"] == b"profile"
    assert back.info["xmp"] == b"<x/>"


def test_grey_costs_no_more_than_the_same_image_as_rgb(codec, sample):
    grey = Image.fromarray(sample).convert("L")
    assert len(gdncodec.compress(grey)) <= len(gdncodec.compress(grey.convert("RGB")))


def test_grey_has_one_channel_that_can_be_written(sample):
    data = gdncodec.compress(Image.fromarray(sample[:40, :40]).convert("L"))
    array = gdncodec.decompress(data)
    assert array.shape == (40, 40)
    array[0, 0] = 3


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_lossless(tmp_path, sample, mode):
    alpha = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
    image = Image.fromarray(np.dstack([sample[:60, :80], alpha])).convert(mode)
    (tmp_path / "a.gdn").write_bytes(gdncodec.compress(image))
    back = gdncodec.open(tmp_path / "a.gdn")
    assert back.mode == mode
    np.testing.assert_array_equal(np.asarray(back)[..., -1], alpha)
    assert psnr(np.asarray(back)[..., 0], np.asarray(image)[..., 0]) > 34


def test_black_and_white_comes_back_black_and_white(tmp_path, sample):
    image = Image.fromarray(sample).convert("L").point(lambda v: 255 * (v > 100)).convert("1")
    (tmp_path / "a.gdn").write_bytes(gdncodec.compress(image, quality=80))
    back = gdncodec.open(tmp_path / "a.gdn")
    assert back.mode == "1"
    assert (np.asarray(back) == np.asarray(image)).mean() > 0.999


def test_sixteen_bits_survive(tmp_path, codec):
    """A ramp that is finer than 8 bits is decoded closer to it than 8 bits could be."""
    rows, columns = np.mgrid[0:96, 0:128]
    samples = (30000 + 4 * columns + 3 * rows).astype(np.uint16)
    data = codec.compress(from_pil(Image.fromarray(samples)), 100)
    header = unpack(data).header
    assert (header.color_mode, header.depth) == (ColorMode.GREY, 16)
    (tmp_path / "a.gdn").write_bytes(data)
    back = gdncodec.open(tmp_path / "a.gdn")
    assert back.mode == "I;16"
    decoded = np.asarray(back).astype(float)
    assert len(np.unique(decoded)) > 500
    assert len(np.unique(samples >> 8)) == 4
    assert np.abs(decoded - samples).max() < 150


def test_sixteen_bits_are_not_cut_to_eight_on_the_way_in(tiny):
    base = np.full((32, 32, 3), 30000, np.uint16)
    analysis = tiny.engine.at(50).analysis
    assert (analysis(base) != analysis(base + np.uint16(100))).any()


def test_colour_of_sixteen_bits_is_kept_by_the_codec(codec, sample):
    pixels = sample[:64, :64].astype(np.uint16) * 257
    back = codec.decompress(codec.compress(RasterImage(pixels, depth=16), 60))
    assert (back.pixels.dtype, back.depth) == (np.uint16, 16)
    eight = codec.decompress(codec.compress(RasterImage(sample[:64, :64]), 60))
    np.testing.assert_allclose(back.pixels / 257, eight.pixels, atol=0.6)


def test_decompress_returns_all_sixteen_bits(sample):
    samples = sample[:48, :64, 0].astype(np.uint16) * 257 + 100
    array = gdncodec.decompress(gdncodec.compress(Image.fromarray(samples), quality=90))
    assert array.dtype == np.uint16
    assert (array % 257 != 0).any()
    assert np.abs(array.astype(int) - samples).mean() < 5 * 257


def test_sixteen_bits_are_rounded_to_the_nearest_of_eight():
    sixteen = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(eight_bits(sixteen), np.rint(sixteen / 257))


def test_an_unknown_device_is_named(sample):
    with pytest.raises(ValueError, match="nowhere"):
        gdncodec.compress(sample[:16, :16], device="nowhere")


def test_a_model_of_one_rate_refuses_other_qualities(tmp_path, tiny_model, photo):
    import dataclasses

    from gdncodec.modelfile import load_model, save_model

    model = load_model(ModelEntry(tiny_model))
    config = dataclasses.replace(model.config, lambdas=(0.0130, 0.0130))
    save_model(tmp_path / "one.safetensors", dataclasses.replace(model, config=config), {})
    codec = Codec(tmp_path / "one.safetensors")
    fixed = config.fixed_quality
    assert unpack(codec.compress(RasterImage(photo))).header.quality == fixed
    assert codec.compress(RasterImage(photo), fixed) == codec.compress(RasterImage(photo))
    with pytest.raises(ValueError, match=f"model one has one rate, quality {fixed:g}"):
        codec.compress(RasterImage(photo), 50)


def test_the_default_model_is_inside_the_project():
    assert find_model().name == "photo"


def test_a_model_of_a_norm_that_is_not_registered_says_so(tmp_path, tiny_model, monkeypatch):
    import dataclasses

    from gdncodec.modelfile import load_model, save_model
    from gdncodec.norms import NORMS

    model = load_model(ModelEntry(tiny_model))
    config = dataclasses.replace(model.config, norm="mine")
    with monkeypatch.context() as registered:
        registered.setitem(NORMS, "mine", NORMS["gdn1"])
        save_model(tmp_path / "a.safetensors", dataclasses.replace(model, config=config), {})
    with pytest.raises(ModelError, match="unknown norm 'mine'"):
        Codec(tmp_path / "a.safetensors")


def test_using_the_codec_leaves_the_random_numbers_of_torch_alone(tiny_model, photo):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    codec = Codec(tiny_model)
    codec.decompress(codec.compress(RasterImage(photo)))
    assert torch.equal(torch.rand(3), expected)
