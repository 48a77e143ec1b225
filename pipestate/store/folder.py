"""A store: one folder with an index, blobs, a format number and a `.gitignore`.

This joins the two kinds of keeping: files for big blobs, rows of the index for small ones (a file
costs more than a small row, and rows come and go with the transaction). Nothing is on disk
until the first write, and a store that is not there reads as an empty one.

    with store.batch() as batch:
        stream = batch.put(data)                       # many times
        digest = batch.record(record)
        batch.commit(run, pipe=after(pipe, run))       # all or nothing; Moved: look again, retry
    memory = store.map(stream)
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from msgspec import Struct, field

from ..errors import DamageError, StoreError
from ..record import Blob, Digest, Record, Run
from . import folders, formats
from .blobs import Blobs, Verification
from .bundles import ALONE, Bundle, Bundles, Place
from .content import BIG, THREADED, Bytes, digest, flat
from .entries import digest_of
from .files import Missing
from .index import After, Index, Mark
from .journal import Journal
from .rows import Rows
from .standing import Taken
from .trust import Keys, Trust, keys_folder

ROW: Final = 64 << 10
"""Blobs from this size on are files; below it, rows of the index, but for what one commit has too
many of."""

ASKED: Final = 16
FEW: Final = 5000
"""After so many questions of one batch for single blobs, the index is asked once for all that are
in bundles, where they are no more than so many: it takes as long as a hundred questions."""

FULL: Final = 1 << 30
"""From this size on, a bundle takes no more: one that is mapped may have to fit into memory."""

WAITING: Final = 2 << 20
"""So many bytes of rows wait in memory for a commit; what more there is, a bundle takes in half the
time."""


def locate(store: str | Path | None = None, start: Path | None = None) -> Path:
    """The folder of the store: as said, else `$PIPESTATE_STORE`, else the nearest `.pipestate/`
    in `start` (the working directory) or above it, else a new one there. Makes nothing."""
    if store is None:
        store = os.environ.get("PIPESTATE_STORE") or None
    if store is not None:
        return folders.absolute(store, start)
    here = folders.absolute(".", start)
    for folder in (here, *here.parents):
        if os.path.isdir(f"{folder}/.pipestate"):
            return folder / ".pipestate"
    return here / ".pipestate"


def open_store(
    path: str | Path, *, durable: bool = False, verification: Verification = "on"
) -> Store:
    """The store in the folder `path`, made at its first write.

    `durable` has everything on the disk itself before a commit returns. `verification` says what is
    believed. `on`: what a trusted key has signed, and a blob's file is hashed once in each of its
    states. `strict`: anything else is an error, and files are hashed at every use. `off`: all is.
    Raises FormatError, and touches nothing, when a newer pipestate wrote the store.
    """
    path = folders.absolute(path)
    formats.check(path)
    trust = Trust(Keys(keys_folder()), verification)
    rows = _rows(path, durable)
    index = Index(rows, trust, lambda: formats.make(path, durable=durable))
    notes = index.notes
    blobs = Blobs(path / "blobs", durable, verification, notes.stamps, notes.remember)
    bundles = Bundles(blobs.files, verification, index.places, notes.stamps, notes.remember)
    return Store(path, blobs, bundles, index, Journal(path / "journal", trust, rows.lock))


@functools.lru_cache(maxsize=16)
def _rows(path: Path, durable: bool) -> Rows:
    """The database of a store, which all that use the store in this process share: opening one
    takes ten times as long as what is mostly asked of it."""
    return Rows(path / "index", durable, lock=_lock(path))


def _lock(path: Path) -> Any:
    """One lock for a store, also where it is used as durable and not, by two paths, or was
    forgotten above and is still in use: they share a journal."""
    return _locks.setdefault(os.path.realpath(path), threading.RLock())


_locks: dict[str, Any] = {}


class Store(Struct, frozen=True):
    """A folder on disk: what was put there, and the log of every job."""

    path: Path
    blobs: Blobs
    bundles: Bundles
    index: Index
    journal: Journal

    def batch(self) -> Batch:
        """What one run leaves, to be committed as one."""
        return Batch(self)

    def map(self, blob: Blob) -> memoryview:
        """The bytes of a blob as writable memory that never reaches the store.

        Raises DamageError when they are missing, cut short or altered.
        """
        return self.map_all([blob])[0]

    def map_all(self, blobs: Sequence[Blob]) -> list[memoryview]:
        """The bytes of each of the blobs, as `map` gives them; a hundred cost little more than one.

        Raises DamageError when any of them is missing, cut short or altered.
        """
        small = [blob.digest for blob in blobs if blob.nbytes < ROW]
        rows = self.index.blobs(small) if small else {}
        # Each has memory of its own, also where two are the same: a cell may write to either.
        found = {at: _row(blob, rows) for at, blob in enumerate(blobs) if blob.digest in rows}
        if len(found) < len(blobs):
            found |= _at(self._in_bundles, blobs, found)
        if len(found) < len(blobs):
            found |= _at(lambda some: dict(enumerate(self.blobs.map_all(some))), blobs, found)
        return [found[at] for at in range(len(blobs))]

    def _in_bundles(self, blobs: Sequence[Blob]) -> dict[int, memoryview]:
        try:
            return self.bundles.map_all(blobs)
        except DamageError:
            # What is damaged there may have been put again since, and have a file of its own.
            found = {at: self.blobs.has(blob) for at, blob in enumerate(blobs)}
            return _at(self.bundles.map_all, blobs, {at for at, has in found.items() if has})

    def has(self, blob: Blob) -> bool:
        """Whether the blob is there, as far as can be told without reading it."""
        return self.has_row(blob) or self.blobs.has(blob) or self.bundles.has(blob)

    def stands(self, blob: Blob) -> bool:
        """Whether the blob is there in a file, and whole."""
        return self.blobs.stands(blob) or self.bundles.stands(blob)

    def has_row(self, blob: Blob) -> bool:
        """Whether the blob is there as a row of the index."""
        return blob.nbytes < ROW and bool(self.index.blobs([blob.digest]))

    def make_folder(self) -> None:
        """Make the folder, if it is not there. Raises StoreError where that cannot be."""
        formats.make(self.path, durable=self.blobs.durable)

    def identity(self) -> tuple[int, ...] | None:
        """What differs where another store stands here, or none: then (); None where the folder
        cannot be looked into. Costs one look at a file."""
        return _identity(self.path)

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        self.index.close()
        self.journal.close()


def state(path: Path) -> tuple[object, ...]:
    """What differs where another store stands in a folder, or the user's keys have changed."""
    files = Keys(keys_folder()).files
    return (_identity(path), *files, *map(_state_of, files))


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        return _seen(os.stat(f"{path}/format"))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError:
        return None


