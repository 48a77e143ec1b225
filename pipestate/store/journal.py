"""The journal: what a script has set, one value after the other, until it is committed together.

A transaction for each of many small values costs several times what else there is to do. So a value
that follows others closely is written into a file first, in one write, which outlives the process
however that ends; and then all that waits there is committed at once: by the process that set it, a
moment later or at its end, or by whoever of the same user's looks at the job before that.

    add ─── a frame more in <store>/journal/<whose>
    take ── all frames, in order ── the caller commits them ── the file is empty

A frame carries a keyed hash, for what is committed is signed in the name of who commits it: each
user has a file, and nobody else takes it in. It has a number, too, drawn by lot. That of the last
one goes into the transaction that commits it: what is found again after a process was killed before
it could empty the file is not committed twice.

Who uses the file holds the lock of the index, and then a lock on the file, never the other way
round.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Final, NamedTuple, TypeVar

from ..errors import DamageError, FormatError, StoreError
from ..record import Digest, Waiting
from . import folders
from .faults import told
from .trust import PROOF, Trust

T = TypeVar("T")

NUMBER: Final = 8
"""Bytes of a frame's number."""

_HEAD: Final = struct.Struct(f"<II{NUMBER}s")
"""How many bytes come after the proof, how many of them are the noun, and the number."""

_SUM: Final = struct.Struct("<I")
"""The check sum of a head: what has none was cut off, or altered, and which of both tells what
comes after it."""

_NONE: Final = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENOTDIR, errno.EACCES, errno.EROFS)
"""Where the file is none that may be written to, values are committed one by one."""

_START: Final = _HEAD.size + _SUM.size + PROOF


class Frame(NamedTuple):
    """What was written in one go: its number, the value that waits, and the bytes of its blobs."""

    number: bytes
    waiting: Waiting
    blobs: Mapping[Digest, bytes]


class Journal:
    """The journal of the store in a folder, as far as it is this user's; `lock` is the index's."""

    __slots__ = ("_file", "folder", "lock", "trust")

    def __init__(self, folder: Path, trust: Trust, lock: RLock) -> None:
        self.folder, self.trust, self.lock = folder, trust, lock
        self._file: _File | None = None

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
        file = self._file or self._found()
        if file is None:
            return 0
        try:
            return os.stat(file.path).st_size
        except OSError:
            return 0

    def _found(self) -> _File | None:
        user = self.user
        self._file = _file(f"{self.folder}/{user}") if user else None
        return self._file

    def add(self, waiting: Waiting, blobs: Sequence[bytes], *, stood: object) -> int:
        """Write down what waits: when this returns, it does not go with the process. Gives how much
        waits then; 0 where there is no key, or the file is none that can be added to.

        `stood` differs where another store stands in the folder. Raises StoreError, and leaves
        nothing behind, where it cannot be written.
        """
        noun = waiting.to_bytes()
        rest = b"".join((noun, *blobs))
        head = _HEAD.pack(len(rest), len(noun), os.urandom(NUMBER))
        proof = self.trust.prove("journal", head, rest)
        file = self._file or self._found()
        if not proof or file is None:
            return 0
        frame = b"".join((head, _SUM.pack(zlib.crc32(head)), proof, rest))
        with self.lock, told(self.folder.parent):
            try:
                fd = file.opened(stood)
            except OSError as error:
                if error.errno in _NONE:
                    return 0
                raise
            return file.locked(fd, lambda fd: file.append(fd, frame))

    def take(self, commit: Callable[[list[Frame]], None]) -> None:
        """Have all that waits committed, in order; then nothing waits. It all still waits where
        `commit` raises. Nothing is taken where this process may not write to the file.

        Raises DamageError, once, for what is not as it was written: it is put aside.
        """
        file = self._file or self._found()
        if file is None:
            return
        with self.lock:
            try:
                fd = file.opened_again(os.O_RDWR | os.O_APPEND)
            except OSError:
                return
            aside = file.locked(fd, lambda fd: self._taken(file, fd, commit))
        if aside:
            raise DamageError(
                f"the journal of the store {self.folder.parent} is damaged, it lies in {aside} now",
                "set again what was set last",
            )

    def _taken(self, file: _File, fd: int, commit: Callable[[list[Frame]], None]) -> str:
        """Take what is in the file; where it lies now, if it is damaged."""
        where, aside = self.folder.parent, ""
        with told(where):
            data = _all_of(fd)
        frames, is_damaged = self._frames(data)
        takes = file.takes
        if frames:
            commit(frames)
        with told(where):
            # A signal's handler may have set something meanwhile, or taken all of it: what is left
            # here is told from what is new by its number.
            if file.takes == takes and os.fstat(fd).st_size == len(data):
                aside = file.put_aside(data) if is_damaged else ""
                file.empty(fd)
        return aside

    def _frames(self, data: bytes) -> tuple[list[Frame], bool]:
        """The frames that are as they were written, and whether there are others. One that is cut
        off at the end is none: who wrote it was killed before it was done."""
        found: list[Frame] = []
        is_damaged = False
        for at, head, end in _spans(data):
            if end == at:  # from here on nobody can tell where one begins
                return found, True
            if end > len(data):
                break
            frame = self._frame(head, data[at + _START - PROOF : end])
            if frame is None:
                is_damaged = True
            else:
                found.append(frame)
        return found, is_damaged

    def _frame(self, head: bytes, data: bytes) -> Frame | None:
        _, size, number = _HEAD.unpack(head)
        proof, rest = data[:PROOF], data[PROOF:]
        if not self.trust.is_proved("journal", proof, head, rest):
            return None
        try:
            waiting, at, blobs = Waiting.from_bytes(rest[:size]), size, dict[Digest, bytes]()
        except FormatError:
            return None
        for blob in waiting.version.blobs:
            blobs[blob.digest] = rest[at : at + blob.nbytes]
            at += blob.nbytes
        return Frame(number, waiting, blobs)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        if self._file is not None:
            with self.lock:
                self._file.close()


