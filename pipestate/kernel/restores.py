"""A record instead of a run: its names bound, dormant, and what it showed shown again.

A component is bound whole or not at all. A name keeps its meaning where it means this version
already, or a later step's version that holds this one unchanged: one version, one object.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct, field

from ..errors import DamageError, StoreError
from ..record import VALUE, Digest, Meaning, Record, Version
from . import displays, keeping, meanings, outputs, surroundings, together
from .bench import Bench, Told
from .bindings import Binding
from .reloading import reload_edited
from .runs import set_under
from .trial import Task

Messages = tuple[dict[str, Any], ...]


class Unders(Struct):
    """What `_` and `Out` will mean once somebody names them: restored results, by cell number."""

    waiting: dict[int, Version] = field(default_factory=dict)
    last: tuple[int, Any] | None = None

    def load(self, bench: Bench, transformed: str) -> None:
        """Load the restored results that `_`, `_3` or `Out` in a cell's text would mean."""
        if not self.waiting or not _UNDERS.search(transformed):
            return
        hook, ns = bench.shell.displayhook, bench.shell.user_ns
        for number, version in self.waiting.items():
            value = bench.space.values(version)[VALUE]
            ns[f"_{number}"] = ns["_oh"][number] = value
            # Where something was displayed since, `_` means that.
            if self.last is not None and self.last[0] == number and hook._ is self.last[1]:
                set_under(bench, value)
        self.waiting, self.last = {}, None


_UNDERS = re.compile(r"(?<!\w)(?:_{1,3}|_\d+|_oh|Out)(?!\w)")


def shown_by(bench: Bench, record: Record) -> Messages | None:
    """What a record's run showed, None where that is damaged."""
    if record.displays is None:
        return ()
    try:
        return displays.from_bytes(bytes(bench.ledger.fetch([record.displays])[0]))
    except StoreError as error:
        bench.tell(f"{record.step}: {error}")
        return None


def restore(bench: Bench, task: Task, digest: Digest, record: Record) -> None:
    """Let the names of a task's step mean what a record holds.

    Raises DamageError, and changes nothing, where the record is not in the store any more.
    """
    started = time.time()
    reload_edited(bench, task)  # a plain cell may call what is imported from them
    _make_session(bench, record)
    changes = _changes(bench, task, digest, record)
    new = _given(bench, record, digest) | keeping.meanings_of(changes, digest)
    pipe = bench.ledger.pipe
    heads = {task.step: digest} if pipe.heads.get(task.step) != digest else {}
    try:
        bench.ledger.commit(
            lambda _: keeping.run_of(
                task,
                "restored",
                started=started,
                seconds=max(0.0, time.time() - started),
                record=digest,
                heads=dict(heads),
                meanings={n: m for n, m in new.items() if pipe.meanings.get(n) != m},
                order=bench.new_order(task),
            )
        )
    except DamageError:
        raise
    except StoreError as error:  # full or closed: what was kept is there all the same
        bench.tell(f"that {task.step} was restored could not be written down: {error}")
    bench.space.bindings.take_givens(record.givens, digest)
    bench.space.clear_junk(task.step)
    for name, binding in changes.items():
        if binding is None:
            bench.space.drop(name)
        else:
            bench.space.bind(name, binding)
    bench.space.settle()
    for line in surroundings.put(
        surroundings.standing([record]), bench.space, bench.memory.origins
    ):
        bench.tell(line)


def _given(bench: Bench, record: Record, digest: Digest) -> dict[str, Meaning | None]:
    """What names of plain cells mean that the record was given, and that the job may know as
    another run was given it: a cell that was edited, and is again as it was."""
    found: dict[str, Meaning | None] = {}
    known = bench.ledger.pipe.meanings
    for version in record.givens:
        new = Meaning("", digest, version.digest)
        for name in version.names:
            now, then = bench.space.bindings.get(name), known.get(name)
            is_known = then is not None and then.replace(record=digest) == new
            if now is not None and now.means("", version) and not is_known:
                found[name] = new
    return found


