"""Random notebooks (cells of a few typed statements, with edited variants) and sessions."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Sequence

from .kernel import Action
from .templates import MARK, POOL, TEMPLATES

Statement = str
Cell = tuple[Statement, ...]


class Draw:
    """Random notebooks and sessions from one seed; `also` names diets beside the usual ones.

    Cells draw random numbers below a cell that seeds: what nobody seeded is no input, so a run from
    the top has nothing to say about it.
    """

    def __init__(self, seed: int, also: Sequence[str] = ()) -> None:
        self._random = random.Random(seed)
        self._env: dict[str, str] = {}
        self._odds = {"basic": 1.0}
        for extra, odds in (("random", 0.12), ("frames", 0.1), ("arrays", 0.1), ("exotic", 0.12)):
            if self._random.random() < odds:
                self._odds[extra] = 0.3
        self._odds.update(dict.fromkeys(also, 0.1))
        self._is_seeded = False

    def session(self) -> list[Action]:
        """A notebook and a session over it, as actions."""
        notebook = [self._variants() for _ in range(self._random.randint(3, 7))]
        actions: list[Action] = []
        now = dict.fromkeys(range(len(notebook)), 0)
        ran: list[int] = []
        if self._random.random() < 0.7:
            for cell in range(self._random.randint(2, len(notebook))):
                self._run(actions, notebook, now, ran, cell)
        for _ in range(self._random.randint(4, 12)):
            self._step(actions, notebook, now, ran)
        if self._random.random() < 0.6:
            actions.append(("all",))
        return actions

    def _step(
        self, actions: list[Action], notebook: list[list[Cell]], now: dict[int, int], ran: list[int]
    ) -> None:
        draw = self._random
        cell = draw.randrange(len(notebook))
        fresh = [c for c in range(len(notebook)) if c not in ran]
        what = draw.choices(
            ("next", "run", "again", "edit", "restart", "jump", "all"), (3, 4, 2, 5, 2, 2, 1)
        )[0]
        if what == "next" and fresh:
            cell = fresh[0]
        elif what == "again" and ran:
            cell = ran[-1]
        elif what == "edit":
            now[cell] = draw.randrange(len(notebook[cell]))
        elif what == "restart":
            actions.append(("restart",))
            return
        elif what == "jump" and ran:
            actions.append(("restart",))
            cell = max(draw.choice(ran), draw.choice(ran))
        elif what == "all":
            actions.append(("all",))
            return
        self._run(actions, notebook, now, ran, cell)

    def _run(
        self,
        actions: list[Action],
        notebook: list[list[Cell]],
        now: dict[int, int],
        ran: list[int],
        cell: int,
    ) -> None:
        actions.append(("run", f"s{cell}", notebook[cell][now[cell]]))
        ran.append(cell)
        if self._random.random() < 0.4:
            actions.append(("probe", self._random.choice(("plain", "load"))))

    # --- cells ---

    def _variants(self) -> list[Cell]:
        before, was_seeded = dict(self._env), self._is_seeded
        cell = tuple(self._statement() for _ in range(self._random.randint(1, 4)))
        after, is_seeded = self._env, self._is_seeded
        variants = [cell]
        for _ in range(self._random.randint(0, 2)):
            self._env, self._is_seeded = dict(before), was_seeded
            variants.append(self._edited(cell))
        self._env, self._is_seeded = after, is_seeded
        return variants

    def _edited(self, cell: Cell) -> Cell:
        draw = self._random
        at = draw.randrange(len(cell))
        how = draw.random()
        if how < 0.25 and len(cell) > 1:
            return cell[:at] + cell[at + 1 :]
        if how < 0.6:
            numbers = list(re.finditer(r"\b\d\b", cell[at]))
            if numbers:
                one = draw.choice(numbers)
                text = cell[at][: one.start()] + str(draw.randint(0, 6)) + cell[at][one.end() :]
                return (*cell[:at], text, *cell[at + 1 :])
        if how < 0.7:
            return (*cell[:at], self._statement(), *cell[at:])
        return (*cell[:at], self._statement(), *cell[at + 1 :])

    def _statement(self) -> Statement:
        for _ in range(60):
            kind = self._random.choices([*self._odds], [*self._odds.values()])[0]
            template = self._random.choice(TEMPLATES[kind])
            if "randint" in template and not self._is_seeded:
                continue
            text = self._fill(template)
            if text is not None:
                return text
        return f"k = {self._random.randint(0, 6)}"

    def _fill(self, template: str) -> str | None:
        binds: dict[str, str] = {}
        gone: list[str] = []

        def name(mark: re.Match[str]) -> str:
            sign, kind = mark.groups()
            if kind == "c" or (kind == "i" and self._random.random() < 0.5):
                return str(self._random.randint(0, 6))
            if sign == "+":
                chosen = self._random.choice(POOL[kind].split())
                binds[chosen] = kind
                return chosen
            there = [n for n, k in self._env.items() if k == ("int" if kind == "i" else kind)]
            if not there:
                if kind == "i":
                    return str(self._random.randint(0, 6))
                raise LookupError(kind)
            chosen = self._random.choice(there)
            if sign == "-":
                gone.append(chosen)
            return chosen

        try:
            text = MARK.sub(name, template)
            ast.parse(text)
        except (LookupError, SyntaxError):
            return None
        if text.startswith("import "):
            binds[text.split()[1].strip()] = text.split()[1].strip()
        self._is_seeded = self._is_seeded or ".seed(" in text
        for one in gone:
            self._env.pop(one, None)
        self._env.update(binds)
        return text
