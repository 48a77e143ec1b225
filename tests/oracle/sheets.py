"""Notebooks of steps and plain cells in known places, played in any order.

A step that ran or was restored, and is fresh then, shows and binds what a run from the top would:
of all cells down to it, plain ones too, each with its source as last run. A step that stands on a
plain cell which has to run again says so, and is not held to that.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .canon import canon
from .generate import Cell, Draw
from .kernel import Difference, Event, Kernel, shown_by
from .top import Executor


class Sheets(Draw):
    """Random cells, some of them plain. None has a generator: a plain cell uses it up unseen."""

    def cells(self) -> list[tuple[str, list[Cell]]]:
        """The kind of each cell, "plain" or "step", and its sources."""
        draw = self._random
        return [
            ("plain" if draw.random() < 0.4 else "step", self._variants())
            for _ in range(draw.randint(3, 6))
        ]

    def _fill(self, template: str) -> str | None:
        return None if re.search(r"\bnext\(|= \(x for", template) else super()._fill(template)


@dataclass
class Sheet:
    """One session: which cells ran with which sources, and the plain ones that do not count."""

    kernel: Kernel
    seed: int
    ran: dict[int, str] = field(default_factory=dict)
    plain: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    compared: int = 0
    spared: int = 0

    def play(self) -> None:
        """Raises Difference."""
        draw = random.Random(self.seed)
        cells = Sheets(self.seed).cells()
        with self.kernel.session(self.seed):
            self._save(len(cells))
            self.plain = {at for at, (kind, _) in enumerate(cells) if kind == "plain"}
            for number in range(draw.randint(5, 16)):
                if number and draw.random() < 0.12:
                    self.kernel.restart()
                    self.lost |= self.plain & self.ran.keys()
                is_next = number < len(cells) and draw.random() < 0.6
                at = number if is_next else draw.randrange(len(cells))
                variants = cells[at][1]
                source = "\n".join(draw.choice(variants) if draw.random() < 0.4 else variants[0])
                if not self._run(at, source, is_step=at not in self.plain):
                    return

    def _run(self, at: int, source: str, *, is_step: bool) -> bool:
        """Run a cell; False where nobody can say what comes after."""
        events, error = self.kernel.cell(f"%%step s{at}\n" * is_step + source, f"c{at}")
        self.ran[at] = source
        if not is_step:
            self._judge_plain(at)
            return error is None  # what a failing plain cell did is nobody's
        is_told = error is None and not self.lost and self._check(at, events)
        self.compared += is_told
        self.spared += not is_told
        return True

    def _judge_plain(self, at: int) -> None:
        """Plain cells run on what stands, twice if they are run twice: those count that made what a
        run from the top makes, and no other ran above them since."""
        self.lost |= {one for one in self.ran if one > at and one in self.plain}
        self.lost.discard(at)
        want = Executor(self.kernel.text_of).run(self._down_to(at))
        now = self.kernel.names()
        names = want.bound | want.changed
        if (
            want.failed
            or not names <= now.keys()
            or canon({n: want.ns[n] for n in names}) != canon({n: now[n] for n in names})
        ):
            self.lost.add(at)

    def _down_to(self, at: int) -> list[tuple[str, str]]:
        return [(f"s{one}", self.ran[one]) for one in sorted(self.ran) if one <= at]

    def _save(self, count: int) -> None:
        rows = [{"cell_type": "code", "id": f"c{at}", "source": ""} for at in range(count)]
        path = Path("sheet.ipynb").absolute()
        path.write_text(json.dumps({"cells": rows}), encoding="utf-8")
        os.environ["JPY_SESSION_NAME"] = str(path)
        self.kernel.restart()

    def _check(self, at: int, events: Sequence[Event]) -> bool:
        """Compare a step with the run from the top, if it is one that can be held to that."""
        step = f"s{at}"
        told, _ = self.kernel.cell(f"%pipe why {step}")
        above = self._down_to(at)
        want = Executor(self.kernel.text_of).run(above)
        is_fresh = any(f"{step} is fresh" in event.text for event in told)
        if not is_fresh or want.failed or want.shown.error:
            return False
        if any("random" in source for _, source in above):
            return False
        got, state = shown_by(step, events)
        why = [event.why for event in events if event.kind == "badge"]
        if got != want.shown:
            raise Difference("shown", f"{step} ({state}): {got}, from the top {want.shown}; {why}")
        now = self.kernel.names()
        names = sorted(want.bound & now.keys())
        wanted, found = canon({n: want.ns[n] for n in names}), canon({n: now[n] for n in names})
        if wanted != found:
            raise Difference("names", f"{step} ({state}): {found}, from the top {wanted}; {why}")
        return True
