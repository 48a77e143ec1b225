"""Whatever is done to a store in whatever order, it holds what a dictionary would hold."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipestate.pipe.history import after, fold
from pipestate.record import Blob, Meaning, Pipe, Record, Run, Version
from pipestate.store.folder import open_store
from pipestate.store.standing import Moved
from pipestate.store.upkeep import sweep, verify

JOBS = st.sampled_from(["j", "a/b", "%"])
STEPS = st.sampled_from(["s", "t", "u"])
SIZES = st.sampled_from([0, 7, 16_383, 16_384, 70_000])
BUNDLED = st.lists(st.tuples(st.integers(0, 11), st.just(70_000)), min_size=5, max_size=12)
"""More than have files of their own, and every now and then some that are there already."""
EVENTS = st.sampled_from(["ran", "failed", "restored", "set", "dropped", "noted"])


class StoreMachine(RuleBasedStateMachine):
    """Two stores open on one folder, and beside them the jobs and blobs as plain dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.stores = [open_store(self.folder / "store") for _ in range(2)]
        self.pipes: dict[str, Pipe] = {}
        self.known: list[dict[str, Pipe]] = [{}, {}]
        self.records: dict[str, tuple[tuple[Blob, bytes], ...]] = {}

    @rule(
        at=st.integers(0, 1),
        job=JOBS,
        step=STEPS,
        event=EVENTS,
        data=st.lists(st.tuples(st.integers(0, 3), SIZES), max_size=3) | BUNDLED,
    )
    def commit(self, at, job, step, event, data):
        """A run of any kind; its record and heads where the event has them."""
        store = self.stores[at]
        pipe = self.pipe(at, job)
        with store.batch() as batch:
            made = [bytes([fill]) * size for fill, size in data]
            blobs = tuple(batch.put(one) for one in made)
            run = Run(pipe.number + 1, job, step, event, reason="why")
            if event in ("ran", "set"):
                output = Version("value", "0" * 40, {"x": "0" * 40}, buffers=blobs)
                digest = batch.record(Record(step, "", "0" * 40, outputs=(output,)))
                meanings = {"x": Meaning(step, digest, "0" * 40)}
                run = Run(
                    pipe.number + 1, job, step, event,
                    record=digest, heads={step: digest}, meanings=meanings,
                )  # fmt: skip
                self.records[digest] = tuple(zip(blobs, made, strict=True))
            batch.commit(run, pipe=after(pipe, run))
        self.pipes[job] = after(pipe, run)

    @precondition(lambda self: self.pipes)
    @rule(at=st.integers(0, 1), job=JOBS)
    def commit_late(self, at, job):
        """On a number that is taken: refused."""
        pipe = self.pipe(at, job)
        if pipe.number:
            with self.stores[at].batch() as batch, pytest.raises(Moved):
                batch.commit(Run(pipe.number, job, "s", "ran"))

    @rule(at=st.integers(0, 1), job=JOBS)
    def drop(self, at, job):
        """The job is gone; its numbers go on."""
        self.stores[at].index.drop_job(job)
        self.pipes.pop(job, None)

    @rule(at=st.integers(0, 1), job=JOBS, keep=st.integers(0, 3))
    def trim(self, at, job, keep):
        """All but the last few runs are forgotten."""
        index = self.stores[at].index
        pipe, runs = self.pipe(at, job), index.runs(job)
        if job in self.pipes and len(runs) > keep:
            base = fold(index.base(job), runs[: len(runs) - keep])
            index.trim(job, base, pipe)
            assert len(index.runs(job)) == keep

    @rule(at=st.integers(0, 1))
    def sweep(self, at):
        """What no job holds any more is gone."""
        sweep(self.stores[at])

    @rule(at=st.integers(0, 1))
    def reopen(self, at):
        """As a new process would."""
        self.stores[at].close()
        self.stores[at] = open_store(self.folder / "store")
        self.known[at] = {}

    def pipe(self, at: int, job: str) -> Pipe:
        """The job as the store at `at` has it, read on from what it knew."""
        pipe = fold(*self.stores[at].index.tail(job, self.known[at].get(job)))
        self.known[at][job] = pipe
        return pipe

    @invariant()
    def holds_what_the_dictionary_holds(self):
        """Jobs, their folds, and every byte that their records name; in both stores."""
        for at, store in enumerate(self.stores):
            assert sorted(store.index.jobs()) == sorted(self.pipes)
            for job, pipe in self.pipes.items():
                assert self.pipe(at, job) == pipe
                assert fold(store.index.base(job), store.index.runs(job)) == pipe
                for digest in pipe.heads.values():
                    record = store.index.record(digest)
                    for blob, data in self.records[digest]:
                        assert blob in record.blobs
                        assert bytes(store.map(blob)) == data

    def teardown(self) -> None:
        """Nothing is wrong with it, and without jobs it is empty."""
        store = self.stores[0]
        assert verify(store) == []
        for job in self.pipes:
            store.index.drop_job(job)
        sweep(store)
        for kind in ("record/", "blob/", "in/", "stamp/"):
            assert store.index.rows.keys(kind) == []
        assert [file for file in self.folder.rglob("blobs/*/*") if file.is_file()] == []
        for one in self.stores:
            one.close()
        shutil.rmtree(self.folder)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
