"""One run of a step: what stands before its body, and what is made of it after.

    prepare ── hide what its last run made ── place the state before it ── keep what is in no record
       (the body runs)
    outcome ── the components that it made or changed ── keep

What the names mean after it, and after a body that failed, is for `meanings`.

The rules are those of a run from the top: a component is loaded, put back, compared and kept as
one; a name that the step only read goes back to what it meant; a component that came out equal
keeps the objects it had, so that there is one object for one version.
"""

from __future__ import annotations

import functools
import io
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..cell.lookers import DYNAMIC_NAMES
from ..cell.names import Names, visible
from ..cell.source import StepLine
from ..ledger import Ledger
from ..pipe.places import Row
from ..record import ABSENT, VALUE, AccessPath, Digest, Given, Input, Version
from ..store import blobs, digests, versions
from ..store.versions import Component, Phase
from . import effects, statements
from .bindings import DORMANT, Binding
from .namespace import Namespace, look
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
        """The step's name."""
        return self.line.name


@dataclass(frozen=True, slots=True)
class Trial:
    """What stood before the body ran; `outcome` compares with it.

    `placed` are the bindings that the step found, `aside` what these names meant in this kernel
    (None: nothing), `own` what the step's last run had made, taken away before the body.
    """

    task: Task
    outlook: Outlook
    inputs: tuple[Input, ...]
    placed: Mapping[str, Binding]
    aside: Mapping[str, Binding | None]
    own: Mapping[str, Binding | None]
    objects: Mapping[str, Any]
    givens: tuple[Version, ...]
    given_by: Mapping[str, Given] = field(default_factory=dict)
    setups: frozenset[str] = frozenset()
    mates: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> frozenset[str]:
        """The names that the source, or code that it reaches, names itself."""
        return frozenset(one.path.name for one in self.inputs)

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
    """What a body left: versions, with the component each came from, and names by their fate."""

    versions: tuple[tuple[Component, Version], ...]
    changed: frozenset[str]
    bound: frozenset[str]
    gone: frozenset[str]
    flaws: tuple[tuple[str, str], ...] = ()

    @property
    def made(self) -> frozenset[str]:
        """The names that it has a version of, the step's own value aside."""
        return frozenset(
            name for component, _ in self.versions for name in component.values if name != VALUE
        )


# --- before --------------------------------------------------------------------------------------


def prepare(
    task: Task, outlook: Outlook, ledger: Ledger, batch_phase: Phase, setups: frozenset[str]
) -> Trial:
    """Put in place what the step should find, the rest aside."""
    space = outlook.space
    space.clear_junk(task.step)
    paths = outlook.paths(task.names)
    touched = outlook.touched(paths, is_changing=task.names.is_changing)
    inputs = inputs_of(outlook, paths)
    head = ledger.head(task.step)
    mine = frozenset(head.made) if head else frozenset()
    wanted = {name: outlook.wanted(name) for name in touched | mine}
    aside: dict[str, Binding | None] = {}
    own: dict[str, Binding | None] = {}
    misplaced = _misplaced(space, wanted)
    space.verify([name for name in misplaced if name in space.suspects], outlook.phase)
    for name in misplaced:
        now, want = space.bindings.get(name), wanted[name]
        if name not in space.junk or _is_other(now, want):
            place = own if now is not None and now.maker == task.step else aside
            place[name] = now
        _put(space, name, want)
    own |= _disown(space, task.step, {n: wanted[n] for n in mine - aside.keys() - own.keys()})
    if not task.is_asked:
        aside |= _lend(space, {n: w for n, w in wanted.items() if n not in aside and n not in own})
    space.load(name for name in touched if wanted[name] is not None)
    placed = {n: space.bindings[n] for n in touched if n in space.bindings}
    givens = _keep_givens(placed, space, batch_phase)
    placed = {n: space.bindings[n] for n in touched if n in space.bindings}
    placed |= _as_they_look(placed, space, batch_phase)
    for version in givens:
        for name in version.names.keys() & placed.keys():
            if len(version.names) > 1:
                placed[name] = replace(placed[name], maker="", version=version)
    given_by = {
        name: given
        for version in givens
        for name in version.names.keys() & placed.keys()
        if (given := _given_by(placed[name], outlook.row)) != Given()
    }
    mates = {name: _mates(placed, name) for name in placed}
    objects = visible(space.ns)
    return Trial(
        task, outlook, inputs, placed, aside, own, objects, givens, given_by, setups, mates
    )


