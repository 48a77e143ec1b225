"""One run of a step: what stands before its body, and what is made of it after.

    prepare ── hide what its last run made ── put the state before it in place ── keep what no record holds
       (the body runs)
    settle ─── what it made, by component ── keep ── record ── commit ── meanings ── put the rest back
    abandon ── after an error or an interrupt: what it touched is put back before any step reads it

The rules are those of a run from the top: a component is loaded, put back, compared and kept as one;
a name that the step only read goes back to what it meant; a component that came out equal keeps
the objects it had, so that there is one object for one version.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..cell.lookers import DYNAMIC_NAMES
from ..cell.names import IPYTHON_NAMES, Names, is_hidden
from ..cell.source import StepLine
from ..ledger import Ledger
from ..record import ABSENT, VALUE, AccessPath, Digest, Input, Version
from ..store import blobs, digests, versions
from ..store.versions import Component, Phase, Source
from .namespace import Binding, Namespace, look
from .outlook import Outlook


@dataclass(frozen=True, slots=True)
class Task:
    """A step's cell, about to be run or restored: its line, its text, and what the text says."""

    line: StepLine
    source: str
    transformed: str
    names: Names
    normal: Digest
    cell_id: str = ""
    is_asked: bool = True

    @property
    def step(self) -> str:
        return self.line.name


@dataclass(frozen=True, slots=True)
class Trial:
    """What stood before the body ran; `settle` compares with it.

    `placed` are the bindings that the step found, `aside` what these names meant in this kernel
    (None: nothing), `own` what the step's last run had made, taken away before the body.
    """

    task: Task
    outlook: Outlook
    inputs: tuple[Input, ...]
    joint: Mapping[str, Digest]
    placed: Mapping[str, Binding]
    aside: Mapping[str, Binding | None]
    own: Mapping[str, Binding | None]
    objects: Mapping[str, Any]
    givens: tuple[Version, ...]
    setups: frozenset[str] = frozenset()

    @property
    def is_dynamic(self) -> bool:
        """Whether the body may look up names that no analysis sees."""
        return self.task.names.is_dynamic or any(
            one.path.name in DYNAMIC_NAMES and one.whole == ABSENT for one in self.inputs
        )

    def is_set_up(self, name: str) -> bool:
        """Whether a setup step made it: its values do not count as changed by use."""
        return name in self.placed and self.placed[name].maker in self.setups


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a body left: versions, with the component each was taken from, and names by their fate."""

    versions: tuple[tuple[Component, Version], ...]
    bound: frozenset[str]
    gone: frozenset[str]
    flaws: tuple[tuple[str, str], ...] = ()

    @property
    def made(self) -> frozenset[str]:
        return frozenset(
            name for component, _ in self.versions for name in component.values if name != VALUE
        )


# --- before ----------------------------------------------------------------------------------------


def prepare(task: Task, outlook: Outlook, ledger: Ledger, batch_phase: Phase) -> Trial:
    """Put in place what the step should find, the rest aside."""
    space = outlook.space
    paths = outlook.paths(task.names)
    touched = outlook.touched(paths)
    inputs = inputs_of(outlook, paths)
    joint = outlook.joint(sorted({one.path.name for one in inputs if one.path.is_whole}))
    head = ledger.head(task.step)
    mine = frozenset(head.made) if head else frozenset()
    wanted = {name: outlook.wanted(name) for name in touched | mine}
    aside: dict[str, Binding | None] = {}
    own: dict[str, Binding | None] = {}
    for name in sorted(touched | mine):
        now, want = space.bindings.get(name), wanted[name]
        if name in space.junk or _is_other(now, want):
            place = own if now is not None and now.maker == task.step else aside
            place[name] = now
            _put(space, name, want)
    space.load(name for name in touched if wanted[name] is not None)
    placed = {n: space.bindings[n] for n in touched if n in space.bindings}
    givens = _keep_givens(placed, space, batch_phase)
    placed = {n: space.bindings[n] for n in touched if n in space.bindings}
    setups = frozenset(s for s, seen in ledger.pipe.seen.items() if "--setup" in seen.options)
    objects = visible(space.ns)
    return Trial(task, outlook, inputs, joint, placed, aside, own, objects, givens, setups)


def visible(ns: Mapping[str, Any]) -> dict[str, Any]:
    """The user's own names and their objects, as they are now."""
    # Most names of a long session are IPython's `_i1`, `_i2`, ...: the first letter tells cheaply.
    return {
        name: value
        for name, value in ns.items()
        if (name[:1] != "_" and name not in IPYTHON_NAMES) or not is_hidden(name)
    }


