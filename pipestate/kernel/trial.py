"""One run of a step: what stood before its body (`stage` has put it there), and what it left.

    stage.prepare ── (the body runs) ── outcome ── the components that it made or changed ── keep

What the names mean after it, and after a body that failed, is for `meanings`.
"""

from __future__ import annotations

import functools
import io
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from ..cell.lookers import DYNAMIC_NAMES
from ..cell.names import Names
from ..cell.source import StepLine
from ..errors import StoreError
from ..record import ABSENT, VALUE, Digest, FileState, Given, Input, Version
from ..store import content, digests, versions
from ..store.phases import Phase
from ..store.versions import Component
from . import effects, statements
from .bindings import Binding
from .looks import look
from .namespace import Namespace
from .outlook import Outlook
from .visible import differing


class Task(Struct, frozen=True):
    """A step's cell, about to be run or restored: its line, its text, and what the text says.

    `sets` is the attribute of a module for which it counts as `--setup` though its line says no
    such thing.
    """

    line: StepLine
    source: str
    transformed: str
    names: Names
    normal: Digest
    cell_id: str = ""
    is_asked: bool = True
    sets: str = ""

    @property
    def step(self) -> str:
        """The step's name."""
        return self.line.name


class Trial(Struct, frozen=True):
    """What stood before the body ran; `outcome` compares with it.

    `objects` is the namespace as the body found it. `placed` are the bindings that the step found,
    `aside` what these names meant in this kernel
    (None: nothing), `own` what the step's last run had made, taken away before the body. `carried`
    are those put aside that have their values from the step, and of which others only made aliases.
    `helpers` are the steps that have just run for this one's sake. `spare` are the names that the
    body may bind and does not look at; `is_remaking`: it runs to make again what cannot be kept.
    `kept` are, as the store has
    them, those of `placed` that were kept with more than came back: with caches. `unkept` is what
    the disk said where it had no room for what plain cells made: then the step is not kept either.
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
    carried: frozenset[str] = frozenset()
    helpers: frozenset[str] = frozenset()
    spare: frozenset[str] = frozenset()
    is_remaking: bool = False
    kept: Mapping[str, Binding] = field(default_factory=dict)
    unkept: StoreError | None = None

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

    def stood(self, name: str) -> Binding:
        """What the step found under a name, as its record tells of it."""
        return self.kept.get(name) or self.placed[name]

    def bound_anew(self, bound: frozenset[str]) -> frozenset[str]:
        """Those of the names that a body has bound which it did not look at: what they stood for
        was no input, unless something else shared objects with it."""
        return frozenset(n for n in self.spare & bound if self.mates.get(n, n) in ("", n))

    def is_set_up(self, name: str) -> bool:
        """Whether a setup step made it: its values do not count as changed by use."""
        return name in self.placed and self.placed[name].maker in self.setups


class Outcome(Struct, frozen=True):
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


# --- after ---------------------------------------------------------------------------------------


def outcome(
    trial: Trial, value: object, has_value: bool, phase: Phase, files: Iterable[FileState] = ()
) -> Outcome:
    """What the body bound, rebound, changed in place or took away, kept in the store.

    `files` are those that it read.
    """
    space, task = trial.outlook.space, trial.task
    now = space.visible.now()
    bound, gone = _bound_and_gone(trial, now)
    statements.note(task.names, space, bound)
    touched = {name for name in trial.placed if name in now and _is_changeable(trial, name)}
    lost = _lost_digest(trial, bound, files)
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
    secret = _left_out(task, space, now)
    kept = [(c, _keep(c, v, task, secret, space, phase, lost)) for c, v in changed]
    moved = frozenset(
        name
        for component, version in kept
        for name in component.values
        if name != VALUE and _has_moved(trial, name, version)
    )
    return Outcome(tuple(kept), moved, bound, gone, _flaws(kept))


def _bound_and_gone(trial: Trial, now: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The names that have another object now, or that the source surely binds; and those gone."""
    names = trial.task.names
    rebound, taken = differing(trial.objects, now)
    bound = frozenset((*rebound, *(one for one in names.binds if one in now)))
    return bound, frozenset((*taken, *(one for one in names.deletes if one not in now)))


def _is_changeable(trial: Trial, name: str) -> bool:
    """Whether the body may have changed what it found under a name, in a way that counts."""
    version = trial.placed[name].version
    if version is None or version.flaw == LEFT_OUT:  # not in memory: `stage` has looked at the rest
        return False
    return version.mutable and not trial.is_set_up(name)


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


def _left_out(task: Task, space: Namespace, now: Mapping[str, Any]) -> frozenset[int]:
    """The ids of the objects that somebody wants kept out of the store."""
    names = {name for name in space.bindings.flawed if _is_left_out(space.bindings[name])}
    names |= set(task.line.no_save)
    return frozenset(id(now[name]) for name in names if name in now)


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
    return version.replace(
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


def _lost_digest(trial: Trial, bound: frozenset[str], files: Iterable[FileState]) -> Digest:
    """What stands for a value that cannot be kept: how it was made, from what."""
    anew = trial.bound_anew(bound)
    read = (one for one in trial.inputs if one.path.name not in anew)
    made = [trial.task.step, trial.task.normal, *(f"{i.path}={i.digest}" for i in read)]
    made += [f"{one.path}={one.digest}" for one in files]
    return content.digest("\n".join(made).encode("utf-8", "surrogatepass"))


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
    found: dict[Digest, Version] = {}
    for name in component.values:
        known = trial.placed[name].version
        if known is None or known.kind == "lost" or known.names[name] != version.names[name]:
            return True
        found[known.digest] = known
    known, *others = found.values()
    if known.digest == version.digest:
        return False
    if others or not version.names.keys() <= known.names.keys():
        return True  # what stood apart shares objects now
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
