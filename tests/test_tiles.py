import dataclasses
import weakref

import numpy as np
import pytest

from gdncodec import decoder
from gdncodec.catalog import ModelEntry
from gdncodec.codec import Codec
from gdncodec.config import ModelConfig
from gdncodec.container import ChunkType, pack, unpack
from gdncodec.encoder import encoder
from gdncodec.errors import FormatError, ImageError
from gdncodec.images.raster import RasterImage
from gdncodec.modelfile import OperatingPoint, load_model, save_model
from gdncodec.tiles import transforms as tiled
from gdncodec.tiles.geometry import (
    ANALYSIS_HALO,
    SYNTHESIS_HALO,
    Halo,
    Region,
    slices,
    tiles,
    window_of,
)
from gdncodec.tiles.transforms import Tiling


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return Codec(tiny_model)


@pytest.fixture(scope="module")
def large():
    """An image of two by three slices, the last ones narrow, (1090, 2060, 3) uint8."""
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 255, (37, 70, 3))
    return np.kron(coarse, np.ones((30, 30, 1)))[:1090, :2060].astype(np.uint8)


@pytest.fixture(scope="module")
def file(tiny, large):
    return tiny.compress(RasterImage(large), 60)


def whole(codec):
    """What takes the images of a codec as one tile."""
    tiling = Tiling(codec.model.config)
    tiling.whole_analysis = tiling.whole_synthesis = True
    return tiling


def test_slices_cover_the_latent_in_raster_order():
    grid = slices(70, 130)
    assert [(r.start, c.start) for r, c in grid] == [
        (0, 0), (0, 64), (0, 128), (64, 0), (64, 64), (64, 128),
    ]  # fmt: skip
    assert grid[-1] == (slice(64, 70), slice(128, 130))


def test_tiles_leave_no_seams_in_the_latent(tiny, large):
    gain, transforms = tiny.model.at(80).gain[:, None, None], tiny.engine.at(80)
    at_once = list(whole(tiny).latents(large, transforms))
    tiled = list(Tiling(tiny.model.config).latents(large, transforms))
    assert len(at_once) == len(tiled) == 6
    flips = sum(
        (np.rint(a * gain) != np.rint(b * gain)).sum() for a, b in zip(at_once, tiled, strict=True)
    )
    assert flips <= 1e-5 * sum(y.size for y in tiled)


def test_tiles_leave_no_seams_in_the_pixels(tiny, large):
    tiling, transforms = Tiling(tiny.model.config), tiny.engine.at(80)
    latents = list(tiling.latents(large, transforms))
    region = Region(0, 0, 2060, 1090)
    decoded = []
    for way in (whole(tiny), tiling):
        pixels = np.zeros_like(large)
        load = latents.__getitem__
        for where, part in way.pixels((1090, 2060), load, region, transforms):
            pixels[where] = part
        decoded.append(pixels.astype(int))
    differences = np.abs(decoded[0] - decoded[1])
    assert differences.max() <= 1
    assert (differences > 0).mean() <= 1e-4


def test_tiles_cost_no_bytes(tiny, large, file, monkeypatch):
    monkeypatch.setattr(tiny.encoder._tiling, "whole_analysis", True)
    assert len(tiny.compress(RasterImage(large), 60)) == pytest.approx(len(file), rel=0.01)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("which", ["ANALYSIS_HALO", "SYNTHESIS_HALO"])
def test_the_halos_are_no_wider_than_needed(tiny, large, monkeypatch, which, side):
    """With one position less, tiles show."""
    photo = large[:40, 20:1120]  # what tiles see is not flat where they begin
    halo = {"ANALYSIS_HALO": ANALYSIS_HALO, "SYNTHESIS_HALO": SYNTHESIS_HALO}[which]
    tiling, transforms = Tiling(tiny.model.config), tiny.engine.at(80)
    right = list(tiling.latents(photo, transforms))
    region = Region(0, 0, 1100, 40)

    def pixels():
        parts = tiling.pixels((40, 1100), lambda n: right[n] * 8, region, transforms)
        return [part.astype(int) for _, part in parts]

    expected = right if which == "ANALYSIS_HALO" else pixels()
    monkeypatch.setattr(tiled, which, halo._replace(**{side: getattr(halo, side) - 1}))
    found = list(tiling.latents(photo, transforms)) if which == "ANALYSIS_HALO" else pixels()
    assert max(np.abs(a - b).max() for a, b in zip(expected, found, strict=True)) > 1e-3


