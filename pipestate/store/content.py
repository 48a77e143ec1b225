"""Bytes, their digests, and files: hashed while they are written, at the speed of the slower.

It does not know what a file is named, or where it lies.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import Final

from blake3 import blake3

from ..record import Digest

BIG: Final = 1 << 20
"""From here on a blob is hashed while it is written, and by more than one thread when read."""

THREADED: Final = 16 << 20
"""From this size on, a buffer is hashed by a thread of its own while it is written."""

PIECE: Final = 4 << 20
"""So many bytes are made at a time of what is never there as a whole."""

_HOME = os.getpid()


class Pieces:
    """Bytes that are made when they are looked at, by slices, for all of them would be a copy of a
    big value. `make` gives those from one place to another."""

    __slots__ = ("_make", "nbytes")

    def __init__(self, nbytes: int, make: Callable[[int, int], memoryview]) -> None:
        self.nbytes, self._make = nbytes, make

    def __getitem__(self, where: slice) -> memoryview:
        start, end, _ = where.indices(self.nbytes)
        return self._make(start, end)


def copied(view: memoryview) -> Pieces:
    """Bytes of which a copy is made piece by piece: what is hashed is then what is written, whoever
    changes the memory."""
    return Pieces(view.nbytes, lambda start, end: memoryview(bytes(view[start:end])))


View = memoryview | Pieces
Bytes = bytes | bytearray | View


def digest(data: Bytes) -> Digest:
    """The digest that names these bytes; big ones are hashed by all cores."""
    if type(data) is bytes and len(data) < BIG:  # as most
        return blake3(data).hexdigest(length=20)
    data = flat(data)
    # A forked child has no live threads in BLAKE3's pool and would wait for them for ever.
    threads = blake3.AUTO if data.nbytes >= BIG and os.getpid() == _HOME else 1
    if isinstance(data, memoryview):
        return blake3(data, max_threads=threads).hexdigest(length=20)
    hasher = blake3(max_threads=threads)
    for start in range(0, data.nbytes, PIECE):
        hasher.update(data[start : start + PIECE])
    return hasher.hexdigest(length=20)


def flat(data: Bytes) -> View:
    """The bytes of any buffer, in C order, without a copy where they lie in a row."""
    if isinstance(data, Pieces):
        return data
    view = memoryview(data)
    if not view.nbytes:
        return memoryview(b"")
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def write_hashing(fd: int, view: View, at: int = 0) -> Digest:
    """Write all of it into a file, from byte `at` on, and hash it. Both release the lock of the
    interpreter, so a big buffer is hashed by a thread while it is written: the time is that of the
    slower of the two."""
    if view.nbytes < BIG:
        write(fd, view, at)
        return digest(view)
    hasher = blake3()
    if view.nbytes < THREADED:
        # While one piece is in the processor's cache, hashing it costs less than a thread does.
        for start in range(0, view.nbytes, BIG):
            piece = view[start : start + BIG]
            write(fd, piece, at + start)
            hasher.update(piece)
    elif isinstance(view, Pieces):
        _write_made(fd, view, at, hasher)
    else:
        thread = threading.Thread(target=hasher.update, args=(view,), name="pipestate-digest")
        thread.start()
        try:
            write(fd, view, at)
        finally:
            thread.join()
    return hasher.hexdigest(length=20)


def _write_made(fd: int, view: Pieces, at: int, hasher: blake3) -> None:
    """Write pieces while a thread makes and hashes those after them."""
    made: queue.Queue[memoryview | None] = queue.Queue(maxsize=4)
    faults: list[BaseException] = []
    is_over = False

    def make() -> None:
        try:
            for start in range(0, view.nbytes, BIG):
                if is_over:
                    return
                piece = view[start : start + BIG]
                made.put(piece)
                hasher.update(piece)
        except BaseException as error:  # noqa: BLE001 - raised by who waits for it
            faults.append(error)
        finally:
            made.put(None)

    # One that waits for an interrupted writer keeps no process from its end.
    thread = threading.Thread(target=make, name="pipestate-digest", daemon=True)
    thread.start()
    try:
        while (piece := made.get()) is not None:
            write(fd, piece, at)
            at += piece.nbytes
    finally:
        is_over = True
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):
                made.get_nowait()
            thread.join(0.001)
    if faults:
        raise faults[0]


def write_as(fd: int, view: View, found: Digest | None, at: int = 0) -> Digest:
    """Write all of it; `found` is the digest, where it was just taken of these very bytes. What is
    made piece by piece may have come out otherwise since."""
    if found is None or isinstance(view, Pieces):
        return write_hashing(fd, view, at)
    write(fd, view, at)
    return found


def write(fd: int, view: View, at: int = 0) -> None:
    """Write all of it into a file, from byte `at` on."""
    done, most = 0, PIECE if isinstance(view, Pieces) else 256 << 20
    while done < view.nbytes:
        done += os.pwrite(fd, view[done : done + most], at + done)


def read(fd: int, nbytes: int, at: int = 0) -> bytearray:
    """So many bytes of a file, from byte `at` on; zeros for what is not there."""
    data = bytearray(nbytes)
    view, done = memoryview(data), 0
    while done < nbytes and (count := os.preadv(fd, [view[done:]], at + done)):
        done += count
    return data
