"""What a user's processes note beside the index, to save time.

Each note is under a keyed hash, so that only they believe it. One that is lost, damaged or somebody
else's is worked out anew.

    stamp/<digest>        the state of a blob's file when its content was last proved
    told/<job>            what was told of a job, in a state of it that has a mark
    heads/<job>           records in force, together: many rows take longer to read than one
    heads/<job>/<number>  those of them that came by the run of this number
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from msgspec import Struct

from ..errors import StoreError
from ..record import Digest
from .rows import Rows, key_of
from .trust import PROOF, Trust


class Notes(Struct, frozen=True):
    """The notes in these rows.

    proved, remember -> stamps       files of blobs
    tell -> told                     a job
    note_heads -> heads              records of a job
    """

    rows: Rows
    trust: Trust

    def stamps(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """What was given to `remember`, or stood with a commit, for the files of blobs."""
        try:
            found = self.rows.get_many([f"stamp/{digest}" for digest in digests])
        except StoreError:
            return {}  # a damaged stamp proves nothing: the file is hashed, and stamped again
        return {
            key.removeprefix("stamp/"): data[PROOF:]
            for key, data in found.items()
            if self.trust.is_proved(key, data[:PROOF], data[PROOF:])
        }

    def proved(self, digest: Digest, stamp: bytes) -> bytes:
        """The payload of a stamp's row."""
        return self.trust.prove(f"stamp/{digest}", stamp) + stamp

    def remember(self, digest: Digest, stamp: bytes) -> None:
        """Note the state in which a blob's file was proved."""
        self._note(f"stamp/{digest}", self.proved(digest, stamp), stamp)

    def told(self, job: str, mark: Digest) -> bytes | None:
        """What `tell` noted of this state of a job, where a process of this user's did, and trusted
        the same keys."""
        return self._noted(key_of("told", job), bytes.fromhex(mark))

    def tell(self, job: str, mark: Digest, data: bytes) -> None:
        """Note what was told of a job."""
        self._note_about(key_of("told", job), bytes.fromhex(mark), data)

    def heads(self, job: str) -> list[bytes]:
        """What was noted of the records of a job, from the first to the last, as `told` gives what
        `tell` did."""
        found = map(self._noted, self._heads(job))
        return [data for data in found if data is not None]

    def note_heads(self, job: str, data: bytes, *, by: int = 0) -> None:
        """Note records of a job, as they were judged: those that came `by` a run, beside what is
        noted, or, without one, all there are, in its place."""
        key = key_of("heads", job)
        if by:
            self._note_about(f"{key}/{by:012}", b"", data)
        else:
            self._note_about(key, b"", data, gone=self._heads(job)[1:])

    def keys(self, job: str) -> list[str]:
        """The keys of what is noted of a job."""
        return [key_of("told", job), *self._heads(job)]

    def _heads(self, job: str) -> list[str]:
        key = key_of("heads", job)
        with contextlib.suppress(StoreError):
            return [key, *self.rows.keys(f"{key}/")]
        return [key]

    def _noted(self, key: str, about: bytes = b"") -> bytes | None:
        with contextlib.suppress(StoreError):
            noted = self.rows.get(key) or b""
            data = noted[PROOF:]
            if self.trust.is_proved(key, noted[:PROOF], about, self.trust.state(), data):
                return data
        return None

    def _note_about(self, key: str, about: bytes, data: bytes, gone: Sequence[str] = ()) -> None:
        self._note(key, self.trust.prove(key, about, self.trust.state(), data) + data, data, gone)

    def _note(self, key: str, proved: bytes, bare: bytes, gone: Sequence[str] = ()) -> None:
        """Never an error, nothing inside a transaction, and nothing where there is no key."""

        def write() -> None:
            self.rows.set(key, proved)
            for one in gone:
                self.rows.delete(one)

        if not self.rows.is_writing and len(proved) > len(bare):
            # The store may be full or read-only, and whoever reads from it can do without.
            with contextlib.suppress(StoreError):
                self.rows.transact(write)
