"""Every layer against numbers that the authors' implementations computed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gdncodec.norms.batch import BatchNorm
from gdncodec.norms.bound import lower_bound
from gdncodec.norms.centred import CentredConv2d
from gdncodec.norms.crossnorm import exchange_statistics
from gdncodec.norms.frn import FilterResponseNorm
from gdncodec.norms.gdn import GDN, GDN1
from gdncodec.norms.group import GroupNorm, InstanceNorm, LayerNorm
from gdncodec.norms.mabn import MABN
from gdncodec.norms.selfnorm import SelfNorm
from gdncodec.norms.sncn import SNCN
from gdncodec.norms.switchable import SwitchableNorm, average_batch_statistics

GOLDEN = Path(__file__).parent / "golden" / "norms"


class Golden:
    """The arrays of one file as float64 tensors."""

    def __init__(self, name):
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
            self.arrays = {k: arrays[k] for k in arrays.files if not k.startswith("__")}

    def __getitem__(self, key):
        return torch.from_numpy(np.asarray(self.arrays[key]))

    def __contains__(self, key):
        return key in self.arrays

    def forward_and_backward(self, layer, suffix=""):
        """Run the layer on the recorded input and check output and input gradient."""
        layer.zero_grad()
        x = self[f"x{suffix}"].clone().requires_grad_()
        y = layer(x)
        y.backward(self[f"cotangent{suffix}"])
        close(y, self[f"y{suffix}"])
        close(x.grad, self[f"grad_x{suffix}"])


def close(ours, theirs):
    torch.testing.assert_close(
        ours.detach(), theirs.reshape(ours.shape).to(ours.dtype), atol=1e-9, rtol=1e-9
    )


def set_parameters(layer, **values):
    with torch.no_grad():
        for name, value in values.items():
            layer.get_parameter(name).copy_(value.reshape(layer.get_parameter(name).shape))


def test_lower_bound_and_its_gradient():
    golden = Golden("lower_bound")
    x = golden["x"].clone().requires_grad_()
    y = lower_bound(x, golden["bound"].item())
    y.backward(golden["cotangent"])
    assert torch.equal(y.detach(), golden["y"])
    assert torch.equal(x.grad, golden["grad_x"])


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("compressai_gdn", GDN(8)),
        ("compressai_igdn", GDN(8, inverse=True)),
        ("compressai_gdn1", GDN1(8)),
        ("ptgdn_igdn_5d", GDN(8, inverse=True)),
    ],
)
def test_gdn(name, layer):
    golden = Golden(name)
    layer = layer.double()
    if "y_init" in golden:
        # The initial values are float32 roots, as those of the source are.
        torch.testing.assert_close(layer(golden["x"]), golden["y_init"], atol=1e-6, rtol=1e-6)
        set_parameters(layer, beta=golden["init_beta_raw"], gamma=golden["init_gamma_raw"])
        close(layer(golden["x"]), golden["y_init"])
    set_parameters(layer, beta=golden["beta_raw"], gamma=golden["gamma_raw"])
    golden.forward_and_backward(layer)
    close(layer.beta.grad, golden["grad_beta_raw"])
    close(layer.gamma.grad, golden["grad_gamma_raw"])
    if "beta_eff" in golden:
        beta, gamma = layer.effective_parameters(torch.float64)
        close(beta, golden["beta_eff"])
        close(gamma, golden["gamma_eff"])


def test_gdn_starts_from_the_source_values_in_float32():
    golden = Golden("compressai_gdn_float32_init")
    for inverse, key in ((False, "y_gdn"), (True, "y_igdn")):
        layer = GDN(8, inverse=inverse)
        torch.testing.assert_close(layer.beta.detach(), golden["init_beta_raw"], atol=0, rtol=2e-7)
        torch.testing.assert_close(layer.gamma.detach(), golden["init_gamma_raw"])
        torch.testing.assert_close(layer(golden["x"]).detach(), golden[key], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        *((f"torch_groupnorm_g{g}", GroupNorm(8, groups=g)) for g in (1, 2, 4, 8)),
        ("torch_groupnorm_g1", LayerNorm(8)),
        ("torch_groupnorm_g8", InstanceNorm(8)),
        ("torch_instancenorm", InstanceNorm(8)),
        ("torch_layernorm_chw_noaffine", LayerNorm(8)),
    ],
)
def test_group_layer_and_instance_norm(name, layer):
    golden, layer = Golden(name), layer.double()
    if "param_weight" in golden:
        set_parameters(layer, weight=golden["param_weight"], bias=golden["param_bias"])
    golden.forward_and_backward(layer)
    if "grad_weight" in golden:
        close(layer.weight.grad, golden["grad_weight"])
        close(layer.bias.grad, golden["grad_bias"])


def test_layer_norm_differs_from_torch_only_in_the_shape_of_its_affine():
    golden, layer = Golden("torch_layernorm_chw_elementwise"), LayerNorm(8).double()
    y = layer(golden["x"]) * golden["param_weight"] + golden["param_bias"]
    close(y, golden["y"])


def test_batch_norm_step_by_step():
    golden, layer = Golden("torch_batchnorm"), BatchNorm(8).double()
    set_parameters(layer, weight=golden["weight"], bias=golden["bias"])
    for step in range(3):
        golden.forward_and_backward(layer, f"_{step}")
        close(layer.weight.grad, golden[f"grad_weight_{step}"])
        close(layer.bias.grad, golden[f"grad_bias_{step}"])
        close(layer.running_mean, golden[f"running_mean_{step}"])
        close(layer.running_var, golden[f"running_var_{step}"])
    golden.forward_and_backward(layer.eval(), "_eval")


@pytest.mark.parametrize(
    "name",
    ["1d", "1d_learned_eps", "2d", "2d_default_init", "2d_hw1_fixed_eps", "2d_hw1_learned_eps",
     "2d_learned_eps", "3d"],
)  # fmt: skip
def test_frn(name):
    golden, learned = Golden(f"frn_{name}"), "learned" in name
    layer = FilterResponseNorm(8, learnable_eps=learned).double()
    set_parameters(layer, **{k: golden[f"param_{k}"] for k in ("gamma", "beta", "tau")})
    if learned:  # the source has |eps|, we have 1e-6 + |eps_l|
        eps = golden["param_eps"]
        set_parameters(layer, eps_l=eps - 1e-6 * eps.sign())
    golden.forward_and_backward(layer)
    for parameter in ("gamma", "beta", "tau"):
        close(layer.get_parameter(parameter).grad, golden[f"grad_{parameter}"])
    if learned:
        close(layer.eps_l.grad, golden["grad_eps"])


def test_mabn_step_by_step_through_its_warm_up():
    golden = Golden("mabn_formal_warmup")
    layer = MABN(8, window=3, warmup=6).double()
    set_parameters(layer, weight=golden["weight"], bias=golden["bias"])

    def check_state(name):
        close(layer.running_var, golden[f"state_{name}_running_var"])
        close(layer.window_x2, golden[f"state_{name}_buffer_x2"])
        close(layer.window_gz, golden[f"state_{name}_buffer_gz"])
        assert layer.steps == golden[f"state_{name}_iters"].item()

    check_state("init")
    for step in range(10):
        golden.forward_and_backward(layer, f"_{step}")
        close(layer.weight.grad, golden[f"grad_weight_{step}"])
        close(layer.bias.grad, golden[f"grad_bias_{step}"])
        check_state(step)
    golden.forward_and_backward(layer.eval(), "_eval")
    close(layer.weight.grad, golden["grad_weight_eval"])
    close(layer.bias.grad, golden["grad_bias_eval"])


def test_mabn_by_pairs_step_by_step():
    golden, layer = Golden("mabn_pairs"), MABN(8, window=3, pairs=True).double()
    set_parameters(layer, weight=golden["weight"], bias=golden["bias"])
    for step, count in enumerate(golden["iters"].tolist()):
        layer.steps.fill_(count - 1)
        if count == 99:
            layer.running_var.copy_(golden["running_var_before_99"])
        golden.forward_and_backward(layer, f"_{step}")
        close(layer.weight.grad, golden[f"grad_weight_{step}"])
        close(layer.bias.grad, golden[f"grad_bias_{step}"])
        close(layer.running_var, golden[f"running_var_{step}"])
        close(layer.window_x2, golden[f"pre_x2_{step}"])
        close(layer.window_gz, golden[f"pre_gz_{step}"])
        assert layer.steps == count
    golden.forward_and_backward(layer.eval(), "_eval")


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_with_a_moving_or_a_cumulative_average_is_that_of_torch(momentum):
    ours = BatchNorm(8, momentum=momentum).double()
    theirs = torch.nn.BatchNorm2d(8, momentum=momentum).double()
    golden = Golden("torch_batchnorm")
    for step in range(3):
        close(ours(golden[f"x_{step}"]), theirs(golden[f"x_{step}"]).detach())
        close(ours.running_mean, theirs.running_mean)
        close(ours.running_var, theirs.running_var)
    close(ours.eval()(golden["x_eval"]), theirs.eval()(golden["x_eval"]).detach())


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm_of_single_positions_is_that_of_torch(groups):
    x = Golden("torch_batchnorm")["x_0"][:, :, 0, 0]
    ours, theirs = GroupNorm(8, groups=groups).double(), torch.nn.GroupNorm(groups, 8).double()
    close(ours(x), theirs(x).detach())


def test_centred_convolution():
    golden = Golden("cenconv2d")
    layer = CentredConv2d(8, 6, 3, stride=2, padding=1).double()
    set_parameters(layer, weight=golden["param_weight"], bias=golden["param_bias"])
    golden.forward_and_backward(layer)
    close(layer.weight.grad, golden["grad_weight"])
    close(layer.bias.grad, golden["grad_bias"])


SWITCHABLE = ("weight", "bias", "mean_weight", "var_weight")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("moving_average", {"unbiased": True}),
        ("biased_moving_average", {}),
        ("no_bn", {"unbiased": True, "batch": False}),
        ("biased_no_bn", {"batch": False}),
    ],
)
def test_switchable_step_by_step(name, options):
    golden = Golden(f"sn2d_{name}")
    layer = SwitchableNorm(8, **options).double()
    set_parameters(layer, **{k: golden[k] for k in SWITCHABLE})
    if layer.batch:
        layer.running_var.zero_()  # the source starts from 0, we start from 1
    for step in range(golden["steps"].item()):
        golden.forward_and_backward(layer, f"_{step}")
        for parameter in SWITCHABLE:
            close(layer.get_parameter(parameter).grad, golden[f"grad_{parameter}_{step}"])
        if layer.batch:
            close(layer.running_mean, golden[f"running_mean_{step}"])
            close(layer.running_var, golden[f"running_var_{step}"])
    golden.forward_and_backward(layer.eval(), "_eval")
    for parameter in SWITCHABLE:
        close(layer.get_parameter(parameter).grad, golden[f"grad_{parameter}_eval"])


def test_switchable_with_averages_over_batches():
    golden = Golden("sn2d_batch_average")
    layer = SwitchableNorm(8, unbiased=True).double().eval()
    set_parameters(layer, **{k: golden[k] for k in SWITCHABLE})
    batches = [golden[f"x_{step}"] for step in range(golden["steps"].item())]
    for count in range(1, len(batches) + 1):
        average_batch_statistics(layer, batches[:count])
        # The source keeps sums of the means and of the second moments.
        mean, var = layer.running_mean, layer.running_var
        close(mean * count, golden[f"running_mean_{count - 1}"])
        close((var + mean.square()) * count, golden[f"running_var_{count - 1}"])
    close(layer.running_mean, golden["running_mean_final"])
    close(layer.running_var, golden["running_var_final"])
    assert not layer.training
    golden.forward_and_backward(layer, "_eval")
    for parameter in SWITCHABLE:
        close(layer.get_parameter(parameter).grad, golden[f"grad_{parameter}_eval"])


@pytest.mark.parametrize("name", ["selfnorm_one", "selfnorm_two", "cnsn_one"])
def test_selfnorm_and_sncn_step_by_step(name, monkeypatch):
    golden, two = Golden(name), name.endswith("two")
    monkeypatch.setattr(torch, "randperm", lambda n, **_: golden["perm"])
    layer = (
        SNCN(8, two_gates=two, probability=0) if "cnsn" in name else SelfNorm(8, two_gates=two)
    ).double()
    norm = layer.self_norm if "cnsn" in name else layer
    gates = {"g": norm.g, "f": norm.f} if two else {"g": norm.g}
    for key, gate in gates.items():
        set_parameters(
            gate,
            mix=golden[f"param_{key}_fc_weight"],
            weight=golden[f"param_{key}_bn_weight"],
            bias=golden[f"param_{key}_bn_bias"],
        )
    for step in range(3):
        if f"active_{step}" in golden:
            layer.cross.active = bool(golden[f"active_{step}"])
        golden.forward_and_backward(layer, f"_{step}")
        for key, gate in gates.items():
            close(gate.mix.grad, golden[f"grad_{key}_fc_weight_{step}"])
            close(gate.weight.grad, golden[f"grad_{key}_bn_weight_{step}"])
            close(gate.bias.grad, golden[f"grad_{key}_bn_bias_{step}"])
            close(gate.running_mean, golden[f"{key}_bn_running_mean_{step}"])
            close(gate.running_var, golden[f"{key}_bn_running_var_{step}"])
    golden.forward_and_backward(layer.eval(), "_eval")


@pytest.mark.parametrize("name", ["content", "neither", "neither_chan", "neither_lam", "style"])
def test_crossnorm(name):
    golden = Golden(f"crossnorm_{name}")

    def box(key):
        top, left, bottom, right = golden[key].tolist()
        return slice(top, bottom), slice(left, right)

    def layer(x):
        return exchange_statistics(
            x,
            golden["perm"],
            channels=golden["chan_perm"] if name == "neither_chan" else None,
            style=box("style_box") if name == "style" else None,
            content=box("content_box") if name == "content" else None,
            mix=golden["lam"].item() if name == "neither_lam" else 0.0,
        )

    layer.zero_grad = lambda: None
    golden.forward_and_backward(layer)