class _File:
    """The file that a user's values wait in, which all that use it in this process share: a process
    would wait for ever for a lock that it has through another descriptor."""

    __slots__ = (
        "_depth",
        "_end",
        "_fd",
        "_is_locked",
        "_pid",
        "_stands",
        "_stood",
        "path",
        "takes",
    )

    def __init__(self, path: str) -> None:
        self.path, self.takes = path, 0
        self._fd, self._pid, self._stands = -1, 0, (0, 0)
        self._stood: object = None
        self._end, self._depth, self._is_locked = -1, 0, False

    def opened(self, stood: object) -> int:
        """The file, made where it is not there, which is looked for where `stood` differs."""
        if stood != self._stood or self._pid != os.getpid():
            self.opened_again(os.O_RDWR | os.O_APPEND | os.O_CREAT)
            self._stood = stood
        return self._fd

    def opened_again(self, how: int) -> int:
        """The file that stands there now. A forked child has its own descriptor: with the parent's
        it would have the parent's lock."""
        try:
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == self._stands and self._pid == os.getpid():
                return self._fd
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
        self._pid, self._stands = os.getpid(), (found.st_dev, found.st_ino)
        return self._fd

    def locked(self, fd: int, do: Callable[[int], T]) -> T:
        """Do something while no other process uses the file; a signal's handler may be inside."""
        depth = self._depth
        try:
            try:
                self._depth, self._is_locked = depth + 1, True
                fcntl.flock(fd, fcntl.LOCK_EX)
                return do(fd)
            finally:
                self._unlock(fd, depth)
        finally:
            self._unlock(fd, depth)  # an interrupt may have come before it was done

    def _unlock(self, fd: int, depth: int) -> None:
        self._depth = depth
        if not depth and self._is_locked:
            fcntl.flock(fd, fcntl.LOCK_UN)
            self._is_locked = False

    def append(self, fd: int, frame: bytes) -> int:
        """Write a frame at the end; the size of the file then, or 0 where that cannot be the end of
        a frame, or the file has been deleted."""
        found = os.fstat(fd)
        if not found.st_nlink or (found.st_size != self._end and not _is_whole(_all_of(fd))):
            self._stood = None
            return 0  # who takes it sees to it
        written = 0
        try:
            written = os.write(fd, frame)
            if written != len(frame):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(fd, os.fstat(fd).st_size - written)
            raise
        self._end = found.st_size + written
        return self._end

    def empty(self, fd: int) -> None:
        """All of it was taken."""
        os.ftruncate(fd, 0)
        self._end, self.takes = 0, self.takes + 1

    def put_aside(self, data: bytes) -> str:
        """Keep what was in it in a file of its own; where that is."""
        aside = f"{self.path}-damaged-{os.urandom(4).hex()}"
        with open(aside, "xb") as file:
            file.write(data)
        return aside

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        fd, self._fd, self._stands, self._stood, self._end = self._fd, -1, (0, 0), None, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        self.close()


@functools.lru_cache(maxsize=64)
def _file(path: str) -> _File:
    return _File(path)


def _all_of(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _spans(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Where each frame begins, its head, and where it ends: beyond the end of all where it is cut
    off, and where it begins where its head is not as it was written; that one is the last."""
    at = 0
    while at < len(data):
        head = data[at : at + _HEAD.size]
        after = at + _HEAD.size + _SUM.size
        if after > len(data):
            yield at, head, len(data) + 1
            return
        is_sound = data[at + _HEAD.size : after] == _SUM.pack(zlib.crc32(head))
        end = at + _START + _HEAD.unpack(head)[0] if is_sound else at
        yield at, head, end
        if end == at:
            return
        at = end


def _is_whole(data: bytes) -> bool:
    """Whether the last frame ends where the data does."""
    return not data or [end for _, _, end in _spans(data)][-1] == len(data)
