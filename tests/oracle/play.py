"""A session, action by action, each checked against the run from the top."""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from .canon import Canon, canon
from .kernel import Action, Difference, Event, Kernel, shown_by
from .reach import globals_in
from .top import Bare, Executor, parse

EITHER = "?"
"""For a step: a name may mean what one or another left, and both are right."""


@dataclass
class Count:
    """How much was checked, and how many bodies ran although nothing had changed."""

    sessions: int = 0
    actions: int = 0
    runs: int = 0
    restored: int = 0
    others: int = 0
    refused: int = 0
    overcautious: int = 0
    needless: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: Count) -> None:
        for counted in fields(self):
            if counted.name != "examples":
                total = getattr(self, counted.name) + getattr(other, counted.name)
                setattr(self, counted.name, total)
        self.examples = [*self.examples, *other.examples][:40]

    def __str__(self) -> str:
        return (
            f"{self.sessions} sessions, {self.actions} actions: {self.runs} bodies ran, "
            f"{self.restored} restored, {self.others} for another's sake, {self.refused} refused "
            f"({self.overcautious} needlessly), {self.needless} ran needlessly"
        )


class Play:
    """One session, checked as it goes.

    `is_refused_seen` says whether an attempt that was refused counts for the place and the source
    of its step, as one that failed does.
    """

    is_refused_seen = True

    def __init__(self, kernel: Kernel, count: Count | None = None) -> None:
        self._kernel = kernel
        self._count = count or Count()
        self._top = Executor(kernel.text_of)
        self._order: list[str] = []
        self._sources: dict[str, str] = {}
        self._meanings: dict[str, str] = {}
        self._made: dict[str, frozenset[str]] = {}
        self._last: tuple[str, Bare, frozenset[str]] | None = None
        self._kept: set[tuple[str, str]] = set()
        self._at = -1

    def play(self, actions: Sequence[Action], salt: int = 0) -> Difference | None:
        """The first difference, or None."""
        self._count.sessions += 1
        with self._kernel.session(salt):
            for self._at, action in enumerate(actions):
                self._count.actions += 1
                try:
                    self._act(action)
                except Difference as found:
                    found.at = self._at
                    return found
        return None

    def _act(self, action: Action) -> None:
        if action[0] == "run":
            self._run(action[1], "\n".join(action[2]))
        elif action[0] == "restart":
            self._kernel.restart()
        elif action[0] == "probe":
            self._probe(action[1])
        elif action[0] == "all":
            self._run_all()

    # --- one cell ---

    def _run(self, step: str, source: str) -> Bare | None:
        known = (list(self._order), dict(self._sources))
        if step not in self._order:
            self._order.append(step)
        self._sources[step] = source
        self._last = None
        cells = self._down_to(step)
        want = self._top.run(cells)
        events, error = self._kernel.cell(f"%%step {step}\n{source}")
        self._check_inside(events)
        self._weigh(events)
        if want.failed:
            if not self._hangs_on_chance(cells):
                self._check_refusal(step, cells, want, events, error)
            if type(error).__name__ == "StepRefused" and not self.is_refused_seen:
                self._order, self._sources = known
            return None
        if self._hangs_on_chance(cells):
            return None
        if want.shown.error:
            self._check_error(step, want.shown.error, error, events)
            return None
        return self._check(step, cells, want, events, error)

    def _hangs_on_chance(self, cells: Sequence[tuple[str, str]]) -> bool:
        """Whether X asserts something of what it or a cell above drew and nobody has seeded."""
        step, source = cells[-1]
        if "assert" not in source or not any("random" in text for _, text in cells):
            return False
        drawn = [*cells[:-1], (step, re.sub(r"(?m)^(\s*)assert .*", r"\1pass", source))]
        # Two draws of a hundred are the same once in a hundred programs: four are not.
        one, *others = (self._top.run(drawn, salt=salt, mend="stop").ns for salt in range(4))
        return any(
            name not in other or Canon().of(value) != Canon().of(other[name])
            for name, value in one.items()
            if self._is_named(name, source)
            for other in others
        )

    def _down_to(self, step: str) -> list[tuple[str, str]]:
        above = self._order[: self._order.index(step) + 1]
        return [(one, self._sources[one]) for one in above]

    def _check_inside(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.step == "" and ("off for this cell" in event.why or "not kept" in event.why):
                raise Difference("inside", event.why)

    def _check_error(
        self, step: str, want: str, error: BaseException | None, events: Sequence[Event]
    ) -> None:
        got = type(error).__name__ if error is not None else "no error"
        if got != want:
            raise Difference(
                "error", f"{step} raises {want} from the top, here {got}: {error} {_badges(events)}"
            )

    def _check_refusal(
        self,
        step: str,
        cells: Sequence[tuple[str, str]],
        want: Bare,
        events: Sequence[Event],
        error: BaseException | None,
    ) -> None:
        """A cell above fails: X is refused, unless nothing of X can depend on that cell."""
        ways = ("skip", "halt", "limp")
        others = [self._top.run(cells, mend=mend) for mend in ways]
        forms = [_form(one) for one in others]
        is_refused = type(error).__name__ == "StepRefused"
        if is_refused:
            failing = self._failing(cells)
            if not any(one in str(error) for one in failing):
                raise Difference("refusal", f"{step} is refused, but not for {failing}: {error}")
            self._count.refused += 1
            is_harmless = len(set(forms)) == 1 and not others[0].shown.error
            self._count.overcautious += is_harmless
        elif self._draws(cells, forms, ways):
            return
        elif len(set(forms)) > 1:
            raise Difference(
                "refusal",
                f"{step} is not refused, although {want.failed} above "
                f"raises {want.shown.error}: {error!r} {_badges(events)}",
            )
        elif others[0].shown.error:
            self._check_error(step, others[0].shown.error, error, events)
        else:
            self._check(step, [c for c in cells if c[0] != want.failed], others[0], events, error)
            self._last = None

    def _draws(
        self, cells: Sequence[tuple[str, str]], forms: Sequence[str], ways: Sequence[str]
    ) -> bool:
        """Whether X draws at random what nobody above has seeded, however the failure is mended."""
        if not any("random" in source for _, source in cells):
            return False
        others = [_form(self._top.run(cells, salt=1, mend=mend)) for mend in ways]
        return all(form != other for form, other in zip(forms, others, strict=True))

    def _failing(self, cells: Sequence[tuple[str, str]]) -> list[str]:
        found = []
        for number in range(len(cells) - 1):
            if self._top.run(cells[: number + 1], mend="stop").shown.error:
                found.append(cells[number][0])
        return found

    def _check(
        self,
        step: str,
        cells: Sequence[tuple[str, str]],
        want: Bare,
        events: Sequence[Event],
        error: BaseException | None,
    ) -> Bare:
        if error is not None:
            raise Difference(
                "error",
                f"{step} raises nothing from the top, here "
                f"{type(error).__name__}: {error} {_badges(events)}",
            )
        got, state = shown_by(step, events)
        if not state:
            raise Difference("badge", f"{step} has no badge: {events}")
        vague = self._vague(cells, want)
        if got != want.shown and "shown" not in vague:
            raise Difference(
                "shown",
                f"{step} ({state}) shows {want.shown} from the top, here {got} {_badges(events)}",
            )
        later = set(self._order[self._order.index(step) + 1 :])
        movable = {
            name
            for name in want.changed
            if self._is_named(name, cells[-1][1])
            or (
                self._meanings.get(name) not in later
                and self._meanings.get(name) == self._seen(name, step)
            )
        }
        names = (want.bound | movable) - vague
        # A step in between that ran for this one's sake may have brought it along, or not.
        helpers = {event.step for event in events if event.step and event.step != step}
        for name in want.changed - movable:
            if self._seen(name, step) in helpers:
                self._meanings[name] = EITHER
        for name in want.bound | movable:
            self._meanings[name] = step
        self._made[step] = want.bound | want.changed
        self._last = (step, want, frozenset(names))
        return want

    def _is_named(self, name: str, source: str) -> bool:
        nodes = ast.walk(parse(source))
        return any(isinstance(node, ast.Name) and node.id == name for node in nodes)

    def _seen(self, name: str, step: str) -> str | None:
        """The step above that last made a name, as far as its last run tells."""
        above = self._order[: self._order.index(step)]
        return next((s for s in reversed(above) if name in self._made.get(s, ())), None)

    def _vague(self, cells: Sequence[tuple[str, str]], want: Bare) -> frozenset[str]:
        """The names, and "shown", that depend on a random state which no cell has seeded."""
        if not any("random" in source for _, source in cells):
            return frozenset()
        other = self._top.run(cells, salt=1)
        found = {"shown"} if other.shown != want.shown else set()
        for name in want.ns:
            if name not in other.ns or Canon().of(want.ns[name]) != Canon().of(other.ns[name]):
                found.add(name)
        return frozenset(found)

    # --- looking at names ---

    def _probe(self, how: str) -> None:
        """The names that the last run gave a meaning, as a cell that names them finds them."""
        if self._last is None:
            return
        step, want, names = self._last
        self._last = None
        if how == "plain":
            if not names:
                return
            events, error = self._kernel.cell(", ".join(sorted(names)) + "\npass")
            self._check_inside(events)
            if error is not None:
                raise Difference("missing", f"naming {sorted(names)} after {step}: {error!r}")
        else:
            events, error = self._kernel.cell("%pipe load " + " ".join(sorted(names)))
            self._check_inside(events)
            if error is not None:
                raise Difference("missing", f"loading {sorted(names)} after {step}: {error!r}")
        self._compare(f"after {step}", names, want)
        now = self._kernel.names()
        ghosts = [name for name in want.gone if name in now]
        if ghosts:
            raise Difference("ghost", f"after {step}: {ghosts} should be gone")

    def _compare(self, when: str, names: frozenset[str], want: Bare) -> None:
        now = self._kernel.names()
        missing = [name for name in sorted(names) if name not in now]
        if missing:
            raise Difference("missing", f"{when}: {missing} are not there")
        wanted = canon({name: want.ns[name] for name in names})
        found = canon({name: now[name] for name in names})
        alone = [n for n in wanted if Canon().of(want.ns[n]) != Canon().of(now[n])]
        if alone:
            text = "; ".join(
                f"{n}: from the top {_brief(wanted[n])}, here {_brief(found[n])}" for n in alone
            )
            raise Difference("names", f"{when}: {text}")
        if wanted != found:
            text = "; ".join(
                f"{n}: {_brief(wanted[n])} -> {_brief(found[n])}"
                for n in wanted
                if wanted[n] != found[n]
            )
            raise Difference("sharing", f"{when}: {text}")

    def _run_all(self) -> None:
        if not self._order:
            return
        want: Bare | None = None
        for step in list(self._order):
            want = self._run(step, self._sources[step])
        if want is None or self._last is None:
            return
        self._last = None
        events, error = self._kernel.cell("%pipe load")
        self._check_inside(events)
        if error is not None:
            raise Difference("missing", f"%pipe load: {error!r}")
        vague = self._vague(self._down_to(self._order[-1]), want)
        self._compare("after all", frozenset(want.ns) - vague, want)
        there = {n for n, v in self._kernel.names().items() if not isinstance(v, types.ModuleType)}
        ghosts = sorted(there - want.ns.keys())  # imports are remembered, used or not
        if ghosts:
            raise Difference("ghost", f"after all: {ghosts} should not be there")

    # --- precision ---

    def _weigh(self, events: Sequence[Event]) -> None:
        """Count what ran, and what ran although its source and all it can reach were as before."""
        badges = [e for e in events if e.kind == "badge" and e.text in ("ran", "restored")]
        for event in badges:
            self._count.runs += event.text == "ran"
            self._count.restored += event.text == "restored"
            if event.step not in self._order:
                continue
            cells = self._down_to(event.step)
            key = (self._sources[event.step], self._inputs(cells))
            is_dynamic = re.search(r"eval\(|globals\(", self._sources[event.step])
            is_lost = "could not be kept" in event.why  # then running is the only way
            if event.text == "ran" and key in self._kept and not is_dynamic and not is_lost:
                self._count.needless += 1
                self._count.examples.append(f"{event.step}: {event.why}")
            self._kept.add(key)
        self._count.others += max(0, len([e for e in badges if e.text == "ran"]) - 1)

    def _inputs(self, cells: Sequence[tuple[str, str]]) -> str:
        above = self._top.run([*cells[:-1], ("", "pass")], mend="stop").ns
        waiting = [n.id for n in ast.walk(parse(cells[-1][1])) if isinstance(n, ast.Name)]
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in above and name not in found:
                found.add(name)
                waiting.extend(globals_in(above[name]))
        seeds = sorted(s for s, source in cells[:-1] if "random" in source)
        return repr((canon({n: above[n] for n in found}), seeds))


def _form(one: Bare) -> str:
    """What a run showed and surely bound."""
    return repr((one.shown, "" if one.shown.error else canon({n: one.ns[n] for n in one.bound})))


def _badges(events: Sequence[Event]) -> str:
    return " | ".join(e.why for e in events if e.kind == "badge")


def _brief(form: Any) -> str:
    text = repr(form)
    return text if len(text) < 160 else text[:157] + "..."
