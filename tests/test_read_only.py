"""A store that can only be read: on a read-only disk, or in a folder of somebody else's.

It is read by scripts and kernels as any other, never as it was before, and nothing is left in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import remount
from test_store_contract import python, said

import pipestate
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify

WRITE = """
import pipestate
pipestate.set("j", "a", {"n": 1}, store=sys.argv[1])
pipestate.set("j", "big", b"x" * 200_000, store=sys.argv[1])
"""


@pytest.fixture
def read_only_disk(small_disk):
    """A disk with a store that was closed properly, and that cannot be written to."""
    disk = small_disk("5m")
    said(WRITE, disk / "store")
    remount(disk, "ro")
    return disk


def files_in(folder: Path) -> set[str]:
    """The files below a folder."""
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_script_reads_a_store_on_a_read_only_disk(read_only_disk):
    """Values, names, jobs, states and history."""
    store = read_only_disk / "store"
    assert pipestate.jobs(store=store) == ["j"]
    assert pipestate.get("j", "a", store=store) == {"n": 1}
    assert pipestate.read("j", store=store) == {"a": {"n": 1}, "big": b"x" * 200_000}
    job = pipestate.Job("j", store=store)
    assert job.names["a"] == {"n": 1}
    assert [(one.name, one.state) for one in job.status()] == [("a", "fresh"), ("big", "fresh")]
    assert [run.event for run in job.history()] == ["set", "set"]
    assert verify(open_store(store)) == []


def test_a_value_set_in_a_read_only_store_is_an_error(read_only_disk):
    """It says that the store can be read; what is in it stays as it was."""
    store = read_only_disk / "store"
    for value in (2, b"y" * 200_000):
        with pytest.raises(pipestate.StoreError, match="can be read and not written"):
            pipestate.set("j", "a", value, store=store)
    assert pipestate.get("j", "a", store=store) == {"n": 1}


def test_a_job_writes_again_once_the_disk_can_be_written_to(read_only_disk):
    """The same object, in the same process; and nobody reads what was there before."""
    store = read_only_disk / "store"
    job = pipestate.Job("j", store=store)
    assert job["a"] == {"n": 1}
    remount(read_only_disk, "rw")
    said("import pipestate; pipestate.set('j', 'a', 2, store=sys.argv[1])", store)
    assert job["a"] == 2
    job["a"] = 3
    open_store(store).close()
    remount(read_only_disk, "ro")
    assert (job["a"], pipestate.get("j", "a", store=store)) == (3, 3)
    open_store(store).close()


@pytest.mark.parametrize("end", ["kill", "restart"])
def test_a_kernel_restores_from_a_read_only_disk(nb, small_disk, end):
    """Whether the kernel before it left a log or not; a step that runs is not kept, and says so."""
    disk = small_disk("5m")
    nb.kill(env={"PIPESTATE_STORE": str(disk / "store")})
    nb.load("job")
    nb.run("%%step a\na = [1]\nprint('computed')", "%%step b\nb = bytes(100_000)\nlen(b)")
    getattr(nb, end)()
    remount(disk, "ro")
    assert nb.load("job").stdout == "job job: 2 steps\n"
    assert nb.run("a").value == "[1]"
    assert nb.run("%%step b\nb = bytes(100_000)\nlen(b)").states[-1] == ("b", "restored")
    assert nb.run("len(b)").value == "100000"
    result = nb.run("%%step c\nc = a + [2]\nc")
    assert result.value == "[1, 2]"
    assert "c was not kept, its values stand in memory: the store" in result.text
    assert "can be read and not written" in result.text
    assert nb.run("%%step a\na = [1]\nprint('computed')").stdout == "computed\n"
    remount(disk, "rw")
    assert nb.run("%%step c\nc = a + [2]\nc").states == [("c", "ran")]
    nb.kill()
    nb.load("job")
    assert nb.run("a, c").value == "([1], [1, 2])"
    assert verify(open_store(disk / "store")) == []


# --- a folder of somebody else's

NOBODY = """
import os, tempfile
from pathlib import Path
import pipestate
from pipestate.store.folder import open_store
store = Path(sys.argv[1])
with tempfile.TemporaryDirectory() as other:  # what is imported late may be root's alone
    pipestate.set("j", "a", 1, store=other)
    assert pipestate.get("j", "a", store=other) == 1
    open_store(other).close()
