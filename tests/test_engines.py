"""The engines against each other, and how one is chosen."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_info

import gdncodec
from gdncodec.catalog import find_model
from gdncodec.codec import Codec
from gdncodec.config import ModelConfig
from gdncodec.engines import choice
from gdncodec.engines import numpy as numpy_engine
from gdncodec.engines import openvino as openvino_engine
from gdncodec.engines.choice import ENGINES, OPENVINO_PIXELS, open_engine
from gdncodec.engines.numpy import NumpyEngine
from gdncodec.engines.openvino import OpenVinoEngine
from gdncodec.engines.precision import BFLOAT16_QUALITY
from gdncodec.engines.torch import TorchEngine
from gdncodec.errors import ModelError, UsageError
from gdncodec.images.raster import RasterImage
from gdncodec.modelfile import Model, load_model
from gdncodec.nn.inference import fold
from gdncodec.nn.model import CodecModel
from gdncodec.threads import one_blas_thread

SAMPLE = Path(__file__).parents[1] / "data" / "astronaut.png"
LOCAL = [
    "gdn", "gdn1", "gdn:beta_min=0.01", "none", "channel", "channel:eps=0.1", "crossnorm", "batch",
]  # fmt: skip


def made(norm, padding="replicate"):
    """Return a model of a norm whose parameters are off their initial values."""
    torch.manual_seed(0)
    folded = norm == "batch"
    config = ModelConfig(
        norm=norm,
        synthesis_norm=norm,
        widths=(6, 20, 10),
        synthesis_widths=(18, 8, 10),
        latent_channels=12,
        padding=padding,
        folded=folded,
    )
    network = CodecModel(ModelConfig(**{**vars(config), "folded": False})).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter) * (parameter.abs().mean() + 0.1)
    tensors = {}
    for name, net in (("analysis", network.g_a), ("synthesis", network.g_s)):
        for key, value in (fold(net) if folded else net).state_dict().items():
            tensors[f"{name}.{key}"] = value.numpy()
    return Model(config, tensors)


def at(model, quality=37.5):
    return NumpyEngine(model).at(quality), TorchEngine(model).at(quality)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def openvino_in_float32(model):
    return OpenVinoEngine(model, bfloat16=False)


def in_bfloat16(model):
    return OpenVinoEngine(model, bfloat16=True)


@pytest.mark.parametrize("engine", [NumpyEngine, openvino_in_float32])
@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("norm", LOCAL)
def test_every_engine_computes_what_torch_does(norm, padding, engine, rng):
    model = made(norm, padding)
    ours, theirs = engine(model).at(37.5), TorchEngine(model).at(37.5)
    x = rng.integers(0, 256, (48, 80, 3), np.uint8)
    assert_close(ours.analysis(x), theirs.analysis(x))
    deep = x.astype(np.uint16) * 257
    assert_close(ours.analysis(deep), theirs.analysis(deep))
    y = rng.normal(0, 2, (12, 3, 5)).astype(np.float32)
    for depth in (8, 16):
        found, expected = ours.synthesis(y, depth), theirs.synthesis(y, depth)
        assert found.dtype == expected.dtype
        assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("norm", LOCAL)
def test_bfloat16_gives_nearly_the_same(norm, padding, rng):
    """Eight bits of precision: about 0.4 % for each of four layers and norms."""
    model = made(norm, padding)
    ours, theirs = in_bfloat16(model).at(37.5), TorchEngine(model).at(37.5)
    x = rng.integers(0, 256, (48, 80, 3), np.uint8)
    y = rng.normal(0, 2, (12, 3, 5)).astype(np.float32)
    found, expected = ours.analysis(x), theirs.analysis(x)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    deep = ours.analysis(x.astype(np.uint16) * 257)
    assert np.abs(deep - expected).max() < 0.03 * np.abs(expected).max()
    for depth in (8, 16):
        found, expected = ours.synthesis(y, depth), theirs.synthesis(y, depth)
        assert found.dtype == expected.dtype
        difference = np.abs(found.astype(int) - expected) / (2**depth - 1)
        assert difference.max() < 0.05
        assert difference.mean() < 0.005


def precision_of(model, quality):
    return OpenVinoEngine(model).precision(quality)


def test_bfloat16_is_used_where_it_costs_nothing(monkeypatch):
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: True)
    model = made("gdn1")
    assert precision_of(model, BFLOAT16_QUALITY) == "bfloat16"
    assert precision_of(model, BFLOAT16_QUALITY + 0.01) == "float32"
    other = Model(ModelConfig(**{**vars(model.config), "metric": "ms-ssim"}), model.tensors)
    assert precision_of(other, 0) == "float32"  # the limit is one of PSNR
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: False)
    assert precision_of(model, 0) == "float32"


def test_bfloat16_costs_at_most_a_hundredth_of_a_decibel_where_it_is_used():
    with Image.open(SAMPLE) as image:
        photo = RasterImage(np.asarray(image.convert("RGB"))[:256, :384])
    plain, fast = Codec(engine="numpy"), Codec(engine="openvino")
    fast.engine = OpenVinoEngine(fast.model, bfloat16=True)
    errors = []
    for codec in (plain, fast):
        codec.encoder._engine = codec.decoder._engine = codec.engine
        decoded = codec.decompress(codec.compress(photo, BFLOAT16_QUALITY)).pixels
        errors.append(np.square(decoded.astype(float) - photo.pixels).mean())
    assert 10 * np.log10(errors[1] / errors[0]) < 0.02


@pytest.mark.parametrize("depth", [8, 16])
def test_a_network_is_compiled_once_for_a_quality(depth, rng, monkeypatch):
    engine = openvino_in_float32(made("gdn1"))
    y = rng.normal(0, 2, (12, 3, 5)).astype(np.float32)
    first = engine.at(20).synthesis(y, depth)
    monkeypatch.setattr(openvino_engine, "_core", None)  # nothing can be compiled any more
    np.testing.assert_array_equal(engine.at(20).synthesis(y, depth), first)
    with pytest.raises(TypeError):
        engine.at(30).synthesis(y, depth)


def test_openvino_has_the_gradient_too(rng):
    model = made("gdn1")
    ours, theirs = openvino_in_float32(model).at(37.5), TorchEngine(model).at(37.5)
    y = rng.normal(0, 2, (12, 3, 5)).astype(np.float32)
    x, where = rng.integers(0, 256, (37, 60, 3), np.uint8), (slice(3, 40), slice(10, 70))
    assert_close(ours.error_gradient(y, x, where), theirs.error_gradient(y, x, where))


@pytest.mark.parametrize("padding", ["replicate", "zeros"])
@pytest.mark.parametrize("norm", LOCAL)
def test_numpy_has_the_gradient_of_torch(norm, padding, rng):
    ours, theirs = at(made(norm, padding))
    y = rng.normal(0, 2, (12, 3, 5)).astype(np.float32)
    x, where = rng.integers(0, 256, (37, 60, 3), np.uint8), (slice(3, 40), slice(10, 70))
    assert_close(ours.error_gradient(y, x, where), theirs.error_gradient(y, x, where))


def test_all_engines_give_nearly_the_same_symbols_and_pixels():
    with Image.open(SAMPLE) as image:
        photo = RasterImage(np.asarray(image.convert("RGB"))[:300, :400])
    model = load_model(find_model())
    engines = [NumpyEngine(model), openvino_in_float32(model), TorchEngine(model)]
    for quality in (0, 50, 100):
        point = model.at(quality)
        padded = photo.pixels[:288, :400].copy()
        found = [point.quantise(engine.at(quality).analysis(padded)) for engine in engines]
        pixels = [engine.at(quality).synthesis(point.dequantise(found[0])) for engine in engines]
        for symbols, decoded in zip(found[1:], pixels[1:], strict=True):
            assert (found[0] != symbols).sum() <= 2  # of values halfway between two symbols
            assert np.abs(pixels[0].astype(int) - decoded).max() <= 1
            assert (pixels[0] != decoded).mean() < 1e-3


def test_effort_saves_bits_without_torch_as_well():
    with Image.open(SAMPLE) as image:
        part = np.asarray(image.convert("RGB"))[100:228, 100:228]
    costs = []
    for effort in (0, 3):
        codec = Codec(engine="numpy")
        data = codec.compress(RasterImage(part), 50, effort=effort)
        mse = np.square(codec.decompress(data).pixels.astype(float) - part).mean()
        costs.append(8 * len(data) / part[..., 0].size + codec.model.at(50).rate_weight * mse)
    assert costs[1] < 0.99 * costs[0]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_result_does_not_depend_on_chunks_and_threads(threads, rng, monkeypatch):
    model = made("gdn1")
    x = rng.integers(0, 256, (160, 96, 3), np.uint8)
    whole = NumpyEngine(model, 1).at(50)
    expected = whole.analysis(x)
    monkeypatch.setattr(numpy_engine, "_CHUNK", 3000)
    parts = NumpyEngine(model, threads).at(50)
    assert_close(parts.analysis(x), expected)
    decoded = parts.synthesis(expected, 16).astype(int)
    assert np.abs(decoded - whole.synthesis(expected, 16)).max() <= 1


def used_by_auto(model, quality, pixels):
    engine = open_engine(model)
    engine.at(quality, pixels)
    return engine.used


def test_auto_takes_openvino_for_large_images(monkeypatch):
    model = load_model(find_model())
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: True)
    low, full = OPENVINO_PIXELS["bfloat16"], OPENVINO_PIXELS["float32"]
    assert used_by_auto(model, 50, None) == "numpy"
    assert used_by_auto(model, 50, low - 1) == "numpy"
    assert used_by_auto(model, 50, low) == "openvino, bfloat16"
    assert used_by_auto(model, 90, full - 1) == "numpy"
    assert used_by_auto(model, 90, full) == "openvino, float32"
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: False)
    assert used_by_auto(model, 50, low) == "numpy"
    assert used_by_auto(model, 50, full) == "openvino, float32"
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    assert used_by_auto(model, 50, full) == "numpy"


def test_auto_takes_torch_for_norms_that_only_it_has():
    assert open_engine(made("instance")).name == "torch"


@pytest.mark.parametrize("name", ENGINES[1:])
def test_an_engine_can_be_chosen(name):
    engine = open_engine(made("gdn1"), name, device="cpu", threads=2)
    assert engine.name == name
    assert getattr(engine, "threads", 2) == 2


def test_engines_that_cannot_be_are_refused():
    model = load_model(find_model())
    with pytest.raises(
        UsageError, match="engine must be one of auto, numpy, openvino, torch, got 'jax'"
    ):
        open_engine(model, "jax")
    for name in ("numpy", "openvino"):
        with pytest.raises(UsageError, match=f"{name} runs on the CPU only, got device 'cuda'"):
            open_engine(model, name, device="cuda")
        with pytest.raises(ModelError, match=f"the engine {name} cannot run norm instance"):
            open_engine(made("instance"), name)
    with pytest.raises(UsageError, match="'nowhere' cannot be used"):
        open_engine(model, device="nowhere")


def test_images_need_no_torch_and_a_norm_that_does_says_so(tmp_path):
    code = """
