"""Killed at any instant, and at chosen ones: `python -m tests.trial` is the long run of this."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.trial import actors, instants, referee

needs_strace = pytest.mark.skipif(not instants.is_possible(), reason="there is no strace here")


@pytest.mark.parametrize("actor", [actors.script, actors.burst, actors.shell])
def test_a_script_and_the_shell_may_be_killed_at_any_instant(tmp_path, actor):
    """What was done is there and verifies, whatever was not is not seen, leftovers are swept."""
    chance, done = random.Random(actor.__name__), {}
    folder = tmp_path / "store"
    for number in range(1, 9):
        done |= actors.script(folder, chance, 1000 * number)
        done |= actor(folder, chance, 1000 * number + 500)
        referee.check(folder, done) if done else None
    referee.check_swept(folder)


def test_a_kernel_may_be_killed_at_any_instant(tmp_path):
    """So it is with steps."""
    chance, done = random.Random(1), {}
    kernels = actors.Kernels(tmp_path)
    try:
        for number in range(1, 4):
            done |= kernels(tmp_path / "store", chance, 1000 * number)
            if done:
                referee.check(tmp_path / "store", done)
    finally:
        kernels.close()


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize("call", ["rename", "mkdir", "unlink"])
def test_a_notebook_may_be_killed_at_chosen_calls(tmp_path, call):
    """The long run strikes at each call of every kind; this one at a few."""
    for struck in instants.at_each(call, "signal=KILL", tmp_path, first=2, stride=3):
        if struck.done or struck.store.exists():
            referee.check(struck.store, struck.done)
            referee.check_swept(struck.store)


@needs_strace
def test_a_durable_step_is_on_the_disk_before_it_is_done(tmp_path):
    """Files are synced before they get their names, then the folders, and the index at last."""
    log = tmp_path / "log"
    traced = "trace=write,rename,mkdir,fsync,fdatasync,pwrite64"
    code, done, _ = instants.run(
        tmp_path / "store", "-y", "-s", "40", "-e", traced, "-o", str(log), durable=True
    )
    assert (code, done) == (0, {"cell_1": 2, "cell_4": 4})
    lines = log.read_text().splitlines()
    waiting, renamed, told = set(), 0, 0
    for line in lines:
        path = re.search(r"<([^>]*store[^>]*)>", line)
        if " rename(" in line:
            old, new = re.findall(r'"([^"]*)"', line)
            assert old not in waiting, f"{old} got its name before it was synced"
            waiting.add(str(Path(new).parent))
            renamed += "/blobs/" in new
        elif f' mkdir("{tmp_path}/store' in line and "= 0" in line:
            waiting.add(str(Path(re.findall(r'"([^"]*)"', line)[0]).parent))
        elif path and ("write(" in line or "pwrite64(" in line) and "-shm" not in path[1]:
            waiting.add(path[1])
        elif "sync(" in line:
            waiting.discard(re.search(r"<([^>]*)>", line)[1])
        elif '"done"' in line or '"done ' in line:
            assert not waiting, f"not on the disk: {waiting}"
            told += 1
    assert (renamed >= 2, told) == (True, 3)
