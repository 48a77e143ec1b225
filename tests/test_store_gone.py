"""A store that is deleted, or replaced by another one, under a live kernel or a live `Job`.

What is in memory stays and works, what was only in the store is gone and said to be, and nothing of
the old store is taken for the new one's.
"""

from __future__ import annotations

import shutil

import pytest

import pipestate
from pipestate.pipe.history import fold
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify


@pytest.fixture
def job(nb):
    """A new kernel on a job with two steps and a plain cell, of which only `a` is in memory."""
    nb.load("job")
    nb.run("%%step first\na = [1]", "%%step second\nb = a + [2]", "given = [7]")
    nb.run("%%step third\nc = given + [3]")
    nb.kill()
    nb.load("job")
    nb.run("a")
    return nb


def replaced(cwd):
    """Put another store in the place, with a job of the same name and as many runs."""
    shutil.rmtree(cwd / ".pipestate", ignore_errors=True)
    for value in (1, 2, [99]):
        pipestate.set("job", "a", value)
    pipestate.set("job", "other", "here")
    open_store(cwd / ".pipestate").close()


def pipe_of(cwd):
    """The job as the store has it."""
    return fold(*open_store(cwd / ".pipestate").index.tail("job"))


def test_what_is_in_memory_stays_and_one_line_says_what_is_gone(job, cwd):
    """At the first cell, and not again."""
    shutil.rmtree(cwd / ".pipestate")
    result = job.run("a")
    assert result.value == "[1]"
    assert result.text.count("pipestate: ") == 1
    assert "was deleted: what is in memory stays; not in memory, and gone: b, c" in result.text
    assert "pipestate" not in job.run("a").text
    assert "has no steps yet" in job.run("%pipe").text


def test_a_name_that_went_with_the_store_says_which_cell_makes_it(job, cwd):
    """In one line, for plain cells and for steps, until it is made; another value may be bound."""
    shutil.rmtree(cwd / ".pipestate")
    job.run("a")
    said = "`b` is gone with the store that held it; run the cell of second, which makes it"
    for cell in ("b", "%%step fourth\nd = b + [4]"):
        result = job.run(cell)
        assert said in result.text
        assert result.states == []
    assert "run the cell that makes it" in job.run("given").text
    assert job.run("b = 5\nb").value == "5"
    assert job.run("%%step second\nb = a + [2]", "b").value == "[1, 2]"


@pytest.mark.parametrize("harm", ["deleted", "replaced"])
def test_the_next_step_is_kept_in_the_store_that_is_there(job, cwd, harm):
    """With what it read; the next kernel has both, and every byte is right."""
    replaced(cwd) if harm == "replaced" else shutil.rmtree(cwd / ".pipestate")
    assert job.run("%%step second\nb = a + [2]\nb").value == "[1, 2]"
    job.kill()
    job.load("job")
    assert job.run("b").value == "[1, 2]"
    assert job.run("%%step second\nb = a + [2]\nb").states == [("second", "restored")]
    assert verify(open_store(cwd / ".pipestate")) == []


def test_nothing_of_the_old_job_is_in_a_new_one_of_its_name(job, cwd):
    """No step, source, order or meaning; and the names of the new one are there."""
    replaced(cwd)
    assert "is another one now" in job.run("a").text
    assert job.run("other").value == "'here'"
    job.run("%%step fourth\nd = 4")
    pipe = pipe_of(cwd)
    assert pipe.order == ("a", "other", "fourth")
    assert set(pipe.seen) == {"fourth"}
    assert set(pipe.meanings) == {"a", "other", "d"}
    assert "second" not in job.run("%pipe").text


@pytest.mark.parametrize("harm", ["deleted", "replaced"])
def test_a_step_that_runs_while_its_store_goes_is_kept_alone(job, cwd, harm):
    """What it says of the other steps was true of the store that is gone."""
    cell = "%%step fourth\nd = a + [4]\nprint('in it')\nwhile not os.path.exists('go'): pass\nd"
    job.run("import os")
    running = job.begin(cell)
    job.wait_for(lambda: running.stdout)
    replaced(cwd) if harm == "replaced" else shutil.rmtree(cwd / ".pipestate")
    (cwd / "go").touch()
    assert job.wait(running).value == "[1, 4]"
    pipe = pipe_of(cwd)
    assert set(pipe.order) - {"a", "other"} == {"fourth"}
    assert not {"c", "given"} & set(pipe.meanings)
    assert job.run("d").value == "[1, 4]"
    job.kill()
    job.load("job")
    assert job.run("d").value == "[1, 4]"
    assert verify(open_store(cwd / ".pipestate")) == []


def test_a_store_that_was_only_moved_and_copied_back_is_no_other_one(job, cwd):
    """The kernel goes on as if nothing had been."""
    shutil.copytree(cwd / ".pipestate", cwd / "copy")
    shutil.rmtree(cwd / ".pipestate")
    shutil.copytree(cwd / "copy", cwd / ".pipestate")
    result = job.run("b")
    assert (result.value, result.text) == ("[1, 2]", "[1, 2]")
    assert job.run("%%step first\na = [1]").states == [("first", "restored")]


def test_a_job_of_a_script_reads_the_store_that_is_there(cwd):
    """By step, by name, through names that were asked for before; and it writes to it."""
    job = pipestate.Job("job")
    job["a"], job["b"] = b"x" * 100_000, 2
    names = job.names
    assert names["a"] == b"x" * 100_000
    shutil.rmtree(cwd / ".pipestate")
    for look in (lambda: job["a"], lambda: names["a"], lambda: pipestate.read("job")["a"]):
        with pytest.raises(KeyError):
            look()
    assert (list(job), job.status(), job.history()) == ([], [], [])
    replaced(cwd)
    assert dict(job) == {"a": [99], "other": "here"}
    assert names["a"] == [99]
    job["b"] = 3
    assert pipestate.read("job") == {"a": [99], "other": "here", "b": 3}
    assert verify(open_store(cwd / ".pipestate")) == []
