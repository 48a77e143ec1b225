"""Where a job stands in the index: five numbers, which every commit to it rewrites."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from ..errors import DamageError, FormatError

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