def _is_other(now: Binding | None, want: Binding | None) -> bool:
    if now is None or want is None:
        return now is not want
    if now is want:
        return False
    if now.version is None or want.version is None:
        return True
    same = now.version.digest == want.version.digest and (
        now.version.names.keys() == want.version.names.keys()
    )
    return not same


def _put(space: Namespace, name: str, want: Binding | None) -> None:
    if want is None or want.version is None:
        space.drop(name)
    else:
        space.bind(name, replace(want, obj=Binding().obj))


def inputs_of(outlook: Outlook, paths: frozenset[AccessPath]) -> tuple[Input, ...]:
    """The inputs that reading `paths` makes, with their digests now."""
    found = []
    for path in sorted(paths, key=str):
        seen = outlook.lookup(path)
        found.append(Input(path, seen.digest or seen.whole, seen.whole, seen.maker))
    return tuple(found)


def _keep_givens(
    placed: Mapping[str, Binding], space: Namespace, phase: Phase
) -> tuple[Version, ...]:
    """Keep what no record holds of what the step may touch, so that it can be put back and loaded.

    Gives the versions of all that no step made, those that were kept before included.
    """
    found = {
        binding.version.digest: binding.version
        for binding in placed.values()
        if not binding.maker and binding.record and binding.version is not None
    }
    unkept = {name for name, b in placed.items() if not b.record and space.is_current(name)}
    if not unkept:
        return tuple(found.values())
    shared = {n for n, b in placed.items() if b.version and b.version.mutable}
    names = unkept | {name for name in shared if space.is_current(name)}
    for component, version in space.look(names, phase):
        if unkept.isdisjoint(component.values):
            continue
        done = versions.keep(component, version, namespace=space.ns, phase=phase)
        found[done.digest] = done
        for name in unkept & component.values.keys():
            space.bindings[name] = replace(space.bindings[name], version=done)
    return tuple(found.values())


# --- after -----------------------------------------------------------------------------------------


def outcome(trial: Trial, value: object, has_value: bool, phase: Phase) -> Outcome:
    """What the body bound, rebound, changed in place or took away, kept in the store."""
    space, task = trial.outlook.space, trial.task
    now = visible(space.ns)
    rebound = {n for n, v in now.items() if n not in trial.objects or trial.objects[n] is not v}
    bound = frozenset(rebound | (task.names.binds & now.keys()))
    gone = frozenset((trial.objects.keys() | task.names.deletes) - now.keys())
    sources(task, space, bound)
    touched = {
        n
        for n, b in trial.placed.items()
        if n in now and b.version and b.version.mutable and not trial.is_set_up(n)
    }
    lost = lost_digest(trial)
    definitions = space.definitions()
    values = {name: now[name] for name in bound | touched}
    found = look(values, space.sources, definitions, phase, lost=lost)
    changed = [
        (component, version)
        for component, version in found
        if not bound.isdisjoint(component.values) or _has_changed(trial, component, version)
    ]
    for component, _ in changed:
        for name in component.values:
            if name not in bound:
                space.sources.pop(name, None)
    if has_value:
        changed = _with_value(changed, value, definitions, phase, lost)
    kept = [(c, _keep(c, v, task, space, phase, lost)) for c, v in changed]
    flaws = tuple(
        (name, version.flaw)
        for component, version in kept
        if version.flaw
        for name in component.values
    )
    return Outcome(tuple(kept), bound, gone, flaws)


def _keep(
    component: Component, version: Version, task: Task, space: Namespace, phase: Phase, lost: Digest
) -> Version:
    if not set(task.line.no_save).isdisjoint(component.values):
        return _as_lost(version, "left out by --no-save", lost)
    done = versions.keep(component, version, namespace=space.ns, phase=phase)
    return _as_lost(done, done.flaw, lost) if done.kind == "lost" else done