def _given_by(given: Binding, row: Row) -> Given:
    """Where a given comes from."""
    amended = given.amended.stood if given.amended is not None else {}
    return Given(_made_in(given, row), {**given.origin.stood, **amended}, given.texts)


def _made_in(given: Binding, row: Row) -> str:
    """The plain cell that made a given what it is: its maker, or the lowest that changed it."""
    if given.amended is None:
        return given.cell
    cells = [cell for cell in given.amended.cells if cell in row.cells]
    return max(cells, key=lambda cell: row.cells[cell], default=given.cell)


def _as_they_look(
    placed: Mapping[str, Binding], space: Namespace, phase: Phase
) -> dict[str, Binding]:
    """Bindings whose digest has moved with a definition that they name: what they are now.

    An instance stands for its class too; that the class was changed since is no change by the body.
    """
    digest_of = functools.cache(space.digest_of)
    looks = {n: replace(b, version=b.looks) for n, b in placed.items() if b.looks is not None}
    moved = {
        name
        for name, binding in placed.items()
        if binding.version is not None
        and space.is_current(name)
        and any(digest_of(need) != digest for need, digest in binding.version.needs.items())
    }
    if not moved:
        return looks
    mates = {m for name in moved for m in (placed[name].version or _NONE).names if m in placed}
    return {
        name: replace(placed[name], version=version)
        for component, version in space.look(moved | mates, phase)
        for name in component.values
    }


_NONE = Version("lost", "", {})


def _mates(placed: Mapping[str, Binding], name: str) -> str:
    """All the names that share objects with one that was placed, itself among them."""
    own = placed[name]
    if own.version is None:
        return ""
    return ",".join(
        sorted(
            mate
            for mate in own.version.names
            if mate in placed
            and (placed[mate].maker, placed[mate].version) == (own.maker, own.version)
        )
    )


def _misplaced(space: Namespace, wanted: Mapping[str, Binding | None]) -> list[str]:
    """The names that are not what they should be, and all that share objects with what they
    should be: a component is loaded as one, or what is shared would come apart."""
    found = {
        name
        for name, want in wanted.items()
        if name in space.junk or _is_other(space.bindings.get(name), want)
    }
    components = [(want.maker, want.version) for name in found if (want := wanted[name])]
    return sorted(
        name
        for name, want in wanted.items()
        if name in found or (want is not None and _is_in(want, components))
    )


def _lend(space: Namespace, wanted: Mapping[str, Binding | None]) -> dict[str, Binding | None]:
    """Names that mean an equal value of another step: for the run they mean what they should, so
    that it may delete or rebind them, and then what they meant."""
    lent: dict[str, Binding | None] = {}
    for name, want in wanted.items():
        now = space.bindings.get(name)
        if now is None or want is None or now.version is None or now.version.mutable:
            continue
        if now.maker != want.maker and (space.is_current(name) or not now.is_resident):
            lent[name] = now
            space.bindings[name] = replace(now, maker=want.maker, record=want.record)
    return lent


