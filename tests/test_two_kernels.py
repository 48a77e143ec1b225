"""Kernels, scripts and servers on one store at the same time: nothing is run twice that need not
be, nothing is lost, and nobody meets a lock."""

from __future__ import annotations

import os
import signal

import pytest
from test_store_contract import python, said

import pipestate
from pipestate.store.folder import open_store
from pipestate.store.leases import Holder, Lease, take
from pipestate.store.upkeep import verify

SLOW = """%%step slow
import pathlib, time
print("begun")
with open("runs.txt", "a") as file: _ = file.write("run\\n")
while not pathlib.Path("go").exists(): time.sleep(0.01)
answer = 42
answer""".replace("\\\\", "\\")


@pytest.fixture
def two(notebook):
    """Two notebooks with one job."""
    pair = notebook(), notebook()
    for one in pair:
        one.load("job")
    return pair


def runs(cwd):
    """How often the slow step ran."""
    return (cwd / "runs.txt").read_text().count("run")


# --- one step at a time


def test_two_kernels_that_run_one_step_at_once_run_it_once(two, cwd):
    """The other waits, says for whom, and restores what the first has made."""
    one, other = two
    first = one.begin(SLOW)
    one.wait_for(lambda: "begun" in first.stdout)
    second = other.begin(SLOW)
    other.wait_for(lambda: "waiting" in second.text)
    assert f"process {one.pid} runs slow: waiting for it; an interrupt ends that" in second.text
    (cwd / "go").touch()
    assert one.wait(first).states[-1] == ("slow", "ran")
    assert other.wait(second).states[-1] == ("slow", "restored")
    assert second.value == "42"
    assert runs(cwd) == 1


def test_whoever_waits_can_be_interrupted(two, cwd):
    """The cell does not run, one line says so, and the next cell is as any."""
    one, other = two
    first = one.begin(SLOW)
    one.wait_for(lambda: "begun" in first.stdout)
    second = other.begin(SLOW)
    other.wait_for(lambda: "waiting" in second.text)
    other.interrupt()
    assert "interrupted before the cell ran" in other.wait(second).traceback
    (cwd / "go").touch()
    assert one.wait(first).states[-1] == ("slow", "ran")
    assert other.run(SLOW).states == [("slow", "restored")]
    assert other.run("answer").value == "42"
    assert runs(cwd) == 1


def test_nobody_waits_for_the_dead(two, cwd):
    """A kernel that is killed gives its lease back by that."""
    one, other = two
    first = one.begin(SLOW)
    one.wait_for(lambda: "begun" in first.stdout)
    second = other.begin(SLOW)
    other.wait_for(lambda: "waiting" in second.text)
    one.kill()
    (cwd / "go").touch()
    assert other.wait(second).states[-1] == ("slow", "ran")
    assert runs(cwd) == 2


def test_a_child_of_the_dead_holds_nothing(two, cwd):
    """A process that a step has forked does not keep the lease of a kernel that was killed."""
    one, other = two
    fork = 'import os\nif not os.fork():\n    while os.path.exists("child"): time.sleep(0.01)\n'
    forking = SLOW.replace('print("begun")', fork + '    os._exit(0)\nprint("begun")')
    (cwd / "child").touch()
    first = one.begin(forking)
    one.wait_for(lambda: "begun" in first.stdout)
    os.kill(one.pid, signal.SIGKILL)
    second = other.begin(forking)
    other.wait_for(lambda: "begun" in second.stdout)
    (cwd / "child").unlink()
    (cwd / "go").touch()
    assert other.wait(second).states[-1] == ("slow", "ran")


def test_a_step_of_another_source_is_not_waited_for(two, cwd):
    """What the other kernel makes would not be restored."""
    one, other = two
    first = one.begin(SLOW)
    one.wait_for(lambda: "begun" in first.stdout)
    assert other.run("%%step slow\nanswer = 6 * 7\nanswer").value == "42"
    (cwd / "go").touch()
    assert one.wait(first).states[-1] == ("slow", "ran")


@pytest.mark.parametrize("option", ["--force", "--always", "--setup"])
def test_a_step_that_runs_in_any_case_waits_for_nobody(two, cwd, option):
    """What another kernel makes would not spare it the run."""
    cell = SLOW.replace("%%step slow", f"%%step slow {option}")
    one, other = two
    first = one.begin(cell)
    one.wait_for(lambda: "begun" in first.stdout)
    second = other.begin(cell)
    other.wait_for(lambda: "begun" in second.stdout)
    (cwd / "go").touch()
    assert one.wait(first).states[-1] == ("slow", "ran")
    assert other.wait(second).states[-1] == ("slow", "ran")
    assert "waiting" not in second.text


