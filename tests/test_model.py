import numpy as np
import pytest
import torch
from constriction import stream

from gdncodec.config import ModelConfig
from gdncodec.entropy.bank import cheapest_tables, fit_bank
from gdncodec.entropy.coder import encode_symbols, information
from gdncodec.nn.bottleneck import FactorizedDensity
from gdncodec.nn.model import CodecModel
from gdncodec.nn.nodes import place

CONFIG = ModelConfig(widths=(4, 6, 8), synthesis_widths=(4, 6, 8), latent_channels=6)


def gains_at(network, *qualities):
    return network.gains(place(torch.tensor(qualities), CONFIG.gain_nodes))


@pytest.fixture
def density():
    torch.manual_seed(0)
    made = FactorizedDensity(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return made.double()


def test_the_bins_of_a_density_sum_to_one(density):
    for width in (0.25, 1.0, 3.0):
        values = torch.arange(-2000, 2001, dtype=torch.float64) * width
        grid = values[None, None, :, None].expand(1, 3, -1, 1)
        bits = density(grid, torch.tensor(width, dtype=torch.float64))
        mass = (2.0**-bits).sum(dim=2).flatten()
        torch.testing.assert_close(mass, torch.ones_like(mass), atol=1e-4, rtol=0)


def test_the_median_of_a_density_is_zero(density):
    values = torch.tensor([-500.0, 500.0], dtype=torch.float64)[None, None, :, None].expand(
        1, 3, -1, 1
    )
    half = 2.0 ** -density(values, torch.tensor(1000.0, dtype=torch.float64))
    torch.testing.assert_close(half, torch.full_like(half, 0.5), atol=1e-6, rtol=0)


def test_a_symbol_in_the_far_tail_has_finite_bits_and_a_gradient(density):
    values = torch.tensor([-1e6, 0.0, 1e6], dtype=torch.float64)[None, None, :, None].repeat(
        1, 3, 1, 1
    )
    values.requires_grad_()
    bits = density(values, torch.tensor(1.0, dtype=torch.float64))
    bits.sum().backward()
    assert torch.isfinite(bits).all()
    assert torch.isfinite(values.grad).all()
    assert bits[..., 1, 0].max() < bits[..., 0, 0].min()


def drawn_from(density, count):
    """Return values (1, 3, count, 1) with these densities, by bisection of F_c."""
    wanted = torch.logit(torch.rand(3, 1, count, dtype=torch.float64))
    median = density._cumulative_logits(wanted.new_zeros(3, 1, 1))
    low, high = torch.full_like(wanted, -1e5), torch.full_like(wanted, 1e5)
    for _ in range(60):
        middle = (low + high) / 2
        above = density._cumulative_logits(middle) - median > wanted
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return low.transpose(0, 1)[..., None]


@pytest.mark.parametrize("width", [20.0, 30.0])
@torch.no_grad()
def test_bits_in_training_as_evaluated_and_as_coded_bound_each_other(density, width):
    """TensorFlow Compression's bounds, for values that have the densities.

    With noise, the mean bits are the entropy of a quantiser whose bins are shifted at random. Bins
    that are centred on the peak of a density, and as wide as it is, have less.
    """
    torch.manual_seed(1)
    values, bins = drawn_from(density, 100_000), torch.tensor(width, dtype=torch.float64)
    noise = torch.rand_like(values) - 0.5
    symbols = torch.round(values / width)
    training = density(values + noise * width, bins).sum().item()
    evaluated = density(symbols * width, bins).sum().item()
    assert training > 1.02 * evaluated

    largest = int(symbols.abs().max())
    grid = width * torch.arange(-largest, largest + 1, dtype=torch.float64)
    mass = 2.0 ** -density(grid[None, None, :, None].expand(1, 3, -1, 1), bins)
    counts = np.pad(1e7 * mass[0, :, :, 0].numpy(), ((0, 0), (0, 1)))
    tables = fit_bank(counts, 3)
    of_channel, _ = cheapest_tables(counts, tables)
    flat = symbols.flatten().numpy().astype(np.int32)
    table_of = np.repeat(of_channel, len(flat) // 3)
    expected = information(flat, table_of, tables)
    assert expected == pytest.approx(evaluated, rel=1e-4)
    coder = stream.queue.RangeEncoder()
    encode_symbols(coder, flat, table_of, tables)
    coded = 32 * len(coder.get_compressed())
    assert expected < coded <= 1.005 * evaluated


def test_finer_bins_cost_more_bits(density):
    values = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    costs = [density(values, torch.tensor(w, dtype=torch.float64)).sum() for w in (2.0, 1.0, 0.5)]
    assert costs[0] < costs[1] < costs[2]


def test_gains_start_at_the_root_of_lambda_and_undo_each_other():
    network = CodecModel(CONFIG)
    gain, inverse, width = gains_at(network, *range(0, 101, 4))
    torch.testing.assert_close(gain * inverse, torch.ones_like(gain))
    torch.testing.assert_close(gain * width, torch.ones_like(gain))
    ratio = gain[-1, 0] / gain[0, 0]
    assert ratio.item() == pytest.approx((CONFIG.lambdas[1] / CONFIG.lambdas[0]) ** 0.5, rel=1e-4)


def test_a_channel_that_is_idle_at_one_quality_wakes_evenly_until_the_next():
    network = CodecModel(CONFIG)
    with torch.no_grad():
        network.log_gain[0] = -9.0
    # The qualities at a twentieth, a tenth and a fifth of the range of log lambda.
    quarter, half, whole = gains_at(network, 6.93664, 13.50416, 25.73340)[0]
    torch.testing.assert_close(half, whole / 2, rtol=1e-3, atol=0)
    torch.testing.assert_close(quarter, whole / 4, rtol=1e-3, atol=0)


def test_gains_stay_positive_below_quality_0():
    network = CodecModel(CONFIG)
    with torch.no_grad():
        network.log_gain[0] = -9.0
        network.log_inverse_gain[0] = network.log_width[0] = 9.0
    for values in gains_at(network, -2.0):
        assert (values > 0).all()
        assert values.isfinite().all()


def test_a_sample_does_not_depend_on_its_batch():
    network = CodecModel(CONFIG).eval()
    x = torch.rand(2, 3, 32, 32)
    quality = torch.tensor([20.0, 80.0])
    both = network(x, quality, "round")
    for i in range(2):
        one = network(x[i : i + 1], quality[i : i + 1], "round")
        torch.testing.assert_close(one.x_hat[0], both.x_hat[i], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.bits[0], both.bits[i], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("quantization", ["noise", "mixed", "round"])
def test_every_quantisation_gives_gradients_to_every_parameter(quantization):
    network = CodecModel(CONFIG)
    out = network(torch.rand(1, 3, 32, 32), torch.tensor([55.0]), quantization)
    (out.bits.sum() + out.x_hat.square().sum()).backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
