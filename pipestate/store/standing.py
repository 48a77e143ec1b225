"""Where a job stands in the index: five numbers, which every commit to it rewrites, and how far a
journal is in it. And what a commit is told that was decided on where it stood before."""

from __future__ import annotations

import json
import struct
from typing import Final, NamedTuple

from ..errors import DamageError, FormatError, StoreError

NEVER: Final = 1 << 62
"""No job has so many runs."""

_NUMBERS = struct.Struct("<5Q")


class JobRow(NamedTuple):
    """Where a job stands: runs `first` to `last` are kept, the snapshot is at number `snapshot`.

    `grown` bytes of runs came since the snapshot, which had `nbytes`.
    """

    last: int = 0
    first: int = 1
    snapshot: int = 0
    grown: int = 0
    nbytes: int = 0

    @property
    def is_due(self) -> bool:
        """Whether to keep the pipe anew: so rarely that all the snapshots together cost less than
        the runs, and so often that to fold what came since takes no longer than to read one. To
        fold a run takes as long as to read some 3,000 bytes of a snapshot."""
        since = self.last - self.snapshot
        is_long = since >= max(256, self.nbytes // 3000)
        return is_long or (since >= 16 and self.grown >= self.nbytes // 4)

    def to_bytes(self) -> bytes:
        """The bytes that `from_bytes` reads."""
        return _NUMBERS.pack(*self)

    @classmethod
    def from_bytes(cls, data: bytes, job: str) -> JobRow:
        """What `to_bytes` gave for a job; raises FormatError or DamageError for anything else."""
        if len(data) != _NUMBERS.size:
            raise FormatError("a job row of another length than this pipestate writes")
        row = cls(*_NUMBERS.unpack(data))
        if not (0 < row.first <= row.last + 1 < NEVER and row.snapshot <= row.last):
            raise DamageError(f"the row of job {job!r} makes no sense")
        return row


class Moved(StoreError):  # noqa: N818 (an answer to look again by, more than a fault)
    """Somebody else has committed to the job since: nothing was written. `last` is its number."""

    def __init__(self, job: str, last: int) -> None:
        super().__init__(f"job {job!r} has moved on to run {last}", "look again and commit anew")
        self.last = last


class Overtaken(StoreError):  # noqa: N818 (as Moved)
    """Somebody else has taken from the journal since: nothing was written."""

    def __init__(self, job: str) -> None:
        super().__init__(f"the journal of job {job!r} was taken from", "look again")


class Taken(NamedTuple):
    """How far a user's journal is in a job: to the frame of one number, and then of another."""

    user: str
    before: bytes
    last: bytes


def names_of(data: bytes) -> list[str]:
    """The names in the row `jobs`; raises FormatError where it is none."""
    try:
        names = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the list of jobs cannot be read ({error})") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError("the list of jobs is none that this pipestate writes")
    return names
