"""The stage that a step's body finds: every name that it may touch as the steps above leave it.

    prepare ── hide what its last run made ── place the state before it ── keep what is in no record

The rules are those of a run from the top: a component is loaded, put back, compared and kept as
one; a name that the step only read goes back to what it meant; a component that came out equal
keeps the objects it had, so that there is one object for one version.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from ..errors import DamageError, StoreError, kind_of
from ..ledger import Ledger
from ..pipe.places import Row
from ..record import AccessPath, Digest, Given, Input, Version
from ..store import digests, versions
from ..store.phases import Phase
from .bindings import DORMANT, Binding
from .namespace import Namespace
from .outlook import Outlook
from .trial import LEFT_OUT, Task, Trial
from .visible import is_visible


class UnloadableError(StoreError):
    """A value that is there and does not load: a library is gone, or it is another Python's."""

    def __init__(self, name: str, key: tuple[str, Digest], flaw: str) -> None:
        super().__init__(f"`{name}` does not load here ({flaw})", "run the cell that makes it")
        self.key, self.flaw = key, flaw


def prepare(
    task: Task, outlook: Outlook, ledger: Ledger, batch_phase: Phase, setups: frozenset[str]
) -> Trial:
    """Put in place what the step should find, the rest aside; or, after any error, nothing."""
    space = outlook.space
    space.clear_junk(task.step)
    paths = outlook.paths(task.names)
    touched = outlook.touched(paths, is_changing=task.names.is_changing)
    inputs, spare = inputs_of(outlook, paths), outlook.spare(task.names)
    head = ledger.head(task.step)
    mine = frozenset(head.made) if head else frozenset()
    wanted = {name: outlook.wanted(name) for name in touched | mine}
    # Where nothing is to be had, nothing stands there, so that whether the body binds it is seen.
    wanted |= dict.fromkeys(spare - {path.name for path in paths} - touched)
    room = _make_room(task, space, ledger, wanted, mine, outlook.phase)
    try:
        _load(space, {name: want for name in touched if (want := wanted[name]) is not None})
        found = _found(touched, space, batch_phase)
    except BaseException:
        clear(space, {**room.aside, **room.own})
        raise
    placed, givens = found.placed, found.givens
    given_by = {
        name: given
        for version in givens
        for name in version.names.keys() & placed.keys()
        if (given := _given_by(placed[name], outlook.row)) != Given()
    }
    mates = {name: _mates(placed, name) for name in placed}
    hidden = {one: space.ns.get(one) for one in task.names.deletes if not is_visible(one)}
    return Trial(
        task,
        outlook,
        inputs,
        placed,
        room.aside,
        room.own,
        {**hidden, **space.visible.now()},
        givens,
        given_by,
        setups,
        mates,
        room.carried,
        spare=spare,
        kept=found.kept,
        unkept=found.unkept,
    )


def clear(space: Namespace, meant: Mapping[str, Binding | None]) -> None:
    """Let names mean again what they meant: the body does not run after all."""
    for name, binding in meant.items():
        if binding is None:
            space.drop(name)
        else:
            space.bind(name, binding)


def _load(space: Namespace, wanted: Mapping[str, Binding]) -> None:
    try:
        space.load(wanted)
    except DamageError:
        raise  # it may be another one by now
    except Exception as error:
        for name, want in wanted.items():
            if want.version is not None and space.is_dormant(name):
                flaw = _flaw_of(space, name)
                if flaw:
                    raise UnloadableError(name, (want.maker, want.version.digest), flaw) from error
        raise


def _flaw_of(space: Namespace, name: str) -> str:
    """Why a name does not load, where it is that name which does not; else ""."""
    try:
        space.load([name])
    except Exception as error:  # noqa: BLE001 - a library gone, a user's __setstate__
        if space.is_dormant(name):
            return kind_of(error)
    return ""


class _Found(NamedTuple):
    """What the step finds, what of it no step has made, what of it was kept otherwise than it
    looks, and what the disk said where it had no room for what no step has made."""

    placed: dict[str, Binding]
    givens: tuple[Version, ...]
    kept: dict[str, Binding]
    unkept: StoreError | None


def _found(touched: Collection[str], space: Namespace, phase: Phase) -> _Found:
    """What the step finds under each name that it may touch."""
    placed = {n: space.bindings[n] for n in touched if n in space.bindings}
    givens, unkept = _keep_givens(placed, space, phase)
    placed = {n: space.bindings[n] for n in touched if n in space.bindings}
    kept = {n: b for n, b in placed.items() if b.looks is not None}
    placed |= _as_they_look(placed, space, phase)
    for version in givens:
        for name in version.names.keys() & placed.keys():
            if len(version.names) > 1:
                placed[name] = replace(placed[name], maker="", version=version)
    return _Found(placed, givens, kept, unkept)


class _Room(NamedTuple):
    """What names meant before they were given what the step should find."""

    aside: dict[str, Binding | None]
    own: dict[str, Binding | None]
    carried: frozenset[str]


