"""Values that a script sets in quick succession are written down at once and committed together;
nobody who looks can tell.

The journal is the file that they wait in: `<store>/journal/<whose>`.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_store_contract import python, said

import pipestate as pip
from pipestate import pace
from pipestate.errors import DamageError, StoreError
from pipestate.store import clerk
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify

COUNT = 40
"""So many values in a row that most of them wait."""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store to be and the keys of one user. Values wait longer than they would, or
    on a busy machine none would still wait when a test comes to look."""
    monkeypatch.setattr(pace, "CLOSE", 2.0)
    monkeypatch.setattr(clerk, "DELAY", 2.0)
    monkeypatch.setenv("PIPESTATE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("PIPESTATE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    pip.set("first", "s", 0)  # makes the store: a job counts anew where one has come to be
    return tmp_path


def set_quickly(job: str = "j", first: int = 0, count: int = COUNT) -> None:
    """Set `s0`, `s1`, ... to 0, 1, ..."""
    for number in range(first, first + count):
        pip.set(job, f"s{number}", number)


def journal(room: Path) -> Path:
    """The one file that values wait in."""
    (file,) = (room / "store" / "journal").iterdir()
    return file


HEAD = 16
"""The bytes that the file begins with."""


def waiting(room: Path) -> bytes:
    """What waits now."""
    return journal(room).read_bytes()[HEAD:]


def in_order(count: int = COUNT) -> dict[str, int]:
    """What `set_quickly` sets."""
    return {f"s{number}": number for number in range(count)}


# --- what everybody sees


def test_values_set_in_quick_succession_wait_in_the_journal(room):
    """Else nothing below tests anything."""
    set_quickly()
    assert waiting(room)


def test_who_set_them_sees_them_all(room):
    """In their order, and nothing waits any more."""
    set_quickly()
    assert pip.get("j", f"s{COUNT - 1}") == COUNT - 1
    assert pip.read("j") == in_order()
    assert list(pip.read("j")) == list(in_order())
    assert not waiting(room)


def test_each_leaves_its_run_and_when_it_was_set(room):
    """Not when it was committed."""
    before = time.time()
    set_quickly()
    after = time.time()
    runs = pip.Job("j").history()
    assert [(run.number, run.step, run.event) for run in runs] == [
        (number + 1, f"s{number}", "set") for number in range(COUNT)
    ]
    times = [run.started for run in runs]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after


def test_another_process_sees_them_while_the_first_goes_on(room):
    """It need not wait for the first one to commit them."""
    code = f"""
import sys, pipestate as pip
for number in range({COUNT}):
    pip.set("j", f"s{{number}}", number)
print("set", flush=True)
sys.stdin.readline()
"""
    with python(code, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "set\n"
        assert pip.read("j") == in_order()
        assert "j" in pip.jobs()
        process.communicate("\n")


def test_they_are_committed_in_a_moment_though_nobody_looks(room):
    """Whoever reads the index as it is finds them."""
    set_quickly()
    file = journal(room)
    until = time.monotonic() + 20
    while file.stat().st_size > HEAD and time.monotonic() < until:
        time.sleep(0.05)
    assert open_store(room / "store").index.last("j") == COUNT


def test_the_end_of_a_process_commits_them(room):
    """It leaves nothing to others."""
    said(f"import pipestate as pip\nfor n in range({COUNT}): pip.set('j', f's{{n}}', n)")
    assert not waiting(room)
    assert open_store(room / "store").index.last("j") == COUNT


def test_a_value_set_after_them_otherwise_comes_after_them(room):
    """Here by `write`."""
    for number in range(COUNT):
        pip.set("j", "s", number)
    pip.write("j", {"s": "last", "t": 1})
    assert pip.read("j") == {"s": "last", "t": 1}


def test_the_last_value_of_a_step_counts(room):
    """Each of the others was a run."""
    for number in range(COUNT):
        pip.set("j", "s", number)
    assert pip.get("j", "s") == COUNT - 1
    assert pip.Job("j").status()[0].runs == COUNT


def test_values_of_several_jobs_wait_together(room):
    """A store has one journal for each user."""
    for number in range(COUNT):
        pip.set("one", f"s{number}", number)
        pip.set("two", f"s{number}", -number)
    assert pip.read("two") == {f"s{number}": -number for number in range(COUNT)}
    assert pip.read("one") == in_order()


def test_big_values_among_small_ones_stand_in_their_order(room):
    """Big ones never wait."""
    sizes = [10, 200_000, 20, 30_000, 5] * 8
    for size in sizes:
        pip.set("j", "s", b"x" * size)
        pip.set("j", f"s{size}", b"x" * size)
    assert pip.get("j", "s") == b"x" * 5
    assert all(pip.get("j", f"s{size}") == b"x" * size for size in sizes)
    assert verify(open_store(room / "store")) == []


def test_a_value_that_cannot_be_kept_is_refused_among_them(room):
    """At once, not when it would be committed."""
    set_quickly()
    with pytest.raises(pip.PackError):
        pip.set("j", "bad", (number for number in ()))
    assert pip.read("j") == in_order()


def test_threads_may_set_at_once(room):
    """Nothing is lost, nothing is there twice."""

    def work(name: int) -> None:
        for number in range(COUNT):
            pip.set("j", f"s{name}_{number}", number)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {f"s{name}_{number}": number for name in range(4) for number in range(COUNT)}
    assert pip.read("j") == expected
    assert len(pip.Job("j").history()) == len(expected)


def test_processes_may_set_at_once(room):
    """And be looked at all the while."""
    code = (
        f"import sys, pipestate as pip\n"
        f"for n in range({5 * COUNT}): pip.set('j', f's{{sys.argv[1]}}_{{n}}', n)"
    )
    processes = [python(code, name) for name in range(3)]
    while any(process.poll() is None for process in processes):
        for name, found in pip.read("j").items():
            assert name.endswith(f"_{found}")
    assert len(pip.read("j")) == len(pip.Job("j").history()) == 3 * 5 * COUNT
    for process in processes:
        process.communicate()


def test_a_journal_that_others_filled_to_the_size_it_had_is_not_taken_for_the_same(room):
    """One process sets values of one size; meanwhile others take them, and set as many."""
    code = """
import sys, pipestate as pip
from pipestate import pace
from pipestate.store import clerk
pace.CLOSE = clerk.DELAY = 60.0
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""
    setters = [python(code, stdin=subprocess.PIPE) for _ in "ab"]

    def set_there(which: int, first: int, count: int = 1) -> None:
        text = f"for n in range({first}, {first + count}): pip.set('j', f'{'ab'[which]}{{n}}', n)"
        process = setters[which]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(text + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    try:
        for which in (0, 1):
            set_there(which, 1, count=6)
            pip.read("j")
        set_there(0, 7)
        pip.read("j")
        set_there(1, 7)
        with open(journal(room), "r+b") as file:  # as if somebody were in the midst of adding one
            fcntl.lockf(file, fcntl.LOCK_EX)
            assert said("import pipestate as pip; print(pip.get('j', 'b7'))") == "7\n"
        set_there(0, 8)
        assert pip.get("j", "a8") == 8
    finally:
        for process in setters:
            process.communicate()


def test_what_was_set_is_seen_whoever_commits_it_meanwhile(room):
    """A look that begins when `set` has returned sees the value, also while it is committed."""
    code = """
import os, time, pipestate as pip
until = time.monotonic() + 2
number = 0
while time.monotonic() < until:
    pip.set("j", "s", number)
    os.write(1, b"%09d\\n" % number)
    number += 1
"""
    with python(code) as process:
        assert process.stdout is not None
        looks = 0
        for line in process.stdout:
            assert pip.get("j", "s", -1) >= int(line)
            looks += 1
            process.stdout.flush()
    assert looks > 100


def test_two_jobs_of_a_process_see_the_same(room):
    """Also about the time that the values are committed."""
    one, other = pip.Job("j"), pip.Job("j")
    for number in range(12):
        for _ in range(6):
            one["s"] = number
        time.sleep(0.19 + number / 1000)
        assert other["s"] == number


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "set", "set", "get", "write", "del", "other"]),
            st.integers(0, 2),
        ),
        max_size=60,
    )
)
def test_a_job_is_a_mapping_however_it_is_set(tmp_path_factory, done):
    """Whichever values wait, and whoever looks."""
    folder = tmp_path_factory.mktemp("any") / "store"
    mine, other, model = pip.Job("j", store=folder), pip.Job("j", store=folder), dict[str, int]()
    for number, (what, at) in enumerate(done):
        name = f"s{at}"
        if what in ("set", "other"):
            (mine if what == "set" else other)[name] = model[name] = number
        elif what == "write":
            mine.update({name: number, "w": number})
            model |= {name: number, "w": number}
        elif what == "get":
            assert other.get(name) == model.get(name)
        else:
            assert (mine.pop(name, None) is None) == (model.pop(name, None) is None)
    assert dict(other) == model == dict(mine)


# --- what goes wrong


def test_they_survive_the_kill_of_their_process(room):
    """What `set` has returned from is there."""
    code = f"""
import os, signal, pipestate as pip
for number in range({COUNT}):
    pip.set("j", f"s{{number}}", number)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with python(code) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert waiting(room)
    assert pip.read("j") == in_order()


def test_a_child_that_outlives_its_killed_parent_keeps_nobody_waiting(room):
    """It has the file open, and no lock on it."""
    code = f"""
import os, signal, time, pipestate as pip
for number in range({COUNT}):
    pip.set("j", f"s{{number}}", number)
if not os.fork():
    time.sleep(20)
    os._exit(0)
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
while True:
    pip.set("j", "s", 1)
"""
    with python(code, process_group=0) as process:
        process.wait(20)
        start = time.monotonic()
        found = pip.read("j")
        assert time.monotonic() - start < 10
        os.killpg(process.pid, signal.SIGKILL)
    assert found.items() >= in_order().items()


def test_values_set_while_the_process_ends_are_committed(room):
    """By a handler that was there before anything was set."""
    said(
        "import atexit, pipestate as pip\n"
        f"atexit.register(lambda: [pip.set('j', f's{{n}}', n) for n in range({COUNT})])\n"
        "pip.set('j', 's0', -1)"
    )
    assert not waiting(room)
    assert open_store(room / "store").index.last("j") == COUNT + 1


def test_what_is_wrong_with_one_job_is_not_told_to_who_looks_at_another(room, monkeypatch):
    """Though its values wait in the same journal."""
    pip.set("mine", "s", 0)
    monkeypatch.setenv("PIPESTATE_KEYS", str(room / "stranger"))
    pip.set("theirs", "s", 1)
    monkeypatch.setenv("PIPESTATE_KEYS", str(room / "keys"))
    code = f"""
import os, signal, pipestate as pip
for number in range({COUNT}):
    pip.set("theirs", f"s{{number}}", number)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with python(code) as process:
        process.communicate()
    assert waiting(room)
    assert pip.Job("mine", verification="strict")["s"] == 0
    assert pip.get("theirs", f"s{COUNT - 1}") == COUNT - 1


def test_what_was_committed_is_not_committed_again(room):
    """As after a kill between the two: the journal is as it was before the commit."""
    set_quickly()
    before = journal(room).read_bytes()
    assert waiting(room)
    assert pip.read("j") == in_order()
    pip.write("j", {"s7": "newer"})
    journal(room).write_bytes(before)
    assert pip.read("j") == {**in_order(), "s7": "newer"}
    assert len(pip.Job("j").history()) == COUNT + 1


def test_a_frame_that_was_cut_off_is_as_if_it_had_never_been_set(room):
    """Its `set` never returned."""
    set_quickly()
    journal(room).write_bytes(journal(room).read_bytes()[:-3])
    assert pip.read("j") == in_order(COUNT - 1)
    set_quickly(first=COUNT - 1)
    assert pip.read("j") == in_order(2 * COUNT - 1)


def test_what_was_cut_off_costs_nothing_that_comes_after_it(room):
    """The next one is not written behind it."""
    set_quickly()
    journal(room).write_bytes(journal(room).read_bytes()[:-3])
    set_quickly(first=COUNT - 1)
    assert pip.read("j") == in_order(2 * COUNT - 1)


@pytest.mark.parametrize("part", [0, 20, 50, 400])
def test_what_was_altered_is_told_once_and_put_aside(room, part):
    """In the head of a frame, in its proof, and in what it holds."""
    set_quickly()
    data = bytearray(journal(room).read_bytes())
    assert len(data) > 1000
    data[HEAD + part] ^= 1
    journal(room).write_bytes(data)
    with pytest.raises(DamageError, match=r"journal .* is damaged, it lies in .*-damaged-"):
        pip.read("j")
    found = pip.read("j")
    assert found.items() <= in_order().items()
    assert verify(open_store(room / "store")) == []
    assert bytes(data) in [file.read_bytes() for file in (room / "store" / "journal").iterdir()]
    set_quickly()
    assert pip.read("j") == in_order()


def test_who_looks_after_others_have_found_the_damage_is_told_of_it(room):
    """Here the process itself has, a moment later."""
    set_quickly()
    data = bytearray(journal(room).read_bytes())
    data[HEAD + 50] ^= 1
    journal(room).write_bytes(data)
    until = time.monotonic() + 20
    while len(list((room / "store" / "journal").iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    with pytest.raises(DamageError, match="is damaged"):
        pip.read("j")
    assert pip.read("j")


def test_nobody_can_set_anything_in_the_name_of_another(room, monkeypatch):
    """A stranger's frames in a user's journal are not committed, for they would be signed."""
    set_quickly(count=5)
    pip.read("j")
    mine = journal(room)
    monkeypatch.setenv("PIPESTATE_KEYS", str(room / "stranger"))
    set_quickly(first=100)
    (strange,) = set((room / "store" / "journal").iterdir()) - {mine}
    frames = strange.read_bytes()
    assert len(frames) > 1000
    monkeypatch.setenv("PIPESTATE_KEYS", str(room / "keys"))
    mine.write_bytes(frames)
    with pytest.raises(DamageError, match="is damaged"):
        pip.get("j", "s0")
    assert not [step for step in pip.Job("j") if step.startswith("s13")]


@pytest.mark.parametrize("how", ["symlink", "hard link", "folder", "pipe"])
def test_what_stands_in_the_place_of_the_journal_is_left_alone(room, how):
    """Who may write to the store could have a file of the user's emptied, or filled."""
    set_quickly(count=5)
    set_quickly(first=5)
    pip.read("j")
    file, mine = journal(room), room / "mine"
    mine.write_bytes(b"precious")
    file.unlink()
    if how == "symlink":
        file.symlink_to(mine)
    elif how == "hard link":
        file.hardlink_to(mine)
    elif how == "folder":
        file.mkdir()
    else:
        os.mkfifo(file)
    set_quickly(first=45)
    assert pip.read("j") == in_order(85)
    assert mine.read_bytes() == b"precious"


def test_without_room_on_the_disk_a_value_is_refused_and_those_before_it_stand(room):
    """The disk is full to the byte: half of a frame fits."""
    set_quickly()
    size = journal(room).stat().st_size
    assert waiting(room)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        with pytest.raises(StoreError, match="no space left"):
            pip.set("j", "more", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    pip.set("j", "after", 2)
    assert pip.read("j") == {**in_order(), "after": 2}


def test_where_the_store_is_deleted_amid_them_the_next_are_in_a_new_one(room):
    """Those before it are gone with it."""
    set_quickly()
    subprocess.run(["rm", "-r", str(room / "store")], check=True)
    set_quickly(first=COUNT)
    found = pip.read("j")
    assert found == {f"s{number}": number for number in range(COUNT, 2 * COUNT)}


def test_where_the_store_is_moved_away_amid_them_the_next_are_in_a_new_one(room):
    """Those before it go with it."""
    set_quickly()
    (room / "store").rename(room / "moved")
    set_quickly(first=COUNT)
    found = pip.read("j")
    assert found == {f"s{number}": number for number in range(COUNT, 2 * COUNT)}
    assert pip.read("j", store=room / "moved") == in_order()


def test_what_is_set_in_a_copy_of_a_store_is_there_though_the_journal_was_copied_first(room):
    """The copy of the index then knows of more than the copy of the journal."""
    set_quickly()
    pip.read("j")
    shutil.copytree(room / "store" / "journal", room / "copy" / "journal")
    set_quickly(first=COUNT)
    pip.read("j")
    shutil.copytree(
        room / "store", room / "copy", ignore=lambda *_: ["journal"], dirs_exist_ok=True
    )
    for number in range(COUNT):
        pip.set("j", f"t{number}", number, store=room / "copy")
    found = pip.read("j", store=room / "copy")
    assert found == in_order(2 * COUNT) | {f"t{number}": number for number in range(COUNT)}


def test_threads_may_set_by_two_paths_to_one_store(room):
    """A process has one lock on a file, whatever path it takes."""
    (room / "link").symlink_to(room)

    def set_all(prefix: str, store: Path) -> None:
        for number in range(400):
            pip.set("j", f"{prefix}{number}", number, store=store)
            if number % 7 == 0:
                time.sleep(0.005)

    stores = {"a": room / "store", "b": room / "link" / "store"}
    threads = [threading.Thread(target=set_all, args=one) for one in stores.items()]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        pip.get("j", "a0")
        time.sleep(0.002)
    expected = {f"{prefix}{number}": number for prefix in "ab" for number in range(400)}
    assert pip.read("j") == expected


def test_a_frame_that_is_there_twice_is_committed_once(room):
    """And told of, for nothing of ours writes one twice."""
    set_quickly()
    data = journal(room).read_bytes()
    with open(journal(room), "ab") as file:
        file.write(data[HEAD:])
    with pytest.raises(DamageError, match="is damaged"):
        pip.read("j")
    assert pip.read("j") == in_order()
    assert len(pip.Job("j").history()) == COUNT


def test_a_forked_child_sets_and_sees_values_too(room):
    """With a descriptor of its own."""
    set_quickly()
    child = os.fork()
    if not child:
        try:
            assert pip.get("j", "s1") == 1
            set_quickly(first=COUNT)
        finally:
            os._exit(0)
    set_quickly(first=2 * COUNT)
    os.waitpid(child, 0)
    assert pip.read("j") == {**in_order(COUNT), **in_order(3 * COUNT)}


def test_a_signals_handler_may_set_values_amid_them(room):
    """Some hundred times a second, wherever it strikes."""
    code = """
import signal, time, pipestate as pip
struck, inside, number = [], [], 0

def strike(*_):
    if inside:
        return  # the first of two that are nested ends last
    inside.append(1)
    at = len(struck)
    struck.append(at)
    pip.set("j", f"h{at % 7}", at)
    inside.clear()

pip.set("j", "mine", -1)
signal.signal(signal.SIGALRM, strike)
signal.setitimer(signal.ITIMER_REAL, 0.0051, 0.0051)
until = time.monotonic() + 3
while time.monotonic() < until:
    pip.set("j", "mine", number)
    if number % 50 == 0:
        assert pip.get("j", "mine") == number
    number += 1
signal.setitimer(signal.ITIMER_REAL, 0)
last = len(struck) - 1
expected = {f"h{at % 7}": at for at in range(max(0, last - 6), last + 1)}
assert pip.read("j") == {"mine": number - 1, **expected}, (pip.read("j"), number, last)
print(1 + number + len(struck))
"""
    assert int(said(code)) == len(pip.Job("j").history())
    assert verify(open_store(room / "store")) == []


def test_an_interrupt_amid_them_leaves_nothing_locked(room):
    """At any line of a set: what was set before is there, and others may go on."""
    code = """
import os, random, signal, sys, time, pipestate as pip
chance, number, done = random.Random(int(sys.argv[1])), 0, -1
pip.set("j", "s", done)  # before all is imported, a handler may find half of it
for _ in range(60):
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.004))
        while True:
            pip.set("j", "s", number)
            done, number = number, number + 1
            if number % 40 == 0:
                assert pip.get("j", "s") == done
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        number += 1
found = pip.get("j", "s")
assert found >= done, (found, done)
print(done)
"""
    code = "import signal\nsignal.signal(signal.SIGALRM, signal.default_int_handler)\n" + code
    for seed in range(2):
        done = int(said(code, seed))
        assert pip.get("j", "s") >= done
    assert verify(open_store(room / "store")) == []
