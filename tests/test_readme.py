"""What the pages say is so: their blocks run as shown, and nothing that exists goes untold."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import ROOT, Result
from test_examples import TWICE

import pipestate
from pipestate.cli import VERBS
from pipestate.commands import COMMANDS
from pipestate.extension import STEP_OPTIONS, PipeState

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CHANGELOG.md", "SECURITY.md", "docs/guide.md", "docs/model.md"]


@dataclass(frozen=True)
class Block:
    """Fenced code of a page, and the text block below it: what it is said to show."""

    page: str
    line: int
    language: str
    code: str
    shown: str


def blocks(page: str) -> Iterator[Block]:
    """The blocks of Python of a page, in order; ```` ```python script ```` is one for a process."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fence = re.compile(
        r"^```(python(?: script)?)\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.M | re.S
    )
    for found in fence.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[1], found[2], found[3] or "")


def cells(code: str) -> list[str]:
    """The cells of a block, which blank lines separate."""
    return [cell.strip("\n") for cell in code.split("\n\n") if cell.strip()]


def screen(result: Result) -> str:
    """What a cell shows; of a traceback the last line, for the rest differs between versions."""
    last = "\n".join(result.traceback.splitlines()[-1:])
    return result.text.removesuffix(result.traceback) + last


def told(text: str) -> list[str]:
    """The lines of what is shown, but for times, sizes and the width of columns."""
    text = re.sub(r"\b[\d.]+ (ms|s|min \d+ s)\b", "TIME", text)
    text = re.sub(r"\b[\d.]+ (B|kB|MB|GB)\b", "SIZE", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md", "docs/model.md"])
def test_the_code_of_a_page_shows_what_the_page_says(page, nb, script):
    """From top to bottom in one folder; each `%load_ext pipestate` begins a new kernel."""
    is_new = True
    for block in blocks(page):
        if block.language == "python script":
            assert told(script(block.code)) == told(block.shown), f"{page}:{block.line}"
            continue
        if "%load_ext" in block.code and not is_new:
            nb.kill()
        is_new = False
        seen = [screen(nb.run(cell)) for cell in cells(block.code)]
        assert told("\n".join(seen)) == told(block.shown), f"{page}:{block.line}"


def test_the_readme_begins_with_code_and_gives_two_commands():
    """A block with its output before line 25; what it says to install and run is there."""
    first = next(blocks("README.md"))
    assert first.shown
    assert first.line < 25
    consoles = re.findall(r"^```console\n(.*?)^```", README, re.M | re.S)
    commands = [line[2:] for text in consoles for line in text.splitlines() if line[:2] == "$ "]
    assert commands == [
        'python3 -m pip install ".[examples]" && python3 examples/run_twice.py',
        'python3 -m pip install -e ".[test]" && python3 -m pytest -n auto -q',
    ]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"examples", "test"} <= extras["optional-dependencies"].keys()
    assert consoles[0].split("\n", 1)[1] == TWICE


@pytest.mark.parametrize("page", PAGES)
def test_every_link_between_pages_leads_somewhere(page):
    """Files, pictures and headings; what lies on the web is not asked."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"(?:\]\(|src=\")([^)\s\"]+)", text):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            assert heading in [slug(title) for title in titles], target


def slug(title: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_guide(name):
    """In the table of commands, as it is typed."""
    assert re.search(rf"^\| `%pipe {name}[ `]", GUIDE, re.M)


@pytest.mark.parametrize("option", STEP_OPTIONS)
def test_every_option_of_a_step_is_in_the_guide(option):
    """In the table of options."""
    assert re.search(rf"^\| `{option}[ `]", GUIDE, re.M)


@pytest.mark.parametrize("name", PipeState.class_own_traits(config=True))
def test_every_setting_is_in_the_guide(name):
    """With its default value, which stands first."""
    row = re.search(rf"^\| `{name}` \| ([^|]*) \|", GUIDE, re.M)
    assert row
    default = PipeState.class_own_traits()[name].default()
    assert default == "" or row[1].startswith(f"`{default}`")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_shell_is_in_the_guide(verb):
    """In the table of verbs."""
    shell = GUIDE.partition("## At the shell")[2].partition("\n## ")[0]
    assert re.search(rf"`{verb}[ `]", shell)


@pytest.mark.parametrize("name", [n for n in pipestate.__all__ if n != "__version__"])
def test_every_public_name_is_in_the_guide(name):
    """In the part about Python."""
    python = GUIDE.partition("## From Python")[2].partition("\n## ")[0]
    assert re.search(rf"`{name}[(`]", python)


def test_the_guide_tells_of_no_command_and_setting_that_is_not_there():
    """What a reader types from the guide works."""
    assert set(re.findall(r"^\| `%pipe (\w+)", GUIDE, re.M)) == set(COMMANDS)
    assert set(re.findall(r"%pipe ([a-z]+)", GUIDE + README)) <= set(COMMANDS)
    options = GUIDE.partition("## Options of a step")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(--[a-z-]+|<)", options, re.M)) == set(STEP_OPTIONS)
    settings = GUIDE.partition("## Settings")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", settings, re.M))
    assert rows == set(PipeState.class_own_traits(config=True))
