"""Checkpoints of CompressAI become model files that mean the same."""

import dataclasses
import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch.nn import functional as F

from gdncodec.catalog import ModelEntry, find_model
from gdncodec.cli import main
from gdncodec.codec import Codec
from gdncodec.compressai.conversion import import_compressai
from gdncodec.config import MID_GREY, ModelConfig
from gdncodec.engines.torch import TorchEngine
from gdncodec.errors import ModelError
from gdncodec.images.raster import RasterImage
from gdncodec.modelfile import load_model, save_model
from gdncodec.nn.transforms import analysis, synthesis


@pytest.fixture(scope="module")
def compressai():
    """The models of CompressAI."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit")  # of what CompressAI imports
        return pytest.importorskip("compressai.models")


@pytest.fixture(scope="module")
def pixels(photo):
    """An image (256, 320, 3) uint8: CompressAI pads sides that are no multiples of 64."""
    return np.pad(photo, ((0, 106), (0, 117), (0, 0)), mode="reflect")


def as_batch(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def theirs(compressai, pixels):
    """A FactorizedPrior with loud and quiet channels, whose density fits its latents."""
    torch.manual_seed(5)
    net = compressai.FactorizedPrior(16, 24)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith(("beta", "gamma", "bias")):
                value.add_(0.1 * torch.rand_like(value))  # gamma: dense and asymmetric
        y = net.g_a(as_batch(pixels))
        factor = torch.logspace(-1, 1, 24) / y.std((0, 2, 3))
        for value in net.g_a[-1].parameters():
            value.mul_(factor.view(-1, *[1] * (value.ndim - 1)))
        net.g_s[0].weight.div_(factor[:, None, None, None])
        y = net.g_a(as_batch(pixels))
    optimizer = torch.optim.Adam(net.entropy_bottleneck.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        _, likelihood = net.entropy_bottleneck(y, training=True)
        (-likelihood.log().mean()).backward()
        optimizer.step()
    net.update(force=True, update_quantiles=True)
    return net.eval()


@pytest.fixture(scope="module")
def output(theirs, pixels):
    """What CompressAI's forward gives: x_hat and likelihoods."""
    with torch.no_grad():
        return theirs(as_batch(pixels))


@pytest.fixture(scope="module")
def checkpoint(theirs, tmp_path_factory):
    """A file as CompressAI's examples/train.py writes it."""
    path = tmp_path_factory.mktemp("checkpoints") / "theirs.pth.tar"
    more = {"epoch": 3, "loss": torch.tensor(1.5), "optimizer": {"state": {}}}
    torch.save({"state_dict": theirs.state_dict(), **more}, path)
    return path


@pytest.fixture(scope="module")
def model_file(checkpoint):
    model, card = import_compressai(checkpoint)
    path = checkpoint.with_name("theirs.safetensors")
    save_model(path, model, card)
    return path


@pytest.fixture(scope="module")
def model(model_file):
    return load_model(ModelEntry(model_file))


@pytest.fixture(scope="module")
def symbols(model, pixels):
    y = TorchEngine(model).at(0).analysis(pixels)
    return np.rint(y - model.centre[:, None, None]).astype(np.int32)


def loaded(net, model, name):
    net.load_state_dict({k: torch.from_numpy(v) for k, v in model.network(name).items()})
    return net.eval().at(0)


def test_latents_and_symbols_are_those_of_compressai(theirs, model, pixels, symbols):
    with torch.no_grad():
        wanted = theirs.g_a(as_batch(pixels))
        bottleneck = theirs.entropy_bottleneck
        medians = bottleneck.quantiles[:, 0, 1][None, :, None, None]
        wanted_symbols = bottleneck.quantize(wanted, "symbols", medians)
    found = TorchEngine(model).at(0).analysis(pixels)
    largest = wanted.abs().max().item()  # of which a float32 sum in another order is that far off
    np.testing.assert_allclose(found, wanted[0].numpy(), rtol=0, atol=1e-5 * min(largest, 10))
    np.testing.assert_array_equal(symbols, wanted_symbols[0].numpy())
    assert np.abs(symbols).max() > 20
    assert np.abs(model.centre).max() > 0.1


def test_the_reconstruction_is_that_of_compressai(model, symbols, output):
    wanted = output["x_hat"][0].numpy()
    net = synthesis(model.config)
    y_hat = model.at(0).dequantise(symbols)
    with torch.no_grad():
        found = loaded(net, model, "synthesis")(torch.from_numpy(y_hat.astype(np.float32))[None])
    np.testing.assert_allclose(found[0].numpy() + model.config.pixel_offset, wanted, atol=1e-5)
    deep = TorchEngine(model).at(0).synthesis(y_hat, depth=16) / 65535
    limit = 1e-5 + 0.5 / 65535
    assert np.abs(deep.transpose(2, 0, 1) - wanted.clip(0, 1)).max() <= limit
    assert wanted.std() > 0.01


