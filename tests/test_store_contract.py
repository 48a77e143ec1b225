"""What a store promises, one promise a test. Every test ends with everything in it verified."""

from __future__ import annotations

import pytest
from pipestate.errors import DamageError, FormatError
from pipestate.pipe.history import after, fold
from pipestate.record import Blob, Pipe, Record, Run
from pipestate.store.folder import locate, open_store
from pipestate.store.index import Moved


def commit(store, job="j", step="s", data=(b"one", b"x" * 100_000), pipe=None, **more):
    """One run of `step` with a record and a blob for each of `data`; the pipe after it."""
    pipe = pipe or fold(*store.index.tail(job))
    with store.batch() as batch:
        blobs = [batch.put(one) for one in data]
        digest = batch.record(Record(step=step, source=repr(blobs), normal="0" * 40))
        run = Run(pipe.number + 1, job, step, "ran", record=digest, heads={step: digest}, **more)
        batch.commit(run, pipe=after(pipe, run))
    return after(pipe, run), blobs


def test_what_was_committed_is_there_in_another_process(tmp_path):
    pipe, blobs = commit(open_store(tmp_path / "s"))
    store = open_store(tmp_path / "s")
    assert fold(*store.index.tail("j")) == pipe
    assert [bytes(store.map(blob)) for blob in blobs] == [b"one", b"x" * 100_000]
    assert store.index.record(pipe.heads["s"]).step == "s"


def test_a_second_commit_on_the_same_number_is_told_that_the_job_moved(tmp_path):
    store = open_store(tmp_path / "s")
    pipe, _ = commit(store)
    commit(store)
    with pytest.raises(Moved) as moved:
        commit(store, pipe=pipe)
    assert moved.value.last == 2
