import math

import pytest
import torch

from gdncodec.config import QUALITY_LAMBDAS, ModelConfig
from gdncodec.errors import GdnCodecError, ModelError
from gdncodec.evaluation.metrics import ms_ssim as ms_ssim_of_bytes
from gdncodec.nn.loss import RateDistortionLoss, check_metric, ms_ssim, rate_distortion
from gdncodec.nn.model import CodecOutput


def images(side=176):
    torch.manual_seed(0)
    x = (torch.rand(2, 3, side, side) * 255).round()
    x_hat = (x * 0.8 + 20 * torch.rand(2, 1, 1, 1)).round()
    return x / 255, x_hat / 255


def test_rate_and_squared_error_are_those_of_each_image():
    x, x_hat = images(32)
    bits = torch.full((2, 5, 2, 2), 3.0)
    bits[1] = 6
    bpp, mse, distortion = rate_distortion(CodecOutput(x_hat, bits), x)
    assert bpp.tolist() == pytest.approx([60 / 1024, 120 / 1024])
    assert mse.tolist() == pytest.approx(
        [((a - b) ** 2).mean().item() for a, b in zip(x, x_hat, strict=True)]
    )
    assert distortion.tolist() == pytest.approx([255**2 * v for v in mse.tolist()])


def test_ms_ssim_is_that_of_the_evaluation():
    x, x_hat = images()
    out = rate_distortion(CodecOutput(x_hat, torch.ones(2, 1, 11, 11)), x, "ms-ssim")
    for i in range(2):
        a, b = ((255 * t[i]).round().byte().permute(1, 2, 0).numpy() for t in (x, x_hat))
        assert out.distortion[i].item() == pytest.approx(1 - ms_ssim_of_bytes(a, b), abs=1e-5)
    assert (
        out.mse.tolist()
        == rate_distortion(CodecOutput(x_hat, out.bpp[:, None, None, None]), x).mse.tolist()
    )


def test_gradients_of_ms_ssim_are_finite_where_an_image_is_the_negative_of_the_other():
    x, _ = images()
    x_hat = (1 - x).requires_grad_()
    ms_ssim(x_hat, x).sum().backward()
    assert x_hat.grad.isfinite().all()


def test_crops_too_small_for_ms_ssim_are_refused():
    with pytest.raises(ValueError, match="metric ms-ssim needs crops above 160 pixels, got 160"):
        check_metric("ms-ssim", 160)
    check_metric("ms-ssim", 161)
    check_metric("mse", 16)
    x, x_hat = images(160)
    with pytest.raises(ValueError, match="above 160"):
        rate_distortion(CodecOutput(x_hat, x), x, "ms-ssim")


def test_a_missing_package_for_ms_ssim_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("gdncodec.extras.find_spec", lambda name: None)
    with pytest.raises(GdnCodecError, match=r"pytorch_msssim .*pip install 'gdncodec\[train\]'"):
        check_metric("ms-ssim", 256)


def test_the_loss_weighs_distortion_by_lambda():
    lambdas = torch.tensor([0.01, 0.1])
    criterion = RateDistortionLoss((0.01, 0.1))
    bpp, distortion = torch.tensor([1.0, 2.0]), torch.tensor([50.0, 40.0])
    # The first call finds its usual cost in the batch itself.
    cost = bpp + lambdas * distortion
    usual = cost.mean() + 0.01 * (cost - cost.mean())
    assert criterion(bpp, distortion, lambdas).item() == pytest.approx((cost / usual).mean().item())


def test_a_sample_of_enormous_cost_does_not_drown_the_others():
    criterion = RateDistortionLoss((0.01, 0.1))
    lambdas = torch.full((4,), 0.1)
    criterion(torch.ones(4), torch.zeros(4), lambdas)  # the usual cost is 1
    bpp = torch.tensor([1.0, 2.0, 7.9, 1000.0], requires_grad=True)
    loss = criterion(bpp, torch.zeros(4), lambdas)
    (gradient,) = torch.autograd.grad(loss, bpp)
    usual = criterion.usual[-1].item()
    expected = [1 / usual] * 3 + [8 / 1000]
    assert (4 * gradient).tolist() == pytest.approx(expected, rel=1e-5)
    capped = 8 * (1 + math.log(1000 / usual / 8))
    assert 4 * loss.item() == pytest.approx(10.9 / usual + capped, rel=1e-5)


def test_a_configuration_knows_its_metric():
    config = ModelConfig(metric="ms-ssim", lambdas=QUALITY_LAMBDAS["ms-ssim"])
    assert ModelConfig.from_json(config.to_json()) == config
    before = ModelConfig().to_json().replace(', "metric": "mse"', "")
    assert "metric" not in before
    assert ModelConfig.from_json(before).metric == "mse"
    with pytest.raises(ValueError, match="metric must be one of mse, ms-ssim, got 'psnr'"):
        ModelConfig(metric="psnr")
    with pytest.raises(ModelError, match="metric"):
        ModelConfig.from_json(config.to_json().replace("ms-ssim", "psnr"))


@pytest.mark.parametrize(
    ("mse", "ms_ssim"), [(0.0018, 2.40), (0.0067, 8.73), (0.0250, 31.73), (0.1800, 220.0)]
)
def test_lambdas_that_compressai_pairs_have_about_one_quality(mse, ms_ssim):
    qualities = [
        ModelConfig(lambdas=(value, value), metric=metric).fixed_quality
        for value, metric in ((mse, "mse"), (ms_ssim, "ms-ssim"))
    ]
    assert math.dist(qualities[:1], qualities[1:]) < 0.5
