"""Layers with a memory: schedules, checkpoints, statistics."""

import copy

import pytest
import torch

from gdncodec.norms import make_norm
from gdncodec.norms.centred import CentredConv2d
from gdncodec.norms.mabn import MABN
from gdncodec.norms.statistics import freeze_stats
from gdncodec.norms.switchable import SwitchableNorm, average_batch_statistics


def batches(count, shape=(3, 4, 3, 2)):
    generator = torch.Generator().manual_seed(3)
    options = {"generator": generator, "dtype": torch.float64}
    return [
        (torch.randn(shape, **options) * (1 + i % 3), torch.randn(shape, **options))
        for i in range(count)
    ]


def train_on(layer, data):
    """Take a step of gradient descent on each batch; return the outputs and input gradients."""
    seen = []
    for x, cotangent in data:
        x = x.clone().requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.backward(cotangent)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter -= 0.01 * parameter.grad
        seen.append((y.detach(), x.grad))
    return seen


class PlainMABN:
    """The recipe of the paper in numbers of one step at a time, without autograd."""

    def __init__(self, channels, window, warmup):
        zeros = torch.zeros(window, channels, dtype=torch.float64)
        self.x2, self.gz, self.step = zeros, zeros.clone(), 0
        self.window, self.warmup = window, warmup
        self.run = torch.ones(channels, dtype=torch.float64)

    def __call__(self, x, g, weight, bias):
        self.step += 1
        t, k = self.step, self.window

        def column(v):
            return v[None, :, None, None]

        x2 = (x**2).mean((0, 2, 3))
        self.x2[t % k] = x2
        small = t <= k or t < self.warmup
        var = x2 if small else self.x2.mean(0)
        r = torch.ones_like(var)
        if t > max(1000, self.warmup):
            r = ((var + 1e-5).sqrt() / (self.run + 1e-5).sqrt()).clamp(1 / 5, 5)
        self.run = 0.98 * self.run + 0.02 * var
        z = x / column((var + 1e-5).sqrt())
        y = column(weight * r) * z + column(bias)
        dz = g * column(weight * r)
        gz = (dz * z).mean((0, 2, 3))
        self.gz[t % k] = gz
        mean = gz if small else self.gz.mean(0)
        dx = (dz - z * column(mean)) / column((var + 1e-5).sqrt())
        return y, dx, (g * column(r) * z).sum((0, 2, 3)), g.sum((0, 2, 3))


