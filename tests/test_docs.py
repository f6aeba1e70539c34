"""The documentation speaks of what exists: links, modules, files and commands."""

import importlib
import re
from pathlib import Path

import click
import pytest

from gdncodec.cli import main

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(p for d in ("data", "docs", "models") for p in (ROOT / d).rglob("*.md"))]
)
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`]+)`|^ {4}([^\n]*)", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:\bgdncodec|(train)\.py)((?: [^\n|;&#]+)?)")


def anchors(page):
    """Return the anchors that a page has on GitHub."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


def code_of(page):
    """Return the code of a page, fenced, indented and within lines."""
    text = page.read_text("utf-8")
    return "\n".join("".join(groups) for groups in re.findall(CODE, text))


def exists(name):
    """Say whether a dotted name is that of a module or of something in one."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            found = getattr(found, part, None)
        return found is not None
    return False


@EACH_PAGE
def test_links_lead_somewhere(page):
    text = FENCED.sub("", page.read_text("utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@EACH_PAGE
def test_modules_and_files_that_are_named_exist(page):
    text = page.read_text("utf-8")
    for name in set(re.findall(r"(?<![\w./-])gdncodec(?:\.[A-Za-z_]\w*)+", text)):
        assert exists(name), name
    path = r"(?<![\w./-])(?:benchmarks|docs|gdncodec|tests)/[\w./-]+\.(?:py|md|json)\b"
    for name in re.findall(path, text):
        assert (ROOT / name).exists(), name


@EACH_PAGE
def test_commands_and_options_that_are_quoted_exist(page):
    for script, rest in COMMAND.findall(code_of(page)):
        words = [*filter(None, [script]), *rest.split()]
        if not words or not re.fullmatch("[a-z]+", words[0]):
            continue  # the package, or the command without a subcommand
        command, named = main, ""
        while isinstance(command, click.Group) and words:
            below = command.get_command(click.Context(command), words[0])
            if below is None:
                break
            command, named = below, f"{named} {words.pop(0)}"
        assert named, f"gdncodec{rest}"
        known = {"--help"}.union(*(p.opts + p.secondary_opts for p in command.params))
        options = {word for word in words if re.fullmatch("--?[a-z][a-z-]*", word)}
        assert options <= known, f"gdncodec{named}: {options - known}"


def leaves(command, words=()):
    """Yield each command with the words that call it."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from leaves(command.get_command(click.Context(command), name), (*words, name))
    else:
        yield words, command


@pytest.mark.parametrize("leaf", [*leaves(main)], ids=lambda leaf: "-".join(leaf[0]))
def test_every_option_of_a_command_stands_in_a_test_of_the_command(leaf):
    words, command = leaf
    tests = [path.read_text("utf-8") for path in (ROOT / "tests").glob("*.py")]
    ours = [t for t in tests if all(re.search(rf"""["' ]{word}["' ]""", t) for word in words)]
    missing = []
    for option in command.params:
        names = "|".join(map(re.escape, [*option.opts, *option.secondary_opts]))
        used = re.compile(rf"""["' ](?:{names})["'= ]""")
        if isinstance(option, click.Option) and not any(used.search(t) for t in ours):
            missing.append(option.opts[-1])
    assert not missing
