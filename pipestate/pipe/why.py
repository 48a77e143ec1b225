"""Why a step is as it is, told in full: the sentence, the runs between which it happened, the diff.

Pure: a step's status and the job in, text out. The short sentence is `str(reason)`;
this is what somebody gets who asks.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from ..record import Digest, Pipe, Record, Seen
from .status import StepStatus


def explain(
    status: StepStatus, pipe: Pipe, number_of: Callable[[Digest], int], head: Record | None
) -> str:
    """A sentence that names what changed, from where, between which runs; a diff for source.

    `number_of` gives the number of the run that left a record, 0 where none is kept.
    """
    if not status.reason:
        return f"{status.name} is {status.state}"
    text = f"{status.name} is {status.state}: {status.reason}{_between(status, pipe, number_of)}"
    seen = pipe.seen.get(status.name)
    if status.cause is not None and status.cause.kind == "source" and head is not None and seen:
        return f"{text}\n{_diff(head, seen)}"
    return text


def _between(status: StepStatus, pipe: Pipe, number_of: Callable[[Digest], int]) -> str:
    """` between runs 3 and 7`: when this step last ran, and when what it reads was made anew."""
    cause = status.cause
    if cause is None or cause.kind not in ("input", "vanished", "appeared", "value", "ambient"):
        return ""
    heads = (pipe.heads.get(status.name), pipe.heads.get(cause.source))
    before, after = (number_of(head) if head else 0 for head in heads)
    return f" between runs {before} and {after}" if 0 < before < after else ""


def _diff(head: Record, seen: Seen) -> str:
    lines = difflib.unified_diff(
        head.source.strip("\n").splitlines(),
        seen.source.strip("\n").splitlines(),
        "as it ran",
        "as it is",
        lineterm="",
    )
    return "\n".join(lines)