@pytest.mark.parametrize("start", [0, 996])
def test_mabn_follows_the_paper_through_warm_up_averages_and_renormalisation(start):
    layer = MABN(4, window=3, warmup=6).double()
    plain = PlainMABN(4, 3, 6)
    layer.steps.fill_(start)
    plain.step = start
    # A small running variance, so that the correction reaches its clip as well.
    layer.running_var.copy_(torch.tensor([0.01, 1.0, 100.0, 1e4]))
    plain.run = layer.running_var.clone()
    for x, cotangent in batches(12):
        x = x.requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.backward(cotangent)
        weight, bias = layer.weight.detach(), layer.bias.detach()
        wanted = plain(x.detach(), cotangent, weight, bias)
        for ours, theirs in zip(
            (y, x.grad, layer.weight.grad, layer.bias.grad), wanted, strict=True
        ):
            torch.testing.assert_close(ours.detach(), theirs, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(layer.running_var, plain.run, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(layer.window_gz, plain.gz, atol=1e-12, rtol=1e-12)


def test_mabn_takes_its_running_variance_from_the_first_batch_if_asked():
    data = [x * 3 for x, _ in batches(20)]
    for first_batch in (False, True):
        layer = MABN(4, first_batch=first_batch).double()
        run = torch.ones(4, dtype=torch.float64)
        for t, x in enumerate(data):
            layer(x)
            new = x.square().mean((0, 2, 3))
            run = new if first_batch and t == 0 else 0.98 * run + 0.02 * new
        torch.testing.assert_close(layer.running_var, run)


def test_mabn_by_pairs_refuses_an_odd_batch():
    with pytest.raises(ValueError, match="even number of images in training, got 3"):
        make_norm("mabn:pairs=true", 4)(torch.randn(3, 4, 2, 2))


@pytest.mark.parametrize("pairs", [False, True])
def test_a_second_derivative_of_mabn_raises_an_error_instead_of_being_none(pairs):
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(
        make_norm(f"mabn:pairs={pairs}", 4)(x).square().sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError, match="cannot differentiate mabn twice"):
        torch.autograd.grad(grad.sum(), x)


def test_the_gradient_of_mabn_is_exact_in_the_warm_up():
    layer = MABN(3, warmup=10**6).double()

    def function(x, weight, bias):
        fresh = copy.deepcopy(layer)
        state = {"weight": weight, "bias": bias}
        return torch.func.functional_call(fresh, state, (x,))

    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(function, (x, *parameters))


@pytest.mark.parametrize("at", [1, 4, 7])
@pytest.mark.parametrize(
    ("spec", "start"),
    [
        ("mabn:window=3,warmup=6", 0), ("mabn:window=3,warmup=6", 996),
        ("mabn:window=3,pairs=true", 0), ("mabn:window=3,pairs=true", 96),
        ("batch:momentum=none", 0), ("switchable", 0),
    ],
)  # fmt: skip
def test_a_run_resumed_from_a_checkpoint_goes_on_exactly(spec, start, at):
    def fresh():
        layer = make_norm(spec, 4).double()
        if start:
            layer.steps.fill_(start)
        return layer

    data = batches(10, (4, 4, 3, 2))
    whole = train_on(fresh(), data)
    first = fresh()
    train_on(first, data[:at])
    second = make_norm(spec, 4).double()
    second.load_state_dict(first.state_dict())
    for ours, theirs in zip(train_on(second, data[at:]), whole[at:], strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_mabn_allows_two_forwards_before_a_backward():
    layer = MABN(4, window=2, warmup=1)
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    (layer(x) + layer(2 * x) + layer(3 * x)).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert layer.steps == 3


def test_mabn_takes_batches_of_any_size():
    layer = MABN(4, window=2, warmup=1)
    for size in (3, 1, 2, 5):
        layer(torch.randn(size, 4, 3, 3, requires_grad=True)).sum().backward()
    assert layer.steps == 4


def test_centred_weights_lose_the_brightness_of_a_flat_image():
    layer = CentredConv2d(3, 4, 3, bias=False)
    dark, bright = (layer(torch.full((1, 3, 5, 5), v)) for v in (0.2, 0.8))
    torch.testing.assert_close(dark, bright, atol=1e-5, rtol=0)
    weight = layer.effective_weight()
    torch.testing.assert_close(weight.mean((1, 2, 3)), torch.zeros(4), atol=1e-7, rtol=0)


def test_switchable_is_each_of_its_parts_where_the_softmax_says_so():
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    for part, name in enumerate(("instance", "layer", "batch")):
        layer = SwitchableNorm(4).double()
        with torch.no_grad():
            for logits in (layer.mean_weight, layer.var_weight):
                logits.fill_(-1e3)
                logits[part] = 1e3
        torch.testing.assert_close(layer(x), make_norm(name, 4).double()(x))


def test_switchable_keeps_its_variances_with_a_large_mean():
    layer = SwitchableNorm(4)
    torch.manual_seed(0)
    x = 1000 + 1e-1 * torch.randn(3, 4, 16, 16)
    y = layer(x)
    wanted = copy.deepcopy(layer).double()(x.double())
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y.double(), wanted, atol=2e-2, rtol=0)


def test_switchable_without_instance_statistics_takes_rank_two():
    layer = SwitchableNorm(4, instance=False).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    y = layer(x)
    mean = (x.mean(1, keepdim=True) + x.mean(0)) / 2
    var = (x.var(1, keepdim=True, correction=0) + x.var(0, correction=0)) / 2
    torch.testing.assert_close(y, (x - mean) / (var + 1e-5).sqrt())


def test_averages_over_batches_are_those_of_all_images_together():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), SwitchableNorm(4), torch.nn.BatchNorm2d(4))
    net = net.double().eval()
    freeze_stats(net)
    before = net[2].running_mean.clone()
    parts = [torch.randn(2, 3, 6, 6, dtype=torch.float64) + i for i in range(5)]
    average_batch_statistics(net, parts)
    features = net[0](torch.cat(parts)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(net[1].running_mean, features.mean(1))
    torch.testing.assert_close(net[1].running_var, features.var(1, correction=0))
    assert torch.equal(net[2].running_mean, before)
    assert net[1].frozen
    assert not net[1].training
    net[1].frozen = False
    net[1].train()(net[0](parts[0]))  # the moving average takes over again
    assert not torch.allclose(net[1].running_mean, features.mean(1))


def test_averages_need_batches_and_a_way_to_run_them():
    layer = SwitchableNorm(4)
    with pytest.raises(ValueError, match="no batch"):
        average_batch_statistics(layer, [])
    average_batch_statistics(torch.nn.Identity(), [])
    seen = []
    average_batch_statistics(layer, [1, 2], lambda i: seen.append(layer(torch.randn(i, 4, 2, 2))))
    assert len(seen) == 2