def _changes(bench: Bench, task: Task, digest: Digest, record: Record) -> dict[str, Binding | None]:
    """What restoring changes: whole components, and names that are no longer made."""
    found = keeping.bindings_of(task, digest, record)
    head = bench.ledger.head(task.step)
    outlook = bench.outlook(task)
    for name in set(head.made if head else ()) - found.keys():
        now = bench.space.bindings.get(name)
        if now is not None and now.maker == task.step:
            found[name] = outlook.wanted(name)
    changes: dict[str, Binding | None] = {n: None for n, known in found.items() if known is None}
    staying = {
        tuple(sorted(known.version.names.keys() & found.keys()))
        for known in found.values()
        if known is not None and known.version is not None and _stays(bench, known, found)
    }
    kept = {name for names in staying for name in names}
    kept -= together.joined(bench.space.bindings, staying)
    changes |= {n: known for n, known in found.items() if known is not None and n not in kept}
    if not task.is_asked:
        return {n: b for n, b in changes.items() if _is_free(bench, n, b, task.step)}
    named = {path.name for path in outlook.paths(task.names)}
    return {n: b for n, b in changes.items() if b is None or _moves(bench, n, b, record, named)}


def _moves(bench: Bench, name: str, known: Binding, record: Record, named: Collection[str]) -> bool:
    """Whether a name comes to mean what the record holds of it.

    As after a run: what the step bound or changed by name does, and what only shares objects with
    that does where it means what the step saw. A later step may have given it another meaning. A
    function goes along in any case: what else the step made may hold it, under either name.
    """
    now, version = bench.space.bindings.get(name), known.version
    seen = next((one.whole for one in record.inputs if one.path.name == name), None)
    if now is None or now.version is None or version is None or seen is None:
        return True
    if bench.ledger.giver(name, now.maker, now.record) == known.maker:
        return True
    if name in record.bound or (name in named and version.names.get(name) != seen):
        return True
    if version.types.get(name) in ("function", "type"):
        return True
    return not now.amended and now.version.names.get(name) == seen


def _stays(bench: Bench, known: Binding, found: Mapping[str, Binding | None]) -> bool:
    """Whether all names of a component mean this version now, or a later one that holds it."""
    version, space = known.version, bench.space
    assert version is not None
    names = [name for name in version.names if name != VALUE and found.get(name) is not None]
    space.verify([name for name in names if name in space.suspects], bench.phase())
    now = [space.bindings.get(name) for name in names]
    if any(one is None or name in space.junk for name, one in zip(names, now, strict=True)):
        return False
    if all(one is not None and one.means(known.maker, version) for one in now):
        resident = {space.is_current(name) for name in names}
        records = {one.record for one in now if one is not None}
        return len(resident) == 1 and (resident == {True} or records == {known.record})
    order = bench.ledger.pipe.order
    makers = {one.maker for one in now if one is not None}
    if any(_index(order, maker) <= _index(order, known.maker) for maker in makers):
        return False
    return makers <= set(order) and meanings.holds(space.bindings, version, names)


def _index(order: tuple[str, ...], step: str) -> int:
    return order.index(step) if step in order else -1


def _is_free(bench: Bench, name: str, known: Binding | None, step: str) -> bool:
    """Whether a name means nothing, or what the step gave it; where a step below carries that along
    as it is, in what it made, it stays with that."""
    now = bench.space.bindings.get(name)
    if now is None or bench.ledger.giver(name, now.maker, now.record) != step:
        return now is None
    if now.maker == step or now.amended or not (now.version and known and known.version):
        return True
    return now.version.names.get(name) != known.version.names[name]


def _make_session(bench: Bench, record: Record) -> None:
    """Run the magics again that set the session up."""
    for statement in record.session:
        code = compile(statement, "<pipestate session>", "exec", dont_inherit=True)
        exec(code, bench.space.ns)


def replay(bench: Bench, unders: Unders, step: str, record: Record, messages: Messages) -> None:
    """Show what a run showed, under a badge that says so; `_` and `Out` will have its result."""
    bench.doors.show(Told(step, "restored", record.seconds))
    outputs.replay(bench.shell, messages)
    version = record.version_of(VALUE)
    if version is not None and any(m["output_type"] == "execute_result" for m in messages):
        hook = bench.shell.displayhook
        unders.waiting[hook.prompt_count] = version
        unders.last = (hook.prompt_count, hook._)
