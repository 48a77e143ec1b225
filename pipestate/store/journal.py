"""The journal: what a script has set, one value after the other, until it is committed together.

A transaction for each of many small values costs several times what else there is to do. So a value
that follows others closely is written into a file first, in one write, which outlives the process
however that ends; and then all that waits there is committed at once: by the process that set it, a
moment later or at its end, or by whoever of the same user's looks at the job before that.

    add ─── a frame more in <store>/journal/<whose>
    take ── all frames, in order ── the caller commits them ── the file is emptied

A frame carries a keyed hash, for what is committed is signed in the name of who commits it: each
user has a file, and nobody else takes it in. Frames are numbered, also beyond the emptying of the
file, and the transaction that commits one keeps its number: what is found again, after a process
was killed before it could empty the file or by two who take at once, is not committed twice.

Only to add a frame and to empty the file takes a lock on it, and who cannot have it at once does
without: values are committed one by one, or the file is emptied another time. So nobody who looks
ever waits for another process that was stopped. The lock is a record lock, as `leases` has them: it
goes with its process, and a forked child has none. Threads have the lock of the index besides.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import stat
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Final, TypeVar

from ..errors import DamageError, FormatError, StoreError
from ..record import Waiting
from . import folders
from .faults import told
from .frames import (
    BEGIN,
    HEAD,
    START,
    SUM,
    Frame,
    Span,
    Standing,
    end_of,
    frame_of,
    is_whole,
    spans_of,
    told_of,
)
from .trust import PROOF, Trust

T = TypeVar("T")

_NONE: Final = (
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
    errno.EROFS,
)
"""What is said where the file is none that this process may write to."""

_BUSY: Final = (errno.EACCES, errno.EAGAIN, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What is said where the lock is not to be had."""

MOST_OWN: Final = 10_000
"""So many frames of its own a process knows at most without reading them."""

PATIENCE: Final = 20
"""So often somebody asks for the lock, who wants to add a frame, a tenth of a millisecond apart."""


