"""What others do to a store and to the keys while a kernel or a script is at work with them.

Stores change places, an older index comes back, the key is emptied, a holder of a lease stands
still, the disk is full while space is reclaimed.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from test_store_contract import said
from test_two_kernels import SLOW, runs

import pipestate
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify


def end_with_a_good_store(folder: Path) -> None:
    """Every byte of it verifies."""
    assert verify(open_store(folder)) == []


@pytest.fixture
def job(nb, cwd):
    """A kernel with a step of which the value is in the store only."""
    nb.load("job")
    nb.run("%%step a\na = b'a' * 100_000", "%pipe unload a")
    yield nb
    end_with_a_good_store(cwd / ".pipestate")


def test_stores_that_change_places_are_each_read_as_what_they_are(job, cwd):
    """Under a kernel, and under a `Job` of a script: nothing of one is taken for the other's."""
    pipestate.set("job", step="a", value=b"other" * 50_000, store=cwd / "second")
    script = pipestate.Job("job")
    assert script.names["a"][:1] == b"a"
    os.rename(cwd / ".pipestate", cwd / "third")
    os.rename(cwd / "second", cwd / ".pipestate")
    os.rename(cwd / "third", cwd / "second")
    result = job.run("a[:5]")
    assert result.value == "b'other'"
    assert "is another one now" in result.text
    assert script["a"][:5] == b"other"
    script["b"] = 1
    assert "b" in pipestate.Job("job")
    assert "b" not in pipestate.Job("job", store=cwd / "second")
    end_with_a_good_store(cwd / "second")


def test_an_older_index_that_is_put_back_is_what_the_job_is_again(job, cwd):
    """The kernel goes by it from its next cell on; what came since runs again and is kept."""
    folder = cwd / ".pipestate"
    open_store(folder).close()
    job.restart()
    shutil.copytree(folder / "index", cwd / "index")
    job.load("job")
    job.run("%%step a\na = b'b' * 100_000", "%%step c\nc = a[:1]", "%pipe unload a c")
    shutil.rmtree(folder / "index")
    shutil.copytree(cwd / "index", folder / "index")
    assert job.run("a[:1]").value == "b'a'"
    assert pipestate.Job("job").names["a"][:1] == b"a"
    assert job.run("%%step c\nc = a[:1]\nc").value == "b'a'"
    job.kill()
    job.load("job")
    assert job.run("a[:1], c").value == "(b'a', b'a')"


def test_a_key_that_is_emptied_costs_nothing_that_is_in_memory(job, cwd):
    """A kernel that knew it goes on; others are told in one line what to do, and write nothing."""
    key = Path(os.environ["PIPESTATE_KEYS"]) / "key"
    held = key.read_bytes()
    assert job.run("a[:1]").value == "b'a'"
    key.write_bytes(b"")
    try:
        with pytest.raises(pipestate.StoreError, match="holds no key; put it back from a copy"):
            pipestate.set("job", step="b", value=1)
        assert job.run("%%step c\nc = a[:1]\nc").value == "b'a'"
        job.kill()
        job.run("%load_ext pipestate")
        shown = job.run("%pipe job job").text + job.run("%%step d\nd = 4\nd").text
        assert "holds no key" in shown
        assert job.run("1 + 1").value == "2"
    finally:
        key.write_bytes(held)
    job.kill()
    job.load("job")
    assert job.run("a[:1], c").value == "(b'a', b'a')"


def test_who_waits_for_a_kernel_that_stands_still_can_leave(notebook, cwd):
    """It is alive, so its lease holds; an interrupt ends the wait, and later it goes on."""
    one, other = notebook(), notebook()
    for nb in (one, other):
        nb.load("job")
    first = one.begin(SLOW)
    one.wait_for(lambda: "begun" in first.stdout)
    os.kill(one.pid, signal.SIGSTOP)
    try:
        second = other.begin(SLOW)
        other.wait_for(lambda: "waiting" in second.text)
        other.interrupt()
        assert "interrupted before the cell ran" in other.wait(second).traceback
        assert other.run("%%step quick\nq = 1\nq").value == "1"
    finally:
        os.kill(one.pid, signal.SIGCONT)
    (cwd / "go").touch()
    assert one.wait(first).states[-1] == ("slow", "ran")
    assert other.run(SLOW).states == [("slow", "restored")]
    assert runs(cwd) == 1
    end_with_a_good_store(cwd / ".pipestate")


def test_space_is_reclaimed_on_a_full_disk_or_nothing_is(nb, shell, small_disk):
    """It says that there is no room, or makes some; what is in force is there in any case."""
    disk = small_disk("4m")
    nb.kill(env={"PIPESTATE_STORE": str(disk / "store")})
    nb.load("job")
    for number in range(4):
        nb.run(f"%%step a\na = bytes([{number}]) * 300_000")
    with open(disk / "filler", "wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(1000))
            except OSError:
                break
    done = shell("gc", "--keep-runs", "1", "--store", str(disk / "store"))
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert "removed" in done.stdout or "no space left" in done.stderr
    assert nb.run("a[0]").value == "3"
    end_with_a_good_store(disk / "store")
    (disk / "filler").unlink()
    assert "Traceback" not in nb.run("%config PipeState.keep_runs = 1", "%pipe gc").text
    assert len(list((disk / "store" / "blobs").glob("?/*"))) == 1
    nb.kill()
    nb.load("job")
    assert nb.run("a[0]").value == "3"
    end_with_a_good_store(disk / "store")


CROWD = """
import os, threading, pipestate
store = sys.argv[1]
job = pipestate.Job("job", store=store)
job["big"] = bytes(100_000)

def work(name):
    for number in range(15):
        job[name] = (number, bytes(20_000))
        pipestate.set("job", step=f"{name}_too", value=number, store=store)
        assert job[name][0] == number == pipestate.get("job", f"{name}_too", store=store)

children = []
for at in range(4):
    child = os.fork()
    if not child:
        try:
            work(f"child{at}")
            os._exit(0)
        finally:
            os._exit(1)
    children.append(child)
threads = [threading.Thread(target=work, args=(f"thread{at}",)) for at in range(8)]
for one in threads: one.start()
for one in threads: one.join()
print([os.waitpid(child, 0)[1] for child in children])
"""


def test_threads_and_forked_children_share_one_job_and_lose_nothing(tmp_path):
    """Eight threads and four children on one `Job` that was open before: each value is the last."""
    store = tmp_path / "store"
    assert said(CROWD, store) == "[0, 0, 0, 0]\n"
    names = [f"child{at}" for at in range(4)] + [f"thread{at}" for at in range(8)]
    found = dict(pipestate.Job("job", store=store))
    assert [found[name][0] for name in names] == [14] * 12
    assert [found[f"{name}_too"] for name in names] == [14] * 12
    assert len(pipestate.Job("job", store=store).history()) == 1 + 12 * 30
    end_with_a_good_store(store)
