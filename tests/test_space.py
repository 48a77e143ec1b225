"""A store gives back the room of what nobody can ask for any more, and never what is in force."""

from __future__ import annotations

import os

import numpy as np
import pytest
from test_store_contract import python

import pipestate
from pipestate.space import reclaim
from pipestate.store import upkeep
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify

MEGABYTE = 1 << 20


@pytest.fixture
def folder(tmp_path):
    """A store whose bytes are all right when the test ends."""
    yield tmp_path / "store"
    assert verify(open_store(tmp_path / "store")) == []


def write(folder, step, numbers):
    """A megabyte for each number, set one after the other."""
    job = pipestate.Job("j", store=folder)
    for number in numbers:
        job[step] = np.full(MEGABYTE // 8, number, dtype=float)
    return job


# --- reclaiming


def test_what_is_beyond_the_newest_records_goes(folder):
    """With the history before it; of a value that is set, none comes back after the next."""
    job = write(folder, "a", range(3))
    write(folder, "b", range(10))
    store = open_store(folder)
    done = reclaim(store, keep_runs=2)
    assert (done.runs, done.swept.records) == (12, 10)
    assert done.swept.nbytes == 7 * MEGABYTE  # those of `a` are among those of `b`
    assert (job["a"][0], job["b"][0]) == (2, 9)
    assert [run.step for run in job.history()] == ["b"]
    assert [(one.name, one.runs) for one in job.status()] == [("a", 3), ("b", 10)]
    assert upkeep.size(store) < 4 * MEGABYTE


def test_a_dry_run_counts_what_would_go_and_removes_nothing(folder):
    """What it says is what happens then."""
    write(folder, "a", range(5))
    store = open_store(folder)
    before = sorted(str(file) for file in folder.rglob("*"))
    told = reclaim(store, keep_runs=1, dry_run=True)
    assert sorted(str(file) for file in folder.rglob("*")) == before
    assert reclaim(store, keep_runs=1) == told
    assert reclaim(store, keep_runs=1).swept.blobs == 0


def test_memory_that_was_restored_stays_when_its_file_goes(folder):
    """A mapped file lives until the last one who maps it lets go."""
    job = write(folder, "a", [7])
    value = job["a"]
    write(folder, "a", [8])
    assert reclaim(open_store(folder), keep_runs=1).swept.blobs >= 1
    assert (value == 7).all()
    assert (job["a"] == 8).all()


WRITER = """
import pipestate, os, numpy as np
job = pipestate.Job("j", store=sys.argv[1])
for number in range(20):
    job[sys.argv[2]] = np.full(10_000, number)
    assert (job[sys.argv[2]] == number).all()
"""


READER = """
import pipestate
job, seen = pipestate.Job("j", store=sys.argv[1]), -1
while seen < 19:
    value = job.get("b", [seen])
    assert value[0] >= seen and set(value) == {value[0]}
    seen = value[0]
"""


def test_it_is_safe_beside_others_that_write_and_read(folder):
    """Two processes set values and one reads them, while this one reclaims without a pause."""
    write(folder, "a", [0])
    store = open_store(folder)
    others = [python(WRITER, folder, "b"), python(WRITER, folder, "c"), python(READER, folder)]
    while any(one.poll() is None for one in others):
        reclaim(store, keep_runs=1)
    assert [one.communicate()[0] or one.returncode for one in others] == [0, 0, 0]
    job = pipestate.Job("j", store=folder)
    assert [int(job[name][0]) for name in "abc"] == [0, 19, 19]
    assert {one.name: one.runs for one in job.status()} == {"a": 1, "b": 20, "c": 20}


# --- in a notebook and at the shell


def test_gc_is_a_command_of_the_notebook_and_of_the_shell(nb, shell):
    """Both tell what they removed; a dry run removes nothing."""
    nb.load("j")
    for number in range(3):
        nb.run(f"%%step a\nx = bytes([{number}]) * 1_000_000")
    nb.run("%config PipeState.keep_runs = 2")
    told = nb.run("%pipe gc --dry-run").stdout
    assert told == "would remove 1.0 MB: 1 record, 1 blob, 2 runs of the history\n"
    assert nb.run("%pipe gc").stdout == told.replace("would remove", "removed")
    assert nb.run("%pipe gc").stdout == "nothing to reclaim\n"
    told = told.replace("2 runs", "1 run")
    assert shell("gc", "--dry-run", "--keep-runs", "1").stdout == told
    assert shell("gc", "--keep-runs", "1").stdout == told.replace("would remove", "removed")
    assert shell("gc").stdout == "nothing to reclaim\n"
    assert "a number from 1 on" in shell("gc", "--keep-runs", "0").stderr
    assert "takes no words" in nb.run("%pipe gc all").text
    assert nb.run("x[0]").value == "2"


def test_keep_runs_says_how_far_back_an_edit_is_restored(nb):
    """The newest records of a step are at hand, those before run again."""
    nb.run("%load_ext pipestate", "%config PipeState.keep_runs = 2", "%pipe job j")
    for number in range(3):
        nb.run(f"%%step a\nx = {number}")
    assert nb.run("%%step a\nx = 1").states == [("a", "restored")]
    assert nb.run("%%step a\nx = 0").states == [("a", "ran")]


def test_a_record_that_another_process_reclaimed_is_made_again(notebook, shell):
    """Also where this kernel still remembers it."""
    one = notebook()
    one.load("j")
    for number in (0, 1, 2):
        one.run(f"%%step a\nx = bytes([{number}]) * 1_000_000")
    assert "removed" in shell("gc", "--keep-runs", "1").stdout
    assert one.run("%%step a\nx = bytes([0]) * 1_000_000").states == [("a", "ran")]
    assert one.run("x[0]").value == "0"


# --- the bound


def test_a_store_keeps_to_its_bound(nb, cwd):
    """Earlier records go; what is in force stays and comes back."""
    nb.run("%load_ext pipestate", "%config PipeState.max_bytes = 5_000_000", "%pipe job j")
    nb.run("%%step first\nfirst = 'a' * 1_000_000")
    for number in range(8):
        result = nb.run(f"%%step a\nx = bytes([{number}]) * 1_000_000")
        assert result.states == [("a", "ran")]
    assert upkeep.size(open_store(cwd / ".pipestate")) < 5_000_000
    nb.kill()
    nb.load("j")
    assert nb.run("x[0], first[0]").value == "(7, 'a')"


def test_a_bound_that_what_is_in_force_outgrows_is_said(nb):
    """Nothing in force is given up for it."""
    nb.run("%load_ext pipestate", "%config PipeState.max_bytes = 1_000_000", "%pipe job j")
    told = nb.run("%%step a\nx = bytes(2_000_000)").text
    assert "more than max_bytes (1.0 MB), and all of it is in force" in told
    nb.kill()
    nb.load("j")
    assert nb.run("len(x)").value == "2000000"
    assert os.path.isdir(nb.cwd / ".pipestate")


def test_a_job_of_a_script_keeps_to_its_bound(folder):
    """It is its own, as a kernel's is; the value last set is there."""
    job = pipestate.Job("j", store=folder, max_bytes=8 * MEGABYTE)
    job["b"] = b"stays"
    for number in range(20):
        job["a"] = np.full(MEGABYTE // 8, number, dtype=float)
        assert upkeep.size(open_store(folder)) < 9 * MEGABYTE
    assert (job["a"][0], job["b"]) == (19, b"stays")
    assert job.history()[-1].number == 21


def test_a_bound_that_a_script_outgrows_is_a_warning(folder):
    """The value is kept all the same."""
    job = pipestate.Job("j", store=folder, max_bytes=MEGABYTE)
    with pytest.warns(
        UserWarning, match="more than max_bytes .1048576., and all of it is in force"
    ):
        job["a"] = bytes(2 * MEGABYTE)
    assert len(job["a"]) == 2 * MEGABYTE
