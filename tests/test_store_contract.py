"""What a store promises, one promise a test. Every store ends with a check of every byte in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pipestate
from pipestate.errors import DamageError, FormatError, StoreError
from pipestate.pipe.history import after, fold
from pipestate.record import Blob, Pipe, Record, Run, Version
from pipestate.store.folder import ROW, WAITING, Store, locate, open_store
from pipestate.store.standing import Moved
from pipestate.store.upkeep import sweep, verify

PATHS = [str(Path(__file__).parent), str(Path(pipestate.__file__).parents[1])]
SIZES = [0, 10, 20_000, 100_000, 3 << 20]
ROWS = [size for size in SIZES if size < ROW]
FILES = [size for size in SIZES if size >= ROW]


@pytest.fixture
def store(tmp_path):
    """A store that does not exist yet, and is whole when the test ends."""
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()
    again = open_store(tmp_path / "store")
    assert verify(again) == []
    again.close()


@pytest.fixture
def broken(tmp_path):
    """A store that a test damages."""
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def python(code: str, *args: object, **options) -> subprocess.Popen:
    """A Python process that can import what this one can."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {PATHS!r}\n{code}", *map(str, args)],
        text=True,
        stdout=subprocess.PIPE,
        **options,
    )


def said(code: str, *args: object) -> str:
    """What such a process printed; it has to end well."""
    with python(code, *args) as process:
        try:
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    return out


def read(store: Store, job: str = "j") -> Pipe:
    """The job as it stands."""
    return fold(*store.index.tail(job))


def commit(store: Store, *data: bytes, job: str = "j", step: str = "s", pipe: Pipe | None = None):
    """A run of `step` that leaves a record with a blob for each of `data`: the pipe, the blobs."""
    pipe = read(store, job) if pipe is None else pipe
    with store.batch() as batch:
        blobs = tuple(batch.put(one) for one in data)
        output = Version("value", "0" * 40, {"x": "0" * 40}, buffers=blobs)
        digest = batch.record(Record(step, f"x = {pipe.number}", "0" * 40, outputs=(output,)))
        run = Run(pipe.number + 1, job, step, "ran", record=digest, heads={step: digest})
        batch.commit(run, pipe=after(pipe, run))
    return after(pipe, run), blobs


def reopened(store: Store, **options) -> Store:
    """The store as another process sees it: nothing remembered."""
    store.close()
    return open_store(store.path, **options)


def file_of(store: Store, blob: Blob) -> Path:
    """Where the bytes of a big blob are."""
    return store.path / "blobs" / blob.digest[0] / blob.digest[1:]


def rewrite(file: Path, data: bytes) -> None:
    """Other bytes in a file that says it is read-only."""
    file.chmod(0o644)
    file.write_bytes(data)


def edit(store: Store, statement: str) -> None:
    """Change the database behind the store's back."""
    store.close()
    with sqlite3.connect(store.path / "index" / "cache.db") as database:
        database.execute(statement)
    database.close()


def raw_rows(store: Store) -> list[tuple[str, bytes]]:
    """Every row of the database, read without pipestate."""
    database = sqlite3.connect(store.path / "index" / "cache.db")
    found = database.execute("SELECT key, value FROM Cache ORDER BY key").fetchall()
    database.close()
    return found


# --- the folder


def test_nothing_is_on_disk_before_the_first_write(tmp_path):
    """Opening and reading a store that is not there makes nothing, and finds nothing."""
    store = open_store(tmp_path / "store")
    assert store.index.jobs() == []
    assert read(store) == Pipe("j")
    assert store.index.runs("j") == []
    assert not store.has(Blob("0" * 40, 5))
    assert sweep(store).records == 0
    store.index.drop_job("j")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_kept_out_of_git_and_says_its_format(store):
    """A `.gitignore` of everything, and the number 1."""
    commit(store, b"x")
    assert (store.path / ".gitignore").read_text() == "*\n"
    assert (store.path / "format").read_text() == "1\n"


