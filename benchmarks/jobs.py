"""Jobs of many steps and many runs, and what it costs to look at them.

They are made by the store's own commit, record by record as cells would leave them, but many runs
to one transaction of the database; the values themselves are not there, and nobody asks for them.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from blake3 import blake3

from pipestate import Job
from pipestate.pipe import history
from pipestate.record import (
    AccessPath,
    Blob,
    Digest,
    Input,
    Meaning,
    Pipe,
    Record,
    Run,
    Seen,
    Version,
)
from pipestate.store.folder import Store, open_store
from pipestate.store.rows import Rows

from .notebooks import environment
from .rounds import Row, fresh, seconds

T = TypeVar("T")

AT_ONCE = 2000
"""How many runs are made at a time; the folded pipe is kept as often."""


class Together(Rows):
    """Rows whose transactions are parts of one, while one is open."""

    def transact(self, write: Callable[[], T]) -> T:
        """A transaction, or the one that is open."""
        return write() if self.is_writing else super().transact(write)


def make(folder: Path, job: str, *, steps: int, runs: int, upstream: int = 1) -> None:
    """A job of so many steps, each run in turn until there are `runs`. Steps come in chains, in
    which each reads what the one before it made; `upstream` is how long a chain is."""
    store = open_store(folder)
    index = dataclasses.replace(store.index, rows=Together(folder / "index"))
    store = dataclasses.replace(store, index=index)
    store.make_folder()
    index.trust.keys.make()
    index.rows.make()
    pipe, numbers = Pipe(job), iter(range(1, runs + 1))

    def some() -> Pipe:
        pending, after = list[Run](), pipe
        for number in itertools.islice(numbers, AT_ONCE):
            round_, at = divmod(number - 1, steps)
            commit = _Commit(store, job, number, at, round_, is_first=at % upstream == 0)
            pending.append(commit.run)
            is_last = len(pending) == AT_ONCE or number == runs
            if is_last:
                after = history.fold(pipe, pending)
            commit.do(after if is_last else None)
        return after

    while pipe.number < runs:
        pipe = index.rows.transact(some)
    store.close()


class _Commit:
    """What a cell `name_7 = name_6 + 1` leaves when it has run."""

    def __init__(
        self, store: Store, job: str, number: int, at: int, round_: int, *, is_first: bool
    ) -> None:
        step, name, before = f"step_{at}", f"name_{at}", f"name_{at - 1}"
        made, read = _digest(name), _digest(before)
        source = f"{name} = {0 if is_first else before} + {round_}"
        version = Version(
            "value", made, {name: made}, {name: "int"}, stream=Blob(made, 100), mutable=False
        )
        one = Input(AccessPath(before), read, read, f"step_{at - 1}")
        record = Record(
            step,
            source,
            _digest(source),
            inputs=() if is_first else (one,),
            outputs=(version,),
            made=(name,),
            bound=(name,),
            started=float(number),
            seconds=0.001,
        )
        self.batch = store.batch()
        digest = self.batch.record(record)
        self.run = Run(
            number,
            job,
            step,
            "ran",
            started=float(number),
            seconds=0.001,
            record=digest,
            heads={step: digest},
            meanings={name: Meaning(step, digest, made)},
            seen=Seen(source, normal=record.normal),
        )

    def do(self, pipe: Pipe | None) -> None:
        """Commit it, with the folded job where that is to be kept."""
        self.batch.commit(self.run, pipe=pipe)


def _digest(text: str) -> Digest:
    return blake3(text.encode()).hexdigest(length=20)


def looks(folder: Path, job: str, step: str) -> dict[str, float]:
    """In a new process: how many seconds it takes to open a job, and to look at it."""
    jobs: list[Job] = []
    found = {"open": seconds(lambda: jobs.append(Job(job, store=folder)))}
    states: list[str] = []
    found["status"] = seconds(lambda: states.extend(one.state for one in jobs[0].status()))
    if set(states) != {"fresh"}:
        raise RuntimeError(f"the steps of {job} should all be fresh: {set(states)}")
    found["status again"] = seconds(jobs[0].status)
    found["why"] = seconds(lambda: jobs[0].why(step))
    return found


def big_job(room: Path, *, steps: int, runs: int) -> list[Row]:
    """Opening, status and why of one big job, and status where nobody has ever been told it."""
    what = f"job of {steps:,} steps, {runs:,} runs"
    first, later = made_and_looked(room, steps=steps, runs=runs)
    return [
        Row("job", f"{what}: {name}", took * 1e3, "ms", 100.0 if name != "open" else None)
        for name, took in {**later, "status, told to nobody yet": first["status"]}.items()
    ]


def made_and_looked(
    room: Path, *, steps: int, runs: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Make a job in one new process, and look at it in another, and in one more."""
    fresh(_made, room, steps, runs)
    first, later = (fresh(_looked, room, f"step_{steps - 1}") for _ in range(2))
    return first, later


def _made(room: Path, steps: int, runs: int) -> None:
    os.environ.update(environment(room))
    make(room / "store", "bench", steps=steps, runs=runs)


def _looked(room: Path, step: str) -> dict[str, float]:
    os.environ.update(environment(room))
    return looks(room / "store", "bench", step)