class Journal:
    """The journal of the store in a folder, as far as it is this user's; `lock` is the index's."""

    __slots__ = ("_file", "_path", "folder", "lock", "trust")

    def __init__(self, folder: Path, trust: Trust, lock: RLock) -> None:
        self.folder, self.trust, self.lock = folder, trust, lock
        self._file: _File | None = None
        self._path = ""

    @property
    def user(self) -> str:
        """Whose it is, by the first digits of the key; "" where there is none."""
        with contextlib.suppress(StoreError):  # one that cannot be read: nothing is set either
            public = self.trust.public
            return public.hex()[:16] if public else ""
        return ""

    @property
    def nbytes(self) -> int:
        """How much waits. Whoever looks at a job asks first, so it costs one look at a file."""
        try:
            if self._file is None:
                os.stat(self.folder)  # else nobody's journal is there, and no key need be asked for
                if self._found() is None:
                    return 0
            return max(0, os.stat(self._path).st_size - BEGIN.size)
        except OSError:
            return 0

    @property
    def fault(self) -> str:
        """What was found wrong while nobody asked; who asks next is told, by `take`."""
        return self._file.fault if self._file is not None else ""

    def _found(self) -> _File | None:
        user = self.user
        self._path = f"{self.folder}/{user}"
        # By whatever path the store is used here: a process has one lock on a file.
        self._file = _file(f"{os.path.realpath(self.folder)}/{user}") if user else None
        return self._file

    def add(self, waiting: Waiting, blobs: Sequence[bytes], *, stood: object) -> int:
        """Write down what waits: when this returns, it does not go with the process. Gives how much
        waits then; 0 where there is no key, or the file is none that can be added to.

        `stood` differs where another store stands in the folder. Raises StoreError, and leaves
        nothing behind, where it cannot be written.
        """
        noun = waiting.to_bytes()
        rest = b"".join((noun, *blobs))
        file = self._file or self._found()
        if file is None:
            return 0

        def frame(at: Standing) -> tuple[Frame, bytes]:
            head = HEAD.pack(len(rest), len(noun), *at)
            proof = self.trust.prove("journal", head, rest)
            written = b"".join((head, SUM.pack(zlib.crc32(head)), proof, rest)) if proof else b""
            return frame_of(at, waiting, blobs), written

        with self.lock, told(self.folder.parent):
            try:
                file.open(stood)
            except OSError as error:
                if error.errno in _NONE:
                    return 0
                raise
            waits = file.append(frame, self._path)
        if not waits:
            self._file = None  # another file may stand there now
        return waits

    def take(self, commit: Callable[[list[Frame]], bool], *, is_asked: bool = True) -> None:
        """Have all that waits committed, in order; then nothing waits. It all still waits where
        `commit` raises, or says that it could not commit all. Nothing is taken where this process
        may not write to the file.

        Raises DamageError for what is not as it was written and was put aside: once, to who has
        asked for it.
        """
        file = self._found()
        if file is None:
            return
        with self.lock:
            with told(self.folder.parent):
                try:
                    data = file.read()
                except OSError as error:
                    if error.errno in _NONE:
                        return
                    raise
            spans = list(spans_of(data))
            frames, is_damaged = self._frames(data, spans, file.own)
            if not frames or commit(frames):
                with told(self.folder.parent):
                    aside = file.empty(data, end_of(data, spans), is_damaged=is_damaged)
                    file.fault = aside or file.fault
        if file.fault and is_asked:
            aside, file.fault = file.fault, ""
            raise DamageError(
                f"the journal of the store {self.folder.parent} is damaged, it lies in {aside} now",
                "set again what was set last",
            )

    def _frames(
        self, data: bytes, spans: Sequence[Span], own: Mapping[bytes, Frame]
    ) -> tuple[list[Frame], bool]:
        """The frames that are as they were written, and whether there are others. One that is cut
        off at the end is none: who wrote it was killed before it was done."""
        found: list[Frame] = []
        numbers: set[Standing] = set()
        is_damaged = False
        for at, head, end in spans:
            if end == at:  # from here on nobody can tell where one begins
                return found, True
            if end > len(data):
                break
            frame = own.get(data[at:end]) or self._frame(head, data[at + START - PROOF : end])
            if frame is None or frame.at in numbers:
                is_damaged = True
            else:
                found.append(frame)
                numbers.add(frame.at)
        return found, is_damaged

    def _frame(self, head: bytes, data: bytes) -> Frame | None:
        _, size, *at = HEAD.unpack(head)
        proof, rest = data[:PROOF], data[PROOF:]
        if not self.trust.is_proved("journal", proof, head, rest):
            return None
        try:
            waiting, start, blobs = Waiting.from_bytes(rest[:size]), size, list[bytes]()
        except FormatError:
            return None
        for blob in waiting.version.blobs:
            blobs.append(rest[start : start + blob.nbytes])
            start += blob.nbytes
        return frame_of(Standing(*at), waiting, blobs)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        if self._file is not None:
            with self.lock:
                self._file.close()