def test_a_store_of_a_newer_format_is_refused_untouched(broken):
    """Also by whoever had it open while it was upgraded."""
    pipe, _ = commit(broken, b"x")
    (broken.path / "format").write_text("2\n")
    rows = raw_rows(broken)
    with pytest.raises(FormatError, match="newer pipestate"):
        open_store(broken.path)
    with pytest.raises(FormatError, match="newer pipestate"):
        commit(broken, b"x" * 100_000, pipe=pipe)
    assert raw_rows(broken) == rows


def test_a_store_that_was_deleted_while_open_is_made_anew(store):
    """A commit after `rm -r` goes where people look for it, not into an unlinked file."""
    commit(store, b"x" * 100_000)
    shutil.rmtree(store.path)
    assert read(store) == Pipe("j")
    pipe, blobs = commit(store, b"x" * 100_000)
    assert pipe.number == 1
    assert bytes(reopened(store).map(blobs[0])) == b"x" * 100_000


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    """One StoreError in the project's words, whatever the system said."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be"):
        commit(open_store(tmp_path / "file" / "store"), b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_says_so(tmp_path):
    """The hint names the remedy."""
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match="PIPESTATE_STORE"):
        commit(open_store(tmp_path / "store"), b"x")
    tmp_path.chmod(0o755)


def test_the_store_is_the_nearest_one_above(tmp_path, monkeypatch):
    """As said, else $PIPESTATE_STORE, else the nearest `.pipestate/`, else a new one here."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.delenv("PIPESTATE_STORE", raising=False)
    assert locate(None, below) == below / ".pipestate"
    (tmp_path / ".pipestate").mkdir()
    assert locate(None, below) == tmp_path / ".pipestate"
    (below / ".pipestate").write_text("a file is no store")
    assert locate(None, below) == tmp_path / ".pipestate"
    monkeypatch.setenv("PIPESTATE_STORE", str(tmp_path / "env"))
    assert locate(None, below) == tmp_path / "env"
    assert locate("rel", below) == below / "rel"
    assert locate(tmp_path / "said", below) == tmp_path / "said"
    assert not (tmp_path / "env").exists()


# --- blobs


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_in_another_process(store, size):
    """Of every size: rows, files that are read, files that are mapped."""
    data = os.urandom(size)
    _, (blob,) = commit(store, data)
    assert blob.nbytes == size
    assert bytes(reopened(store).map(blob)) == data


@pytest.mark.parametrize("size", SIZES[1:])
def test_what_is_written_into_restored_memory_never_reaches_the_store(store, size):
    """Memory is writable at once, and private."""
    _, (blob,) = commit(store, b"a" * size)
    memory = store.map(blob)
    memory[0] = 0
    assert bytes(store.map(blob)) == b"a" * size


def test_any_buffer_can_be_kept(store):
    """Views with a format, several dimensions, or steps count as their bytes in C order."""
    grid = memoryview(bytes(range(240)) * 100).cast("B", (240, 100))
    items = memoryview(bytearray(range(240)) * 100).cast("I")
    steps = memoryview(b"ab" * 20_000)[::2]
    _, blobs = commit(store, grid, items, steps, bytearray(b"x"))
    assert [bytes(store.map(blob)) for blob in blobs] == [
        grid.tobytes(), items.tobytes(), b"a" * 20_000, b"x",
    ]  # fmt: skip


