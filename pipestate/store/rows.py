"""The rows of the index: `str` keys, `bytes` values, one transaction at a time, nothing unpickled.

diskcache keeps them (SQLite in WAL mode, many threads and processes at once); this is the only
module that knows it. It does not know what a row means. Known weakness: SQLite wants to write
beside the database even to read it, so a store on a read-only disk cannot be read.

A value is one byte of row format, 16 bytes of BLAKE3 over the key and all that follows (and, in
format 2, the format), and the payload; in format 2 a head stands before the payload (`trust` says
what it holds). A row that was cut, altered or put under another key is a DamageError, never an
answer; another format byte is a FormatError.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import diskcache
from blake3 import blake3

from ..errors import DamageError, FormatError, StoreError
from . import folders
from .faults import busy, damaged, told
from .trust import HEAD

TIMEOUT_SECONDS: Final = 120.0
"""How long a transaction waits for those of other processes."""

WAIT_SECONDS: Final = 5.0
"""How long it waits at a stretch, inside SQLite, where an interrupt is not seen."""

_AT_ONCE = 500
"""How many keys one query asks for: some builds of SQLite take no more than 999."""

_PUT = """
INSERT INTO Cache (key, raw, store_time, access_time, access_count, size, mode, value)
VALUES (?, 1, ?, ?, 0, 0, ?, ?)
ON CONFLICT (key, raw) DO UPDATE SET
    store_time = excluded.store_time, expire_time = NULL, mode = excluded.mode, filename = NULL,
    value = excluded.value
WHERE (value, mode, filename, expire_time) IS NOT (excluded.value, excluded.mode, NULL, NULL)
"""

_numbers = itertools.count()

_PLAIN = b"\x01"
_SIGNED = b"\x02"
_START = 1 + 16
_SETTINGS: Mapping[str, Any] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "size_limit": 1 << 62,
    "sqlite_synchronous": 1,
    # A mapped database that is cut short ends the process by SIGBUS; a read one is an error.
    "sqlite_mmap_size": 0,
}


class Row(NamedTuple):
    """The payload of a row, and the head that it was signed with; "" for one that was not."""

    payload: bytes
    head: bytes = b""


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


class Database(diskcache.Cache):  # type: ignore[misc]
    """diskcache's Cache with our settings, opened without a write where it has them already.

    Cache writes all its settings at each opening, and then closes, which makes SQLite empty its
    log and wait for the disk: milliseconds, and a full disk could not even be read from.
    """

    def __init__(self, folder: str) -> None:
        self._directory = folder
        self._timeout = WAIT_SECONDS
        self._local = threading.local()
        self._txn_id = None
        self._disk = BytesDisk(folder)
        try:
            if not self._is_ready():
                self.close()
                super().__init__(folder, timeout=WAIT_SECONDS, disk=BytesDisk, **_SETTINGS)
        except BaseException:
            self.close()
            raise

    def _is_ready(self) -> bool:
        """Whether all of it has been made, down to the trigger that Cache makes last."""
        try:
            settings = dict(self._sql("SELECT key, value FROM Settings").fetchall())
            made = self._sql("SELECT 1 FROM sqlite_master WHERE name = 'Settings_size_delete'")
            is_made = made.fetchone() is not None
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return False
            raise
        # Whoever can write to the database could name any attribute here.
        for key in settings.keys() & diskcache.core.DEFAULT_SETTINGS.keys():
            setattr(self, key, settings[key])
        return is_made and all(settings.get(key) == value for key, value in _SETTINGS.items())

    def get_many(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The rows of these keys that are there. Cache asks for one at a time, at ten times the
        cost."""
        query = "SELECT key, raw, mode, filename, value FROM Cache WHERE key IN ({})"
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, raw, mode, filename, value in self._sql(query.format(marks), some).fetchall():
                yield self._disk.get(key, raw), self._disk.fetch(mode, filename, value, False)

    def put(self, key: str, value: bytes) -> None:
        """Write a row, unless it is there as it should be; inside a transaction, as ever. Cache
        looks before it writes, and in several statements."""
        now = time.time()
        self._sql(_PUT, (key, now, now, diskcache.core.MODE_RAW, value))

    def mark(self) -> tuple[int, int]:
        """The number of this thread's connection, and SQLite's of what others have committed since
        it was opened."""
        connection, local = self._con, self._local
        if getattr(local, "numbered", None) is not connection:
            local.numbered, local.number = connection, next(_numbers)
        ((version,),) = connection.execute("PRAGMA data_version").fetchall()
        return local.number, version

    def there(self, keys: Sequence[str]) -> Iterator[str]:
        """Those of the keys that have a row."""
        query = "SELECT key, raw FROM Cache WHERE key IN ({})"
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            for key, raw in self._sql(query.format(",".join("?" * len(some))), some).fetchall():
                yield self._disk.get(key, raw)


