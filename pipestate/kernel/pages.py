"""The page of an earlier cell: where a step's outputs go when it runs for another cell's sake.

A message belongs to the cell whose request it names as its parent. So the request that a step's
cell came with is remembered, and while the step runs from elsewhere its messages name that one: a
front end puts them under the step's own cell, streams, figures and tracebacks alike, and the saved
notebook has them there. Nothing is acknowledged, so only a cell that is surely there is written to:
one with an id, of this page's session, that no message has told to be deleted.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field


class Page(Struct, frozen=True):
    """A cell's request, and the number that the cell had."""

    request: Mapping[str, Any]
    count: int


class Pages(Struct):
    """The pages of the cells that have run in this kernel, by the cell's id, and the cells that
    the front end tells are deleted."""

    known: dict[str, Page] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def meet(self, shell: Any, cell: str) -> None:
        """A cell begins to run: remember its request, forget the cells that it tells are gone."""
        request = _request(shell)
        for gone in request.get("metadata", {}).get("deletedCells") or ():
            self.known.pop(gone, None)
            self.gone.add(gone)
        if cell and request:
            self.gone.discard(cell)  # a front end can undo a deletion
            self.known[cell] = Page(request, shell.execution_count)

    def find(self, shell: Any, cell: str) -> Page | None:
        """The page of a cell other than the one that runs, if it can be written to."""
        page, now = self.known.get(cell), _request(shell)
        if page is None or not now or _id(page.request) == _id(now):
            return None
        return page if _session(page.request) == _session(now) else None


@contextlib.contextmanager
def opened(shell: Any, page: Page) -> Iterator[None]:
    """Until the end, what is shown goes to that page, in place of what it showed before."""
    now, count = _request(shell), shell.execution_count
    _flush()
    shell.set_parent(page.request)
    shell.execution_count = page.count
    try:
        shell.display_pub.clear_output(wait=True)
        yield
    finally:
        _flush()
        shell.set_parent(now)
        shell.execution_count = count


def request_id(shell: Any) -> str:
    """The id of the request that runs now; "" where there is no kernel."""
    return _id(_request(shell))


def _request(shell: Any) -> Mapping[str, Any]:
    """The message that the cell which runs now came with; empty where there is no kernel."""
    kernel = getattr(shell, "kernel", None)
    get_parent = getattr(kernel, "get_parent", None)
    return (get_parent("shell") if get_parent is not None else None) or {}


def _id(request: Mapping[str, Any]) -> str:
    return str(request.get("header", {}).get("msg_id", ""))


def _session(request: Mapping[str, Any]) -> str:
    return str(request.get("header", {}).get("session", ""))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the user may have put anything there
            stream.flush()
