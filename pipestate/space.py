"""How much room a store takes, and giving back what nobody can ask for any more.

    Meter.fit ─── fit, after a part of the bound was written
    fit ─── reclaim, with fewer and fewer records a step, until the store is small enough
    reclaim ─── the log of each job is cut ── what no run names any more is swept

A log is cut after the oldest of the newest `keep_runs` runs of a step; what was before is folded
into one pipe. What a job holds in force is never given up, whatever the bound. Safe beside kernels
at work: a commit that wants what was swept says so and nothing of it is kept (`Index.commit`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from .errors import StoreError
from .pipe.history import KEPT, fold
from .record import Digest, Pipe, Record, Run
from .store import upkeep
from .store.folder import Store
from .store.standing import Moved
from .store.upkeep import Swept

LOG: Final = 1000
"""How many runs of a job are kept at most: those that only restored something cost room too."""


class Reclaimed(Struct, frozen=True):
    """What was given back: lines of history, and what a sweep took."""

    runs: int
    swept: Swept


def reclaim(store: Store, *, keep_runs: int = KEPT, dry_run: bool = False) -> Reclaimed:
    """Keep the newest `keep_runs` records of each step and what is in force; remove the rest.

    With `dry_run` nothing is removed, only counted. Raises StoreError, and keeps all that it cannot
    read about, where the store is damaged.
    """
    index, count = store.index, 0
    if dry_run:
        cuts = [_Cut.of(store, job, keep_runs) for job in index.jobs()]
        wanted = {digest for cut in cuts for digest in cut.wanted()}
        swept = upkeep.sweep(store, lambda: wanted, dry_run=True)
        return Reclaimed(sum(len(cut.gone) for cut in cuts), swept)
    for job in index.jobs():
        count += _trim(store, job, keep_runs)
    return Reclaimed(count, upkeep.sweep(store))


class Fitted(Struct, frozen=True):
    """The bytes that a store had, and those that it has."""

    before: int
    after: int


def fit(store: Store, max_bytes: int, *, keep_runs: int = KEPT) -> Fitted:
    """Reclaim until the store has no more than `max_bytes`, if that can be."""
    keep, before = keep_runs, upkeep.size(store)
    after = before
    while after > max_bytes and keep:
        reclaim(store, keep_runs=keep)
        after, keep = upkeep.size(store), keep // 2
    return Fitted(before, after)


_PART: Final = 64
"""A store is measured again when a 64th of its bound was written: that looks at all its files."""


class Meter(Struct):
    """Has a store keep to a bound while it is written to; it counts what was written since the
    store was last measured, None where it has not been."""

    unmeasured: int | None = None

    def fit(
        self, store: Store, records: Iterable[Record], max_bytes: int, *, keep_runs: int = KEPT
    ) -> Fitted | None:
        """Reclaim space, where the store has outgrown the bound, now that records were kept; None
        where there is no bound, or it is not time to look."""
        if not max_bytes:
            return None
        if self.unmeasured is not None:
            self.unmeasured += sum(blob.nbytes for record in records for blob in record.blobs)
            if self.unmeasured < max_bytes // _PART:
                return None
        self.unmeasured = 0
        return fit(store, max_bytes, keep_runs=keep_runs)

    def heed(self, store: Store, records: Iterable[Record], max_bytes: int) -> str:
        """`fit`, for who has nobody to tell: why the bound is not kept to, "" where it is."""
        try:
            fitted = self.fit(store, records, max_bytes)
        except StoreError as error:
            return f"no space could be reclaimed: {error}"
        if fitted is None or fitted.after <= max_bytes:
            return ""
        return (
            f"the store {store.path} has {fitted.after} bytes, more than max_bytes ({max_bytes}), "
            "and all of it is in force; delete steps that you do not need"
        )


class _Cut(Struct, frozen=True):
    """A job's log in two: the runs that go, and the pipe after them, which the others follow."""

    base: Pipe
    gone: Sequence[Run]
    runs: Sequence[Run]
    pipe: Pipe

    @classmethod
    def of(cls, store: Store, job: str, keep_runs: int) -> _Cut:
        """The log of a job as it stands, cut where no more than `keep_runs` runs of a step
        come after."""
        # In this order: a log that is cut between the two looks has the same end.
        runs, base = store.index.runs(job), store.index.base(job)
        runs = [run for run in runs if run.number > base.number]
        at = _first_kept(runs, keep_runs, base.heads)
        pipe = fold(base, runs, keep=keep_runs)
        kept = {digest for records in pipe.kept.values() for digest in records}
        base = fold(base, runs[:at], keep=keep_runs)
        at_hand = {s: tuple(d for d in many if d in kept) for s, many in base.kept.items()}
        return cls(base.replace(kept=at_hand), runs[:at], runs[at:], pipe)

    def wanted(self) -> Iterator[Digest]:
        """The records that are named once it is made."""
        yield from upkeep.named(self.base)
        yield from upkeep.named(self.pipe)
        for run in self.runs:
            yield from upkeep.named(run)


def _first_kept(runs: Sequence[Run], keep_runs: int, heads: Mapping[str, Digest]) -> int:
    """Where the part of a log begins before which no step needs more than its record in force: the
    oldest of the newest `keep_runs` is in force in the pipe that the part starts from. `heads` are
    those before all of `runs`."""
    newest: dict[str, dict[Digest, int]] = {}
    for at in range(len(runs) - 1, max(-1, len(runs) - 1 - LOG), -1):
        run = runs[at]
        if run.record is None or run.event not in ("ran", "set"):
            continue
        seen = newest.setdefault(run.step, {})
        if run.record not in seen and len(seen) == keep_runs:
            return list(seen.values())[-1] + 1
        seen.setdefault(run.record, at)
    full = [
        list(seen.values())[-1] + 1
        for step, seen in newest.items()
        if len(seen) == keep_runs and heads.get(step) not in (None, *seen)
    ]
    return max(0, len(runs) - LOG, *full)


def _trim(store: Store, job: str, keep_runs: int) -> int:
    while True:
        cut = _Cut.of(store, job, keep_runs)
        try:
            if cut.base.kept or cut.gone:
                store.index.trim(job, cut.base, cut.pipe)
        except Moved:
            continue
        return len(cut.gone)
