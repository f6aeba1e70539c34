import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gdncodec import __version__
from gdncodec.cli import main


@pytest.fixture
def folder(tmp_path, picture, monkeypatch):
    """A working folder with one picture in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture).save("img.png")
    return tmp_path


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    if code:
        assert not result.stdout
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.output
    return result


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_round_trip_never_threatens_the_original(folder):
    before = (folder / "img.png").read_bytes()
    size = run("compress", "img.png").stdout
    run("decompress", "img.gdn")
    assert names(folder) == ["img.decoded.png", "img.gdn", "img.png"]
    assert (folder / "img.png").read_bytes() == before
    with Image.open("img.decoded.png") as image:
        assert image.size == (203, 150)
    assert f"{(folder / 'img.gdn').stat().st_size} bytes" in size
    assert "bpp" in size
    assert ":1" in size


def test_encode_and_decode_are_other_names(folder):
    run("encode", "img.png")
    run("decode", "img.gdn")
    assert names(folder) == ["img.decoded.png", "img.gdn", "img.png"]


def test_quality_changes_the_size(folder):
    run("compress", "img.png", "-q", 5, "-o", "low.gdn")
    run("compress", "img.png", "-q", 80.5, "-o", "high.gdn")
    assert (folder / "low.gdn").stat().st_size < (folder / "high.gdn").stat().st_size


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff", "bmp"])
def test_the_suffix_decides_the_format(folder, suffix):
    run("compress", "img.png")
    run("decompress", "img.gdn", "-o", f"out.{suffix}")
    with Image.open(f"out.{suffix}") as image:
        assert image.size == (203, 150)


def test_quiet_says_nothing_and_verbose_says_more(folder):
    assert run("compress", "img.png", "--quiet").output == ""
    plain = run("compress", "img.png", "--force").stdout
    verbose = run("compress", "img.png", "--force", "-v").stdout
    assert len(verbose) > len(plain)
    assert "quality 50" in verbose
    assert run("decompress", "img.gdn", "--quiet").output == ""
    assert run("verify", "img.gdn", "--quiet").output == ""


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_an_existing_output_is_overwritten_only_with_force(folder, command):
    run("compress", "img.png", "-o", "in.gdn")
    source = "img.png" if command == "compress" else "in.gdn"
    (folder / "out.png").write_bytes(b"precious")
    result = run(command, source, "-o", "out.png", code=6)
    assert "--force" in result.stderr
    assert (folder / "out.png").read_bytes() == b"precious"
    run(command, source, "-o", "out.png", "--force")
    assert (folder / "out.png").read_bytes() != b"precious"


def test_the_input_is_never_the_output(folder):
    before = (folder / "img.png").read_bytes()
    result = run("compress", "img.png", "-o", "img.png", "--force", code=2)
    assert "input itself" in result.stderr
    assert (folder / "img.png").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("compress", "nothing.png"), 3, "no such file"),
        (("compress", "text.png"), 3, "text.png"),
        (("compress", "truncated.png"), 3, "truncated.png"),
        (("compress", "nan.tiff"), 3, "mode F"),
        (("compress", "empty.ppm"), 3, "empty.ppm"),
        (("compress", "animation.gif"), 3, "--frame 0 to --frame 1"),
        (("compress", "animation.gif", "--frame", "2"), 3, "no frame 2"),
        (("compress", "img.png", "--max-pixels", "20000"), 3, "over the limit of 20000"),
        (("compress", "img.png", "--max-pixels", "9"), 3, "bomb"),
        (("compress", "img.png", "-q", "50", "--target-bpp", "1"), 2, "give one of"),
        (("compress", "img.png", "--target-size", "many"), 2, "number of bytes"),
        (("compress", "img.png", "--target-size", "1"), 2, "out of reach: this picture reaches"),
        (("compress", "img.png", "--target-psnr", "99"), 2, "dB"),
        (("compress", "img.png", "--target-ms-ssim", "1"), 2, "below 1"),
        (("compress", "img.png", "--model", "nothing"), 5, "photo"),
        (("compress", "img.png", "--model", "text.png.safetensors"), 5, "not a model file"),
        (("compress", "img.png", "-q", "101"), 2, "quality"),
        (("compress", "img.png", "-q", "nan"), 2, "quality"),
        (("compress", "img.png", "--device", "nowhere"), 2, "nowhere"),
        (("compress", "img.png", "-o", "no/folder.gdn"), 2, "no folder"),
        (("compress", "."), 2, "is a directory"),
        (("decompress", "nothing.gdn"), 4, "nothing.gdn"),
        (("decompress", "img.png"), 4, "not a .gdn file"),
        (("decompress", "short.gdn"), 4, "truncated"),
        (("decompress", "damaged.gdn"), 4, "damaged"),
        (("decompress", "good.gdn", "-o", "out.nonsense"), 3, "cannot write"),
        (("decompress", "good.gdn", "--format", "nonsense"), 3, "cannot write"),
        (("decompress", "alpha.gdn", "-o", "out.jpg"), 3, "no transparency"),
        (("decompress", "good.gdn", "--region", "1,2,3"), 2, "X,Y,W,H"),
        (("decompress", "good.gdn", "--region", "0,0,204,9"), 2, "not inside"),
        (("decompress", "good.gdn", "--max-pixels", "9"), 4, "over the limit of 9"),
        (("view", "damaged.gdn"), 4, "damaged"),
        (("decompress", "good.gdn", "--model", "TINY"), 5, "was made with model"),
        (("verify", "damaged.gdn"), 4, "damaged"),
        (("verify", "foreign.gdn"), 5, "--model"),
        (("info", "img.png"), 4, "not a .gdn file"),
        (("info", "nothing.gdn"), 4, "nothing.gdn"),
    ],
)
def test_bad_input_gets_one_line_and_its_exit_code_and_leaves_nothing(
    folder, tiny_model, arguments, code, text
):
    (folder / "text.png").write_text("no picture")
    (folder / "truncated.png").write_bytes((folder / "img.png").read_bytes()[:5000])
    (folder / "empty.ppm").write_bytes(b"P6 0 0 255\n")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save("nan.tiff")
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save("animation.gif", save_all=True, append_images=frames[1:])
    frames[0].putalpha(9)
    frames[0].save("alpha.png")
    run("compress", "alpha.png")
    run("compress", "img.png", "-o", "good.gdn")
    run("compress", "img.png", "-o", "foreign.gdn", "--model", tiny_model)
    good = (folder / "good.gdn").read_bytes()
    (folder / "short.gdn").write_bytes(good[:-9])
    (folder / "damaged.gdn").write_bytes(good[:60] + bytes([good[60] ^ 4]) + good[61:])
    before = names(folder)
    result = run(*(str(tiny_model) if a == "TINY" else a for a in arguments), code=code)
    assert text in result.stderr
    assert names(folder) == before


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch):
    import errno
    import os

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in run("compress", "img.png", code=1).stderr
    assert names(folder) == ["img.png"]


def test_verify_writes_nothing(folder):
    run("compress", "img.png")
    before = names(folder)
    assert "good, 203 x 150" in run("verify", "img.gdn").stdout
    assert names(folder) == before


def test_info_says_what_is_in_the_file(folder):
    run("compress", "img.png", "-q", 12.5)
    size = (folder / "img.gdn").stat().st_size
    facts = json.loads(run("info", "img.gdn", "--json").stdout)
    assert facts["bytes"] == size
    assert (facts["width"], facts["height"], facts["quality"]) == (203, 150, 12.5)
    assert facts["model"] == "photo"
    assert facts["norm"] == facts["synthesis_norm"] == "gdn1"
    assert facts["tile_class"] == "pointwise"
    assert facts["bpp"] == pytest.approx(size * 8 / 203 / 150, abs=1e-4)
    assert sum(facts["chunks"].values()) == size - 39
    assert "203" in run("info", "img.gdn").stdout


def test_info_of_a_file_of_a_foreign_model_still_works(folder, tiny_model):
    run("compress", "img.png", "--model", tiny_model)
    assert "not installed" in run("info", "img.gdn").stdout
    assert json.loads(run("info", "img.gdn", "--json").stdout)["model"] is None
    run("verify", "img.gdn", "--model", tiny_model)


def test_models_lists_what_there_is(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("GDNCODEC_MODELS", str(tmp_path))
    shutil.copy(tiny_model, tmp_path / "mine.safetensors")
    rows = {row["name"]: row for row in json.loads(run("models", "--json").stdout)}
    assert {"mine", "photo"} <= rows.keys()
    assert rows["photo"]["norm"] == "gdn1"
    assert len(rows["photo"]["bpp"]) == 2
    text = run("models").stdout
    assert rows["mine"]["fingerprint"] in text
    assert rows["photo"]["fingerprint"] in text


def test_a_damaged_model_is_named_and_the_others_are_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("GDNCODEC_MODELS", str(tmp_path))
    (tmp_path / "bad.safetensors").write_bytes(b"rubbish")
    result = run("models")
    assert "bad.safetensors" in result.stderr
    assert "photo" in result.stdout


def test_a_model_in_the_users_folder_decodes_its_files_by_itself(
    folder, tiny_model, tmp_path_factory, monkeypatch
):
    run("compress", "img.png", "--model", tiny_model)
    models = tmp_path_factory.mktemp("own")
    monkeypatch.setenv("GDNCODEC_MODELS", str(models))
    run("verify", "img.gdn", code=5)
    shutil.copy(tiny_model, models)
    run("verify", "img.gdn")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16"])
def test_a_mode_comes_back_as_itself(folder, picture, mode):
    image = Image.fromarray(picture)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    image = image.convert(mode) if mode != "I;16" else image
    image.save("mode.png")
    run("compress", "mode.png")
    run("decompress", "mode.gdn")
    with Image.open("mode.decoded.png") as decoded:
        assert decoded.mode == mode
        assert decoded.size == (203, 150)


def test_what_does_not_come_along_is_told(folder, picture):
    Image.fromarray(picture).convert("CMYK").save("print.jpg")
    result = run("compress", "print.jpg")
    assert "print.jpg: note: its CMYK colours were converted" in result.stderr
    assert run("compress", "print.jpg", "--quiet", "--force").output == ""


def test_metadata_are_kept_or_stripped(folder, picture):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(picture).save("camera.jpg", exif=exif, icc_profile=b"profile")
    run("compress", "camera.jpg")
    assert json.loads(run("info", "camera.gdn", "--json").stdout)["chunks"].keys() == {
        "latents", "icc", "exif",
    }  # fmt: skip
    run("decompress", "camera.gdn", "-o", "back.jpg")
    with Image.open("back.jpg") as image:
        assert image.info["exif"] == exif.tobytes()
        assert image.info["icc_profile"] == b"profile"
        assert image.size == (203, 150)
    run("compress", "camera.jpg", "--strip", "-o", "bare.gdn")
    facts = json.loads(run("info", "bare.gdn", "--json").stdout)
    assert facts["chunks"].keys() == {"latents"}
    assert (facts["width"], facts["height"]) == (150, 203)


def test_a_frame_of_an_animation_is_chosen(folder):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    run("compress", "a.gif", "--frame", 1)
    run("decompress", "a.gdn")
    with Image.open("a.decoded.png") as image:
        red, _, blue = image.getpixel((4, 4))
        assert blue > red + 30


def test_a_region_is_decoded_alone(folder):
    run("compress", "img.png")
    run("decompress", "img.gdn")
    run("decompress", "img.gdn", "--region", "20,30,50,40", "-o", "part.png")
    with Image.open("img.decoded.png") as whole, Image.open("part.png") as part:
        expected = np.asarray(whole.crop((20, 30, 70, 70))).astype(int)
        assert np.abs(expected - np.asarray(part)).max() <= 1


@pytest.mark.parametrize("unit", ["", "k"])
def test_a_target_size_is_met(folder, unit):
    run("compress", "img.png", "-q", 40)
    size = (folder / "img.gdn").stat().st_size + 5
    text = f"{size / 1000}k" if unit else str(size)
    run("compress", "img.png", "--target-size", text, "--force")
    assert 0.98 * size <= (folder / "img.gdn").stat().st_size <= size


def psnr_of_file(folder, picture):
    run("decompress", "img.gdn", "--force")
    with Image.open("img.decoded.png") as image:
        error = np.square(np.asarray(image).astype(float) - picture).mean()
    return 10 * np.log10(255**2 / error)


def test_other_targets_are_met(folder, picture):
    pytest.importorskip("pytorch_msssim")
    run("compress", "img.png", "-q", 40)
    bpp = (folder / "img.gdn").stat().st_size * 8 / picture[..., 0].size
    psnr = psnr_of_file(folder, picture)
    run("compress", "img.png", "--target-bpp", bpp * 1.1, "--force")
    found = (folder / "img.gdn").stat().st_size * 8 / picture[..., 0].size
    assert 0.98 * 1.1 * bpp <= found <= 1.1 * bpp
    run("compress", "img.png", "--target-psnr", psnr + 0.3, "--force")
    assert psnr_of_file(folder, picture) == pytest.approx(psnr + 0.3, abs=0.1)
    run("compress", "img.png", "--target-ms-ssim", 0.95, "--force")


def test_a_missing_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)
    result = run("compress", "img.png", "--target-ms-ssim", 0.9, code=1)
    assert "pip install 'gdncodec[eval]'" in result.stderr


def test_dashes_stand_for_the_standard_streams(folder):
    source = (folder / "img.png").read_bytes()
    packed = CliRunner().invoke(main, ["compress", "-"], input=source)
    assert packed.exit_code == 0
    run("compress", "img.png")
    assert packed.stdout_bytes == (folder / "img.gdn").read_bytes()
    assert "bytes" in packed.stderr
    run("decompress", "img.gdn")
    for options, name in (([], "PNG"), (["--format", "ppm"], "PPM"), (["--format", "jpg"], "JPEG")):
        back = CliRunner().invoke(
            main, ["decompress", "-", "-o", "-", *options], input=packed.stdout_bytes
        )
        assert back.exit_code == 0
        assert "-: 203 x 150" in back.stderr
        with Image.open(io.BytesIO(back.stdout_bytes)) as image:
            assert (image.format, image.size) == (name, (203, 150))
            if name != "JPEG":
                with Image.open("img.decoded.png") as expected:
                    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
    facts = CliRunner().invoke(main, ["info", "-", "--json"], input=packed.stdout_bytes)
    assert json.loads(facts.stdout)["width"] == 203
    assert names(folder) == ["img.decoded.png", "img.gdn", "img.png"]


def test_streams_work_between_processes(folder):
    """A pipe from a real process into another, the first reading a file, the second a pipe."""
    gdncodec = f"{sys.executable} -m gdncodec"
    command = f"{gdncodec} compress img.png -o - | {gdncodec} decompress - --format ppm > out.ppm"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True, env=environment)
    with Image.open("out.ppm") as image:
        assert image.size == (203, 150)


@pytest.mark.parametrize(
    ("source", "code"), [(b"no picture", 3), (b"", 3), (b"\x89PNG\r\n\x1a\n\0\0", 3)]
)
def test_bad_streams_get_one_line_and_write_nothing(folder, source, code):
    result = CliRunner().invoke(main, ["compress", "-"], input=source)
    assert result.exit_code == code
    assert result.stdout_bytes == b""
    assert result.stderr.count("\n") == 1
    assert "the input: " in result.stderr
    assert names(folder) == ["img.png"]


def test_a_terminal_gets_no_binary_data(folder, monkeypatch):
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    assert "terminal" in run("compress", "img.png", "-o", "-", code=2).stderr


def test_the_format_decides_over_the_suffix(folder):
    run("compress", "img.png")
    run("decompress", "img.gdn", "--format", "JPEG", "-o", "out.any")
    with Image.open("out.any") as image:
        assert image.format == "JPEG"
    run("decompress", "img.gdn", "--format", "webp")
    with Image.open("img.decoded.webp") as image:
        assert image.format == "WEBP"


def test_view_writes_a_page_where_there_is_no_display(folder, monkeypatch, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("view")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr("gdncodec.view.has_display", lambda: False)
    run("compress", "img.png", "-o", "a<b.gdn")
    page = Path(run("view", "a<b.gdn").stdout.strip())
    assert temporary in page.parents
    text = page.read_text()
    assert 'src="picture.png"' in text
    assert "a&lt;b.gdn: 203 x 150 pixels" in text
    with Image.open(page.with_name("picture.png")) as image:
        assert image.size == (203, 150)
    assert names(folder) == ["a<b.gdn", "img.png"]


@pytest.mark.parametrize("works", [True, False])
def test_view_opens_the_systems_viewer(folder, monkeypatch, tmp_path_factory, works):
    opened = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("view")))
    monkeypatch.setattr("gdncodec.view.has_display", lambda: True)
    monkeypatch.setattr("click.launch", lambda path: opened.append(path) or int(not works))
    run("compress", "img.png")
    shown = Path(run("view", "img.gdn").stdout.strip())
    assert shown.suffix == (".png" if works else ".html")
    assert shown.exists()
    with Image.open(opened[0]) as image:
        assert image.size == (203, 150)


def test_a_display_is_found_by_what_desktops_set(monkeypatch):
    from gdncodec.view import has_display

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert has_display()
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.delenv("WAYLAND_DISPLAY")
    assert has_display()


def test_progress_is_shown_for_long_work_on_a_terminal_only(monkeypatch, capsys):
    from gdncodec.cli import _Progress

    for terminal, quiet, shown in ((True, False, True), (False, False, False), (True, True, False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda t=terminal: t)
        with _Progress("compressing", quiet) as progress:
            progress(1, 4)
            assert capsys.readouterr().err == ""
            assert progress._timer.is_alive() == shown
            if shown:
                progress._show()  # what the timer does after two seconds
            progress(2, 4)
            assert ("50 %" in capsys.readouterr().err) == shown
        assert progress._timer.finished.is_set()
        capsys.readouterr()


def test_threads_are_set_for_the_work(folder, monkeypatch):
    import torch

    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    run("compress", "img.png", "--threads", 1)
    assert seen == [1]
    run("compress", "img.png", "--threads", 0, "-o", "b.gdn", code=2)


def test_the_version_is_told():
    assert __version__ in run("--version").stdout


def test_every_command_and_option_has_help():
    for name, command in main.commands.items():
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                documented = parameter.help or parameter.show_default
                assert documented, f"{name} {parameter.opts}"


def test_training_from_a_folder_gives_a_model_that_compresses(folder, picture):
    pictures = folder / "pictures" / "deep"
    pictures.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(np.roll(picture, 20 * i, axis=1)).save(pictures / f"{i}.png")
    Image.new("RGB", (20, 20)).save(pictures / "small.png")
    (pictures / "bad.png").write_text("no picture")
    output = run(
        "train", "--data", "pictures", "--out", "run", "--steps", 3, "--batch", 2, "--crop", 64,
        "--widths", 4, 4, 4, "--latent-channels", 4,
    ).stdout  # fmt: skip
    assert "skipped pictures/deep/bad.png" in output
    assert "small.png: 20 x 20 is smaller" in output
    run("compress", "img.png", "--model", "run/model.safetensors")
    run("verify", "img.gdn", "--model", "run/model.safetensors")
    run("train", "--data", "pictures", "--out", "run", "--steps", 3, code=6)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--steps", 1, "--crop", 50],
        ["--steps", 1, "--norm", "nonsense"],
        ["--steps", 1, "--lambda", 0.01, "--lambda-range", 0.01, 0.02],
        [],
    ],
)
def test_wrong_training_options_are_refused(folder, arguments):
    run("train", "--data", ".", "--out", "run", *arguments, code=2)
    assert not (folder / "run" / "model.safetensors").exists()


def test_a_link_stays_and_a_device_is_never_replaced(folder):
    import os

    (folder / "real.gdn").write_bytes(b"old")
    (folder / "link.gdn").symlink_to("real.gdn")
    run("compress", "img.png", "-o", "link.gdn", "--force")
    assert (folder / "link.gdn").is_symlink()
    run("verify", "real.gdn")
    os.mkfifo("pipe.gdn")
    result = run("compress", "img.png", "-o", "pipe.gdn", "--force", code=1)
    assert "not an ordinary file" in result.stderr
    assert (folder / "pipe.gdn").is_fifo()


def test_sigterm_leaves_no_partial_file(folder):
    import os
    import signal
    import subprocess
    import sys
    from pathlib import Path

    import gdncodec

    code = (
        "import os, signal, sys\n"
        "from gdncodec.cli import main\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGTERM)\n"
        "main(['compress', 'img.png'])\n"
    )
    place = str(Path(gdncodec.__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": place},
    )
    assert ended.returncode == 128 + signal.SIGTERM
    assert names(folder) == ["img.png"]


def test_an_error_of_torch_is_one_line(folder):
    assert "meta" in run("compress", "img.png", "--device", "meta", code=2).stderr


@pytest.mark.parametrize("metadata", [{"fingerprint": "zz"}, {"card": "[1]"}, {"card": "{"}])
def test_a_malformed_model_beside_the_good_ones_stops_nothing(
    folder, tiny_model, tmp_path_factory, monkeypatch, metadata
):
    from safetensors.numpy import load_file, save_file

    from gdncodec.catalog import ModelEntry

    run("compress", "img.png")
    models = tmp_path_factory.mktemp("malformed")
    monkeypatch.setenv("GDNCODEC_MODELS", str(models))
    entry = ModelEntry(tiny_model)
    save_file(load_file(tiny_model), models / "bad.safetensors", {**entry.metadata, **metadata})
    run("verify", "img.gdn")
    listed = run("models")
    assert "bad.safetensors" in listed.stderr
    assert "photo" in listed.stdout
