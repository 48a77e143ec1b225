"""Looking after a store: check every byte, and reclaim what no run names any more.

Both go over the whole store and take their time. What is wanted is what the kept runs of the jobs
name (their records, heads and meanings), and what those records hold; to reclaim more, runs are
trimmed first (`pipestate.space`). Knows nothing of values.

A sweep holds off commits from its first look to its last removal, and a commit looks whether what
it put is still there, so a blob is never removed from under a record. Dead records go in the
transaction and files are removed before it ends: killed between the two, a sweep leaves dead
records without their blobs, which the next one takes, and `verify` does not mind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..errors import DamageError, StoreError
from ..record import Blob, Digest, Pipe, Run
from .folder import ROW, Store
from .index import Index

T = TypeVar("T")


@dataclass(frozen=True)
class Swept:
    """What a sweep removed: records, blobs (small ones and leftovers too), bytes of blobs."""

    records: int = 0
    blobs: int = 0
    nbytes: int = 0


def sweep(
    store: Store, wanted: Callable[[], set[Digest]] | None = None, *, dry_run: bool = False
) -> Swept:
    """Remove records and blobs that no kept run names. Raises StoreError, and removes nothing,
    when what is wanted cannot be read.

    `wanted` is asked, while nobody commits, for the records to keep, where they are not those of
    `wanted_records`. With `dry_run` it is only counted what would go.
    """
    index = store.index
    if not index.rows.is_there:
        return Swept()
    with index.rows.transaction():
        records = wanted_records(index) if wanted is None else wanted()
        keep = {blob.digest for one in records for blob in _blobs_of(index, one)}
        dead = [one for one in _suffixes(index, "record") if one not in records]
        rows = [one for one in _suffixes(index, "blob") if one not in keep]
        stamps = [one for one in _suffixes(index, "stamp") if one not in keep]
        nbytes = sum(len(row) for row in index.blobs(rows).values())
        if not dry_run:
            for kind, names in (("record", dead), ("blob", rows), ("stamp", stamps)):
                for name in names:
                    index.rows.delete(f"{kind}/{name}")
        count, freed = store.blobs.sweep(keep, dry_run=dry_run)
    return Swept(len(dead), len(rows) + count, nbytes + freed)


def size(store: Store) -> int:
    """The bytes of all files of the store. Costs a look at each."""
    return sum(
        os.stat(os.path.join(folder, file)).st_size
        for folder, _, files in os.walk(store.path)
        for file in files
        if os.path.exists(os.path.join(folder, file))
    )


def wanted_records(index: Index) -> set[Digest]:
    """The records that the kept runs of all jobs name, and those at hand to be restored."""
    found: set[Digest] = set()
    for job in index.jobs():
        pipe, snapshot = index.base(job), index.snapshot(job)
        for one in (pipe, snapshot, *index.runs(job)):
            found.update(named(one))
    return found


def verify(store: Store) -> list[str]:
    """Check every row and every byte: a line for each thing that is wrong."""
    index, problems = store.index, _Problems()
    for key in problems.tried(index.rows.keys) or ():
        problems.tried(partial(index.rows.get, key))
    wanted: set[Digest] = set()
    for job in problems.tried(index.jobs) or ():
        pipes = (problems.tried(partial(read, job)) for read in (index.base, index.snapshot))
        runs = problems.tried(partial(index.runs, job)) or ()
        for one in (*pipes, *runs):
            wanted.update(named(one))
    records = [problems.tried(partial(index.record, one)) for one in sorted(wanted)]
    for blob in {blob.digest: blob for one in records if one for blob in one.blobs}.values():
        problems.tried(partial(check, store, blob))
    return list(problems.lines)


def check(store: Store, blob: Blob) -> None:
    """Read every byte of a blob; raises DamageError unless they are those that were put there."""
    if blob.nbytes >= ROW:
        store.blobs.check(blob)
    else:
        store.map(blob)


class _Problems:
    """The faults met so far, in order, each once."""

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}

    def tried(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except StoreError as error:
            self.lines[error.message] = None
            return None


def _blobs_of(index: Index, record: Digest) -> tuple[Blob, ...]:
    try:
        return index.record(record).blobs
    except DamageError:
        return ()  # it can never be loaded again, and neither can what it alone named


def named(one: Pipe | Run | None) -> Iterator[Digest]:
    """The records that a pipe or a run names."""
    if one is None:
        return
    yield from (record for record in one.heads.values() if record)
    yield from (meaning.record for meaning in one.meanings.values() if meaning)
    if isinstance(one, Pipe):
        yield from (record for records in one.kept.values() for record in records)
    elif one.record:
        yield one.record


def _suffixes(index: Index, kind: str) -> list[str]:
    return [key.removeprefix(f"{kind}/") for key in index.rows.keys(f"{kind}/")]
