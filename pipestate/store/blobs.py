"""Content-addressed files: bytes in, their digest out, and back as memory.

A blob is a file `a/bcdef…`, named by the BLAKE3 digest of its content, mode 0444, written under a
temporary name and renamed, so that a name never stands for half of its bytes and a mapped file is
never written to. Nothing here knows what the bytes mean, which of them are still wanted, or the
index; what it asks of the index is two functions, `recall` and `remember`.

A file is hashed once in a given state (size, times, inode); the state is remembered, so that a
gigabyte is mapped in microseconds afterwards, and a file that was touched is hashed again.

The idea: git's object store; the state of a file as proof is redo's and git's index's. POSIX only.
"""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import resource
import stat
import struct
import time
import weakref
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from blake3 import blake3

from ..errors import DamageError
from ..record import Blob, Digest
from . import content, folders
from .faults import told

COPIED: Final = 64 << 10
"""Files below this are read, not mapped: a mapping costs a descriptor and a page table."""

FAN: Final = 1
"""So many letters of a digest name its folder. With two, 200 new files took ext4 three times as
long, which spreads folders over the disk and looks for room in each."""

STALE_SECONDS: Final = 3600.0
"""A temporary file that nobody has written to for so long belongs to a process that is gone."""

Verification = Literal["on", "strict", "off"]

_NO_BLOB = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, errno.ENOTDIR}
"""What opening says where the trouble is what stands in the place of the file."""

_NO_PLACE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
"""What renaming says where the folder is not there, or something else stands in the way."""

_STAMP = struct.Struct("<qqqQ")
_live_maps: set[weakref.ref[mmap.mmap]] = set()


def _forget(_digests: Sequence[Digest]) -> Mapping[Digest, bytes]:
    return {}


def _ignore(_digest: Digest, _stamp: bytes) -> None:
    return None