class _File:
    """The file that a user's values wait in, which all that use it in this process share: a process
    loses its lock on a file where it closes any descriptor of it."""

    __slots__ = (
        "_begin",
        "_depth",
        "_emptied",
        "_fd",
        "_next",
        "_pid",
        "_size",
        "_stands",
        "_stood",
        "fault",
        "own",
        "path",
    )

    def __init__(self, path: str) -> None:
        self.path, self.fault = path, ""
        self._fd, self._pid, self._stands = -1, 0, (0, 0)
        self._stood: object = None
        self._size, self._begin, self._next, self._depth = -1, b"", Standing(), 0
        self._emptied = 0
        self.own: dict[bytes, Frame] = {}
        """The frames that this process has added and that wait, by their bytes: what is found as
        they were written need neither be proved nor read."""

    def open(self, stood: object) -> None:
        """Open the file, made where it is not there; it is looked for where `stood` differs."""
        if stood != self._stood or self._pid != os.getpid():
            self._open(os.O_RDWR | os.O_APPEND | os.O_CREAT)
            self._stood = stood

    def _open(self, how: int) -> None:
        """Open the file that stands there now. A forked child opens it anew."""
        try:
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == self._stands and self._pid == os.getpid():
                return
        except FileNotFoundError:
            if not how & os.O_CREAT:
                raise
            folders.make(os.path.dirname(self.path), durable=False)
        self.close()
        self._fd = os.open(self.path, how | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            # Who may write to the store could have any file of the user's emptied.
            self.close()
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        self._pid, self._stands, self._depth = os.getpid(), (found.st_dev, found.st_ino), 0
        self.own.clear()

    def read(self) -> bytes:
        """All that is in the file which stands there."""
        self._open(os.O_RDWR | os.O_APPEND)
        return _all_of(self._fd)

    def append(self, make: Callable[[Standing], tuple[Frame, bytes]], path: str) -> int:
        """Write a frame at the end, which is made for the place that it has; how much there is
        then. `path` is where the file should stand. 0 where it cannot be: somebody has the lock, or
        is in here and in the midst of adding one, the last frame was cut off, or another file
        stands there, or none."""
        for _ in range(0 if self._depth else PATIENCE):
            done = self._locked(lambda: self._append(make, path))
            if done is not None:
                return done
            time.sleep(0.0001)
        return 0

    def _append(self, make: Callable[[Standing], tuple[Frame, bytes]], path: str) -> int:
        while True:
            emptied = self._emptied
            may_follow = self._look(path)
            if emptied == self._emptied:  # a signal's handler may have had it emptied meanwhile
                break
        if not may_follow:  # who takes it sees to it
            return 0
        frame, written = make(self._next)
        if not written:
            return 0
        count = 0
        try:
            count = os.write(self._fd, written)
            if count != len(written):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - count)
            raise
        if len(self.own) >= MOST_OWN:
            self.own.clear()
        self.own[written] = frame
        self._next = self._next._replace(number=self._next.number + 1)
        self._size += count
        return self._size - BEGIN.size

    def _look(self, path: str) -> bool:
        """Look at the file as it is now; whether a frame may follow what is in it."""
        try:
            found = os.stat(path)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._stands:
            self._stood = None  # the store was deleted, or moved away: there may be another one
            return False
        # Others may have emptied it, and filled it again to the same size.
        begin = os.pread(self._fd, BEGIN.size, 0)
        is_known = begin == self._begin and found.st_size == self._size
        return is_known or self._catch_up(begin, found.st_size)

    def _catch_up(self, begin: bytes, size: int) -> bool:
        """Take up what other processes have written since; whether a frame may follow it."""
        if not self._is_drawn(begin[:8]):
            if size > BEGIN.size:
                return False  # once that is taken, it begins anew
            os.ftruncate(self._fd, 0)
            begin = Standing(self._draw(), 0).to_bytes()
            size = os.write(self._fd, begin)
        known = self._size if begin == self._begin and size > self._size > 0 else BEGIN.size
        data = begin + os.pread(self._fd, size - known, known)
        if not is_whole(data):
            return False
        if known == BEGIN.size:
            self._next = Standing.from_bytes(begin)
        after = end_of(data, spans_of(data))
        if after.number > self._next.number:
            self._next = after
        if begin != self._begin:
            self.own.clear()
        self._begin, self._size = begin, size
        return True

    def empty(self, data: bytes, end: Standing, *, is_damaged: bool) -> str:
        """Let the file be empty, all of which was taken, with the number that comes next: if it is
        as it was read, and nobody has the lock. What is damaged is put aside; where it is then."""

        def do() -> str:
            if _all_of(self._fd) != data:
                return ""
            aside = self._put_aside(data) if is_damaged else ""
            goes_on = not is_damaged and self._is_drawn(end.file)
            begin = (end if goes_on else Standing(self._draw(), 0)).to_bytes()
            os.ftruncate(self._fd, 0)
            os.write(self._fd, begin)
            self._size = -1
            self._emptied += 1
            self.own.clear()
            return aside

        return self._locked(do) or ""

    def _draw(self) -> bytes:
        """What tells this file from others. Half of it says for which file it was drawn: in the
        copy of a store, which may be older than the copy of its index, numbers begin anew."""
        lot = os.urandom(4)
        return lot + told_of(lot, self._stands)

    def _is_drawn(self, drawn: bytes) -> bool:
        return len(drawn) == 8 and drawn[4:] == told_of(drawn[:4], self._stands)

    def _put_aside(self, data: bytes) -> str:
        aside = f"{self.path}-damaged-{os.urandom(4).hex()}"
        with open(aside, "xb") as file:
            file.write(data)
        return aside

    def _locked(self, do: Callable[[], T]) -> T | None:
        """Do something while no other process changes the file; None where one does. A signal's
        handler may be inside."""
        depth = self._depth
        try:
            self._depth = depth + 1
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _BUSY:
                    return None
                raise
            return do()
        finally:
            self._depth = depth
            if not depth and self._fd >= 0:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        fd, self._fd, self._stands, self._stood, self._size = self._fd, -1, (0, 0), None, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        self.close()


@functools.lru_cache(maxsize=64)
def _file(path: str) -> _File:
    return _File(path)


def _all_of(fd: int) -> bytes:
    """What is in a file, to its end as it is now."""
    return os.pread(fd, os.fstat(fd).st_size, 0)
