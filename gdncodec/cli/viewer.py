"""Shows a decoded image in a viewer or a browser."""

import html
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from gdncodec.errors import printable
from gdncodec.files import write_data
from gdncodec.images.writing import encoded

__all__ = ["has_display", "write_view"]

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark">
<title>{title}</title>
<style>
body {{ margin: 0; background: #777; font: 14px sans-serif; }}
p {{ margin: 0; padding: .5em 1em; background: #222; color: #eee; }}
img {{ display: block; max-width: 100%; margin: auto; }}
img:target {{ max-width: none; image-rendering: pixelated; }}
a {{ color: #9cf; }}
</style>
<p>{title}: {facts} &nbsp; <a href="#pixels">every pixel</a> &nbsp; <a href="#">fit</a>
&nbsp; (keys: 1, 0)</p>
<img id="pixels" src="{source}" alt="{title}">
<script>
addEventListener("keydown", (event) => {{
  if (event.key === "1") location.hash = "pixels";
  if (event.key === "0") location.hash = "";
}});
</script>
</html>
"""


def has_display() -> bool:
    """Return whether a window can be opened here."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def write_view(image: Image.Image, name: str, facts: str) -> tuple[Path, Path]:
    """Write an image into a new temporary folder, which is not removed.

    Args:
        image: the image.
        name: of the file that it comes from.
        facts: a line about it.

    Returns:
        Paths of a PNG file and of an HTML page that shows it.
    """
    folder = Path(tempfile.mkdtemp(prefix="gdncodec-"))
    png, page = folder / "image.png", folder / "image.html"
    text = _PAGE.format(
        title=html.escape(printable(name)), facts=html.escape(facts), source=png.name
    )
    try:
        write_data(png, encoded(image, "PNG")[0], overwrite=False)
        write_data(page, text.encode(), overwrite=False)
    except BaseException:  # a full disk, or Ctrl-C
        shutil.rmtree(folder)
        raise
    return png, page
