"""What one change runs again, and what it leaves alone; `dependency_cases.py` has the cases.

Each notebook is run, edited, asked for its last step and then for all, then edited back after a
restart. Every answer is held against a run from the top, and every run against the case.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from dependency_cases import CASES, Case
from oracle.canon import canon
from oracle.kernel import Kernel, shown_by
from oracle.top import Executor

from pipestate.cell.names import is_hidden


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """One shell for all sessions of this file."""
    main = sys.modules["__main__"]
    made = Kernel()
    sys.modules["__main__"] = main
    yield made
    sys.modules["__main__"] = main


class Page:
    """A notebook as a front end has it: its cells in their order, each as last edited."""

    def __init__(self, kernel: Kernel, case: Case) -> None:
        self._kernel = kernel
        self._top = Executor(kernel.text_of)
        self._case = case
        self.cells = dict(case.cells)
        self.ran: list[str] = []

    def ask(self, step: str) -> None:
        """Run a step's cell; it shows what a run from the top shows."""
        names = list(self.cells)
        above = [(one, self.cells[one]) for one in names[: names.index(step) + 1]]
        want = self._top.run(above)
        events, error = self._kernel.cell(f"%%step {step}\n{self.cells[step]}")
        badges = [event for event in events if event.kind == "badge"]
        self.ran += [event.step for event in badges if event.text == "ran"]
        off = [event.why for event in badges if "off for this cell" in event.why]
        assert (off, error) == ([], None)
        assert (step, shown_by(step, events)[0]) == (step, want.shown)

    def ask_all(self) -> None:
        """Run all cells in order; the namespace is that of a run from the top."""
        for step in self.cells:
            self.ask(step)
        assert self._kernel.cell("%pipe load")[1] is None
        want = self._top.run(list(self.cells.items())).ns
        now = self._kernel.names()
        names = {name for name in want if not is_hidden(name)}
        assert sorted(names - now.keys()) == []
        wanted = canon({name: want[name] for name in names})
        found = canon({name: now[name] for name in names})
        differing = {n: (wanted[n], found[n]) for n in wanted if wanted[n] != found[n]}
        assert differing == {}

    def edit(self, cells: dict[str, str]) -> set[str]:
        """Edit some cells, then ask for the last, then for all; the steps that ran for it."""
        self.ran.clear()
        self.cells.update(cells)
        for step in cells:
            self.ask(step)
        self.ask(list(self.cells)[-1])
        self.ask_all()
        return set(self.ran) - cells.keys() - self._case.always


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[f"{one.topic}: {one.title}" for one in CASES])
def test_an_edit_runs_again_what_depends_on_it(kernel: Kernel, case: Case) -> None:
    """That and nothing else, and an edit back runs nothing."""
    with kernel.session(1):
        page = Page(kernel, case)
        page.ask_all()
        assert set(page.ran) == case.cells.keys()
        assert page.edit(case.edits) == case.again - case.always
        kernel.restart()
        page.ran.clear()
        page.cells.update({step: case.cells[step] for step in case.edits})
        page.ask_all()
        assert set(page.ran) == case.always
