"""What was told of a job, as bytes: the statuses of its steps, and what they depend on.

To tell the statuses of ten thousand steps takes reading a record for each. So they are noted, and
the next process that asks reads them in one go. Whoever reads them here believes them: `index`
gives only what a process of the same user has noted.
"""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from .. import encoding
from ..record import Digest, Pipe
from .status import StepStatus

_FORMAT = 3
"""Of a status, and of what is judged: with another, what was told before is told anew."""


encoding.prepare(list[StepStatus])


def mark(pipe: Pipe) -> Digest:
    """What stands for a job as its statuses depend on it; records never change."""
    givens = [(n, m.record, m.digest) for n, m in pipe.meanings.items() if not m.maker]
    normals = [(step, seen.normal) for step, seen in pipe.seen.items()]
    about = (pipe.order, pipe.heads, pipe.failed, pipe.runs, normals, sorted(givens))
    return blake3(encoding.to_bytes((_FORMAT, about))).hexdigest(length=20)


def to_bytes(found: Iterable[StepStatus]) -> bytes:
    """Statuses as JSON."""
    return encoding.to_bytes(list(found))


def from_bytes(data: bytes) -> list[StepStatus]:
    """What `to_bytes` was given; raises FormatError for anything else."""
    return encoding.from_bytes(list[StepStatus], data)
