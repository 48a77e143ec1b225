"""The index: records, small blobs, and a log of runs for each job; one commit is one transaction.

A job is a log, as in jj: its state is the fold of its runs (`pipestate.pipe.history`), and now and
then the folded pipe is kept beside the log, so that opening folds few runs however long it grew.
Nothing here knows values, files of blobs, or what a run means. The keys of the rows are

    job/<job>             last number, first number kept, number and size of the snapshot
    run/<job>/<number>    Run.to_bytes()
    pipe/<job>            Pipe.to_bytes(), the snapshot
    base/<job>            Pipe.to_bytes() before the first run that is kept, where some were trimmed
    record/<digest>       Record.to_bytes(); the digest is that of these bytes
    blob/<digest>         a small blob
    in/<digest>           the bundle that a blob lies in, and where (`bundles.Place`)
    taken/<job>/<user>    the number of what was taken last from the user's journal (`journal`)
    stamp, told, heads    see `notes`
    jobs                  the names of the jobs, as JSON

A job that is dropped leaves its row, so that its numbers go on: a pipe that somebody still holds
never fits a new job of that name.

Runs, pipes and records are signed, notes carry a keyed hash (see `trust`). Blobs
are named by digest in records; the rows `job` and `jobs` only say what there is, and can be made
again from the keys of the others.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from ..errors import DamageError, FormatError, StoreError
from ..record import NO_RECORD, Digest, Pipe, Record, Run
from .bundles import Place
from .entries import as_it_is, barred, fitting, whole
from .notes import Notes
from .rows import Row, Rows, key_of
from .standing import NEVER, JobRow, Moved, Overtaken, Taken, names_of
from .trust import Trust

SIGNED: Final = frozenset(("run", "pipe", "base", "record"))
"""The kinds of rows that are signed."""

Mark = tuple[int, ...] | None

After = Pipe | Callable[[], Pipe] | None
"""A job as runs leave it, or who makes it when it is wanted: most commits do not keep it."""


_AT_ONCE = 500
"""How many runs are asked for at once."""


def _nothing() -> None:
    return None


class Index(Struct, frozen=True, eq=False):
    """What the rows mean. It is made at the first commit; until then it reads as empty.

    `prepare` is called before each commit: it makes the store's folder, or refuses a newer one.

    commit -> Rows.transact -> _advanced
    tail -> job, snapshot, base, runs
    judged -> record, Trust.flaw
    """

    rows: Rows
    trust: Trust
    prepare: Callable[[], None] = _nothing

    @property
    def lock(self) -> threading.RLock:
        """What to hold, too, while something is changed that threads share and that stands for what
        is in the index: with a second lock, two threads could wait for each other."""
        return self.rows.lock

    @property
    def notes(self) -> Notes:
        """What this user's processes have noted beside it."""
        return Notes(self.rows, self.trust)

    # --- reading

    def jobs(self) -> list[str]:
        """The jobs of the store, in the order of their first commits."""
        data = self.rows.get("jobs")
        return [] if data is None else names_of(data)

    def found_jobs(self) -> list[str]:
        """The jobs, by their runs where the list of them is missing or damaged."""
        with contextlib.suppress(DamageError, FormatError):
            if jobs := self.jobs():
                return jobs
        quoted = (key.split("/")[1] for key in self.rows.keys("run/") if key.count("/") == 2)
        return list(dict.fromkeys(unquote(one, errors="surrogatepass") for one in quoted))

    def last(self, job: str) -> int:
        """The number of the job's last run; 0 before the first."""
        return self.job(job).last

    def mark(self) -> Mark:
        """What differs once anybody has committed anything, at a tenth of the cost of a look."""
        return self.rows.mark()

    def standing(self, job: str) -> JobRow:
        """Where the job stands, by its runs where its row is missing or damaged."""
        try:
            return self.job(job)
        except (DamageError, FormatError):
            numbers, base = self.numbers(job), 0
            with contextlib.suppress(DamageError, FormatError):
                kept = self._pipe(key_of("base", job))
                base = kept.number if kept else 0
            first, last = min(numbers, default=base + 1), max(numbers, default=base)
            # No snapshot, so that one is kept before long.
            return JobRow(last, first, grown=NEVER)

    def numbers(self, job: str) -> list[int]:
        """The numbers of the runs that there are rows of, in order. Goes over all rows."""
        prefix = key_of("run", job) + "/"
        keys = (key.removeprefix(prefix) for key in self.rows.keys(prefix))
        found = (int(key) for key in keys if len(key) < 20 and key.isascii() and key.isdecimal())
        return sorted(number for number in found if 0 < number < NEVER)

    def job(self, job: str) -> JobRow:
        """Where the job stands; the row of a new one where there is none."""
        data = self.rows.get(key_of("job", job))
        if data is None:
            if job not in self.jobs():
                return JobRow()
            data = self.rows.get(key_of("job", job))  # it may have been made between the two looks
            if data is None:
                raise DamageError(f"the row of job {job!r} is missing from the store")
        return JobRow.from_bytes(data, job)

    def runs(self, job: str, since: int = 0) -> list[Run]:
        """The kept runs of a job with a number above `since`, in order, as far as they are trusted:
        what nobody has signed whom the user trusts sets no source, no import and no meaning.

        Raises DamageError where one is missing or altered; with `strict`, TrustError.
        """
        while True:
            row = self.standing(job)
            found = self._runs(job, max(since + 1, row.first), row.last)
            if found is not None:
                return found

    def run(self, job: str, number: int) -> Run:
        """One run, as `runs` gives it."""
        found = self._runs(job, number, number)
        if found is None:
            raise DamageError(f"run {number} of job {job!r} is missing from the store")
        return found[0]

    def some_runs(self, job: str, first: int, last: int) -> list[Run]:
        """The runs of these numbers, as `runs` gives them; none where some were trimmed."""
        return self._runs(job, first, last) or []

    def snapshot(self, job: str) -> Pipe | None:
        """The pipe as it was folded at some number not long ago, or None; None too where it is not
        trusted, for the runs tell the same."""
        key = key_of("pipe", job)
        row = self.rows.row(key)
        if row is None or self.trust.flaw(key, row.payload, row.head):
            return None
        return Pipe.from_bytes(row.payload)

    def base(self, job: str) -> Pipe:
        """The pipe before the first run that is kept, as far as it is trusted: what history and
        checkout start from."""
        key = key_of("base", job)
        row = self.rows.row(key)
        if row is None:
            return self._no_base(job)
        pipe = Pipe.from_bytes(row.payload)
        flaw = self.trust.flaw(key, row.payload, row.head)
        return pipe.replace(seen={}, imports={}, meanings=barred(pipe, flaw)) if flaw else pipe

    def has_snapshot(self, job: str) -> bool:
        """Whether there is a row of a snapshot, whatever is in it."""
        try:
            return self.rows.row(key_of("pipe", job)) is not None
        except StoreError:
            return True

    def written(self, job: str) -> Iterator[Pipe | Run]:
        """The base, the snapshot and the runs of a job, whoever wrote them: to know what is wanted.

        Never fold them: what this user commits is signed in this user's name.
        """
        row = self.standing(job)
        yield self._pipe(key_of("base", job)) or self._no_base(job)
        snapshot = self._pipe(key_of("pipe", job))
        if snapshot is not None:
            yield snapshot
        yield from self._runs(job, row.first, row.last, as_it_is) or ()

    def tail(self, job: str, known: Pipe | None = None) -> tuple[Pipe, list[Run]]:
        """A pipe to start from and the runs to fold onto it: the job as it stands now.

        Starts from `known`, a pipe read earlier, where the log still leads on from it; then it
        costs one look at the index when nothing happened since. Trusted as far as `runs` are.
        """
        while True:
            row, pipe = self.job(job), known
            if pipe is None or not row.first - 1 <= pipe.number <= row.last:
                pipe = self.snapshot(job)
            if pipe is None or not row.first - 1 <= pipe.number <= row.last:
                pipe = self.base(job)
                if pipe.number != row.first - 1:
                    if self.job(job) != row:
                        continue
                    raise DamageError(f"the base of job {job!r} does not fit its runs")
            found = self._runs(job, pipe.number + 1, row.last)
            if found is not None:
                return pipe, found

    def record(self, digest: Digest) -> Record:
        """The record of that digest, whoever wrote it: to look at, not to load from. Raises
        DamageError when it is missing or altered."""
        return Record.from_bytes(self._record(digest).payload)

    def has_records(self, digests: Iterable[Digest]) -> bool:
        """Whether all of these records are there, whatever is in them."""
        return self.rows.are_there({f"record/{digest}" for digest in digests})

    def judged(self, digest: Digest) -> tuple[Record, str]:
        """A record, and why nothing of it may be loaded; "" where it is signed as it should be.
        Raises DamageError when it is missing or altered; with `strict`, TrustError."""
        return self._judged(digest, self._record(digest))

    def judged_many(self, digests: Sequence[Digest]) -> dict[Digest, tuple[Record, str]]:
        """What `judged` says of each of many records; raises what it raises for any of them."""
        rows = self.rows.many([f"record/{digest}" for digest in digests])
        return {
            digest: self._judged(digest, whole(digest, rows.get(f"record/{digest}")))
            for digest in digests
        }

    def _judged(self, digest: Digest, row: Row) -> tuple[Record, str]:
        flaw = self.trust.flaw(f"record/{digest}", row.payload, row.head)
        return Record.from_bytes(row.payload), flaw

    def _record(self, digest: Digest) -> Row:
        return whole(digest, self.rows.row(f"record/{digest}"))

    def blobs(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """Those of the small blobs that are there; their content is for the caller to verify."""
        return self._many("blob/", digests)

    def places(self, digests: Sequence[Digest]) -> dict[Digest, Place]:
        """Where those of the blobs lie that are in bundles, as far as it can be read."""
        try:
            found = self._many("in/", digests)
            return {digest: Place.from_bytes(data) for digest, data in found.items()}
        except (DamageError, FormatError):
            each = (self.places([digest]) for digest in digests) if len(digests) > 1 else ()
            return {digest: place for one in each for digest, place in one.items()}

    def bundled(self, most: int) -> frozenset[Digest] | None:
        """The blobs that are in bundles; None where they are more than so many."""
        found = self.rows.keys("in/", most + 1)
        return None if len(found) > most else frozenset(key.removeprefix("in/") for key in found)

    def _many(self, kind: str, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        found = self.rows.get_many([kind + digest for digest in digests])
        return {key.removeprefix(kind): data for key, data in found.items()}

    # --- writing

    def commit(
        self,
        job: str,
        *,
        expected: int,
        runs: Sequence[Run],
        records: Mapping[Digest, bytes] = {},
        blobs: Mapping[Digest, bytes] = {},
        stamps: Mapping[Digest, bytes] = {},
        places: Mapping[Digest, Place] = {},
        pipe: After = None,
        taken: Taken | None = None,
        ready: Callable[[], None] = _nothing,
    ) -> Mark:
        """Append `runs`, from number `expected` + 1 on, and all they need, in one transaction.

        Either all of it is visible afterwards, to everybody, or nothing is. Raises Moved when the
        job's last number is not `expected`. `pipe` is the fold that includes them, or makes it; it
        is kept when a snapshot is due, so pass it whenever you have it. `taken` says how far a
        journal is in the index then; raises Overtaken where it is further. `ready` is called inside
        the transaction, before anything is written; what it raises ends it. Raises DamageError
        where a record that a run puts in force is not there. Gives the mark of the moment after.
        """
        for number, run in enumerate(runs, expected + 1):
            if (run.job, run.number) != (job, number):
                raise ValueError(f"run {run.number} of {run.job!r} is not {number} of {job!r}")
        # Before the transaction, in which others wait.
        rows, grown = self._signed(job, runs, records)
        rows += [(f"blob/{name}", Row(data)) for name, data in blobs.items()]
        rows += [(f"stamp/{n}", Row(self.notes.proved(n, stamp))) for n, stamp in stamps.items()]
        rows += [(f"in/{name}", Row(place.to_bytes())) for name, place in places.items()]
        self.prepare()
        self.rows.make()

        def write() -> Mark:
            row = self.standing(job)
            if row.last != expected:
                raise Moved(job, row.last)
            ready()
            self._check_named(runs, records)
            if taken is not None:
                self._note_taken(job, taken)
            now = row._replace(last=expected + len(runs), grown=row.grown + grown)
            self.rows.set_many([*rows, *self._advanced(job, now, pipe)])
            if row.last < row.first:  # it has no runs, or none that are kept
                self._enlist(job)
            return self.mark()

        return self.rows.transact(write)

    def _signed(
        self, job: str, runs: Sequence[Run], records: Mapping[Digest, bytes]
    ) -> tuple[list[tuple[str, Row]], int]:
        """The rows of records and runs, and how many bytes the runs have."""
        logged = [(_run_key(job, run.number), run.to_bytes()) for run in runs]
        rows = [*((f"record/{digest}", data) for digest, data in records.items()), *logged]
        heads = self.trust.sign(rows)
        signed = [(key, Row(data, head)) for (key, data), head in zip(rows, heads, strict=True)]
        return signed, sum(len(data) for _, data in logged)

    def _check_named(self, runs: Sequence[Run], records: Mapping[Digest, bytes]) -> None:
        """A record may have been swept between the look at it and the commit that restores it."""
        named = {
            digest
            for run in runs
            for digest in (run.record, *run.heads.values())
            if digest and digest not in records and not digest.startswith(NO_RECORD)
        }
        there = self.rows.there([f"record/{digest}" for digest in named])
        gone = named - {key.removeprefix("record/") for key in there}
        if gone:
            raise DamageError(f"record {min(gone)[:12]} is missing from the store")

    def taken(self, job: str, user: str) -> bytes:
        """What was last taken from a user's journal into this job; b"" for nothing."""
        with contextlib.suppress(DamageError, FormatError):  # rather committed twice than lost
            return self.rows.get(_taken_key(job, user)) or b""
        return b""

    def _note_taken(self, job: str, taken: Taken) -> None:
        if self.taken(job, taken.user) != taken.before:
            raise Overtaken(job)
        self.rows.set(_taken_key(job, taken.user), taken.last)

    def trim(self, job: str, base: Pipe, pipe: Pipe) -> None:
        """Forget the runs up to `base.number`; history then begins after `base`. With a base where
        history begins already, only the base is replaced.

        `pipe` is the job as it stands; raises Moved when it has moved on since.
        """

        def write() -> None:
            row = self.job(job)
            if row.last != pipe.number:
                raise Moved(job, row.last)
            if not row.first - 1 <= base.number <= row.last:
                return
            for number in range(row.first, base.number + 1):
                self.rows.delete(_run_key(job, number))
            now = self._advanced(job, row._replace(first=base.number + 1), pipe, is_due=True)
            self.rows.set_many([self._signed_pipe(key_of("base", job), base), *now])

        self.rows.transact(write)

    def drop_job(self, job: str) -> None:
        """Forget a job and its runs. Nothing happens when there is none."""
        if job not in self.jobs():
            return

        def write() -> None:
            row = self.job(job)
            for number in range(row.first, row.last + 1):
                self.rows.delete(_run_key(job, number))
            taken = self.rows.keys(_taken_key(job, ""))
            for key in (key_of("pipe", job), *taken, *self.notes.keys(job)):
                self.rows.delete(key)
            # One number is skipped, so that not even the last pipe fits what comes next.
            gone = JobRow(last=row.last + 1, first=row.last + 2, snapshot=row.last + 1)
            base = self._signed_pipe(key_of("base", job), Pipe(job, gone.last))
            self.rows.set_many([(key_of("job", job), Row(gone.to_bytes())), base])
            self._list([one for one in self.jobs() if one != job])

        self.rows.transact(write)

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        self.rows.close()

    def _advanced(
        self, job: str, row: JobRow, pipe: After, *, is_due: bool = False
    ) -> list[tuple[str, Row]]:
        """The rows that say where a job stands, with a snapshot where one is due."""
        if pipe is None or not (is_due or row.is_due):
            return [(key_of("job", job), Row(row.to_bytes()))]
        pipe = pipe if isinstance(pipe, Pipe) else pipe()
        key, kept = self._signed_pipe(key_of("pipe", job), pipe)
        row = row._replace(snapshot=pipe.number, grown=0, nbytes=len(kept.payload))
        return [(key, kept), (key_of("job", job), Row(row.to_bytes()))]

    def _no_base(self, job: str) -> Pipe:
        """The base where there is no row of one: nothing, or, after runs were trimmed, damage."""
        if self.standing(job).first > 1:
            raise DamageError(f"the base of job {job!r} is missing from the store")
        return Pipe(job)

    def _enlist(self, job: str) -> None:
        try:
            jobs = self.jobs()
        except (DamageError, FormatError):
            jobs = [one for one in self.found_jobs() if one != job]
        if job not in jobs:
            self._list([*jobs, job])

    def _signed_pipe(self, key: str, pipe: Pipe) -> tuple[str, Row]:
        data = pipe.to_bytes()
        return key, Row(data, *self.trust.sign([(key, data)]))

    def _list(self, jobs: list[str]) -> None:
        self.rows.set("jobs", json.dumps(jobs).encode())

    def _pipe(self, key: str) -> Pipe | None:
        data = self.rows.get(key)
        return None if data is None else Pipe.from_bytes(data)

    def _runs(
        self, job: str, first: int, last: int, read: Callable[[str, Row], Run] | None = None
    ) -> list[Run] | None:
        """The runs of these numbers; None when some were trimmed or dropped meanwhile."""
        found, read = [], read or self._as_trusted
        for start in range(first, last + 1, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, last + 1))
            rows = self.rows.many([_run_key(job, number) for number in numbers])
            for number in numbers:
                key = _run_key(job, number)
                row = rows.get(key)
                if row is None:
                    if self.standing(job).first > number:
                        return None
                    raise DamageError(f"run {number} of job {job!r} is missing from the store")
                found.append(fitting(read(key, row), job, number))
        return found

    def _as_trusted(self, key: str, row: Row) -> Run:
        """A run, without what it may not set where nobody has signed it whom the user trusts."""
        run, flaw = Run.from_bytes(row.payload), self.trust.flaw(key, row.payload, row.head)
        if not flaw:
            return run
        return run.replace(seen=None, imports={}, meanings=barred(run, flaw))


def _taken_key(job: str, user: str) -> str:
    return f"{key_of('taken', job)}/{user}"


def _run_key(job: str, number: int) -> str:
    return f"{key_of('run', job)}/{number:012}"
