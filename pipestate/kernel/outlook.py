"""What one step would see: the names it may touch, and what each stands for at its place.

A step reads each name as the steps above it leave it, whatever later cells have made of it in this
kernel (direction `in_order`), or as it stands now (`any_order`). What a plain cell made counts as
it stands. An outlook is a view for one judgement: it is thrown away when a step has run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from ..cell.lookers import DYNAMIC_NAMES
from ..cell.names import Names, is_hidden
from ..pipe.graph import Held, Standing, in_force
from ..pipe.layers import Layers
from ..pipe.places import Row
from ..pipe.status import STEP_VALUE, Found, Reason, because, judge_stood, value_found
from ..record import ABSENT, AccessPath, Digest, Pipe, Record
from ..store import digests
from ..store.phases import Phase
from .bindings import Amendment, Binding, Origin
from .namespace import Namespace

Direction = Literal["in_order", "any_order"]


class Site(Struct, frozen=True):
    """The job around a step, at one moment: its steps in their places, what each left, and where
    the notebook's other cells stand among them."""

    pipe: Pipe
    order: tuple[str, ...]
    layers: Layers
    row: Row


class Outlook(Struct):
    """What names stand for before `step`, in one kernel.

    `head` gives the record in force of a step, for values that are read by their step's name.
    What plain cells had made of names when this step or others read them stands in where the name
    has since come to mean what this step or a later one made. `unheld` are the names whose version
    is not to be had: what stands now stands in.
    """

    step: str
    space: Namespace
    site: Site
    direction: Direction
    phase: Phase
    head: Callable[[str], Record | None]
    record: Callable[[Digest], Record]
    edition: int = -1
    """That of the bindings when it was made."""
    unheld: set[str] = field(default_factory=set)
    _found: dict[AccessPath, Found] = field(default_factory=dict)
    _known: dict[str, tuple[Binding | None, Binding | None]] = field(default_factory=dict)
    _reach: tuple[Names, int, frozenset[AccessPath]] | None = None

    @property
    def held(self) -> Standing:
        """What the steps above leave."""
        return self.site.layers.before(self.step)

    @property
    def order(self) -> tuple[str, ...]:
        """The steps in their places."""
        return self.site.order

    @property
    def row(self) -> Row:
        """Where the notebook's cells stand."""
        return self.site.row

    def wanted(self, name: str) -> Binding | None:
        """The binding that the step should find; None where the name stands for nothing. Worked out
        once while the name is bound as it is: it is asked for a dozen times."""
        now = self.space.bindings.get(name)
        known = self._known.get(name)
        if known is None or known[0] is not now:
            found = self._wanted(name, now)
            known = self._known[name] = (self.space.bindings.get(name), found)
        return known[1]

    def _wanted(self, name: str, now: Binding | None) -> Binding | None:
        held = self.held.get(name)
        if now is not None and self._stands(now):
            return self._looked_at(name, now)
        cell = self._nearest(name)
        if cell and (held is None or self.row.cells[cell] > self.row.steps[held.maker]):
            return self._of_plain(name, cell)
        if now is not None and held is not None and self._is_from(now, held):
            return self._looked_at(name, now)
        given = self.site.layers.given(name, self.step)
        if given is not None and self._place_of(given.record, name) is not None:
            given = None
        if given is not None and (held is None or self._is_own(given, held)):
            held = given
            if now is not None and self._is_from(now, held):
                return self._looked_at(name, now)
        return None if held is None else Binding(held.maker, held.record, held.version)

    def _is_from(self, now: Binding, held: Held) -> bool:
        """Whether a name means what a record holds of it, changes in place by plain cells aside."""
        return (
            now.maker == held.maker
            and now.version is not None
            and (now.amended is not None or now.means(held.maker, held.version))
        )

    def _is_own(self, given: Held, held: Held) -> bool:
        """Whether this step's last run was given it, after the step above had made its version."""
        own = self.head(self.step)
        record = self.record(given.record)
        return record is own and record.started > self.record(held.record).started

    def _stands(self, now: Binding) -> bool:
        """Whether what the name means now counts whatever the cells above made of it."""
        if now.maker == self.step:
            return False
        if self.direction == "any_order":
            return True
        if now.maker:
            return now.maker not in self.site.layers.places
        return self.row.is_above(now.cell, self.step) is None

    def _looked_at(self, name: str, now: Binding) -> Binding:
        if now.is_resident and (now.version is None or name in self.space.suspects):
            self.space.verify([name], self.phase)
        now = self.space.bindings[name]
        return now if now.amended is None else self._before(name, now, now.amended)

    def _before(self, name: str, now: Binding, amended: Amendment) -> Binding:
        """What a name meant before plain cells below the step changed it in place."""
        is_above = [self.row.is_above(cell, self.step) for cell in amended.cells]
        if self.direction == "any_order" or False not in is_above:
            return now
        if amended.version is None:
            self.unheld.add(name)
            return now
        if True in is_above:
            self.unheld.add(name)
        return Binding(now.maker, amended.record, amended.version, origin=now.origin)

    # --- plain cells -------------------------------------------------------------------------

    def _place_of(self, record: Digest, name: str) -> bool | None:
        by = self.record(record).given_by.get(name)
        return self.row.is_above(by.cell, self.step) if by else None

    def _nearest(self, name: str) -> str:
        """The nearest plain cell above the step that left something of a name, or ""."""
        if self.direction == "any_order" or self.step not in self.row.sure:
            return ""
        now = self.space.bindings.get(name)
        cells = set(self.space.plain.cells_of(name))
        given = self.site.layers.given_by(name, self.record)
        cells |= {cell for cell in given if self._given(name, cell)}
        if now is not None and now.cell and self.space.plain.makes(name, now):
            cells.add(now.cell)
        above = [cell for cell in cells if self.row.is_above(cell, self.step)]
        return max(above, key=lambda cell: self.row.cells[cell], default="")

    def _of_plain(self, name: str, cell: str) -> Binding | None:
        """What a plain cell left of a name; what stands now where that is not to be had."""
        now, plain = self.space.bindings.get(name), self.space.plain
        if now is not None and now.is_resident and name in self.space.suspects:
            self.space.verify([name], self.phase)
            now = self.space.bindings[name]
        is_here = now is not None and (
            now.cell == cell or (now.amended is not None and cell in now.amended.cells)
        )
        if now is not None and is_here:
            return self._looked_at(name, now)
        left = plain.left.get(cell, {})
        if name in left:
            known = left[name]
            if known is None:
                return None
            if known.version is None and known.is_resident:
                known = left[name] = self._first_look(name, known)
            if known.version is not None:
                return known
        given = self._given(name, cell)
        if given is not None:
            return given
        self.unheld.add(name)
        earlier = self._given(name, cell, is_latest=False)
        return earlier or (None if now is None else self._looked_at(name, now))

    def _given(self, name: str, cell: str, *, is_latest: bool = True) -> Binding | None:
        """What a step was given of a name that the cell has not made anew since."""
        given = self.site.layers.given_by(name, self.record).get(cell)
        if given is None:
            return None
        record = self.record(given.record)
        if is_latest and record.started < self.space.plain.ran.get(cell, 0.0):
            return None
        by = record.given_by[name]
        origin = Origin(cell, stood=by.stood, texts=by.texts)
        return Binding("", given.record, given.version, origin=origin)

    def _first_look(self, name: str, known: Binding) -> Binding:
        return replace(known, version=self.space.version_at(name, known.obj, self.phase))

    def plain(self, record: Record) -> Reason | None:
        """Why what plain cells gave a step is not what they would give it now."""
        for one in record.inputs:
            name = one.path.name
            holder = self.wanted(name)
            if name in self.unheld or (holder is not None and self._is_undone(name, holder)):
                return because("replaced", name)
        return judge_stood(record, lambda name: self._stood(record, name), self._flaw)

    def _is_undone(self, name: str, holder: Binding) -> bool:
        """Whether a plain cell between the maker of a value and the step changed, in place, an
        object that the name does not mean any more."""
        cells = self.space.plain.undone.get(name)
        if not cells:
            return False
        row = self.row
        made = row.steps.get(holder.maker) if holder.maker else row.cells.get(holder.cell)
        return made is not None and any(
            row.is_above(cell, self.step) and row.cells[cell] > made for cell in cells
        )

    def _stood(self, record: Record, name: str) -> Mapping[str, Digest]:
        binding = self.wanted(name)
        if binding is None or binding.maker:
            return {}
        if binding.origin.cell or binding.origin.stood or name not in record.given_by:
            return binding.origin.stood
        return record.given_by[name].stood

    def _flaw(self, given: str, name: str, digest: Digest) -> str:
        """What is wrong with what a plain cell made from a version of `name`, or ""."""
        holder = self.wanted(given)
        if not in_force(name, digest, self.site.pipe.heads, self.record):
            return "plain"
        if holder is None or self.row.is_above(holder.cell, self.step) is None:
            return ""
        above = [s for s in self.order if self.row.steps[s] < self.row.cells[holder.cell]]
        held = self.site.layers.at(len(above)).get(name)
        return "" if held is not None and held.version.names[name] == digest else "below"

    # --- paths and components ----------------------------------------------------------------

    def lookup(self, path: AccessPath) -> Found:
        """The digests of a path and of the object around it, and who made it."""
        found = self._found.get(path)
        if found is None:
            found = self._found[path] = self._look_up(path)
        return found

    def _look_up(self, path: AccessPath) -> Found:
        if path.name.startswith(STEP_VALUE):
            step = path.name.removeprefix(STEP_VALUE)
            return value_found(step, self.head(step))
        binding = self.wanted(path.name)
        if binding is None or binding.version is None:
            return Found(ABSENT, ABSENT)
        whole = binding.version.names[path.name]
        if path.is_whole or binding.version.kind != "value":
            return Found(whole, whole, binding.maker)
        known = binding.version.parts.get(str(path))
        if known is None and binding.is_resident:
            known = self._part(binding, path, whole)
        return Found(known, whole, binding.maker)

    def _part(self, binding: Binding, path: AccessPath, whole: Digest) -> Digest:
        part = digests.at(binding.obj, path)
        if part is digests.MISSING:
            return ABSENT
        if part is digests.OPAQUE:
            return whole
        return digests.stream(
            part,
            definitions=self.space.definitions(),
            buffer_digest=self.phase.digest,
        ).digest

    def is_deleted(self, name: str) -> bool:
        """Whether a name means nothing because a step has deleted it: one below, or one above
        that was asked for after this step had made it."""
        layers = self.site.layers
        at, own = layers.place_of(self.step), self.head(self.step)
        return any(
            held is None and (place > at or (place < at and own is not None and name in own.made))
            for place, held in layers.left.get(name, ())
        )

    def joint(self, names: Iterable[str]) -> Mapping[str, Digest]:
        """The joint digest of each group of `names` that are kept as one component."""
        return joint({name: known for name in names if (known := self.wanted(name)) is not None})

    def paths(self, names: Names) -> frozenset[AccessPath]:
        """Every path that a cell reads, through the code in the values that it reaches too; and
        what it may bind, for it may leave that as it is: of spare names, where they stand for
        something that is to be had."""
        reached = self._reached(names)
        if self._is_dynamic(names, reached):
            known = {*self.held, *self.space.bindings, *self.space.junk}
            return _widest({AccessPath(n) for n in known} | reached)
        lost = {name for name in self._spare(names) if not self._is_had(name)}
        return frozenset(one for one in reached if one.name not in lost) if lost else reached

    def spare(self, names: Names) -> frozenset[str]:
        """The names that a cell may bind, as a loop does, and neither looks at nor deletes. Where
        it binds them, what they stood for was none of its business."""
        spare = self._spare(names)
        return spare if spare and not self.is_dynamic(names) else frozenset()

    def _spare(self, names: Names) -> frozenset[str]:
        spare = {n for n in names.may_bind - names.may_delete if not is_hidden(n)}
        if spare:
            spare -= {one.name for one in self._looked_for(replace(names, may_bind=frozenset()))}
        return frozenset(spare)

    def _is_had(self, name: str) -> bool:
        """Whether a name stands for something, be it for what can only be had from memory and is
        there; not where this step itself has bound the name to something else."""
        want, now = self.wanted(name), self.space.bindings.get(name)
        if want is None or want.version is None or want.version.kind != "lost" or want.is_resident:
            return want is not None
        if now is None or not now.is_resident:
            return False
        own = self.head(self.step) if now.maker == self.step else None
        return own is None or name not in own.bound

    def _reached(self, names: Names) -> frozenset[AccessPath]:
        edition = self.space.bindings.edition
        if self._reach is None or self._reach[0] is not names or self._reach[1] != edition:
            found = self._looked_for(names)
            self._reach = (names, self.space.bindings.edition, found)
        return self._reach[2]

    def _looked_for(self, names: Names) -> frozenset[AccessPath]:
        whole = names.writes | names.kept | names.may_bind
        found: set[AccessPath] = set()
        waiting = [*names.reads, *(AccessPath(n) for n in names.may_bind | names.deletes)]
        while waiting:
            path = waiting.pop()
            if is_hidden(path.name) and path.name not in names.binds:
                continue
            if path.parts and path.name in whole and not self._is_module(path.name):
                if path.name in names.writes or not self._is_immutable(path):
                    path = AccessPath(path.name)
            elif path.parts and self._may_see_more(path, names):
                path = AccessPath(path.name, path.parts[:-1])
            if path in found:
                continue
            found.add(path)
            binding = self.wanted(path.name)
            if binding is not None and binding.version is not None:
                waiting.extend(binding.version.reads)
                waiting.extend(AccessPath(n) for n in binding.version.writes)
                waiting.extend(AccessPath(n) for n in binding.version.needs if n.isidentifier())
        return _widest(found)

    def _may_see_more(self, path: AccessPath, names: Names) -> bool:
        """Whether a method is called here: it may look at all of what stands before its dot."""
        if path not in names.called:
            return False
        return not self._is_module(path.name)

    def _is_module(self, name: str) -> bool:
        binding = self.wanted(name)
        version = binding.version if binding else None
        return version is not None and version.types.get(name) == "module"

    def _is_immutable(self, path: AccessPath) -> bool:
        """Whether the part is in memory and cannot change: to keep it keeps none of the whole."""
        binding = self.wanted(path.name)
        if binding is None or not binding.is_resident:
            return False
        part = digests.at(binding.obj, path)
        return type(part) in _IMMUTABLE

    def is_dynamic(self, names: Names) -> bool:
        """Whether the cell, or code that it reaches, may look up names that no analysis sees."""
        return self._is_dynamic(names, self._reached(names))

    def _is_dynamic(self, names: Names, reached: Iterable[AccessPath]) -> bool:
        return names.is_dynamic or any(
            path.name in DYNAMIC_NAMES and self.wanted(path.name) is None for path in reached
        )

    def mates(self, name: str) -> str:
        """All the names that share objects with one here, itself among them, comma-joined."""
        binding = self.wanted(name)
        if binding is None or binding.version is None:
            return ""
        return ",".join(sorted(m for m in binding.version.names if self._is_mate(m, binding)))

    def touched(self, paths: Iterable[AccessPath], *, is_changing: bool = True) -> frozenset[str]:
        """The names that a step which reads `paths` may change: those and their components.

        Where it changes nothing, what plain cells made may share with others as it likes.
        """
        found = {path.name for path in paths if not path.name.startswith(STEP_VALUE)}
        if is_changing:
            found |= self._made_from(found)
        for name in list(found):
            binding = self.wanted(name)
            if binding is not None and binding.version is not None and binding.version.mutable:
                found |= {mate for mate in binding.version.names if self._is_mate(mate, binding)}
        return frozenset(found | self._plain_mates(found))

    def _is_mate(self, mate: str, binding: Binding) -> bool:
        other = self.wanted(mate)
        return (
            other is not None
            and other.version is not None
            and binding.version is not None
            and other.version.digest == binding.version.digest
            # What no record holds as one yet, a plain cell has made share objects.
            and (other.maker == binding.maker or not (other.record or binding.record))
        )

    def _made_from(self, names: set[str]) -> set[str]:
        """Names whose objects plain cells made something of `names` of, that still shares them."""
        found: set[str] = set()
        for name in names & self.space.bindings.plain:
            kin = self.space.bindings[name].origin.kin - {name}
            known = {k for k in kin if self.space.is_current(k) and self._is_in_place(k)}
            if known and self.space.is_current(name) and self._is_in_place(name):
                found |= self.space.made_from(name, known, self.phase)
        return found - names

    def _is_in_place(self, name: str) -> bool:
        """Whether a name means what the step should find, and that can change."""
        want = self.wanted(name)  # this may take a first look at what a plain cell made
        if want is None or want.version is None or not want.version.mutable:
            return False
        return want is self.space.bindings[name]

    def _plain_mates(self, names: set[str]) -> set[str]:
        """Names that plain cells made out of objects of `names`, and that still share them."""
        made = self.space.bindings.made_beside(names) - names
        kin = {name for name in made if self.space.is_current(name)}
        if not kin:
            return set()
        mutable = {
            name
            for name in names
            if self.space.is_current(name) and self.wanted(name) is self.space.bindings[name]
        }
        return {
            name
            for component, version in self.space.look(kin | mutable, self.phase)
            if version.mutable and not mutable.isdisjoint(component.values)
            for name in component.values
            if name in kin
        }


_IMMUTABLE = frozenset({int, float, complex, bool, str, bytes, type(None)})


def joint(bindings: Mapping[str, Binding]) -> dict[str, Digest]:
    """The joint digest of each group of names whose bindings mean one component, comma-joined."""
    groups: dict[tuple[str, Digest], list[str]] = {}
    for name, binding in bindings.items():
        if binding.version is not None and len(binding.version.names) > 1:
            groups.setdefault((binding.maker, binding.version.digest), []).append(name)
    found = {}
    for group in groups.values():
        version = bindings[group[0]].version
        if len(group) > 1 and version is not None:
            some = digests.joint_of(version.names, version.shares, sorted(group))
            found[",".join(sorted(group))] = some or version.digest
    return found


def _widest(paths: set[AccessPath]) -> frozenset[AccessPath]:
    """The paths without those that a wider one covers."""
    roots = {path.name for path in paths if path.is_whole}
    return frozenset(path for path in paths if path.is_whole or path.name not in roots)
