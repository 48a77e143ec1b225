"""The rows of the index: `str` keys, `bytes` values, one transaction at a time, nothing unpickled.

`database` keeps them, for many threads and processes at once, and where nothing can be written it
is read as it stands. This does not know what a row means.

A value is one byte of row format, 16 bytes of BLAKE3 over the key and all that follows (and, in
format 3, the format), and the payload; in format 3 a head stands before the payload (`trust` says
what it holds). A row that was cut, altered or put under another key is a DamageError, never an
answer; another format byte is a FormatError.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

from blake3 import blake3
from msgspec import Struct, field

from ..errors import DamageError, FormatError, StoreError
from . import database, folders
from .database import Database, Frozen
from .faults import busy, damaged, read_only, told
from .trust import head_size

T = TypeVar("T")

TIMEOUT_SECONDS: Final = 120.0
"""How long a transaction waits for those of other processes."""

WAIT_SECONDS: Final = 5.0
"""How long it waits at a stretch, inside SQLite, where an interrupt is not seen."""

_PLAIN = b"\x01"
_SIGNED = b"\x03"
_START = 1 + 16


class Row(NamedTuple):
    """The payload of a row, and the head that it was signed with; "" for one that was not."""

    payload: bytes
    head: bytes = b""


def key_of(kind: str, name: str) -> str:
    """The key of a row that is named after something. Names are kept as they are where that is
    plain, else percent-quoted; the quoted form always has a percent sign and the plain one never,
    so two names never meet."""
    if name.isprintable() and "%" not in name and "/" not in name:
        return f"{kind}/{name}"
    return f"{kind}/{quote(name, safe='', errors='surrogatepass')}"


class Rows(Struct, frozen=True, eq=False):
    """The database in the folder `path`: absent until `make`, and then it reads as empty.

    Safe for threads and processes; a forked child opens the database anew. When the folder is
    deleted or replaced under it, it goes by what is there now.

    get -> _asked -> _cache -> _connect
    transact -> set, delete (only inside of it)
    """

    path: Path
    durable: bool = False
    _open: dict[str, Any] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held by a thread that uses the database; a fork waits until none does."""

    def __post_init__(self) -> None:
        _hold_at_fork(self.lock)

    @property
    def is_there(self) -> bool:
        """Whether the database has been made."""
        return os.path.exists(f"{self.path}/cache.db")

    def make(self) -> None:
        """Make the database, if it is not there."""
        if not self.is_there:
            self._connect()

    def get(self, key: str) -> bytes | None:
        """The payload of a row, or None where there is no such row."""
        row = self.row(key)
        return None if row is None else row.payload

    def row(self, key: str) -> Row | None:
        """A row, found to be as it was written, or None; whom its head is from is not looked at."""

        def ask(cache: Database) -> Row | None:
            return next((_unsealed(key, data) for _, data in cache.get_many([key])), None)

        return self._asked(ask, None)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The payloads of those of the rows that are there, verified."""
        return {key: row.payload for key, row in self.many(keys).items()}

    def many(self, keys: Sequence[str]) -> dict[str, Row]:
        """Those of the rows that are there, each found to be as it was written."""

        def ask(cache: Database) -> dict[str, Row]:
            return {key: _unsealed(key, data) for key, data in cache.get_many(keys)}

        return self._asked(ask, {})

    def there(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that have a row; what is in the rows is not looked at."""
        return self._asked(lambda cache: set(cache.there(keys)), set())

    def are_there(self, keys: Collection[str]) -> bool:
        """Whether each of these keys, all different, has a row; asked in a third of the time."""
        return self._asked(lambda cache: cache.how_many(sorted(keys)), 0) == len(keys)

    def keys(self, prefix: str = "", most: int = -1) -> list[str]:
        """The keys that begin with `prefix`, in order, and no more of them than so many. Goes over
        these rows alone, and without a prefix over all: for upkeep."""

        def ask(cache: Database) -> list[str]:
            return cache.beginning(prefix, most) if prefix else list(cache.iterkeys())

        return self._asked(ask, [])

    def _asked(self, ask: Callable[[Database], T], nothing: T) -> T:
        """What the database answers; `nothing` where there is none.

        Asked again where others wrote meanwhile to one that was opened as if nobody could.
        """
        with self.lock, told(self.path):
            while True:
                cache = self._cache()
                if cache is None:
                    return nothing
                try:
                    answer = ask(cache)
                except (sqlite3.Error, StoreError):
                    if cache.is_current:
                        raise
                    continue
                if cache.is_current:
                    return answer

    def mark(self) -> tuple[int, ...] | None:
        """What differs once anybody has committed; None where there is no database. A mark taken in
        a transaction is that of the moment after it."""
        with self.lock, told(self.path):
            cache = self._cache()
            if cache is None:
                return None
            # In a transaction it may be too old a one: who has seen less will look again.
            return (self._open.get("count", 0), *cache.mark(is_now=not self.is_writing))

    def set(self, key: str, payload: bytes, head: bytes = b"") -> None:
        """Write a row, in a transaction. An equal one is left alone, a damaged one replaced."""
        self.set_many([(key, Row(payload, head))])

    def set_many(self, rows: Iterable[tuple[str, Row]]) -> None:
        """As `set`, for many."""
        self._writing().put_many((key, _sealed(key, row)) for key, row in rows)

    def delete(self, key: str) -> None:
        """Remove a row, in a transaction, if it is there."""
        self._writing().delete(key)

    def transact(self, write: Callable[[], T]) -> T:
        """What `write` gives. All that it sets is visible when it ends, or, after any error, none.

        Holds off every other writer of the store. Raises StoreError, and RuntimeError in another
        transaction. It is no context manager: an interrupt on the way into a block, or out of it,
        would leave the transaction open behind everybody's back.
        """
        with self.lock, told(self.path):
            cache = self._writable()
            try:
                if self.durable:
                    cache.reset("sqlite_synchronous", 2, update=False)
                self._begin(cache)
                self._open["writing"] = True
                self._open["count"] = self._open.get("count", 0) + 1
                answer = write()
                cache.commit()
            except BaseException as error:
                try:
                    self._undo(cache, error)
                except KeyboardInterrupt:  # whoever presses the key may press it twice
                    self._undo(cache, error)
                raise
            finally:
                self._open.pop("writing", None)
            return answer

    def _undo(self, cache: Database, error: BaseException) -> None:
        try:
            with contextlib.suppress(sqlite3.Error):
                cache.roll_back()
        finally:
            if not isinstance(error, StoreError):
                self.close()  # a COMMIT that failed may leave it unable to begin another

    def _writable(self) -> Database:
        is_frozen = isinstance(self._open.get("cache"), Frozen)  # it says when to look again
        if self._open.get("is_closed") and not is_frozen:
            self.close()  # the disk was read-only when it was opened, and it would stay so
        cache = self._cache()
        if cache is None:
            raise StoreError(f"there is no store at {self.path}")
        if isinstance(cache, Frozen):
            raise read_only(self.path)
        if self.is_writing:
            raise RuntimeError("a transaction inside a transaction")
        return cache

    def _begin(self, cache: Database) -> None:
        """Begin a transaction once no other process is in one."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                return cache.begin()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise busy(self.path) from error

    @property
    def is_writing(self) -> bool:
        """Whether a transaction is open; asked by the thread that has it, or by one that waits."""
        return "writing" in self._open

    @property
    def is_held(self) -> bool:
        """Whether this thread is in the midst of using the database: it runs a signal's handler."""
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - as in threading

    def leave(self) -> None:
        """Close what this thread has opened, which no other thread can."""
        with self.lock:
            cache: Database | None = self._open.get("cache")
            if cache is not None:
                cache.close()

    def let_in(self, do: Callable[[], None]) -> None:
        """Do something that another thread has to use the database for, while this one is in the
        midst of that: a handler may do it there itself, so may somebody for it. In no transaction.
        """
        state = self.lock._release_save()  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        try:
            do()
        finally:
            self.lock._acquire_restore(state)  # type: ignore[attr-defined]  # noqa: SLF001

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        with self.lock:
            cache = self._open.pop("cache", None)
            self._open.pop("inode", None)
            self._open.pop("is_closed", None)
            if cache is not None:
                cache.close()

    def __del__(self) -> None:
        # A connection is part of a cycle, and would stay open until the collector comes by: files
        # pile up in a server, and one that saw a read-only disk makes all later ones read-only.
        cache = self._open.get("cache")
        if cache is not None:
            cache.close()

    def _writing(self) -> Database:
        if not self.is_writing:
            raise RuntimeError("rows are written in a transaction")
        cache: Database = self._open["cache"]
        return cache

    def _cache(self) -> Database | None:
        if self.is_writing:
            return self._writing()
        try:
            inode = os.stat(f"{self.path}/cache.db").st_ino
        except FileNotFoundError:
            return None
        opened = self._open
        cache: Database | None = opened.get("cache")
        if opened.get("inode") == inode and cache is not None and cache.is_current:
            return cache
        return self._connect()

    def _connect(self) -> Database:
        with self.lock, told(self.path):
            self.close()
            folder = str(self.path)
            if os.path.expandvars(folder) != folder:
                # diskcache would put the index where the variable points.
                raise StoreError(
                    f"the store {folder} has the name of a variable in its path",
                    "set PIPESTATE_STORE to another folder",
                )
            folders.make(folder, durable=self.durable)
            try:
                cache = database.connect(folder, WAIT_SECONDS, self.lock)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # What diskcache stumbles over when its table of settings holds something else.
                raise damaged(error, self.path) from error
            file = f"{folder}/cache.db"
            is_closed = not os.access(file, os.W_OK)
            self._open.update(cache=cache, inode=os.stat(file).st_ino, is_closed=is_closed)
            return cache


