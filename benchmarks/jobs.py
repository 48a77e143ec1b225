"""Jobs of many steps and many runs, and what it costs to look at them.

They are made by the store's own commit, record by record as cells would leave them, but many runs
to one transaction of the database; the values themselves are not there, and nobody asks for them.
"""

from __future__ import annotations

import itertools
import os
import platform
from pathlib import Path

from blake3 import blake3

from pipestate import Job
from pipestate.cell.source import normal
from pipestate.ledger import Ledger, Make
from pipestate.record import AccessPath, Blob, Digest, Input, Meaning, Record, Run, Seen, Version
from pipestate.store.folder import open_store

from .notebooks import environment
from .rounds import Row, fresh, seconds

AT_ONCE = 2000
"""How many runs are made at a time; the folded pipe is kept as often."""


def make(folder: Path, job: str, *, steps: int, runs: int, upstream: int = 1) -> None:
    """A job of so many steps, each run in turn until there are `runs`. Steps come in chains, in
    which each reads what the one before it made; `upstream` is how long a chain is."""
    ledger = Ledger.open(open_store(folder), job)
    numbers = iter(range(runs))
    while some := list(itertools.islice(numbers, AT_ONCE)):
        ledger.commit_all(
            [
                _ran(round_, at, number, is_first=at % upstream == 0)
                for number in some
                for round_, at in [divmod(number, steps)]
            ]
        )
    ledger.store.close()


def _ran(round_: int, at: int, number: int, *, is_first: bool) -> tuple[Make, Record]:
    """What a cell `name_7 = name_6 + 1` leaves when it has run."""
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
        normal(source),
        options=step,
        inputs=() if is_first else (one,),
        outputs=(version,),
        made=(name,),
        bound=(name,),
        python=platform.python_version(),
        started=float(number),
        seconds=0.001,
    )

    def run(digest: Digest | None) -> Run:
        return Run(
            0,
            "",
            step,
            "ran",
            started=float(number),
            seconds=0.001,
            record=digest,
            heads={step: digest},
            meanings={name: Meaning(step, digest or "", made)},
            seen=Seen(source, step, normal=record.normal),
        )

    return run, record


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
