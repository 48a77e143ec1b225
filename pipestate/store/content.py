"""Bytes, their digests, and files: hashed while they are written, at the speed of the slower.

It does not know what a file is named, or where it lies.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from blake3 import blake3

from ..record import Digest

BIG: Final = 1 << 20
"""From here on a blob is hashed while it is written, and by more than one thread when read."""

THREADED: Final = 16 << 20
"""From this size on, a buffer is hashed by a thread of its own while it is written."""

_HOME = os.getpid()


def digest(data: bytes | bytearray | memoryview) -> Digest:
    """The digest that names these bytes; big ones are hashed by all cores."""
    data = flat(data)
    # A forked child has no live threads in BLAKE3's pool and would wait for them for ever.
    if data.nbytes >= BIG and os.getpid() == _HOME:
        return blake3(data, max_threads=blake3.AUTO).hexdigest(length=20)
    return blake3(data).hexdigest(length=20)


def flat(data: bytes | bytearray | memoryview) -> memoryview:
    """The bytes of any buffer, in C order, without a copy where they lie in a row."""
    view = memoryview(data)
    if not view.nbytes:
        return memoryview(b"")
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def write_hashing(fd: int, view: memoryview, at: int = 0) -> Digest:
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
        return hasher.hexdigest(length=20)
    thread = threading.Thread(target=hasher.update, args=(view,), name="pipestate-digest")
    thread.start()
    try:
        write(fd, view, at)
    finally:
        thread.join()
    return hasher.hexdigest(length=20)


def write_as(fd: int, view: memoryview, found: Digest | None, at: int = 0) -> Digest:
    """Write all of it; `found` is the digest, where it was just taken of these very bytes."""
    if found is None:
        return write_hashing(fd, view, at)
    write(fd, view, at)
    return found


def write(fd: int, view: memoryview, at: int = 0) -> None:
    """Write all of it into a file, from byte `at` on."""
    done = 0
    while done < view.nbytes:
        done += os.pwrite(fd, view[done : done + (256 << 20)], at + done)


def read(fd: int, nbytes: int, at: int = 0) -> bytearray:
    """So many bytes of a file, from byte `at` on; zeros for what is not there."""
    data = bytearray(nbytes)
    view, done = memoryview(data), 0
    while done < nbytes and (count := os.preadv(fd, [view[done:]], at + done)):
        done += count
    return data
