"""No byte of a store can change unseen: each damage is found before a wrong value reaches anybody.

A small job is made with cells of every kind. Then each row of its index and each file of its blobs
is flipped, cut, removed or swapped, one at a time, and a new session looks: every name means what
it should or is not to be had, `verify` names the damage, and after the cells were run again all is
well. The sessions are IPython shells in a process of their own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from test_store_contract import commit, edit, rewrite, said

from pipestate.errors import StoreError
from pipestate.job import Job
from pipestate.pipe.history import fold
from pipestate.record import Pipe
from pipestate.store.folder import Store, open_store
from pipestate.store.upkeep import sweep, verify

PLAIN = "given = [1, 2]"
STEPS = {
    "a": "import math\nxs = given + [3]\nprint('adding')\nxs",
    "f": "def area(r):\n    return round(math.pi * r, 2)\n\n"
    "class P:\n    def __init__(self, v):\n        self.v = v",
    "big": "import numpy as np\narr = np.arange(20_000)\nback = arr[::-1].copy()\n"
    "text = 'tea and cake ' * 2000",
    "use": "total = int(arr.sum()) + len(xs)\np = P(total)\nprint(area(2))\ntotal",
}
MEANT = {
    "xs": [1, 2, 3],
    "area(1)": 3.14,
    "int(arr.sum())": 199990000,
    "(int(arr[0]), int(back[0]))": (0, 19999),
    "text[:4], text[-5:], len(text)": ("tea ", "cake ", 26000),
    "total": 199990003,
    "p.v": 199990003,
    "math.floor(2.5)": 2,
    "int(np.int8(3))": 3,
    "given": [1, 2],
}


KINDS = {"base", "blob", "job", "jobs", "pipe", "record", "run", "stamp", "taken"}
"""The kinds of rows: there is one of each in the store that is harmed."""

# --- sessions; these run in a process of their own


def session(folder: Path) -> Callable[[str], tuple[object, str]]:
    """A new IPython shell on the job in `folder`: runs a cell, gives the value of `got` and what
    went wrong."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    os.environ["PIPESTATE_STORE"] = str(folder)
    shell = InteractiveShell()

    def run(cell: str) -> tuple[object, str]:
        shell.user_ns.pop("got", None)
        with capture_output() as shown:
            result = shell.run_cell(cell)
        error = result.error_before_exec or result.error_in_exec
        flaw = f"{type(error).__name__}: {error}" if error else ""
        return shell.user_ns.get("got"), flaw or ("UsageError" in shown.stderr and shown.stderr)

    for line in ("%load_ext pipestate", "%pipe job j"):
        run(line)
    return run


def make(folder: Path) -> None:
    """The job, with a snapshot, without its first runs, and with a step that was edited: where
    the log loses a run, an older value is not to take the place of a newer one."""
    run = session(folder)
    run(PLAIN)
    job = Job("j", store=folder)
    for number in range(17):
        job["extra"] = number
    old = {"use": "total = p = -1"}
    for steps in ({**STEPS, **old}, STEPS):
        for step, text in steps.items():
            _, flaw = run(f"%%step {step}\n{text}")
            assert not flaw, flaw
        store = open_store(folder)
        if steps is not STEPS:
            runs = store.index.runs("j")
            at = next(at for at, one in enumerate(runs) if one.step == "f")
            store.index.trim("j", fold(Pipe("j"), runs[:at]), fold(Pipe("j"), runs))
            sweep(store)
    assert {key.partition("/")[0] for key in rows_of(store)} == KINDS
    store.close()


def wrong(folder: Path) -> list[str]:
    """What a new session is told that is not so; a name that is not to be had is no lie."""
    found = []
    run = session(folder)
    for text, meant in MEANT.items():
        got, flaw = run(f"got = {text}")
        if got != meant and not flaw:
            found.append(f"{text} is {got!r} at once")
    run = session(folder)
    run(PLAIN)
    for step, text in STEPS.items():
        _, flaw = run(f"%%step {step}\n{text}")
        if flaw:
            found.append(f"{step} does not run: {flaw}")
    for text, meant in MEANT.items():
        got, flaw = run(f"got = {text}")
        if got != meant:
            found.append(f"{text} is {got!r} after all steps ({flaw})")
    return found + wrong_in_scripts(folder)


def wrong_in_scripts(folder: Path) -> list[str]:
    """The same from Python, after all steps have been run."""
    job = Job("j", store=folder)
    job["extra"] = 16
    found = [f"script: {s.name} is {s.state}: {s.reason}" for s in job.status() if s.reason]
    for name, meant in (("total", 199990003), ("xs", [1, 2, 3])):
        if job.names[name] != meant:
            found.append(f"script: {name}")
    return found


