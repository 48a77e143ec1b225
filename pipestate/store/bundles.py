"""Bundles: files in which blobs of one commit lie one after the other.

To make, name, open and map a file takes a tenth of a millisecond or more, and where many were
deleted lately, ext4 looks for a number for a new one among theirs: for a hundred tensors, or the
trees of a forest, that is as long as it takes to write them. So of the blobs of one commit the
first few have files of their own, and where more come they share one.

A blob is named by its digest all the same, and kept once, wherever it lies: the row `in/<digest>`
of the index tells its place. A bundle has no digest of its own; what proves the blobs in it is a
note of the file's state when they were written, with their places.

The idea: git's packs, and haystack's needles.
"""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Self, TypeVar

from msgspec import Struct, field

from ..errors import DamageError, FormatError, StoreError
from ..record import Blob, Digest
from . import content, files, folders
from .blobs import Verification, match
from .faults import told

T = TypeVar("T")

ALONE: Final = 4
"""So many blobs of a commit have files of their own, whatever comes after them."""

ALIGNED: Final = 64
"""Blobs begin at multiples of this, as arrays like it."""

AHEAD: Final = 8 << 20
"""So many bytes of the disk are reserved at a time."""

_MOST: Final = 1 << 16
"""So many places a process knows by heart."""

_PLACE = struct.Struct("<20sQQ")
"""A digest, of the bundle or of the blob in it, the first byte, and how many there are."""


