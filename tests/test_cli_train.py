"""``gdncodec train``."""

import numpy as np
import pytest
from command_line import run
from PIL import Image


def test_training_from_a_folder_gives_a_model_that_compresses(folder, photo):
    images = folder / "images" / "deep"
    images.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(np.roll(photo, 20 * i, axis=1)).save(images / f"{i}.png")
    Image.new("RGB", (20, 20)).save(images / "small.png")
    (images / "bad.png").write_text("no image")
    output = run(
        "train", "--data", "images", "--out", "run", "--steps", 3, "--batch", 2, "--crop", 64,
        "--widths", 4, 4, 4, "--latent-channels", 4,
    ).stderr  # fmt: skip
    assert "skipped images/deep/bad.png" in output
    assert "small.png: 20 x 20 is smaller" in output
    run("compress", "img.png", "--model", "run/model.safetensors")
    run("verify", "img.gdn", "--model", "run/model.safetensors")
    run("train", "--data", "images", "--out", "run", "--steps", 3, code=6)
    run("models", "export", "run/last.safetensors", "--data", "images", "-o", "a.safetensors")
    run("compress", "img.png", "b.gdn", "--model", "a.safetensors")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--steps", 1, "--crop", 50],
        ["--steps", 1, "--norm", "nonsense"],
        ["--steps", 1, "--lambda", 0.01, "--lambda-range", 0.01, 0.02],
        ["--steps", 1, "--metric", "ms-ssim", "--crop", 128],
        ["--steps", 1, "--device", "nonsense"],
    ],
)
def test_wrong_training_options_are_refused(folder, arguments):
    run("train", "--data", ".", "--out", "run", *arguments, code=2)
    assert not (folder / "run" / "model.safetensors").exists()
