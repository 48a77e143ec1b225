"""What each name means in this kernel, and the objects that carry those meanings.

A *binding* says which version a name means and whether its object is in the namespace (resident)
or only in the store (dormant: loaded when a cell names it). The unit is the component: names that
share mutable objects are loaded, put aside and put back together. What a plain cell made has a
binding without a maker; what it may have changed in place is *suspect* until a digest says so.

This room knows the dictionary of the notebook and the store's versions. It does not know what a
step needs or when it is stale: it puts in place what it is told to.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from msgspec import Struct, field
from msgspec.structs import replace

from ..cell.names import is_hidden
from ..errors import StoreError
from ..record import Digest, Text, Version
from ..store import digests, loading
from ..store.loading import Fetch
from ..store.phases import Phase, Put
from ..store.versions import Component, Source
from .bindings import DORMANT, NOWHERE, Binding, Bindings, Junk, Origin, Plain, is_light
from .looks import is_own, is_same, look, own, without
from .visible import UNBOUND, Visible

_NOTHING: Final[Mapping[str, Any]] = types.MappingProxyType({})


class Past(Struct, frozen=True):
    """What the job knows of definitions that mean something else by now.

    `find` gives a version of a name by its digest; `is_same` says whether what a record holds of a
    name is the object that had a digest once, changed in place since.
    """

    find: Callable[[str, Digest], Version | None] = lambda name, digest: None
    is_same: Callable[[str, Digest, Digest], bool] = lambda name, digest, record: False


EARLIER: Final = "@"
"""Between a name and a digest, it names a definition that the name does not mean any more."""


class Namespace(Struct):
    """The bindings of one kernel.

    load ─── _load_component ─── loading.load ─── need (definitions)
    look ─── _streams ─── describe             what a component is now
    bind, declare, hide, restore               the verbs that change a meaning
    notice, suspect, verify                    what plain cells did
    """

    ns: dict[str, Any]
    visible: Visible
    fetch: Fetch
    put: Put
    bindings: Bindings = field(default_factory=Bindings)
    suspects: dict[str, dict[str, bool]] = field(default_factory=dict)
    junk: dict[str, Junk] = field(default_factory=dict)
    sources: dict[str, tuple[Source, Any]] = field(default_factory=dict)
    loading: set[str] = field(default_factory=set)
    worked: dict[str, dict[Text, bool]] = field(default_factory=dict)
    """What the cells said that make a name suspect, and whether each wrote visibly."""
    earlier: dict[tuple[str, Digest], Any] = field(default_factory=dict)
    past: Past = field(default_factory=Past)
    plain: Plain = field(default_factory=Plain)
    outgrown: set[str] = field(default_factory=set)
    remembered: WeakKeyDictionary[Any, Mapping[str, Digest]] = field(
        default_factory=WeakKeyDictionary
    )
    """What the functions that remember results have read since they were last emptied."""
    outdated: set[str] = field(default_factory=set)
    """The names that were let go of, for a definition has come to be another object."""
    hidden: Mapping[str, Any] = field(default_factory=dict)
    """IPython's own names (`open`, `exit`), which are nobody's as long as they are its objects."""

    # --- asking --------------------------------------------------------------------------------

    def dormant(self) -> frozenset[str]:
        """The names that a cell could load now."""
        return frozenset(n for n, b in self.bindings.items() if not b.is_resident)

    def is_current(self, name: str) -> bool:
        """Whether the object in the namespace is the one that the binding knows."""
        binding = self.bindings.get(name)
        return (
            binding is not None
            and binding.is_resident
            and self.ns.get(name, UNBOUND) is binding.obj
        )

    def definitions(self, now: Mapping[str, Any] | None = None) -> dict[int, str]:
        """The notebook's own functions and classes, by id: other values refer to them by name.
        `now` are its names, where somebody has just looked."""
        found = own(self.visible.now() if now is None else now)
        for (name, digest), value in self.earlier.items():
            found.setdefault(id(value), f"{name}{EARLIER}{digest}")
        return found

    # --- loading -------------------------------------------------------------------------------

    def load(self, names: Iterable[str]) -> None:
        """Make names resident, each with its component and what its code reads."""
        waiting, seen = list(names), set[str]()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting.extend(self._load_one(name))
            if not waiting:  # a class that is back has let go of what was made with another one
                waiting = [name for name in seen if self.is_dormant(name)]
                seen.difference_update(waiting)

    def _load_one(self, name: str) -> Iterable[str]:
        """Make a name resident with its component; the names to load with it."""
        binding = self.bindings.get(name)
        if binding is None or binding.version is None or name in self.junk:
            return ()
        if binding.version.kind == "lost":
            return ()  # whoever needs it has its steps run again
        found = [path.name for path in binding.version.reads]
        if self.is_dormant(name):
            self._load_component(name, binding)
            for mate in binding.version.names:
                if is_own(self.ns.get(mate)):
                    found += self._let_go(mate)
        return found

    def is_dormant(self, name: str) -> bool:
        """Whether a name is not in memory, and the store has its value."""
        binding = self.bindings.get(name)
        return (
            binding is not None
            and binding.version is not None
            and binding.version.kind != "lost"
            and not binding.is_resident
            and name not in self.junk
            and name not in self.loading
        )

    def need(self, name: str, digest: Digest = "") -> Any:
        """The object of a definition that a value being loaded asks for, as it was then.

        Loading may run it (a decorator, a base class), so what its code reads is loaded as well.
        A definition that means something else by now is loaded beside it, once.
        """
        if EARLIER in name:
            name, _, digest = name.partition(EARLIER)
        if self._is_meant(name, digest):
            self.load([name])
            if (held := self.ns.get(name, UNBOUND)) is not UNBOUND:
                return held
        return self._earlier(name, digest)

    def _is_meant(self, name: str, digest: Digest) -> bool:
        """Whether a definition that had this digest once is what the name means now."""
        binding = self.bindings.get(name)
        version = binding.version if binding else None
        known = version.names.get(name, "") if version else ""
        if known == "" and name in self.ns:
            known = self.digest_of(name)
        return digest in ("", known) or self._is_same_object(name, digest)

    def _is_same_object(self, name: str, digest: Digest) -> bool:
        binding = self.bindings.get(name)
        return binding is not None and self.past.is_same(name, digest, binding.record)

    def _earlier(self, name: str, digest: Digest) -> Any:
        if (name, digest) not in self.earlier:
            version = self.past.find(name, digest)
            if version is None:
                raise StoreError(f"`{name}`, which a kept value needs, is not there any more")
            self.load(path.name for path in version.reads)
            self.earlier[name, digest] = self.values(version)[name]
        return self.earlier[name, digest]

    def _load_component(self, name: str, binding: Binding) -> None:
        version = binding.version
        assert version is not None
        self.verify([m for m in version.names if m in self.suspects], Phase(self.put))
        mates = [
            mate
            for mate in version.names
            if (b := self.bindings.get(mate)) is not None
            and b.record == binding.record
            and b.version is not None
            and b.version.digest == version.digest
        ]
        self.loading.update(mates)
        try:
            values = self.values(version)
        finally:
            self.loading.difference_update(mates)
        for mate in mates:
            self.ns[mate] = values[mate]
            self.bindings[mate] = replace(self.bindings[mate], obj=values[mate])
            self._clear(mate)
            if version.kind in ("import", "definition"):
                source = Source(version.kind, version.source, tuple(version.needs))
                self.sources[mate] = (source, values[mate])
        if version.settles:
            for component, looks in self.look(mates, Phase(self.put)):
                for mate in component.values:
                    self.bindings[mate] = replace(self.bindings[mate], looks=looks)

    def values(self, version: Version) -> dict[str, Any]:
        """The objects of a version, bound nowhere."""
        return loading.load(
            version,
            fetch=self.fetch,
            resolve=lambda name: self.need(name, version.needs.get(name, "")),
            namespace=self.ns,
        )

    # --- looking -------------------------------------------------------------------------------

    def look(
        self, names: Iterable[str], phase: Phase, *, lost: str = ""
    ) -> list[tuple[Component, Version]]:
        """What resident names hold now, as components with their versions, nothing kept."""
        values = {one: held for one in names if (held := self.ns.get(one, UNBOUND)) is not UNBOUND}
        return self._look_at(values, phase, lost)

    def made_from(self, name: str, kin: Collection[str], phase: Phase) -> frozenset[str]:
        """Those of `kin` that share objects with what a plain cell made; it is not asked again of
        the others."""
        joined = next(c.values for c, _ in self.look({name, *kin}, phase) if name in c.values)
        shared = frozenset(joined) & set(kin)
        known = self.bindings[name]
        rest = known.origin.kin - (set(kin) - shared)
        self.bindings[name] = replace(known, origin=replace(known.origin, kin=rest))
        return shared

    def version_at(self, name: str, value: object, phase: Phase) -> Version:
        """The version that a name would mean with this object."""
        ((_, version),) = self._look_at({name: value}, phase)
        return version

    def _look_at(
        self, values: Mapping[str, object], phase: Phase, lost: str = ""
    ) -> list[tuple[Component, Version]]:
        return look(
            values,
            self.sources,
            self.definitions(),
            phase,
            needed=functools.cache(self.digest_of),
            resolve=self.need,
            lost=lost,
        )

    def digest_of(self, name: str) -> Digest:
        """The digest of a definition of the notebook as it is now."""
        if EARLIER in name:
            return name.partition(EARLIER)[2]
        return self.digest_at(name, self.ns.get(name))

    def digest_at(self, name: str, value: object) -> Digest:
        """The digest of a definition that a name would mean with this object."""
        definitions = without(self.definitions(), name, value)
        return digests.stream(value, name=name, definitions=definitions).digest

    def version_of(self, name: str, phase: Phase) -> Version | None:
        """The version that a name means, taken now where nobody has looked yet."""
        binding = self.bindings.get(name)
        if binding is None:
            return None
        if binding.version is None and binding.is_resident:
            self.verify([name], phase)
            binding = self.bindings[name]
        return binding.version

    # --- changing meanings ---------------------------------------------------------------------

    def declare(self, name: str, binding: Binding) -> None:
        """Let a name mean a version in the store, to be loaded when a cell names it."""
        self.ns.pop(name, None)
        self._forget(name)
        self.bindings[name] = binding

    def bind(self, name: str, binding: Binding) -> None:
        """Let a name mean what `binding` says, object and all."""
        old = self.bindings.get(name)
        self._forget(name)
        self.plain.give_back(name, binding)
        self.bindings[name] = binding
        if not binding.is_resident:
            self.ns.pop(name, None)
            return
        self.ns[name] = binding.obj
        if is_own(binding.obj) and (old is None or old.obj is not binding.obj):
            self.outdated.update(self._let_go(name))
        elif self._is_of_earlier(name):
            self.unload([name])
            self.outdated.add(name)

    def settle(self) -> None:
        """Load again what `bind` has let go of, once all names mean what they should."""
        names = [name for name in self.outdated if self.is_dormant(name)]
        self.outdated.clear()
        for name in names:
            # Damage, a library gone, a user's __setstate__: told when a cell names it.
            with contextlib.suppress(Exception):
                self.load([name])

    def drop(self, name: str) -> None:
        """Let a name mean nothing."""
        self.ns.pop(name, None)
        self._forget(name)
        self.bindings.pop(name, None)

    def clear_junk(self, step: str) -> None:
        """Take away what failed attempts at a step left: it is being run again."""
        for name in [name for name, junk in self.junk.items() if junk.step == step]:
            self.ns.pop(name, None)
            del self.junk[name]

    def unload(self, names: Iterable[str]) -> None:
        """Take components out of memory; their meanings stay."""
        for name in list(names):
            binding = self.bindings[name]
            for mate in binding.version.names if binding.version else ():
                other = self.bindings.get(mate)
                if other is not None and other.version is binding.version and other.record:
                    self.ns.pop(mate, None)
                    self.bindings[mate] = replace(other, obj=DORMANT)

    def _let_go(self, name: str) -> list[str]:
        """Take out of memory what was made with another object of a definition that is back.

        Put back as it was, a class is an object of its own; an instance that was made with the one
        which has been changed in place since is loaded again as one of this class.
        """
        gone, waiting = [], [name]
        while waiting:
            one = waiting.pop()
            found = [
                other
                for other, binding in self.bindings.items()
                if binding.version is not None
                and one in binding.version.needs
                and self._is_of_earlier(other)
            ]
            for other in found:
                if is_own(self.bindings[other].obj):
                    self._remember(other)
                    waiting.append(other)
            self.unload(found)
            gone += found
        return gone

    def _is_of_earlier(self, name: str) -> bool:
        """Whether a kept value in memory holds an object that a definition it needs was before.

        What was made of a definition that has been made anew since holds that one rightly.
        """
        binding = self.bindings[name]
        version = binding.version
        if version is None or binding.amended or not binding.record or version.kind == "lost":
            return False
        needs = {
            need
            for need, digest in version.needs.items()
            if any(known == need for known, _ in self.earlier) and self._is_meant(need, digest)
        }
        if not needs or not self.is_current(name):
            return False
        definitions = without(self.definitions(), name, binding.obj)
        held = digests.stream(binding.obj, name=name, definitions=definitions).needs
        return any(EARLIER in one for one in held)  # under whichever of its names

    def _forget(self, name: str) -> None:
        self._remember(name)
        by, _ = self._clear(name)
        if (old := self.bindings.get(name)) is not None:
            self.plain.displace(name, old, by)
        self.outgrown.discard(name)
        self.junk.pop(name, None)

    def _remember(self, name: str) -> None:
        old = self.bindings.get(name)
        if old is not None and old.version is not None and is_own(old.obj):
            # Values made of it stay so: an instance of a class that has been defined anew.
            self.earlier[name, old.version.names[name]] = old.obj

    # --- plain cells ---------------------------------------------------------------------------

    def notice(
        self,
        names: Iterable[str],
        origin: Origin = NOWHERE,
        binds: Collection[str] = (),
        same: Mapping[str, Any] = _NOTHING,
    ) -> list[str]:
        """Take up what a plain cell bound or deleted; the changed names.

        It makes the names that it `binds` its own also where their objects are what they were, if
        these cannot change. What it defined as it had been keeps its object, `same` by name.
        """
        changed = []
        for name in names:
            if is_hidden(name):
                continue
            binding = self.bindings.get(name)
            value = self.ns.get(name, UNBOUND)
            if value is not UNBOUND:
                if name in self.junk and self.junk[name].value is value:
                    continue
                if binding is None and name in self.hidden and self.hidden[name] is value:
                    continue
                is_anew = name in binds and origin.cell and is_light(value)
                if binding is None or binding.obj is not value or is_anew:
                    self._forget(name)
                    known = binding if name in same else None
                    self.ns[name] = value = same.get(name, value)
                    self.bindings[name] = Binding.made(value, origin, known)
                    changed.append(name)
                elif origin.cell and binding.cell == origin.cell:
                    self.plain.name_again(name, max((one.at for one in origin.texts), default=0.0))
            elif binding is not None and binding.is_resident:
                self.drop(name)
                self.plain.take_away(name, origin.cell)
                changed.append(name)
        return changed

    def suspect(self, names: Iterable[str], origin: Origin, writes: Collection[str]) -> None:
        """Remember that a plain cell may have changed the objects of these names in place; that it
        did is likelier of those that it `writes` into. What a plain cell made may share objects
        with all that this cell named."""
        for name in names:
            binding = self.bindings.get(name)
            if binding is None or not binding.is_resident:
                continue
            may_share = not binding.maker and not is_light(binding.obj)
            for one in {name, *(binding.origin.kin if may_share else ())}:
                self._suspect(one, origin, wrote=name in writes)

    def _suspect(self, name: str, origin: Origin, *, wrote: bool) -> None:
        binding = self.bindings.get(name)
        if binding is None or not binding.is_resident:
            return
        if binding.version is None or binding.version.mutable:
            for mate in binding.version.names if binding.version else (name,):
                if mate in self.bindings and self.bindings[mate].is_resident:
                    by = self.suspects.setdefault(mate, {})
                    by[origin.cell] = by.get(origin.cell, False) or wrote
                    said = self.worked.setdefault(mate, {})
                    said |= {text: said.get(text, False) or wrote for text in origin.texts}

    def _clear(self, name: str) -> tuple[dict[str, bool], dict[Text, bool]]:
        """Suspect a name no more; the cells that made it suspect, and what they said."""
        return self.suspects.pop(name, {}), self.worked.pop(name, {})

    def verify(self, names: Iterable[str], phase: Phase) -> None:
        """Look at what plain cells made or may have changed; what changed is a new version."""
        unsure = [name for name in names if self.is_current(name) and self._is_unsure(name)]
        if not unsure:
            return
        for component, version in self.look(self._with_mates(unsure), phase):
            for name in component.values:
                binding = self.bindings[name]
                by, said = self._clear(name)
                if is_same(binding.looks or binding.version, version, name):
                    continue
                amended, origin = binding.amended_by(name, by, said), binding.origin
                if amended is None:  # the cells that worked on it had a part in making it
                    more = tuple(text for text, wrote in said.items() if wrote)
                    origin = replace(origin, texts=(*origin.texts, *more))
                self.bindings[name] = replace(
                    binding, version=version, record="", amended=amended, origin=origin
                )

    def _is_unsure(self, name: str) -> bool:
        version = self.bindings[name].version
        # What cannot be kept has no digest to compare: who names it may have used it up.
        return version is None or (name in self.suspects and version.kind != "lost")

    def _with_mates(self, names: Iterable[str]) -> set[str]:
        found = set(names)
        for name in list(found):
            version = self.bindings[name].version
            if version is not None:
                found |= {m for m in version.names if self.is_current(m)}
        return found
