"""The database that the rows are in, as diskcache keeps it: SQLite in WAL mode, nothing unpickled.

This is the only module that knows diskcache.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import diskcache

from ..errors import DamageError

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

_PATIENCE = 1.0
"""Seconds for which the end of a thread waits for the lock: a process that ends has threads which
never let go of theirs."""

_LOOKS = 5

_numbers = itertools.count()

_SETTINGS: Mapping[str, Any] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "size_limit": 1 << 62,
    "sqlite_synchronous": 1,
    # A mapped database that is cut short ends the process by SIGBUS; a read one is an error.
    "sqlite_mmap_size": 0,
    # So many pages of the log, 16 MB, are put into the database at once: pages that one commit
    # after the other writes anew are put there once. SQLite's own 1,000 are one commit of many.
    "sqlite_wal_autocheckpoint": 4000,
}


class Lock(Protocol):
    """A lock of whatever kind."""

    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool:
        """Whether it is held now."""

    def release(self) -> None:
        """Let others have it."""


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

    def __init__(self, folder: str, wait: float, lock: Lock) -> None:
        self._directory = folder
        self._timeout = wait
        self._local = threading.local()
        self._lock = lock
        self._everywhere: weakref.WeakSet[_Held] = weakref.WeakSet()
        self._txn_id = None
        self._disk = BytesDisk(folder)
        try:
            if not self._is_ready():
                self.close()
                self._make(folder, wait)
        except BaseException:
            self.close()
            raise

    @property
    def _con(self) -> Any:
        """This thread's connection. Cache's own could be closed by no other thread."""
        local = self._local
        held: _Held | None = getattr(local, "held", None)
        if held is None or held.con is None:
            file = f"{self._directory}/{diskcache.core.DBNAME}"
            local.con = con = sqlite3.connect(
                file, timeout=self._timeout, isolation_level=None, check_same_thread=False
            )
            local.held = held = _Held(con, self._lock)
            self._everywhere.add(held)
            _open.add(self)
            with contextlib.suppress(sqlite3.OperationalError):  # there are no settings yet
                for key, value in con.execute("SELECT key, value FROM Settings").fetchall():
                    if key.startswith("sqlite_"):
                        self.reset(key, value, update=False)
        return held.con

    def close(self) -> None:
        """Close this thread's connection; whoever calls holds the lock."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is not None:
            held.close()
            self._local.con = None

    def close_everywhere(self) -> None:
        """Close the connections of all threads, none of which uses it now, but for one that is in a
        transaction: this thread's own, which forks in the midst of it."""
        for held in list(self._everywhere):
            if held.con is not None and not held.con.in_transaction:
                held.close()

    def _make(self, folder: str, wait: float) -> None:
        with contextlib.closing(sqlite3.connect(f"{folder}/{diskcache.core.DBNAME}")) as other:
            # Cache closes what it has made, and to close the last connection is to wait for the
            # disk: here is one more.
            with contextlib.suppress(sqlite3.Error):
                other.execute("PRAGMA journal_mode = wal")
                other.execute("SELECT 1 FROM sqlite_master").fetchall()
            super().__init__(folder, timeout=wait, disk=BytesDisk, **_SETTINGS)
        for column in ("store_time", "expire_time"):
            # What it would cull by: nothing is culled, and each costs a page of a commit.
            self._sql_retry(f"DROP INDEX IF EXISTS Cache_{column}")

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

    @property
    def is_current(self) -> bool:
        """Whether what is read now is what the store holds."""
        return True

    def get_many(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The rows of these keys that are there. Cache asks for one at a time, at ten times the
        cost."""
        query = "SELECT key, raw, mode, filename, value FROM Cache WHERE key IN ({})"
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, raw, mode, filename, value in self._sql(query.format(marks), some).fetchall():
                yield self._disk.get(key, raw), self._disk.fetch(mode, filename, value, False)

    def put_many(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Write rows, unless they are there as they should be; inside a transaction, as ever. Cache
        looks before it writes, and in several statements."""
        now, raw = time.time(), diskcache.core.MODE_RAW
        self._con.executemany(_PUT, ((key, now, now, raw, value) for key, value in rows))

    def begin(self) -> None:
        """Begin a transaction. Cache's own is a context manager, and one that an interrupt has left
        half entered rolls back whenever the collector finds it."""
        self._con.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the transaction: all of it is there."""
        self._con.execute("COMMIT")

    def roll_back(self) -> None:
        """End the transaction, where one is open: nothing of it is there."""
        if self._con.in_transaction:
            self._con.execute("ROLLBACK")

    def delete(self, key: str) -> None:
        """Remove a row, if it is there; inside a transaction."""
        self._con.execute("DELETE FROM Cache WHERE key = ? AND raw = 1", (key,))

    def mark(self, *, is_now: bool = True) -> tuple[int, int]:
        """The number of this thread's connection, and SQLite's of what others have committed since
        it was opened, as it is now, or was when it was asked last.

        No look at the files can stand for the question: a commit is in the log before it counts,
        by as long as the disk takes.
        """
        connection, local = self._con, self._local
        if getattr(local, "numbered", None) is not connection:
            local.number, local.version = next(_numbers), None
            local.numbered = connection  # last: after an interrupt in between, it is done again
        if is_now or local.version is None:
            ((local.version,),) = connection.execute("PRAGMA data_version").fetchall()
        return local.number, local.version

    def beginning(self, prefix: str, most: int) -> list[str]:
        """The keys that begin with `prefix`, in order, and no more of them than so many; all of
        them for -1."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        query = "SELECT key, raw FROM Cache WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
        return [self._disk.get(*row) for row in self._sql(query, (prefix, end, most)).fetchall()]

    def there(self, keys: Sequence[str]) -> Iterator[str]:
        """Those of the keys that have a row."""
        query = "SELECT key, raw FROM Cache WHERE key IN ({})"
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            for key, raw in self._sql(query.format(",".join("?" * len(some))), some).fetchall():
                yield self._disk.get(key, raw)

    def how_many(self, keys: Sequence[str]) -> int:
        """How many of the keys have a row."""
        query, found = "SELECT count(*) FROM Cache WHERE key IN ({}) AND raw = 1", 0
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            ((more,),) = self._sql(query.format(",".join("?" * len(some))), some).fetchall()
            found += more
        return found


class _Held:
    """A thread's connection. It is closed when the thread ends, which nobody tells of, under the
    lock: what SQLite does then no fork may come across."""

    __slots__ = ("__weakref__", "_lock", "con")

    def __init__(self, con: sqlite3.Connection, lock: Lock) -> None:
        self.con: sqlite3.Connection | None = con
        self._lock = lock

    def close(self) -> None:
        con, self.con = self.con, None
        if con is not None:
            con.close()

    def __del__(self) -> None:
        if self.con is None:
            return
        is_held = self._lock.acquire(timeout=_PATIENCE)
        try:
            with contextlib.suppress(sqlite3.Error):
                self.close()
        finally:
            if is_held:
                self._lock.release()


_open: weakref.WeakSet[Database] = weakref.WeakSet()


def close_all() -> None:
    """Close all connections of this process, before it forks. A child must not have any: it would
    find locks that it does not have, and to close one it would put what the parent's log held into
    a database that has moved on. Whoever forks holds the locks of all databases."""
    for _ in range(_LOOKS):
        with contextlib.suppress(RuntimeError):  # one is opened for the first time meanwhile
            for one in list(_open):
                one.close_everywhere()
            return


class Frozen(Database):
    """A database in a folder that cannot be written to, read as it is: without locks.

    SQLite wants to write beside a database even to read it, unless it is told that the file never
    changes; or, where a log (`-wal`) came along, that nobody else is about: then it keeps in memory
    what would be in `-shm`. Others may write to it all the same (another user, another mount of the
    disk, or the disk is made writable): then `is_current` is False, and what was read is not to be
    relied on.
    """

    def __init__(self, folder: str, lock: Lock) -> None:
        # Before anything is read: what changes meanwhile is seen.
        self._state = _state_of(folder)
        self._has_log = self._state is not None and len(self._state) > _ALONE
        super().__init__(folder, 0.0, lock)

    def close(self) -> None:
        """Close this thread's connection."""
        con, self._local.con = getattr(self._local, "con", None), None
        if con is not None:
            con.close()

    @property
    def _con(self) -> Any:
        if getattr(self._local, "pid", None) != os.getpid():
            self.close()
            self._local.pid = os.getpid()
        con = getattr(self._local, "con", None)
        if con is None:
            file = quote(f"{self._directory}/{diskcache.core.DBNAME}")
            # `immutable` would pass over the log, and what it holds is not in the database yet.
            how = "vfs=unix-none" if self._has_log else "immutable=1"
            con = sqlite3.connect(f"file:{file}?mode=ro&{how}", uri=True, isolation_level=None)
            self._local.con = con
            con.execute("PRAGMA mmap_size = 0")
            if self._has_log:
                con.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        return con

    def _is_ready(self) -> bool:
        """Whether it can be read: by these settings, for no others can be written."""
        for key, value in _SETTINGS.items():
            setattr(self, key, value)
        self._sql("SELECT 1 FROM Cache LIMIT 1").fetchone()
        return True

    @property
    def is_current(self) -> bool:
        """Whether the folder is as it was when the database was opened."""
        return self._state is not None and _state_of(self._directory) == self._state


def connect(folder: str, wait: float, lock: Lock) -> Database:
    """The database in a folder, made where it is not there; frozen where it can only be read.

    It waits for others so many seconds at a stretch. `lock` is held by whoever uses it.
    """
    try:
        return Database(folder, wait, lock)
    except sqlite3.OperationalError:
        if _state_of(folder) is None:
            raise
        return Frozen(folder, lock)


def _state_of(folder: str) -> tuple[int, ...] | None:
    """What differs once a frozen database has been written to, and its log, where there is one;
    None where it may be at any time, by this process or by one that has left its `-shm`."""
    if os.access(folder, os.W_OK):
        return None
    file = f"{folder}/{diskcache.core.DBNAME}"
    try:
        found = _seen(os.stat(file))
        with contextlib.suppress(FileNotFoundError):
            log = os.stat(f"{file}-wal")
            if log.st_size:
                return None if os.path.lexists(f"{file}-shm") else (*found, *_seen(log))
    except OSError:
        return None
    return found


def _seen(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


_ALONE = 5
"""The numbers that `_seen` gives; there are more where there is a log."""