if not os.geteuid(): os.setresuid(65534, 65534, 65534)
"""


class Theirs:
    """A store that this process writes to, when asked, and others only read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "store"

    def __str__(self) -> str:
        return str(self.folder)

    def write(self, value: object) -> None:
        """Set the value, and let go of the store."""
        self.open_up()
        said(f"import pipestate; pipestate.set('j', 'a', {value!r}, store=sys.argv[1])", self)
        self.chmod(0o555)

    def open_up(self) -> None:
        """Let its owner write to it, whoever runs the tests."""
        self.chmod(0o755)

    def chmod(self, mode: int) -> None:
        for folder in (self.folder, *self.folder.rglob("*")):
            if folder.is_dir():
                folder.chmod(mode)


@pytest.fixture
def theirs(monkeypatch):
    """A store that anybody may read, in a folder that anybody may come near, and with a key."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        keys = Path(above) / "keys"
        monkeypatch.setenv("PIPESTATE_KEYS", str(keys))
        store = Theirs(Path(above))
        store.write(1)
        if not os.geteuid():
            for file in (keys, keys / "key"):
                os.chown(file, 65534, 65534)
        yield store
        store.open_up()


def test_a_store_in_a_folder_without_permission_to_write_is_read(theirs):
    """And not a file is added to it."""
    before = files_in(theirs.folder)
    code = """
print(pipestate.get("j", "a", store=store))
try:
    pipestate.set("j", "a", 2, store=store)
except pipestate.StoreError as error:
    print(error.message)
"""
    value, message = said(NOBODY + code, theirs).splitlines()
    assert value == "1"
    assert message.endswith("can be read and not written")
    assert files_in(theirs.folder) == before


WATCH = """
job = pipestate.Job("j", store=store)
for _ in sys.stdin:
    print(job["a"], pipestate.get("j", "a", store=store), flush=True)
"""


def test_who_only_reads_sees_what_others_write(theirs):
    """At the next look, whether they have let go of the store since or not."""
    with python(NOBODY + WATCH, theirs, stdin=subprocess.PIPE) as reader:

        def told() -> str:
            reader.stdin.write("\n")
            reader.stdin.flush()
            return reader.stdout.readline().strip()

        assert told() == "1 1"
        theirs.write(2)
        assert told() == "2 2"
        theirs.open_up()
        held = pipestate.Job("j", store=theirs.folder)  # it stays open in this process
        for number in range(3, 6):
            held["a"] = number
            assert told() == f"{number} {number}"
        open_store(theirs.folder).close()
        assert told() == "5 5"
        reader.stdin.close()


@pytest.mark.parametrize("owner", ["somebody else", "the reader"])
def test_a_log_without_its_index_is_not_passed_over(theirs, owner):
    """A copy of what was being written: it is read with the database, for that alone is not the
    newest; and nothing in the folder is changed, also where its files are the reader's own."""
    theirs.open_up()
    held = pipestate.Job("j", store=theirs.folder)
    held["a"] = 2
    copy = theirs.folder.parent / "copy"
    shutil.copytree(theirs.folder, copy)
    open_store(theirs.folder).close()
    (copy / "index" / "cache.db-shm").unlink()
    (copy / "index").chmod(0o555)
    files = [copy / "index" / name for name in ("cache.db", "cache.db-wal")]
    if owner == "the reader" and not os.geteuid():
        for file in files:
            os.chown(file, 65534, 65534)
    before = [file.read_bytes() for file in files]
    code = """
job = pipestate.Job("j", store=store)
print(job["a"], pipestate.get("j", "a", store=store), len(job.history()))
try:
    job["a"] = 3
except pipestate.StoreError as error:
    print(error.message)
"""
    value, message = said(NOBODY + code, copy).splitlines()
    assert value == "2 2 2"
    assert message.endswith("can be read and not written")
    assert [file.read_bytes() for file in files] == before
    assert files_in(copy / "index") == {"cache.db", "cache.db-wal"}
    (copy / "index").chmod(0o755)
    assert pipestate.get("j", "a", store=copy) == 2
    open_store(copy).close()


def test_a_blob_that_may_not_be_opened_is_damage_until_it_is_kept_again(theirs):
    """Its owner took the permission away; a notebook's step would run again, and be kept."""
    store = theirs.folder
    theirs.open_up()
    pipestate.set("j", step="a", value=b"x" * 200_000, store=store)
    open_store(store).close()
    for blob in (store / "blobs").glob("?/*"):
        blob.chmod(0)
    if not os.geteuid():
        for path in (store, *store.rglob("*")):
            os.chown(path, 65534, 65534)
    code = """
try:
    pipestate.get("j", "a", store=store)
except pipestate.DamageError as error:
    print(error.message)
pipestate.set("j", step="a", value=b"x" * 200_000, store=store)
print(len(pipestate.get("j", "a", store=store)))
"""
    message, size = said(NOBODY + code, store).splitlines()
    assert message.endswith("cannot be read (Permission denied)")
    assert size == "200000"
