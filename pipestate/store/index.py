"""The index: records, the log of runs of each job, small blobs; one commit is one transaction.

A job is a log, as in jj: its state is the fold of its runs (`pipestate.pipe.history`), and now and
then the folded pipe is kept beside the log, so that opening folds few runs however long it grew.
Nothing here knows values, files of blobs, or what a run means.

Rows are kept by diskcache (SQLite in WAL mode, many processes at once). Their keys are

    job/<job>             last number, first number kept, number and size of the snapshot
    run/<job>/<number>    Run.to_bytes()
    pipe/<job>            Pipe.to_bytes(), the snapshot
    record/<digest>       Record.to_bytes(); the digest is that of these bytes
    blob/<digest>         a small blob
    stamp/<digest>        the state of a blob's file when its content was last proved
    jobs                  the names of the jobs, as JSON

and every value is one byte of row format (1), 16 bytes of BLAKE3 over key and payload, the payload.
A row that was cut, altered or put under another key is a DamageError, never an answer; another
format byte is a FormatError. A signed row will be a format of its own, with a keyed hash.

Only `str` keys and `bytes` values go in and out: nothing in the index can make Python unpickle.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import diskcache
from blake3 import blake3

from ..errors import DamageError, FormatError, StoreError
from ..record import Digest, Pipe, Record, Run
from .faults import busy, from_sqlite, told

TIMEOUT_SECONDS: Final = 120.0

_FORMAT = b"\x01"
_JOB = struct.Struct("<5Q")
_SETTINGS: Mapping[str, Any] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "size_limit": 1 << 62,
    "sqlite_synchronous": 1,
    # A mapped database that is cut short ends the process by SIGBUS; a read one is an error.
    "sqlite_mmap_size": 0,
}


class Moved(StoreError):  # noqa: N818 (an answer to look again by, more than a fault)
    """Somebody else has committed to the job since: nothing was written. `last` is its number."""

    def __init__(self, job: str, last: int) -> None:
        super().__init__(f"job {job!r} has moved on to run {last}", "look again and commit anew")
        self.last = last


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """Rows of `str` keys and `bytes` values, all inside the database; anything else is refused.

    A plain Disk unpickles a row whose `mode` column says so, and opens the file that its
    `filename` column names: whoever can write to the index could then run code here.
    """

    def put(self, key: object) -> tuple[str, bool]:
        """The key as it is."""
        if type(key) is not str:
            raise TypeError("keys of the index are str")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """The key that `put` gave."""
        if type(key) is not str or not raw:
            raise DamageError("the index has a key that pipestate did not write")
        return key

    def store(
        self, value: object, read: object, key: object = None
    ) -> tuple[int, int, None, bytes]:
        """The columns of a row that holds `value`."""
        if type(value) is not bytes or read:
            raise TypeError("values of the index are bytes")
        return 0, diskcache.core.MODE_RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: object, read: object) -> bytes:
        """The value of a row that `store` made."""
        if mode != diskcache.core.MODE_RAW or type(value) is not bytes:
            raise DamageError("the index has a row that pipestate did not write")
        return value

    def remove(self, file_path: str) -> None:
        """Refuse: no row of ours has a file."""
        raise DamageError(f"the index names a file ({file_path}) that pipestate did not write")


class _JobRow(NamedTuple):
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
        """Whether to keep the pipe anew: so rarely that all the snapshots together cost about what
        the runs cost, and so often that no opening folds more than 256 runs."""
        since = self.last - self.snapshot
        return since >= 256 or (since >= 16 and self.grown >= self.nbytes // 4)


def digest_of(record: bytes) -> Digest:
    """The digest that names a record's bytes."""
    return blake3(record).hexdigest(length=20)


