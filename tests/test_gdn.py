import pytest
import torch

from gdncodec.norms.bound import lower_bound
from gdncodec.norms.gdn import GDN, GDN1, FixedGDN

LAYERS = pytest.mark.parametrize("layer", [GDN, GDN1])
BOTH_WAYS = pytest.mark.parametrize("inverse", [False, True])
SHAPES = [(3, 6), (3, 6, 5), (2, 6, 4, 3), (2, 6, 2, 3, 4)]


def dense(layer, channels=6, *, inverse=False):
    """Build a float64 layer with a dense, asymmetric gamma, some of it below its bound."""
    torch.manual_seed(5)
    made = layer(channels, inverse=inverse).double()
    with torch.no_grad():
        made.gamma.copy_(0.4 * torch.rand(channels, channels) - 0.05)
        made.beta.copy_(torch.rand(channels) + 0.1)
        made.beta[0] = -0.5
    return made


def reference(made, x):
    """Write the formula down once more, index by index."""
    beta = made.beta.clamp(min=(1e-6 + 2**-36) ** 0.5) ** 2 - 2**-36
    gamma = made.gamma.clamp(min=2**-18) ** 2 - 2**-36
    one = isinstance(made, GDN1)
    pool = torch.einsum("ij,njl->nil", gamma, (x.abs() if one else x**2).reshape(*x.shape[:2], -1))
    pool = (pool + beta[:, None]).reshape(x.shape)
    pool = pool if one else pool**0.5
    return x * pool if made.inverse else x / pool


@LAYERS
@BOTH_WAYS
@pytest.mark.parametrize("shape", SHAPES)
def test_the_formula_holds_with_a_dense_asymmetric_gamma(layer, inverse, shape):
    made = dense(layer, inverse=inverse)
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(made(x), reference(made, x), atol=1e-12, rtol=1e-12)


@LAYERS
@BOTH_WAYS
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_every_rank_are_those_of_the_formula(layer, inverse, shape):
    made = dense(layer, inverse=inverse)
    with torch.no_grad():  # above the bounds, so that the formula's own gradient is right
        made.beta.abs_().add_(0.1)
        made.gamma.abs_().add_(0.01)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(shape, dtype=torch.float64)
    wanted = torch.autograd.grad((reference(made, x) * weight).sum(), [x, *made.parameters()])
    got = torch.autograd.grad((made(x) * weight).sum(), [x, *made.parameters()])
    torch.testing.assert_close(got, wanted, atol=1e-11, rtol=1e-11)