def test_a_step_that_another_one_needs_is_waited_for_too(two, cwd):
    """Whoever asks for a step below waits for the one above, and then goes on."""
    one, other = two
    slow, below = SLOW.replace("42", "unit * 42"), "%%step below\nanswer + 1"
    (cwd / "go").touch()
    one.run("%%step unit\nunit = 1", slow, below)
    (cwd / "go").unlink()
    other.run("%%step unit\nunit = 2")
    first = one.begin(slow)
    one.wait_for(lambda: "begun" in first.stdout)
    second = other.begin(below)
    other.wait_for(lambda: "waiting" in second.text)
    (cwd / "go").touch()
    assert one.wait(first).states[-1] == ("slow", "ran")
    assert other.wait(second).value == "85"
    history = pipestate.Job("job").history()
    assert [run.event for run in history if run.step == "slow"] == ["ran", "ran", "restored"]


def test_a_cell_that_is_refused_keeps_nobody_waiting(two, cwd):
    """What it would have run is free for others at once."""
    one, other = two
    one.run("%%step unit\nunit = 1")
    refused = one.run(SLOW.replace("%%step slow", "%%step slow --after nowhere"))
    assert "there is no step `nowhere`" in refused.traceback
    second = other.begin(SLOW)
    other.wait_for(lambda: "begun" in second.stdout)
    (cwd / "go").touch()
    assert "waiting" not in other.wait(second).text


def test_a_step_keeps_nobody_waiting_while_those_above_it_run(two, cwd):
    """It has its turn once they are done."""
    one, other = two
    slow, below = SLOW.replace("42", "unit * 42"), "%%step below\n(answer, 'below')[1]"
    (cwd / "go").touch()
    one.run("%%step unit\nunit = 1", slow, "%%step unit\nunit = 2")
    (cwd / "go").unlink()
    other.run("%pipe mode manual")
    first = one.begin(below)
    one.wait_for(lambda: "begun" in first.stdout)
    alone = other.run(below)
    assert "waiting" not in alone.text
    assert alone.states[-1] == ("below", "ran")
    (cwd / "go").touch()
    assert one.wait(first).states[-1] == ("below", "ran")


def test_a_body_that_runs_its_own_step_does_not_wait_for_itself(nb, cwd):
    """`%pipe run` inside a step: it answers, whatever it says."""
    nb.load("job")
    nb.run("%%step a\nx = 1")
    nb.run("%%step a\nx = 2\nget_ipython().run_line_magic('pipe', 'status')")
    assert nb.run("x").value == "2"


def test_a_kernel_does_not_wait_for_itself(two):
    """Where an interrupt came between the lease and whoever took it."""
    one, _ = two
    one.run("%%step first\n1")
    lost = one.run(
        "from pipestate.cell.source import normal\n"
        "from pipestate.store import leases\n"
        "from pipestate.store.folder import locate\n"
        "lease = leases.take(locate(None), '\\0'.join(('job', 'lost', normal('x = 1'))))\n"
        "lease.holds"
    )
    assert lost.value == "True"
    assert one.run("%%step lost\nx = 1").states == [("lost", "ran")]


# --- leases by themselves


def test_a_lease_is_had_once_and_given_back(tmp_path):
    """By one process at a time; names do not stand in each other's way."""
    lease = take(tmp_path, "a")
    assert isinstance(lease, Lease)
    assert take(tmp_path, "a") == Holder(os.getpid())
    assert isinstance(take(tmp_path, "b"), Lease)
    code = """
from pathlib import Path
from pipestate.store.leases import take
print(take(Path(sys.argv[1]), "a"))
"""
    assert said(code, tmp_path) == f"process {os.getpid()}\n"
    lease.release()
    lease.release()
    assert "Lease(" in said(code, tmp_path)


def test_where_there_can_be_no_lease_all_goes_on(tmp_path):
    """No folder, or something else in the place of the file."""
    assert isinstance(take(tmp_path / "nowhere", "a"), Lease)
    (tmp_path / "leases").mkdir()
    assert isinstance(take(tmp_path, "a"), Lease)
    assert isinstance(take(tmp_path, "a"), Lease)


# --- many at once

