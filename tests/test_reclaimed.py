"""What a cell is about to read is reclaimed, or lost, between the look at it and its loading.

By another process, while the cell waits for a lease, loads an edited module anew, or has steps run
that it needs. It reads what is in force by then, or the step that made it runs again: no cell is
refused for it.
"""

from __future__ import annotations

import sys

import pytest
from test_store_contract import PATHS, python

SET = """
pipestate.set("job", step="x", value=b"2" * 100_000)
reclaim(open_store(".pipestate"), keep_runs=1)
"""
LOSE = """
for file in pathlib.Path(".pipestate/blobs").glob("?/*"): file.unlink()
"""
IMPORTS = """
import pathlib, pipestate
from pipestate.space import reclaim
from pipestate.store.folder import open_store
"""
C = "%%step c\nimport helper\nx[:1], z[-1:], helper.n"


def meanwhile(cwd, code, n=2):
    """Edit the module that `c` imports: it is loaded anew when `c` was judged and found to need
    nothing else, and that has another process run `code`."""
    (cwd / "other.py").write_text(f"import sys; sys.path[:0] = {PATHS!r}\n{IMPORTS}\n{code}")
    run = f"subprocess.run([{sys.executable!r}, 'other.py'], check=True)"
    (cwd / "helper.py").write_text(f"import subprocess\n{run}\nn = {n}\n")


@pytest.fixture
def job(nb, cwd):
    """A new kernel on a job in which `c` reads what a script has set and what a cell has made."""
    (cwd / "helper.py").write_text("n = 1\n")
    nb.load("job")
    nb.run("import pipestate; pipestate.set('job', step='x', value=b'1' * 100_000)")
    nb.run("%%step a\ny = b'y' * 100_000", "%%step b\nz = y + b'z'", C)
    nb.kill()
    nb.load("job")
    nb.run("import helper")
    return nb


def test_a_value_that_was_set_anew_before_it_was_loaded_is_the_new_one(job, cwd):
    """The room of the one that the kernel knew is reclaimed."""
    meanwhile(cwd, SET)
    assert job.run(C).value == "(b'2', b'z', 2)"
    assert job.run(C).states == [("c", "restored")]


def test_a_value_that_is_lost_before_it_is_loaded_is_made_again(job, cwd):
    """With what its step reads in turn, which is lost too."""
    job.run("%%step x\nx = b'3' * 100_000", "%pipe unload x")
    meanwhile(cwd, LOSE)
    result = job.run(C)
    assert result.value == "(b'3', b'z', 2)"
    assert result.text.count("runs again to make it") == 3
    assert sorted(one for one in result.states if one[0]) == [(step, "ran") for step in "abcx"]


def test_a_step_that_is_needed_reads_what_is_in_force_too(job, cwd):
    """It runs for another's sake, in a notebook and by `%pipe run`."""
    job.run("%%step d\nw = x[:1]", "%%step e\nw + b'!'")
    job.kill()
    job.load("job")
    job.run("import helper")
    job.run("%%step d\nimport helper\nw = x[:1]", "%pipe unload x")
    meanwhile(cwd, SET)
    assert job.run("%%step e\nw + b'!'").value == "b'2!'"
    job.run("%pipe unload")
    meanwhile(cwd, SET.replace("2", "4"), n=4)
    assert "failed" not in job.run("%pipe run e").text
    assert job.run("w").value == "b'4'"


def test_a_name_keeps_its_meaning_where_a_step_cannot_run_after_all(job, cwd):
    """What was put aside for the run is put back."""
    job.run("%%step low\nx = b'low'")
    meanwhile(cwd, LOSE)
    result = job.run(C)
    assert "is not to be had" in result.text, result.text
    assert job.run("x").value == "b'low'"


@pytest.mark.parametrize("code", [SET, LOSE], ids=["set", "lost"])
def test_a_value_that_goes_while_a_kernel_waits_for_another_one(notebook, cwd, code):
    """The wait ends, and what the step reads is looked for anew."""
    one, other = notebook(), notebook()
    one.load("job")
    one.run("%%step x\nx = b'1' * 100_000")
    other.load("job")
    slow = (
        "%%step slow\nimport pathlib, time\nprint('begun')\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)\nx[:1]"
    )
    first = one.begin(slow)
    one.wait_for(lambda: "begun" in first.stdout)
    second = other.begin(slow)
    other.wait_for(lambda: "waiting" in second.text)
    with python(IMPORTS + code, cwd=cwd) as process:
        assert process.wait(30) == 0
    one.kill()
    (cwd / "go").touch()
    assert other.wait(second).value == ("b'2'" if code is SET else "b'1'")


def test_a_step_whose_stdin_is_lost_has_it_made_again(nb, cwd):
    """The value after `<` is looked at as names are."""
    nb.load("job")
    nb.run("%%step a\nb'a' * 100_000")
    nb.kill()
    nb.load("job")
    for file in (cwd / ".pipestate" / "blobs").glob("?/*"):
        file.unlink()
    result = nb.run("%%step b < a\n_[:1]")
    assert result.value == "b'a'"
    assert ("a", "ran") in result.states


TRIGGER = """
import os, subprocess, sys
class Trigger:
    def __init__(self, n): self.n = n
    def __setstate__(self, state):
        self.__dict__.update(state)
        if os.path.exists("other.py"):
            os.rename("other.py", "done.py")
            subprocess.run([sys.executable, "done.py"], check=True)
    def __repr__(self): return f"Trigger({self.n})"
"""


@pytest.fixture
def halfway(nb, cwd):
    """A new kernel on a job in which loading `x` lets another process set `x` and `y` anew."""
    (cwd / "trigger.py").write_text(TRIGGER)
    nb.load("job")
    nb.run("import pipestate, trigger")
    nb.run("%%step x\nx = trigger.Trigger(1)")
    nb.run("pipestate.set('job', step='y', value=b'1' * 100_000)")
    nb.run("%%step c\nx, y[:1]")
    nb.kill()
    meanwhile(
        cwd,
        'pipestate.write("job", {"x": 2, "y": b"2" * 100_000})\n'
        'reclaim(open_store(".pipestate"), keep_runs=1)\n',
    )
    nb.load("job")
    return nb


@pytest.mark.parametrize("cell", ["x, y[:1]", "%%step d\nx, y[:1]"], ids=["plain", "step"])
def test_names_that_are_set_anew_while_they_are_loaded_are_of_one_moment(halfway, cell):
    """Not one as it was and one as it is, whichever is loaded first."""
    result = halfway.run(cell)
    assert result.value in ("(Trigger(1), b'1')", "(2, b'2')"), result.text