import sys
sys.modules["torch"] = sys.modules["openvino"] = None
import numpy as np
import gdncodec
from PIL import Image
image = Image.fromarray(np.zeros((40, 50, 3), np.uint8))
data = gdncodec.compress(image, effort=1)
assert gdncodec.decompress(data).shape == (40, 50, 3)
from gdncodec.engines.choice import open_engine
from gdncodec.modelfile import Model
from gdncodec.config import ModelConfig
try:
    open_engine(Model(ModelConfig(norm="layer"), {}))
except gdncodec.GdnCodecError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "torch not installed: pip install 'gdncodec[train]'\n", run.stderr


def blas_threads():
    """Return the threads of NumPy's own BLAS; other libraries bring theirs."""
    own = [lib for lib in threadpool_info() if "numpy" in lib["filepath"]]
    return {lib["num_threads"] for lib in own if lib["user_api"] == "blas"}


def test_the_blas_gets_its_threads_back():
    before = blas_threads()
    with one_blas_thread():
        assert blas_threads() <= {1}  # a BLAS that nothing can limit is not listed
        with one_blas_thread():
            pass
        assert blas_threads() <= {1}
    assert blas_threads() == before


def test_the_blas_gets_its_threads_back_from_several_threads():
    before = blas_threads()
    entered, leave = threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with one_blas_thread():
        thread.start()
        entered.wait()
    leave.set()
    thread.join()
    assert blas_threads() == before


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["train", "--data", ".", "--out", "run"], "train"),
        (["models", "import", "a.png"], "train"),
        (["eval", "a.png", "--out", "out"], "eval"),
        (["compare", "a.png"], "eval"),
        (["compress", "a.png", "--target-ms-ssim", "0.9"], "eval"),
        (["compress", "a.png", "--device", "cuda"], "train"),
        (["compress", "a.png", "--engine", "torch"], "train"),
        (["compress", "a.png", "--engine", "openvino"], "fast"),
    ],
)
def test_commands_that_need_a_package_name_the_extra(tmp_path, arguments, extra):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['openvino'] = None; "
        f"from gdncodec.cli import main; main({arguments!r})"
    )
    path = str(Path(__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    package = "openvino" if extra == "fast" else "torch"
    assert run.stderr == f"Error: {package} not installed: pip install 'gdncodec[{extra}]'\n"
    assert run.returncode == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]


def test_the_settings_of_a_program_change_nothing_and_are_left_as_they_are(rng):
    transforms = TorchEngine(made("gdn1")).at(50)
    x = rng.integers(0, 256, (64, 64, 3), np.uint8)
    y = transforms.analysis(x)
    expected = transforms.synthesis(y, 16), transforms.error_gradient(y, x, (slice(64),) * 2)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), torch.inference_mode():
            fresh = TorchEngine(made("gdn1")).at(50)
            for found in (transforms, fresh):
                np.testing.assert_array_equal(found.analysis(x), y)
                np.testing.assert_array_equal(found.synthesis(y, 16), expected[0])
                gradient = found.error_gradient(y, x, (slice(64),) * 2)
                np.testing.assert_array_equal(gradient, expected[1])
            assert torch.is_autocast_enabled("cpu")
            assert not torch.is_grad_enabled()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def state_of_torch():
    precisions = [torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark]
    if hasattr(torch.backends, "fp32_precision"):
        precisions += [torch.backends.mkldnn.conv.fp32_precision]
        precisions += [torch.backends.mkldnn.matmul.fp32_precision]
    return [
        torch.get_default_dtype(), torch.get_num_threads(), torch.get_deterministic_debug_mode(),
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"), precisions, torch.get_rng_state().tolist(),
    ]  # fmt: skip


