"""Norms in the codec: transforms, folding, tiles, training, and a layer of the user's own."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from gdncodec.config import ModelConfig
from gdncodec.nn.inference import fold, prepare_inference
from gdncodec.nn.model import CodecModel
from gdncodec.nn.nodes import place
from gdncodec.nn.transforms import Transform, analysis, synthesis
from gdncodec.norms import NORMS, NormInfo, TileClass, make_norm, norm_info
from gdncodec.norms.centred import CentredConv2d
from gdncodec.norms.gdn import FixedGDN

WIDTHS, LATENT, NODES = (4, 6, 8), 5, 3
NAMES = pytest.mark.parametrize("norm", list(NORMS))
FOLDED = [n for n, info in NORMS.items() if info.tile is TileClass.FROZEN_AFFINE]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Networks this small only wait for their threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config_of(norm, synthesis_norm=None, **fields):
    synthesis_norm = synthesis_norm or norm.split(":")[0]
    return ModelConfig(norm, synthesis_norm, WIDTHS, WIDTHS, LATENT, gain_nodes=NODES, **fields)


def both(norm, **fields):
    config = config_of(norm, **fields)
    return analysis(config), synthesis(config)


def trained(norm, **fields):
    """Build both transforms with parameters and statistics that are not the initial ones."""
    torch.manual_seed(2)
    where = place(torch.tensor([20.0, 70.0]), NODES)
    nets = both(norm, **fields)
    with torch.no_grad():
        for net in nets:
            for parameter in net.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        for _ in range(3):
            nets[1](nets[0](torch.rand(2, 3, 32, 48), where), where)
    return [net.double().eval() for net in nets]


@NAMES
def test_three_training_steps_change_every_parameter(norm):
    torch.manual_seed(0)
    network = CodecModel(ModelConfig(norm, norm, WIDTHS, WIDTHS, LATENT))
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            out = network(torch.rand(3, 3, 32, 32), torch.tensor([5.0, 60.0, 90.0]))
        optimizer.zero_grad()
        (out.bits.mean() + out.x_hat.square().mean()).backward()
        optimizer.step()
    for name, value in network.state_dict().items():
        assert torch.isfinite(value).all(), name
    same = [k for k, v in network.named_parameters() if torch.equal(v, before[k])]
    # A unit below its threshold learns nothing in three steps; its layer as a whole does.
    assert [k for k in same if "frn" not in norm] == []


@NAMES
@pytest.mark.parametrize("direction", [0, 1])
def test_sizes_go_down_and_up_by_sixteen(norm, direction):
    net = both(norm)[direction].at(50).eval()
    with torch.inference_mode():
        if direction == 0:
            assert net(torch.rand(1, 3, 16, 48)).shape == (1, LATENT, 1, 3)
        else:
            assert net(torch.rand(1, LATENT, 1, 3)).shape == (1, 3, 16, 48)


@NAMES
def test_no_transform_is_linear(norm):
    for made, shape in zip(trained(norm), ((1, 3, 32, 32), (1, LATENT, 2, 2)), strict=True):
        net = made.at(30)
        a, b = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
        bend = net(a) + net(b) - net(a + b) - net(torch.zeros_like(a))
        assert bend.abs().max() > 1e-3


def test_names_in_the_state_of_a_gdn_model_are_stable():
    wanted = {f"{i}.{n}" for i in (0, 2, 4, 6) for n in ("weight", "bias")}
    wanted |= {f"{i}.{n}" for i in (1, 3, 5) for n in ("beta", "gamma")}
    wanted |= {f"{n}_{i}" for i in (0, 2, 4) for n in ("scale", "shift")}
    for net in both("gdn1"):
        assert set(net.state_dict()) == wanted


@NAMES
def test_tiles_with_a_halo_give_the_whole_result_exactly_for_local_norms(norm):
    g_a, g_s = (net.at(30) for net in trained(norm))
    local = NORMS[norm].tile is not TileClass.WHOLE_IMAGE
    torch.manual_seed(0)
    with torch.inference_mode():
        x = torch.rand(1, 3, 32, 256, dtype=torch.float64)
        y = g_a(x)
        # The four 5x5 convolutions of stride 2 see 30 pixels on each side: two latent positions.
        part = g_a(x[..., 64:192])[..., 2:-2]
        difference = (part - y[..., 6:10]).abs().max()
        assert (difference < 1e-12) == local
        x_hat = g_s(y)
        part = g_s(y[..., 3:13])[..., 48:-48]
        difference = (part - x_hat[..., 96:160]).abs().max()
        assert (difference < 1e-12) == local


@pytest.mark.parametrize("norm", [*FOLDED, "mabn:centred=true"])
@pytest.mark.parametrize("direction", [0, 1])
def test_a_folded_transform_computes_the_same_from_convolutions_alone(norm, direction):
    net = trained(norm)[direction]
    before = copy.deepcopy(net.state_dict())
    folded = fold(net)
    assert not any("running" in k for k in folded.state_dict())
    assert {type(m) for m in folded.modules() if not list(m.children())} <= {
        nn.LeakyReLU, nn.Conv2d, type(net[0]), type(net[2]) if direction else nn.Conv2d,
    }  # fmt: skip
    shape = (1, LATENT, 3, 2) if direction else (1, 3, 48, 32)
    x = torch.randn(shape, dtype=torch.float64)
    for quality in (0, 30, 100):
        expected = net.at(quality)(x)
        torch.testing.assert_close(folded.at(quality)(x), expected, atol=1e-12, rtol=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())

    rebuilt = both(norm, folded=True)[direction].double().eval()
    rebuilt.load_state_dict(folded.state_dict())
    assert torch.equal(rebuilt.at(30)(x), folded.at(30)(x))


@pytest.mark.parametrize("norm", [n for n in NORMS if n not in FOLDED])
def test_other_transforms_stay_as_they_are_when_folded(norm):
    for net, built in zip(trained(norm), both(norm, folded=True), strict=True):
        folded = fold(net)
        assert {k: v.shape for k, v in folded.state_dict().items()} == {
            k: v.shape for k, v in built.state_dict().items()
        }
        assert all(torch.equal(v, net.state_dict()[k]) for k, v in folded.state_dict().items())


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 8, 3, groups=2, dilation=2),
        CentredConv2d(6, 8, 3, groups=2, dilation=2, padding=2, padding_mode="replicate"),
        nn.ConvTranspose2d(6, 8, 3, stride=2, groups=2, dilation=2),
    ],
)
def test_folding_keeps_groups_dilation_and_padding(conv):
    torch.manual_seed(0)
    stage = nn.Sequential(make_norm("mabn", 8), nn.LeakyReLU(0.1))
    stage[0].running_var.uniform_(0.5, 2)
    nn.init.normal_(stage[0].weight)
    net = nn.Sequential(copy.deepcopy(conv), stage).double().eval()
    folded = fold(net)
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(folded(x), net(x), atol=1e-12, rtol=1e-12)
    assert type(folded[0]) in (nn.Conv2d, nn.ConvTranspose2d)


def test_a_norm_with_no_convolution_before_it_is_not_folded():
    norm = analysis(config_of("batch"))[1]
    with pytest.raises(ValueError, match="no convolution with a bias"):
        fold(nn.Sequential(nn.Identity(), norm))


def test_centred_convolutions_are_inner_ones_of_the_analysis_only():
    g_a = analysis(config_of("mabn:centred=true"))
    centred = [isinstance(m, CentredConv2d) for m in g_a]
    assert [i for i, c in enumerate(centred) if c] == [2, 4]
    with pytest.raises(ValueError, match="without centred=true"):
        synthesis(config_of("mabn", "mabn:centred=true"))


@NAMES
@pytest.mark.parametrize("direction", [0, 1])
def test_a_transform_prepared_for_inference_computes_the_same(norm, direction):
    net = trained(norm)[direction].at(30)
    shape = (1, LATENT, 3, 2) if direction else (1, 3, 48, 32)
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(shape, dtype=torch.float64).to(memory_format=layout)
        kept = x.clone()
        prepared = prepare_inference(copy.deepcopy(net).to(memory_format=layout))
        with torch.inference_mode():
            torch.testing.assert_close(prepared(x), net(x), atol=1e-12, rtol=1e-12)
        assert torch.equal(x, kept)
    assert any(isinstance(m, FixedGDN) for m in prepared.modules()) == norm.startswith("gdn")


@NAMES
@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("direction", [0, 1])
def test_a_transform_at_one_quality_computes_what_it_does_in_a_batch(norm, padding, direction):
    net = trained(norm, padding=padding)[direction]
    assert isinstance(net, Transform)
    shape = (1, LATENT, 3, 2) if direction else (1, 3, 48, 32)
    x = torch.randn(shape, dtype=torch.float64)
    qualities = [0.0, 33.0, 50.0, 100.0]
    where = place(torch.tensor(qualities, dtype=torch.float64), NODES)
    with torch.inference_mode():
        batch = net(x.expand(4, *shape[1:]), where)
        for quality, expected in zip(qualities, batch, strict=True):
            torch.testing.assert_close(net.at(quality)(x)[0], expected, atol=1e-6, rtol=1e-6)
    # Scale and shift of a channel are what instance normalisation takes away.
    follows = (batch[0] - batch[3]).abs().max() > 1e-4
    assert follows == (norm != "instance")


@pytest.mark.parametrize("norm", ["gdn1", "gdn", "batch", "none"])
def test_a_flat_image_has_a_flat_latent(norm):
    net = trained(norm)[0].at(30)
    colour = torch.randn(1, 3, 1, 1, dtype=torch.float64)
    with torch.inference_mode():
        y = net(colour.expand(-1, -1, 48, 80))
    torch.testing.assert_close(y, y[:, :, :1, :1].expand_as(y))


def test_the_input_of_a_transposed_convolution_goes_on_as_its_outermost_values():
    padded = trained("gdn1")[1].at(30)[-2:]
    x = torch.randn(1, WIDTHS[0], 4, 6, dtype=torch.float64)
    wider = nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    with torch.inference_mode():
        torch.testing.assert_close(padded(x), padded(wider)[..., 4:-4, 4:-4])


@pytest.mark.parametrize("direction", [0, 1])
def test_padding_changes_what_is_near_the_border_and_nothing_else(direction):
    torch.manual_seed(0)
    replicate, zeros = (both("gdn1", padding=p)[direction] for p in ("replicate", "zeros"))
    zeros.load_state_dict(replicate.state_dict())
    shape = (1, LATENT, 7, 8) if direction else (1, 3, 112, 128)
    x = torch.rand(shape, dtype=torch.float64)
    with torch.inference_mode():
        y, z = (net.double().at(30)(x) for net in (replicate, zeros))
    # As far as the halos of gdncodec.tiles.geometry: 1 and 2 latent positions, or 2 and 1.
    inside = slice(16, -32) if direction else slice(2, -1)
    torch.testing.assert_close(y[..., inside, inside], z[..., inside, inside])
    for edge in (y - z)[..., 0, :], (y - z)[..., -1, :], (y - z)[..., 0], (y - z)[..., -1]:
        assert edge.abs().max() > 1e-3


def test_a_new_transform_is_the_same_at_every_quality():
    for net, shape in zip(both("gdn1"), ((1, 3, 32, 32), (1, LATENT, 2, 2)), strict=True):
        x = torch.randn(shape)
        assert torch.equal(net.at(0)(x), net.at(77)(x))


def test_the_configuration_remembers_options_and_folding():
    config = ModelConfig("frn:learnable_eps=true", "mabn", folded=True)
    assert ModelConfig.from_json(config.to_json()) == config
    assert norm_info(config.norm).tile is TileClass.WHOLE_IMAGE
    assert ModelConfig.from_json('{"padding": "zeros"}').folded is False


class Halve(nn.Module):
    """A user's own layer: a learned factor for each channel, which folds."""

    def __init__(self, channels, *, inverse=False, start=0.5):
        super().__init__()
        self.factor = nn.Parameter(torch.full((channels,), start))

    def forward(self, x):
        return x * self.factor[:, None, None]

    def scale_and_shift(self):
        return self.factor, torch.zeros_like(self.factor)


