"""A thread that commits what waits: at once for who waits for it, or in a moment.

A signal's handler strikes between any two lines of the main thread, and may look at a job or set
something. In the midst of a look that commits what waits it would see the job as it was before, or
have to do all of that again, inside of it. Handlers never strike in another thread: so the main
thread has that done here, and a handler that looks meanwhile waits for it, too.

    do ─── the main thread waits until it is done; any other thread does it itself
    soon ─── it is done in a moment, or at the end of the process

There is no thread before somebody asks, and one for a process from then on.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import Final

from ..errors import StoreError

DELAY: Final = 0.2
"""Seconds until what is to be done soon is done."""

Work = Callable[[], None]


def do(work: Work) -> None:
    """Have it done where no handler strikes; raises what it raises."""
    if threading.current_thread() is not threading.main_thread() or _ended:
        work()
        return
    task = _Task(work)
    if not _ask(task):
        work()
        return
    task.under_way.acquire()
    if task.error is not None:
        raise task.error


def soon(what: Hashable, work: Work) -> None:
    """Have it done in a moment. What stands for it is `what`: it is done once for all that say so
    until then. Nobody is told of a StoreError."""
    if what in _soon and _asked.get(os.getpid()) is not None:
        return
    _soon[what] = work
    if _ended or not _ask(None):
        _do_all()


class _Task:
    """Something to be done, whether it is under way, and what it raised."""

    __slots__ = ("error", "under_way", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        # No Event: a handler may strike while that holds its own lock, and ask for the next task.
        self.under_way = threading.Lock()
        self.under_way.acquire()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
            self.error = error
        finally:
            self.under_way.release()


def _ask(task: _Task | None) -> bool:
    """Hand something to the thread, None to have it look what is to be done soon; whether there is
    a thread: none can be begun while the interpreter ends. Nothing is locked here: a fork or a
    handler may come at any moment."""
    here = os.getpid()
    asked = _asked.get(here)
    if asked is None:
        mine: SimpleQueue[_Task | None] = SimpleQueue()
        if not _is_begun(mine):
            return False
        asked = _asked.setdefault(here, mine)
        if asked is not mine:  # somebody was faster
            mine.put(_LAST)
    asked.put(task)
    return True


def _is_begun(asked: SimpleQueue[_Task | None]) -> bool:
    if not _hooked:
        _hooked.append(True)
        atexit.register(_end)
        os.register_at_fork(after_in_child=_asked.clear)
    try:
        threading.Thread(target=_work, args=(asked,), name="pipestate-clerk", daemon=True).start()
    except RuntimeError:
        return False
    return True


def _work(asked: SimpleQueue[_Task | None]) -> None:
    while True:
        try:
            task = asked.get(timeout=DELAY if _soon else None)
        except Empty:
            _do_all()
        else:
            if task is _LAST:
                return
            if task is not None:
                task.run()


def _do_all() -> None:
    for what in list(_soon):
        work = _soon.pop(what, None)
        if work is not None:
            with contextlib.suppress(StoreError):
                work()


def _end() -> None:
    _ended.append(True)
    _do_all()


_LAST: Final = _Task(lambda: None)
_asked: dict[int, SimpleQueue[_Task | None]] = {}
"""By the process: a forked child has its parent's, and not its thread."""

_soon: dict[Hashable, Work] = {}
_hooked: list[bool] = []
_ended: list[bool] = []
