import pytest
import pytorch_optimizer
import torch

from gdncodec.config import ModelConfig
from gdncodec.nn.model import CodecModel
from gdncodec.training.checkpoint import load_checkpoint, save_checkpoint
from gdncodec.training.distributed import Workers
from gdncodec.training.optimizers import make_optimizer
from gdncodec.training.options import TrainingOptions
from gdncodec.training.soap import Soap
from gdncodec.training.state import TrainingState

CONFIG = ModelConfig(widths=(4, 6, 8), synthesis_widths=(4, 6, 8), latent_channels=6)

both = pytest.mark.parametrize("name", ["adam", "soap"])


def loss_of(model):
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    out = model(x, torch.tensor([20.0, 80.0]), "round", torch.zeros(()))
    return out.bits.sum() / 2048 + 500 * (out.x_hat - x).square().mean()


def steps(state, number):
    losses = []
    for _ in range(number):
        loss = loss_of(state.model)
        state.optimizer.zero_grad()
        loss.backward()
        state.update(state.buffers())
        losses.append(loss.item())
    return losses


def new_state(name):
    return TrainingState(CONFIG, TrainingOptions(optimizer=name, steps=99), Workers())


@pytest.mark.parametrize(("name", "peak"), [("adam", 0.01), ("soap", 0.03)])
def test_every_parameter_is_in_one_group_and_the_density_learns_faster(name, peak):
    model = CodecModel(CONFIG)
    optimizer = make_optimizer(model, name, 0.01)
    peaks = {id(p): g["peak"] for g in optimizer.param_groups for p in g["params"]}
    assert len(peaks) == sum(len(g["params"]) for g in optimizer.param_groups)
    for key, parameter in model.named_parameters():
        expected = 5 * peak if key.startswith("density.") else peak
        assert peaks[id(parameter)] == pytest.approx(expected), key


@both
def test_the_loss_falls_under_it(name):
    losses = steps(new_state(name), 20)
    assert losses[-1] < 0.9 * losses[0]


@both
def test_training_goes_on_from_a_file_bit_for_bit(name, tmp_path):
    # Soap turns its axes in every tenth step.
    whole = new_state(name)
    steps(whole, 4)
    save_checkpoint(tmp_path / "a.safetensors", whole.checkpoint())
    expected = steps(whole, 18)
    again = new_state(name)
    again.restore(load_checkpoint(tmp_path / "a.safetensors"))
    assert steps(again, 18) == expected


@both
def test_what_has_no_gradient_stands_still(name):
    state = new_state(name)
    state.model.g_a.requires_grad_(False)
    before = {k: v.clone() for k, v in state.model.named_parameters()}
    steps(state, 2)
    for key, value in state.model.named_parameters():
        assert torch.equal(value, before[key]) == key.startswith("g_a."), key


def test_soap_correlates_the_short_axes_of_transforms_alone():
    model = CodecModel(
        ModelConfig(widths=(4, 4, 4), synthesis_widths=(4, 4, 4), latent_channels=520)
    )
    optimizer = make_optimizer(model, "soap", 0.001)
    loss_of(model).backward()
    optimizer.step()
    sizes = [len(matrix) for matrix in optimizer.state[model.g_a[-1].weight]["GG"]]
    assert sizes == [0, 4, 5, 5]
    assert [len(m) for m in optimizer.state[model.g_a[0].bias]["GG"]] == [0]
    assert [len(m) for m in optimizer.state[model.density.matrices[0]]["GG"]] == [0, 0, 0]


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="one of adam, soap, got 'sgd'"):
        make_optimizer(CodecModel(CONFIG), "sgd", 0.001)


def parameters():
    torch.manual_seed(1)
    shapes = [(6, 5, 3, 3), (7, 4), (5,), (3, 600)]
    return [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]


def set_gradients(*sets):
    """Give parameters of the same shapes the same gradients, of different size along an axis."""
    for same in zip(*sets, strict=True):
        sizes = torch.linspace(0.1, 2, len(same[0]))
        noise = torch.randn_like(same[0]) * sizes.view(-1, *[1] * (same[0].ndim - 1))
        for parameter in same:
            parameter.grad = noise + same[0].detach()


def test_soap_takes_the_steps_of_the_published_implementation():
    ours, theirs = parameters(), parameters()
    published = pytorch_optimizer.SOAP(
        theirs, lr=0.003, weight_decay=0.0, precondition_frequency=10, max_precondition_dim=512
    )
    optimizer = Soap(ours, 0.003)
    for _ in range(35):
        set_gradients(theirs, ours)
        published.step()
        optimizer.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad_step", [0, 5, 10])
def test_a_step_of_soap_with_a_bad_gradient_is_left_out(bad_step):
    ours, others = parameters(), parameters()
    optimizer = Soap(ours, 0.003, frequency=100)
    without = Soap(others, 0.003, frequency=100)
    for step in range(12):
        set_gradients(ours, others)
        bad = step == bad_step
        if bad:
            ours[0].grad[0] = torch.nan
        optimizer.found_inf = torch.tensor(float(bad))
        optimizer.step()
        if not bad:
            without.step()
    if bad_step:
        for a, b in zip(ours, others, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert all(p.isfinite().all() for p in ours)


def test_the_states_of_soap_stay_where_they_are():
    """A captured graph holds addresses."""
    ours = parameters()
    optimizer = Soap(ours, 0.003, frequency=2)
    places = []
    for _ in range(5):
        set_gradients(ours)
        optimizer.step()
        tensors = [
            tensor
            for state in optimizer.state.values()
            for value in state.values()
            for tensor in (value if isinstance(value, list) else [value])
            if len(tensor.shape if isinstance(tensor, torch.Tensor) else tensor)
        ]
        places.append([tensor.data_ptr() for tensor in tensors])
    assert all(here == places[0] for here in places)
