"""The steps to run besides the one asked for, in order, each once.

One mechanism for all who need it: what is stale above a step that is asked for (mode `lazy`), what
makes again a value that could not be kept, setup steps in a new kernel, and whole ranges of steps.
It only says which step is next and why, looking again after each run: a step that came out equal
leaves those below it fresh (early cut-off).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ..cell.names import Names
from ..errors import UsageError
from ..ledger import Ledger
from ..pipe import graph
from ..pipe.graph import Touches
from ..pipe.status import STEP_VALUE, Reason, because
from ..record import ABSENT, Digest, Record
from .outlook import Outlook
from .trial import Task


FILE = "file:"
"""Before a path, it makes a name of a file: one that no identifier can be."""


class Runner(Protocol):
    """What the cascade asks of a session."""

    ledger: Ledger

    def task_of(self, step: str) -> Task: ...

    def outlook(self, task: Task) -> Outlook: ...

    def verdict(self, task: Task, outlook: Outlook) -> Reason | tuple[Digest, Record]: ...


def next_stale(
    runner: Runner, steps: Iterable[str], fresh: set[str]
) -> tuple[str, Reason | tuple[Digest, Record]] | None:
    """The first of `steps` that is not what a run would leave now, and what to do about it.

    Steps found in force are added to `fresh`, so that the next look need not judge them again;
    whoever runs a step in between clears it.
    """
    for step in steps:
        if step in fresh:
            continue
        head = runner.ledger.head(step)
        if head is not None and head.is_set:
            continue
        task = runner.task_of(step)
        if task.line.setup:
            continue
        if head is not None and not head.is_done and _is_unchanged(task, head):
            raise UsageError(
                str(because("unfinished", step, detail=task.line.done or "")),
                f"run {step} until it is done",
            )
        if head is not None and task.line.always and _is_unchanged(task, head):
            continue
        verdict = runner.verdict(task, runner.outlook(task))
        if isinstance(verdict, Reason) or verdict[0] != runner.ledger.pipe.heads.get(step):
            return step, verdict
        fresh.add(step)
    return None


def _is_unchanged(task: Task, head: Record) -> bool:
    return head.normal == task.normal


def needed_by(
    runner: Runner, task: Task, outlook: Outlook, analyse: Callable[[str], Names | None]
) -> tuple[str, ...]:
    """The steps above a task that may have a part in what it reads, in order."""
    steps = graph.above(outlook.order, task.step)
    names = {path.name for path in outlook.paths(task.names)}
    names |= {n for n in touches(runner.ledger, task.step, analyse).reads if n.startswith(FILE)}
    names |= {FILE + path for path in task.line.reads}
    return graph.needed(steps, names, lambda step: touches(runner.ledger, step, analyse))


def touches(ledger: Ledger, step: str, analyse: Callable[[str], Names | None]) -> Touches:
    """What a step did when it last ran, and what its source, as last seen, could do."""
    reads: set[str] = set()
    binds: set[str] = {STEP_VALUE + step}
    changes: set[str] = set()
    record = ledger.head(step)
    if record is not None:
        reads |= {one.path.name for one in record.inputs if one.whole != ABSENT}
        reads |= {FILE + one.path for one in record.files_read}
        changes |= {FILE + one.path for one in record.files_written}
        changes |= {name for version in record.outputs for name in version.names}
        changes |= {*record.made, *record.gone}
    names = analyse(step)
    if names is not None:
        reads |= {path.name for path in names.reads}
        binds |= names.binds
        changes |= names.may_bind | names.deletes | names.writes | names.kept
    return Touches(frozenset(reads), frozenset(binds), frozenset(changes))


def makers_of(ledger: Ledger, name: str, upto: str) -> tuple[str, ...]:
    """The steps that made a value and those that used it since, down to `upto`."""
    order = ledger.pipe.order
    found: list[str] = []
    for step in (*graph.above(order, upto), upto):
        record = ledger.head(step)
        version = record.version_of(name) if record else None
        if version is None:
            continue
        assert record is not None
        if not any(one.path.name == name and one.whole != ABSENT for one in record.inputs):
            found = []
        found.append(step)
    return tuple(found)