def _as_lost(version: Version, flaw: str, lost: Digest) -> Version:
    return replace(
        version,
        kind="lost",
        flaw=flaw,
        digest=lost,
        names=dict.fromkeys(version.names, lost),
        shares=None,
        stream=None,
        buffers=(),
        parts={},
        mutable=True,
    )


def lost_digest(trial: Trial) -> Digest:
    """What stands for a value that cannot be kept: how it was made, from what."""
    made = [trial.task.step, trial.task.normal, *(f"{i.path}={i.digest}" for i in trial.inputs)]
    return blobs.digest("\n".join(made).encode("utf-8", "surrogatepass"))


def _has_changed(trial: Trial, component: Component, version: Version) -> bool:
    if version.kind == "lost":
        return True
    for name in component.values:
        known = trial.placed[name].version
        if known is None or known.kind == "lost" or known.names[name] != version.names[name]:
            return True
    known = trial.placed[next(iter(component.values))].version
    assert known is not None
    if known.digest == version.digest:
        return False
    if not version.names.keys() <= known.names.keys():
        return True
    joint = digests.joint_of(known.names, known.shares, sorted(version.names))
    return joint is not None and joint != version.digest


def _with_value(
    changed: list[tuple[Component, Version]],
    value: object,
    definitions: Mapping[int, str],
    phase: Phase,
    lost: Digest,
) -> list[tuple[Component, Version]]:
    """Add what the step displayed: with the names it shares objects with, if the step made them."""
    stream = digests.stream(value, name=VALUE, definitions=definitions, buffer_digest=phase.digest)
    alone = Component({VALUE: value}, {VALUE: stream}, None, definitions)
    if not stream.flaw:
        for i, (component, _) in enumerate(changed):
            streams = {**component.streams, VALUE: stream}
            if component.source is None and not component.flaw and _touch(streams):
                joined = Component(
                    {**component.values, VALUE: value}, streams, None, component.definitions
                )
                changed[i] = (joined, versions.describe(joined))
                return changed
    return [*changed, (alone, versions.describe(alone, lost=lost))]


def _touch(streams: Mapping[str, digests.Stream]) -> bool:
    return any(VALUE in names and len(names) > 1 for names in digests.components(streams))


def sources(task: Task, space: Namespace, bound: frozenset[str]) -> None:
    """Remember the statements that made imports and definitions, where running them makes the same."""
    note_sources(task.names, space, bound)
    for definition in task.names.definitions:
        name = definition.name
        if definition.is_plain and name in bound and name in space.ns:
            needs = {need for need in definition.needs if need in space.ns and need != name}
            source = Source("definition", definition.source, tuple(sorted(needs)))
            if _is_reproducible(source, name, space):
                space.sources[name] = (source, space.ns[name])


def note_sources(names: Names, space: Namespace, bound: frozenset[str]) -> None:
    """Remember the import statements behind `bound`."""
    for line in names.imports:
        if line.name in space.ns:
            statement = _joined(space, line.name, line.statement)
            space.sources[line.name] = (Source("import", statement), space.ns[line.name])
    for star in names.stars:
        module = sys.modules.get(star)
        for name in bound - {line.name for line in names.imports}:
            if module is not None and getattr(module, name, _NOTHING) is space.ns.get(name):
                statement = f"from {star} import {name}"
                space.sources[name] = (Source("import", statement), space.ns[name])


_NOTHING = object()


def _joined(space: Namespace, name: str, statement: str) -> str:
    """`import a.b` and `import a.c` bind the same module: both are needed to have it whole."""
    source, made = space.sources.get(name, (None, None))
    if source is None or made is not space.ns[name] or source.kind != "import":
        return statement
    lines = source.text.splitlines()
    if not (statement.startswith("import ") and lines[0].startswith("import ")):
        return statement
    return "\n".join(dict.fromkeys([*lines, statement]))


def _is_reproducible(source: Source, name: str, space: Namespace) -> bool:
    """Whether the statement, run again, makes an object equal to the one it made.

    It is only run again where all that it names is an import or a definition kept in this way.
    """
    for need in source.needs:
        if need not in space.sources:
            return False
    return versions.same_after([source], name, space.ns[name], space.ns)


# --- meanings --------------------------------------------------------------------------------------


