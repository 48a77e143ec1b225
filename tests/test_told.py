"""What was told of a big job is there for the next process, and only while it is still true."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipestate.errors import StoreError
from pipestate.job import Job
from pipestate.ledger import MANY, Ledger
from pipestate.pipe import status, told
from pipestate.pipe.status import StepStatus, because
from pipestate.store import salvage
from pipestate.store.folder import open_store
from pipestate.store.trust import Keys, keys_folder

NOTED = "told/j"
HEADS = "heads/j"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A store with a job of many steps, of which nobody has been told yet."""
    path = tmp_path / "store"
    Job("j", store=path).update({f"s{number}": number for number in range(MANY)})
    return path


@pytest.fixture
def store(made: Path) -> Path:
    """A store with a job of many steps, and what was told of it."""
    Job("j", store=made).status()
    return made


def noted(store: Path, key: str = NOTED) -> bytes | None:
    """What the store has of what was told."""
    return open_store(store).index.rows.get(key)


def put(store: Path, key: str, payload: bytes | None) -> None:
    """Have this in a row, or no such row."""
    rows = open_store(store).index.rows
    rows.transact(partial(rows.delete, key) if payload is None else partial(rows.set, key, payload))


def unreadable(store: Path) -> None:
    """Nothing of the job can be judged any more: each record has lost its last byte."""
    rows = open_store(store).index.rows
    for key in rows.keys("record/"):
        row = rows.row(key)
        assert row is not None
        rows.transact(partial(rows.set, key, row.payload[:-1], row.head))


def states(store: Path) -> set[str]:
    """What a process that opens the job is told of its steps."""
    return {one.state for one in Job("j", store=store).status()}


TEXT = st.text(max_size=5)
REASONS = st.none() | st.builds(
    because, st.sampled_from(["new", "input", "waits", "failed", "package"]), TEXT, detail=TEXT
)


def a_status(cause: status.Reason | None, name: str, number: float) -> StepStatus:
    """A status as one might be told it."""
    made, seconds = (name, "é"), abs(number)
    return StepStatus(
        name, "stale", str(cause or ""), seconds, 3, 4, ("df['a']",), made, seconds, cause
    )


@given(
    st.lists(st.builds(a_status, REASONS, TEXT, st.floats(allow_nan=False, allow_infinity=False)))
)
def test_what_is_noted_is_what_was_told(found):
    """Every field, and the sentence of every reason."""
    assert told.from_bytes(told.to_bytes(found)) == found


def test_the_next_process_reads_no_record(store):
    """It is told what the last one was told."""
    first = Job("j", store=store).status()
    unreadable(store)
    assert Job("j", store=store).status() == first
    assert Job("j", store=store).why("s3") == "s3 is fresh"


def test_a_record_that_is_gone_is_told(store):
    """Whatever was told before."""
    index = open_store(store).index
    index.rows.transact(partial(index.rows.delete, f"record/{index.run('j', 4).record}"))
    stale = [one for one in Job("j", store=store).status() if one.state == "stale"]
    assert [(one.name, "missing" in one.reason) for one in stale] == [("s3", True)]


def test_what_another_thread_sets_meanwhile_is_told_the_next_time(tmp_path, monkeypatch):
    """To this job and to the next process: what was told is noted for what it was told of."""
    job = Job("j", store=tmp_path)
    job.update({f"s{number}": number for number in range(MANY)})
    job, statuses = Job("j", store=tmp_path), status.statuses

    def late(*args: Any, **options: Any) -> list[StepStatus]:
        found = statuses(*args, **options)
        thread = threading.Thread(target=job.__setitem__, args=("late", 1))
        thread.start()
        thread.join()
        return found

    monkeypatch.setattr(status, "statuses", late)
    job.status()
    monkeypatch.undo()
    told_now = [len(one.status()) for one in (job, Job("j", store=tmp_path))]
    assert told_now == [MANY + 1, MANY + 1]


