"""What names come to mean by a run: worked out before the commit, put in place after it.

A run gives a meaning to what it made. A name that it only read goes back to what it meant; one that
its last run made and this one did not means again what the steps before made of it, or nothing. A
component that came out equal keeps the objects it had: one version, one object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from ..record import VALUE, Digest, Version
from ..store import digests
from ..store.phases import Phase
from . import together
from .bindings import DORMANT, Amendment, Binding, Junk
from .trial import Outcome, Trial, as_they_were


def meanings(trial: Trial, result: Outcome) -> dict[str, Binding | None]:
    """What each name comes to mean by the run (None: nothing). Nothing is changed yet.

    The bindings' records are filled in by `adopt`, once the record has a digest.
    """
    task = trial.task
    old = {**trial.aside, **trial.own}
    held = _unchanged(trial, result, old)
    changes: dict[str, Binding | None] = {}
    for component, version in result.versions:
        # All of a component keeps its objects, or none: what they share is part of it.
        stays = all((b := old.get(n)) is not None and b.is_resident for n in component.values)
        for name, value in component.values.items():
            if name == VALUE or not _takes(trial, result, name, version):
                continue
            known = old.get(name) if name in held else None
            if known is not None and known.maker != task.step:
                continue
            obj = known.obj if known is not None and stays else value
            changes[name] = Binding(task.step, "", version, obj)
    for name in result.gone - result.made:
        if _takes(trial, result, name):
            changes.setdefault(name, None)
    for name in (trial.own.keys() | trial.carried) - changes.keys() - result.made:
        changes[name] = trial.outlook.wanted(name)
    for name in trial.aside.keys() - changes.keys() - result.made:
        if _was_loaded_anew(trial, name):
            changes[name] = trial.placed[name]
    return changes


def _was_loaded_anew(trial: Trial, name: str) -> bool:
    """Whether a name was put aside only for what it shares objects with: it keeps the new ones."""
    known, placed = trial.aside[name], trial.placed.get(name)
    return (
        known is not None
        and known.version is not None
        and placed is not None
        and placed.is_resident
        and placed.means(known.maker, known.version)
    )


def adopt(
    trial: Trial, result: Outcome, changes: Mapping[str, Binding | None], record: Digest
) -> None:
    """Give the names their meanings, and put back what was put aside for the run."""
    space, step = trial.outlook.space, trial.task.step
    worked_on = [trial.placed[name] for name in result.changed & trial.placed.keys()]
    for name in _strangers(trial, worked_on):
        space.ns.pop(name, None)
        space.bindings[name] = replace(space.bindings[name], obj=DORMANT)
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
                space.bind(name, _apart(known, worked_on))
    if not trial.task.is_asked:
        _leave(trial, changes)


def _strangers(trial: Trial, worked_on: Iterable[Binding]) -> list[str]:
    """The names that share objects with those that the body worked on, and were no part of what it
    found: another step's version stands under such a name at this place."""
    space, found = trial.outlook.space, []
    for one in worked_on:
        for mate in one.version.names.keys() - trial.placed.keys() if one.version else ():
            other = space.bindings.get(mate)
            if other is not None and other.record and other.is_resident and _is_of_one(other, one):
                found.append(mate)
    return found


def _apart(known: Binding, worked_on: Iterable[Binding]) -> Binding:
    """What was put aside, to be loaded again where it shares objects with what was worked on."""
    shares = known.record and any(_is_of_one(known, one) for one in worked_on)
    return replace(known, obj=DORMANT) if shares else known


def _is_of_one(one: Binding, other: Binding) -> bool:
    """Whether two names mean parts of one component, that share mutable objects."""
    return (
        one.version is not None
        and other.version is not None
        and len(one.version.names) > 1
        and (one.maker, one.version.digest) == (other.maker, other.version.digest)
    )


def _leave(trial: Trial, changes: Mapping[str, Binding | None]) -> None:
    """Put back what a body that ran for another's sake bound or took away, and had no business to.

    Such a name stood as it should, so it was not put aside.
    """
    space, then = trial.outlook.space, trial.objects
    now = space.visible.now()
    for name in (now.keys() | then.keys()) - changes.keys() - trial.aside.keys():
        known = space.bindings.get(name)
        if known is None and name not in then:
            space.drop(name)
        elif known is not None and name in then and then[name] is known.obj:
            space.ns[name] = known.obj


def _takes(trial: Trial, result: Outcome, name: str, version: Version | None = None) -> bool:
    """Whether a name that the run made or changed moves to what the run left.

    Asked for, the run gives a meaning to what it bound or changed by name, and to what shares with
    it where that meant what the run saw. Run for another's sake, only to what meant its own earlier
    version, or nothing; and a name that the run left as it was may move, to stay with its objects.
    """
    if name in trial.own:
        return True
    if trial.is_remaking and version is not None and version.kind == "lost":
        return True  # whoever had it made again can only have it from memory, under its name
    if name not in trial.aside:
        now = trial.outlook.space.bindings.get(name)
        return trial.task.is_asked or _is_lost(now) or _was_free(trial, name)
    known, placed = trial.aside[name], trial.placed.get(name)
    if known is None:
        return trial.task.is_asked or not trial.outlook.is_deleted(name)
    if version is not None and _is_equal(known, version, name) and _is_above(trial, known):
        return True
    if name in trial.carried and not (version is not None and _is_equal(known, version, name)):
        return True
    if trial.task.is_asked:
        named = result.bound | result.gone | (result.changed & trial.named)
        seen = placed.version if placed is not None else None
        if name in named or seen is None:
            return name in named
        if _is_equal(known, seen, name):
            return True
        # What a step above made of it, before one in between was run for this one's sake.
        is_changed = version is not None and version.names.get(name) != seen.names.get(name)
        is_helped = placed is not None and placed.maker in trial.helpers
        return is_changed and is_helped and _is_above(trial, known)
    return _is_lost(known)


