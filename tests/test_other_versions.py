"""A store that another Python wrote, or the same one with other libraries.

Data loads in any of them. What does not is made again, announced, or said in one line: code is the
Python's that compiled it, and a class is there only where its library is.
"""

from __future__ import annotations

import pytest

import pipestate

OTHER = "import sys; sys.implementation.cache_tag = 'cpython-310'"
"""What a Python goes by that compiles otherwise."""

STEPS = ("%%step a\nimport json\nn = 3\nf = [lambda x: x + n]", "%%step b\ny = f[0](4)\ny")


@pytest.fixture
def job(nb):
    """A kernel on a job that was made by another Python."""
    nb.run(OTHER)
    nb.load("job")
    nb.run(*STEPS)
    nb.kill()
    nb.load("job")
    return nb


def test_data_of_another_python_is_restored(job):
    """Numbers, texts, what was shown: nothing of it is of one Python alone."""
    assert job.run("n, y").value == "(3, 7)"
    assert job.run(STEPS[1]).states == [("b", "restored")]


def test_code_of_another_python_is_made_again_and_never_run(job):
    """When a plain cell names it; said in one line."""
    result = job.run("f[0](1)")
    assert result.value == "4"
    assert "`f` could not be loaded (its code is that of cpython-310, and this is" in result.text
    assert ("a", "ran") in result.states


def test_a_step_that_reads_code_of_another_python_has_it_made_again(job):
    """As a plain cell has; and it is this Python's from then on."""
    result = job.run("%%step c\nf[0](2)")
    assert result.value == "5"
    assert [one for one in result.states if one[0]] == [("a", "ran"), ("c", "ran")]
    job.kill()
    job.load("job")
    assert job.run("f[0](1)").value == "4"
    assert ("a", "ran") not in job.results[-1].states


def test_a_script_is_told_whose_code_it_is(job):
    """One clear error; beside it, all can be read."""
    names = pipestate.Job("job").names
    assert names["n"] == 3
    with pytest.raises(pipestate.FormatError, match="its code is that of cpython-310"):
        names["f"]


@pytest.fixture
def library(cwd, monkeypatch):
    """A library with a class, that can be taken away."""
    folder = cwd / "site-packages"
    folder.mkdir()
    (folder / "things.py").write_text("class Thing:\n    size = 1\n")
    return folder


def test_a_step_that_reads_a_value_of_a_library_that_is_gone_has_it_made_again(nb, library):
    """Its maker runs, and finds another way or says what it lacks: no cell is run without it."""
    nb.run(f"import sys; sys.path.append({str(library)!r})")
    nb.load("job")
    nb.run("%%step a\nfrom importlib import import_module as get\nt = get('things').Thing()")
    nb.run("%%step b\nt.size")
    nb.kill()
    (library / "things.py").unlink()
    nb.load("job")
    result = nb.run("%%step c\nprint('body')\nt.size + 1")
    assert "`t` could not be loaded (ModuleNotFoundError" in result.text
    assert "this cell did not run: a, which it needs, failed" in result.text
    assert "body" not in result.stdout
    (library / "things.py").write_text("class Thing:\n    size = 1 + 1\n")
    nb.run(f"import sys; sys.path.append({str(library)!r})")
    assert nb.run("%%step c\nprint('body')\nt.size + 1").value == "3"
