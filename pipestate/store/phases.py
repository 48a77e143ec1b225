"""The buffers met between two moments when nothing of the user's runs, each of them hashed once.

A big buffer is met several times: by the digest of one name, of another that shares it, and by the
pickle. While a run is being kept, such a buffer is written at once; if it is one of many, by one of
two threads, for hashing and writing release the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ..record import Blob, Digest
from . import content
from .content import Pieces, View
from .gaps import Gaps
from .walk import Original

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

AHEAD = range(content.BIG, content.THREADED)
"""Of these sizes, a buffer that is to be kept is written by a thread at its first digest. Smaller
ones would wait for the interpreter's lock longer than they take; bigger ones are hashed by a thread
of their own while they are written."""


class Put(Protocol):
    """Keeps bytes in the store; `ready` is asked before what was written gets its name, and `again`
    makes a copy once more that should have to be written twice."""

    def __call__(
        self,
        data: bytes | View,
        *,
        ready: Callable[[], None] | None = ...,
        again: Callable[[], View] | None = ...,
    ) -> Blob:
        """What they are kept as."""


class GivenUp(Exception):  # noqa: N818 - not an error of anybody's
    """A buffer is not going to be kept: the user's code may run again, and change it."""


class Writing:
    """A buffer that a thread is writing and hashing."""

    __slots__ = ("_future", "_is_given_up")

    def __init__(self, put: Put, view: memoryview) -> None:
        self._is_given_up = False
        self._future: Future[Blob] = _writers(os.getpid()).submit(put, view, ready=self._check)

    def blob(self) -> Blob:
        """What was written, once it is; raises what the writing raised."""
        return self._future.result()

    def digest(self) -> Digest:
        """The digest of the buffer, once it is known."""
        return self.blob().digest

    def give_up(self) -> None:
        """Let it be garbage, without waiting: from now on the buffer may change."""
        self._is_given_up = True
        self._future.cancel()

    def _check(self) -> None:
        # Whoever gives up does so before the buffer can change: if nobody has by now, what was
        # hashed is what was written.
        if self._is_given_up:
            raise GivenUp


@functools.cache
def _writers(_process: int) -> ThreadPoolExecutor:
    # A forked child has none of its parent's threads, and gets its own.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="pipestate-writer")


class Phase:
    """The buffers met so far.

    `put` keeps bytes in the store; with `writes`, big buffers are put at their first digest. The
    buffers are held as long as the phase is, so that an address means the same bytes throughout.
    """

    def __init__(self, put: Put, *, writes: bool = False) -> None:
        self._put = put
        self._writes = writes
        self._placed: dict[tuple[int, int, Gaps], tuple[Blob, Original]] = {}
        self._met: dict[tuple[int, int], tuple[Digest | Writing, Blob | None, memoryview]] = {}

    def digest(self, view: View, of: Original | None = None, /) -> Digest | Writing:
        """The digest of a contiguous buffer, or who is about to know it. A copy is kept at once, in
        the place `of` what it was made of: nobody will have it any more."""
        if of is not None or isinstance(view, Pieces):
            return self._in_place(of, view).digest if of and self._writes else content.digest(view)
        key = (_address(view), view.nbytes)
        met = self._met.get(key)
        if met is None:
            met = self._met[key] = (*self._meet(view), view)
        return met[0]

    def _meet(self, view: memoryview) -> tuple[Digest | Writing, Blob | None]:
        if not self._writes or view.nbytes < content.BIG:
            return content.digest(view), None
        if view.nbytes in AHEAD:
            # The interpreter may be about to end, and starts no thread any more.
            with contextlib.suppress(RuntimeError):
                return Writing(self._put, view), None
        blob = self._put(view)
        return blob.digest, blob

    def _in_place(self, of: Original, view: View | None = None) -> Blob:
        """Keep a copy, which is not held any longer: it can be made again."""
        key = (_address(of.memory), of.memory.nbytes, of.gaps)
        if key not in self._placed:
            blob = self._put(of.filled() if view is None else view, again=of.filled)
            self._placed[key] = (blob, of)
        return self._placed[key][0]

    def put_all(self, views: Sequence[memoryview], gaps: Mapping[int, Gaps]) -> tuple[Blob, ...]:
        """Keep the buffers of a pack, some of which have gaps, by their numbers."""
        return tuple(self.put(view, gaps=gaps.get(at)) for at, view in enumerate(views))

    def put(self, view: bytes | memoryview, *, gaps: Gaps | None = None) -> Blob:
        """Keep a buffer in the store, without what is in its gaps."""
        if isinstance(view, bytes):
            return self._put(view)
        if gaps is not None:
            return self._in_place(Original(view, gaps))
        key = (_address(view), view.nbytes)
        met = self._met.get(key)
        if met is not None:
            if isinstance(met[0], Writing):
                return met[0].blob()
            if met[1] is not None:
                return met[1]
        blob = self._put(view)
        self._met[key] = (blob.digest, blob, view)
        return blob


class _Buffer(ctypes.Structure):
    """The head of CPython's Py_buffer, which is all that an address needs."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("rest", ctypes.c_byte * 128),
    )


def _address(view: memoryview) -> int:
    """Where a buffer's bytes are; ctypes' own way refuses read-only memory."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(
        ctypes.py_object(view), ctypes.byref(buffer), ctypes.c_int(0)
    )
    try:
        return buffer.buf or 0
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