def test_a_region_is_what_the_whole_image_shows_there(tiny, file):
    decoded = tiny.decompress(file).pixels.astype(int)
    for region in ((1000, 900, 150, 190), (0, 0, 70, 33), (2000, 1020, 60, 9), (5, 7, 1, 1)):
        x, y, width, height = region
        found = tiny.decompress(file, region=Region(*region)).pixels
        differences = np.abs(decoded[y : y + height, x : x + width] - found)
        assert differences.max() <= 1
        assert (differences > 0).mean() <= 1e-3


@pytest.mark.parametrize(
    ("region", "needed"),
    [
        (Region(100, 100, 99, 99), [0]),
        (Region(0, 0, 1, 1), [0]),
        (Region(1023, 10, 1, 1), [0, 1]),
        (Region(1000, 1000, 60, 60), [0, 1, 3, 4]),
        (Region(1050, 1050, 30, 30), [4]),
        (Region(1020, 1080, 200, 10), [3, 4]),
        (Region(2059, 1089, 1, 1), [4, 5]),
    ],
)
def test_a_region_decodes_only_the_slices_it_needs(tiny, file, monkeypatch, region, needed):
    parts = tiny.decoder.coded_slices(unpack(file))
    decoded = []
    original = OperatingPoint.decode

    def counting(self, data, shape):
        decoded.append([p.data for p in parts].index(data))
        return original(self, data, shape)

    monkeypatch.setattr(OperatingPoint, "decode", counting)
    tiny.decompress(file, region=region)
    assert sorted(decoded) == needed


@pytest.mark.parametrize(
    "region", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 204, 5), (200, 149, 3, 2), (5, 5, -2, 4)]
)
def test_a_region_outside_the_image_is_refused(tiny, photo, region):
    data = tiny.compress(RasterImage(photo))
    with pytest.raises(ValueError, match="not inside the image of 203 x 150"):
        tiny.decompress(data, region=Region(*region))


def test_the_alpha_of_a_region_comes_along(tiny, photo):
    alpha = np.random.default_rng(0).integers(0, 256, (150, 203), np.uint8)
    data = tiny.compress(RasterImage(photo, alpha=alpha))
    found = tiny.decompress(data, region=Region(11, 22, 33, 44)).alpha
    np.testing.assert_array_equal(found, alpha[22:66, 11:44])


def test_window_of_a_region_is_the_positions_it_touches():
    assert window_of(Region(0, 0, 1, 1)) == (slice(0, 1), slice(0, 1))
    assert window_of(Region(15, 16, 2, 17)) == (slice(1, 3), slice(0, 2))


class Blocks:
    """Transforms whose latent is one sample of 16 x 16 pixels."""

    def analysis(self, x):
        return np.float32(x[::16, ::16, 0])[None]

    def synthesis(self, y, depth=8):
        pixels = np.repeat(np.repeat(y[0], 16, 0), 16, 1)
        return np.dstack([pixels] * 3).astype(np.uint8)


