"""What was told of a job, as bytes: the statuses of its steps, and what they depend on.

To tell the statuses of ten thousand steps takes reading a record for each. So they are noted, and
the next process that asks reads them in one go. Whoever reads them here believes them: `index`
gives only what a process of the same user has noted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from blake3 import blake3

from ..record import Digest, Pipe
from .status import Reason, StepStatus

_FORMAT = 1
"""Of `_row`, and of what is judged: with another, what was told before is told anew."""


def mark(pipe: Pipe) -> Digest:
    """What stands for a job as its statuses depend on it; records never change."""
    givens = [(n, m.record, m.digest) for n, m in pipe.meanings.items() if not m.maker]
    normals = [(step, seen.normal) for step, seen in pipe.seen.items()]
    about = (pipe.order, pipe.heads, pipe.failed, pipe.runs, normals, sorted(givens))
    said = json.dumps((_FORMAT, about))
    return blake3(said.encode()).hexdigest(length=20)


def to_bytes(found: Iterable[StepStatus]) -> bytes:
    """Statuses as JSON, a list for each."""
    return json.dumps([_row(one) for one in found], separators=(",", ":")).encode()


def _row(one: StepStatus) -> tuple[object, ...]:
    why = one.cause
    cause = why and (why.kind, why.subject, why.maker, why.detail, why.source)
    numbers = (one.seconds, one.nbytes, one.runs, one.started)
    return one.name, one.state, cause, *numbers, one.reads, one.made


def from_bytes(data: bytes) -> list[StepStatus]:
    """What `to_bytes` was given."""
    return [
        StepStatus(
            name=name,
            state=state,
            reason=str(why or ""),
            seconds=seconds,
            nbytes=nbytes,
            runs=runs,
            reads=tuple(reads),
            made=tuple(made),
            started=started,
            cause=why,
        )
        for name, state, cause, seconds, nbytes, runs, started, reads, made in json.loads(data)
        for why in [cause and Reason(*cause)]
    ]