def test_the_bits_are_those_of_compressai(model, symbols, output):
    estimated = -output["likelihoods"]["y"].log2().sum().item()
    quality = model.config.fixed_quality
    assert model.at(quality).information(symbols) == pytest.approx(estimated, rel=0.005)
    data = model.at(quality).encode(symbols)
    assert 8 * len(data) == pytest.approx(estimated, rel=0.005)
    np.testing.assert_array_equal(model.at(quality).decode(data, symbols.shape[1:]), symbols)


def test_more_channels_than_tables_cost_no_more_than_half_a_percent(compressai, tmp_path):
    torch.manual_seed(0)
    net = compressai.FactorizedPrior(2, 300)
    with torch.no_grad():  # densities of 300 widths
        net.entropy_bottleneck.matrices[0].add_(torch.linspace(-3, 3, 300)[:, None, None])
    torch.save(net.state_dict(), tmp_path / "a.pth")
    model, card = import_compressai(tmp_path / "a.pth")
    assert model.tables.halfwidths.size <= 256
    bits = card["tables"]
    assert bits["bits_density"] <= bits["bits_tables"] <= 1.005 * bits["bits_density"]


def test_an_image_of_odd_size_goes_through_our_codec(theirs, model_file, pixels):
    codec = Codec(model_file)
    cut = pixels[:131, :97]
    found = codec.decompress(codec.compress(RasterImage(cut))).pixels
    with torch.no_grad():
        whole = F.pad(as_batch(cut), (0, 15, 0, 13), mode="replicate")
        wanted = theirs(whole)["x_hat"][0, :, :131, :97].clamp(0, 1) * 255
    difference = found.astype(int) - wanted.round().permute(1, 2, 0).numpy()
    assert found.shape == cut.shape
    assert np.abs(difference).max() <= 1


def test_the_model_says_where_it_came_from(model_file, checkpoint):
    card = ModelEntry(model_file).card
    assert card["imported"]["file"] == checkpoint.name
    assert re.fullmatch("[0-9a-f]{64}", card["imported"]["sha256"])
    assert card["lambda"] == {
        "value": 0.01,
        "from": "assumed, the default of CompressAI's examples/train.py",
    }


def old_names(state, template):
    """Give the density the names of older versions of CompressAI."""
    kinds = {"matrices": ("_matrices.", "_matrix"), "biases": ("_biases.", "_bias")}
    kinds["factors"] = ("_factors.", "_factor")

    def name_of(found):
        return "entropy_bottleneck." + kinds[found[1]][template] + found[2]

    pattern = r"entropy_bottleneck\.(matrices|biases|factors)\.(\d)"
    return {re.sub(pattern, name_of, k): v for k, v in state.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state,
        lambda state: old_names(state, 0),
        lambda state: old_names(state, 1),
        lambda state: {f"module.{k}": v for k, v in state.items()},
        lambda state: {k: v for k, v in state.items() if not k.endswith(("_cdf", ".pedestal"))},
    ],
    ids=["bare", "lists", "numbered", "parallel", "without buffers"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_of_all_ages_give_the_same_model(theirs, model, tmp_path, change, zipped):
    path = tmp_path / "a.pth"
    torch.save(change(theirs.state_dict()), path, _use_new_zipfile_serialization=zipped)
    found, _ = import_compressai(path)
    assert found.fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("name", "given", "metric", "expected"),
    [
        ("a.pth", {}, "mse", 0.01),
        ("a.pth", {"one_lambda": 0.02}, "mse", 0.02),
        ("bmshj2018-factorized-prior-6-9b02ea3a.pth.tar", {}, "mse", 0.0483),
        ("bmshj2018-factorized-prior-6-9b02ea3a.pth.tar", {"one_lambda": 0.18}, "mse", 0.18),
        ("bmshj2018-factorized-ms-ssim-6-ee028763.pth.tar", {}, "ms-ssim", 60.5),
    ],
)
def test_lambda_is_given_or_known_from_a_published_name_or_assumed(
    checkpoint, model, tmp_path, name, given, metric, expected
):
    (tmp_path / name).write_bytes(checkpoint.read_bytes())
    found, card = import_compressai(tmp_path / name, **given)
    assert found.config.lambdas == (expected, expected)
    assert found.config.metric == metric
    assert found.fingerprint == model.fingerprint
    assert ("assumed" in card["lambda"]["from"]) == (expected == 0.01)


