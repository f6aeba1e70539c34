import hashlib
import json
import random
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from gdncodec.errors import ImageError
from gdncodec.training.crops import CropSampler, images_of_slots
from gdncodec.training.data import find_images, load_images, manifest, read_rgb
from gdncodec.training.synthetic import draw_image


def images_of_one_value(count, side=40):
    """Return images that tell by their value which they are."""
    return [torch.full((3, side, side), value, dtype=torch.uint8) for value in range(count)]


def values_drawn(sampler, steps=20):
    """Return the images that each slot drew from in some steps."""
    batches = torch.stack([sampler.draw(step) for step in range(steps)])
    return [set(v.tolist()) for v in (batches[..., 0, 0, 0] * 255).round().int().unbind(1)]


def gradient(height=200, width=170):
    """Return an image in which every pixel is different and tells where it is."""
    rows, columns = np.mgrid[0:height, 0:width]
    return torch.from_numpy(np.stack([rows, columns, rows // 2]).astype(np.uint8))


def test_images_are_found_in_all_folders_once_and_sorted(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    names = ["z.PNG", "b/a.jpg", "b/deep/c.webp", "b/notes.txt", "b/card.pdf"]
    for name in names:
        (tmp_path / name).touch()
    found = find_images([tmp_path, tmp_path / "b"])
    assert found == [tmp_path / name for name in ("b/a.jpg", "b/deep/c.webp", "z.PNG")]


def test_linked_folders_are_searched_and_a_circle_of_links_ends(tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a.png").touch()
    (elsewhere / "back").symlink_to(data)
    (data / "link").symlink_to(elsewhere)
    (data / "other.png").symlink_to(elsewhere / "a.png")
    assert find_images([data]) == [data / "link" / "a.png", data / "other.png"]


def test_files_that_are_no_training_images_are_named(tmp_path):
    for name in ("a.png", "notes.txt", "b.gdn"):
        (tmp_path / name).touch()
    (tmp_path / "gone.png").symlink_to("nowhere")
    lines = []
    assert find_images([tmp_path], lines.append) == [tmp_path / "a.png"]
    assert lines == [
        f"skipped {tmp_path}/b.gdn: a .gdn file already",
        f"skipped {tmp_path}/gone.png: a link that leads nowhere",
        f"skipped {tmp_path}/notes.txt: Pillow reads no .txt files",
    ]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_an_image_of_any_mode_is_read_as_pillow_shows_it(tmp_path, photo, mode):
    image = Image.fromarray(photo).convert(mode if mode != "PA" else "P")
    suffix = {"CMYK": "tiff", "YCbCr": "tiff"}.get(mode, "png")
    image.save(tmp_path / f"a.{suffix}", **({"transparency": b"\0\x80"} if mode == "PA" else {}))
    pixels = read_rgb(tmp_path / f"a.{suffix}")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_rounded_to_eight(tmp_path, suffix):
    samples = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(samples).save(tmp_path / f"a.{suffix}")
    expected = np.rint(samples / 257)
    for channel in np.moveaxis(read_rgb(tmp_path / f"a.{suffix}"), 2, 0):
        np.testing.assert_array_equal(channel, expected)


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 9), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert (read_rgb(tmp_path / "a.webp") == (255, 0, 0)).all()


def test_samples_that_are_not_whole_numbers_are_refused(tmp_path):
    Image.new("F", (8, 8), 0.5).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match=r"a\.tiff: .*not integers"):
        read_rgb(tmp_path / "a.tiff")


def test_bad_and_small_images_are_named_and_the_others_kept_in_order(tmp_path, photo):
    image = Image.fromarray(photo)
    image.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"rubbish")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    image.crop((0, 0, 80, 63)).save(tmp_path / "d.png")
    image.crop((0, 0, 64, 64)).save(tmp_path / "e.png")
    lines = []
    files = [*find_images([tmp_path]), tmp_path / "gone.png"]
    images, names = load_images(files, 64, lines.append)
    assert [name.name for name in names] == ["a.png", "e.png"]
    for tensor, expected in zip(images, (photo, photo[:64, :64]), strict=True):
        np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), expected)
    skipped = {line.split(": ")[0].rsplit("/")[-1]: line for line in lines}
    assert sorted(skipped) == ["b.png", "c.png", "d.png", "gone.png"]
    assert skipped["d.png"].endswith("80 x 63 is smaller than a crop of 64")


