"""Which steps another one needs: those that may have had a part in what it reads.

What a step does to names is told from its record, and from its source where that has proved nothing
yet; what it does in place reaches all that shares the object. Only what moved is looked at anew, so
that a cell costs what lies above it, however many steps a job has.

    needed_by ── _makers ── touches ── Makers.needed
"""

from __future__ import annotations

import re
import types
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from ..cell.names import Names
from ..pipe import graph, layers
from ..pipe.deltas import differing
from ..pipe.graph import Touches
from ..pipe.layers import Layers, Makers
from ..pipe.status import STEP_VALUE
from ..record import ABSENT, SEEDING, Digest, Pipe, Record, Seen
from . import packages
from .bench import Bench
from .outlook import Outlook, Site
from .surroundings import RANDOM
from .trial import Task

FILE = "file:"
AMBIENT = "ambient:"
"""Before a path or an ambient key, they make a name of it: one that no identifier can be."""

_RANDOM_STATES = frozenset(f"{AMBIENT}{RANDOM}{name}" for name in ("python", "numpy", "torch"))
_SURROUNDINGS = f"{AMBIENT}rest"


def needed_by(bench: Bench, task: Task, outlook: Outlook) -> tuple[str, ...]:
    """The steps above a task that may have a part in what it reads, in order."""
    now = _makers(bench, outlook.site.layers)
    known = now.touches.get(task.step)
    own = known.reads if known is not None else touches(bench, task.step).reads
    names = {path.name for path in outlook.paths(task.names)}
    names |= {name for name in own if name.startswith((FILE, AMBIENT))}
    names |= {FILE + path for path in task.line.reads}
    names.add(_SURROUNDINGS)
    if bench.ledger.head(task.step) is None:  # whether it draws is not known yet
        names |= _RANDOM_STATES
    return now.needed(outlook.site.layers.place_of(task.step), names)


def _makers(bench: Bench, site: Layers) -> Makers:
    """What each step of the job does to which names; only what has moved is looked at anew."""
    memory, pipe, order = bench.memory, bench.ledger.pipe, site.order
    known, then = memory.makers, memory.made_for or Pipe("")
    if then is pipe and known.order == order:
        return known
    heads = differing(then.heads, pipe.heads)
    moved = {*heads, *differing(then.seen, pipe.seen), *then.failed, *pipe.failed}
    left = _names_left(bench, (one.get(step) for one in (then.heads, pipe.heads) for step in heads))
    loose = memory.loose & known.marks.keys()
    moved |= {step for step in loose if known.marks[step].depends_on(left)}
    moved |= {*(order[len(known.order) :] if layers.leads_on(known.order, order) else order)}
    marks = {step: _mark(bench, step) for step in moved if step in site.places}
    memory.loose -= moved
    memory.loose |= {step for step, mark in marks.items() if mark.is_loose}
    memory.makers = layers.makers(
        known, order, site.places, marks, lambda step: touches(bench, step)
    )
    memory.made_for = pipe
    return memory.makers


def _names_left(bench: Bench, records: Iterable[Digest | None]) -> frozenset[str]:
    """The names that some of the records made or took away."""
    found = [bench.ledger.record(digest) for digest in records if digest]
    return frozenset(
        name
        for record in found
        for names in (record.made, record.gone, *(version.names for version in record.outputs))
        for name in names
    )


class Mark(NamedTuple):
    """What a step's touches are told from.

    `unproved` is the pipe's number for a step whose source has proved nothing yet, else 0: what it
    could do depends on all that stands before it. `in_place` are the names whose objects its record
    found and left as others, `mates` those that share objects with these before it now.
    """

    head: Digest | None
    seen: Seen | None
    unproved: int
    in_place: frozenset[str]
    mates: frozenset[str]

    @property
    def is_loose(self) -> bool:
        """Whether it may be another one once some name means something else."""
        return self.unproved > 0 or bool(self.in_place)

    def depends_on(self, names: frozenset[str]) -> bool:
        """Whether it may be another one once these names do."""
        return self.unproved > 0 or not self.in_place.isdisjoint(names)


def _mark(bench: Bench, step: str) -> Mark:
    pipe, in_place = bench.ledger.pipe, _changed_in_place(bench, step)
    unproved = 0 if _is_proved(bench, step) else max(pipe.number, 1)
    mates = frozenset(_mates(bench, step, in_place)) if in_place else in_place
    return Mark(pipe.heads.get(step), pipe.seen.get(step), unproved, in_place, mates)


def _changed_in_place(bench: Bench, step: str) -> frozenset[str]:
    """The names whose objects the record in force found, and left as others; what was set under
    the step's own name was found by nobody."""
    record = bench.ledger.head(step)
    if record is None:
        return frozenset()
    return frozenset(record.made).difference(record.bound, [step] if record.is_set else [])