# --- forks
# A child forked while another thread is inside SQLite inherits mutexes that nobody will release,
# and a transaction whose closing writes to memory that both processes share. So a fork waits until
# no thread is inside, and closes all connections. Hooks at fork cannot be taken out again: there is
# one for all stores, set by the first that is looked at.

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_fork = threading.Lock()  # one at a time: each takes all locks, and gives back its own
_is_hooked: list[bool] = []
_held: list[Any] = []


def _hold_at_fork(lock: Any) -> None:
    _locks.add(lock)
    if not _is_hooked:
        _is_hooked.append(True)
        os.register_at_fork(
            before=_acquire_all, after_in_parent=_release_all, after_in_child=_release_all
        )


def _acquire_all() -> None:
    _fork.acquire()
    for lock in list(_locks):
        lock.acquire()
        _held.append(lock)
    with contextlib.suppress(sqlite3.Error):
        database.close_all()


def _release_all() -> None:
    while _held:
        _held.pop().release()
    _fork.release()


# --- the head of a row


def _seal(key: str, mark: bytes, rest: bytes) -> bytes:
    name = key.encode() + (b"\0" if mark == _PLAIN else b"\0" + mark)
    return blake3(name).update(rest).digest(length=16)


def _sealed(key: str, row: Row) -> bytes:
    rest = row.head + row.payload
    mark = _SIGNED if row.head else _PLAIN
    return mark + _seal(key, mark, rest) + rest


def _unsealed(key: str, data: bytes) -> Row:
    mark, rest = data[:1], data[_START:]
    if mark not in (_PLAIN, _SIGNED):
        raise FormatError(
            f"row {key[:60]!r} has format {mark.hex() or 'none'}, this pipestate reads 01 and 03",
            "a newer pipestate may have written it",
        )
    if _seal(key, mark, rest) != data[1:_START]:
        raise DamageError(f"row {key[:60]!r} of the index is damaged")
    size = 0 if mark == _PLAIN else head_size(rest)
    return Row(rest[size:], rest[:size])