def _make_room(
    task: Task,
    space: Namespace,
    ledger: Ledger,
    wanted: Mapping[str, Binding | None],
    mine: frozenset[str],
    phase: Phase,
) -> _Room:
    aside: dict[str, Binding | None] = {}
    own: dict[str, Binding | None] = {}
    carried: set[str] = set()
    misplaced = _misplaced(space, wanted, phase, is_asked=task.is_asked)
    space.verify([name for name in misplaced if name in space.suspects], phase)
    for name in misplaced:
        now, want = space.bindings.get(name), wanted[name]
        if name not in space.junk or _is_other(now, want):
            place = own if now is not None and now.maker == task.step else aside
            place[name] = now
            if now is not None and ledger.giver(name, now.maker, now.record) == task.step:
                carried.add(name)
        _put(space, name, want)
    own |= _disown(space, task.step, {n: wanted[n] for n in mine - aside.keys() - own.keys()})
    if not task.is_asked:
        aside |= _lend(space, {n: w for n, w in wanted.items() if n not in aside and n not in own})
    return _Room(aside, own, frozenset(carried - own.keys()))


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
    """Bindings whose digest has moved with a definition that they name, or that have none for they
    are left out of the store: what they are now.

    An instance stands for its class too; that the class was changed since is no change by the body.
    """
    digest_of = functools.cache(space.digest_of)
    looks = {n: replace(b, version=b.looks) for n, b in placed.items() if b.looks is not None}
    moved = {
        name
        for name, binding in placed.items()
        if binding.version is not None
        and space.is_current(name)
        and (
            binding.version.flaw == LEFT_OUT
            or any(digest_of(need) != digest for need, digest in binding.version.needs.items())
        )
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


def _misplaced(
    space: Namespace, wanted: Mapping[str, Binding | None], phase: Phase, *, is_asked: bool
) -> list[str]:
    """The names that are not what they should be, and all that share objects with what they
    should be: a component is loaded as one, or what is shared would come apart.

    A body that runs for another's sake may not even work on an equal object of another step.
    """
    found = {
        name
        for name, want in wanted.items()
        if name in space.junk
        or _is_other(now := space.bindings.get(name), want)
        or (not is_asked and _is_lookalike(now, want))
    }
    found |= _apart(space, wanted, phase)
    components = [(want.maker, want.version) for name in found if (want := wanted[name])]
    return sorted(
        name
        for name, want in wanted.items()
        if name in found or (want is not None and _is_in(want, components))
    )


def _apart(space: Namespace, wanted: Mapping[str, Binding | None], phase: Phase) -> set[str]:
    """The names of one component that mean equal versions of several steps, each with objects of
    its own."""
    groups: dict[tuple[str, Digest], tuple[Version, dict[str, Binding]]] = {}
    for name, want in wanted.items():
        now = space.bindings.get(name)
        if now is not None and want is not None and want.version is not None:
            key = (want.maker, want.version.digest)
            groups.setdefault(key, (want.version, {}))[1][name] = now
    return {
        name
        for version, group in groups.values()
        if len({(now.maker, now.record) for now in group.values()}) > 1
        and not _is_one(space, sorted(group), version, phase)
        for name in group
    }


def _is_one(space: Namespace, names: list[str], version: Version, phase: Phase) -> bool:
    """Whether names are in memory, and share there what a version of them shares."""
    if not all(map(space.is_current, names)):
        return False
    if version.kind == "lost":
        return True  # whoever asks has seen to it that what is in memory is what can be had
    found = [now.digest for _, now in space.look(names, phase)]
    return found == [digests.joint_of(version.names, version.shares, names)]


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


def _is_lookalike(now: Binding | None, want: Binding | None) -> bool:
    """Whether a name means an object of another step, equal to what it should mean."""
    return (
        now is not None
        and want is not None
        and want.version is not None
        and want.version.mutable
        and want.version.kind != "lost"
        and bool(want.record)
        and now.maker != want.maker
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
) -> tuple[tuple[Version, ...], StoreError | None]:
    """Keep what no record holds of what the step may touch, so that it can be put back and loaded.

    Gives the versions of all that no step made, those that were kept before included, and what the
    disk said, where it is full: the body runs in any case, and its step is not kept.
    """
    unwritten: StoreError | None = None
    found = {
        binding.version.digest: binding.version
        for binding in placed.values()
        if not binding.maker and binding.record and binding.version is not None
    }
    unkept = {name for name, b in placed.items() if not b.record and space.is_current(name)}
    if not unkept:
        return tuple(found.values()), None
    shared = {n for n, b in placed.items() if b.version and b.version.mutable}
    names = unkept | {name for name in shared if space.is_current(name)}
    for component, version in space.look(names, phase):
        if unkept.isdisjoint(component.values):
            continue
        try:
            done = versions.keep(component, version, namespace=space.ns, phase=phase)
        except StoreError as error:
            done, unwritten = version, error
        found[done.digest] = done
        for name in component.values:
            if name in unkept:
                space.bindings[name] = replace(space.bindings[name], version=done)
            elif not space.bindings[name].maker:  # a larger component than it was kept with
                space.bindings[name] = replace(space.bindings[name], version=done, record="")
    return tuple(found.values()), unwritten