def _disown(
    space: Namespace, step: str, wanted: Mapping[str, Binding | None]
) -> dict[str, Binding | None]:
    """Names that mean what the step's last run made, and a step above made equal: they are that
    one's now, and the step's again only if it makes them again."""
    own: dict[str, Binding | None] = {}
    for name, want in wanted.items():
        now = space.bindings.get(name)
        if now is not None and want is not None and now.maker == step != want.maker:
            # The body works on the object: it is no longer what the step's last run left.
            is_safe = now.version is not None and not now.version.mutable
            own[name] = now if is_safe else replace(now, obj=DORMANT)
            space.bindings[name] = replace(now, maker=want.maker, record=want.record)
    return own


def _is_in(want: Binding, components: list[tuple[str, Version | None]]) -> bool:
    return (
        want.version is not None
        and len(want.version.names) > 1
        and want.version.kind != "lost"
        and (want.maker, want.version) in components
    )


def _is_other(now: Binding | None, want: Binding | None) -> bool:
    if now is None or want is None:
        return now is not want
    if now is want:
        return False
    if want.version is not None and want.version.kind == "lost":
        # Whoever asks has seen to it that what is in memory is what can be had.
        return now.version is None or now.version.kind != "lost" or not now.is_resident
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
        space.bind(name, replace(want, obj=DORMANT) if want.record else want)


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
        for name in component.values:
            if name in unkept:
                space.bindings[name] = replace(space.bindings[name], version=done)
            elif not space.bindings[name].maker:  # a larger component than it was kept with
                space.bindings[name] = replace(space.bindings[name], version=done, record="")
    return tuple(found.values())


# --- after ---------------------------------------------------------------------------------------


def outcome(trial: Trial, value: object, has_value: bool, phase: Phase) -> Outcome:
    """What the body bound, rebound, changed in place or took away, kept in the store."""
    space, task = trial.outlook.space, trial.task
    now = visible(space.ns)
    rebound = {n for n, v in now.items() if n not in trial.objects or trial.objects[n] is not v}
    bound = frozenset(rebound | (task.names.binds & now.keys()))
    gone = frozenset((trial.objects.keys() | task.names.deletes) - now.keys())
    statements.note(task.names, space, bound)
    touched = {
        n
        for n, b in trial.placed.items()
        if n in now
        and b.version
        and b.version.mutable
        and not trial.is_set_up(n)
        and b.version.flaw != LEFT_OUT
    }
    lost = lost_digest(trial)
    definitions = space.definitions(now)
    values = {name: now[name] for name in bound | touched}
    needed = functools.cache(space.digest_of)
    found = look(
        values,
        space.sources,
        definitions,
        phase,
        needed=needed,
        resolve=space.need,
        lost=lost,
    )
    changed = [
        (component, version)
        for component, version in found
        if not bound.isdisjoint(component.values) or _has_changed(trial, component, version)
    ]
    changed = [
        _as_value(c, v, space, lost) if bound.isdisjoint(c.values) else (c, v) for c, v in changed
    ]
    if has_value:
        changed = _with_value(changed, value, definitions, phase, needed, lost)
    secret = _left_out(task, space)
    kept = [(c, _keep(c, v, task, secret, space, phase, lost)) for c, v in changed]
    moved = frozenset(
        name
        for component, version in kept
        for name in component.values
        if name != VALUE and _has_moved(trial, name, version)
    )
    return Outcome(tuple(kept), moved, bound, gone, _flaws(kept))


def as_they_were(trial: Trial, now: Mapping[str, Any], phase: Phase) -> frozenset[str]:
    """The names that a body found and left with the objects they had, unchanged."""
    kept = {
        name: binding.version
        for name, binding in trial.placed.items()
        if name in now and trial.objects.get(name) is now[name] and binding.version is not None
    }
    mutable = {name for name, version in kept.items() if version.mutable}
    found = {
        name
        for component, version in trial.outlook.space.look(mutable, phase)
        if version.kind != "lost" and not _has_changed(trial, component, version)
        for name in component.values
    }
    return frozenset(found | (kept.keys() - mutable))