def test_images_are_in_one_block_of_shared_memory(tmp_path, photo):
    for name in "abc":
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
    images, _ = load_images(find_images([tmp_path]), 64, print)
    assert all(p.is_shared() for p in images)
    assert len({p.untyped_storage().data_ptr() for p in images}) == 1
    assert images[0].untyped_storage().nbytes() == 3 * photo.size


def test_without_room_in_shared_memory_other_memory_is_used(tmp_path, photo, monkeypatch):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm)")  # noqa: EM101

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    Image.fromarray(photo).save(tmp_path / "a.png")
    images, _ = load_images([tmp_path / "a.png"], 64, print)
    np.testing.assert_array_equal(images[0].permute(1, 2, 0).numpy(), photo)


def test_no_files_give_no_images():
    assert load_images([], 64, print) == ([], [])
    assert manifest([])["images"] == 0


def test_a_manifest_names_every_file_and_its_hash_knows_no_names(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, "ab"), (two, "ba")):
        folder.mkdir()
        for name, content in zip(names, (b"first", b"second"), strict=True):
            (folder / name).write_bytes(content)
    card = manifest([one / "a", one / "b"])
    assert card["images"] == 2
    assert card["files"][(one / "a").as_posix()] == hashlib.sha256(b"first").hexdigest()
    assert card["sha256"] == manifest([two / "a", two / "b"])["sha256"]
    assert card["sha256"] != manifest([one / "a"])["sha256"]
    assert json.loads(json.dumps(card)) == card


def test_crops_have_their_size_layout_and_range(photo):
    batch = CropSampler([torch.from_numpy(photo).permute(2, 0, 1)], 64, 5, seed=1).draw(0)
    assert batch.shape == (5, 3, 64, 64)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= batch.min() < batch.max() <= 1


def test_a_draw_depends_on_seed_and_step_alone():
    sampler = CropSampler([gradient()], 32, 4, seed=1)
    first = [sampler.draw(step) for step in range(3)]
    random.seed(5)
    torch.manual_seed(5)
    again = CropSampler([gradient()], 32, 4, seed=1)
    assert torch.equal(again.draw(2), first[2])
    assert torch.equal(again.draw(0), first[0])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], CropSampler([gradient()], 32, 4, seed=2).draw(0))