@pytest.fixture
def odd_torch():
    """PyTorch with settings that programs have, and nobody expects."""
    before, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_deterministic_debug_mode("error")
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(1)
    torch.manual_seed(7)
    yield
    torch.set_default_dtype(before)
    torch.set_deterministic_debug_mode("default")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    torch.set_num_threads(threads)


def test_no_setting_of_torch_reaches_the_engine_or_is_changed_by_it(rng, request):
    model, x = made("gdn1"), rng.integers(0, 256, (64, 64, 3), np.uint8)

    def results(engine):
        transforms = engine.at(50)
        y = transforms.analysis(x)
        gradient = transforms.error_gradient(y, x, (slice(64),) * 2)
        return y, transforms.synthesis(y, 16), gradient

    expected = results(TorchEngine(model, threads=1))
    request.getfixturevalue("odd_torch")
    state = state_of_torch()
    for threads in (None, 1, 2):
        found = results(TorchEngine(model, threads=threads))
        assert state_of_torch() == state
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == theirs.dtype
            if threads != 2:  # sums of more threads are rounded differently
                np.testing.assert_array_equal(ours, theirs)


# Each flag in a process of its own: some cannot be set any more once others have been.
FLAGS = """
import operator, os, sys
import torch
from gdncodec.engines.torch_state import own_state

def state():
    found = []
    getters = [operator.attrgetter(f"backends.{name}") for name in VALUES]
    for get in (lambda torch: torch.get_float32_matmul_precision(), *getters):
        try:
            found.append(get(torch))
        except RuntimeError as error:  # of PyTorch: set by one interface and read by another
            found.append(str(error))
    return found

def tried(name, value):
    owner, _, flag = name.rpartition(".")
    setattr(operator.attrgetter(owner)(torch.backends) if owner else torch.backends, flag, value)
    before = state()
    with own_state(torch.device("cpu")):
        assert not torch.backends.cudnn.benchmark
        if PRECISIONS:
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
            assert torch.backends.mkldnn.conv.fp32_precision == "ieee"
    assert state() == before, (name, before, state())
    if name == "fp32_precision":  # the others still follow this one
        torch.backends.fp32_precision = "ieee"
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"

VALUES = {
    "cuda.matmul.allow_tf32": [True], "cuda.matmul.allow_bf16_reduced_precision_reduction": [False],
    "cudnn.allow_tf32": [False], "cudnn.benchmark": [True], "cudnn.deterministic": [True],
    "cudnn.enabled": [False], "mkldnn.enabled": [False],
}
PRECISIONS = hasattr(torch.backends, "fp32_precision")  # since PyTorch 2.9
if PRECISIONS:
    for owner in ("", "cudnn.", "cudnn.conv.", "cuda.matmul.", "mkldnn.", "mkldnn.conv."):
        VALUES[owner + "fp32_precision"] = ["tf32", "ieee"]
for name, values in VALUES.items():
    for value in values:
        child = os.fork()
        if child == 0:
            tried(name, value)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, name
"""