@dataclass(frozen=True)
class Blobs:
    """The folder of blobs at `path`, made when the first blob is put.

    put -> digest, _stands, _write -> _name
    map, map_all -> _open, _prove -> recall, remember
    """

    path: Path
    durable: bool = False
    verification: Verification = "on"
    recall: Callable[[Sequence[Digest]], Mapping[Digest, bytes]] = _forget
    remember: Callable[[Digest, bytes], None] = _ignore
    _proved: dict[Digest, bytes] = field(default_factory=dict, repr=False)
    _samples: set[bytes] = field(default_factory=set, repr=False)

    def put(
        self,
        data: bytes | bytearray | memoryview,
        *,
        digest: Digest | None = None,
        ready: Callable[[], None] | None = None,
    ) -> Blob:
        """Keep `data` and say by which name. Bytes that are there already are not written again.

        `digest`, where the caller has it, saves hashing bytes that are there already; bytes that
        are not there are hashed while they are written, and named by what was found. `ready` is
        called when all is written, and may raise to give up what has no name yet.
        Raises StoreError when they cannot be written.
        """
        view = content.flat(data)
        with told(self.path):
            sample = _sample(view) if view.nbytes >= content.BIG else b""
            found: Digest | None = None
            if digest is None and (not sample or sample in self._samples):
                digest = found = content.digest(view)
            if digest is not None and self._stands(Blob(digest, view.nbytes)):
                if self.durable:  # who wrote it may not have waited for the disk
                    self._sync(digest)
                return Blob(digest, view.nbytes)
            if sample:
                self._samples.add(sample)
            return Blob(self._write(view, ready, found), view.nbytes)

    def map(self, blob: Blob) -> memoryview:
        """The bytes of a blob as writable memory; writing to it never reaches the file.

        Mapped copy-on-write from 64 KiB on. Raises DamageError when the bytes are missing, cut
        short or altered.
        """
        return self.map_all([blob])[0]

    def map_all(self, blobs: Sequence[Blob]) -> list[memoryview]:
        """The bytes of each of the blobs, as `map` gives them, with one question to the index."""
        with told(self.path):
            if self.verification == "on":
                unknown = [blob.digest for blob in blobs if blob.digest not in self._proved]
                if unknown:
                    self._proved.update(self.recall(unknown))
            room = _room_for_maps()
            return [self._map(blob, at < room) for at, blob in enumerate(blobs)]

    def _map(self, blob: Blob, may_map: bool) -> memoryview:
        fd, found = self._open(blob)
        try:
            if blob.nbytes < COPIED or not may_map:
                view = memoryview(content.read(fd, blob.nbytes))
                if self.verification != "off":
                    _match(blob, view)
                return view
            memory = mmap.mmap(fd, blob.nbytes, access=mmap.ACCESS_COPY)
        finally:
            os.close(fd)
        _live_maps.add(weakref.ref(memory, _live_maps.discard))
        view = memoryview(memory)
        self._prove(blob, view, _stamp(found))
        return view

    def has(self, blob: Blob) -> bool:
        """Whether a file of that name and size is there; its content is not looked at."""
        try:
            return os.stat(self._file(blob.digest)).st_size == blob.nbytes
        except OSError:
            return False

    def stamp(self, blob: Blob) -> bytes | None:
        """The state of a file whose content this process has proved, to be remembered."""
        return self._proved.get(blob.digest)

    def check(self, blob: Blob) -> None:
        """Read every byte of a blob; raises DamageError unless they are the bytes put there."""
        with told(self.path):
            fd, _ = self._open(blob)
            with open(fd, "rb", buffering=0) as file:
                hasher = blake3()
                while chunk := file.read(4 << 20):
                    hasher.update(chunk)
            if hasher.hexdigest(length=20) != blob.digest:
                raise _altered(blob)

    def sweep(self, keep: Container[Digest], *, dry_run: bool = False) -> tuple[int, int]:
        """Remove the files that `keep` does not name, and old leftovers: how many, and bytes.

        The caller sees to it that nobody commits meanwhile (see `upkeep.sweep`). Whoever has one
        mapped goes on with it: its bytes go when the last of them lets go.
        """
        count = nbytes = 0
        remove = _nbytes if dry_run else _unlink
        with told(self.path):
            for name, file in self._files():
                if name not in keep:
                    nbytes += remove(file)
                    count += 1
                    if not dry_run:
                        self._proved.pop(name, None)
            for file in self._leftovers():
                nbytes += remove(file)
                count += 1
        return count, nbytes

    def _files(self) -> Iterator[tuple[Digest, str]]:
        for folder in _entries(self.path):
            if len(folder.name) == FAN and folder.is_dir(follow_symlinks=False):
                for file in _entries(folder.path):
                    if not file.is_dir(follow_symlinks=False):  # it is nobody's of ours
                        yield folder.name + file.name, file.path

    def _leftovers(self) -> Iterator[str]:
        now = time.time()
        for file in _entries(self.path / "tmp"):
            try:
                # One from the future is as old: the clock was set back since.
                is_old = abs(now - file.stat(follow_symlinks=False).st_mtime) > STALE_SECONDS
                if is_old and not file.is_dir(follow_symlinks=False):
                    yield file.path
            except FileNotFoundError:
                continue  # its writer has just renamed it

    def _file(self, digest: Digest) -> str:
        # A digest comes from a record, and a record may come from anywhere: no path gets through.
        if len(digest) != 40 or not digest.isalnum():
            raise DamageError(f"{digest[:60]!r} names no blob")
        return f"{self.path}/{digest[:FAN]}/{digest[FAN:]}"

    def _open(self, blob: Blob) -> tuple[int, os.stat_result]:
        try:
            # A pipe in the place of the file would be waited for, for ever.
            fd = os.open(self._file(blob.digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise DamageError(f"blob {blob.digest[:12]} is missing from the store") from error
        except OSError as error:
            if error.errno not in _NO_BLOB:
                raise
            text = f"blob {blob.digest[:12]} cannot be read ({error.strerror})"
            raise DamageError(text) from error
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise DamageError(f"blob {blob.digest[:12]} is no file")
        if found.st_size != blob.nbytes:
            os.close(fd)
            raise DamageError(
                f"blob {blob.digest[:12]} has {found.st_size} bytes instead of {blob.nbytes}"
            )
        return fd, found

    def _prove(self, blob: Blob, view: memoryview, stamp: bytes) -> None:
        """Hash the content, unless it was hashed when the file was in this very state."""
        if self.verification == "off":
            return
        if self.verification == "on" and self._proved.get(blob.digest) == stamp:
            return
        _match(blob, view)
        self._proved[blob.digest] = stamp
        self.remember(blob.digest, stamp)

    def _stands(self, blob: Blob) -> bool:
        """Whether the blob is there and whole; one that is damaged is to be written again."""
        if not self.has(blob):
            return False
        try:
            self.map(blob)
        except DamageError:
            return False
        return True

    def _sync(self, digest: Digest) -> None:
        file = self._file(digest)
        folders.sync(file)
        folders.sync(os.path.dirname(file))

    def _write(
        self, view: memoryview, ready: Callable[[], None] | None, found: Digest | None
    ) -> Digest:
        """Write a new file; `found` is the digest, where it was just taken of these very bytes."""
        temporary, fd = self._temporary()
        try:
            try:
                name = found or content.write_hashing(fd, view)
                if found is not None:
                    content.write(fd, view)
                if self.durable:
                    os.fsync(fd)
                if ready is not None:
                    ready()
                self._name(temporary, name)
                # Of the very file that was written: another may have come under its name since.
                self._proved[name] = _stamp(os.fstat(fd))
            finally:
                os.close(fd)
        except BaseException:
            _unlink(temporary)
            raise
        return name

    def _temporary(self) -> tuple[str, int]:
        folder = f"{self.path}/tmp"
        file = f"{folder}/{os.getpid()}-{os.urandom(8).hex()}"
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        try:
            return file, os.open(file, flags, 0o444)
        except FileNotFoundError:
            folders.make(folder, durable=self.durable)
            return file, os.open(file, flags, 0o444)

    def _name(self, temporary: str, digest: Digest) -> None:
        """Give finished bytes their name. Renaming over equal bytes is harmless, also if mapped."""
        file = self._file(digest)
        try:
            os.replace(temporary, file)
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise
            self._make_way(file)
            folders.make(os.path.dirname(file), durable=self.durable)
            os.replace(temporary, file)
        if self.durable:
            folders.sync(os.path.dirname(file))

    def _make_way(self, file: str) -> None:
        """Put aside what somebody has put in the place of a blob or its folder. It may be of worth
        to them, so no sweep takes a folder away."""
        for path, is_file in ((os.path.dirname(file), False), (file, True)):
            if os.path.lexists(path) and os.path.isdir(path) == is_file:
                os.rename(path, f"{self.path}/tmp/{os.path.basename(path)}-{os.urandom(8).hex()}")


def _sample(view: memoryview) -> bytes:
    """A few pages of a big buffer: where no earlier one had them, its bytes are new."""
    # Hashed at once: each piece would let go of the interpreter's lock, and wait for it again.
    step = view.nbytes // 16
    pages = [view[start : start + 4096] for start in range(0, view.nbytes, step)]
    return blake3(b"".join((view.nbytes.to_bytes(8, "little"), *pages))).digest(length=16)


def _match(blob: Blob, view: memoryview) -> None:
    if content.digest(view) != blob.digest:
        raise _altered(blob)


def _altered(blob: Blob) -> DamageError:
    return DamageError(f"blob {blob.digest[:12]} does not hold the bytes that were put there")


def _room_for_maps() -> float:
    """How many more files may be mapped. CPython's mmap keeps a descriptor while it lives; half of
    them are left to the user's files."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit // 2 - len(_live_maps)


def _stamp(found: os.stat_result) -> bytes:
    return _STAMP.pack(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []


def _unlink(file: str) -> int:
    nbytes = _nbytes(file)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)
    return nbytes


def _nbytes(file: str) -> int:
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return 0
