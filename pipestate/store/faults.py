"""What the disk and the database answer when they cannot, in the project's own errors.

One table for both, so that a full disk reads the same whether a blob or a row did not fit. It does
not know what was being done: the message names the folder, the caller has kept the rest as it was.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from types import TracebackType

from ..errors import DamageError, StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_IN_THE_WAY = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENXIO}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_DAMAGED = ("malformed", "not a database", "no such table", "no such column", "could not decode")


class told:  # noqa: N801 - it reads as a word: `with told(path)`
    """Turn OSError and sqlite3.Error inside the block into StoreError about the store at `path`."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing has happened yet."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise _from_os(error, self._path) from error
        if isinstance(error, (sqlite3.Error, OverflowError)):
            raise _from_sqlite(error, self._path) from error
        if isinstance(error, UnicodeDecodeError):
            raise damaged(error, self._path) from error


def _from_os(error: OSError, path: Path) -> StoreError:
    if error.errno in _FULL:
        return _full(path)
    if error.errno in _REFUSED:
        return _refused(path)
    hint = ""
    if error.errno in _IN_THE_WAY:
        hint = "move away what stands in its place, or set PIPESTATE_STORE to another folder"
    return StoreError(f"the store {path} cannot be used ({error.strerror or error})", hint)


def _from_sqlite(error: BaseException, path: Path) -> StoreError:
    """The StoreError for what SQLite said; its words are stable, its codes are not always there."""
    words = str(error).lower()
    if "full" in words:
        return _full(path)
    if "readonly" in words:
        return read_only(path)
    if "unable to open" in words:
        return _closed(path)
    if "locked" in words or "busy" in words:
        return busy(path)
    if any(word in words for word in _DAMAGED):
        return damaged(error, path)
    return StoreError(
        f"the store {path} cannot be used ({error})",
        "check its disk, or set PIPESTATE_STORE to another folder",
    )


def busy(path: Path) -> StoreError:
    """The error for a store that another process did not let go of in time."""
    return StoreError(
        f"another process has kept the store {path} busy for too long", "try again when it is done"
    )


def busy_here(path: Path) -> StoreError:
    """The error for a signal's handler that looks while what it interrupts writes."""
    return StoreError(
        f"the store {path} is in the midst of a commit", "look again when the handler is done"
    )


def _full(path: Path) -> StoreError:
    return StoreError(f"no space left for the store {path}", "free some space and run it again")


def _refused(path: Path) -> StoreError:
    if os.access(path, os.R_OK | os.X_OK):
        return read_only(path)
    return _closed(path)


def _closed(path: Path) -> StoreError:
    return StoreError(
        f"the store {path} cannot be written or read",
        "check its permissions, or set PIPESTATE_STORE to another folder",
    )


def read_only(path: Path) -> StoreError:
    """The error for a store that is there to be read, and cannot be written to."""
    return StoreError(
        f"the store {path} can be read and not written",
        "check its permissions, or set PIPESTATE_STORE to another folder",
    )


def damaged(error: BaseException, path: Path) -> DamageError:
    """The error for a database that is not what diskcache and SQLite left there."""
    return DamageError(
        f"the index of the store {path} is damaged ({error})",
        "move the folder away, or put its `index` back from a copy",
    )