def touches(bench: Bench, step: str) -> Touches:
    """What a step did when it last ran, and what its source, as last seen, could do."""
    reads: set[str] = {_SURROUNDINGS}
    binds: set[str] = {STEP_VALUE + step}
    changes: set[str] = set()
    record, names = bench.ledger.head(step), bench.names_of(step)
    # A step that failed stops a run from the top, whatever it still imports.
    imported = frozenset() if step in bench.ledger.pipe.failed else _imported(record, names)
    if record is not None:
        reads |= {one.path.name for one in record.inputs if one.whole != ABSENT}
        reads |= {FILE + one.path for one in record.files_read}
        reads |= {AMBIENT + key for key in record.moved if key.startswith(RANDOM)}
        made = {name for version in record.outputs for name in version.names} | {*record.made}
        changes |= made - imported
        changes |= _mates(bench, step, _changed_in_place(bench, step))
        changes |= {*record.gone}
        changes |= {FILE + one.path for one in record.files_written}
        changes |= _ambient_of(record)
    if names is not None:
        named = {path.name for path in names.reads}
        is_proved = _is_proved(bench, step)
        reads |= named if is_proved else _reached(bench, step, named)
        binds |= names.binds - imported
        touched = names.may_bind | names.writes | _changed(bench, step, names)
        if is_proved:  # what it sets in the process by a library's functions, its record says
            touched -= _libraries(bench, touched)
        changes |= touched | names.deletes
        if not is_proved:
            again = names.binds & named  # `xs += [1]` works in place
            found = _may_hold(bench, step, touched | again)
            changes |= found | _mates(bench, step, touched | again | found)
        # What a failed step would have drawn nobody knows: it counts if it could have.
        may_draw = step in bench.ledger.pipe.failed and _mentions_random(names)
        changes |= _RANDOM_STATES if names.seeds or SEEDING in reads or may_draw else frozenset()
    return Touches(frozenset(reads), frozenset(binds), frozenset(changes))


def _libraries(bench: Bench, names: Iterable[str]) -> frozenset[str]:
    """The names that mean modules which are not the project's: a call of a function there is no
    change to what others call there."""
    values = ((name, bench.space.ns.get(name)) for name in names)
    return frozenset(
        name
        for name, value in values
        if type(value) is types.ModuleType and not packages.is_project_module(value)
    )


def _is_proved(bench: Bench, step: str) -> bool:
    """Whether the record in force is what the source last seen for a step left."""
    pipe = bench.ledger.pipe
    head, seen = bench.ledger.head(step), pipe.seen.get(step)
    if head is None or step in pipe.failed:
        return False
    return seen is None or seen.normal == head.normal


_LOOKED_AT: Final = frozenset(
    "DataFrame Index Series bytearray defaultdict deque dict list ndarray set".split()
)
"""Types of which a part can be kept without a change to them; to go over an iterator uses it up."""


def _changed(bench: Bench, step: str, names: Names) -> frozenset[str]:
    """The names of which a step keeps parts, and may change them by another name."""
    if names.is_changing:
        return names.kept
    held = _site(bench).layers.before(step)
    kinds = {n: one.version.types.get(n) for n in names.kept if (one := held.get(n)) is not None}
    return frozenset(n for n in names.kept if kinds.get(n) not in _LOOKED_AT)


def _site(bench: Bench) -> Site:
    """Where the task that is asked for stands; the whole job where there is none."""
    return bench.memory.site or bench.whole()


def _mates(bench: Bench, step: str, names: Iterable[str]) -> set[str]:
    """The names that share objects with `names` before a step: it may change them as well."""
    held = _site(bench).layers.before(step)
    known = (held.get(name) for name in names)
    return {mate for one in known if one is not None for mate in one.version.names}


def _may_hold(bench: Bench, step: str, names: Iterable[str]) -> set[str]:
    """The names of whose objects steps above may have put parts into what `names` stand for: those
    have no records that tell."""
    wanted, found = set(names), set[str]()
    for other in reversed(graph.above(_site(bench).order, step)):
        said = None if _is_proved(bench, other) else bench.names_of(other)
        if said is not None and not wanted.isdisjoint(said.binds | said.may_bind):
            wanted |= said.kept
            found |= said.kept
    return found


def _reached(bench: Bench, step: str, names: Iterable[str]) -> frozenset[str]:
    """The names, and those that the code reads which they stand for before a step."""
    held = _site(bench).layers.before(step)

    def reads_of(name: str) -> Iterable[str]:
        one = held.get(name)
        return bench.reads_of(name) if one is None else [p.name for p in one.version.reads]

    return graph.reach(names, reads_of)


def _mentions_random(names: Names) -> bool:
    said = names.mentions.union(*(re.findall(r"\w+", one.statement) for one in names.imports))
    return "random" in said or any(("attr", "random") in path.parts for path in names.reads)


def _imported(record: Record | None, names: Names | None) -> frozenset[str]:
    """Names that a step imports as it did when it last ran: fresh, whatever else of it is not. Not
    those that a branch imports, or not: what decides it may have changed."""
    if record is None or names is None:
        return frozenset()
    lines = Counter(line.name for line in names.imports)
    return frozenset(
        line.name
        for line in names.imports
        if line.name in names.binds
        and lines[line.name] == 1
        and (version := record.version_of(line.name)) is not None
        and version.kind == "import"
        and line.statement in version.source.splitlines()
    )


def _ambient_of(record: Record) -> set[str]:
    keys = set(record.ambient.names) if record.ambient is not None else set()
    found = {AMBIENT + key for key in keys if key.startswith(RANDOM)}
    return found | ({_SURROUNDINGS} if len(found) < len(keys) else set())