def _is_lost(known: Binding | None) -> bool:
    """Whether a name means what cannot be kept: that is made by a row of steps, each of which goes
    on with the same object."""
    return known is not None and known.version is not None and known.version.kind == "lost"


def _is_equal(known: Binding, version: Version, name: str) -> bool:
    """Whether a name means a value equal to the one that a version gives it."""
    return (
        known.version is not None
        and not known.amended
        and known.version.names.get(name) == version.names.get(name)
    )


def _is_above(trial: Trial, known: Binding) -> bool:
    places = trial.outlook.site.layers.places
    return known.maker in places and places[known.maker] < places[trial.task.step]


def _was_free(trial: Trial, name: str) -> bool:
    if name in trial.placed:
        return True
    known = trial.outlook.space.bindings.get(name)
    if known is None:
        return not trial.outlook.is_deleted(name)
    return name not in trial.objects or known.maker == trial.task.step


def _unchanged(trial: Trial, result: Outcome, old: Mapping[str, Binding | None]) -> frozenset[str]:
    """The names whose old meaning holds what the run left unchanged: they keep their objects.

    A class or function only stays where everything that names it stays too, else instances made
    by this run would belong to another class than the one that is bound.
    """
    if any(version.kind == "lost" for _, version in result.versions):
        return frozenset()  # what was lost may hold the new objects: they stay together
    held: list[list[str]] = []
    fresh_needs: set[str] = set()
    groups = [[name for name in one.values if name != VALUE] for one, _ in result.versions]
    for (_, version), names in zip(result.versions, groups, strict=True):
        if names and holds(old, version, names):
            held.append(names)
        else:
            fresh_needs.update(version.needs)
    # What the run found in its place keeps its objects as well, whatever they mean from now on.
    stood = {**trial.placed, **old}
    return frozenset().union(*held) - fresh_needs - together.joined(stood, filter(None, groups))


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


def abandon(trial: Trial, phase: Phase) -> None:
    """After a failure: plain cells see what the body did, and no step will. What it left as it was
    means what it meant before."""
    space = trial.outlook.space
    now, step = space.visible.now(), trial.task.step
    same = as_they_were(trial, now, phase)
    for name, binding in trial.placed.items():
        if name not in now and binding.version is not None:
            space.bindings[name] = replace(binding, obj=DORMANT)
    for name, value in now.items():
        known = trial.placed.get(name)
        unchanged = name in trial.objects and trial.objects[name] is value
        if name in same or (unchanged and (known is None or known.version is None)):
            continue
        if known is not None:
            space.bindings[name] = _unmade(trial, name, known)
            space.junk[name] = Junk(step, value)
        elif not unchanged:
            space.bindings.pop(name, None)
            space.junk[name] = Junk(step, value)
    worked_on = [binding for name, binding in trial.placed.items() if name not in same]
    for name in _strangers(trial, worked_on):
        _let_stand(trial, name)
    _put_back(trial, same, worked_on)


def _let_stand(trial: Trial, name: str) -> None:
    """Let plain cells see what a failed body made of a name's object, and no step."""
    space = trial.outlook.space
    binding = space.bindings[name]
    if binding.is_resident:
        space.junk[name] = Junk(trial.task.step, binding.obj)
        space.bindings[name] = replace(binding, obj=DORMANT)


def _unmade(trial: Trial, name: str, known: Binding) -> Binding:
    """What a name means that a failed body changed: what it stood for, to be loaded.

    What a step made, and a plain cell has made share objects with a name of its own, is kept as one
    with that since the body began. It comes from its step all the same.
    """
    own = trial.outlook.space.bindings.get(name, known)
    if not own.maker or known.maker or own.version is known.version:
        return replace(known, obj=DORMANT)
    cells = (
        frozenset(trial.placed[mate].cell for mate in known.version.names if mate in trial.placed)
        if known.version
        else frozenset()
    )
    joined = own.amended or Amendment(cells - {""}, own.record, own.version)
    return replace(own, version=known.version, record="", amended=joined, obj=DORMANT)


def _put_back(trial: Trial, same: frozenset[str], worked_on: Iterable[Binding]) -> None:
    """Let names mean again what was put aside, where the body has not touched what it found."""
    space = trial.outlook.space
    for name, meant in {**trial.aside, **trial.own}.items():
        if name in space.junk or (name in trial.placed and name not in same):
            continue
        if meant is not None:
            space.bind(name, meant)
            if _apart(meant, worked_on) is not meant:
                _let_stand(trial, name)
        elif name in same:
            space.drop(name)
