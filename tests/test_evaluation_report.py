"""The report, in a real browser where one is installed."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from gdncodec.evaluation.curves import Curve
from gdncodec.evaluation.report import Report, write_report
from gdncodec.evaluation.shown import Shown, as_webp
from gdncodec.evaluation.tables import Table

NASTY = "a</script><img src=x onerror=alert(1)>.png"


def shown(name, codec, target, value):
    pixels = np.full((30, 40, 3), value, np.uint8)
    pixels[10:20, 10:20] = 255 - value
    data = as_webp(Image.fromarray(pixels))
    return Shown(
        name, codec, target, 50.0, target + value, 8 * (target + value) / 1200, 30.5, 12.25, data
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("originals") / "a.png"
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(path)
    lists = {
        "bpp": [0.2, 0.5, 1.0],
        "psnr-rgb": [28.0, 31.0, 34.0],
        "ms-ssim-db": [9.0, 12.0, 15.0],
    }
    arrays = {key: np.array(values)[:, None] + [0.0, 0.01] for key, values in lists.items()}
    other = {"bpp": [0.3, 0.8, 3.0], "psnr-rgb": [27.0, 31.0, float("inf")]}
    names = [NASTY, "second.png"]
    return Report(
        title="Title & <b>",
        summary="Two images.",
        curves=[Curve("ours", lists, "how", arrays), Curve("JPEG", other)],
        models=["ours"],
        images=names,
        tables=[Table("A table", ("codec", "value"), [("<i>", "+1.0 %")])],
        shown=[
            shown(name, codec, target, value)
            for name in names
            for target in (100, 200)
            for codec, value in (("ours", 100), ("JPEG", 120), ("WebP", 140))
        ],
        originals=dict.fromkeys(names, path),
        notes=[("Term", "explanation")],
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory, report):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, report)
    return path


def test_the_page_names_no_other_file_and_no_network(page):
    text = page.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", text.replace(html.escape(NASTY), ""))
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in text
    assert "default-src 'none'" in text


def test_names_from_outside_cannot_break_the_page(page):
    text = page.read_text()
    assert NASTY not in text
    assert "<i>" not in text.replace("<i></i>", "")
    assert "Title &amp; &lt;b&gt;" in text


def test_numbers_that_json_lacks_become_null(page):
    data = re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1]
    curves = json.loads(data)["curves"]
    assert curves[1]["results"]["psnr-rgb"] == [27.0, 31.0, None]
    assert curves[0]["images"][1]["bpp"] == [0.21, 0.51, 1.01]


def test_images_over_the_budget_are_cropped_to_their_middle(tmp_path, report):
    from dataclasses import replace

    need = sum(len(s.pixels) for s in report.shown)
    write_report(tmp_path / "r.html", replace(report, image_budget=need // 2))
    note = re.search(r"The middle (\d+) x (\d+) pixels", (tmp_path / "r.html").read_text())
    width, height = map(int, note.groups())
    assert width < 40
    assert height < 30
    assert width / height == pytest.approx(4 / 3, rel=0.1)


def test_an_existing_page_is_kept_unless_told_otherwise(page, report):
    with pytest.raises(FileExistsError):
        write_report(page, report, overwrite=False)


HELPERS = """
const wait = (ms) => new Promise((r) => setTimeout(r, ms));
const until = async (condition) => {
  for (let i = 0; i < 20000 && !condition(); i++) await wait(50);
  if (!condition()) throw new Error("never: " + condition);
};
const $$ = (id) => document.getElementById(id);
const says = (id, text) => until(() => $$(id).textContent.includes(text));
const press = (where, key) =>
  where.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const choose = (id, value) => {
  $$(id).value = value;
  $$(id).dispatchEvent(new Event("change"));
};
const pixel = (x, y) => {
  const { width, height } = $$("stage");
  const data = $$("stage").getContext("2d").getImageData(width * x, height * y, 1, 1).data;
  return [...data].slice(0, 3);
};
const errors = [];
addEventListener("error", (e) => errors.push(String(e.message)));
const run = async (script) => {
  let done;
  try {
    await until(() => document.querySelector("#chart path") && $$("caption-a").textContent);
    done = await script();
  } catch (e) {
    errors.push(String(e));
  }
  document.body.dataset.result = JSON.stringify({ done, errors });
};
"""


def in_browser(page, tmp_path, script, *, width=1200):
    """Run a script in the page, and return what it puts into ``done``."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("needs Chromium, which is not installed")
    driver = f"<script>{HELPERS} run(async () => {{ {script} }});</script></body>"
    driven = tmp_path / "driven.html"
    driven.write_text(driver.join(page.read_text().rsplit("</body>", 1)))
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --dump-dom "
        f"--virtual-time-budget=2000000 --window-size={width},900 "
        f"--user-data-dir={tmp_path / 'user'}"
    )
    run = subprocess.run(
        [browser, *flags.split(), driven.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r'data-result="([^"]*)"', run.stdout)
    assert found, run.stderr[-2000:]
    result = json.loads(html.unescape(found[1]))
    assert result["errors"] == []
    return result["done"]


def test_the_chart_draws_both_curves_and_says_values(page, tmp_path):
    found = in_browser(
        page,
        tmp_path,
        """
        const drawn = () => [...document.querySelectorAll("#chart path.curve")];
        const paths = () => drawn().map((path) => path.getAttribute("d").length > 0);
        const all = paths();
        press($$("chart"), "ArrowRight");
        const first = $$("chart-value").textContent;
        press($$("chart"), "ArrowRight");
        const second = $$("chart-value").textContent;
        const dot = document.querySelectorAll("#chart g circle")[2].getBoundingClientRect();
        const place = { clientX: dot.x + 5, clientY: dot.y + 5 };
        $$("chart").dispatchEvent(new PointerEvent("pointermove", place));
        const hovered = $$("chart-value").textContent;
        document.querySelector("#legend input").click();
        const less = paths();
        choose("chart-metric", "ms-ssim-db");
        choose("chart-image", "1");
        $$("chart-log").click();
        document.querySelector("#legend input").click();
        press($$("chart"), "ArrowLeft");
        const last = $$("chart-value").textContent;
        const name = $$("chart-image").options[1].textContent;
        return { all, first, second, hovered, less, last, name, images: document.images.length };
        """,
    )
    assert found["all"] == [True, True]
    assert found["first"] == "ours: 0.2000 bpp, 28.00 dB"
    assert found["second"] == "ours: 0.5000 bpp, 31.00 dB"
    assert found["hovered"] == "ours: 1.0000 bpp, 34.00 dB"
    assert found["less"] == [False, True]
    assert found["last"].startswith("ours: 0.")
    assert found["name"] == NASTY
    assert found["images"] == 0


def test_every_way_to_compare_shows_the_right_pixels(page, tmp_path):
    found = in_browser(
        page,
        tmp_path,
        """
        const stage = $$("stage"), out = {};
        out.captions = [$$("caption-a").textContent, $$("caption-b").textContent];
        out.slider = [pixel(0.35, 0.9), pixel(0.65, 0.9)];
        for (let i = 0; i < 50; i++) press(stage, ",");
        out.slid = pixel(0.35, 0.9);
        press(stage, "b");
        out.side = [pixel(0.05, 0.5), pixel(0.95, 0.5)];
        press(stage, "f");
        press(stage, " ");
        const one = pixel(0.5, 0.8);
        press(stage, " ");
        out.flicker = [one, pixel(0.5, 0.8)].sort();
        out.paused = $$("flicker-pause").textContent;
        press(stage, "d");
        out.difference = pixel(0.5, 0.9);
        press(stage, "s");
        press(stage, "1");
        out.pixels = $$("zoom-value").textContent;
        press(stage, "+");
        press(stage, "ArrowRight");
        out.zoomed = $$("zoom-value").textContent;
        press(stage, "0");
        for (let i = 0; i < 25; i++) press(stage, ".");
        choose("view-a", "Original");
        await says("caption-a", "Original");
        out.original = [$$("caption-a").textContent, pixel(0.3, 0.5)];
        press(stage, "n");
        choose("view-target", "1");
        await says("caption-b", "320 bytes");
        out.next = [$$("view-image").selectedOptions[0].textContent, $$("caption-b").textContent];
        press(stage, "x");
        await says("caption-a", "JPEG");
        out.swapped = $$("caption-a").textContent;
        return out;
        """,
    )
    assert found["captions"][0].startswith("A: ours200 bytes, 1.333 bpp, 30.50 dB PSNR, 12.25 dB")
    assert found["captions"][1].endswith("10 % larger than the other")
    assert found["slider"] == [[100] * 3, [120] * 3]
    assert found["slid"] == [120] * 3
    assert found["side"] == [[100] * 3, [120] * 3]
    assert found["flicker"] == [[100] * 3, [120] * 3]
    assert found["paused"] == "Play"
    assert found["difference"] == [20 * 4] * 3
    assert found["pixels"] == "100 %"
    assert found["zoomed"] == "150 %"
    assert found["original"] == ["A: Originalthe image itself", [90] * 3]
    assert found["next"][0] == "second.png"
    assert found["next"][1].startswith("B: JPEG320 bytes")
    assert found["swapped"].startswith("A: JPEG320 bytes")


def test_fingers_and_mouse_move_the_slider_and_the_image(page, tmp_path):
    found = in_browser(
        page,
        tmp_path,
        """
        const stage = $$("stage"), box = stage.getBoundingClientRect();
        stage.setPointerCapture = () => {};
        const at = (type, pointerId, x, y) => {
          const place = { clientX: box.x + x * box.width, clientY: box.y + y * box.height };
          stage.dispatchEvent(new PointerEvent(type, { pointerId, ...place }));
        };
        const zoom = () => parseInt($$("zoom-value").textContent);
        at("pointerdown", 1, 0.5, 0.5);
        at("pointermove", 1, 0.3, 0.5);
        at("pointerup", 1, 0.3, 0.5);
        const split = $$("view-split").value;
        $$("zoom-one").click();
        const before = zoom();
        at("pointerdown", 1, 0.7, 0.4);
        at("pointerdown", 2, 0.8, 0.4);
        at("pointermove", 2, 0.9, 0.4);
        at("pointerup", 1, 0.7, 0.4);
        at("pointerup", 2, 0.9, 0.4);
        const after = zoom(), turn = { ctrlKey: true, deltaY: -300, cancelable: true };
        stage.dispatchEvent(new WheelEvent("wheel", turn));
        return { split: Number(split), before, after, wheel: zoom() };
        """,
    )
    assert found["split"] == pytest.approx(30, abs=1)
    assert found["after"] == pytest.approx(2 * found["before"], rel=0.02)
    assert found["wheel"] == pytest.approx(min(np.e * found["after"], 3200), rel=0.02)


def test_a_narrow_window_needs_no_sideways_scrolling(page, tmp_path):
    narrow = tmp_path / "narrow.html"
    narrow.write_text(
        page.read_text().replace("<body>", '<body style="width: 360px; padding: 11px">', 1)
    )
    found = in_browser(
        narrow,
        tmp_path,
        """
        const edge = document.body.getBoundingClientRect().right + 1;
        const inside = ".scroll *, svg *, option, script, style";
        const all = [...document.querySelectorAll("body *")].filter((e) => !e.matches(inside));
        const wide = all.filter((e) => e.getBoundingClientRect().right > edge);
        return wide.map((e) => e.tagName + "#" + e.id);
        """,
        width=500,
    )
    assert found == []