def test_an_unusable_lambda_is_refused(checkpoint):
    with pytest.raises(ValueError, match="lambda"):
        import_compressai(checkpoint, one_lambda=-1)


def refused(path):
    """Return the message, one line."""
    with pytest.raises(ModelError) as caught:
        import_compressai(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("g_a.0.weight", None, "is missing"),
        ("g_s.3.gamma", None, "is missing"),
        ("entropy_bottleneck.quantiles", None, "is missing"),
        ("entropy_bottleneck.factors.3", None, "is missing"),
        ("g_a.2.weight", torch.zeros(16, 16, 3, 3), "has shape"),
        ("g_a.6.weight", torch.zeros(24), "has shape"),
        ("g_s.6.bias", torch.tensor([0.0, np.nan, 0.0]), "not finite"),
        ("g_a.1.beta_reparam.lower_bound.bound", torch.ones(1), "is not 0.001"),
        ("h_a.0.weight", torch.zeros(1), "is not part"),
    ],
)
def test_what_a_state_dict_lacks_or_has_too_much_is_named(theirs, tmp_path, name, value, reason):
    state = {k: v for k, v in theirs.state_dict().items() if k != name}
    if value is not None:
        state[name] = value
    torch.save(state, tmp_path / "a.pth")
    message = refused(tmp_path / "a.pth")
    assert name in message
    assert reason in message


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("ScaleHyperprior", "gaussian_conditional"),
        ("FactorizedPriorReLU", "g_a.1.beta is missing"),
        ("Cheng2020Anchor", "g_a.0.weight is missing"),
    ],
)
def test_other_networks_of_compressai_are_refused(compressai, tmp_path, kind, reason):
    channels = (4,) if kind == "Cheng2020Anchor" else (4, 6)
    torch.save(getattr(compressai, kind)(*channels).state_dict(), tmp_path / "a.pth")
    message = refused(tmp_path / "a.pth")
    assert "no bmshj2018-factorized" in message
    assert reason in message


def test_tensors_that_require_a_gradient_are_taken(theirs, model, tmp_path):
    state = {**theirs.state_dict(), "g_a.0.bias": theirs.g_a[0].bias}
    assert state["g_a.0.bias"].requires_grad
    torch.save(state, tmp_path / "a.pth")
    assert import_compressai(tmp_path / "a.pth")[0].fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("g_a.0.weight", torch.zeros(1).expand(5000, 3, 5, 5), "expected four axes of 1 to 1024"),
        ("g_a.0.bias", torch.full((16,), 1e200, dtype=torch.float64), "not finite in float32"),
        ("g_a.0.bias", torch.zeros(16, dtype=torch.int64), "of type torch.int64, expected float"),
        ("g_a.0.bias", torch.zeros(16, dtype=torch.complex64), "of type torch.complex64"),
        ("g_a.0.bias", torch.zeros(16).to_sparse(), "more than tensors"),
        ("g_a.1.beta_reparam.pedestal", torch.zeros(1).expand(1 << 40), "pedestal is not"),
        ("g_a.1.beta_reparam.pedestal", torch.zeros(1, dtype=torch.bool), "pedestal is not"),
        ("g_a.1.beta_reparam.pedestal", torch.zeros(0), "pedestal is not"),
    ],
)
def test_odd_tensors_are_a_models_error(theirs, folder, tmp_path, name, value, reason):
    path = tmp_path / "odd.pth"
    torch.save({**theirs.state_dict(), name: value}, path)
    assert reason in run(path, code=5)
    assert not list(folder.glob("*.safetensors"))


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(checkpoint, tmp_path, share):
    data = checkpoint.read_bytes()
    (tmp_path / "a.pth").write_bytes(data[: int(share * len(data))])
    assert "damaged" in refused(tmp_path / "a.pth")


def test_a_missing_checkpoint_is_named(tmp_path):
    assert "cannot be read" in refused(tmp_path / "gone.pth")


@pytest.mark.parametrize("content", [b"", b"rubbish", bytes(1000), pickle.dumps(ModelConfig())])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    assert "damaged" in refused(tmp_path / "a.pth")