def _flaws(kept: Iterable[tuple[Component, Version]]) -> tuple[tuple[str, str], ...]:
    """The names that could not be kept, with the reason of each."""
    return tuple(
        (name, version.flaw)
        for component, version in kept
        if version.flaw
        for name, value in component.values.items()
        if not _is_closed(value)
    )


LEFT_OUT = "left out by --no-save"


def _is_secret(component: Component, name: str, secret: frozenset[int], task: Task) -> bool:
    """Whether a name is kept out itself, or has the very object of one that is. An immutable that
    another name has too tells nothing: Python keeps one object for many a small one."""
    is_telling = name == VALUE or component.streams[name].is_mutable
    return name in task.line.no_save or (is_telling and id(component.values[name]) in secret)


def _left_out(task: Task, space: Namespace) -> frozenset[int]:
    """The ids of the objects that somebody wants kept out of the store."""
    names = {name for name in space.bindings.flawed if _is_left_out(space.bindings[name])}
    names |= set(task.line.no_save)
    return frozenset(id(space.ns[name]) for name in names if name in space.ns)


def _is_left_out(binding: Binding) -> bool:
    return binding.version is not None and binding.version.flaw == LEFT_OUT


def _is_closed(value: object) -> bool:
    """Whether it is a file that was closed: nobody misses what `with open(...) as f` leaves."""
    return issubclass(type(value), io.IOBase) and bool(getattr(value, "closed", False))


def _keep(
    component: Component,
    version: Version,
    task: Task,
    secret: frozenset[int],
    space: Namespace,
    phase: Phase,
    lost: Digest,
) -> Version:
    if any(_is_secret(component, name, secret, task) for name in component.values):
        return _as_lost(version, LEFT_OUT, lost)
    for value in component.values.values():
        if component.source is None and (actor := effects.of_class(value)):
            return _as_lost(version, f"making it calls {actor}, which does more", lost)
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
    if component.source is not None and component.source.kind == "import":
        (value,) = component.values.values()
        if issubclass(type(value), (types.FunctionType, types.ModuleType, type)):
            return False  # a module that was edited makes it another, no body does
    names = trial.task.names
    if version.kind == "lost" and names.is_dynamic:
        # It may look at any name; that alone does not use up what cannot be kept.
        named = names.mentions | {path.name for path in names.reads}
        return not named.isdisjoint(component.values)
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


def _as_value(
    component: Component, version: Version, space: Namespace, lost: Digest
) -> tuple[Component, Version]:
    """A definition or an import that was changed in place: its statement makes it no more."""
    if component.source is None:
        return component, version
    for name in component.values:
        space.sources.pop(name, None)
    component = replace(component, source=None)
    return component, versions.describe(component, lost=lost)


def _has_moved(trial: Trial, name: str, version: Version) -> bool:
    known = trial.placed[name].version if name in trial.placed else None
    return known is None or version.kind == "lost" or known.names[name] != version.names[name]


def _with_value(
    changed: list[tuple[Component, Version]],
    value: object,
    definitions: Mapping[int, str],
    phase: Phase,
    needed: Callable[[str], Digest],
    lost: Digest,
) -> list[tuple[Component, Version]]:
    """Add what the step displayed: with the names it shares objects with, if the step made them."""
    stream = digests.stream(value, name=VALUE, definitions=definitions, buffer_digest=phase.digest)
    alone = Component({VALUE: value}, {VALUE: stream}, None, definitions, needed)
    if not stream.flaw:
        for i, (component, _) in enumerate(changed):
            streams = {**component.streams, VALUE: stream}
            if component.source is None and not component.flaw and _touch(streams):
                values = {**component.values, VALUE: value}
                joined = Component(values, streams, None, component.definitions, needed)
                changed[i] = (joined, versions.describe(joined))
                return changed
    return [*changed, (alone, versions.describe(alone, lost=lost))]


def _touch(streams: Mapping[str, digests.Stream]) -> bool:
    return any(VALUE in names and len(names) > 1 for names in digests.components(streams))
