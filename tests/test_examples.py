"""The examples do what they say: all are executed, headless, as a reader would run them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SECONDS, child_environment, is_badge

EXAMPLES = ROOT / "examples"

TWICE = """\
first run, nothing is kept yet:
  step_01  ran
  step_02  ran
  computed: step_01, step_02
second run, a new kernel:
  step_01  restored
  step_02  restored
  computed: nothing
"""


EXECUTE = "from nbclient.cli import main; main()"
"""What `jupyter execute` runs."""


@dataclass
class Run:
    """One execution of a notebook in a kernel of its own: the code cells with their outputs."""

    cells: list[dict[str, Any]]

    @property
    def steps(self) -> dict[str, str]:
        """What became of each step, by its badges."""
        badges = [one["metadata"]["pipestate"] for one in self._outputs if is_badge(one)]
        return {one["step"]: one["state"] for one in badges if one.get("step")}

    @property
    def shown(self) -> list[list[dict[str, Any]]]:
        """What each cell shows, without badges and cell numbers, printed text in one piece."""
        return [page([one for one in cell["outputs"] if not is_badge(one)]) for cell in self.cells]

    @property
    def text(self) -> str:
        """All that is printed."""
        return "\n".join("".join(one["text"]) for one in self._outputs if "text" in one)

    @property
    def _outputs(self) -> list[dict[str, Any]]:
        return [one for cell in self.cells for one in cell["outputs"]]


def page(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs as a page shows them: a program that prints line by line prints one text."""
    shown: list[dict[str, Any]] = []
    for one in outputs:
        if "text" in one and shown and shown[-1].get("name") == one["name"]:
            shown[-1]["text"] += "".join(one["text"])
        elif "text" in one:
            shown.append({"name": one["name"], "text": "".join(one["text"])})
        else:
            shown.append({"data": one["data"]})
    return shown


def read(path: Path) -> Run:
    """A notebook as it is saved."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return Run([cell for cell in cells if cell["cell_type"] == "code"])


@pytest.fixture
def execute(cwd: Path, ipython_home: Path) -> Callable[..., Run]:
    """Executes a copy of a notebook in the test's folder, after replacing text in it."""

    def run(path: Path, *changes: tuple[str, str]) -> Run:
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        copy = cwd / path.name
        copy.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", EXECUTE, "--inplace", copy.name],
            cwd=cwd,
            env=child_environment(ipython_home),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return read(copy)

    return run


def test_hello_epiphany_computes_once_and_restores_in_a_new_kernel(execute):
    """Both show the page that is saved in the file, but for the line that names the job."""
    path = EXAMPLES / "hello_epiphany.ipynb"
    first, again = execute(path), execute(path)
    assert first.steps == {"step_01": "ran", "step_02": "ran"}
    assert again.steps == {"step_01": "restored", "step_02": "restored"}
    assert first.shown == read(path).shown
    assert again.shown[1:] == first.shown[1:]
    assert "Name again: Mike Again" in again.text


def test_run_twice_tells_that_nothing_was_computed_the_second_time(cwd, ipython_home):
    """The script works from any folder, and leaves nothing behind there."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "run_twice.py"],
        cwd=cwd,
        env=child_environment(ipython_home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == TWICE, done.stderr
    assert list(cwd.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_analysis_comes_back_whole_and_reruns_only_what_an_edit_changes(execute, script):
    """Frames, figures and models: restored to the pixel; an edited figure runs alone."""
    path = EXAMPLES / "analysis.ipynb"
    steps = ["load", "means", "scatter", "train", "scores", "importance", "few"]
    first, again = execute(path), execute(path)
    assert first.steps == dict.fromkeys(steps, "ran")
    assert again.steps == dict.fromkeys(steps, "restored")
    assert again.shown[1:] == first.shown[1:]
    edited = execute(path, ("alpha=0.7", "alpha=0.4"))
    assert edited.steps == {**dict.fromkeys(steps, "restored"), "scatter": "ran"}
    scores = script("import pipestate as pip\nprint(pip.get('wines', step='scores'))")
    assert "support vector machine" in scores


@pytest.fixture
def server(cwd: Path, ipython_home: Path) -> Iterator[str]:
    """The address of the example's server, which runs in the test's folder."""
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / "server_and_notebook" / "server.py", "--port", "0"],
        cwd=cwd,
        env=child_environment(ipython_home),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def ask(address: str, value: object = None) -> Any:
    """What the server answers; with a value, it is sent to be set."""
    body = None if value is None else json.dumps(value).encode()
    with urllib.request.urlopen(address, body, timeout=SECONDS) as answer:
        return json.load(answer)


def test_a_value_set_through_a_server_makes_its_readers_stale(execute, server):
    """The notebook's other steps stay fresh, and what it makes is served."""
    path = EXAMPLES / "server_and_notebook" / "alerts.ipynb"
    assert execute(path).steps == {"readings": "ran", "alerts": "ran"}
    assert ask(f"{server}/alerts") == [3, 4, 5, 6, 7, 8, 9]
    assert ask(f"{server}/threshold", 27.5) == 27.5
    assert ask(server) == {"threshold": "fresh", "readings": "fresh", "alerts": "stale"}
    assert execute(path).steps == {"readings": "restored", "alerts": "ran"}
    assert ask(f"{server}/alerts") == [5, 6, 7]
