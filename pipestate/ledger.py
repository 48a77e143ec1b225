"""A job as one process knows it: its runs folded into a `Pipe`, and the verb that adds a run.

The kernel and the plain `Job` both stand on it. It knows the store and the fold; it does not know
values, names in a namespace, or why a step is stale.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from msgspec import Struct, field

from .errors import DamageError, StoreError
from .pipe import history
from .pipe.folding import Folding
from .record import Blob, Digest, Pipe, Record, Run, Version, Waiting
from .setting import Make, setting
from .store import clerk, salvage
from .store.faults import busy_here
from .store.folder import Batch, Store
from .store.frames import Frame, Standing
from .store.index import Mark
from .store.standing import Moved, Overtaken, Taken

MANY: Final = 500
"""Where so many records had to be read, they are noted together for the next process."""

SMALL: Final = 16 << 10
"""The bytes that a value has at most which waits in the journal."""

FULL: Final = 1 << 20
"""The bytes that wait there at most, or it is not put off any longer."""


class Ledger(Struct):
    """The runs of one job, and its state after them; threads may share it.

    What the fold, the mark and the news say belongs together: they change under the store's lock.
    """

    store: Store
    job: str
    _folding: Folding
    records: dict[Digest, Record] = field(default_factory=dict)
    news: list[Run] = field(default_factory=list)
    keep_runs: int = history.KEPT
    mark: Mark = None
    stood: tuple[int, ...] = ()
    """The store that all this was read from, by its `identity`."""
    noted: Set[Digest] | None = None
    """The records in force that are known to be noted together; None before the first look."""
    is_anew: bool = False
    """Whether another store has come into its place since, or none; for who looks to set back."""

    @classmethod
    def open(cls, store: Store, job: str, *, keep_runs: int = history.KEPT) -> Ledger:
        """The job as it stands in the store; an empty one where it has never been written.

        `keep_runs` is how many records of a step are at hand to be restored.
        """
        ledger = cls._opened(store, job, keep_runs)
        ledger.refresh()
        ledger.news.clear()
        return ledger

    @classmethod
    def _opened(cls, store: Store, job: str, keep_runs: int) -> Ledger:
        ledger = cls(store, job, Folding(Pipe(job)), keep_runs=keep_runs)
        with store.index.lock:
            ledger._look()
        ledger.news.clear()
        ledger.is_anew = False
        return ledger

    @property
    def pipe(self) -> Pipe:
        """The job as it stands. Costs a copy of what was changed since somebody asked last."""
        known = self._folding.settled
        if known is not None:
            return known
        with self.store.index.lock:
            return self._folding.pipe()

    def _fold(self, pipe: Pipe, runs: Sequence[Run]) -> None:
        self._folding = Folding(history.fold(pipe, runs, keep=self.keep_runs) if runs else pipe)

    def refresh(self) -> None:
        """Take up what other processes have added since; `take_news` says what it was.

        Where the store was deleted or replaced, what was known of it is forgotten: `is_anew`.
        Raises StoreError where it cannot be read, and in a signal's handler that strikes while what
        was set before is being committed.
        """
        rows = self.store.index.rows
        if not rows.is_held:
            self._take_in()  # first: what others have taken in by then is seen by the look
            with rows.lock:
                self._look()
        elif not rows.is_writing:
            if self.store.journal.nbytes:  # else nobody has to be let in
                rows.let_in(self._take_in)
            self._look()
        elif self.store.journal.nbytes:
            # In a transaction of its own a thread would read what may not stay.
            raise busy_here(self.store.path)

    def _look(self) -> None:
        stands = self.store.identity()
        is_other = stands is not None and stands != self.stood
        if is_other and self._folding.number:
            self._begin_anew()
        self.stood = self.stood if stands is None else stands
        if is_other and self.is_anew:
            return
        mark = self.store.index.mark()
        is_known = mark is not None or not self._folding.number  # without an index there is nothing
        if mark == self.mark and is_known and not is_other:
            return
        # Nothing is no pipe to start from: there is a snapshot of all but the last runs.
        start = Pipe(self.job, self._folding.number) if self._folding.number else None
        pipe, runs = salvage.tail(self.store.index, self.job, start)
        known = None if pipe is start else self.pipe
        if known is None:
            self._folding.add(runs, keep=self.keep_runs)
        else:
            self._fold(pipe, runs)
        self.news.extend(runs)
        self.mark = mark
        if known is not None:
            self._note_jump(known)

    def _note_jump(self, known: Pipe) -> None:
        """What names mean now is news too where runs were not read one by one: the log was cut
        beyond what was known of it, or was folded anew."""
        now, then = self.pipe.meanings, known.meanings
        moved = {name: now.get(name) for name in {**then, **now} if now.get(name) != then.get(name)}
        if moved:
            self.news.append(Run(self.pipe.number, self.job, "", "noted", meanings=moved))

    def _begin_anew(self) -> None:
        known, self.mark = self.pipe, None
        self._fold(*salvage.tail(self.store.index, self.job))
        if self.pipe != known:  # a copy of the same store is no other one
            self.records.clear()
            self.news.clear()
            self.noted, self.is_anew = None, True

    @property
    def is_current(self) -> bool:
        """Whether nobody else has added to the job since the last look."""
        index = self.store.index
        if self.store.journal.nbytes:
            return False
        return index.mark() == self.mark or index.last(self.job) == self._folding.number

    def reread(self) -> None:
        """Forget what is remembered of the store, for some of it was removed: fold it anew."""
        with self.store.index.lock:
            self._look()
            self.records.clear()
            known = self.pipe
            self._fold(*salvage.tail(self.store.index, self.job))
            self._note_jump(known)

    def take_news(self) -> list[Run]:
        """The runs of others that were taken up since the last call, here or while committing."""
        with self.store.index.lock:
            news, self.news = self.news, []
        return news

    def record(self, digest: Digest) -> Record:
        """A record by its digest; one with a flaw where it cannot be read, or is not trusted."""
        record = self.records.get(digest)
        if record is None:
            record = salvage.record(self.store, self.pipe, digest)
            self._hold({digest: record})
        return record

    def read_heads(self) -> int:
        """Read all records in force that are not in memory, for who is going to look at each; says
        how many there were."""
        pipe = self.pipe
        heads = {*pipe.heads.values()} - self.records.keys()
        noted = salvage.noted(self.store, self.job, heads) if len(heads) >= MANY else {}
        rest = heads - noted.keys()
        self._hold({**noted, **salvage.records(self.store, pipe, sorted(rest))})
        if len(rest) >= MANY:
            self.noted = salvage.note(self.store, pipe, self.records)
        return len(heads)

    def read(self, steps: Iterable[str]) -> None:
        """Read the records in force for these steps together, for who is going to look at each."""
        heads = {head for step in steps if (head := self.head_of(step))} - self.records.keys()
        if len(heads) > 1:
            self._hold(salvage.records(self.store, self.pipe, sorted(heads)))

    def _hold(self, found: Mapping[Digest, Record]) -> None:
        """Remember records; the oldest are forgotten, lest a server that never ends grow with all
        that it ever set."""
        with self.store.index.lock:
            self.records.update(found)
            over = len(self.records) - 1000
            over -= (1 + self.keep_runs) * self.steps if over > 0 else 0
            for digest in list(itertools.islice(self.records, max(0, over))):
                del self.records[digest]

    def runs(self) -> list[Run]:
        """The kept runs of the job, as far as they can be read."""
        return salvage.runs(self.store.index, self.job)

    def number_of(self, record: Digest) -> int:
        """The number of the run that left a record; 0 where that is not kept any more."""
        started = self.record(record).started
        return salvage.number_of(self.store.index, self.job, record, started)

    def head(self, step: str) -> Record | None:
        """The record in force for a step."""
        digest = self.head_of(step)
        return self.record(digest) if digest else None

    def head_of(self, step: str) -> Digest | None:
        """The digest of the record in force for a step; asking costs the same in every job."""
        with self.store.index.lock:
            return self._folding.head(step)

    @property
    def steps(self) -> int:
        """How many steps have a record in force."""
        with self.store.index.lock:
            return self._folding.steps

    def batch(self) -> Batch:
        """A unit of work: blobs are put into it, `commit` makes them visible together."""
        return self.store.batch()

    def fetch(self, blobs: Sequence[Blob]) -> list[memoryview]:
        """The bytes of blobs, mapped copy-on-write."""
        return self.store.map_all(blobs)

    def commit(
        self,
        make: Make,
        *,
        record: Record | None = None,
        batch: Batch | None = None,
    ) -> Run:
        """Add one run, with its record and blobs, in one transaction.

        `make` gives the run once the record's digest is known; its number and job are filled in
        here. Where another process was faster, its runs are taken up first and the number is moved.
        """
        return self.commit_all([(make, record)], batch=batch)[0]

    def commit_all(
        self, entries: Sequence[tuple[Make, Record | None]], *, batch: Batch | None = None
    ) -> list[Run]:
        """Add several runs, each with its record, as `commit` adds one: all of them or none."""
        if not self.store.index.rows.is_held:
            self._take_in()  # what was set before
        return self._commit_all(entries, batch or self.batch())

    def _commit_all(
        self,
        entries: Sequence[tuple[Make, Record | None]],
        batch: Batch,
        taken: Taken | None = None,
    ) -> list[Run]:
        kept = [batch.record(record) if record is not None else None for _, record in entries]
        made = [make(digest) for (make, _), digest in zip(entries, kept, strict=True)]
        written = batch.records
        with self.store.index.lock:
            runs, snapshot = self._add(made, kept, batch, taken)
            records = [record for _, record in entries]
            self._hold({d: r for d, r in zip(kept, records, strict=True) if d and r is not None})
            if snapshot is not None and len(snapshot.heads) >= MANY:
                self.noted = salvage.note(self.store, snapshot, self.records, self.noted, written)
        return runs

    def _add(
        self, made: list[Run], kept: list[Digest | None], batch: Batch, taken: Taken | None
    ) -> tuple[list[Run], Pipe | None]:
        """Commit runs, after whatever others have added by then, and take them up; gives them, and
        the job after them where it was kept with them."""
        while True:
            if self.store.identity() not in (None, self.stood):
                self._look()
            if self.is_anew:
                both = zip(made, kept, strict=True)
                made = [_here(run, digest, self.pipe) for run, digest in both]
            runs = [
                run.replace(number=number, job=self.job, started=run.started or time.time())
                for number, run in enumerate(made, self._folding.number + 1)
            ]
            after = _After(self._folding, runs, self.keep_runs)
            try:
                mark = batch.commit(*runs, pipe=after, taken=taken)
            except Moved:
                self._look()
                continue
            if not self.stood:  # it has just been made
                self.stood = self.store.identity() or ()
            after.stand()
            self.mark = mark  # last: after an interrupt in between, the runs are looked for
            return runs, after.made

    # --- what scripts set, one value after the other ---------------------------------------------

    def set_later(self, step: str, version: Version, batch: Batch) -> bool:
        """Write a small value into the journal, which the next look takes in, or else somebody in a
        moment; False where it cannot be, and is to be committed."""
        blobs = batch.rows(version.blobs)
        is_small = len(blobs) == len(version.blobs) and sum(map(len, blobs)) <= SMALL
        if not is_small or self.store.index.rows.durable:
            return False
        waiting = Waiting(self.job, step, time.time(), version)
        waits = self.store.journal.add(waiting, blobs, stood=self.stood)
        if waits > FULL and not self.store.index.rows.is_held:
            with contextlib.suppress(StoreError):  # the value is safe; who looks next is told
                clerk.do(self._take_in_unasked)
        elif waits:
            clerk.soon(id(self), self._take_in_unasked)
        return waits > 0

    def _take_in(self) -> None:
        """Commit what waits in the journal, of whatever job it is, where no handler strikes."""
        if self.store.journal.nbytes or self.store.journal.fault:
            with self.store.index.lock:
                self._look()  # another store may stand there
            clerk.do(self._take_in_here)

    def _take_in_here(self, *, is_asked: bool = True) -> None:
        try:
            self.store.journal.take(self._take, is_asked=is_asked)
        finally:
            if clerk.is_here():
                self.store.index.rows.leave()

    def _take_in_unasked(self) -> None:
        self._take_in_here(is_asked=False)

    def _take(self, frames: Sequence[Frame]) -> bool:
        """Commit what waits of each job; whether that could be done for all. What is wrong with
        another job is said to who looks at that one."""
        by_job: dict[str, list[Frame]] = {}
        for frame in frames:
            by_job.setdefault(frame.waiting.job, []).append(frame)
        is_all = True
        for job, some in sorted(by_job.items(), key=lambda one: one[0] != self.job):
            if job == self.job:
                self.news.extend(self.commit_frames(some))
                continue
            try:
                Ledger._opened(self.store, job, self.keep_runs).commit_frames(some)
            except StoreError:
                is_all = False
        return is_all

    def commit_frames(self, frames: Sequence[Frame]) -> list[Run]:
        """Add the runs of values that waited, those of a journal that are of this job, but for what
        the index knows already."""
        index, user = self.store.index, self.store.journal.user
        while True:
            known = index.taken(self.job, user)
            last = Standing.from_bytes(known)
            some = [frame for frame in frames if frame.at.is_past(last)]
            if not some:
                return []
            with self.batch() as batch:
                batch.put_rows({name: row for one in some for name, row in one.blobs.items()})
                values = [one.waiting for one in some]
                self.read(one.step for one in values)
                entries = [self.setting(one.step, one.version, one.started) for one in values]
                taken = Taken(user, known, some[-1].at.to_bytes())
                try:
                    return self._commit_all(entries, batch, taken)
                except Overtaken:
                    continue

    def setting(self, step: str, version: Version, started: float = 0.0) -> tuple[Make, Record]:
        """The record that a value leaves, and the run that puts it in force."""
        return setting(step, version, self.head(step), started)

    # --- looking back ----------------------------------------------------------------------------

    def definition(self, name: str, digest: Digest) -> Version | None:
        """A version of a name that some record at hand holds, by the digest of the name alone."""
        kept = (record for records in self.pipe.kept.values() for record in records)
        for one in dict.fromkeys((*self.pipe.heads.values(), *kept)):
            record = self.record(one)
            for version in (*record.outputs, *record.givens):
                if version.names.get(name) == digest and not record.flaw:
                    return version
        return None

    def is_same_object(self, name: str, digest: Digest, held_by: Digest) -> bool:
        """Whether a record holds of a name what had this digest, changed in place since."""
        record: Record | None = self.record(held_by) if held_by else None
        for _ in range(len(self.pipe.heads) + 1):
            if record is None or name in record.bound:
                return False
            before = next((i.whole for i in record.inputs if i.path.name == name), "")
            if before == digest:
                return True
            record = next(
                (
                    one
                    for head in self.pipe.heads.values()
                    if (version := (one := self.record(head)).version_of(name)) is not None
                    and version.names[name] == before
                ),
                None,
            )
        return False

    def giver(self, name: str, maker: str, digest: Digest) -> str:
        """The step that gave a name the value which it has in a record of `maker`. Others only
        carry it along, for what they made shares objects with it."""
        record = self.record(digest) if digest else None
        for _ in range(len(self.pipe.heads)):
            version = record.version_of(name) if record is not None else None
            if record is None or version is None or name in record.bound:
                break
            given = next((one for one in record.inputs if one.path.name == name), None)
            if given is None or not given.maker or version.names[name] != given.whole:
                break
            maker, record = given.maker, self.head(given.maker)
        return maker

    def candidates(self, step: str) -> Iterable[tuple[Digest, Record]]:
        """Earlier records of a step that may be restored: the one in force, then the newest."""
        head = self.pipe.heads.get(step)
        if head:
            yield head, self.record(head)
        for digest in self.pipe.kept.get(step, ())[: self.keep_runs]:
            if digest == head:
                continue
            try:
                record = self.record(digest)
            except DamageError:
                continue  # another process has reclaimed its space
            yield digest, record


class _After:
    """A fold with some more runs, which is made when it is asked for, and stands once they do."""

    def __init__(self, folding: Folding, runs: Sequence[Run], keep: int) -> None:
        self._folding, self._runs, self._keep = folding, runs, keep
        self.made: Pipe | None = None

    def __call__(self) -> Pipe:
        self.made = self._folding.after(self._runs, keep=self._keep)
        return self.made

    def stand(self) -> None:
        """The runs have been committed."""
        if self.made is not None:
            self._folding.go_on(self.made)
        else:
            self._folding.add(self._runs, keep=self._keep)


def _here(run: Run, record: Digest | None, pipe: Pipe) -> Run:
    """A run without what it says of a store that is gone: it is written into another one."""
    known = {*pipe.order, run.step}
    order = run.order and tuple(step for step in run.order if step in known)
    meanings = {n: m for n, m in run.meanings.items() if m is None or m.record == record}
    return run.replace(order=order, meanings=meanings)