@dataclass(frozen=True, eq=False)
class Rows:
    """The database in the folder `path`: absent until `make`, and then it reads as empty.

    Safe for threads and processes; a forked child opens the database anew. When the folder is
    deleted or replaced under it, it goes by what is there now.

    get -> _cache -> _connect
    transaction -> set, delete (only inside of it)
    """

    path: Path
    durable: bool = False
    _open: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

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
        with self._lock, told(self.path):
            cache = self._cache()
            data = None if cache is None else cache.get(key)
            return None if data is None else _unsealed(key, data)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The payloads of those of the rows that are there, verified."""
        with self._lock, told(self.path):
            cache = self._cache()
            found = () if cache is None else cache.get_many(keys)
            return {key: _unsealed(key, data).payload for key, data in found}

    def there(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that have a row; what is in the rows is not looked at."""
        with self._lock, told(self.path):
            cache = self._cache()
            return set() if cache is None else set(cache.there(keys))

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with `prefix`. Goes over all rows: for upkeep."""
        with self._lock, told(self.path):
            cache = self._cache()
            if cache is None:
                return []
            return [key for key in cache.iterkeys() if key.startswith(prefix)]

    def mark(self) -> tuple[int, ...] | None:
        """What differs once anybody has committed; None where there is no database. A mark taken in
        a transaction is that of the moment after it."""
        with self._lock, told(self.path):
            cache = self._cache()
            return None if cache is None else (self._open.get("count", 0), *cache.mark())

    def set(self, key: str, payload: bytes, head: bytes = b"") -> None:
        """Write a row, in a transaction. An equal one is left alone, a damaged one replaced."""
        rest = head + payload
        mark = _SIGNED if head else _PLAIN
        data = mark + _seal(key, mark, rest) + rest
        self._writing().put(key, data)

    def delete(self, key: str) -> None:
        """Remove a row, in a transaction, if it is there."""
        self._writing().delete(key)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is set in the block is visible at its end, or, after any error, none of it.

        Holds off every other writer of the store. Raises StoreError; blocks are not nested.
        """
        with self._lock, told(self.path):
            if self._open.get("is_closed"):
                self.close()  # the disk was read-only when it was opened, and it would stay so
            cache = self._cache()
            if cache is None:
                raise StoreError(f"there is no store at {self.path}")
            if self.is_writing:
                raise RuntimeError("a transaction inside a transaction")
            try:
                if self.durable:
                    cache.reset("sqlite_synchronous", 2, update=False)
                with self._begun(cache):
                    self._open["writing"] = True
                    self._open["count"] = self._open.get("count", 0) + 1
                    yield
            except StoreError:
                raise
            except BaseException:
                # A COMMIT that failed, or an interrupt on the way in, leaves a transaction open,
                # and the next one would then be no transaction: closing rolls it back.
                self.close()
                raise
            finally:
                self._open.pop("writing", None)

    def _begun(self, cache: Any) -> contextlib.ExitStack:
        """A transaction that has begun, once no other process is in one."""
        stack = contextlib.ExitStack()
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                stack.enter_context(cache.transact())
            except diskcache.Timeout as error:
                # diskcache says Timeout whatever kept a transaction from beginning.
                reason = error.__context__
                if not isinstance(reason, sqlite3.Error) or "locked" not in str(reason):
                    raise reason or error from error
                if time.monotonic() > deadline:
                    raise busy(self.path) from error
            else:
                return stack

    @property
    def is_writing(self) -> bool:
        """Whether a transaction is open; asked by the thread that has it, or by one that waits."""
        return "writing" in self._open

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        with self._lock:
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

    def _writing(self) -> Any:
        if not self.is_writing:
            raise RuntimeError("rows are written in a transaction")
        return self._open["cache"]

    def _cache(self) -> Any:
        try:
            inode = os.stat(f"{self.path}/cache.db").st_ino
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"the store {self.path} cannot be read ({error.strerror})") from error
        opened = self._open
        if opened.get("inode") == inode and (cache := opened.get("cache")) is not None:
            return cache
        return self._connect()

    def _connect(self) -> Any:
        with self._lock, told(self.path):
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
                cache = Database(folder)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # What diskcache stumbles over when its table of settings holds something else.
                raise damaged(error, self.path) from error
            file = f"{folder}/cache.db"
            is_closed = not os.access(file, os.W_OK)
            self._open.update(cache=cache, inode=os.stat(file).st_ino, is_closed=is_closed)
            _hold_at_fork(self._lock)
            return cache


# --- forks
# A child forked while another thread is inside SQLite inherits mutexes that nobody will release,
# and a transaction whose closing writes to memory that both processes share. So a fork waits until
# no thread is inside. Hooks at fork cannot be taken out again: there is one for all stores, set by
# the first that is opened.

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
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
    for lock in list(_locks):
        lock.acquire()
        _held.append(lock)


def _release_all() -> None:
    while _held:
        _held.pop().release()


# --- the head of a row


def _seal(key: str, mark: bytes, rest: bytes) -> bytes:
    name = key.encode() + (b"\0" if mark == _PLAIN else b"\0" + mark)
    return blake3(name + rest).digest(length=16)


def _unsealed(key: str, data: bytes) -> Row:
    mark, rest = data[:1], data[_START:]
    if mark not in (_PLAIN, _SIGNED):
        raise FormatError(
            f"row {key[:60]!r} has format {mark.hex() or 'none'}, this pipestate reads 01 and 02",
            "a newer pipestate may have written it",
        )
    if _seal(key, mark, rest) != data[1:_START]:
        raise DamageError(f"row {key[:60]!r} of the index is damaged")
    return Row(rest) if mark == _PLAIN else Row(rest[HEAD:], rest[:HEAD])
