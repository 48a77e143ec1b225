"""Content-addressed blobs: bytes in, their digest out, and back as memory.

A blob is a file, named by the BLAKE3 digest of its content. Nothing here knows what the bytes mean,
which of them are still wanted, or the index; what it asks of the index is two functions, `recall`
and `remember`. Of many blobs that come together most lie in one file (`bundles`).

A file is hashed once in a given state (size, times, inode); the state is remembered, so that a
gigabyte is mapped in microseconds afterwards, and a file that was touched is hashed again.

The idea: git's object store; the state of a file as proof is redo's and git's index's.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

from blake3 import blake3
from msgspec import Struct, field

from ..errors import DamageError
from ..record import Blob, Digest
from . import content, files, folders
from .faults import told

COPIED: Final = 64 << 10
"""Files below this are read, not mapped: a mapping costs a descriptor and a page table."""

Verification = Literal["on", "strict", "off"]


class Into(Protocol):
    """A file that a blob can be written to beside others; see `bundles`."""

    def write(
        self, view: content.View, ready: Callable[[], None] | None, found: Digest | None
    ) -> Digest:
        """Write a blob into it, and say by which name."""


def _forget(_digests: Sequence[Digest]) -> Mapping[Digest, bytes]:
    return {}


def _ignore(_digest: Digest, _stamp: bytes) -> None:
    return None


def _nowhere(_blob: Blob) -> bool:
    return False


class Blobs(Struct, frozen=True, dict=True):
    """The blobs that have files of their own, in the folder `path`.

    put -> digest, stands, _write
    map, map_all -> _open, _prove -> recall, remember
    """

    path: Path
    durable: bool = False
    verification: Verification = "on"
    recall: Callable[[Sequence[Digest]], Mapping[Digest, bytes]] = _forget
    remember: Callable[[Digest, bytes], None] = _ignore
    _proved: dict[Digest, bytes] = field(default_factory=dict)
    _samples: set[bytes] = field(default_factory=set)

    @functools.cached_property
    def files(self) -> files.Files:
        """The files that they are in."""
        return files.Files(self.path, self.durable)

    def put(
        self,
        data: content.Bytes,
        *,
        digest: Digest | None = None,
        ready: Callable[[], None] | None = None,
        into: Into | None = None,
        elsewhere: Callable[[Blob], bool] = _nowhere,
    ) -> Blob:
        """Keep `data` and say by which name. Bytes that are there already are not written again,
        nor those that are `elsewhere`.

        `digest`, where the caller has it, saves hashing bytes that are there already; bytes that
        are not there are hashed while they are written, and named by what was found. `ready` is
        called when all is written, and may raise to give up what has no name yet. They are written
        `into` a file that is given, or one of their own. Raises StoreError when they cannot be.
        """
        view = content.flat(data)
        view = view if view.nbytes >= content.BIG else view[:]  # what has to be made is made once
        with told(self.path):
            sample = _sample(view) if view.nbytes >= content.BIG else b""
            found: Digest | None = None
            if digest is None and (not sample or sample in self._samples):
                digest = found = content.digest(view)
            if digest is not None:
                blob = Blob(digest, view.nbytes)
                if self.stands(blob):
                    if self.durable:  # who wrote it may not have waited for the disk
                        self.files.sync(digest)
                    return blob
                if elsewhere(blob):
                    return blob
            if sample:
                self._samples.add(sample)
            write = self._write if into is None else into.write
            return Blob(write(view, ready, found), view.nbytes)

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
            room = files.room_for_maps()
            return [self._map(blob, at < room) for at, blob in enumerate(blobs)]

    def _map(self, blob: Blob, may_map: bool) -> memoryview:
        fd, found = self._open(blob)
        try:
            if blob.nbytes < COPIED or not may_map:
                view = memoryview(content.read(fd, blob.nbytes))
                if self.verification != "off":
                    match(blob, view)
                return view
            view = files.mapped(fd, blob.nbytes)
        finally:
            os.close(fd)
        self._prove(blob, view, files.stamp(found))
        return view

    def has(self, blob: Blob) -> bool:
        """Whether a file of that name and size is there; its content is not looked at."""
        return self.files.size(blob.digest) == blob.nbytes

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
                raise altered(blob)

    def sweep(self, keep: Container[Digest], *, dry_run: bool = False) -> tuple[int, int]:
        """Remove the files that `keep` does not name, and old leftovers: how many, and bytes.

        The caller sees to it that nobody commits meanwhile (see `upkeep.sweep`).
        """
        with told(self.path):
            gone = self.files.sweep(keep, dry_run=dry_run)
        for name, _ in () if dry_run else gone:
            self._proved.pop(name, None)
        return len(gone), sum(nbytes for _, nbytes in gone)

    def _open(self, blob: Blob) -> tuple[int, os.stat_result]:
        fd, found = self.files.open(blob.digest)
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
        match(blob, view)
        self._proved[blob.digest] = stamp
        self.remember(blob.digest, stamp)

    def stands(self, blob: Blob) -> bool:
        """Whether the blob is there and whole; one that is damaged is to be written again."""
        if not self.has(blob):
            return False
        try:
            self.map(blob)
        except DamageError:
            return False
        return True

    def _write(
        self, view: content.View, ready: Callable[[], None] | None, found: Digest | None
    ) -> Digest:
        """Write a new file; `found` is the digest, where it was just taken of these very bytes."""
        temporary, file = self.files.temporary()
        try:
            with file:
                fd = file.fileno()
                if content.BIG <= view.nbytes < content.THREADED:  # else hashing takes longest
                    folders.reserve(fd, 0, view.nbytes)
                name = content.write_as(fd, view, found)
                if self.durable:
                    os.fsync(fd)
                if ready is not None:
                    ready()
                self.files.name(temporary, name)
                # Of the very file that was written: another may have come under its name since.
                self._proved[name] = files.stamp(os.fstat(fd))
        except BaseException:
            files.unlink(temporary)
            raise
        return name


def _sample(view: content.View) -> bytes:
    """A few pages of a big buffer: where no earlier one had them, its bytes are new."""
    # Hashed at once: each piece would let go of the interpreter's lock, and wait for it again.
    step = view.nbytes // 16
    pages = [view[start : start + 4096] for start in range(0, view.nbytes, step)]
    return blake3(b"".join((view.nbytes.to_bytes(8, "little"), *pages))).digest(length=16)


def match(blob: Blob, view: memoryview) -> None:
    """Raise DamageError unless these are the bytes of a blob."""
    if content.digest(view) != blob.digest:
        raise altered(blob)


def altered(blob: Blob) -> DamageError:
    """What to raise where other bytes are in the place of a blob's."""
    return DamageError(f"blob {blob.digest[:12]} does not hold the bytes that were put there")
