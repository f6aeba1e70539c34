"""What a desktop and a shell learn about the commands and their files."""

import subprocess
import sys
import xml.etree.ElementTree as ET

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from command_line import run

from gdncodec.cli import main
from gdncodec.container import MAGIC


def test_the_mime_file_names_the_type_and_the_magic_bytes():
    space = "{http://www.freedesktop.org/standards/shared-mime-info}"
    root = ET.fromstring(run("mime").stdout)
    kind = root.find(f"{space}mime-type")
    assert kind.get("type") == "image/x-gdn"
    assert kind.find(f"{space}glob").get("pattern") == "*.gdn"
    match = kind.find(f"{space}magic/{space}match")
    assert match.get("value").encode("latin-1").decode("unicode_escape").encode("latin-1") == MAGIC
    assert match.get("offset") == "0"


def test_a_shell_completes_commands_and_options():
    complete = ShellComplete(main, {}, "gdncodec", "_GDNCODEC_COMPLETE")
    assert "compress" in [item.value for item in complete.get_completions([], "com")]
    options = [item.value for item in complete.get_completions(["compress"], "--rep")]
    assert options == ["--report"]
    script = CliRunner().invoke(
        main, [], prog_name="gdncodec", env={"_GDNCODEC_COMPLETE": "zsh_source"}
    )
    assert "#compdef gdncodec" in script.output


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of click, in click-man
def test_a_man_page_is_made_of_every_command(tmp_path):
    pytest.importorskip("click_man")
    from click_man.core import write_man_pages

    write_man_pages("gdncodec", main, target_dir=str(tmp_path))
    pages = {page.name for page in tmp_path.iterdir()}
    for name, command in main.commands.items():
        assert f"gdncodec-{name}.1" in pages
        if isinstance(command, click.Group):
            assert {f"gdncodec-{name}-{below}.1" for below in command.commands} <= pages
    assert "Decode .gdn files INPUT" in (tmp_path / "gdncodec-verify.1").read_text()


def test_the_mime_command_loads_nothing_heavy():
    code = (
        "from gdncodec.cli import main\ntry: main(['mime'])\nexcept SystemExit: pass\n"
        "import sys; assert not {'numpy', 'PIL', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
