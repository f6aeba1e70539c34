from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gdncodec.catalog import find_model
from gdncodec.codec import Codec
from gdncodec.container import ChunkType, unpack
from gdncodec.encoder.refinement import Edges, refine
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
        expected = pytest.approx((gradient * direction).sum(), abs=0.015 * norm)
        assert slope(direction, 0.002) == expected


def test_the_curvature_is_the_mean_squared_response(transforms, decoded):
    """Of three channels together: with its few probes that of a single one is noisy."""
    y = decoded
    curvature = transforms.curvature(y)
    channels = np.argsort(np.abs(y).mean(axis=(1, 2)))[-3:]  # not by the estimate: it would be high
    found = []
    for channel, row, column in np.ndindex(len(channels), *y.shape[1:]):
        ends = []
        for step in (0.05, -0.05):
            moved = y.copy()
            moved[channels[channel], row, column] += step
            ends.append(transforms.synthesis(moved, 16) / 65535)
        found.append(np.square((ends[0] - ends[1]) / 0.1).sum())
    assert curvature[channels].mean() == pytest.approx(np.mean(found), rel=0.25)


def test_prices_are_differences_of_the_information(model, point):
    """Of symbols on which no context depends: of the last group, in the last phase."""
    contexts = model.contexts
    groups = contexts.group_of_channel[contexts.set_of_row[60]]
    coded = ~point.silent
    last = np.flatnonzero(coded & (groups == groups[coded].max()))[0]
    rng = np.random.default_rng(0)
    symbols = np.rint(rng.laplace(0, 1, (groups.size, 3, 4))).astype(np.int32)
    symbols[~coded] = 0
    more, less = point.prices(symbols)
    before = point.information(symbols)
    for row, column in ((0, 1), (1, 2), (2, 3)):
        for step, price in ((1, more), (-1, less)):
            moved = symbols.copy()
            moved[last, row, column] += step
            after = point.information(moved)
            assert price[last, row, column] == pytest.approx(after - before, abs=1e-3)
    assert np.isinf(more[~coded]).all()
    assert np.isinf(less[~coded]).all()


def test_more_effort_costs_less_for_what_it_gives(sample):
    codec = Codec()
    photo = RasterImage(sample)
    costs = []
    for effort in (0, 2, 5):
        data = codec.compress(photo, 50, effort=effort)
        mse = np.square(codec.decompress(data).pixels.astype(float) - sample).mean()
        bpp = 8 * len(unpack(data).chunks[ChunkType.LATENTS]) / sample[..., 0].size
        costs.append(bpp + codec.model.at(50).rate_weight * mse)
    assert costs[1] < 0.995 * costs[0]
    assert costs[2] < 0.995 * costs[1]


class _Quadratic:
    """A synthesis of its own: every latent is one sample, and x_hat = y."""

    def error_gradient(self, y, x, where):
        return 2 * y

    def curvature(self, y):
        return np.ones(len(y), np.float32)


class _FreeOfCharge:
    """A model whose latents are its symbols, and whose symbols cost nothing."""

    rate_weight = 3 / 255**2

    def __init__(self, channels):
        self.inverse_gain = np.ones(channels, np.float32)

    def dequantise(self, symbols):
        return symbols.astype(np.float32)

    def prices(self, symbols):
        return np.zeros(symbols.shape, np.float32), np.zeros(symbols.shape, np.float32)


def _refined(symbols, edges, rounds=200):
    rows, columns = symbols.shape[1:]
    pixels = np.zeros((rows * 16, columns * 16, 3), np.uint8)
    point = _FreeOfCharge(len(symbols))
    return refine(symbols, pixels, point, _Quadratic(), rounds=rounds, edges=edges)


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (64, 10), (50, 64)])
def test_symbols_move_towards_the_least_cost(shape):
    symbols = np.random.default_rng(0).integers(-9, 10, (2, *shape)).astype(np.int32)
    assert np.abs(_refined(symbols, WHOLE)).max() <= 2  # caution stops where 2 |k| < 4
    np.testing.assert_array_equal(_refined(symbols, WHOLE, rounds=0), symbols)


def test_symbols_near_an_edge_that_goes_on_stay():
    symbols = np.full((1, 20, 12), 9, np.int32)
    found = _refined(symbols, Edges(top=False, bottom=True, left=True, right=False))
    assert (found[:, :4] == 9).all()
    assert (found[:, :, -4:] == 9).all()
    assert (found[:, 4:, :-4] < 9).all()


def test_a_slice_too_small_to_see_its_pixels_stays():
    symbols = np.full((1, 6, 6), 9, np.int32)
    edges = Edges(top=False, bottom=False, left=False, right=False)
    np.testing.assert_array_equal(_refined(symbols, edges), symbols)


@pytest.mark.parametrize("effort", [-1, 10, 2.5])
def test_an_effort_out_of_range_is_refused(tiny_model, photo, effort):
    with pytest.raises(ValueError, match="effort must be from 0 to 9"):
        Codec(tiny_model).compress(RasterImage(photo), effort=effort)
