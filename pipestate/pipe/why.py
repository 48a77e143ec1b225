"""Why a step is as it is, told in full: the sentence, the runs between which it happened, the diff.

Pure: a step's status and the job's history in, text out. The short sentence is `str(reason)`;
this is what somebody gets who asks.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ..record import Pipe, Record, Run, Seen
from .status import StepStatus


def explain(status: StepStatus, pipe: Pipe, runs: Sequence[Run], head: Record | None) -> str:
    """A sentence that names what changed, from where, between which runs; a diff for source."""
    if not status.reason:
        return f"{status.name} is {status.state}"
    text = f"{status.name} is {status.state}: {status.reason}{_between(status, pipe, runs)}"
    seen = pipe.seen.get(status.name)
    if status.cause is not None and status.cause.kind == "source" and head is not None and seen:
        return f"{text}\n{_diff(head, seen)}"
    return text


def _between(status: StepStatus, pipe: Pipe, runs: Sequence[Run]) -> str:
    """` between runs 3 and 7`: when this step last ran, and when what it reads was made anew."""
    cause = status.cause
    if cause is None or cause.kind not in ("input", "vanished", "appeared", "value"):
        return ""
    before = _last(runs, pipe.heads.get(status.name, ""))
    after = _last(runs, pipe.heads.get(cause.source, ""))
    return f" between runs {before} and {after}" if 0 < before < after else ""


def _last(runs: Sequence[Run], record: str) -> int:
    """The number of the run that left a record; 0 where none did."""
    made = (run for run in runs if record and run.record == record and run.event in ("ran", "set"))
    return next((run.number for run in made), 0)


def _diff(head: Record, seen: Seen) -> str:
    lines = difflib.unified_diff(
        head.source.strip("\n").splitlines(),
        seen.source.strip("\n").splitlines(),
        "as it ran",
        "as it is",
        lineterm="",
    )
    return "\n".join(lines)
