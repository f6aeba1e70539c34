"""From a trained network to a model."""

import numpy as np
import torch

from gdncodec.codec import Codec
from gdncodec.config import ModelConfig
from gdncodec.engines.torch import TorchEngine
from gdncodec.image import Picture
from gdncodec.nn.model import CodecModel
from gdncodec.nn.nodes import place
from gdncodec.training.export import export_model
from gdncodec.weights import save_model

CONFIG = ModelConfig(widths=(4, 6, 8), synthesis_widths=(4, 6, 8), latent_channels=6)


def test_channels_that_are_never_coded_are_left_out(picture, tmp_path):
    torch.manual_seed(1)
    network = CodecModel(CONFIG).eval()
    with torch.no_grad():
        network.log_gain[:, [1, 4]] = -9.0
    model, _ = export_model(network, [picture])
    assert model.config.latent_channels == 4
    save_model(tmp_path / "small.safetensors", model, {})
    data = Codec(tmp_path / "small.safetensors").compress(Picture(picture), 80)
    decoded = Codec(tmp_path / "small.safetensors").decompress(data).pixels / 255

    x = torch.from_numpy(picture[:144, :192].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = network(x, torch.tensor([80.0]), "round").x_hat[0].permute(1, 2, 0).clamp(0, 1)
    errors = np.abs(decoded[:112, :160] - expected[:112, :160].numpy())
    assert np.median(errors) < 3e-3


def test_an_exported_model_says_the_same_as_the_network(picture):
    torch.manual_seed(1)
    network = CodecModel(CONFIG).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "scale_" in name or "shift_" in name:
                value += 0.1 * torch.randn_like(value)
    model, _ = export_model(network, [picture])
    engine = TorchEngine(model)
    pixels = picture[:64, :96]
    y = engine.analysis(pixels, 33.0)
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        where = place(torch.tensor([33.0]), CONFIG.gain_nodes)
        expected = network.g_a(x - 0.5, where)[0].numpy()
        gain, inverse, _ = network.gains(where)
    np.testing.assert_allclose(y, expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_allclose(model.gain(33.0), gain.flatten().numpy(), rtol=1e-5)
    np.testing.assert_allclose(model.inverse_gain(33.0), inverse.flatten().numpy(), rtol=1e-5)
