"""A step that finished is never lost, and one that did not is never half there.

Processes are killed by SIGKILL: before the first, the second, the third ... line that a commit
executes in the store and in diskcache, and at random instants. What is found afterwards is either
the job before the commit or the job after it, and every byte of it verifies.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from test_store_contract import python, said

from pipestate.pipe.history import after, fold
from pipestate.record import Pipe, Record, Run, Version
from pipestate.store.folder import Store, open_store
from pipestate.store.upkeep import sweep, verify

BIG = random.Random(0).randbytes(1 << 20)


def commit(store: Store, name: str = "s") -> Pipe:
    """A run with a blob of every kind, each new with every number."""
    pipe = fold(*store.index.tail("j"))
    mark = f"{name}:{pipe.number + 1}".encode()
    with store.batch() as batch:
        blobs = tuple(batch.put(mark + data) for data in (b"", b"x" * 100_000, BIG))
        output = Version("value", "0" * 40, {"x": "0" * 40}, buffers=blobs)
        digest = batch.record(Record(name, mark.decode(), "0" * 40, outputs=(output,)))
        run = Run(pipe.number + 1, "j", name, "ran", record=digest, heads={name: digest})
        pipe = after(pipe, run)
        batch.commit(run, pipe=pipe)
    return pipe


def whole(path: Path, numbers: range) -> int:
    """The number of the last run, which is one of `numbers`, with all that it ever left."""
    store = open_store(path)
    last = store.index.last("j")
    assert last in numbers, (last, numbers)
    assert verify(store) == []
    assert [run.number for run in store.index.runs("j")] == list(range(1, last + 1))
    for run in store.index.runs("j"):
        record = store.index.record(run.record or "")
        assert record.source.endswith(f":{run.number}")
        assert [bytes(store.map(blob))[: len(record.source)] for blob in record.blobs] == (
            [record.source.encode()] * 3
        )
    store.close()
    return last


# --- killed before any line; these run in a process of their own, which has one thread and forks


def killed_before_line(count: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that dies before the line of that count; whether it got so far."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = count

    def local(_frame: object, event: str, _arg: object) -> object:
        nonlocal left
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return local

    def trace(frame: object, _event: str, _arg: object) -> object:
        file = frame.f_code.co_filename
        return local if "/store/" in file or "/diskcache/" in file else None

    sys.settrace(trace)
    try:
        work()
    finally:
        os._exit(0)


def kill_commits(path: Path, stride: int) -> None:
    """A commit to an open store, killed everywhere; then one to a store that is not there yet."""
    count, last = 0, 0
    while killed_before_line(count, lambda: commit(open_store(path / "one"))):
        last = whole(path / "one", range(last, last + 2))
        count += stride
        if not last:
            commit(open_store(path / "one"))
            last = 1
    assert count > 500
    killed, count = True, 0
    while killed:
        new = path / f"new{count}"
        killed = killed_before_line(count, partial(lambda new: commit(open_store(new)), new))
        whole(new, range(2))
        commit(open_store(new))
        whole(new, range(1, 3))
        count += 3 * stride


def kill_sweeps(path: Path, stride: int) -> None:
    """A sweep with something to take, killed everywhere: what is wanted stays, the rest goes."""
    store, count = open_store(path / "store"), 0
    wanted = commit(store).heads["s"]
    killed = True
    while killed:
        for mark in (b"r%d" % count, b"f%d" % count * 9000):
            with store.batch() as batch:
                batch.put(mark)
                batch.record(Record("s", mark[:9].decode(), "0" * 40))
                last = store.index.last("gone")
                batch.commit(Run(last + 1, "gone", "s", "noted"))
        store.index.drop_job("gone")
        store.close()
        killed = killed_before_line(count, lambda: sweep(open_store(path / "store")))
        whole(path / "store", range(1, 2))
        sweep(store)
        assert store.index.rows.keys("record/") == [f"record/{wanted}"]
        count += stride


def kill(path: str, work: str, stride: str) -> None:
    """Either of them, as asked for on a command line."""
    {"commits": kill_commits, "sweeps": kill_sweeps}[work](Path(path), int(stride))


@pytest.mark.parametrize("work", ["commits", "sweeps"])
def test_killed_before_any_line(tmp_path, work):
    """Whatever was finished is there, whatever was not leaves no trace that anybody could read."""
    said("import test_never_lost as t\nt.kill(*sys.argv[1:])", tmp_path, work, 97)


# --- killed at any instant

COMMITTER = """
from test_never_lost import *
from pipestate.store.standing import Moved
store = open_store(sys.argv[1])
while True:
    try:
        print(commit(store, sys.argv[2]).number, flush=True)
    except Moved:
        continue
"""


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_instant_while_another_goes_on(tmp_path, seed):
    """Of two processes that commit to one job, every commit that one has reported is there."""
    instants = random.Random(seed)
    processes = {name: python(COMMITTER, tmp_path / "store", name) for name in "ab"}
    reported = {}
    try:
        for name, process in processes.items():
            reported[name] = [int(process.stdout.readline())]
    finally:
        for process in processes.values():
            time.sleep(instants.uniform(0, 0.05))
            process.kill()
    for name, process in processes.items():
        reported[name] += map(int, process.communicate()[0].split())
    store = open_store(tmp_path / "store")
    made = {run.number: run.step for run in store.index.runs("j")}
    assert verify(store) == []
    assert list(made) == list(range(1, len(made) + 1))
    for name, numbers in reported.items():
        # The last line may have been cut by the kill.
        assert all(made[number] == name for number in numbers[:-1])
    commit(store)
    store.close()


def test_a_full_disk_leaves_the_job_as_it_was(tmp_path):
    """No file may grow beyond a limit: commits fail with one message, nothing is half visible, and
    when there is room again the store goes on."""
    code = """
import resource
from test_never_lost import *
from pipestate.errors import DamageError, StoreError
store, path = open_store(sys.argv[1]), Path(sys.argv[1])
commit(store)
free = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (10, 4096, 20_000, 40_000, 200_000, 1_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, free[1]))
    try:
        commit(store)
    except DamageError:
        raise
    except StoreError as error:
        print(error.message)
    else:
        raise AssertionError(limit)
    resource.setrlimit(resource.RLIMIT_FSIZE, free)
    whole(path, range(1, 2))
    assert not list(path.glob("blobs/tmp/*"))
assert commit(store).number == 2
whole(path, range(2, 3))
"""
    lines = said(code, tmp_path / "store").splitlines()
    assert len(lines) == 6
    assert any("no space left" in line for line in lines)