@pytest.mark.parametrize("count", [1, 3, 8, 21])
@pytest.mark.parametrize("world", [2, 4])
def test_processes_draw_together_what_one_draws_and_hold_a_share_of_the_images(count, world):
    images = [gradient() + index for index in range(count)]
    whole = CropSampler(images, 32, 8, seed=3).draw(7)
    parts, held = [], []
    for rank in range(world):
        slots = range(rank * 8 // world, (rank + 1) * 8 // world)
        mine = {i: images[i] for i in images_of_slots(count, 8, slots)}
        parts.append(CropSampler(mine, 32, 8, seed=3, slots=slots, count=count).draw(7))
        held += list(mine)
    assert torch.equal(torch.cat(parts), whole)
    assert set(held) == set(range(count))
    if count >= 8:
        assert len(held) == count


def test_a_slot_draws_from_every_batch_th_image():
    assert images_of_slots(10, 4, range(4)) == list(range(10))
    assert images_of_slots(10, 4, range(1, 3)) == [1, 2, 5, 6, 9]
    assert images_of_slots(3, 8, range(4, 6)) == [1, 2]
    assert images_of_slots(0, 8, range(8)) == []
    drawn = values_drawn(CropSampler(images_of_one_value(10), 32, 4, seed=0))
    assert drawn == [{0, 4, 8}, {1, 5, 9}, {2, 6}, {3, 7}]


def test_fewer_images_than_slots_serve_several():
    drawn = values_drawn(CropSampler(images_of_one_value(3), 32, 5, seed=0))
    assert drawn == [{0}, {1}, {2}, {0}, {1}]


def test_images_that_are_missing_or_too_small_are_refused():
    images = images_of_one_value(4)
    with pytest.raises(ValueError, match="no images"):
        CropSampler([], 32, 4, seed=0)
    with pytest.raises(ValueError, match="image 3 of 4 is missing"):
        CropSampler(dict(enumerate(images[:3])), 32, 4, seed=0, count=4)
    with pytest.raises(ValueError, match="40 x 40, smaller than a crop of 48"):
        CropSampler(images, 48, 4, seed=0)


def test_half_of_the_crops_are_windows_in_all_symmetries_and_the_others_reduced_ones():
    photo = gradient()
    seen, reduced = Counter(), []
    for crop in CropSampler([photo], 32, 400, seed=0).draw(0).mul(255).round().byte():
        top, left = crop[0].min().item(), crop[1].min().item()
        window = photo[:, top : top + 32, left : left + 32]
        turned = [window, window.transpose(1, 2)]
        flipped = [t.flip(axes) for t in turned for axes in ((), (1,), (2,), (1, 2))]
        matches = [i for i, w in enumerate(flipped) if torch.equal(w, crop)]
        seen.update(matches)
        if not matches:
            reduced.append((crop[0].max().item() - top, crop[1].max().item() - left))
    assert sorted(seen) == list(range(8))
    assert min(seen.values()) > 10
    assert 150 < len(reduced) < 250
    heights, widths = np.array(reduced).T
    assert np.abs(heights - widths).max() <= 1
    assert 31 <= heights.min() < 36
    assert 58 < heights.max() < 64


def test_some_crops_are_drawn_and_the_others_stay_as_they_are():
    images = [torch.randint(1, 255, (3, 80, 90), dtype=torch.uint8) for _ in range(2)]
    none, some, every = (
        CropSampler(images, 32, 200, 0, drawn=share).draw(3) for share in (0.0, 0.25, 1.0)
    )
    drawn = (some == every).all(dim=(1, 2, 3)) & (some != none).any(dim=(1, 2, 3))
    assert 25 < drawn.sum() < 75
    assert torch.equal(some[~drawn], none[~drawn])


def test_drawn_images_are_of_all_kinds_and_depend_on_the_seed_alone():
    drawn = [draw_image(random.Random(i), 48) for i in range(60)]
    again = [draw_image(random.Random(i), 48) for i in range(60)]
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert {(p.dtype, p.shape) for p in drawn} == {(torch.uint8, (3, 48, 48))}
    colours = [len(p.flatten(1).unique(dim=1).T) for p in drawn]
    assert 5 < sum(n == 1 for n in colours) < 40
    assert sum(1 < n < 25 for n in colours) > 5  # shapes
    assert sum(n > 25 for n in colours) > 5  # gradients and text
    flat = {tuple(p[:, 0, 0].tolist()) for p, n in zip(drawn, colours, strict=True) if n == 1}
    assert any(r == g == b for r, g, b in flat)
    assert any(max(c) == 255 and min(c) == 0 for c in flat)


def test_some_drawn_images_alternate_from_pixel_to_pixel():
    assert 3 <= sum(alternates(draw_image(random.Random(i), 48)) for i in range(60)) <= 15


def alternates(image):
    """Tell whether twelve pixels of a row or a column are of two colours in turn."""
    luma = image.float().mean(dim=0)
    for lines in (luma, luma.T):
        in_turn = (lines[:, :-2] == lines[:, 2:]) & (lines[:, :-2] != lines[:, 1:-1])
        if in_turn.unfold(1, 10, 1).all(dim=2).any():
            return True
    return False


def test_an_image_of_the_size_of_a_crop_gives_that_crop():
    photo = gradient(32, 32)
    for crop in CropSampler([photo], 32, 4, seed=0).draw(0).mul(255).round().byte():
        assert torch.equal(crop.flatten(1).sort().values, photo.flatten(1).sort().values)


def test_reduction_agrees_with_pillows_bicubic_filter(photo):
    from gdncodec.training.crops import _reduced

    for side in (65, 90, 128):
        window = torch.from_numpy(photo[:side, :side].copy()).permute(2, 0, 1)
        ours = _reduced(window, 64).permute(1, 2, 0).numpy().astype(int)
        image = Image.fromarray(photo[:side, :side])
        theirs = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(ours - theirs).max() <= 1


def test_reduction_leaves_no_alias_of_stripes_too_fine_for_it():
    from gdncodec.training.crops import _reduced

    columns = torch.arange(120)
    wave = 127.5 + 127.5 * torch.cos(2 * torch.pi * 0.45 * columns)
    stripes = wave.round().byte().expand(3, 120, 120)
    assert _reduced(stripes, 64)[:, 8:-8, 8:-8].float().std() < 6  # of 90 before
