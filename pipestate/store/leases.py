"""Leases: who runs a step now, so that two kernels which run the same one run it once.

A lease is a lock on one byte of the empty file `<store>/leases`, at an offset that its name hashes
to: a record lock, as `fcntl` has them. It goes with the process that took it, however that ends,
and when the machine does, so nobody ever waits for the dead, and there is no clock, no renewal and
no transaction in it. Nothing is written and nothing has to be swept; taking one and giving it back
costs some ten microseconds.

    lease = take(store.path, f"{job} {step}")
    if isinstance(lease, Holder): ...      somebody else has it; look again later
    lease.release()

A lease saves work and nothing else: what is true of a job is decided by the transaction of a
commit. So where there can be none (a read-only folder, a file system without locks), there is one
that holds nothing, and all goes on.

Why not otherwise: a row of the index costs two commits, and somebody has to guess when its holder
died. `flock` on a file a step is shared with every forked child, which keeps the lock when its
parent is killed; and its files have to be written, to say who it is, and removed again without a
race. A record lock belongs to one process, and the system says which.

Known weakness: a process loses all its locks on a file when it closes any descriptor of it. Nothing
here ever does, but a step that copies the store's folder by itself would, and then another kernel
may run that step too. On NFS the lock holds between machines where the server keeps locks.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading
from pathlib import Path
from typing import Final

from blake3 import blake3
from msgspec import Struct

FILE: Final = "leases"

_FLOCK: Final = struct.Struct("@hhqqi4x")
"""Linux's struct flock: type, whence, start, length, process."""


class Holder(Struct, frozen=True):
    """Who has a lease: the number of a process, 0 where the system does not tell."""

    pid: int = 0

    def __str__(self) -> str:
        return f"process {self.pid}" if self.pid > 0 else "another process"


class Lease(Struct, frozen=True, eq=False):
    """A lease that this process has until `release`, or until its end. It may hold nothing."""

    fd: int = -1
    start: int = 0
    pid: int = 0

    @property
    def holds(self) -> bool:
        """Whether it held anything when it was taken."""
        return self.fd >= 0

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        with _lock:
            # In a forked child it is not there: it is still the parent's.
            if (self.fd, self.start) in _held and self.pid == os.getpid():
                _held.discard((self.fd, self.start))
                fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, self.start)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def take(store: Path, name: str, *, may_make: bool = True) -> Lease | Holder:
    """The lease of that name in the store's folder, or who has it.

    Never waits, and raises nothing for what the disk says. One process has a lease once: whoever
    asks for it there again is told that this process has it. Where the file is not there it is
    made, unless it is said otherwise.
    """
    hashed = blake3(name.encode(errors="surrogatepass")).digest(length=8)
    start = int.from_bytes(hashed, "little") >> 2  # offsets are signed, and have an end
    with _lock:
        try:
            fd = _file(f"{store}/{FILE}", os.O_CREAT if may_make else 0)
        except OSError:
            return Lease()
        if (fd, start) in _held:
            return Holder(os.getpid())
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, start)
        except (BlockingIOError, PermissionError):  # POSIX lets a system say either
            return Holder(_holder(fd, start))
        except OSError:
            return Lease()
        _held.add((fd, start))
        return Lease(fd, start, os.getpid())


def _file(path: str, how: int) -> int:
    """The file that stands there now, opened once in a process and never closed."""
    try:
        found = os.stat(path)
        key = (found.st_dev, found.st_ino)
        if key in _files:
            return _files[key]
    except FileNotFoundError:
        pass
    fd = os.open(path, os.O_RDWR | how | os.O_CLOEXEC, 0o644)
    if not _files:
        os.register_at_fork(after_in_child=_after_fork)
    found = os.fstat(fd)
    return _files.setdefault((found.st_dev, found.st_ino), fd)


def _holder(fd: int, start: int) -> int:
    if sys.platform != "linux":
        return 0  # other systems order the fields otherwise
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
    try:
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    except OSError:
        return 0
    return 0 if kind == fcntl.F_UNLCK else int(pid)


_lock = threading.Lock()
_files: dict[tuple[int, int], int] = {}
_held: set[tuple[int, int]] = set()


def _after_fork() -> None:
    """A child has none of its parent's locks, and must not believe that it has. It runs in the one
    thread that forked, which was not in here."""
    if _lock.locked():
        _lock.release()
    _held.clear()
