"""What a session is asked: states, imports, code, and what bringing steps up to date would do.

Nothing here changes what a name means; to answer, what plain cells made may be looked at.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Container, Iterable
from typing import Any, Final

from IPython.core.inputtransformer2 import TransformerManager

from ..cell.names import Names, analyse
from ..cell.source import StepLine
from ..pipe import pieces, slices, status
from ..pipe.status import StepStatus, World
from ..record import Record, Seen, Text
from . import cascade, modulestate, runs
from .bench import Bench
from .hooks import take_line_off
from .outlook import Site
from .trial import Task


def statuses(bench: Bench, only: Container[str] | None = None) -> list[StepStatus]:
    """Every step with its state, judged with what this kernel holds; with `only`, just those, which
    have to be all that each other's inputs come from."""
    ledger, site = bench.ledger, bench.whole()
    # What a text says is not always asked for, and to parse all of a big job takes a second.
    is_plain = _reads_as_any(bench.shell) and not any(
        _has_state(record) for _, record in site.layers.ambient
    )
    world = lambda step, head, _: _world_of(bench, step, head, site, is_plain)  # noqa: E731
    return status.statuses(ledger.pipe, ledger.record, world, only=only)


def status_of(bench: Bench, step: str) -> StepStatus | None:
    """One step with its state; None where there is no such step."""
    only = status.sources(bench.ledger.pipe, bench.ledger.record, step)
    return next((one for one in statuses(bench, only) if one.name == step), None)


def _world_of(bench: Bench, step: str, head: Record, site: Site, is_plain: bool) -> World:
    seen = bench.ledger.pipe.seen.get(step)
    if seen is None or (is_plain and _is_as_it_ran(head, seen)):
        task = Task(StepLine(step), "", "", Names(), head.normal)
    else:
        task = bench.task_of(step)
    return bench.world(task, bench.outlook(task, site))


def _reads_as_any(shell: Any) -> bool:
    """Whether a shell has IPython's own input transformers, and no others beside ours."""
    now, own = shell.input_transformer_manager, TransformerManager()  # type: ignore[no-untyped-call]
    return (
        [one for one in now.cleanup_transforms if one is not take_line_off]
        == own.cleanup_transforms
        and now.line_transforms == own.line_transforms
        and now.token_transformers == own.token_transformers
        and not shell.input_transformers_post
    )


def _has_state(record: Record) -> bool:
    """Whether a step set globals of the project's modules: whom they concern, texts say."""
    return record.ambient is not None and any(
        key.startswith(modulestate.KEY) for key in record.ambient.names
    )


_NO_PYTHON: Final = re.compile(r"^\s*(?:[%!?,;/]|>>>|\.\.\.|In ?\[)|\?\s*$|=\s*[%!]", re.M)
"""What IPython may make something else of."""


def _is_as_it_ran(head: Record, seen: Seen) -> bool:
    """Whether a step's text says today what it said when it ran. What it comes to is another thing
    in another Python, or, for magics, in another IPython."""
    return (
        head.normal == seen.normal
        and head.python == platform.python_version()
        and _NO_PYTHON.search(seen.source) is None
    )


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