@pytest.mark.parametrize("size", FILES)
def test_equal_bytes_are_written_once(store, size):
    """The file stays the same file, with the digest given or not."""
    _, (blob,) = commit(store, b"a" * size)
    before = file_of(store, blob).stat()
    commit(store, b"a" * size)
    with store.batch() as batch:
        assert batch.put(b"a" * size, digest=blob.digest) == blob
    now = file_of(store, blob).stat()
    assert (now.st_ino, now.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert stat.S_IMODE(before.st_mode) == 0o444


def test_no_more_rows_wait_for_a_commit_than_memory_is_for(store):
    """Of many small blobs the last ones are files; all of them come back, are checked, and go."""
    size = ROW - 1
    data = [at.to_bytes(4, "little") + bytes(size - 4) for at in range(WAITING // size + 3)]
    _, blobs = commit(store, *data)
    files = [blob for blob in blobs if file_of(store, blob).exists()]
    assert files == list(blobs[-len(files) :])
    assert 2 <= len(files) <= 4
    again = reopened(store)
    assert [bytes(view) for view in again.map_all(blobs)] == data
    assert [again.has(blob) for blob in (blobs[0], blobs[-1])] == [True, True]
    assert verify(again) == []
    again.index.drop_job("j")
    assert sweep(again).blobs == len(blobs)


def test_a_wrong_digest_is_not_believed(store):
    """Bytes that are written are named by what they are."""
    data = os.urandom(2 << 20)
    with store.batch() as batch:
        blob = batch.put(data, digest="0" * 40)
        assert bytes(store.map(blob)) == data


@pytest.mark.parametrize("size", FILES)
@pytest.mark.parametrize("harm", ["missing", "short", "empty", "long", "altered"])
def test_a_damaged_file_is_found_and_healed_by_the_next_put(store, size, harm):
    """DamageError at use, a line from verify; the same bytes put again are whole again."""
    data = os.urandom(size)
    _, (blob,) = commit(store, data)
    file = file_of(store, blob)
    if harm == "missing":
        file.unlink()
    else:
        other = {"short": data[:-1], "empty": b"", "long": data + b"x", "altered": b"?" + data[1:]}
        rewrite(file, other[harm])
    for opened in (store, reopened(store)):
        with pytest.raises(DamageError):
            opened.map(blob)
    assert len(verify(store)) == 1
    commit(store, data)
    assert bytes(store.map(blob)) == data


def test_a_file_is_hashed_again_when_it_was_touched(store):
    """Same size, same modification time: the change time tells."""
    _, (blob,) = commit(store, b"a" * 100_000)
    before = file_of(store, blob).stat()
    time.sleep(0.02)  # the clock of the file system ticks every few milliseconds
    rewrite(file_of(store, blob), b"b" * 100_000)
    os.utime(file_of(store, blob), ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DamageError):
        reopened(store).map(blob)
    commit(store, b"a" * 100_000)


def test_verification_can_be_strict_or_off(broken):
    """`off` believes the name; `strict` and `on` do not."""
    _, (blob,) = commit(broken, b"a" * 100_000)
    rewrite(file_of(broken, blob), b"b" * 100_000)
    assert bytes(reopened(broken, verification="off").map(blob)) == b"b" * 100_000
    for verification in ("on", "strict"):
        with pytest.raises(DamageError):
            reopened(broken, verification=verification).map(blob)


def test_a_digest_that_is_a_path_opens_nothing(broken, tmp_path):
    """Records may come from anywhere; their digests never leave the folder."""
    (tmp_path / "secret").write_bytes(b"s" * 20_000)
    commit(broken, b"x")
    for name in ("../../secret", "/etc/passwd", "..", "ab/" + "c" * 37):
        with pytest.raises(DamageError):
            broken.map(Blob(name, 20_000))


def test_many_restored_blobs_leave_descriptors_for_others(tmp_path):
    """With 128 descriptors allowed, 300 blobs are in use at once and files can still be opened."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from pipestate.store.blobs import Blobs
from pathlib import Path
blobs = Blobs(Path(sys.argv[1]) / "blobs")
memories = [blobs.map(blobs.put(bytes([i % 256, i // 256]) * 40_000)) for i in range(300)]
assert all(m[0] == i % 256 for i, m in enumerate(memories))
files = [open("/dev/null") for _ in range(40)]
"""
    said(code, tmp_path)


# --- the log


def test_a_commit_is_seen_whole_by_another_process(store):
    """Record, blobs, run and the folded job."""
    pipe, blobs = commit(store, b"one", b"x" * 100_000)
    other = open_store(store.path)
    assert read(other) == pipe
    assert other.index.jobs() == ["j"]
    assert other.index.record(pipe.heads["s"]).blobs == blobs
    other.close()


def test_whoever_looks_sees_every_commit_of_another_process(store):
    """At once, also when nothing has happened for a while."""
    commit(store, b"first")
    code = """
import sys
import pipestate
for line in sys.stdin:
    pipestate.set("other", "s", line, store=sys.argv[1])
    print("set", flush=True)
"""
    other = python(code, store.path, stdin=subprocess.PIPE)
    for pause in (0, 0, 0.15) * 5:
        time.sleep(pause)
        before = store.index.mark()
        assert store.index.mark() == before
        other.stdin.write("a line\n")
        other.stdin.flush()
        assert other.stdout.readline() == "set\n"
        assert store.index.mark() != before
    other.communicate()


def test_a_second_commit_on_one_number_is_told_that_the_job_moved(store):
    """Nothing of it is written, and the same batch can be committed anew."""
    first, _ = commit(store, b"a")
    commit(store, b"b")
    rows = raw_rows(store)
    with store.batch() as batch:
        digest = batch.record(Record("s", "late", "0" * 40, outputs=()))
        batch.put(b"late")
        with pytest.raises(Moved) as moved:
            batch.commit(Run(first.number + 1, "j", "s", "ran", record=digest))
        assert moved.value.last == 2
        assert raw_rows(store) == rows
        batch.commit(Run(3, "j", "s", "ran", record=digest))
    assert store.index.record(digest).source == "late"


def test_a_commit_that_fails_midway_leaves_nothing(store):
    """An error raised inside the transaction takes everything back, an interrupt too."""
    commit(store, b"a")
    rows = raw_rows(store)
    for error in (KeyboardInterrupt, ZeroDivisionError):

        def half(error: type[BaseException] = error) -> None:
            store.index.rows.set("blob/" + "1" * 40, b"half")
            raise error

        with pytest.raises(error):
            store.index.rows.transact(half)
    assert raw_rows(store) == rows
    assert commit(store, b"b")[0].number == 2


def test_snapshots_come_now_and_then(store):
    """So that opening folds few runs; and a reader that is up to date folds none."""
    pipe = Pipe("j")
    for _ in range(100):
        pipe, _ = commit(store, b"x", pipe=pipe)
        start, runs = store.index.tail("j")
        assert len(runs) < 64
    assert fold(start, runs) == fold(Pipe("j"), store.index.runs("j")) == pipe
    assert store.index.tail("j", pipe) == (pipe, [])


@pytest.mark.parametrize(
    "job",
    [
        "",
        "a/b",
        "a/b/000000000001",
        "%",
        "a%2Fb",
        "jobs",
        "köln",
        "a\nb",
        "\0",
        "\ud800",
        "x" * 5000,
    ],
)
def test_any_text_is_a_job(store, job):
    """And none is mistaken for another."""
    commit(store, b"1", job="a")
    commit(store, b"2", job=job)
    commit(store, b"3", job=job)
    assert store.index.jobs() == ["a", job]
    assert (read(store, "a").number, read(store, job).number) == (1, 2)
    assert [run.job for run in store.index.runs(job)] == [job, job]


def test_a_dropped_job_is_gone_and_an_old_pipe_does_not_fit_a_new_one(store):
    """Its numbers go on."""
    commit(store, b"1")
    old, _ = commit(store, b"2")
    store.index.drop_job("j")
    assert store.index.jobs() == []
    assert (read(store).heads, store.index.runs("j")) == ({}, [])
    with pytest.raises(Moved):
        commit(store, b"3", pipe=old)
    new, _ = commit(store, b"3", step="t")
    assert store.index.jobs() == ["j"]
    assert list(fold(*store.index.tail("j", old)).heads) == list(new.heads) == ["t"]


def test_trimmed_runs_are_gone_and_the_job_stands(store):
    """History then begins at the base that was kept."""
    pipes = [commit(store, b"%d" % number, step=f"s{number}")[0] for number in range(6)]
    store.index.trim("j", pipes[3], pipes[5])
    assert read(store) == pipes[5]
    assert [run.number for run in store.index.runs("j")] == [5, 6]
    assert fold(store.index.base("j"), store.index.runs("j")) == pipes[5]
    assert fold(*store.index.tail("j", pipes[1])) == pipes[5]
    with pytest.raises(Moved):
        store.index.trim("j", pipes[4], pipes[4])
    assert commit(store, b"more")[0].number == 7


# --- damage to the index


def test_an_altered_row_is_found(broken):
    """Wherever in it, and also when it is a whole row put in another's place."""
    pipe, _ = commit(broken, b"one")
    digest = pipe.heads["s"]
    edit(broken, f"UPDATE Cache SET value = value || x'00' WHERE key = 'record/{digest}'")
    with pytest.raises(DamageError):
        broken.index.record(digest)
    assert len(verify(broken)) == 1
    edit(
        broken,
        "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key LIKE 'record/%')"
        " WHERE key LIKE 'run/%'",
    )
    with pytest.raises(DamageError):
        read(broken)


def test_a_missing_row_is_found(broken):
    """A record, and a run in the middle of the log."""
    pipe, (blob,) = commit(broken, b"one")
    commit(broken, b"two")
    edit(broken, "DELETE FROM Cache WHERE key LIKE 'record/%' OR key LIKE 'blob/%'")
    with pytest.raises(DamageError, match="missing"):
        broken.index.record(pipe.heads["s"])
    with pytest.raises(DamageError, match="missing"):
        broken.map(blob)
    assert len(verify(broken)) == 2
    edit(broken, "DELETE FROM Cache WHERE key LIKE 'run/%1'")
    with pytest.raises(DamageError, match="missing"):
        broken.index.runs("j")


@pytest.mark.parametrize("change", ["mode = 4", "mode = 2, filename = 'cache.db'", "value = 7"])
def test_no_row_can_make_python_unpickle_or_open_a_file(broken, change):
    """What a plain diskcache.Disk would do for such a row."""
    pipe, _ = commit(broken, b"one")
    edit(broken, f"UPDATE Cache SET {change} WHERE key LIKE 'record/%'")
    with pytest.raises(DamageError):
        broken.index.record(pipe.heads["s"])


def test_a_row_of_a_newer_format_is_a_format_error(broken):
    """Damage and the future are told apart."""
    pipe, _ = commit(broken, b"one")
    newer = "CAST(x'04' || substr(value, 2) AS BLOB)"
    edit(broken, f"UPDATE Cache SET value = {newer} WHERE key LIKE 'record/%'")
    with pytest.raises(FormatError, match="format 04"):
        broken.index.record(pipe.heads["s"])


@pytest.mark.parametrize(
    "content", [b"not a database at all, " * 400, b"SQLite format 3\0" + b"x" * 9000]
)
def test_a_database_that_is_none_is_a_damage_error(broken, content):
    """At reading and at writing; the file is left for whoever can mend it."""
    commit(broken, b"one")
    broken.close()
    for leftover in ("cache.db-wal", "cache.db-shm"):
        (broken.path / "index" / leftover).unlink(missing_ok=True)
    (broken.path / "index" / "cache.db").write_bytes(content)
    with pytest.raises(DamageError, match="damaged"):
        read(broken)
    with pytest.raises(DamageError, match="damaged"):
        commit(broken, b"two", pipe=Pipe("j"))
    assert (broken.path / "index" / "cache.db").read_bytes() == content


def test_a_database_cut_short_while_open_does_not_end_the_process(tmp_path):
    """No part of it is mapped, so there is no SIGBUS."""
    code = """
import os
from test_store_contract import commit, read, open_store
from pipestate.errors import StoreError
store = open_store(sys.argv[1])
for number in range(50):
    commit(store, os.urandom(9000))
store.close()
read(store)
os.truncate(store.path / "index" / "cache.db", 8192)
try:
    commit(store, b"x" * 9000)
except StoreError:
    pass
"""
    said(code, tmp_path / "store")


# --- upkeep


def test_a_sweep_takes_what_no_run_names_and_nothing_else(store):
    """Records, rows and files of a dropped job go; what another job shares with it stays."""
    both = b"both" * 30_000
    _, mine = commit(store, b"mine", b"m" * 100_000, both, job="mine")
    _, yours = commit(store, b"yours", b"y" * 100_000, both, job="yours")
    assert (sweep(store).records, sweep(store).blobs) == (0, 0)
    store.index.drop_job("mine")
    swept = sweep(store)
    assert (swept.records, swept.blobs, swept.nbytes) == (1, 2, 100_004)
    assert [store.has(blob) for blob in mine] == [False, False, True]
    assert [store.has(blob) for blob in yours] == [True, True, True]


def test_a_trimmed_log_lets_go_of_its_records(store):
    """Only the heads remain."""
    for data in (b"a", b"b", b"c", b"d", b"e"):
        pipe, _ = commit(store, data * 50_000)
    pipe = pipe.replace(kept={})
    store.index.trim("j", pipe, pipe)
    assert sweep(store).records == 4
    assert store.index.record(read(store).heads["s"]).blobs


@pytest.mark.parametrize("size", [ROW, 2 << 20])
def test_a_sweep_between_put_and_commit_loses_nothing(store, size):
    """What was taken is put again before the record is visible."""
    commit(store, b"x")
    data = os.urandom(size)
    with store.batch() as batch:
        blob = batch.put(data)
        assert sweep(store).blobs == 1
        output = Version("value", "0" * 40, {"x": "0" * 40}, stream=blob)
        digest = batch.record(Record("s", "", "0" * 40, outputs=(output,)))
        batch.commit(Run(2, "j", "s", "ran", record=digest, heads={"s": digest}))
    assert bytes(store.map(blob)) == data


def test_leftovers_of_killed_writers_are_swept_when_old(store):
    """A young one may still be written to."""
    commit(store, b"x" * 100_000)
    old, young = (store.path / "blobs" / "tmp" / name for name in ("1-old", "1-young"))
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert sweep(store).blobs == 1
    assert (old.exists(), young.exists()) == (False, True)


# --- threads and forks


def test_threads_share_a_store(store):
    """Eight at once, each commit made, none twice."""

    def work(name: str) -> None:
        for number in range(10):
            while True:
                with contextlib.suppress(Moved):
                    commit(store, b"%d" % number, os.urandom(20_000), step=name)
                    break
        store.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, [f"t{number}" for number in range(8)]))
    assert read(store).runs == {f"t{number}": 10 for number in range(8)}


def test_a_forked_child_may_use_the_store_too(tmp_path):
    """While its parent does, big blobs and another thread's transactions included."""
    code = """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from test_store_contract import commit, read, open_store, Moved, verify
store = open_store(sys.argv[1])
commit(store, os.urandom(2 << 20))
def work(name, count):
    for number in range(count):
        while True:
            try:
                commit(store, b"x" * 2_000_000, step=name)
                break
            except Moved:
                pass
thread = threading.Thread(target=work, args=("thread", 60))
thread.start()
children = []
for number in range(5):
    child = os.fork()
    if not child:
        work(f"child{number}", 10)
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
thread.join()
runs = read(store).runs
assert runs == {"s": 1, "thread": 60, **{f"child{n}": 10 for n in range(5)}}, runs
assert verify(store) == []
"""
    said(code, tmp_path / "store")


def test_a_commit_waits_for_another_process_but_not_for_ever(store, monkeypatch):
    """A writer that does not let go is waited for, then named in one line."""
    commit(store, b"a")
    monkeypatch.setattr("pipestate.store.rows.TIMEOUT_SECONDS", 0.1)
    store.close()
    monkeypatch.setattr("pipestate.store.rows.WAIT_SECONDS", 0.05)
    other = sqlite3.connect(store.path / "index" / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process"):
        commit(store, b"b")
    other.execute("ROLLBACK")
    other.close()
    assert commit(store, b"b")[0].number == 2


def test_a_durable_store_keeps_what_any_store_keeps(tmp_path):
    """fsync changes when, not what."""
    store = open_store(tmp_path / "store", durable=True)
    pipe, blobs = commit(store, b"a", b"b" * 50_000, b"c" * 2_000_000)
    store = reopened(store, durable=True)
    assert read(store) == pipe
    assert [store.map(blob).nbytes for blob in blobs] == [1, 50_000, 2_000_000]
    assert verify(store) == []
    store.close()