@pytest.fixture
def own_norm(monkeypatch):
    info = NormInfo(f"{__name__}:Halve", TileClass.FROZEN_AFFINE, "a factor for each channel")
    monkeypatch.setitem(NORMS, "halve", info)
    return "halve:start=0.75"


def test_a_norm_of_the_users_own_works_in_the_transforms(own_norm):
    g_a = analysis(config_of(own_norm)).double()
    assert (g_a[1][0].factor == 0.75).all()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(fold(g_a).at(50)(x), g_a.at(50)(x))


def round_trip(config, photo, folder):
    """Train three steps, export, compress, decompress; return network, model and image."""
    from gdncodec.codec import Codec
    from gdncodec.images.raster import RasterImage
    from gdncodec.modelfile import save_model
    from gdncodec.training.crops import CropSampler
    from gdncodec.training.distributed import ALONE
    from gdncodec.training.export import export_model
    from gdncodec.training.loop import train
    from gdncodec.training.options import TrainingOptions
    from gdncodec.training.state import TrainingState

    options = TrainingOptions(
        steps=3, batch=2, crop=32, warmup=1, decay=0, mixed=0, frozen=0, statistics_batches=3
    )
    state = TrainingState(config, options, ALONE)
    pixels = torch.from_numpy(photo).permute(2, 0, 1)
    train(state, CropSampler([pixels], options.crop, options.batch, options.seed))
    network = state.average
    model, _ = export_model(network.eval(), [photo[:64, :64]])
    path = folder / "model.safetensors"
    save_model(path, model, {})
    codec = Codec(path)
    return network, model, codec.decompress(codec.compress(RasterImage(photo), 50)).pixels


