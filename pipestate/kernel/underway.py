"""Which cells are under way.

Cells run cells, and IPython does not tell the end of each: an interrupt that hits IPython itself,
between a body and the hooks after it, keeps it from telling.

A cell that `run_cell` runs is under way while that very call is on the stack. One that the loop of
a kernel runs is, while IPython shows what it displays, or the kernel is at its request: a callback
may run a cell when the body is done and its end is not told yet.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

from IPython.core.compilerop import CachingCompiler
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell
from msgspec import Struct, field

from . import pages

_RUN: Final = getattr(inspect.unwrap(InteractiveShell.run_cell), "__code__", None)
_RUN_ASYNC: Final = getattr(inspect.unwrap(InteractiveShell.run_cell_async), "__code__", None)
_TRANSFORM: Final = getattr(inspect.unwrap(InteractiveShell.transform_ast), "__code__", None)
_PARSE: Final = getattr(inspect.unwrap(CachingCompiler.ast_parse), "__code__", None)
"""Others may have put something else in their place."""


class Cell(Struct, eq=False):
    """A cell that has begun: what IPython knows of it, the call of `run_cell` (None for a cell of
    a kernel's loop), its thread and its request; the transformers that there were, and the first of
    them; whether IPython showed what another displays when it began, and whether its body was asked
    for: by IPython's own function."""

    info: ExecutionInfo
    call: FrameType | None = None
    thread: int = field(default_factory=threading.get_ident)
    request: str = ""
    transformers: tuple[object, ...] = ()
    is_inside: bool = False
    is_entered: bool = False
    is_own: bool = False

    def is_parsed(self, shell: Any, transformer: object) -> bool:
        """Whether the tree that a transformer is handed is surely what IPython has made of the
        text: nobody else's parser, no transformer before it, and none of the flags by which a text
        is another one."""
        now = shell.ast_transformers
        return (
            self.is_own
            and bool(now)
            and now[0] is transformer
            and (id(now), transformer) == self.transformers
            and getattr(shell.compile.ast_parse, "__code__", None) is _PARSE
            and not shell.compile.flags & __future__.barry_as_FLUFL.compiler_flag
        )


def is_last(shell: Any) -> bool:
    """Whether what the one transformer gives goes to IPython itself, and to nobody else."""
    found = getattr(shell.transform_ast, "__code__", None)
    return len(shell.ast_transformers) == 1 and found is _TRANSFORM


class Cells:
    """The cells of a shell that have begun and whose end was not told, the innermost last."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._cells: list[Cell] = []

    def begin(self, info: ExecutionInfo) -> None:
        """A cell begins."""
        cell = Cell(info)
        self._cells.append(cell)  # first: IPython goes on after an interrupt in here
        cell.is_inside = bool(self._shell.display_trap.is_active)
        cell.call, cell.request = _call(), pages.request_id(self._shell)
        transformers = self._shell.ast_transformers
        cell.transformers = (id(transformers), *transformers[:1])

    def transformed(self) -> Cell | None:
        """The cell whose tree is being transformed by the caller's caller; None for a tree of
        something else (`%timeit`, a silent cell), or for the second time."""
        asker = sys._getframe(3)  # noqa: SLF001 - there is no other way to know
        info = asker.f_locals.get("info") if asker.f_code is _RUN_ASYNC else None
        if info is None:  # another IPython's: it is the one that began last
            found = self._cells[-1] if self._cells else None
        else:
            found = next((cell for cell in self._cells if cell.info is info), None)
            if found is not None:
                found.is_own = sys._getframe(2).f_code is _TRANSFORM  # noqa: SLF001
        return None if found is None or found.is_entered else found

    def ended(self, result: ExecutionResult | None) -> Cell | None:
        """The cell whose end is told. After an error of its own, IPython tells it of another
        object, but from the same call."""
        begun, call = self._cells[::-1], _call()
        same = (cell for cell in begun if result is not None and cell.info is result.info)
        called = (cell for cell in begun if call is not None and cell.call is call)
        return next(same, None) or next(called, None)

    def above(self, cell: Cell) -> list[Cell]:
        """The cells that began after this one, the innermost first: it has ended, so they have."""
        return self._cells[: self._cells.index(cell) : -1]

    def dead(self) -> list[Cell]:
        """The cells that are under way no more, the innermost first."""
        if len(self._cells) < 2:  # the one that begins
            return []
        *begun, now = self._cells
        calls = set(map(id, _calls()))
        return [cell for cell in reversed(begun) if not _is_under_way(cell, now, calls)]

    def are_entered(self) -> bool:
        """Whether the body of any cell has been asked for."""
        return any(cell.is_entered for cell in self._cells)

    def forget(self, cell: Cell) -> None:
        """A cell has ended."""
        if cell in self._cells:
            self._cells.remove(cell)


def _is_under_way(cell: Cell, now: Cell, calls: set[int]) -> bool:
    """Whether a cell is, now that another begins, while these calls are on the stack."""
    if cell.call is not None and cell.thread == now.thread:
        return id(cell.call) in calls
    is_same = bool(now.request) and cell.request == now.request
    return now.is_inside or is_same or _is_served()


def _is_served() -> bool:
    """Whether a task, other than the one that runs, is inside a kernel's `do_execute`."""
    asyncio = sys.modules.get("asyncio")
    try:
        tasks = asyncio.all_tasks() - {asyncio.current_task()} if asyncio is not None else ()
    except RuntimeError:  # no loop is running
        return False
    return any("do_execute" in _awaited(task.get_coro()) for task in tasks)


def _awaited(coroutine: Any) -> Iterator[str]:
    """The names of the coroutines that wait for one another, the outermost first."""
    while coroutine is not None:
        yield getattr(coroutine, "__name__", "")
        coroutine = getattr(coroutine, "cr_await", None)


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        yield frame
        frame = frame.f_back


def _calls() -> Iterator[FrameType]:
    """The calls of `run_cell` that are under way in this thread."""
    return (frame for frame in _frames() if frame.f_code is _RUN)


def _call() -> FrameType | None:
    """The innermost of them, if it is that of the cell whose hook this is."""
    tasks = 0
    for frame in _frames():
        tasks += frame.f_code is _RUN_ASYNC
        if tasks > 1:
            break
        if frame.f_code is _RUN:
            return frame
    return None