def meanings(trial: Trial, result: Outcome) -> dict[str, Binding | None]:
    """What each name comes to mean by the run (None: nothing). Nothing is changed yet.

    The bindings' records are filled in by `adopt`, once the record has a digest.
    """
    task = trial.task
    old = {**trial.aside, **trial.own}
    held = _unchanged(trial, result, old)
    changes: dict[str, Binding | None] = {}
    for component, version in result.versions:
        for name, value in component.values.items():
            if name == VALUE or not _takes(trial, result, name):
                continue
            known = old.get(name) if name in held else None
            if known is not None and known.maker != task.step:
                continue
            obj = known.obj if known is not None and known.is_resident else value
            changes[name] = Binding(task.step, "", version, obj)
    for name in result.gone - result.made:
        if _takes(trial, result, name):
            changes.setdefault(name, None)
    for name in trial.own.keys() - changes.keys() - result.made:
        changes[name] = trial.outlook.wanted(name)
    return changes


def adopt(trial: Trial, changes: Mapping[str, Binding | None], record: Digest) -> None:
    """Give the names their meanings, and put back what was put aside for the run."""
    space, step = trial.outlook.space, trial.task.step
    for name, binding in changes.items():
        if binding is None:
            space.drop(name)
        elif binding.maker == step:
            space.bind(name, replace(binding, record=record))
        else:
            space.bind(name, binding)
    for name, known in trial.aside.items():
        if name not in changes:
            if known is None:
                space.drop(name)
            else:
                space.bind(name, known)


def _takes(trial: Trial, result: Outcome, name: str) -> bool:
    """Whether a name that the run made or changed moves to what the run left.

    Asked for, the run gives a meaning to what it bound, and to what it changed where that was what
    it saw. Run for another's sake, only to what meant its own earlier version, or nothing.
    """
    if name in trial.own:
        return True
    if name not in trial.aside:
        return trial.task.is_asked or _was_free(trial, name)
    if trial.task.is_asked:
        return name in result.bound or name in result.gone
    return trial.aside[name] is None


def _was_free(trial: Trial, name: str) -> bool:
    if name in trial.placed or name not in trial.objects:
        return True
    known = trial.outlook.space.bindings.get(name)
    return known is None or known.maker == trial.task.step


def _unchanged(trial: Trial, result: Outcome, old: Mapping[str, Binding | None]) -> frozenset[str]:
    """The names whose old meaning holds what the run left unchanged: they keep their objects.

    A class or function only stays where everything that names it stays too, else instances made
    by this run would belong to another class than the one that is bound.
    """
    held: set[str] = set()
    fresh_needs: set[str] = set()
    for component, version in result.versions:
        names = [name for name in component.values if name != VALUE]
        if names and holds(old, version, names):
            held.update(names)
        else:
            fresh_needs.update(version.needs)
    return frozenset(held - fresh_needs)


def holds(old: Mapping[str, Binding | None], version: Version, names: list[str]) -> bool:
    """Whether what `names` mean holds this version unchanged, be it as part of a larger one."""
    bindings = [old.get(name) for name in names]
    if version.kind == "lost" or any(b is None or b.version is None or b.amended for b in bindings):
        return False
    known = [b for b in bindings if b is not None]
    versions_known = [b.version for b in known if b.version is not None]
    if any(
        v.names.get(name) != version.names[name]
        for name, v in zip(names, versions_known, strict=True)
    ):
        return False
    first = versions_known[0]
    if any((b.maker, b.record) != (known[0].maker, known[0].record) for b in known):
        return False
    if len(names) == 1:
        return True
    return digests.joint_of(first.names, first.shares, sorted(names)) == digests.joint_of(
        version.names, version.shares, sorted(names)
    )


def abandon(trial: Trial) -> None:
    """After a failure: plain cells see what the body did, and no step will."""
    space = trial.outlook.space
    now = visible(space.ns)
    for name, value in now.items():
        known = trial.placed.get(name)
        unchanged = name in trial.objects and trial.objects[name] is value
        if unchanged and (known is None or known.version is None or not known.version.mutable):
            continue
        if known is not None:
            space.bindings[name] = replace(known, obj=Binding().obj)
            space.junk[name] = value
        elif not unchanged:
            space.bindings.pop(name, None)
            space.junk[name] = value
    for name, binding in {**trial.aside, **trial.own}.items():
        if name not in space.junk and binding is not None and name not in trial.placed:
            space.bind(name, binding)
