"""What a name means: its binding; and what plain cells had to do with it.

A plain cell has a place where the notebook's file tells it, and what it made counts for the steps
below it until another cell makes the name anew. So what a cell left is remembered when the name
comes to mean something else: as the version that a record holds, or as the object itself where that
cannot change and weighs little. Of the rest only the fact is remembered: plain cells are watched,
not kept.

Knows neither the namespace nor the places; `namespace` notes here what it sees, `outlook` asks.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Set
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from ..record import Digest, Text, Version


class _Dormant:
    def __repr__(self) -> str:
        return "<dormant>"


DORMANT: Final = _Dormant()

_LIGHT: Final = frozenset(
    {type(None), bool, int, float, complex, type}
    | {types.ModuleType, types.FunctionType, types.BuiltinFunctionType}
)
_SIZED: Final = frozenset({str, bytes})
_SHORT: Final = 10_000
"""The longest text that is held for the place it was made in."""


class Origin(Struct, frozen=True):
    """The plain cell that made a value.

    `cell` is its id, "" where nobody tells; `kin` the names that it named: the value may share
    objects with those alone; `stood` the digests of the steps' versions that it read, by name;
    `texts` what the cell said.
    """

    cell: str = ""
    kin: frozenset[str] = frozenset()
    stood: Mapping[str, Digest] = field(default_factory=dict)
    texts: tuple[Text, ...] = ()


NOWHERE: Final = Origin()
"""Where a value comes from of which nothing is known."""


class Amendment(Struct, frozen=True):
    """A change in place by plain cells: those that may have made it, and what was there before,
    where a record holds that; what those cells said, and the digest of the step's version that
    they changed, by name."""

    cells: frozenset[str]
    record: Digest = ""
    version: Version | None = None
    texts: tuple[Text, ...] = ()
    stood: Mapping[str, Digest] = field(default_factory=dict)


class Binding(Struct, frozen=True):
    """What a name means: a version (None: a plain cell's, not looked at yet) and its object.

    `maker` is the step it comes from, "" for a plain cell, of which `origin` tells more; `record`
    the record that holds the version, "" if none does. `amended` says that plain cells changed the
    object in place. `looks` is what it looked like when it was loaded, where that is not what was
    kept: caches.
    """

    maker: str = ""
    record: Digest = ""
    version: Version | None = None
    obj: Any = DORMANT
    amended: Amendment | None = None
    origin: Origin = field(default_factory=Origin)
    looks: Version | None = None

    @property
    def is_resident(self) -> bool:
        """Whether the value is in memory."""
        return self.obj is not DORMANT

    @property
    def cell(self) -> str:
        """The plain cell that made it, "" for a step's and where it is not known."""
        return "" if self.maker else self.origin.cell

    @property
    def texts(self) -> tuple[Text, ...]:
        """What the plain cells said that made it, or changed in place what a step made."""
        made = () if self.maker else self.origin.texts
        return (*made, *(self.amended.texts if self.amended is not None else ()))

    @classmethod
    def made(cls, value: object, origin: Origin, known: Binding | None) -> Binding:
        """What a name means that a plain cell made; of its own object, what was `known`."""
        if known is not None and known.obj is value:
            return replace(known, origin=origin)
        return cls(obj=value, origin=origin)

    def amended_by(
        self, name: str, by: Mapping[str, bool], said: Mapping[Text, bool]
    ) -> Amendment | None:
        """What is known of a change in place by some of the cells `by` (whether each wrote
        visibly); None for an object that is as the plain cell left it which made it, as far as can
        be told."""
        known, version = self.amended, self.version
        writers = frozenset(cell for cell, wrote in by.items() if wrote)
        texts = tuple(text for text, wrote in said.items() if wrote) or tuple(said)
        if known is not None:
            cells = known.cells | (writers or frozenset(by))
            return replace(known, cells=cells, texts=(*known.texts, *texts))
        if self.maker or self.record:
            stood = {name: version.names[name]} if self.maker and version is not None else {}
            return Amendment(writers or frozenset(by), self.record, version, texts, stood)
        others = writers - {"", self.cell}
        return Amendment(others, texts=texts) if others else None

    def means(self, maker: str, version: Version) -> bool:
        """Whether it is this step's version, as the step left it."""
        return (
            self.maker == maker
            and not self.amended
            and self.version is not None
            and self.version.digest == version.digest
            and self.version.names.keys() == version.names.keys()
        )


class Junk(Struct, frozen=True):
    """What a failed attempt at a step left under a name: plain cells see it, no step does."""

    step: str
    value: Any


class Bindings(dict[str, Binding]):
    """What names mean, and which of them stand apart: so that a cell need not look at each.

    `plain` are those that no step made, `flawed` those whose value is not in the store as it was.
    `edition` is another number once any name has come to mean something else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.edition = 0
        self.plain: set[str] = set()
        self.flawed: set[str] = set()
        self._made_beside: dict[str, set[str]] = {}

    def __setitem__(self, name: str, binding: Binding) -> None:
        # What is set is added first, and what was there is taken away last: an interrupt in between
        # leaves a name too much.
        self.edition += 1
        was, kin = _kin(self.get(name)), _kin(binding)
        if was is not kin:
            for one in kin:
                self._made_beside.setdefault(one, set()).add(name)
        super().__setitem__(name, binding)
        if was is not kin:
            self._part(name, was - kin)
        version = binding.version
        _mark(self.plain, name, not binding.maker)
        _mark(self.flawed, name, version is not None and bool(version.flaw))

    def __delitem__(self, name: str) -> None:
        self.edition += 1
        was = _kin(self.get(name))
        super().__delitem__(name)
        self._forget(name, was)

    def pop(self, name: str, *default: Any) -> Any:
        """As a dict's."""
        self.edition += 1
        was = _kin(self.get(name))
        found = super().pop(name, *default)
        self._forget(name, was)
        return found

    def clear(self) -> None:
        """As a dict's."""
        self.edition += 1
        super().clear()
        self.plain.clear()
        self.flawed.clear()
        self._made_beside.clear()

    def made_beside(self, names: Iterable[str]) -> set[str]:
        """The names of plain cells' values that may share objects with what `names` meant then."""
        found = (self._made_beside[name] for name in names if name in self._made_beside)
        return set[str]().union(*found)

    def take_givens(self, givens: Iterable[Version], record: Digest) -> None:
        """What plain cells made is kept with this record now, where a name still means that."""
        for version in givens:
            for name in version.names:
                known = self.get(name)
                if known is None or known.record or known.version is None:
                    continue
                if known.version.digest == version.digest:
                    self[name] = replace(known, record=record, version=version)

    def stood(self, names: Iterable[str]) -> dict[str, Digest]:
        """The digests of the steps' versions that `names` mean, or that they were made from."""
        found: dict[str, Digest] = {}
        for name in names:
            binding = self.get(name)
            if binding is not None and not binding.maker:
                found.update(binding.origin.stood)
            elif binding is not None and binding.version is not None and not binding.amended:
                found[name] = binding.version.names[name]
        return found

    def _forget(self, name: str, kin: frozenset[str]) -> None:
        self.plain.discard(name)
        self.flawed.discard(name)
        self._part(name, kin)

    def _part(self, name: str, kin: frozenset[str]) -> None:
        for one in kin:
            names = self._made_beside.get(one, set())
            names.discard(name)
            if not names:
                self._made_beside.pop(one, None)


_NONE: Final = frozenset[str]()


def _kin(binding: Binding | None) -> frozenset[str]:
    return _NONE if binding is None or binding.maker else binding.origin.kin


def _mark(names: set[str], name: str, is_in: bool) -> None:
    if is_in:
        names.add(name)
    else:
        names.discard(name)


class Plain(Struct):
    """What the plain cells of a kernel did: when each ran last, what it left of names that mean
    something else by now (None: it took the name away), and by name the cells whose changes in
    place went with an object that the name does not mean any more."""

    ran: dict[str, float] = field(default_factory=dict)
    left: dict[str, dict[str, Binding | None]] = field(default_factory=dict)
    undone: dict[str, frozenset[str]] = field(default_factory=dict)
    named: dict[str, float] = field(default_factory=dict)
    """When the cell that made a name last ran with it in its text, and did not make it anew."""
    edition: object = field(default_factory=object)
    """Another one once `ran` or `named` have changed, which a long session has long ones of."""
    _leavers: dict[str, set[str]] = field(default_factory=dict)
    """By name, the cells that have left something of it."""

    def begin(self, cell: str, now: float) -> None:
        """A cell has run: what it left before counts no more."""
        if cell:
            self.edition = object()  # first: after an interrupt it is another one for nothing
            self.ran[cell] = now
            for name in self.left.pop(cell, ()):
                self._leavers[name].discard(cell)
                if not self._leavers[name]:
                    del self._leavers[name]
            for name, cells in self.undone.items():
                self.undone[name] = cells - {cell}

    def name_again(self, name: str, at: float) -> None:
        """The cell that made a name has run with it in its text, and did not make it anew."""
        self.edition = object()
        self.named[name] = at

    def touches(self, names: Set[str]) -> bool:
        """Whether any of these names meant what plain cells had made or changed, and means
        something else by now."""
        return not (names.isdisjoint(self.undone) and names.isdisjoint(self._leavers))

    def makes(self, name: str, binding: Binding) -> bool:
        """Whether a name is still made by the cell that its binding comes from: not where that one
        has run again without it."""
        ran = self.ran.get(binding.cell, 0.0)
        made = max((text.at for text in binding.origin.texts), default=ran)
        return max(made, self.named.get(name, 0.0)) >= ran

    def displace(self, name: str, old: Binding, by: Mapping[str, bool]) -> None:
        """A name comes to mean something else; some of the cells `by` may have changed what it
        meant in place (whether each wrote visibly)."""
        cells = frozenset(cell for cell, wrote in by.items() if wrote and cell)
        cells |= old.amended.cells if old.amended is not None else frozenset()
        if cells - {old.cell}:
            self.undone[name] = self.undone.get(name, frozenset()) | cells
        if not old.cell:
            return
        held = old
        if old.record or not is_light(old.obj):
            held = Binding("", old.record, old.version if old.record else None, origin=old.origin)
        self._leave(old.cell, name, held)

    def give_back(self, name: str, binding: Binding) -> None:
        """A name means again what was put aside, changes in place included."""
        if name in self.undone and binding.amended is not None:
            self.undone[name] -= binding.amended.cells

    def take_away(self, name: str, cell: str) -> None:
        """A cell deleted a name."""
        if cell:
            self._leave(cell, name, None)

    def _leave(self, cell: str, name: str, held: Binding | None) -> None:
        self._leavers.setdefault(name, set()).add(cell)
        self.left.setdefault(cell, {})[name] = held

    def cells_of(self, name: str) -> Iterable[str]:
        """The cells that left something of a name that means something else by now."""
        return (cell for cell in self._leavers.get(name, ()) if name in self.left.get(cell, ()))

    def clear(self) -> None:
        """Forget all of it."""
        self.edition = object()
        self.ran.clear()
        self.left.clear()
        self._leavers.clear()
        self.undone.clear()
        self.named.clear()


def is_light(value: object) -> bool:
    """Whether a value cannot change, in a way that counts, and weighs little."""
    kind = type(value)
    if kind in _SIZED:
        return len(value) <= _SHORT  # type: ignore[arg-type]
    return kind in _LIGHT