@dataclass(frozen=True)
class Index:
    """The index in the folder `path`. It is made at the first write; until then it is empty.

    `prepare` is called before it is made. Safe for threads and processes; a forked child opens
    the database anew.

    commit -> _transaction -> _commit_rows -> _set
    tail -> last, snapshot, runs
    """

    path: Path
    durable: bool = False
    prepare: Callable[[], None] = lambda: None
    _open: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    # --- a job's log

    def jobs(self) -> list[str]:
        """The jobs of the store, in the order of their first commits."""
        data = self._get("jobs")
        return [] if data is None else [str(job) for job in json.loads(data)]

    def last(self, job: str) -> int:
        """The number of the job's last run; 0 before the first."""
        return self._job(job).last

    def runs(self, job: str, since: int = 0) -> list[Run]:
        """The kept runs of a job with a number above `since`, in order."""
        row = self._job(job)
        return self._runs(job, max(since + 1, row.first), row.last)

    def snapshot(self, job: str) -> Pipe | None:
        """The pipe as it was folded at some number not long ago, or None."""
        data = self._get(f"pipe/{_quoted(job)}")
        return None if data is None else Pipe.from_bytes(data)

    def tail(self, job: str, known: Pipe | None = None) -> tuple[Pipe, list[Run]]:
        """A pipe to start from and the runs to fold onto it: the job as it stands now.

        Starts from `known`, a pipe read earlier, where the log still leads on from it; then it
        costs one look at the index when nothing happened since.
        """
        row = self._job(job)
        if known is not None and row.first - 1 <= known.number <= row.last:
            return known, self._runs(job, known.number + 1, row.last)
        pipe = self.snapshot(job)
        if pipe is None or not row.first - 1 <= pipe.number:
            pipe = Pipe(job, row.first - 1)
        return pipe, self._runs(job, pipe.number + 1, row.last)

    def record(self, digest: Digest) -> Record:
        """The record of that digest. Raises DamageError when it is missing or altered."""
        return Record.from_bytes(self.record_bytes(digest))

    def record_bytes(self, digest: Digest) -> bytes:
        """The bytes of a record, verified."""
        data = self._get(f"record/{digest}")
        if data is None:
            raise DamageError(f"record {digest[:12]} is missing from the store")
        if digest_of(data) != digest:
            raise DamageError(f"record {digest[:12]} is not the one that was put there")
        return data

    def blob(self, digest: Digest) -> bytes | None:
        """A small blob, or None; its content is for the caller to verify."""
        return self._get(f"blob/{digest}")

    def stamp(self, digest: Digest) -> bytes | None:
        """What `remember` was given for a blob's file, or None."""
        return self._get(f"stamp/{digest}")

    def remember(self, digest: Digest, stamp: bytes) -> None:
        """Note the state in which a blob's file was proved. It saves time only: never an error."""
        # The store may be full or read-only, and whoever reads from it can do without.
        with contextlib.suppress(StoreError), self._transaction() as rows:
            self._set(rows, f"stamp/{digest}", stamp)

    # --- writing

    def commit(
        self,
        job: str,
        *,
        expected: int,
        run: Run,
        records: Mapping[Digest, bytes] = {},
        blobs: Mapping[Digest, bytes] = {},
        stamps: Mapping[Digest, bytes] = {},
        pipe: Pipe | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Append `run`, number `expected` + 1, with all that it needs, in one transaction.

        Either all of it is visible afterwards, to everybody, or nothing is. Raises Moved when the
        job's last number is not `expected`. `pipe` is the fold that includes `run`; it is kept
        when a snapshot is due, so pass it whenever you have it. `ready` is called inside the
        transaction, before anything is written; what it raises ends it.
        """
        if run.job != job or run.number != expected + 1:
            raise ValueError(f"run {run.number} of {run.job!r} does not follow {job!r} {expected}")
        data = run.to_bytes()
        self._make()
        with self._transaction() as rows:
            row = self._job_in(rows, job)
            if row.last != expected:
                raise Moved(job, row.last)
            ready()
            for kind, many in (("blob", blobs), ("stamp", stamps), ("record", records)):
                for digest, payload in many.items():
                    self._set(rows, f"{kind}/{digest}", payload)
            self._set(rows, _run_key(job, run.number), data)
            row = row._replace(last=run.number, grown=row.grown + len(data))
            if pipe is not None and row.is_due:
                kept = pipe.to_bytes()
                self._set(rows, f"pipe/{_quoted(job)}", kept)
                row = row._replace(snapshot=pipe.number, grown=0, nbytes=len(kept))
            self._set(rows, f"job/{_quoted(job)}", _JOB.pack(*row))
            if row.first == row.last:
                self._list(rows, job)

    def drop_job(self, job: str) -> None:
        """Forget a job and its runs. Its numbers go on, so that no old pipe fits a new job."""
        with self._transaction() as rows:
            row = self._job_in(rows, job)
            for number in range(row.first, row.last + 1):
                rows.delete(_run_key(job, number))
            rows.delete(f"pipe/{_quoted(job)}")
            if row.last:
                gone = _JobRow(last=row.last + 1, first=row.last + 2, snapshot=row.last + 1)
                self._set(rows, f"job/{_quoted(job)}", _JOB.pack(*gone))
            self._list(rows, job, gone=True)

    # --- rows

    def _runs(self, job: str, first: int, last: int) -> list[Run]:
        found = []
        for number in range(first, last + 1):
            data = self._get(_run_key(job, number))
            if data is None:
                if self._job(job).first > number:  # dropped while we were reading
                    return []
                raise DamageError(f"run {number} of job {job!r} is missing from the store")
            found.append(Run.from_bytes(data))
        return found

    def _job(self, job: str) -> _JobRow:
        return _job_row(self._get(f"job/{_quoted(job)}"))

    def _job_in(self, rows: Any, job: str) -> _JobRow:
        key = f"job/{_quoted(job)}"
        return _job_row(_unsealed(key, rows.get(key)))

    def _list(self, rows: Any, job: str, *, gone: bool = False) -> None:
        data = _unsealed("jobs", rows.get("jobs"))
        jobs = [one for one in (json.loads(data) if data else []) if one != job]
        self._set(rows, "jobs", json.dumps(jobs if gone else [*jobs, job]).encode())

    def _set(self, rows: Any, key: str, payload: bytes) -> None:
        data = _FORMAT + _seal(key, payload) + payload
        if rows.get(key) != data:
            rows.set(key, data)

    def _get(self, key: str) -> bytes | None:
        rows = self._rows()
        if rows is None:
            return None
        with told(self.path):
            return _unsealed(key, rows.get(key))

    # --- the database

    @property
    def is_there(self) -> bool:
        """Whether the index has been made."""
        return os.path.exists(f"{self.path}/cache.db")

    def _make(self) -> None:
        if not self.is_there:
            self.prepare()
            self._connect()

    def _rows(self) -> Any:
        """The open database, or None where there is none. One that was deleted under us is gone."""
        try:
            inode = os.stat(f"{self.path}/cache.db").st_ino
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"the store {self.path} cannot be read ({error.strerror})") from error
        if self._open.get("inode") == inode:
            return self._open["rows"]
        return self._connect()

    def _connect(self) -> Any:
        with self._lock, told(self.path):
            self.close()
            rows = diskcache.Cache(
                str(self.path), timeout=TIMEOUT_SECONDS, disk=BytesDisk, **_SETTINGS
            )
            self._open.update(rows=rows, inode=os.stat(f"{self.path}/cache.db").st_ino)
            return rows

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """All that is set in the block is visible at its end, or, after any error, none of it."""
        rows = self._rows()
        if rows is None:
            raise StoreError(f"there is no store at {self.path}")
        with self._lock, told(self.path):
            try:
                if self.durable:
                    rows.reset("sqlite_synchronous", 2, update=False)
                with rows.transact():
                    yield rows
            except diskcache.Timeout as error:
                rows.close()
                reason = error.__context__
                if isinstance(reason, sqlite3.Error):
                    raise from_sqlite(reason, self.path) from error
                raise busy(self.path) from error
            except Moved:
                raise
            except BaseException:
                # A COMMIT that failed leaves the transaction open; closing rolls it back.
                rows.close()
                raise

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        rows = self._open.pop("rows", None)
        self._open.clear()
        if rows is not None:
            rows.close()


def _quoted(job: str) -> str:
    """A job's name in keys: as it is where that is plain, else percent-quoted; never ambiguous."""
    if job.isprintable() and "%" not in job and "/" not in job:
        return job
    return quote(job, safe="", errors="surrogatepass")


def _run_key(job: str, number: int) -> str:
    return f"run/{_quoted(job)}/{number:012}"


def _job_row(data: bytes | None) -> _JobRow:
    if data is None:
        return _JobRow()
    if len(data) != _JOB.size:
        raise FormatError("a job row of another length than this pipestate writes")
    return _JobRow(*_JOB.unpack(data))


def _seal(key: str, payload: bytes) -> bytes:
    return blake3(key.encode() + b"\0" + payload).digest(length=16)


def _unsealed(key: str, data: bytes | None) -> bytes | None:
    if data is None:
        return None
    if data[:1] != _FORMAT:
        raise FormatError(
            f"row {key[:60]!r} has format {data[:1].hex() or 'none'}, this pipestate reads 01",
            "a newer pipestate may have written it",
        )
    payload = data[17:]
    if _seal(key, payload) != data[1:17]:
        raise DamageError(f"row {key[:60]!r} of the index is damaged")
    return payload
