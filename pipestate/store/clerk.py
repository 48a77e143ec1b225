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
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import Final

from ..errors import StoreError

DELAY: Final = 0.2
"""Seconds until what is to be done soon is done."""

Work = Callable[[], None]

_NAME: Final = "pipestate-clerk"


def is_here() -> bool:
    """Whether this is the clerk's thread."""
    return threading.current_thread().name == _NAME


def do(work: Work) -> None:
    """Have it done where no handler strikes; raises what it raises."""
    if threading.current_thread() is not threading.main_thread() or _is_ending():
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
    if what in _soon and os.getpid() in _asked:
        return
    _soon[what] = work
    if _is_ending() or not _ask(None):
        _do_all()


def _is_ending() -> bool:
    """Whether the interpreter ends: who comes then is the last to do anything."""
    return not threading.main_thread().is_alive()


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
        threading.Thread(target=_work, args=(asked,), name=_NAME, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _work(asked: SimpleQueue[_Task | None]) -> None:
    due = 0.0
    while True:
        if not _soon:
            due = 0.0
        elif not due:
            due = time.monotonic() + DELAY
        try:
            task = asked.get(timeout=max(0.0, due - time.monotonic()) if due else None)
        except Empty:
            task = None
        if task is _LAST:
            return
        if task is not None:
            task.run()
        if due and time.monotonic() >= due:
            due = 0.0
            _do_all()


def _do_all() -> None:
    for what in list(_soon):
        work = _soon.pop(what, None)
        if work is not None:
            _doing[what] = work
            try:
                work()
            except StoreError:
                pass
            except Exception:  # noqa: BLE001 - it has to go on for others
                _log.debug("what was to be done soon", exc_info=True)
            _doing.pop(what, None)


def _end() -> None:
    """The process ends: what is to be done is done, also where the thread has begun it."""
    for what, work in list(_doing.items()):
        _soon.setdefault(what, work)
    _do_all()


_LAST: Final = _Task(lambda: None)
_asked: dict[int, SimpleQueue[_Task | None]] = {}
"""By the process: a forked child has its parent's, and not its thread."""

_soon: dict[Hashable, Work] = {}
_doing: dict[Hashable, Work] = {}
_hooked: list[bool] = []
_log: Final = logging.getLogger(__name__)