WRITER = """
import pipestate, time
job = pipestate.Job("shared", store=sys.argv[1])
for number in range(int(sys.argv[3])):
    job[f"{sys.argv[2]}_{number}"] = (sys.argv[2], number)
    assert job[f"{sys.argv[2]}_{number}"] == (sys.argv[2], number)
print("done")
"""

READER = """
import pipestate, os
job = pipestate.Job("shared", store=sys.argv[1])
seen = 0
while not os.path.exists(sys.argv[2]):
    values = dict(job)
    assert all(f"{name}_{number}" == step for step, (name, number) in values.items()), values
    assert len(values) >= seen
    seen = len(values)
    job.status()
print("done")
"""


def test_many_processes_on_one_job_lose_nothing(tmp_path):
    """Four writers and two readers: each value that was set is there, and nobody met an error."""
    store, stop = tmp_path / "store", tmp_path / "stop"
    writers = [python(WRITER, store, name, 25) for name in "abcd"]
    readers = [python(READER, store, stop) for _ in range(2)]
    try:
        for one in writers:
            assert one.communicate(timeout=60)[0] == "done\n"
        stop.touch()
        for one in readers:
            assert one.communicate(timeout=60)[0] == "done\n"
    finally:
        for one in (*writers, *readers):
            one.kill()
    job = pipestate.Job("shared", store=store)
    assert dict(job) == {f"{n}_{k}": (n, k) for n in "abcd" for k in range(25)}
    assert [run.number for run in job.history()] == list(range(1, 101))
    assert verify(open_store(store)) == []


def test_kernels_and_a_script_on_one_job_lose_nothing(two, script, cwd):
    """Each kernel runs its own steps while a script sets values; all of it is in the job."""
    begun = []
    for number in range(6):
        for name, nb in zip("ab", two, strict=True):
            begun.append((nb, nb.begin(f"%%step {name}{number}\n{name}{number} = {number}")))
    script("import pipestate as pip\nfor n in range(12): pip.set('job', step=f's{n}', value=n)")
    for nb, result in begun:
        assert not nb.wait(result).error
        assert "locked" not in result.text
    found = dict(pipestate.Job("job"))
    kept = {name: value for name, value in found.items() if name[0] in "ab"}
    assert kept == {f"{n}{k}": {f"{n}{k}": k} for n in "ab" for k in range(6)}
    assert [found[f"s{n}"] for n in range(12)] == list(range(12))
    assert verify(open_store(cwd / ".pipestate")) == []


def test_a_kernel_keeps_what_it_made_last_of_a_name_that_another_made_meanwhile(two, cwd):
    """What was committed while its step ran is older than what that step left."""
    mine, other = two
    mine.run("import os")
    running = mine.begin(
        "%%step s\nprint('in it')\nwhile not os.path.exists('go'): pass\nx = ['mine']"
    )
    mine.wait_for(lambda: running.stdout)
    other.run("%%step s\nx = ['other']")
    (cwd / "go").touch()
    mine.wait(running)
    assert mine.run("x").value == "['mine']"
    assert other.run("x").value == "['mine']"
    mine.run("x.append(1)")
    other.run("%%step t\ny = 1")
    assert mine.run("x, y").value == "(['mine', 1], 1)"


def test_a_value_that_another_kernel_made_again_outlives_its_first_record(two, script):
    """Equal values of two records: the room of the first is reclaimed, and the name still loads."""
    one, other = two
    one.run("%%step s\nx = [i for i in range(3)]", "x")
    other.run("%%step s\nx = list(range(3))")
    one.run("1")
    script(
        "from pipestate import space; from pipestate.store.folder import open_store\n"
        "space.reclaim(open_store('.pipestate'), keep_runs=1)"
    )
    one.run("%pipe unload x")
    result = one.run("x")
    assert (result.value, result.text) == ("[0, 1, 2]", "[0, 1, 2]")


def test_a_kernel_sees_what_others_made_though_their_history_is_gone(two, script):
    """The log was cut beyond what it had read: its names mean what they mean now all the same."""
    one, other = two
    one.run("%%step s\nx = [0]", "x")
    for number in range(1, 4):
        other.run(f"%%step s\nx = [{number}]", f"%%step t\ny = {number}")
    script(
        "from pipestate import space; from pipestate.store.folder import open_store\n"
        "space.reclaim(open_store('.pipestate'), keep_runs=1)"
    )
    result = one.run("x, y")
    assert result.value == "([3], 3)"
    assert "x changed in the store since" in result.text