def _state_of(path: str) -> tuple[int, ...]:
    try:
        return _seen(os.stat(path))
    except OSError:
        return ()


def _seen(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _at(
    read: Callable[[Sequence[Blob]], Mapping[int, memoryview]],
    blobs: Sequence[Blob],
    but: Container[int],
) -> dict[int, memoryview]:
    """What `read` gives of all blobs but some, by where they stand among all."""
    rest = [at for at in range(len(blobs)) if at not in but]
    return {rest[at]: view for at, view in read([blobs[at] for at in rest]).items()}


def _row(blob: Blob, rows: Mapping[Digest, bytes]) -> memoryview:
    data = rows[blob.digest]
    if len(data) != blob.nbytes or digest(data) != blob.digest:
        raise DamageError(f"blob {blob.digest[:12]} does not hold the bytes put there")
    return memoryview(bytearray(data))


class _Swept(StoreError):  # noqa: N818 (never leaves this module)
    """Files that were put are gone before they could be committed."""

    def __init__(self, blobs: list[Blob]) -> None:
        super().__init__("blobs were swept before they could be committed")
        self.blobs = blobs


class Batch(Struct):
    """What one run leaves: blobs and records put, and then visible by one `commit` or not at all.

    Files of blobs are written by `put`, and are garbage until a commit names them; small ones wait
    here. After Moved or another StoreError the batch can be committed again.

    put -> _into -> a bundle, or a file of its own
    commit -> _commit -> settle, Index.commit -> _ready; _put_again
    """

    store: Store
    _rows: dict[Digest, bytes] = field(default_factory=dict)
    _files: dict[Digest, tuple[Blob, Bytes | Callable[[], Bytes]]] = field(default_factory=dict)
    _records: dict[Digest, bytes] = field(default_factory=dict)
    _waiting: int = 0
    _alone: int = 0
    _asked: int = 0
    _bundled: frozenset[Digest] | None = None
    _bundle: Bundle | None = None
    _full: list[Bundle] = field(default_factory=list)
    _places: dict[Digest, Place] = field(default_factory=dict)
    _proofs: dict[Digest, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(
        self,
        data: Bytes,
        *,
        digest: Digest | None = None,
        ready: Callable[[], None] | None = None,
        again: Callable[[], Bytes] | None = None,
    ) -> Blob:
        """Keep bytes; `digest`, where known, saves hashing what the store has already.

        A thread may do it. `ready` is called when a file is written, and may raise to give it up.
        The bytes are held until the commit, unless they can be made `again`.
        """
        view = flat(data)
        if view.nbytes >= ROW or self._waiting + view.nbytes > WAITING:
            self._make_folder()
            into = self._into(data, view.nbytes)
            lies = self._lies
            elsewhere = (lambda one: one.digest in into.places or lies(one)) if into else lies
            put = self.store.blobs.put
            blob = put(view, digest=digest, ready=ready, into=into, elsewhere=elsewhere)
            self._files[blob.digest] = (blob, again or self._held(blob, data))
            return blob
        row = bytes(view[:])  # another thread may change it
        name = _digest(row)
        if name not in self._rows:
            self._rows[name] = row
            self._waiting += view.nbytes
        return Blob(name, view.nbytes)

    def put_rows(self, rows: Mapping[Digest, bytes]) -> None:
        """Keep what is known to be small blobs by these names, as `rows` gave them."""
        self._rows.update(rows)

    def _make_folder(self) -> None:
        if not self._files:  # the commit looks again
            self.store.make_folder()

    def _lies(self, blob: Blob) -> bool:
        """Whether a blob lies in a bundle already, whole. Who puts many would ask the index for
        each: after some it is asked for all that do, where they are few."""
        self._asked += 1
        if self._asked == ASKED:
            self._bundled = self.store.index.bundled(FEW)
        if self._bundled is not None and blob.digest not in self._bundled:
            return False
        return self.store.bundles.stands(blob)

    def _into(self, data: Bytes, nbytes: int) -> Bundle | None:
        """The bundle for a blob; None for one that has a file of its own: it is one of the first,
        so big that a file more is nothing, or to be had back before the commit (`_held`)."""
        if nbytes >= THREADED or (isinstance(data, bytes) and nbytes >= BIG):
            return None
        with self._lock:
            if self._bundle is None and self._alone < ALONE:
                self._alone += 1
                return None
            if self._bundle is not None and self._bundle.nbytes >= FULL:
                self._full.append(self._bundle)
                self._bundle = None
            self._bundle = self._bundle or self.store.bundles.begin(self.store.stands)
            return self._bundle

    def _held(self, blob: Blob, data: Bytes) -> Bytes:
        """What to write the file from, should it be swept: bytes made for it need not stay in
        memory, as a file that is mapped stays, too."""
        if isinstance(data, bytes) and blob.nbytes >= BIG:
            with contextlib.suppress(DamageError):
                return self.store.blobs.map(blob)
        return data

    @property
    def records(self) -> Mapping[Digest, bytes]:
        """The bytes of the records that wait here for the commit."""
        return dict(self._records)

    def record(self, record: Record) -> Digest:
        """Keep a record; its digest is what runs and meanings name it by."""
        data = record.to_bytes()
        name = digest_of(data)
        self._records[name] = data
        return name

    def rows(self, blobs: Sequence[Blob]) -> list[bytes]:
        """The bytes of blobs that wait here for the commit; none of them where one has a file."""
        found = [self._rows.get(blob.digest) for blob in blobs]
        return [data for data in found if data is not None] if None not in found else []

    def commit(self, *runs: Run, pipe: After = None, taken: Taken | None = None) -> Mark:
        """Append `runs` to their job with all that was put: visible as one, or not, after an error.

        They are numbered from one above the number of the pipe that they were decided on; raises
        Moved when the job has moved on since. `pipe` is the fold that includes them, `taken` what
        the index says of the journal then. Gives the index's mark.
        """
        try:
            return self._commit(runs, pipe, taken, self._ready)
        except _Swept as swept:
            self._put_again(swept.blobs)
            # Should it be swept once more, it is put while everybody waits.
            return self._commit(runs, pipe, taken, lambda: self._put_again(self._gone()))

    def _commit(
        self, runs: Sequence[Run], pipe: After, taken: Taken | None, ready: Callable[[], None]
    ) -> Mark:
        blobs = self.store.blobs
        self.settle()
        stamps = {
            name: stamp
            for name, (blob, _) in self._files.items()
            if (stamp := blobs.stamp(blob)) is not None
        }
        mark = self.store.index.commit(
            runs[0].job,
            expected=runs[0].number - 1,
            runs=runs,
            records=self._records,
            blobs=self._rows,
            stamps=stamps | self._proofs,
            places=self._places,
            pipe=pipe,
            taken=taken,
            ready=ready,
        )
        self.store.bundles.learn(self._places)
        self.discard()
        return mark

    def settle(self) -> None:
        """Nothing more is going to be put for a while: have all of it under its name."""
        with self._lock:
            bundles, self._full = [*self._full, *filter(None, [self._bundle])], []
            self._bundle = None
            self._asked, self._bundled = 0, None
        try:
            for bundle in bundles:
                if bundle.places:
                    # Without a proof: it was swept, and the commit puts again what lay in it.
                    with contextlib.suppress(Missing):
                        self._proofs[bundle.name] = self.store.bundles.close(bundle)
                        self._places |= bundle.places
        finally:
            for bundle in bundles:
                bundle.give_up()

    def _ready(self) -> None:
        """A sweep holds off commits, but may have come between put and commit."""
        gone = self._gone()
        if gone:
            raise _Swept(gone)

    def _gone(self) -> list[Blob]:
        """What was put and is not there. What lies in an older bundle does so only if the index
        says it now: a sweep forgets what nobody wants, also where the bundle stays."""
        if not self._files:  # as for most
            return []
        store, own = self.store, self._places
        put = (blob for blob, _ in self._files.values())
        rest = [blob for blob in put if blob.digest in own or not store.blobs.has(blob)]
        elsewhere = [blob.digest for blob in rest if blob.digest not in own]
        now = store.index.places(elsewhere) if elsewhere else {}
        store.bundles.forget(elsewhere)
        store.bundles.learn(now)
        places = {**now, **own}
        size = functools.cache(store.bundles.files.size)
        return [
            blob
            for blob in rest
            if (place := places.get(blob.digest)) is None
            or place.nbytes != blob.nbytes
            or size(place.file) < place.at + place.nbytes
        ]

    def _put_again(self, gone: list[Blob]) -> None:
        for blob in gone:
            _, held = self._files[blob.digest]
            if self.store.blobs.put(held() if callable(held) else held) != blob:
                raise StoreError(
                    f"blob {blob.digest[:12]} was swept, and what it held has changed since",
                    "run the step again",
                )
            self._places.pop(blob.digest, None)  # it has a file of its own now
            self.store.bundles.forget([blob.digest])

    def discard(self) -> None:
        """Forget all that was put; what is on the disk of it goes at once, or is garbage."""
        held: tuple[dict[Digest, Any], ...] = (self._rows, self._files, self._records)
        for one in (*held, self._places, self._proofs):
            one.clear()
        self._waiting = self._alone = self._asked = 0
        self._bundled = None
        for bundle in (*self._full, *filter(None, [self._bundle])):
            bundle.give_up()
        self._full, self._bundle = [], None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


_digest: Callable[[Bytes], Digest] = digest  # `put` has an argument of that name