@pytest.mark.parametrize("shape", [(40, 5000), (5000, 40), (3000, 3100), (1, 1)])
def test_every_slice_is_loaded_once_and_forgotten_early(shape):
    tiling = Tiling(ModelConfig())
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels += (np.add.outer(np.arange(shape[0]) // 16, np.arange(shape[1]) // 16) % 256)[
        ..., None
    ].astype(np.uint8)
    latents = list(tiling.latents(pixels, Blocks()))
    loaded, alive, most = [], weakref.WeakValueDictionary(), 0

    def load(number):
        loaded.append(number)
        alive[number] = y = latents[number].copy()
        return y

    found = np.zeros_like(pixels)
    region = Region(0, 0, shape[1], shape[0])
    for where, part in tiling.pixels(shape, load, region, Blocks()):
        found[where] = part
        most = max(most, len(alive))
    np.testing.assert_array_equal(found, pixels)
    assert sorted(loaded) == list(range(len(latents)))
    assert most <= 2 * min(-(-side // 1024) for side in shape) + 3


def test_progress_counts_tiles(tiny, photo):
    steps = []
    tiny.compress(RasterImage(photo), progress=lambda *step: steps.append(step))
    assert steps == [(1, 1)]


@pytest.fixture(scope="module")
def seeing_all(tiny_model, tmp_path_factory):
    """A codec whose norms measure the whole image."""
    import torch

    from gdncodec.nn.model import CodecModel

    torch.manual_seed(1)
    model = load_model(ModelEntry(tiny_model))
    config = dataclasses.replace(model.config, norm="instance", synthesis_norm="instance")
    network = CodecModel(config)
    tensors = {k: v for k, v in model.tensors.items() if not k.startswith(("ana", "syn"))}
    for name, part in (("analysis", network.g_a), ("synthesis", network.g_s)):
        for key, value in part.state_dict().items():
            tensors[f"{name}.{key}"] = value.numpy()
    path = tmp_path_factory.mktemp("instance") / "instance.safetensors"
    save_model(path, dataclasses.replace(model, config=config, tensors=tensors), {})
    return Codec(path)


def test_a_norm_that_measures_the_whole_image_gets_the_whole_image(seeing_all, large):
    """Tiles would give another result, so there is one extent, in slices all the same."""
    photo = large[:1040, :1100]
    data = seeing_all.compress(RasterImage(photo), 60)
    parts = seeing_all.decoder.coded_slices(unpack(data))
    assert len(parts) == 4
    point, transforms = seeing_all.model.at(60), seeing_all.engine.at(60)
    symbols = np.empty((12, 65, 69), np.int32)
    for where, part in zip(slices(65, 69), parts, strict=True):
        symbols[:, where[0], where[1]] = point.decode(*part)
    y_hat = point.dequantise(symbols)
    expected = transforms.synthesis(y_hat)[:1040, :1100]
    found = seeing_all.decompress(data).pixels
    np.testing.assert_array_equal(found, expected)
    tile = transforms.synthesis(y_hat[:, :30, :30].copy())[:400, :400]
    assert np.abs(tile.astype(int) - expected[:400, :400]).max() > 1


def test_a_norm_that_measures_the_whole_image_decodes_no_regions(seeing_all, photo):
    data = seeing_all.compress(RasterImage(photo))
    with pytest.raises(ValueError, match="no regions: its norm instance"):
        seeing_all.decompress(data, region=Region(0, 0, 5, 5))


def test_a_norm_that_measures_the_whole_image_has_a_limit(seeing_all, photo, monkeypatch):
    data = seeing_all.compress(RasterImage(photo))
    monkeypatch.setattr(tiled, "MAX_WHOLE_PIXELS", 30000)
    monkeypatch.setattr(encoder, "MAX_WHOLE_PIXELS", 30000)
    monkeypatch.setattr(decoder, "MAX_WHOLE_PIXELS", 30000)
    with pytest.raises(ImageError, match="measures all of an image"):
        seeing_all.compress(RasterImage(photo))
    with pytest.raises(FormatError, match="over the limit"):
        seeing_all.decompress(data)


def test_tiles_know_their_halo():
    (tile,) = tiles(10, 10, Halo(1, 2))
    assert tile.inner == tile.outer
    inside = tiles(200, 200, Halo(1, 2))[5]
    assert inside.inner == (slice(64, 128), slice(64, 128))
    assert inside.outer == (slice(63, 130), slice(63, 130))


def test_a_file_with_too_few_slices_raises_format_error(tiny, file):
    container = unpack(file)
    chunks = {ChunkType.LATENTS: container.chunks[ChunkType.LATENTS][:20]}
    with pytest.raises(FormatError):
        tiny.decompress(pack(container.header, chunks))