@LAYERS
@BOTH_WAYS
def test_gradcheck(layer, inverse):
    made = dense(layer, 3, inverse=inverse)
    with torch.no_grad():
        made.beta.abs_().add_(0.1)
        made.gamma.abs_().add_(0.01)
    for shape in ((2, 3), (2, 3, 4), (1, 3, 2, 2)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(made, (x,))


@LAYERS
@BOTH_WAYS
def test_the_gradient_at_zero_is_that_of_the_limit(layer, inverse):
    made = dense(layer, inverse=inverse)
    x = torch.zeros(1, 6, 2, 2, dtype=torch.float64, requires_grad=True)
    y = made(x)
    y.sum().backward()
    assert not y.any()
    power = (0.5 if layer is GDN else 1) * (1 if inverse else -1)
    scale = made.effective_parameters(torch.float64)[0] ** power
    torch.testing.assert_close(x.grad, scale.view(1, -1, 1, 1).expand_as(x))


@pytest.mark.parametrize("shape", [(2, 6), (1, 6, 5), (1, 6, 2, 2)])
def test_a_second_derivative_raises_an_error_instead_of_being_none_or_wrong(shape):
    made = dense(GDN)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    cotangent = torch.ones_like(x, requires_grad=True)
    for first in (x, made.beta, made.gamma):
        (grad,) = torch.autograd.grad(made(x), first, cotangent, create_graph=True)
        for second in (x, made.beta, made.gamma, cotangent):
            with pytest.raises(RuntimeError, match="cannot differentiate gdn twice"):
                torch.autograd.grad(grad.sum(), second, retain_graph=True)
        with pytest.raises(RuntimeError, match="cannot differentiate gdn twice"):
            grad.sum().backward()


@BOTH_WAYS
@LAYERS
def test_the_inverse_form_undoes_the_layer_when_it_is_given_the_exact_output(layer, inverse):
    """Solve for the input: (I - diag(v) Gamma) u = diag(v) beta, with u and v as in the pool."""
    made = dense(layer)
    x = torch.randn(20, 6, dtype=torch.float64)
    y = made(x)
    beta, gamma = made.effective_parameters(torch.float64)
    v = y.abs() if layer is GDN1 else y.square()
    system = torch.eye(6, dtype=torch.float64) - v[:, :, None] * gamma
    u = torch.linalg.solve(system, v * beta)
    magnitude = u if layer is GDN1 else u.sqrt()
    torch.testing.assert_close(y.sign() * magnitude, x, atol=1e-9, rtol=1e-9)
    if inverse:
        assert not torch.allclose(dense(layer, inverse=True)(y), x, rtol=0.1)


@LAYERS
def test_effective_parameters_start_where_the_source_has_them_and_respect_their_bounds(layer):
    beta, gamma = layer(5).effective_parameters(torch.float32)
    torch.testing.assert_close(beta, torch.ones(5))
    torch.testing.assert_close(gamma, 0.1 * torch.eye(5))
    assert not gamma[0, 1]
    made = layer(5)
    with torch.no_grad():
        made.beta.fill_(-1)
        made.gamma.fill_(-1)
    beta, gamma = made.effective_parameters(torch.float32)
    torch.testing.assert_close(beta, torch.full((5,), 1e-6))
    assert not gamma.any()


@pytest.mark.parametrize("value", [-1.0, 0.2, 0.25, 0.7])
@pytest.mark.parametrize("gradient", [-2.0, -0.0, 0.0, 3.0])
def test_the_gradient_of_the_bound_passes_above_it_and_towards_it(value, gradient):
    x = torch.tensor(value, requires_grad=True)
    lower_bound(x, 0.25).backward(torch.tensor(gradient))
    assert x.grad.item() == (gradient if value >= 0.25 or gradient < 0 else 0)


def test_a_gamma_below_its_bound_comes_back_up():
    torch.manual_seed(0)
    made = GDN(2)
    with torch.no_grad():
        made.gamma.fill_(-0.01)
    optimizer = torch.optim.Adam(made.parameters(), 1e-3)  # takes small gradients as seriously
    x = 3 * torch.randn(8, 2)
    for _ in range(100):
        optimizer.zero_grad()
        made(x).square().mean().backward()  # larger gammas make smaller outputs
        optimizer.step()
    assert made.effective_parameters(torch.float32)[1].min() > 1e-3


def test_large_half_precision_input_does_not_vanish():
    made = GDN(4)
    for low in (torch.float16, torch.bfloat16):
        y = made(torch.full((1, 4, 2, 2), 1000.0, dtype=low))
        assert y.dtype == low
        torch.testing.assert_close(y.float(), torch.full_like(y, 3.16).float(), atol=0.03, rtol=0)


@LAYERS
@BOTH_WAYS
@pytest.mark.parametrize("shape", [*SHAPES, (1, 6, 0, 3), (0, 6, 2, 3)])
@pytest.mark.parametrize("last", [False, True])
def test_the_layer_for_inference_gives_the_same(layer, inverse, shape, last):
    made = dense(layer, inverse=inverse)
    x = torch.randn(shape, dtype=torch.float64)
    if last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    wanted = made(x).detach()
    fixed = made.for_inference()
    assert isinstance(fixed, FixedGDN)
    y = fixed(x.clone())
    assert not y.requires_grad
    torch.testing.assert_close(y, wanted, atol=1e-12, rtol=1e-12)


@BOTH_WAYS
def test_the_layer_for_inference_works_in_blocks(inverse, monkeypatch):
    made = dense(GDN, inverse=inverse)
    x = torch.randn(2, 6, 7, 5, dtype=torch.float64).to(memory_format=torch.channels_last)
    wanted = made(x).detach()
    monkeypatch.setattr("gdncodec.norms.divisive._BLOCK", 64)
    monkeypatch.setattr("gdncodec.norms.divisive._SMALL", 0)
    torch.testing.assert_close(made.for_inference()(x.clone()), wanted)
    low = made.for_inference()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.double(), wanted, atol=0, rtol=2e-2)


def test_the_layer_for_inference_keeps_the_parameters_of_its_time():
    made = dense(GDN)
    x = torch.randn(1, 6, 2, 2, dtype=torch.float64)
    wanted, fixed = made(x).detach(), made.for_inference()
    with torch.no_grad():
        made.beta.add_(1)
    torch.testing.assert_close(fixed(x.clone()), wanted)
    assert not torch.allclose(made(x), wanted)


def test_a_state_of_compressai_loads():
    """It has the same names, and buffers of the reparametrisation that are not needed."""
    theirs = {"beta": torch.rand(4), "gamma": torch.rand(4, 4)}
    extra = ("pedestal", "lower_bound.bound")
    theirs |= {f"{name}_reparam.{e}": torch.ones(1) for name in ("beta", "gamma") for e in extra}
    result = GDN(4).load_state_dict(theirs, strict=False)
    assert result.missing_keys == []
    assert len(result.unexpected_keys) == 4