def test_flags_of_cuda_and_other_libraries_are_left_as_they_are():
    place = str(Path(gdncodec.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": place, "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run(
        [sys.executable, "-c", FLAGS], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_the_first_use_from_eight_threads_changes_nothing_of_the_programs(rng, odd_torch):
    model, x = made("gdn1"), rng.integers(0, 256, (64, 64, 3), np.uint8)
    engine, state = TorchEngine(model), state_of_torch()
    start = threading.Barrier(8)

    def work(quality):
        start.wait()
        transforms = engine.at(quality)
        return transforms.synthesis(transforms.analysis(x), 16)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, [50.0] * 8))
    assert state_of_torch() == state
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("norm", ["frn", "mabn"])
def test_tensors_that_only_a_layer_knows_are_checked_when_the_engine_opens(norm):
    model = made("gdn1")
    config = ModelConfig(**{**vars(model.config), "norm": norm})
    with pytest.raises(ModelError, match="analysis do not fit its norm"):
        TorchEngine(Model(config, model.tensors))


@pytest.mark.parametrize("engine", [NumpyEngine, openvino_in_float32, TorchEngine])
@pytest.mark.parametrize("norm", ["none", "batch", "channel"])
def test_a_norm_that_does_not_fit_the_tensors_is_refused(engine, norm, rng):
    """Not run without its parameters, which would make files that nobody can read."""
    model = made("gdn1")
    config = ModelConfig(
        **{**vars(model.config), "norm": norm, "synthesis_norm": norm, "folded": norm == "batch"}
    )
    transforms = engine(Model(config, model.tensors)).at(50)
    with pytest.raises(ModelError, match="do not fit"):
        transforms.analysis(rng.integers(0, 256, (32, 32, 3), np.uint8))


@pytest.mark.parametrize("changed", [{"norm": 5}, {"widths": (1.5, 2, 3)}, {"folded": "x"}])
def test_a_configuration_has_values_of_the_right_types(changed):
    with pytest.raises(UsageError):
        ModelConfig(**changed)


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_an_engine_keeps_the_transforms_of_the_last_quality_only(tiny_model, name):
    """Folding a quality into the weights would take longer than a small image."""
    model = load_model(find_model(tiny_model))
    engine = open_engine(model, name)
    first = engine.at(20)
    assert engine.at(20) is first
    assert engine.at(30).quality == 30
    assert engine.at(20) is not first
