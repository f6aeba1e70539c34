from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gdncodec.catalog import find_model
from gdncodec.codec import Codec
from gdncodec.container import ChunkType, unpack
from gdncodec.encoder.refinement import Edges, _Schedule, _soft, refine
from gdncodec.engines.torch import TorchEngine
from gdncodec.images.raster import RasterImage
from gdncodec.modelfile import load_model

SAMPLE = Path(__file__).parents[1] / "data" / "astronaut.png"
WHOLE = Edges(top=True, bottom=True, left=True, right=True)


@pytest.fixture(scope="module")
def model():
    return load_model(find_model(None))


@pytest.fixture(scope="module")
def point(model):
    return model.at(60)


@pytest.fixture(scope="module")
def transforms(model):
    return TorchEngine(model).at(60)


@pytest.fixture(scope="module")
def sample():
    with Image.open(SAMPLE) as image:
        return np.array(image.convert("RGB"))[100:356, 100:356]


@pytest.fixture(scope="module")
def pale(sample):
    """Nothing near black or white, where the samples would be clipped."""
    return sample // 2 + 64


@pytest.fixture(scope="module")
def decoded(point, transforms, pale):
    """The latent that the synthesis gets, (M, 8, 8)."""
    return point.dequantise(point.quantise(transforms.analysis(pale[:128, :128].copy())))


def squared_error(transforms, y, x, where=np.s_[:, :]):
    """In samples of [0, 1], with 16 bits so that small steps show."""
    return np.square(transforms.synthesis(y, 16)[where] / 65535 - x / 255).sum()


def test_the_gradient_is_that_of_the_squared_error(transforms, decoded, pale):
    y = decoded[:, :4, :6].copy()
    where = (slice(16, 64), slice(0, 80))
    x = pale[20:68, 3:83]  # another image: errors that are large
    gradient = transforms.error_gradient(y, x, where)
    norm = np.linalg.norm(gradient)

    def slope(direction, step):
        ends = [squared_error(transforms, y + s * step * direction, x, where) for s in (1, -1)]
        return (ends[0] - ends[1]) / (2 * step)

    assert slope(gradient / norm, 0.1) == pytest.approx(norm, rel=0.005)
    for seed in range(3):
        # Many latents are 0, where the norms have a kink; and a slope may be small by chance.
        direction = np.random.default_rng(seed).normal(size=y.shape).astype(np.float32)
        expected = pytest.approx((gradient * direction).sum(), abs=0.015 * float(norm))
        assert slope(direction, 0.002) == expected


def test_prices_are_differences_of_the_information(model, point):
    """Of symbols on which no context depends: of the last group, in the last phase."""
    contexts = model.contexts
    groups = contexts.group_of_channel[contexts.set_of_row[60]]
    coded = ~point.silent
    last = np.flatnonzero(coded & (groups == groups[coded].max()))[0]
    rng = np.random.default_rng(0)
    symbols = np.rint(rng.laplace(0, 1, (groups.size, 3, 4))).astype(np.int32)
    symbols[~coded] = 0
    prices = point.prices_above(symbols, symbols)
    before = point.information(symbols)
    for row, column in ((0, 1), (1, 2), (2, 3)):
        moved = symbols.copy()
        moved[last, row, column] += 1
        after = point.information(moved)
        assert prices[last, row, column] == pytest.approx(after - before, abs=1e-3)
    assert not prices[~coded].any()


def test_more_effort_costs_less_for_what_it_gives(sample):
    codec = Codec()
    photo = RasterImage(sample)
    costs = []
    for effort in (0, 2, 5):
        data = codec.compress(photo, 50, effort=effort)
        mse = np.square(codec.decompress(data).pixels.astype(float) - sample).mean()
        bpp = 8 * len(unpack(data).chunks[ChunkType.LATENTS]) / sample[..., 0].size
        costs.append(bpp + codec.model.at(50).rate_weight * mse)
    assert costs[1] < 0.97 * costs[0]
    assert costs[2] < 0.99 * costs[1]


class _Quadratic:
    """A synthesis of its own: every latent is one sample, and x_hat = y."""

    def error_gradient(self, y, x, where):
        return 2 * y


class _FreeOfCharge:
    """A model whose latents are its symbols, and whose symbols cost nothing."""

    rate_weight = 3 / 255**2

    def __init__(self, channels):
        self.inverse_gain = np.ones(channels, np.float32)
        self.silent = np.zeros(channels, bool)

    def scaled(self, latent):
        return latent

    def quantise(self, latent):
        return np.rint(latent).astype(np.int32)

    def dequantise(self, symbols):
        return symbols.astype(np.float32)

    def prices_above(self, symbols, lower):
        return np.zeros(symbols.shape, np.float32)


def _refined(latent, edges, steps=12):
    rows, columns = latent.shape[1:]
    pixels = np.zeros((rows * 16, columns * 16, 3), np.uint8)
    point = _FreeOfCharge(len(latent))
    return refine(latent, pixels, point, _Quadratic(), steps=steps, edges=edges)


@pytest.mark.parametrize("steps", [12, 48])
@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (64, 10), (50, 64)])
def test_symbols_move_towards_the_least_cost(shape, steps):
    latent = np.random.default_rng(0).uniform(-3, 3, (2, *shape)).astype(np.float32)
    rounded = np.rint(latent)
    found = _refined(latent, WHOLE, steps)
    assert (np.abs(found) <= np.abs(rounded)).mean() > 0.97
    assert np.square(found).sum() <= np.square(rounded).sum()
    np.testing.assert_array_equal(_refined(latent, WHOLE, steps=0), rounded)


def test_symbols_near_an_edge_that_goes_on_are_rounded():
    latent = np.full((1, 20, 12), 2.6, np.float32)
    found = _refined(latent, Edges(top=False, bottom=True, left=True, right=False))
    assert (found[:, :4] == 3).all()
    assert (found[:, :, -4:] == 3).all()
    assert (found[:, 4:, :-4] < 3).all()


def test_a_slice_too_small_to_see_its_pixels_is_rounded():
    latent = np.full((1, 6, 6), 2.6, np.float32)
    edges = Edges(top=False, bottom=False, left=False, right=False)
    assert (_refined(latent, edges) == 3).all()


@pytest.mark.parametrize("steps", [1, 48])
def test_the_share_of_the_upper_symbol_has_the_slope_that_is_given(steps):
    schedule = _Schedule.of(steps)
    d = np.linspace(0.01, 0.99, 99)
    noise = np.random.default_rng(0).logistic(size=99) if schedule.random else None
    for step in {0, steps - 1}:
        temperature = schedule.temperature(step, steps)
        share, slope = _soft(d, temperature, noise)
        ends = [_soft(d + h, temperature, noise)[0] for h in (1e-6, -1e-6)]
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-6)
        assert ((share > 0.5) == (d > 0.5)).all() or schedule.random


def test_silent_channels_stay_zero(model, transforms, sample):
    point = model.at(0)
    assert point.silent.any()
    latent = transforms.analysis(sample)
    symbols = refine(latent, sample, point, TorchEngine(model).at(0), steps=3, edges=WHOLE)
    assert not symbols[point.silent].any()
    assert symbols.any()


@pytest.mark.parametrize("effort", [-1, 10, 2.5])
def test_an_effort_out_of_range_is_refused(tiny_model, photo, effort):
    with pytest.raises(ValueError, match="effort must be from 0 to 9"):
        Codec(tiny_model).compress(RasterImage(photo), effort=effort)