def read_by_a_script(folder: Path) -> list[str]:
    """What a script is told of a damaged store that is not so: values, states, history."""
    found = []
    with contextlib.suppress(StoreError):
        job = Job("j", store=folder)
        for one in job.status():
            job.why(one.name)
        job.history()
        for name, meant in (("total", 199990003), ("xs", [1, 2, 3])):
            with contextlib.suppress(StoreError, KeyError):
                if job.names[name] != meant:
                    found.append(f"script: {name} is {job.names[name]!r}")
        for step, meant in (("a", [1, 2, 3]), ("use", 199990003)):
            with contextlib.suppress(StoreError, KeyError):
                if job[step] != meant:
                    found.append(f"script: {step} is {job[step]!r}")
    return found


# --- damages

Damage = tuple[str, Callable[[Store], None]]


def rows_of(store: Store) -> dict[str, bytes]:
    """Every row of the index, read without pipestate."""
    database = sqlite3.connect(store.path / "index" / "cache.db")
    found = dict(database.execute("SELECT key, value FROM Cache ORDER BY key").fetchall())
    database.close()
    return found


def put_row(store: Store, key: str, data: bytes | None) -> None:
    """Another value in a row, behind the store's back; None takes the row away."""
    name = key.replace("'", "''")
    if data is None:
        edit(store, f"DELETE FROM Cache WHERE key = '{name}'")
    else:
        edit(store, f"UPDATE Cache SET value = x'{data.hex()}' WHERE key = '{name}'")


def put_file(store: Store, key: str, data: bytes | None) -> None:
    """Other bytes in a blob's file, or no file."""
    if data is None:
        (store.path / key).unlink()
    else:
        rewrite(store.path / key, data)