class Place(NamedTuple):
    """Where a blob lies: in which bundle, from which byte on, and how many there are."""

    file: Digest
    at: int
    nbytes: int

    def to_bytes(self) -> bytes:
        """The bytes that `from_bytes` reads."""
        return _PLACE.pack(bytes.fromhex(self.file), self.at, self.nbytes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` gave; raises FormatError for anything else."""
        if len(data) != _PLACE.size:
            raise FormatError("the place of a blob has another length than this pipestate writes")
        file, at, nbytes = _PLACE.unpack(data)
        return cls(file.hex(), at, nbytes)


class Proof(NamedTuple):
    """The state of a bundle, and the blobs that were proved to lie in it when it was in that."""

    stamp: bytes = b""
    places: Mapping[Digest, Place] = {}

    def to_bytes(self) -> bytes:
        """The bytes that `from_bytes` reads."""
        members = (
            _PLACE.pack(bytes.fromhex(digest), place.at, place.nbytes)
            for digest, place in self.places.items()
        )
        return self.stamp + b"".join(members)

    @classmethod
    def from_bytes(cls, data: bytes, file: Digest) -> Self:
        """What `to_bytes` gave for a bundle; no proof of anything for other bytes."""
        members = data[files.STAMP :]
        if len(members) % _PLACE.size:
            return cls()
        found = _PLACE.iter_unpack(members)
        places = {digest.hex(): Place(file, at, nbytes) for digest, at, nbytes in found}
        return cls(data[: files.STAMP], places)


class Bundle:
    """A bundle that is being written, by any thread. It is nothing until `Bundles.close`.

    `stands` says whether a blob is kept elsewhere: then what was written of it makes room again.
    """

    _file: io.FileIO | None = None

    def __init__(self, temporary: str, file: io.FileIO, stands: Callable[[Blob], bool]) -> None:
        self.name: Digest = os.urandom(20).hex()
        self.places: dict[Digest, Place] = {}
        self._process, self._temporary = os.getpid(), temporary
        self._stands, self._state = stands, threading.Condition()
        self._writers: set[int] = set()  # threads: one that an interrupt hit here may stay for ever
        self._end = self._reserved = 0
        self._free: dict[int, int] = {}
        self._file = file

    @property
    def nbytes(self) -> int:
        """How long it is by now."""
        return self._end

    def write(
        self, view: content.View, ready: Callable[[], None] | None, found: Digest | None
    ) -> Digest:
        """Write a blob into it; `found` is its digest, where that was just taken."""
        room = _rounded(view.nbytes)
        at = place = None
        try:
            fd, at = self._take(room)
            name = content.write_as(fd, view, found, at)
            if ready is not None:
                ready()
            # Whoever took the digest has looked, but for what another thread was writing then.
            is_known = name != found and self._stands(Blob(name, view.nbytes))
            if name not in self.places and not is_known:
                mine = Place(self.name, at, view.nbytes)
                place = mine if self.places.setdefault(name, mine) is mine else None
        finally:
            with self._state:
                if at is not None and place is None:
                    self._give_back(at, room)
                self._writers.discard(threading.get_ident())
                self._state.notify_all()
        return name

    def _take(self, room: int) -> tuple[int, int]:
        """The file, and where so many bytes may be written to it."""
        with self._state:
            if self._file is None:
                raise StoreError("the commit that this blob was to be part of has ended")
            self._writers.add(threading.get_ident())
            fd, hole = self._file.fileno(), self._hole(room)
            if hole is not None:
                return fd, hole
            at, self._end = self._end, self._end + room
            if self._end > self._reserved:
                more = max(room, AHEAD)
                folders.reserve(fd, self._reserved, at + more - self._reserved)
                self._reserved = at + more
            return fd, at

    def _hole(self, room: int) -> int | None:
        """Room among what was given back, the first that is big enough."""
        for at, nbytes in sorted(self._free.items()):
            if nbytes >= room:
                del self._free[at]
                if nbytes > room:
                    self._free[at + room] = nbytes - room
                return at
        return None

    def _give_back(self, at: int, room: int) -> None:
        """Let room be written to again, as one with what is free on either side of it."""
        room += self._free.pop(at + room, 0)
        before = next((one for one, nbytes in self._free.items() if one + nbytes == at), None)
        if before is not None:
            at, room = before, room + self._free.pop(before)
        if at + room == self._end:
            self._end = at
        else:
            self._free[at] = room

    def close(self, finish: Callable[[int, str], T]) -> T | None:
        """What `finish` makes of the file, once nobody writes to it any more: its number belongs to
        another file as soon as it is closed."""
        with self._state:
            self._state.wait_for(lambda: self._writers <= {threading.get_ident()})
            file, self._file = self._file, None
            if file is None:
                return None
            try:
                with file:
                    self._settle(file.fileno())
                    return finish(file.fileno(), self._temporary)
            except BaseException:
                files.unlink(self._temporary)
                raise

    def _settle(self, fd: int) -> None:
        """Leave no room between blobs, nor after them, as far as some can be moved there."""
        for digest, place in sorted(self.places.items(), key=lambda one: -one[1].at):
            room = _rounded(place.nbytes)
            if not self._free or (at := self._hole(room)) is None:
                continue
            if at > place.at:
                self._give_back(at, room)
                continue
            content.write(fd, memoryview(content.read(fd, place.nbytes, place.at)), at)
            self.places[digest] = place._replace(at=at)
            self._give_back(place.at, room)
        # What was reserved goes, too.
        os.ftruncate(fd, max((p.at + p.nbytes for p in self.places.values()), default=0))

    def give_up(self) -> None:
        """Let go of it, and remove what has no name yet."""
        if self._file is None or self._file.closed:  # an interrupt may have come in between
            return
        if os.getpid() == self._process:
            self.places.clear()
            self.close(lambda _, file: files.unlink(file))
        else:  # the file is the parent's, and so is who may hold the lock
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        if self._file is not None:
            self._writers.clear()  # nobody has it any more
            self.give_up()


def _rounded(nbytes: int) -> int:
    """The room that a blob takes."""
    return -(-nbytes // ALIGNED) * ALIGNED


def _nowhere(_digests: Sequence[Digest]) -> Mapping[Digest, Place]:
    return {}


class Bundles(Struct, frozen=True):
    """The bundles among the files of a store.

    `locate` asks the index for the places of blobs, `recall` for the proofs of bundles, and
    `remember` notes one.

    begin -> Bundle.write -> close
    map_all -> _find -> _map -> _prove
    """

    files: files.Files
    verification: Verification
    locate: Callable[[Sequence[Digest]], Mapping[Digest, Place]] = _nowhere
    recall: Callable[[Sequence[Digest]], Mapping[Digest, bytes]] = lambda _: {}
    remember: Callable[[Digest, bytes], None] = lambda _name, _proof: None
    _places: dict[Digest, Place] = field(default_factory=dict)
    _proofs: dict[Digest, Proof] = field(default_factory=dict)

    def begin(self, stands: Callable[[Blob], bool]) -> Bundle:
        """A new bundle; `stands` says what is kept elsewhere."""
        with told(self.files.path):
            return Bundle(*self.files.temporary(), stands)

    def close(self, bundle: Bundle) -> bytes:
        """Give a bundle its name: its proof, for the commit that makes its places known. Raises
        Missing where a sweep took it for one that somebody had left behind."""

        def finish(fd: int, temporary: str) -> Proof:
            if not os.fstat(fd).st_nlink:
                raise files.Missing("a bundle was swept while it was being written")
            if self.files.durable:
                os.fsync(fd)
            self.files.name(temporary, bundle.name)
            return Proof(files.stamp(os.fstat(fd)), dict(bundle.places))

        with told(self.files.path):
            proof = bundle.close(finish)
        if proof is None:
            raise files.Missing("a bundle was given up before it was committed")
        self._proofs[bundle.name] = proof
        return proof.to_bytes()

    def learn(self, places: Mapping[Digest, Place]) -> None:
        """Take note of what the index says."""
        if len(self._places) > _MOST:
            self._places.clear()
            self._proofs.clear()
        self._places.update(places)

    def has(self, blob: Blob) -> bool:
        """Whether a bundle is there in which the blob lies; its content is not looked at."""
        place = self._find([blob.digest]).get(blob.digest)
        if place is None or place.nbytes != blob.nbytes:
            return False
        return self.files.size(place.file) >= place.at + place.nbytes

    def stands(self, blob: Blob) -> bool:
        """Whether the blob lies in a bundle, whole."""
        try:
            if not self._find([blob.digest]) or not self.map_all([blob]):
                return False
        except StoreError:
            return False
        if self.files.durable:  # who wrote it may not have waited for the disk
            for place in self._find([blob.digest]).values():
                self.files.sync(place.file)
        return True

    def forget(self, digests: Iterable[Digest]) -> None:
        """Ask the index anew where these blobs lie."""
        for digest in digests:
            self._places.pop(digest, None)

    def check(self, blob: Blob) -> bool:
        """Read every byte of a blob; False where it lies in no bundle.

        Raises DamageError unless they are the bytes that were put there.
        """
        found = self.map_all([blob])
        for view in found.values():
            match(blob, view)
        return bool(found)

    def map_all(self, blobs: Sequence[Blob]) -> dict[int, memoryview]:
        """The bytes of those of the blobs that lie in bundles, by where they stand in the sequence,
        as writable memory; writing to it never reaches the files, nor another's memory, also where
        two blobs are the same.

        Raises DamageError where they are cut short or altered, and stand nowhere else.
        """
        with told(self.files.path):
            found, lost = self._mapped(dict(enumerate(blobs)))
            if lost:  # somebody may have given them files of their own since, or another bundle
                self.forget(blob.digest for blob in lost.values())
                found |= self._mapped(lost)[0]
        return found

    def _mapped(self, wanted: Mapping[int, Blob]) -> tuple[dict[int, memoryview], dict[int, Blob]]:
        """Those that lie in bundles, and those whose bundle is not there."""
        places = self._find(list({blob.digest: None for blob in wanted.values()}))
        by_file: dict[Digest, dict[int, Blob]] = {}
        for at, blob in wanted.items():
            if blob.digest in places:
                by_file.setdefault(places[blob.digest].file, {})[at] = blob
        self._learn(by_file)
        found: dict[int, memoryview] = {}
        lost: dict[int, Blob] = {}
        for file, some in by_file.items():
            try:
                found |= self._map(file, some, places)
            except files.Missing:
                lost |= some
        return found, lost

    def _find(self, digests: Sequence[Digest]) -> dict[Digest, Place]:
        known = {one: place for one in digests if (place := self._places.get(one)) is not None}
        unknown = [digest for digest in digests if digest not in known]
        if unknown:
            found = self.locate(unknown)
            self.learn(found)
            known.update(found)
        return known

    def _learn(self, names: Iterable[Digest]) -> None:
        unknown = [name for name in names if name not in self._proofs]
        if unknown and self.verification == "on":
            for name, data in self.recall(unknown).items():
                self._proofs[name] = Proof.from_bytes(data, name)

    def _map(
        self, name: Digest, some: Mapping[int, Blob], places: Mapping[Digest, Place]
    ) -> dict[int, memoryview]:
        """The bytes of blobs that lie in one bundle."""
        fd, state = self.files.open(name)
        try:
            for blob in some.values():
                place = places[blob.digest]
                if place.at + blob.nbytes > state.st_size or place.nbytes != blob.nbytes:
                    raise DamageError(f"blob {blob.digest[:12]} is cut short in its bundle")
            once = {places[blob.digest]: None for blob in some.values()}
            parts = _parts(fd, list(once))
            found = {
                # One that comes again is other memory: a cell may write to either.
                at: parts.pop(place) if place in parts else _parts(fd, [place])[place]
                for at, blob in some.items()
                for place in [places[blob.digest]]
            }
        finally:
            os.close(fd)
        self._prove(name, files.stamp(state), some, places, found)
        return found

    def _prove(
        self,
        name: Digest,
        stamp: bytes,
        some: Mapping[int, Blob],
        places: Mapping[Digest, Place],
        found: Mapping[int, memoryview],
    ) -> None:
        """Hash what was not proved to lie there when the file was in this very state."""
        if self.verification == "off":
            return
        known = self._proofs.get(name, Proof())
        is_known = self.verification == "on" and known.stamp == stamp
        proved = dict(known.places) if is_known else {}
        unproved = {
            at: blob for at, blob in some.items() if proved.get(blob.digest) != places[blob.digest]
        }
        if not unproved:
            return
        for at, blob in unproved.items():
            match(blob, found[at])
        proved.update((blob.digest, places[blob.digest]) for blob in unproved.values())
        self._proofs[name] = proof = Proof(stamp, proved)
        self.remember(name, proof.to_bytes())


def _parts(fd: int, places: Sequence[Place]) -> dict[Place, memoryview]:
    """What lies at these places of one file, mapped at once, or read where no more can be mapped.

    Each is memory of its own: who asks an array whose memory it sees, and so what it shares that
    with, must not be led to all of the bundle.
    """
    if files.room_for_maps() < 1:
        return {one: memoryview(content.read(fd, one.nbytes, one.at)) for one in places}
    low = min(one.at for one in places) // mmap.PAGESIZE * mmap.PAGESIZE
    memory = files.mapped(fd, max(one.at + one.nbytes for one in places) - low, low)
    return {
        one: memoryview((ctypes.c_char * one.nbytes).from_buffer(memory, one.at - low)).cast("B")
        for one in places
    }
