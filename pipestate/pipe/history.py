"""A job is the fold of its runs: what one more run makes of a pipe.

Pure: a pipe is never changed, a run gives the next one. Undo and checkout are folds of fewer runs,
as in jj's log of operations. Knows no store; whoever reads a log folds it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..record import Meaning, Pipe, Run, no_record
from . import deltas

_EXECUTED = ("ran", "failed", "set")

LOOKED_AT: Final = frozenset({"heads", "seen"})
"""The parts of which somebody asks what has moved."""

KEPT: Final = 20
"""How many records of a step are at hand to be restored, where nobody says otherwise."""


def after(pipe: Pipe, run: Run, *, keep: int = KEPT) -> Pipe:
    """The pipe after one more run. Costs a copy of the parts that the run changes."""
    return fold(pipe, (run,), keep=keep)


def fold(pipe: Pipe, runs: Iterable[Run], *, keep: int = KEPT) -> Pipe:
    """The pipe after all of `runs`, which follow it in order; copied once, however many.

    `keep` is how many records of a step are at hand afterwards.
    """
    draft = Draft(pipe)
    for run in runs:
        draft.take(run, keep)
    return draft.pipe()


class Draft:
    """The parts of the next pipe: `_changed` are those that differ, copied at the first change, and
    `_moved` the keys in which these may."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._changed: dict[str, Any] = {}
        self._moved: dict[str, set[str]] = {}
        # Steps that run for the first time stand at the end. Until somebody asks for the order,
        # they wait in `_last`, so that many of them cost no copy of it each.
        self._last: list[str] = []
        self._placed: set[str] | None = None

    def pipe(self) -> Pipe:
        """The next pipe, which has the parts from then on: the draft is at its end."""
        self._order()
        for name in LOOKED_AT & self._moved.keys():
            deltas.note(getattr(self._pipe, name), self._changed[name], self._moved[name])
        return self._pipe.replace(**self._changed)

    @property
    def number(self) -> int:
        """The number of the last run that was taken."""
        number: int = self._changed.get("number", self._pipe.number)
        return number

    def take(self, run: Run, keep: int) -> None:
        """One more run, after which so many records of a step are at hand."""
        self._changed["number"] = run.number
        if run.event == "damaged":
            self._doubt(run.reason)
            return
        if run.event in ("renamed", "dropped"):
            gone = [step for step, record in run.heads.items() if record is None]
            if run.event == "renamed":
                self._rename(gone, run.step)
            else:
                self._drop([run.step, *gone])
        self._update("heads", run.heads)
        self._update("meanings", run.meanings)
        self._update("imports", run.imports)
        if run.seen is not None and run.event != "dropped":
            self._update("seen", {run.step: run.seen})
        self._count(run)
        self._keep(run, keep)
        self._place(run)

    def _doubt(self, reason: str) -> None:
        """What a run changed that cannot be read is not known: it may be any of the job.

        Steps keep their places and the records that their own cells may restore; what they and
        their names stand for, and with what source, is for their next run to say.
        """
        steps = [*self._order(), *self.part("heads")]
        self._update("heads", {step: no_record(step, reason) for step in steps})
        doubtful = {
            name: Meaning(known.maker, no_record(known.maker, reason), known.digest)
            for name, known in self.part("meanings").items()
        }
        self._update("meanings", doubtful)
        for name in ("seen", "imports", "failed"):
            self._changed[name] = {}
            self._moved.pop(name, None)

    def _keep(self, run: Run, most: int) -> None:
        """Records before a forced run or a `set` come back only when somebody asks for them."""
        if run.record is None or run.event not in ("ran", "set"):
            return
        ended = run.is_forced or run.event == "set"
        earlier = () if ended else self.part("kept").get(run.step, ())
        kept = dict.fromkeys((run.record, *earlier))
        self._update("kept", {run.step: tuple(kept)[:most]})

    def _count(self, run: Run) -> None:
        if run.event in _EXECUTED:
            self._update("runs", {run.step: self.part("runs").get(run.step, 0) + 1})
        if run.event == "failed":
            self._update("failed", {run.step: run.reason})
        elif run.event in ("ran", "restored", "set"):
            self._update("failed", {run.step: None})

    def _place(self, run: Run) -> None:
        """A step stands where the run says, else where it first ran: at the end."""
        if run.order is not None:
            self._put_order(_with_all(run.order, self._order()))
        named = [step for step, record in run.heads.items() if record is not None]
        if run.event in (*_EXECUTED, "restored"):
            named.insert(0, run.step)
        for step in named:
            if step and not self._has_place(step):
                self._last.append(step)

    def _has_place(self, step: str) -> bool:
        if "order" not in self._changed and step in self._pipe.heads:
            return True
        if self._placed is None:
            self._placed = set(self._order())
        is_known = step in self._placed
        self._placed.add(step)  # by who asks, if it had none
        return is_known

    def _rename(self, old: list[str], new: str) -> None:
        """Place, count and failure move along with the step."""
        for part in ("seen", "failed", "runs", "kept"):
            for step in old:
                if step in self.part(part):
                    self._update(part, {new: self.part(part)[step], step: None})
        order = dict.fromkeys(new if step in old else step for step in self._order())
        self._put_order(tuple(order))

    def _drop(self, steps: list[str]) -> None:
        for part in ("heads", "seen", "failed", "runs", "kept"):
            self._update(part, dict.fromkeys(steps))
        self._put_order(tuple(step for step in self._order() if step not in steps))

    def _put_order(self, order: tuple[str, ...]) -> None:
        self._changed["order"], self._placed = order, None

    def _order(self) -> tuple[str, ...]:
        order: tuple[str, ...] = self._changed.get("order", self._pipe.order)
        if self._last:
            order = self._changed["order"] = (*order, *self._last)
            self._last = []
        return order

    def part(self, name: str) -> dict[str, Any]:
        """A part as it stands; not to be changed, and not for long."""
        part: dict[str, Any] | None = self._changed.get(name)
        return getattr(self._pipe, name) if part is None else part

    def _update(self, name: str, news: Mapping[str, Any]) -> None:
        """Set what `news` says and remove what it says None of."""
        if not news:
            return
        part = self.part(name)
        for key, value in news.items():
            if (key not in part) if value is None else part.get(key) == value:
                continue
            if name not in self._changed:
                part = self._changed[name] = dict(part)
                self._moved[name] = set()
            if name in self._moved:
                self._moved[name].add(key)
            if value is None:
                del part[key]
            else:
                part[key] = value


def _with_all(order: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """An order, and the steps that it leaves out, each after the one that it stood after: another
    process has added them while this order was made."""
    row, here = list(order), set(order)
    if here.issuperset(known):
        return order
    for before, step in zip((None, *known), known, strict=False):
        if step not in here:
            row.insert(row.index(before) + 1 if before is not None else 0, step)
    return tuple(row)
