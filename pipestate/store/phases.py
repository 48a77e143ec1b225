"""The buffers met between two moments when nothing of the user's runs, each of them hashed once.

A big buffer is met several times: by the digest of one name, of another that shares it, and by the
pickle. While a run is being kept, such a buffer is written at its first digest. Where there are
many, they wait until one of them is asked for: two threads then do all of them, for hashing and
writing release the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from ..record import Blob, Digest
from . import content
from .alone import is_alone
from .content import Pieces, View
from .gaps import Gaps
from .walk import Original

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

QUEUED: Final = range(64 << 10, content.THREADED)
"""Buffers of these sizes take turns. Smaller ones would wait for the interpreter's lock longer than
they take; bigger ones are hashed by a thread of their own while they are written."""

FILLED: Final = 256 << 10
"""Copies without gaps do from this size on: most of what makes them needs the lock."""

SHARED: Final = 8 << 20
"""From so many bytes on, a second thread takes its share of what waits."""


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


class Turn:
    """The turn of a buffer to be hashed, or kept, by `make`: once the digest of it is asked for, or
    of another in the queue. `make` gets what to call before it names what it has written."""

    __slots__ = ("_error", "_found", "_is_given_up", "_make", "_queue", "nbytes")

    def __init__(
        self, queue: Queue, nbytes: int, make: Callable[[Callable[[], None]], Digest]
    ) -> None:
        self._queue, self.nbytes, self._make = queue, nbytes, make
        self._found: Digest = ""
        self._error: Exception | None = None
        self._is_given_up = False
        queue.add(self)

    def take(self) -> None:
        """Hash it, or keep it."""
        try:
            self._found = self._make(self._check)
        except Exception as error:  # noqa: BLE001 - raised where the digest is asked for
            self._error = error

    def digest(self) -> Digest:
        """The digest of the buffer, once it is known; raises what keeping it raised."""
        if not self._found and self._error is None:
            self._queue.work()
        if not self._found:
            raise self._error or GivenUp
        return self._found

    def give_up(self) -> None:
        """Let it be garbage, without waiting: from now on the buffer may change."""
        self._is_given_up = True

    def _check(self) -> None:
        # Whoever gives up does so before the buffer can change: if nobody has by now, what was
        # hashed is what was written.
        if self._is_given_up:
            raise GivenUp


class Queue:
    """The turns that are still to be taken, and those that are being taken."""

    def __init__(self) -> None:
        self._waiting: deque[Turn] = deque()
        self._all: list[Turn] = []

    def add(self, turn: Turn) -> None:
        """Let it wait."""
        self._waiting.append(turn)
        self._all.append(turn)

    def work(self) -> None:
        """Take all of them, with a second thread where it is worth one."""
        other: Future[None] | None = None
        try:
            if len(self._all) > 1 and sum(turn.nbytes for turn in self._all) >= SHARED:
                # The interpreter may be about to end, and starts no thread any more.
                with contextlib.suppress(RuntimeError):
                    other = _other(os.getpid()).submit(self._work)
            self._work()
            if other is not None and not other.cancel():
                other.result()
        except BaseException:
            for turn in self._all:
                turn.give_up()
            self._waiting.clear()
            raise
        finally:
            self._all = []

    def _work(self) -> None:
        with contextlib.suppress(IndexError):  # there are no more
            while True:
                self._waiting.popleft().take()


@functools.cache
def _other(_process: int) -> ThreadPoolExecutor:
    # A forked child has none of its parent's threads, and gets its own.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="pipestate-writer")


class Phase:
    """The buffers met so far.

    `put` keeps bytes in the store; with `writes`, big buffers are put at their first digest. The
    buffers are held as long as the phase is, so that an address means the same bytes throughout.
    """

    def __init__(self, put: Put, *, writes: bool = False) -> None:
        self._put = put
        self._writes = writes
        self._owner = threading.current_thread()
        self._queue = Queue()
        self._placed: dict[tuple[int, int, Gaps], tuple[Blob, Original]] = {}
        self._filled: dict[tuple[int, int, Gaps], Turn] = {}
        self._met: dict[tuple[int, int], tuple[Digest | Turn, Blob | None, memoryview]] = {}

    def digest(self, view: View, of: Original | None = None, /) -> Digest | Turn:
        """The digest of a contiguous buffer, or who is about to know it. A copy is kept at once, in
        the place `of` what it was made of: nobody will have it any more."""
        if of is not None and self._writes:
            return self._fill(view, of)
        if isinstance(view, Pieces):
            return content.digest(view)
        key = (_address(view), view.nbytes)
        met = self._met.get(key)
        if met is None:
            met = self._met[key] = (*self._meet(view), view)
        return met[0]

    def _fill(self, view: View, of: Original) -> Digest | Turn:
        if view.nbytes < FILLED or view.nbytes not in QUEUED:
            return self._in_place(of).digest
        key = _place(of)
        if key not in self._filled:
            make = lambda ready: self._in_place(of, ready).digest  # noqa: E731
            self._filled[key] = Turn(self._queue, view.nbytes, make)
        return self._filled[key]

    def _meet(self, view: memoryview) -> tuple[Digest | Turn, Blob | None]:
        make: Callable[[Callable[[], None] | None], Digest]
        if view.nbytes < content.BIG:
            make = lambda _: content.digest(view)  # noqa: E731
        elif self._writes:
            make = lambda ready: self.put(view, ready=ready).digest  # noqa: E731
        else:
            return content.digest(view), None  # by all cores as it is
        if view.nbytes in QUEUED:
            return Turn(self._queue, view.nbytes, make), None
        return make(None), self._kept(view)

    @functools.cached_property
    def _is_alone(self) -> bool:
        return is_alone(self._owner)  # most phases never keep a buffer, and need not know

    def _steady(self, view: memoryview) -> View:
        """The buffer as nobody can change it while it is kept."""
        return view if self._is_alone else content.copied(view)

    def _in_place(self, of: Original, ready: Callable[[], None] | None = None) -> Blob:
        """Keep a copy, which is not held any longer: it can be made again."""
        key = _place(of)
        if key not in self._placed:
            blob = self._put(of.filled(), ready=ready, again=of.filled)
            self._placed[key] = (blob, of)
        return self._placed[key][0]

    def put_all(self, views: Sequence[memoryview], gaps: Mapping[int, Gaps]) -> tuple[Blob, ...]:
        """Keep the buffers of a pack, some of which have gaps, by their numbers."""
        if not views:
            return ()
        turns = []
        for at, view in enumerate(views):
            if at not in gaps and view.nbytes in QUEUED and self._kept(view) is None:
                put = lambda ready, view=view: self.put(view, ready=ready).digest  # noqa: E731
                turns.append(Turn(self._queue, view.nbytes, put))
        for turn in turns:
            turn.digest()
        return tuple(self.put(view, gaps=gaps.get(at)) for at, view in enumerate(views))

    def put(
        self,
        view: bytes | memoryview,
        *,
        gaps: Gaps | None = None,
        ready: Callable[[], None] | None = None,
    ) -> Blob:
        """Keep a buffer in the store, without what is in its gaps; `ready` as `Put` has it."""
        if isinstance(view, bytes):
            return self._put(view)
        if gaps is not None:
            return self._in_place(Original(view, gaps))
        blob = self._kept(view)
        if blob is None:
            blob = self._put(self._steady(view), ready=ready)
            self._met[_address(view), view.nbytes] = (blob.digest, blob, view)
        return blob

    def _kept(self, view: memoryview) -> Blob | None:
        met = self._met.get((_address(view), view.nbytes))
        return met[1] if met else None


def _place(of: Original) -> tuple[int, int, Gaps]:
    return _address(of.memory), of.memory.nbytes, of.gaps


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
