import os

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_place_for_models(tmp_path_factory):
    """Keep the user's own models out of the tests."""
    os.environ["GDNCODEC_MODELS"] = str(tmp_path_factory.mktemp("user-models"))


@pytest.fixture(scope="session")
def photo():
    """A smooth image with texture, (150, 203, 3) uint8."""
    rows, columns = np.mgrid[0:150, 0:203]
    noise = np.random.default_rng(1).normal(0, 8, (150, 203))
    channels = [
        128 + 90 * np.sin(rows / a) * np.cos(columns / b) + noise
        for a, b in ((23, 31), (17, 40), (29, 19))
    ]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, photo, monkeypatch):
    """A working folder with one image in it."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("img.png")
    return tmp_path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, photo):
    """Path of a small untrained model file."""
    import torch

    from gdncodec.config import ModelConfig
    from gdncodec.modelfile import save_model
    from gdncodec.nn.model import CodecModel
    from gdncodec.training.export import export_model

    torch.manual_seed(3)
    config = ModelConfig(widths=(6, 8, 10), synthesis_widths=(6, 8, 10), latent_channels=12)
    network = CodecModel(config).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "scale_" in name or "shift_" in name:  # the transforms follow the quality
                value += 0.005 * torch.randn_like(value)
    model, _ = export_model(network, [photo])
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_model(path, model, {})
    return path
