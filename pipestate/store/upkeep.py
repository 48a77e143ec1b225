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

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from msgspec import Struct

from ..errors import DamageError, FormatError, StoreError, TrustError
from ..record import NO_RECORD, Blob, Digest, Pipe, Run
from . import salvage
from .folder import Store
from .index import SIGNED, Index

T = TypeVar("T")


class Swept(Struct, frozen=True):
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

    def remove() -> Swept:
        records = wanted_records(index) if wanted is None else wanted()
        keep = {blob.digest for one in records for blob in _blobs_of(index, one)}
        dead = [one for one in _suffixes(index, "record") if one not in records]
        rows = [one for one in _suffixes(index, "blob") if one not in keep]
        bundles, outside, moved = _bundles(store, keep, dry_run=dry_run)
        stamps = [one for one in _suffixes(index, "stamp") if one not in keep | bundles]
        nbytes = sum(len(row) for row in index.blobs(rows).values())
        if not dry_run:
            gone = (("record", dead), ("blob", rows), ("stamp", stamps), ("in", outside))
            for kind, names in gone:
                for name in names:
                    index.rows.delete(f"{kind}/{name}")
        count, freed = store.blobs.sweep(keep | bundles, dry_run=dry_run)
        return Swept(len(dead), len(rows) + count, nbytes + freed - moved)

    return index.rows.transact(remove)


def _bundles(
    store: Store, keep: set[Digest], *, dry_run: bool
) -> tuple[set[Digest], list[Digest], int]:
    """The bundles to keep, the blobs that lie in none of them any more, and the bytes of those that
    have files of their own instead: what is wanted of a bundle that is mostly garbage."""
    places = store.index.places(_suffixes(store.index, "in"))
    wanted: dict[Digest, list[Blob]] = {}
    for digest in keep & places.keys():
        blob = Blob(digest, places[digest].nbytes)
        wanted.setdefault(places[digest].file, []).append(blob)
    bundles, outside, moved = set[Digest](), [one for one in places if one not in keep], 0
    for name, some in wanted.items():
        nbytes = sum(blob.nbytes for blob in some)
        is_kept = 2 * nbytes >= store.bundles.files.size(name)
        if is_kept or not (dry_run or _taken_out(store, some)):
            bundles.add(name)
        else:
            outside += [blob.digest for blob in some]
            moved += nbytes
    return bundles, outside, moved


def _taken_out(store: Store, some: list[Blob]) -> bool:
    """Give blobs of a bundle files of their own; False where not all of them could have one."""
    try:
        for blob in some:
            view = store.bundles.map_all([blob])[0]
            if store.blobs.put(view, digest=blob.digest) != blob:
                return False
    except (StoreError, KeyError):
        return False
    store.bundles.forget(blob.digest for blob in some)
    return True


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
    for job in dict.fromkeys((*index.jobs(), *index.found_jobs())):
        for one in index.written(job):
            found.update(named(one))
    return found


def verify(store: Store, progress: Callable[[str], None] = lambda text: None) -> list[str]:
    """Check every row, every signature and every byte: a line for each thing that is wrong, with
    the steps that it touches. `progress` is told now and then how far it is."""
    index, problems = store.index, _Problems()
    keys = problems.tried(index.rows.keys) or []
    for at, key in enumerate(keys):
        if at % 100 == 0:
            progress(f"checked {at} of {len(keys)} rows")
        problems.tried(partial(index.rows.row, key))
    owners = _owners(index, problems)
    for key in keys:
        problems.tried(partial(_check_head, index, key), *owners.get(key.partition("/")[2], ()))
    blobs: dict[Blob, list[str]] = {}
    for digest, steps in sorted(owners.items()):
        record = problems.tried(partial(index.record, digest), *steps)
        for blob in record.blobs if record else ():
            blobs.setdefault(blob, []).extend(steps)
    for at, (blob, steps) in enumerate(blobs.items()):
        progress(f"checked {at} of {len(blobs)} blobs")
        problems.tried(partial(check, store, blob), *steps)
    return list(problems)


