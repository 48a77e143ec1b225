"""A fold that is moved along: a job as it stands, at a cost of what each run says and no more.

`history` makes of a pipe another one, and copies what differs. Who adds one run after another and
looks at a step in between would copy the whole job each time; here it is copied when somebody asks
for the pipe. Pure: the pipes that were given out are never changed.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..record import Digest, Pipe, Run
from .history import Draft, fold

_ROOM = 64
"""Runs that may wait in a small job; in a big one, as many as it has steps."""


class Folding:
    """A job after all the runs that were added.

        add ─── a run waits ─── _Stretch.draft takes it ─── pipe, when asked for

    What counts is that a run waits, which is one step: an interrupt may come at any other, and a
    signal's handler may look at the job and add a run that is about to be added.
    """

    __slots__ = ("_stretch",)

    def __init__(self, pipe: Pipe) -> None:
        self._stretch = _Stretch(pipe)

    @property
    def number(self) -> int:
        """The number of the last run."""
        waiting, pipe = self._stretch.waiting, self._stretch.pipe
        return waiting[-1][0].number if waiting else pipe.number

    def add(self, runs: Iterable[Run], *, keep: int) -> None:
        """Take runs that follow, each once. `keep` is how many records of a step are at hand
        afterwards."""
        waiting, pipe = self._stretch.waiting, self._stretch.pipe
        waiting.extend([(run, keep) for run in runs])
        if len(waiting) > _ROOM + len(pipe.heads):
            self.pipe()

    def after(self, runs: Iterable[Run], *, keep: int) -> Pipe:
        """The pipe as it would be after these, which are not taken."""
        return fold(self.pipe(), runs, keep=keep)

    def go_on(self, pipe: Pipe) -> None:
        """Start again from a pipe, where it has not gone further."""
        if pipe.number > self.number:
            self._stretch = _Stretch(pipe)

    @property
    def settled(self) -> Pipe | None:
        """The job as a pipe where no run waits; None else."""
        stretch = self._stretch
        return None if stretch.waiting else stretch.pipe

    def pipe(self) -> Pipe:
        """The job as a pipe."""
        stretch = self._stretch
        if not stretch.waiting:
            return stretch.pipe
        pipe = stretch.end()
        if self._stretch is stretch and self.number <= pipe.number:
            self._stretch = _Stretch(pipe)
        return self.pipe()

    def head(self, step: str) -> Digest | None:
        """The record in force for a step."""
        head: Digest | None = self._stretch.draft().part("heads").get(step)
        return head

    @property
    def steps(self) -> int:
        """How many steps have a record in force."""
        return len(self._stretch.draft().part("heads"))


class _Stretch:
    """A pipe, and the runs that came since; what they make of it is made again after an interrupt
    that left it half made."""

    __slots__ = ("_draft", "_is_whole", "_taken", "pipe", "waiting")

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.waiting: list[tuple[Run, int]] = []
        self._draft, self._taken, self._is_whole = Draft(pipe), 0, True

    def draft(self) -> Draft:
        """The parts of the pipe after all that waits."""
        draft, taken = (self._draft, self._taken) if self._is_whole else (Draft(self.pipe), 0)
        if taken < len(self.waiting):
            self._is_whole = False  # who looks now, from within, makes a draft of its own
            runs = self.waiting[taken:]
            for run, keep in runs:
                if run.number > draft.number:
                    draft.take(run, keep)
            self._draft, self._taken = draft, taken + len(runs)
        self._is_whole = True
        return draft

    def end(self) -> Pipe:
        """The pipe after all that waits; no more can be added."""
        draft, self._is_whole = self.draft(), False
        return draft.pipe()