def flipped(data: bytes) -> Iterator[tuple[str, bytes]]:
    """One bit is another: in the format, the seal, the signature, the payload, the last byte."""
    for at in sorted({0, 5, 70, len(data) // 2, len(data) - 1} & set(range(len(data)))):
        yield f"flip {at}", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def cut(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Bytes are missing at the end, or all."""
    for size in sorted({0, 17, len(data) // 2, len(data) - 1} & set(range(len(data)))):
        yield f"cut to {size}", data[:size]


def removed(_data: bytes) -> Iterator[tuple[str, None]]:
    """It is not there."""
    yield "remove", None


HARMS = {"flip": flipped, "cut": cut, "remove": removed}


def damages(store: Store, kind: str) -> Iterator[Damage]:
    """Everything of that kind that can be done to one row or file, or to two of a kind."""
    rows = rows_of(store)
    paths = sorted(path for path in (store.path / "blobs").glob("?/*") if path.is_file())
    files = {str(path.relative_to(store.path)): path.read_bytes() for path in paths}
    for put, whole in ((put_row, rows), (put_file, files)):
        if kind == "swap":
            yield from swaps(put, whole)
            continue
        for name, data in whole.items():
            for what, new in HARMS[kind](data):
                yield f"{what} {name}", partial(put, key=name, data=new)


def swaps(put: Callable[..., None], whole: dict[str, bytes]) -> Iterator[Damage]:
    """Each of two in the other's place: all pairs of one kind, and neighbours of any."""
    names = list(whole)
    for at, one in enumerate(names):
        for other in names[:at]:
            if other[:3] == one[:3] or other == names[at - 1]:

                def swap(store: Store, one: str = one, other: str = other) -> None:
                    put(store, one, whole[other])
                    put(store, other, whole[one])

                yield f"swap {other} and {one}", swap


def try_all(kind: str, room: str, share: str) -> None:
    """Try every damage of a kind, or every n-th; prints what was wrong, and how many were tried."""
    whole, count = Path(room) / "whole", 0
    make(whole)
    assert wrong(whole) == []
    assert verify(open_store(whole)) == []
    for count, (what, harm) in enumerate(damages(open_store(whole), kind), 1):
        if count % int(share):
            continue
        folder = Path(room) / "harmed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        harm(open_store(folder))
        found = read_by_a_script(folder)
        # A stamp only saves time, and without one a file is hashed; without the number of what was
        # taken from a journal last, what still lies there is set once more.
        if not verify(open_store(folder)) and what.split()[-1][:5] not in ("stamp", "taken"):
            found.append("verify finds nothing")
        for one in found + wrong(folder):
            sys.stdout.write(f"{what}: {one}\n")
    sys.stdout.write(f"{count} {kind}\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "share"), [("flip", 16), ("cut", 16), ("remove", 5), ("swap", 16)]
)
def test_no_damage_leads_to_a_wrong_value(tmp_path, kind, share):
    """One of so many; `python tests/test_damage.py flip FOLDER 1` tries them all."""
    said_lines = said("import test_damage as t\nt.try_all(*sys.argv[1:])", kind, tmp_path, share)
    *found, count = said_lines.splitlines()
    assert found == []
    assert int(re.match(r"\d+", count)[0]) > 20


KERNEL_STEPS = {
    "seed": "import random, os\nrandom.seed(7)\nos.environ['TEA'] = 'green'",
    "draw": "drawn = random.random()\nprint('drawn')\ndrawn",
    "log": "with open('log.txt', 'a') as file:\n    size = file.write('line\\n')",
    "f": "def double(x):\n    return 2 * x",
    "last": "end = double(drawn) + len(os.environ['TEA'])\nend",
}


def test_a_kernel_survives_the_loss_of_any_blob_and_says_what_was_lost(nb, cwd):
    """What was shown, settings of the process, random states, files as they were: each blob is
    taken away in turn, and each time the steps come out as they did at first."""
    (cwd / "log.txt").write_text("first\n")
    folder, kept = cwd / ".pipestate", cwd / "kept"
    nb.load("j")
    for step, text in KERNEL_STEPS.items():
        nb.run(f"%%step {step}\n{text}")
    end = nb.run("end").value
    store = open_store(folder)
    blobs = [key for key in rows_of(store) if key.startswith("blob/")]
    store.close()
    shutil.copytree(folder, kept)
    for key in blobs:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        put_row(open_store(folder), key, None)
        nb.kill()
        nb.load("j")
        assert "missing from the store (touches " in nb.run("%pipe verify").stdout
        for step, text in KERNEL_STEPS.items():
            assert not nb.run(f"%%step {step}\n{text}").error, (key, step)
        assert nb.run("end").value == end, key
        assert nb.run("open('log.txt').read()").value == repr("first\nline\n"), key
    assert len(blobs) > 6


def test_a_step_says_that_its_record_is_gone(nb, cwd):
    """In the table, in `%pipe why`, and in the badge of the run that makes it again."""
    nb.load("j")
    nb.run("%%step a\nx = 1", "%%step b\ny = x + 1")
    store = open_store(cwd / ".pipestate")
    record = store.index.run("j", 1).record
    put_row(store, f"record/{record}", None)
    nb.kill()
    nb.load("j")
    flaw = f"what it kept cannot be used: record {record[:12]} is missing from the store"
    assert nb.run("%pipe why a").stdout == f"a is stale: {flaw}\n"
    assert nb.run("y").value == "2"
    assert nb.run("x").value == "1"
    assert ("a", "ran") in nb.states
    assert nb.run("%%step b\ny = x + 1").states == [("b", "restored")]
    assert "j" in nb.run("%pipe verify").stdout


@pytest.mark.parametrize("harm", ["remove", "flip"])
def test_a_step_that_reads_a_damaged_value_has_it_made_again(nb, cwd, harm):
    """As a plain cell has: announced, once for all that its step made, and only if it is read."""
    nb.load("j")
    nb.run("%%step a\nx, y = bytes(100_000), bytes(200_000)", "%%step b\nz = x + y\nlen(z)")
    nb.kill()
    for file in (cwd / ".pipestate" / "blobs").glob("?/*"):
        if harm == "remove":
            file.unlink()
        else:
            rewrite(file, b"x" * file.stat().st_size)
    nb.load("j")
    result = nb.run("%%step c\nx[:1] + y[:1]")
    assert result.value == repr(bytes(2))
    assert [one for one in result.states if one[0]] == [("a", "ran"), ("c", "ran")]
    assert "`x` could not be loaded (blob" in result.text
    assert nb.run("%%step d\nd = 4\nd").states == [("d", "ran")]


@pytest.mark.parametrize("key", ["jobs", "job/j", "base/j", "pipe/j", "run/j/000000000003"])
@pytest.mark.parametrize("harm", ["remove", "flip"])
def test_a_sweep_of_a_damaged_store_takes_nothing_that_is_wanted(tmp_path, key, harm):
    """Where what is wanted cannot be known, nothing goes; where it can, nothing of it does."""
    store = open_store(tmp_path / "store")
    pipes = [commit(store, b"%d" % number, step=f"s{number}")[0] for number in range(4)]
    store.index.trim("j", pipes[1], pipes[3])
    before = [row for row in rows_of(store) if row.startswith(("record/", "blob/"))]
    assert len(before) == 8
    data = rows_of(store)[key]
    put_row(store, key, None if harm == "remove" else data[:-1] + bytes([data[-1] ^ 1]))
    with contextlib.suppress(StoreError):
        sweep(store)
    assert [row for row in rows_of(store) if row.startswith(("record/", "blob/"))] == before


if __name__ == "__main__":
    try_all(*sys.argv[1:])
