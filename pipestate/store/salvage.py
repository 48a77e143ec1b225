"""A job as far as its rows can be read and believed: damage costs what it hit, and never the job.

The strict readers of `index` raise at the first row that is missing or altered. Here such a row
becomes a part of the answer: a run that cannot be read is a run `damaged`, after which nothing
before it is taken for granted; a record that cannot be read, or that nobody has signed whom the
user trusts, is one with a flaw and without anything to load. So a step is stale and says why, the
value of a name is made again, and no older value takes the place of one that is lost.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterable, Mapping, Sequence, Set

import msgspec

from .. import encoding
from ..errors import DamageError, FormatError, StoreError
from ..record import NO_RECORD, Digest, Pipe, Record, Run, Version
from .entries import digest_of
from .folder import Store
from .garbage import gc_paused
from .index import Index

encoding.prepare(dict[str, Record], dict[str, msgspec.Raw])

_LOST = (DamageError, FormatError)

_AT_ONCE = 500
"""How many records are asked for at once; where one is damaged, they are asked for one by one."""


def tail(index: Index, job: str, known: Pipe | None = None) -> tuple[Pipe, list[Run]]:
    """`Index.tail`, with runs `damaged` for what cannot be read.

    Raises StoreError where nothing can be read, and TrustError as `Index.tail` does.
    """
    try:
        return index.tail(job, known)
    except _LOST:
        return _tail(index, job, known)


def _tail(index: Index, job: str, known: Pipe | None) -> tuple[Pipe, list[Run]]:
    row = index.standing(job)
    news: list[Run] = []
    pipe = known
    if pipe is None or not row.first - 1 <= pipe.number <= row.last:
        pipe = _snapshot(index, job)
    if pipe is None or not row.first - 1 <= pipe.number <= row.last:
        pipe = _base(index, job, row.first - 1)
        if pipe is None:
            pipe = Pipe(job, row.first - 1)
            news.append(_damaged(job, pipe.number, f"the base of job {job!r} is damaged"))
    return pipe, [*news, *_runs(index, job, pipe.number + 1, row.last)]


def _base(index: Index, job: str, number: int) -> Pipe | None:
    try:
        pipe = index.base(job)
    except _LOST:
        return None
    return pipe if pipe.number == number else None


def runs(index: Index, job: str) -> list[Run]:
    """`Index.runs`, with runs `damaged` for what cannot be read."""
    try:
        return index.runs(job)
    except _LOST:
        row = index.standing(job)
        return _runs(index, job, row.first, row.last)


def number_of(index: Index, job: str, digest: Digest, started: float) -> int:
    """The number of the run that left a record, which `started` then; 0 where none is kept.

    Runs follow each other in time, so it is looked for there first: a log may have 100,000.
    """
    row = index.standing(job)
    numbers = range(row.first, row.last + 1)
    at = bisect.bisect_left(numbers, started, key=lambda number: _started(index, job, number))
    near = numbers[max(0, at - 64) : at + 64]
    for some in (near, numbers):  # a clock may have been set back
        if some:
            for run in _runs_of(index, job, some[0], some[-1]):
                if run.record == digest and run.event in ("ran", "set"):
                    return run.number
    return 0


def _started(index: Index, job: str, number: int) -> float:
    return next((run.started for run in _runs_of(index, job, number, number)), 0.0)


def _runs_of(index: Index, job: str, first: int, last: int) -> list[Run]:
    """The runs of these numbers that can be read."""
    try:
        return index.some_runs(job, first, last)
    except _LOST:
        return [run for run in _runs(index, job, first, last) if run.event != "damaged"]


def _snapshot(index: Index, job: str) -> Pipe | None:
    try:
        return index.snapshot(job)
    except _LOST:
        return None  # the runs tell the same


def _runs(index: Index, job: str, first: int, last: int) -> list[Run]:
    """The runs of these numbers; those that are missing in a row are one, with the last number."""
    found: list[Run] = []
    for number in index.numbers(job):
        if first <= number <= last:
            found += _gap(job, first, number - 1)
            try:
                found.append(index.run(job, number))
            except _LOST as error:
                found.append(_damaged(job, number, error.message))
            first = number + 1
    return found + _gap(job, first, last)


def _gap(job: str, first: int, last: int) -> list[Run]:
    if first > last:
        return []
    reason = f"run {last} of job {job!r} is missing from the store"
    return [_damaged(job, last, reason)]


def _damaged(job: str, number: int, reason: str) -> Run:
    return Run(number, job, "", "damaged", reason=reason)


# --- records


def record(store: Store, pipe: Pipe, digest: Digest) -> Record:
    """A record; one with a flaw, of which nothing can be loaded, where it is not to be had.

    With `strict`, raises TrustError for one that nobody has signed whom the user trusts.
    """
    if digest.startswith(NO_RECORD):
        return _stand_in(pipe, digest, digest.partition(": ")[2])
    try:
        return _believed(store, *store.index.judged(digest))
    except _LOST as error:
        return _stand_in(pipe, digest, error.message)


def records(store: Store, pipe: Pipe, digests: Sequence[Digest]) -> dict[Digest, Record]:
    """As `record`, for many: asked for at once, they cost a third of what they cost one by one."""
    found: dict[Digest, Record] = {}
    known = [digest for digest in digests if not digest.startswith(NO_RECORD)]
    with gc_paused():
        for start in range(0, len(known), _AT_ONCE):
            some = known[start : start + _AT_ONCE]
            try:
                judged = store.index.judged_many(some)
            except _LOST:  # one of them: which it is, each of them says
                found.update((one, record(store, pipe, one)) for one in some)
            else:
                found.update((one, _believed(store, *said)) for one, said in judged.items())
    return found


def noted(store: Store, job: str, digests: Set[Digest]) -> dict[Digest, Record]:
    """Those of the records that a process of this user's has noted: what `records` gives, in a
    third of the time. None of them where one is not there any more."""
    with gc_paused():
        known: dict[Digest, Record] = {}
        try:
            for data in store.index.notes.heads(job):
                known |= encoding.from_bytes(dict[str, Record], data)
            wanted = known.keys() & digests
            if not store.index.has_records(wanted):
                return {}
        except _LOST:  # as any note that cannot be used: each is looked at
            return {}
        return {
            digest: one if one.ambient is None else _believed(store, one, "")
            for digest, one in known.items()
            if digest in wanted
        }


def note(
    store: Store,
    pipe: Pipe,
    found: Mapping[Digest, Record],
    known: Set[Digest] | None = None,
    made: Mapping[Digest, bytes] = {},
) -> Set[Digest]:
    """Note the records in force, those that can be believed; gives all that are noted then.

    `known` are those that are, where the caller knows it, and `made` the bytes of some. Only the
    others are written, and now and then all: once a third of what is noted is in force no more, or
    one of them is lost.
    """
    wanted = dict.fromkeys(pipe.heads.values())
    lost = {digest for digest, record in found.items() if record.flaw}
    with gc_paused():
        known = {*_raw(store, pipe.job)} if known is None else known
        if known and not known & lost and 3 * len(known - wanted.keys()) <= len(wanted):
            added = _written(found, (one for one in wanted if one not in known), made)
            if added:
                store.index.notes.note_heads(pipe.job, encoding.to_bytes(added), by=pipe.number)
            return known | added.keys()
        earlier = _raw(store, pipe.job) if known else {}
        kept = {one: earlier[one] for one in wanted if one in earlier and one not in lost}
        kept |= _written(found, (one for one in wanted if one not in kept), made)
        store.index.notes.note_heads(pipe.job, encoding.to_bytes(kept))
        return {*kept}


def _raw(store: Store, job: str) -> dict[Digest, msgspec.Raw]:
    """What is noted of the records of a job, as far as it can be read."""
    found: dict[Digest, msgspec.Raw] = {}
    for data in store.index.notes.heads(job):
        with contextlib.suppress(FormatError):
            found |= encoding.from_bytes(dict[str, msgspec.Raw], data)
    return found


def _written(
    found: Mapping[Digest, Record], digests: Iterable[Digest], made: Mapping[Digest, bytes]
) -> dict[Digest, msgspec.Raw]:
    """The bytes of records; of none that is not as it was read, or not to be believed."""
    written: dict[Digest, msgspec.Raw] = {}
    for digest in digests:
        data = made.get(digest)
        if data is None:
            one = found.get(digest)
            data = one.to_bytes() if one is not None and not one.flaw else b""
            if digest_of(data) != digest:
                continue
        written[digest] = msgspec.Raw(data)
    return written


def _believed(store: Store, found: Record, flaw: str) -> Record:
    flaw = flaw or _lost_settings(store, found)
    return _barred(found, flaw) if flaw else found


def _lost_settings(store: Store, one: Record) -> str:
    """What is wrong with the settings of the process that a run left; they are put back without a
    name that a cell would have to say first, so they are looked at before the step is judged."""
    if one.ambient is not None:
        try:
            store.map_all(one.ambient.blobs)
        except StoreError as error:
            return error.message
    return ""


def _barred(one: Record, flaw: str) -> Record:
    """A record to look at: what can be loaded, run, shown or written is taken out of it."""
    return one.replace(
        outputs=tuple(_lost(version, flaw) for version in one.outputs),
        givens=tuple(_lost(version, flaw) for version in one.givens),
        displays=None,
        ambient=None,
        moved={},
        files_read=(),
        files_written=(),
        files_before={},
        session=(),
        flaw=flaw,
    )


def _lost(version: Version, flaw: str) -> Version:
    return version.replace(
        kind="lost",
        stream=None,
        buffers=(),
        source="",
        needs={},
        reads=(),
        writes=(),
        flaw=flaw,
        mutable=True,
    )


def _stand_in(pipe: Pipe, digest: Digest, flaw: str) -> Record:
    """What the pipe says of a record that is gone: whose it was, and which names it gave."""
    step = next((step for step, head in pipe.heads.items() if head == digest), "")
    outputs: list[Version] = []
    givens: list[Version] = []
    for name, meaning in pipe.meanings.items():
        if meaning.record == digest:
            lost = Version("lost", meaning.digest, {name: meaning.digest}, flaw=flaw)
            (outputs if meaning.maker else givens).append(lost)
    made = tuple(name for version in outputs for name in version.names)
    return Record(
        step, "", "", outputs=tuple(outputs), givens=tuple(givens), made=made, bound=made, flaw=flaw
    )
