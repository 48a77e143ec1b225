"""A disk that is full when a big value is written: at its first look, at its pickle, or before the
body, for a step that reads what a plain cell made.

The cell runs, the values stand in memory, one line says so.
"""

from __future__ import annotations

import contextlib

import pytest

import pipestate
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({}, -1))"
VALUES = {
    "text": "'x' * 1_500_000",
    "bytes": "bytes(1_500_000)",
    "buffer": "bytearray(1_500_000)",
    "buffers": "(1, [bytearray(1_500_000), bytearray(b'x' * 1_500_000)])",
    "great": "[bytearray(20_000_000)]",
    "array": "numpy.arange(400_000)",
    "small": "[bytes(n) for n in range(3000)]",
}


@pytest.fixture
def full(nb, cwd):
    """A kernel on a job, in which no file may grow beyond a limit."""
    nb.load("job")
    nb.run("%%step a\na = 1", LIMIT.format(800_000))
    yield nb
    assert verify(open_store(cwd / ".pipestate")) == []


@pytest.mark.parametrize("text", VALUES.values(), ids=VALUES)
def test_a_value_of_any_kind_that_does_not_fit_stands_in_memory(full, text):
    """It is not kept as one that cannot be kept; with room it is, and comes back."""
    cell = f"%%step b\nimport numpy\nb = {text}\ntype(b).__name__"
    result = full.run(cell)
    assert result.value is not None
    assert "b was not kept, its values stand in memory: no space left" in result.text
    assert result.text.count("pipestate: ") == 1
    full.run(LIMIT.format(-1), cell)
    full.kill()
    full.load("job")
    assert full.run(cell).states == [("b", "restored")]
    assert full.run(f"repr(b) == repr({text})").value == "True"


@pytest.mark.parametrize("text", [VALUES["bytes"], VALUES["buffers"]], ids=["bytes", "buffers"])
def test_a_step_that_reads_what_does_not_fit_runs(full, text):
    """What a plain cell made is kept with the step, before the body: the body runs in any case."""
    full.run(f"given = {text}")
    result = full.run("%%step c\nc = len(given)\nc")
    assert result.value in ("2", "1500000"), result.text
    assert "no space left" in result.text
    full.run(LIMIT.format(-1))
    assert full.run("%%step c\nc = len(given)\nc").states == [("c", "ran")]
    full.kill()
    full.load("job")
    assert full.run("%%step c\nc = len(given)\nc").states == [("c", "restored")]


def test_a_script_is_told_that_there_is_no_room(script):
    """And not that the value cannot be kept."""
    code = f"""
import numpy, pipestate
job = pipestate.Job("job")
job["a"] = 1
{LIMIT.format(800_000)}
for value in ({", ".join(VALUES.values())}):
    try:
        job["b"] = value
    except pipestate.PackError as error:
        print(error)
    except pipestate.StoreError as error:
        print("no space left" in str(error))
"""
    assert script(code) == "True\n" * len(VALUES)
    assert dict(pipestate.Job("job")) == {"a": 1}


def test_a_cell_of_another_name_or_of_none_runs_on_a_full_disk(nb, small_disk):
    """That it was renamed, or is no step any more, is not written down, and one line says so."""
    disk = small_disk("1m")
    nb.kill(env={"PIPESTATE_STORE": str(disk / "store")})
    nb.load("job")
    nb.run("%%step a\na = 1", cell_id="one")
    with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1000))
    for number in range(40):  # what room is left in the log of the index is used up
        nb.run(f"%%step s{number}\ns = 'x' * 9000", cell_id=f"s{number}")
    result = nb.run("%%step b\nb = 2\nb", cell_id="one")
    assert result.value == "2", result.text
    assert nb.run("b = 3\nb", cell_id="one").value == "3"
    assert nb.run("c = 4\nc", cell_id="s1").value == "4"