@pytest.mark.parametrize("held", [3, [torch.zeros(3)], {"state_dict": 1}, {"epoch": 3}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "a.pth")
    assert "no state dict" in refused(tmp_path / "a.pth")


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code in the checkpoint was run",))


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"state_dict": _Bomb()}, tmp_path / "a.pth")
    assert "more than tensors" in refused(tmp_path / "a.pth")


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["models", "import", *map(str, arguments)])
    assert result.exit_code == code, result.output
    if code:
        assert not result.stdout
        assert result.stderr.count("\n") == 1
    return result.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder for models, which does not exist yet."""
    monkeypatch.setenv("GDNCODEC_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_the_command_makes_a_model_that_compresses_by_its_name(checkpoint, folder, pixels):
    said = run(checkpoint, "--lambda", 0.013)
    path = folder / "theirs.safetensors"
    assert f"{path}: lambda 0.013" in said
    assert "--model theirs" in said
    assert find_model("theirs").path == path
    photo, packed, again = (folder / name for name in ("a.png", "a.gdn", "b.png"))
    Image.fromarray(pixels[:65, :47]).save(photo)
    for arguments in (["compress", photo, "--model", "theirs"], ["decompress", packed]):
        output = packed if arguments[0] == "compress" else again
        result = CliRunner().invoke(main, [*map(str, arguments), "-o", str(output)])
        assert result.exit_code == 0, result.output
    with Image.open(again) as image:
        assert image.size == (47, 65)


def test_the_command_says_that_a_lambda_is_assumed(checkpoint, folder):
    assert "assumed" in run(checkpoint)


def test_a_model_is_replaced_or_hidden_by_force_only(checkpoint, folder):
    run(checkpoint)
    assert "--force" in run(checkpoint, code=6)
    assert "--force" in run(checkpoint, "--name", "photo", code=2)
    run(checkpoint, "--force", "--lambda", 0.1)
    assert find_model("theirs").config.lambdas == (0.1, 0.1)
    run(checkpoint, "--name", "photo", "--force")
    assert find_model("photo").path.parent == folder


def test_the_model_file_can_be_named(checkpoint, folder, tmp_path):
    path = tmp_path / "mine.safetensors"
    assert f"--model {path}" in run(checkpoint, "-o", path)
    assert not folder.exists()
    assert find_model(path).config.norm == "gdn"
    run(checkpoint, "-o", path, code=6)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--name", "a/b"),
        ("--name", ".safetensors"),
        ("--output", "a.gdn"),
        ("--output", "a.safetensors", "--name", "b"),
        ("--output", "gone/a.safetensors"),
        ("--lambda", 0),
    ],
)
def test_a_wrong_command_line_writes_nothing(checkpoint, folder, arguments):
    run(checkpoint, *arguments, code=2)
    assert not folder.exists()


def test_a_damaged_checkpoint_is_a_models_error(folder, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"rubbish")
    assert "damaged" in run(tmp_path / "a.pth", code=5)
    assert not folder.exists()


def test_offset_and_centre_are_part_of_what_decoding_needs(tiny_model):
    usual = load_model(ModelEntry(tiny_model))
    assert usual.config.pixel_offset == MID_GREY
    assert not usual.centre.any()
    config = dataclasses.replace(usual.config, pixel_offset=0.0)
    tensors = {**usual.tensors, "latent_centre": np.zeros(12, np.float32)}
    prints = {
        usual.fingerprint,
        dataclasses.replace(usual, config=config).fingerprint,
        dataclasses.replace(usual, tensors=tensors).fingerprint,
    }
    assert len(prints) == 3


def test_a_configuration_without_an_offset_is_one_with_mid_grey():
    fields = ModelConfig().to_json().replace(f', "pixel_offset": {MID_GREY}', "")
    assert "pixel_offset" not in fields
    assert ModelConfig.from_json(fields) == ModelConfig()


@pytest.mark.parametrize("offset", [-0.1, 1.1, float("nan")])
def test_an_offset_that_is_no_pixel_is_refused(offset):
    with pytest.raises(ValueError, match="pixel_offset"):
        ModelConfig(pixel_offset=offset)


def test_a_centre_of_another_size_is_refused(tiny_model, tmp_path):
    model = load_model(ModelEntry(tiny_model))
    tensors = {**model.tensors, "latent_centre": np.zeros(5, np.float32)}
    with pytest.raises(ModelError, match="latent_centre"):
        save_model(tmp_path / "a.safetensors", dataclasses.replace(model, tensors=tensors), {})


def test_the_analysis_sees_the_pixels_less_the_offset(tiny_model, pixels):
    model = load_model(ModelEntry(tiny_model))
    model = dataclasses.replace(model, config=dataclasses.replace(model.config, pixel_offset=0.25))
    net = loaded(analysis(model.config), model, "analysis")
    with torch.no_grad():
        wanted = net(as_batch(pixels) - 0.25)[0].numpy()
    np.testing.assert_allclose(
        TorchEngine(model).at(0).analysis(pixels), wanted, rtol=1e-4, atol=1e-5
    )
