"""What a session is asked: states, imports, code, and what bringing steps up to date would do.

Nothing here changes what a name means; to answer, what plain cells made may be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..cell.names import Names, analyse
from ..cell.source import StepLine
from ..pipe import pieces, slices, status
from ..pipe.status import StepStatus, World
from ..record import Text
from . import cascade, runs
from .bench import Bench
from .outlook import Site
from .trial import Task


def statuses(bench: Bench) -> list[StepStatus]:
    """Every step with its state, judged with what this kernel holds."""
    ledger, site = bench.ledger, bench.whole()
    world = lambda step, _: _world_of(bench, step, site)  # noqa: E731
    return status.statuses(ledger.pipe, ledger.record, world)


def _world_of(bench: Bench, step: str, site: Site) -> World:
    if step in bench.ledger.pipe.seen:
        task = bench.task_of(step)
    else:
        head = bench.ledger.head(step)
        task = Task(StepLine(step), "", "", Names(), head.normal if head else "")
    return bench.world(task, bench.outlook(task, site))


def plan(bench: Bench, steps: Iterable[str]) -> list[cascade.Planned]:
    """What bringing steps up to date would do."""
    return cascade.plan(bench, steps, statuses(bench))


def imports(bench: Bench) -> dict[str, str]:
    """The import statements that the job remembers, by the name that each binds."""
    pipe = bench.ledger.pipe
    made = {
        name: version.source
        for record in bench.records(pipe.order)
        for version in record.outputs
        if version.kind == "import"
        for name in version.names
    }
    return {**pipe.imports, **runs.new_imports(bench), **made}


def code(bench: Bench, name: str) -> str:
    """The smallest program that makes what a name means."""
    pipe, record, said = bench.ledger.pipe, bench.ledger.head, bench.memory.said
    steps = [step for step in pipe.order if step in pipe.seen]
    text = lambda step: bench.task_of(step).transformed  # noqa: E731
    found = pieces.pieces(steps, record, text, pipe.seen, said, _last_texts(bench, name))
    return slices.code(found, [name])


def _last_texts(bench: Bench, name: str) -> list[Text]:
    """What the plain cells said that have a part in what a name means."""
    space, phase = bench.space, bench.phase()
    texts: set[Text] = set()
    waiting, seen = [name], set[str]()
    while waiting:
        one = waiting.pop()
        if one in seen or one not in space.bindings:
            continue
        seen.add(one)
        space.verify([one], phase)
        for text in space.bindings[one].texts:
            texts.add(text)
            waiting.extend(analyse(text.text).mentions)
    return sorted(texts, key=lambda text: text.at)
