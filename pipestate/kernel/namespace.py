"""What each name means in this kernel, and the objects that carry those meanings.

A *binding* says which version a name means and whether its object is in the namespace (resident)
or only in the store (dormant: loaded when a cell names it). The unit is the component: names that
share mutable objects are loaded, put aside and put back together. What a plain cell made has a
binding without a maker; what it may have changed in place is *suspect* until a digest says so.

This room knows the dictionary of the notebook and the store's versions. It does not know what a
step needs or when it is stale: it puts in place what it is told to.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..cell.names import is_hidden
from ..errors import StoreError
from ..record import VALUE, Digest, Version
from ..store import digests, versions
from ..store.versions import Component, Fetch, Phase, Put, Source


class _Dormant:
    def __repr__(self) -> str:
        return "<dormant>"


DORMANT: Final = _Dormant()
_DEFINITIONS: Final = (types.FunctionType, type)


@dataclass(frozen=True, slots=True)
class Binding:
    """What a name means: a version (None: a plain cell's, not looked at yet) and its object.

    `maker` is the step it comes from, "" for a plain cell; `record` the record that holds the
    version, "" if none does; `amended` says that a plain cell changed the object in place. `kin`
    are the names that the plain cell named which made it: it may share objects with those alone.
    `looks` is what it looked like when it was loaded, where that is not what was kept: caches.
    """

    maker: str = ""
    record: Digest = ""
    version: Version | None = None
    obj: Any = DORMANT
    amended: bool = False
    kin: frozenset[str] = frozenset()
    looks: Version | None = None

    @property
    def is_resident(self) -> bool:
        """Whether the value is in memory."""
        return self.obj is not DORMANT

    def means(self, maker: str, version: Version) -> bool:
        """Whether it is this step's version, as the step left it."""
        return (
            self.maker == maker
            and not self.amended
            and self.version is not None
            and self.version.digest == version.digest
            and self.version.names.keys() == version.names.keys()
        )


@dataclass(frozen=True, slots=True)
class Junk:
    """What a failed attempt at a step left under a name: plain cells see it, no step does."""

    step: str
    value: Any


@dataclass(frozen=True, slots=True)
class Past:
    """What the job knows of definitions that mean something else by now.

    `find` gives a version of a name by its digest; `is_same` says whether what a record holds of a
    name is the object that had a digest once, changed in place since.
    """

    find: Callable[[str, Digest], Version | None] = lambda name, digest: None
    is_same: Callable[[str, Digest, Digest], bool] = lambda name, digest, record: False


EARLIER: Final = "@"
"""Between a name and a digest, it names a definition that the name does not mean any more."""


@dataclass(slots=True)
class Namespace:
    """The bindings of one kernel.

    load ─── _load_component ─── versions.load ─── need (definitions)
    look ─── _streams ─── describe             what a component is now
    bind, declare, hide, restore               the verbs that change a meaning
    notice, suspect, verify                    what plain cells did
    """

    ns: dict[str, Any]
    fetch: Fetch
    put: Put
    bindings: dict[str, Binding] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)
    junk: dict[str, Junk] = field(default_factory=dict)
    sources: dict[str, tuple[Source, Any]] = field(default_factory=dict)
    loading: set[str] = field(default_factory=set)
    origins: dict[str, str] = field(default_factory=dict)
    earlier: dict[tuple[str, Digest], Any] = field(default_factory=dict)
    past: Past = field(default_factory=Past)
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
            and name in self.ns
            and self.ns[name] is binding.obj
        )

    def definitions(self) -> dict[int, str]:
        """The notebook's own functions and classes, by id: other values refer to them by name."""
        found: dict[int, str] = {}
        for name, value in self.ns.items():
            if _is_own(value) and (id(value) not in found or value.__name__ == name):
                found[id(value)] = name
        for (name, digest), value in self.earlier.items():
            found.setdefault(id(value), f"{name}{EARLIER}{digest}")
        return found

    # --- loading -------------------------------------------------------------------------------

    def load(self, names: Iterable[str]) -> None:
        """Make names resident, each with its component and what its code reads."""
        waiting = list(names)
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            binding = self.bindings.get(name)
            if binding is None or binding.version is None or name in self.junk:
                continue
            if binding.version.kind == "lost":
                continue  # whoever needs it has its steps run again
            if not binding.is_resident and name not in self.loading:
                self._load_component(name, binding)
            waiting.extend(path.name for path in binding.version.reads)

    def need(self, name: str, digest: Digest = "") -> Any:
        """The object of a definition that a value being loaded asks for, as it was then.

        Loading may run it (a decorator, a base class), so what its code reads is loaded as well.
        A definition that means something else by now is loaded beside it, once.
        """
        if EARLIER in name:
            name, _, digest = name.partition(EARLIER)
        binding = self.bindings.get(name)
        version = binding.version if binding else None
        known = version.names.get(name, "") if version else ""
        if known == "" and name in self.ns:
            known = self.digest_of(name)
        if digest in ("", known) or self._is_same_object(name, digest):
            self.load([name])
            if name in self.ns:
                return self.ns[name]
        return self._earlier(name, digest)

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
            self.suspects.discard(mate)
            if version.kind in ("import", "definition"):
                source = Source(version.kind, version.source, tuple(version.needs))
                self.sources[mate] = (source, values[mate])
        if version.settles:
            for component, looks in self.look(mates, Phase(self.put)):
                for mate in component.values:
                    self.bindings[mate] = replace(self.bindings[mate], looks=looks)

    def values(self, version: Version) -> dict[str, Any]:
        """The objects of a version, bound nowhere."""
        return versions.load(
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
        definitions = self.definitions()
        values = {name: self.ns[name] for name in names if name in self.ns}
        needed = functools.cache(self.digest_of)
        return look(
            values, self.sources, definitions, phase, needed=needed, resolve=self.need, lost=lost
        )

    def digest_of(self, name: str) -> Digest:
        """The digest of a definition of the notebook as it is now."""
        value = self.ns.get(name)
        if EARLIER in name:
            return name.partition(EARLIER)[2]
        definitions = _without(self.definitions(), name, value)
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

    def declare(self, name: str, maker: str, record: Digest, version: Version) -> None:
        """Let a name mean a version in the store, to be loaded when a cell names it."""
        self.ns.pop(name, None)
        self._forget(name)
        self.bindings[name] = Binding(maker, record, version)

    def bind(self, name: str, binding: Binding) -> None:
        """Let a name mean what `binding` says, object and all."""
        self._forget(name)
        self.bindings[name] = binding
        if binding.is_resident:
            self.ns[name] = binding.obj
        else:
            self.ns.pop(name, None)

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

    def _forget(self, name: str) -> None:
        old = self.bindings.get(name)
        if old is not None and old.version is not None and _is_own(old.obj):
            # Values made of it stay so: an instance of a class that has been defined anew.
            self.earlier[name, old.version.names[name]] = old.obj
        self.suspects.discard(name)
        self.junk.pop(name, None)

    # --- plain cells ---------------------------------------------------------------------------

    def notice(
        self, names: Iterable[str], kin: frozenset[str] = frozenset(), text: str = ""
    ) -> list[str]:
        """Take up what a plain cell that named `kin` bound or deleted; the changed names."""
        changed = []
        for name in names:
            if is_hidden(name):
                continue
            binding = self.bindings.get(name)
            if name in self.ns:
                value = self.ns[name]
                if name in self.junk and self.junk[name].value is value:
                    continue
                if binding is None and name in self.hidden and self.hidden[name] is value:
                    continue
                if binding is None or binding.obj is not value:
                    self._forget(name)
                    self.bindings[name] = Binding(obj=value, kin=kin)
                    self.origins[name] = text
                    changed.append(name)
            elif binding is not None and binding.is_resident:
                self.drop(name)
                changed.append(name)
        return changed

    def suspect(self, names: Iterable[str]) -> None:
        """Remember that a plain cell may have changed the objects of these names in place."""
        for name in names:
            binding = self.bindings.get(name)
            if binding is None or not binding.is_resident or name in self.suspects:
                continue
            if binding.version is None or binding.version.mutable:
                mates = binding.version.names if binding.version else (name,)
                self.suspects.update(
                    m for m in mates if m in self.bindings and self.bindings[m].is_resident
                )

    def verify(self, names: Iterable[str], phase: Phase) -> None:
        """Look at what plain cells made or may have changed; what changed is a new version."""
        unsure = [name for name in names if self.is_current(name) and self._is_unsure(name)]
        if not unsure:
            return
        for component, version in self.look(self._with_mates(unsure), phase):
            for name in component.values:
                binding = self.bindings[name]
                self.suspects.discard(name)
                if _same(binding.looks or binding.version, version, name):
                    continue
                amended = bool(binding.maker) or binding.amended
                self.bindings[name] = replace(binding, version=version, record="", amended=amended)

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


def _is_own(value: object) -> bool:
    """Whether it is a function or a class of the notebook."""
    # Not isinstance: that asks the value for its class, and any object of the user's is met here.
    is_definition = issubclass(type(value), _DEFINITIONS)
    return is_definition and getattr(value, "__module__", None) == "__main__"


def _same(known: Version | None, now: Version, name: str) -> bool:
    """Whether a look found what was known: the component whole, or the part of it still bound."""
    if known is None or now.names.get(name) != known.names.get(name):
        return False
    if known.digest == now.digest:
        return True
    if not now.names.keys() <= known.names.keys():
        return False
    joint = digests.joint_of(known.names, known.shares, sorted(now.names))
    return joint == now.digest


def look(
    values: Mapping[str, object],
    sources: Mapping[str, tuple[Source, Any]],
    definitions: Mapping[int, str],
    phase: Phase,
    *,
    needed: Callable[[str], str],
    resolve: Callable[[str], object],
    lost: str = "",
) -> list[tuple[Component, Version]]:
    """Values by name, taken apart into components, each with the version that it is now."""
    streams = {
        name: digests.stream(
            value,
            name=name,
            definitions=_without(definitions, name, value),
            buffer_digest=phase.digest,
        )
        for name, value in values.items()
    }
    found = []
    for names in digests.components(streams):
        own = {id(values[name]) for name in names}
        component = Component(
            values={name: values[name] for name in sorted(names)},
            streams={name: streams[name] for name in sorted(names)},
            source=_source(sources, names, values),
            definitions={k: n for k, n in definitions.items() if k not in own},
            needed=needed,
            resolve=resolve,
        )
        found.append((component, versions.describe(component, lost=lost)))
    return found


def _without(definitions: Mapping[int, str], name: str, value: object) -> Mapping[int, str]:
    """The definitions that a root refers to: all but itself."""
    if definitions.get(id(value)) != name:
        return definitions
    return {key: known for key, known in definitions.items() if key != id(value)}


def _source(
    sources: Mapping[str, tuple[Source, Any]], names: frozenset[str], values: Mapping[str, object]
) -> Source | None:
    if len(names) != 1 or VALUE in names:
        return None
    (name,) = names
    source, made = sources.get(name, (None, None))
    return source if source is not None and made is values[name] else None