def test_after_a_change_it_is_told_anew(store):
    """A step that was set since, in its place."""
    job = Job("j", store=store)
    job["s3"], job["more"] = "other", 1
    assert [(one.name, one.runs) for one in Job("j", store=store).status()][3 :: MANY - 3] == [
        ("s3", 2),
        ("more", 1),
    ]


def test_a_small_job_leaves_nothing(tmp_path):
    """To look at it writes nothing."""
    job = Job("j", store=tmp_path)
    job.update({f"s{number}": number for number in range(MANY // 2)})
    Job("j", store=tmp_path).status()
    assert (noted(tmp_path), noted(tmp_path, HEADS)) == (None, None)


def test_what_somebody_else_has_noted_is_not_believed(store, tmp_path, monkeypatch):
    """It is told from the records, whoever else has written what into the row."""
    mine = str(keys_folder())
    monkeypatch.setenv("PIPESTATE_KEYS", str(tmp_path / "others"))
    assert states(store) == {"stale"}  # signed by a key that this user does not trust
    monkeypatch.setenv("PIPESTATE_KEYS", mine)
    assert states(store) == {"fresh"}


def test_what_is_damaged_is_told_anew(store):
    """A row that is cut or altered is none."""
    data = noted(store)
    assert data is not None
    for harm in (b"", data[:10], data[:-5], data.replace(b"fresh", b"stale", 1)):
        put(store, NOTED, harm)
        assert states(store) == {"fresh"}


def test_when_other_keys_are_trusted_it_is_told_anew(store):
    """Whether a record may be believed hangs on them."""
    unreadable(store)
    assert states(store) == {"fresh"}
    Keys(keys_folder()).add("ab" * 32)
    assert states(store) == {"stale"}


def test_a_job_that_is_dropped_leaves_nothing_that_was_told(store):
    """Its rows go with it."""
    assert noted(store)
    assert noted(store, HEADS)
    Job("j", store=store).update({f"more{at}": at for at in range(300)})
    index = open_store(store).index
    assert len(index.rows.keys(HEADS)) == 2
    index.drop_job("j")
    assert (noted(store), index.rows.keys(HEADS)) == (None, [])


# --- the records in force, together


def test_who_is_told_first_reads_no_record_one_by_one(made):
    """Who made them has noted them, as they were."""
    first = Job("j", store=made)
    unreadable(made)
    assert states(made) == {"fresh"}
    assert first.status() == Job("j", store=made).status()


def test_after_a_change_only_what_changed_is_read(store):
    """What was noted before stands; the record that is new is read as any."""
    unreadable(store)
    Job("j", store=store)["s3"] = "other"
    assert states(store) == {"fresh"}
    assert [(one.name, one.runs) for one in Job("j", store=store).status()][3] == ("s3", 2)


def test_who_had_to_read_many_notes_them(store):
    """A store that an earlier pipestate has written has no such note."""
    put(store, NOTED, None)
    put(store, HEADS, None)
    Job("j", store=store).status()
    put(store, NOTED, None)
    unreadable(store)
    assert states(store) == {"fresh"}


def test_what_is_noted_of_records_is_believed_of_oneself_alone(made, tmp_path, monkeypatch):
    """Another user reads, and judges, each of them."""
    unreadable(made)
    monkeypatch.setenv("PIPESTATE_KEYS", str(tmp_path / "others"))
    assert states(made) == {"stale"}


def test_records_that_were_noted_are_read_where_the_note_is_damaged(made):
    """Cut or altered, or of another shape than this pipestate's, it is none."""
    data, notes = noted(made, HEADS), open_store(made).index.notes
    assert data is not None
    for harm in (b"", data[:10], data[:-5], data.replace(b'"s3"', b'"s4"', 1)):
        put(made, HEADS, harm)
        assert states(made) == {"fresh"}
        put(made, NOTED, None)
    for odd in (b"", b"[]", b'{"a": 1}', b'{"a": {"step": "s1"}}'):
        notes.note_heads("j", odd)
        assert states(made) == {"fresh"}
        put(made, NOTED, None)


def test_a_record_that_was_changed_in_memory_is_not_noted(made):
    """Whoever did it did it for this process alone."""
    ledger = Ledger.open(open_store(made), "j")
    ledger.read_heads()
    digest, record = next(iter(ledger.records.items()))
    record.packages["numpy"] = "0"
    put(made, HEADS, None)
    salvage.note(ledger.store, ledger.pipe, ledger.records)
    data = noted(made, HEADS)
    assert data is not None
    assert data.count(b'"normal"') == MANY - 1
    assert digest.encode() not in data
    assert states(made) == {"fresh"}


def test_a_record_with_a_flaw_is_not_noted(made):
    """What is wrong with it is looked at again."""
    index = open_store(made).index
    digest = index.run("j", 4).record
    row = index.rows.row(f"record/{digest}")
    assert row is not None
    index.rows.transact(partial(index.rows.set, f"record/{digest}", row.payload[:-1], row.head))
    put(made, HEADS, None)
    stale = [one.name for one in Job("j", store=made).status() if one.state == "stale"]
    assert stale == ["s3"]
    data = noted(made, HEADS)
    assert data is not None
    assert str(digest).encode() not in data
    index.rows.transact(partial(index.rows.set, f"record/{digest}", row.payload, row.head))
    assert states(made) == {"fresh"}


def test_a_record_that_is_gone_does_not_spoil_the_note(made):
    """The others are read from it again."""
    index = open_store(made).index
    index.rows.transact(partial(index.rows.delete, f"record/{index.run('j', 4).record}"))
    Job("j", store=made).status()
    put(made, NOTED, None)
    unreadable(made)
    stale = [one.name for one in Job("j", store=made).status() if one.state == "stale"]
    assert stale == ["s3"]


def test_what_comes_to_a_job_is_noted_beside_what_was_there(made):
    """Nothing is written twice while all of it is in force, and all of it is read."""
    rows = open_store(made).index.rows
    for more in range(3):
        Job("j", store=made).update({f"more{more}-{at}": at for at in range(300)})
    noted = {key: rows.get(key) or b"" for key in rows.keys(HEADS)}
    assert len(noted) == 4
    assert sum(data.count(b'"normal"') for data in noted.values()) == MANY + 900
    unreadable(made)
    assert states(made) == {"fresh"}


def test_what_is_in_force_no_more_does_not_pile_up(made):
    """Of many runs of the same steps, less is noted in vain than is in force."""
    rows = open_store(made).index.rows
    for more in range(12):
        Job("j", store=made).update({f"s{at}": more for at in range(more % 5, MANY, 2)})
    noted = [rows.get(key) or b"" for key in rows.keys(HEADS)]
    assert sum(data.count(b'"normal"') for data in noted) <= 5 / 3 * MANY
    unreadable(made)
    assert states(made) == {"fresh"}


@pytest.mark.parametrize("is_told", [False, True])
def test_a_damaged_page_costs_no_more_than_it_would_without_notes(made, tmp_path, is_told):
    """Who cannot ask whether all is there looks at each record."""
    if is_told:
        Job("j", store=made).status()
    bare = tmp_path / "bare"
    shutil.copytree(made, bare)
    for key in (HEADS, NOTED):
        put(bare, key, None)
    for store in (made, bare):
        with contextlib.closing(sqlite3.connect(store / "index" / "cache.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = (bare / "index" / "cache.db").stat().st_size // 4096
    told = {}
    for page in range(1, pages, 5):
        for store in (bare, made):
            other = tmp_path / f"{store.name} {page}"
            shutil.copytree(store, other)
            with open(other / "index" / "cache.db", "r+b") as file:
                file.seek(page * 4096)
                file.write(b"\xff" * 4096)
            try:
                Job("j", store=other).status()
                told[store, page] = True
            except StoreError:
                told[store, page] = False
            shutil.rmtree(other)
    lost = [page for page in range(1, pages, 5) if told[bare, page] and not told[made, page]]
    assert lost == []
    assert sum(told.values()) > len(told) / 2
