"""What holds for every normalisation layer, by name."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gdncodec.errors import UsageError
from gdncodec.norms import NORMS, NormInfo, TileClass, make_norm, norm_info, parse_norm
from gdncodec.norms.crossnorm import CrossNorm, activate_crossnorm, activate_for_step
from gdncodec.norms.statistics import freeze_stats

SPECS = [
    *NORMS,
    "group:groups=2",
    "frn:learnable_eps=true",
    "mabn:window=2,warmup=3",
    "batch:momentum=none",
    "switchable:last_gamma=true",
    "switchable:batch=false",
    "switchable:unbiased=true",
    "selfnorm:two_gates=true",
    "crossnorm:probability=1,crop=both,shuffle_channels=true,mix=0.5",
    "sncn:probability=1",
]
BOTH_WAYS = pytest.mark.parametrize("inverse", [False, True])
EVERY = pytest.mark.parametrize("spec", SPECS)
NAMES = pytest.mark.parametrize("spec", list(NORMS))
RANDOM = ("crossnorm", "sncn")


def build(spec, channels=4, *, inverse=False, seed=0):
    """Build a layer with parameters off their initial values and statistics of one step."""
    torch.manual_seed(seed)
    layer = make_norm(spec, channels, inverse=inverse)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.1 * torch.rand_like(parameter)
    layer(torch.randn(3, channels, 4, 5))
    return layer


@EVERY
@BOTH_WAYS
def test_training_gives_an_output_like_the_input_and_finite_gradients(spec, inverse):
    layer = build(spec, inverse=inverse)
    x = torch.randn(2, 4, 6, 5, requires_grad=True)
    y = layer(x)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    y.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@EVERY
@BOTH_WAYS
def test_an_image_does_not_depend_on_its_batch_at_inference(spec, inverse):
    layer = build(spec, inverse=inverse).eval().double()
    x = torch.randn(3, 4, 6, 5, dtype=torch.float64)
    together = layer(x)
    for i in range(3):
        torch.testing.assert_close(layer(x[i : i + 1])[0], together[i], atol=1e-12, rtol=1e-12)


@NAMES
def test_batch_statistics_are_declared_where_training_depends_on_the_batch(spec):
    options = ":probability=1" if spec in RANDOM else ""
    layer = build(spec + options).train()
    x = torch.randn(4, 4, 6, 5)
    layer = layer.double()
    first = layer(x.double())
    other = torch.cat([x[:1], x[1:] * 3 + 1]).double()
    torch.manual_seed(0)
    differs = any((layer(other)[0] - first[0]).abs().max() > 1e-3 for _ in range(5))
    assert differs == NORMS[spec].needs_batch_statistics


@NAMES
def test_tile_classes_are_what_an_experiment_says(spec):
    layer = build(spec).eval().double()
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    x[..., 4:] += 2
    whole = layer(x)
    tiles = torch.cat([layer(part) for part in x.chunk(2, dim=3)], dim=3)
    difference = (tiles - whole).abs().max()
    if NORMS[spec].tile is TileClass.WHOLE_IMAGE:
        assert difference > 1e-2
    else:
        assert difference < 1e-12
    if NORMS[spec].tile is TileClass.FROZEN_AFFINE:
        scale, shift = layer.scale_and_shift()
        torch.testing.assert_close(whole, x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1))


@pytest.mark.parametrize(
    "spec", [n for n, i in NORMS.items() if i.tile is not TileClass.WHOLE_IMAGE]
)
def test_local_layers_have_the_nonlinearity_that_is_declared(spec):
    layer = build(spec).eval().double()
    a, b = torch.randn(2, 1, 4, 6, 6, dtype=torch.float64)
    bend = layer(a) + layer(b) - layer(a + b) - layer(torch.zeros_like(a))
    curved = bool(bend.abs().max() > 1e-3)
    # The one across channels is curved too, but does not separate the values of a channel.
    assert curved == (NORMS[spec].own_nonlinearity or spec == "channel")


def test_frn_cuts_off_at_its_threshold():
    layer = build("frn").eval()
    y = layer(torch.randn(2, 4, 9, 9))
    at_threshold = y == layer.tau.view(-1, 1, 1)
    assert 0.2 < at_threshold.float().mean() < 0.8
    assert (y >= layer.tau.view(-1, 1, 1)).all()


@NAMES
def test_smaller_batches_than_the_minimum_are_refused(spec):
    layer = make_norm(spec, 4)
    x = torch.randn(1, 4, 5, 5)
    if NORMS[spec].minimum_batch == 1:
        layer(x)
    else:
        with pytest.raises(ValueError, match="two images"):
            layer(x)
    assert torch.isfinite(layer.eval()(x)).all()


@EVERY
def test_state_dict_round_trip(spec):
    layer = build(spec).eval()
    copy = make_norm(spec, 4).eval()
    copy.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(copy(x), layer(x))


@EVERY
@pytest.mark.parametrize("shape", [(2, 4, 7), (2, 4, 3, 5), (2, 4, 2, 3, 4)])
def test_every_rank_is_the_flattened_one(spec, shape):
    """A layer that knows no neighbourhood gives the same on any arrangement of the positions."""
    layer = build(spec).eval().double()
    x = torch.randn(shape, dtype=torch.float64)
    flat = layer(x.flatten(2))
    torch.testing.assert_close(layer(x).flatten(2), flat, atol=1e-12, rtol=1e-12)
    layer.train()(x)


@NAMES
def test_rank_two_works_or_is_refused(spec):
    layer = make_norm(spec, 4)
    x = torch.randn(3, 4)
    if spec in ("gdn", "gdn1", "none", "channel", "batch", "mabn", "layer", "group"):
        assert layer(x).shape == x.shape
        torch.testing.assert_close(layer.eval()(x), layer(x[:, :, None, None])[:, :, 0, 0])
    else:
        with pytest.raises(ValueError, match="rank 3 to 5"):
            layer(x)


@pytest.mark.parametrize("spec", [n for n in NORMS if n != "none"])
def test_a_wrong_number_of_channels_or_rank_is_refused(spec):
    layer = make_norm(spec, 4)
    for shape in ((2, 3, 5, 5), (4,), (2, 4, 2, 2, 2, 2)):
        with pytest.raises((ValueError, IndexError), match=r"expected|out of range"):
            layer(torch.zeros(shape))


@EVERY
@BOTH_WAYS
@pytest.mark.parametrize("value", [0.0, 0.7, -1000.0])
def test_a_constant_input_gives_no_nan(spec, inverse, value):
    layer = make_norm(spec, 4, inverse=inverse)
    x = torch.full((2, 4, 3, 3), value, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(layer.eval()(x)).all()


@EVERY
@pytest.mark.parametrize("batch", [1, 2])
def test_a_single_position_is_defined_or_refused(spec, batch):
    layer = make_norm(spec, 4)
    x = torch.randn(batch, 4, 1, 1, requires_grad=True)
    statistics = spec.split(":")[0] in ("batch", "mabn", "switchable", "selfnorm", "sncn")
    if batch == 1 and statistics and "batch=false" not in spec:
        with pytest.raises(ValueError, match=r"more than (one|1) value|two images"):
            layer(x)
    else:
        y = layer(x)
        y.sum().backward()
        assert torch.isfinite(y).all()
        assert torch.isfinite(x.grad).all()
    assert torch.isfinite(layer.eval()(x)).all()


@pytest.mark.parametrize("name", ["instance", "layer", "group"])
def test_a_group_of_one_value_gives_the_bias(name):
    layer = make_norm(name, 1)
    nn.init.constant_(layer.bias, 0.25)
    y = layer(torch.full((1, 1, 1, 1), 3.0))
    assert y.item() == pytest.approx(0.25, abs=1e-3)


@EVERY
def test_double_precision_is_kept(spec):
    """A float32 layer on float64 input computes in float64, as a float64 layer does."""
    layer = build(spec).eval()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    y = layer(x)
    assert y.dtype == torch.float64
    torch.testing.assert_close(y, layer.double()(x), atol=1e-12, rtol=1e-12)


@EVERY
def test_low_precision_input_is_computed_in_float32(spec):
    layer = build(spec).eval()
    x = (300 * torch.randn(2, 4, 5, 5)).half()  # squares overflow float16
    for low in (x, x.bfloat16()):
        y = layer(low)
        assert y.dtype == low.dtype
        torch.testing.assert_close(y, layer(low.float()).to(low.dtype), atol=0, rtol=1e-2)


@EVERY
def test_a_bfloat16_layer_trains_and_evaluates(spec):
    layer = make_norm(spec, 4).bfloat16()
    x = torch.randn(3, 4, 5, 5).bfloat16().requires_grad_()
    layer(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    if any("running" in name for name, _ in layer.named_buffers()):
        moved = {k for k, v in layer.named_buffers() if "running" in k and v.unique().numel() > 1}
        assert moved
    assert torch.isfinite(layer.eval()(x)).all()


@EVERY
@BOTH_WAYS
def test_autocast_changes_nothing(spec, inverse):
    layer = build(spec, inverse=inverse).eval()
    x = torch.randn(2, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = layer(x)
    assert torch.equal(inside, layer(x))


@NAMES
@BOTH_WAYS
def test_channels_last_gives_the_same_in_the_same_layout(spec, inverse):
    layer = build(spec, inverse=inverse).eval()
    x = torch.randn(2, 4, 6, 5, requires_grad=True)
    last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    y, y_last = layer(x), layer(last)
    torch.testing.assert_close(y, y_last)
    assert y_last.is_contiguous(memory_format=torch.channels_last)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (y_last * weight).sum().backward()
    torch.testing.assert_close(x.grad, last.grad, atol=1e-5, rtol=1e-4)


@NAMES
def test_a_transposed_view_gives_the_same(spec):
    layer = build(spec).eval()
    x = torch.randn(2, 6, 4, 5).transpose(1, 2)
    torch.testing.assert_close(layer(x), layer(x.contiguous()))


@pytest.mark.parametrize(
    "spec", [s for s in SPECS if s.split(":")[0] not in (*RANDOM, "mabn", "none")]
)
@BOTH_WAYS
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_the_forward_pass(spec, inverse, training):
    layer = build(spec, inverse=inverse).double().train(training)
    names = [n for n, _ in layer.named_parameters()]
    buffers = {k: v.clone() for k, v in layer.named_buffers()}

    def function(x, *parameters):
        state = buffers | dict(zip(names, parameters, strict=True))
        state = {k: v.clone() if k in buffers else v for k, v in state.items()}
        return torch.func.functional_call(layer, state, (x,))

    x = torch.randn(2, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(function, (x, *parameters), fast_mode=True)


COMPILED = [n for n in NORMS if n not in RANDOM] + ["crossnorm:probability=0", "sncn:probability=0"]


@pytest.mark.parametrize("spec", COMPILED)
@pytest.mark.parametrize("training", [True, False])
def test_compiles_without_graph_breaks(spec, training):
    torch._dynamo.reset()
    plain, compiled = (build(spec).train(training) for _ in range(2))
    function = torch.compile(compiled, backend="eager", fullgraph=True)
    for seed in range(2):
        torch.manual_seed(seed)
        x = torch.randn(2, 4, 5, 6)
        ours, theirs = (x.clone().requires_grad_() for _ in range(2))
        plain(ours).square().sum().backward()
        function(theirs).square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
    for (name, a), b in zip(plain.named_buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


@EVERY
def test_frozen_statistics_stand_still_and_training_equals_inference(spec):
    layer = build(spec).train()
    if spec.split(":")[0] in RANDOM:
        for module in layer.modules():
            if isinstance(module, CrossNorm):
                module.probability = 0.0
    freeze_stats(layer)
    before = {k: v.clone() for k, v in layer.named_buffers()}
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in layer.named_buffers())
    torch.testing.assert_close(layer.eval()(x), y)
    freeze_stats(layer, frozen=False)
    layer.train()(x)
    changed = [k for k, v in layer.named_buffers() if not torch.equal(v, before[k])]
    assert bool(changed) == bool(before)


def test_the_names_are_those_that_are_documented():
    assert list(NORMS) == [
        "gdn", "gdn1", "none", "channel", "batch", "layer", "instance", "group", "frn", "mabn",
        "switchable", "selfnorm", "crossnorm", "sncn",
    ]  # fmt: skip


@NAMES
def test_every_layer_has_the_one_signature_and_says_its_paper_and_shape(spec):
    layer = NORMS[spec].load()
    parameters = list(inspect.signature(layer).parameters.values())
    assert [p.name for p in parameters[:2]] == ["channels", "inverse"]
    assert parameters[1].default is False
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[1:])
    ours = [c for c in layer.__mro__ if c.__module__.startswith("gdncodec")]
    text = "\n".join(inspect.getdoc(c) for c in ours)
    assert all(word in text for word in ("Args:", "Shape:")), text
    assert "Source: " in inspect.getdoc(layer) or spec == "none"
    for option in parameters[2:]:
        assert option.name in text
    if not NORMS[spec].own_nonlinearity:
        assert "no nonlinearity of its own" in " ".join(text.split())


def test_names_and_metadata_load_neither_torch_nor_numpy():
    code = (
        "import sys; from gdncodec.norms import norm_info; "
        "print(norm_info('frn:learnable_eps=true').tile.value); "
        "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "whole image\n"


def test_options_are_read_from_the_name():
    name, options = parse_norm("mabn:window=4,momentum=0.9")
    assert name == "mabn"
    assert options == {"window": "4", "momentum": "0.9"}
    layer = make_norm("mabn:window=4,momentum=0.9", 6)
    assert layer.window == 4
    assert layer.momentum == 0.9
    assert make_norm("frn:learnable_eps=True", 6).eps_l is not None
    assert make_norm("crossnorm:crop=style", 6).crop == "style"
    assert norm_info("frn:learnable_eps=true") is NORMS["frn"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gnd", "unknown norm 'gnd'; choose one of gdn, gdn1, none"),
        ("frn:learnble_eps=true", "no option 'learnble_eps'; it has learnable_eps, eps"),
        ("none:eps=1", "it has none"),
        ("frn:inverse=true", "no option 'inverse'"),
        ("frn:learnable_eps=maybe", "must be true or false, got 'maybe'"),
        ("mabn:window=none", "must be a value of type int, got 'none'"),
        ("crossnorm:places=-1", "must be from 0 to 64"),
        ("mabn:window=x", "must be a value of type int, got 'x'"),
        ("mabn:window=0", "at least 1, got 0"),
        ("frn:", "option=value"),
        ("frn:eps", "option=value"),
        ("frn:eps=1,eps=2", "each option once"),
        ("group:groups=3", "3 groups do not divide 4 channels"),
        ("crossnorm:crop=middle", "neither, style, content, both"),
        ("crossnorm:probability=2", "probability and mix in 0..1"),
    ],
)
def test_a_wrong_name_or_option_is_refused_with_the_choices(spec, message):
    with pytest.raises(ValueError, match=message):
        make_norm(spec, 4)


def test_centred_convolutions_are_refused_in_the_synthesis():
    with pytest.raises(ValueError, match="without centred=true"):
        make_norm("mabn:centred=true", 4, inverse=True)


def test_a_registered_layer_may_be_a_class_or_a_place(monkeypatch):
    class Halve(nn.Module):
        def __init__(self, channels, *, inverse=False):
            super().__init__()

        def forward(self, x):
            return x / 2

    monkeypatch.setitem(NORMS, "halve", NormInfo(Halve, TileClass.POINTWISE, "x / 2"))
    assert isinstance(make_norm("halve", 3), Halve)
    place = f"{NoNormAgain.__module__}:NoNormAgain"
    monkeypatch.setitem(NORMS, "again", NormInfo(place, TileClass.POINTWISE, "x"))
    assert isinstance(make_norm("again", 3), NoNormAgain)


class NoNormAgain(nn.Identity):
    def __init__(self, channels, *, inverse=False):
        super().__init__()


def test_crossnorm_acts_once_when_it_was_activated_and_in_training_only():
    torch.manual_seed(0)
    layer = make_norm("crossnorm:probability=0", 4)
    x = torch.randn(8, 4, 5, 5)
    assert layer(x) is x
    layer.active = True
    assert not torch.equal(layer(x), x)
    assert layer(x) is x
    layer.eval().active = True
    assert layer(x) is x
    assert not layer.active


def test_crossnorm_acts_as_often_as_it_was_told():
    torch.manual_seed(0)
    layer = make_norm("crossnorm:probability=0.3", 4)
    x = torch.randn(4, 4, 3, 3)
    acted = sum(layer(x) is not x for _ in range(200))
    assert 40 < acted < 80
    assert make_norm("crossnorm:probability=1", 4, inverse=True)(x) is x


def test_crossnorm_swaps_mean_and_deviation():
    torch.manual_seed(0)
    layer = make_norm("crossnorm:probability=1", 4)
    x = torch.randn(6, 4, 9, 9) * torch.rand(6, 4, 1, 1) + torch.randn(6, 4, 1, 1)
    y = layer(x)
    ours = torch.stack([y.mean((2, 3)), y.std((2, 3))]).flatten(2)
    theirs = torch.stack([x.mean((2, 3)), x.std((2, 3))]).flatten(2)
    distance = (ours[:, :, None] - theirs[:, None]).abs().amax((0, 3))
    assert distance.min(dim=1).values.max() < 1e-2


@pytest.mark.parametrize("crop", ["style", "content", "both"])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (9, 13)])
def test_crossnorm_crops_maps_of_any_size(crop, size):
    torch.manual_seed(0)
    layer = make_norm(f"crossnorm:probability=1,crop={crop}", 4)
    for _ in range(20):
        assert torch.isfinite(layer(torch.randn(3, 4, *size))).all()


def test_crossnorm_boxes_cover_a_tenth_of_the_area_or_more():
    torch.manual_seed(0)
    layer = CrossNorm(4, crop="both")
    x = torch.zeros(1, 4, 20, 30)
    areas = [x[0, 0][tuple(layer._draw_box(x))].numel() / 600 for _ in range(200)]
    assert min(areas) > 0.1
    assert max(areas) > 0.6


def test_as_many_crossnorms_are_activated_as_asked():
    net = nn.Sequential(*(make_norm("crossnorm", 4) for _ in range(5)))
    activate_crossnorm(net, 2)
    assert sum(layer.active for layer in net) == 2
    activate_crossnorm(net, 9)
    assert sum(layer.active for layer in net) == 5


@pytest.mark.parametrize("name", ["crossnorm", "sncn"])
def test_at_each_step_two_places_act_with_the_probability(name):
    torch.manual_seed(0)
    spec = f"{name}:places=2,probability=0.3"
    net = nn.Sequential(*(make_norm(spec, 4) for _ in range(5)), make_norm(spec, 4, inverse=True))
    layers = [m for m in net.modules() if isinstance(m, CrossNorm)]
    counts = []
    for _ in range(200):
        activate_for_step(net)
        counts.append(sum(layer.active for layer in layers))
        assert not layers[-1].active  # that of the synthesis
        for layer in layers:
            layer.active = False
    assert set(counts) == {0, 2}
    assert 40 < counts.count(2) < 80
    x = torch.randn(4, 4, 3, 3)
    assert all(layer(x) is x for layer in layers)  # none chooses for itself


def test_without_places_nothing_is_drawn_for_a_step():
    before = torch.get_rng_state()
    activate_for_step(nn.Sequential(make_norm("crossnorm", 4), make_norm("gdn", 4)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("channels", [2, 8, 16, 32, 48, 96, 160])
def test_the_groups_of_group_norm_hold_several_channels_by_default(channels):
    group, instance = make_norm("group", channels), make_norm("instance", channels)
    x = torch.randn(2, channels, 3, 3)
    assert group.groups < channels
    assert not torch.allclose(group(x), instance(x), atol=1e-3)


def test_last_gamma_starts_a_switchable_norm_at_its_bias():
    layer = make_norm("switchable:last_gamma=true", 4)
    x = torch.randn(2, 4, 3, 3)
    assert not layer(x).any()
    layer(x).sum().backward()
    assert layer.weight.grad.shape == (4,)
    layer(x).square().sum().backward()


@NAMES
def test_the_documentation_names_every_norm_and_option(spec):
    text = (Path(__file__).parents[1] / "docs" / "norms.md").read_text(encoding="utf-8")
    table = text.split("## Options")[1].split("## Tiles")[0]
    assert f"| `{spec}` |" in text
    for name in list(inspect.signature(NORMS[spec].load()).parameters)[2:]:
        assert f"`{name}" in table


@pytest.mark.parametrize(
    "option",
    [
        "gdn:beta_min=-1", "gdn:beta_min=inf", "gdn1:gamma_init=-1", "channel:eps=-5",
        "batch:momentum=7", "batch:eps=nan", "frn:eps=-1", "mabn:warmup=-1",
    ],
)  # fmt: skip
def test_an_option_out_of_its_range_is_refused(option):
    with pytest.raises(UsageError, match=f"norm option {option.split('=')[0]} must be from"):
        make_norm(option, 8)