def _owners(index: Index, problems: _Problems) -> dict[Digest, list[str]]:
    """The records that the kept runs of all jobs name, and the steps that each is of."""
    jobs = problems.tried(index.found_jobs) or []
    if jobs and problems.tried(index.jobs) == []:
        problems.add("the list of jobs is missing from the store")
    owners: dict[Digest, list[str]] = {}
    for job in jobs:
        for digest, step in _owned(index, job, problems):
            owners.setdefault(digest, []).append(f"{step} of job {job}")
    return owners


def _owned(index: Index, job: str, problems: _Problems) -> Iterator[tuple[Digest, str]]:
    """The records that a job's kept runs name, each with a step that it is of."""
    row = problems.tried(partial(index.job, job))
    if row and row.snapshot >= row.first and not index.has_snapshot(job):
        problems.add(f"the snapshot of job {job!r} is missing from the store")
    pipes = [problems.tried(partial(read, job)) for read in (index.base, index.snapshot)]
    for pipe in pipes:
        yield from ((digest, step) for step, digest in (pipe.heads if pipe else {}).items())
    for run in problems.tried(partial(salvage.runs, index, job)) or ():
        if run.event == "damaged":
            problems.add(run.reason, f"all of job {job}")
        yield from ((digest, step) for step, digest in run.heads.items() if digest)
        yield from ((digest, run.step or "a name") for digest in named(run))
    for digest in (digest for pipe in pipes for digest in named(pipe)):
        yield digest, "a name"


def _check_head(index: Index, key: str) -> None:
    if key.partition("/")[0] not in SIGNED:
        return
    row = index.rows.row(key)
    flaw = index.trust.flaw(key, row.payload, row.head) if row else ""
    if flaw:
        raise TrustError(f"row {key[:60]!r}: {flaw}")


def check(store: Store, blob: Blob) -> None:
    """Read every byte of a blob; raises DamageError unless they are those that were put there."""
    if store.has_row(blob):
        store.map(blob)
    elif not store.bundles.check(blob):
        store.blobs.check(blob)


def signers(index: Index) -> dict[str, int]:
    """The public keys that say they signed rows, each with how many. Goes over all rows."""
    found: dict[str, int] = {}
    for key in index.rows.keys(""):
        if key.partition("/")[0] in SIGNED:
            with contextlib.suppress(DamageError, FormatError):
                row = index.rows.row(key)
                name = row.head[:32].hex() if row else ""
                found[name] = found.get(name, 0) + 1
    return found


class _Problems:
    """The faults met so far, in order, each once, with the steps that it touches."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, None]] = {}

    def tried(self, read: Callable[[], T], *steps: str) -> T | None:
        try:
            return read()
        except StoreError as error:
            self.add(error.message, *steps)
            return None

    def add(self, message: str, *steps: str) -> None:
        self._lines.setdefault(message, {}).update(dict.fromkeys(steps))

    def __iter__(self) -> Iterator[str]:
        for message, steps in self._lines.items():
            yield f"{message} (touches {', '.join(steps)})" if steps else message


def _blobs_of(index: Index, record: Digest) -> tuple[Blob, ...]:
    try:
        return index.record(record).blobs
    except DamageError:
        return ()  # it can never be loaded again, and neither can what it alone named


def named(one: Pipe | Run | None) -> Iterator[Digest]:
    """The records that a pipe or a run names."""
    if one is None:
        return
    meant = (meaning.record for meaning in one.meanings.values() if meaning)
    at_hand = (
        (record for many in one.kept.values() for record in many) if isinstance(one, Pipe) else ()
    )
    own = (one.record,) if isinstance(one, Run) else at_hand
    for record in (*one.heads.values(), *meant, *own):
        if record and not record.startswith(NO_RECORD):
            yield record


def _suffixes(index: Index, kind: str) -> list[str]:
    return [key.removeprefix(f"{kind}/") for key in index.rows.keys(f"{kind}/")]