@pytest.mark.parametrize("norm", [*NORMS, "own", "mabn:centred=true", "frn:learnable_eps=true"])
def test_every_norm_trains_and_comes_back_from_a_gdn_file(norm, own_norm, photo, tmp_path):
    norm = own_norm if norm == "own" else norm
    synthesis_norm = norm.replace(":centred=true", "")
    config = ModelConfig(norm, synthesis_norm, WIDTHS, WIDTHS, LATENT)
    network, model, back = round_trip(config, photo[:80, :70], tmp_path)
    assert back.shape == (80, 70, 3)
    left = model.config.latent_channels  # of untrained channels some are never coded
    expected = dataclasses.replace(config, folded=model.config.folded, latent_channels=left)
    assert model.config == expected
    # The file's image is that of the trained network, with weights rounded for the model file.
    x = torch.from_numpy(photo[:80, :70]).permute(2, 0, 1)[None].float() / 255
    x = nn.functional.pad(x, (0, 10, 0, 0), mode="replicate")
    with torch.inference_mode():
        x_hat = network(x, torch.tensor([50.0]), "round").x_hat[0, :, :, :70]
    theirs = torch.from_numpy(back).permute(2, 0, 1).float() / 255
    # Rounded weights let a few symbols fall on the other side, and change the pixels around them.
    differences = (x_hat.clamp(0, 1) - theirs).abs()
    assert differences.mean() < 0.01
    assert (differences > 0.05).float().mean() < 0.05
