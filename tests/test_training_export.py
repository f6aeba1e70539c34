"""Export of a trained network as a model."""

import numpy as np
import torch

from gdncodec.codec import Codec
from gdncodec.config import ModelConfig
from gdncodec.container import unpack
from gdncodec.engines.torch import TorchEngine
from gdncodec.images.raster import RasterImage
from gdncodec.modelfile import save_model
from gdncodec.nn.model import CodecModel
from gdncodec.nn.nodes import place
from gdncodec.training.export import export_model

CONFIG = ModelConfig(widths=(4, 6, 8), synthesis_widths=(4, 6, 8), latent_channels=6)


def test_tables_are_fitted_to_the_latents_of_each_quality(photo):
    """The first convolution gives nothing at quality 0: all is silent there, and busy at 100."""
    torch.manual_seed(1)
    network = CodecModel(CONFIG).eval()
    with torch.no_grad():
        network.log_gain[:] = 3.0
        for i in (0, 2, 4):
            network.g_a.get_parameter(f"scale_{i}")[0] = -1.0
        network.g_a[6].bias.zero_()
    model, _ = export_model(network, [photo])
    assert model.at(0).silent.all()
    assert not model.at(100).silent.any()


def test_channels_that_are_never_coded_are_left_out(photo, tmp_path, monkeypatch):
    torch.manual_seed(1)
    network = CodecModel(CONFIG).eval()
    with torch.no_grad():
        network.log_gain[:, [1, 4]] = -9.0
    small, _ = export_model(network, [photo])
    assert small.config.latent_channels == 4
    monkeypatch.setattr("gdncodec.training.export._without_silent", lambda model: model)
    whole, _ = export_model(network, [photo])
    results = []
    for name, model in (("small", small), ("whole", whole)):
        save_model(tmp_path / f"{name}.safetensors", model, {})
        codec = Codec(tmp_path / f"{name}.safetensors")
        data = codec.compress(RasterImage(photo), 80)
        results.append((unpack(data).chunks, codec.decompress(data).pixels.astype(int)))
    assert results[0][0] == results[1][0]
    assert np.abs(results[0][1] - results[1][1]).max() <= 1


def test_bins_of_channels_that_hold_flat_colours_become_finer(photo):
    torch.manual_seed(1)
    network = CodecModel(CONFIG).eval()
    with torch.no_grad():
        network.log_gain += 3.0
        for channel in (1, 4):  # these see differences alone
            kernels = network.g_a[6].weight[channel]
            kernels -= kernels.mean(dim=(1, 2), keepdim=True)
    wide, _ = export_model(network, [photo])
    fine, _ = export_model(network, [photo], flat=1.5)
    for model in (wide, fine):
        assert model.config.latent_channels == CONFIG.latent_channels
    expected = [1.5, 1.0, 1.5, 1.5, 1.0, 1.5]
    for quality in (0.0, 33.0, 100.0):
        finer = fine.at(quality).gain / wide.at(quality).gain
        np.testing.assert_allclose(finer, expected, rtol=1e-5)
        wider = wide.at(quality).inverse_gain / fine.at(quality).inverse_gain
        np.testing.assert_allclose(wider, expected, rtol=1e-5)


def test_an_exported_model_says_the_same_as_the_network(photo):
    torch.manual_seed(1)
    network = CodecModel(CONFIG).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "scale_" in name or "shift_" in name:
                value += 0.1 * torch.randn_like(value)
    model, _ = export_model(network, [photo])
    transforms = TorchEngine(model).at(33.0)
    pixels = photo[:64, :96]
    y = transforms.analysis(pixels)
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        where = place(torch.tensor([33.0]), CONFIG.gain_nodes)
        expected = network.g_a(x - 0.5, where)[0].numpy()
        gain, inverse, _ = network.gains(where)
    np.testing.assert_allclose(y, expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_allclose(model.at(33.0).gain, gain.flatten().numpy(), rtol=1e-5)
    np.testing.assert_allclose(model.at(33.0).inverse_gain, inverse.flatten().numpy(), rtol=1e-5)
