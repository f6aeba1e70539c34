"""``gdncodec train``."""

import json

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


def test_every_other_option_of_a_run_is_taken(folder, photo):
    (folder / "images").mkdir()
    (folder / "held").mkdir()
    Image.fromarray(photo[::-1]).save("held/turned.png")
    (folder / "img.png").rename(folder / "images" / "img.png")
    tiny = ["--widths", 4, 4, 4, "--latent-channels", 4, "--batch", 2, "--crop", 32]
    run(
        "train", "--data", "images", "--val", "held", "--out", "run", *tiny, "--steps", 4,
        "--norm", "gdn", "--synthesis-norm", "gdn1", "--lambda-range", 0.002, 0.05,
        "--metric", "mse", "--precision", "float32", "--optimizer", "adam",
        "--learning-rate", 0.002,
        "--decay", 0.5, "--mixed", 0.5, "--drawn", 0.5, "--flat", 2, "--seed", 3,
        "--compile", "off", "--device", "cpu", "--threads", 1, "--quiet",
    )  # fmt: skip
    card = json.loads((folder / "run" / "model.json").read_text())
    assert (
        card["options"] | {"decay": 0.5, "mixed": 0.5, "drawn": 0.5, "flat": 2.0, "seed": 3}
        == (card["options"])
    )
    again = ["run/last.safetensors", "--data", "images", "--flat", 1, "-o", "a.safetensors"]
    run("models", "export", *again, "--quiet")
    run("models", "export", *again, "--quiet", code=6)
    run("models", "export", *again, "--quiet", "--force")


def test_a_run_of_minutes_ends_by_itself(folder):
    (folder / "images").mkdir()
    (folder / "img.png").rename(folder / "images" / "img.png")
    tiny = ["--widths", 4, 4, 4, "--latent-channels", 4, "--batch", 2, "--crop", 32]
    run("train", "--data", "images", "--out", "run", *tiny, "--max-minutes", 0.001, "--quiet")
    run("compress", "images/img.png", "--model", "run/model.safetensors")


def test_rare_options_stand_under_a_heading_of_their_own(folder):
    text = run("train", "--help").stdout
    usual, rare = text.split("Rarely needed:")
    for name in ("--decay", "--mixed", "--drawn", "--flat", "--compile"):
        assert name not in usual
        assert name in rare
    assert "--batch" in usual


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
