"""What a judgement stood on, so that a step which was fresh is not judged again while that stands.

A step that runs has those upstream of it judged each time, and mostly nothing that they read has
moved since: the names that their records hold as inputs have the bindings that they had, the steps
have left of them what they had left, and no plain cell has to do with it. Then the answer is the
one that it was. Whatever depends on more than that is judged in full each time; and files and
modules, which change without the kernel's knowledge, are looked at in any case.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from ..pipe import layers
from ..pipe.graph import Held
from ..pipe.layers import Pile
from ..pipe.places import Row
from ..pipe.status import STEP_VALUE
from ..record import Input, Record
from . import modules, modulestate, surroundings
from .bindings import DORMANT, Binding
from .namespace import Namespace
from .outlook import Direction, Outlook, Site
from .trial import Task


class Cells(Struct, frozen=True):
    """Where the notebook's cells stand, and the edition of what the plain ones have done."""

    row: Row = field(default_factory=Row)
    edition: object = None


_ANY: Final[Any] = object()
"""Instead of what plain cells gave: a step whose place in the notebook is not known takes what its
name means now."""


class Ground(Struct, frozen=True):
    """What a record was found fresh by: its step's task, what steps had set in the process, and for
    each name of its inputs the binding, and what steps have left of it and were given of it.

    The bindings have no objects, which nobody may hold on to. `cells` counts where plain cells of
    known places made any of them.
    """

    task: Task
    record: Record
    ambient: Pile[Record]
    is_sure: bool
    cells: Cells | None
    names: frozenset[str]
    stood: tuple[tuple[str, Binding | None, Pile[Held | None] | None, Pile[Held] | None], ...]


class Grounds(Struct):
    """The grounds on which steps were fresh, for steps in these places."""

    order: tuple[str, ...] = ()
    cells: Cells = field(default_factory=Cells)
    known: dict[str, Ground] = field(default_factory=dict)

    def glance(self, space: Namespace, site: Site, direction: Direction) -> Glance:
        """A look at the job around a step, at one moment; nothing runs while it is used."""
        if site.order[: len(self.order)] != self.order or direction == "any_order":
            self.known.clear()
        cells = Cells(site.row, space.plain.edition)
        self.order, self.cells = site.order, self.cells if cells == self.cells else cells
        return Glance(self.known, space, site, self.cells)

    def clear(self) -> None:
        """Forget all of it."""
        self.order, self.cells = (), Cells()
        self.known.clear()


class Glance(Struct, frozen=True, dict=True):
    """Whether steps are fresh on the grounds that they were."""

    known: dict[str, Ground]
    space: Namespace
    site: Site
    cells: Cells

    def is_fresh(self, task: Task, head: Record | None) -> bool:
        """Whether a step surely is what it was when its grounds were noted."""
        known, now = self.known.get(task.step), self.site.layers
        if known is None or known.task is not task or known.record is not head:
            return False
        if known.ambient is not now.ambient or self._are_touched(known.names):
            return False
        if known.is_sure != self._is_sure(task) or known.cells not in (None, self.cells):
            return False
        bindings, left, givens = self.space.bindings, now.left, now.givens
        for name, binding, pile, given in known.stood:
            if left.get(name) is not pile or not _is_same(bindings.get(name), binding):
                return False
            if given is not _ANY and givens.get(name) is not given:
                return False
        return self._is_same_outside(known.record)

    def _are_touched(self, names: frozenset[str]) -> bool:
        """Whether plain cells may have changed the object of any of these names, or one meant what
        such a cell had made before."""
        return not names.isdisjoint(self.space.suspects) or self.space.plain.touches(names)

    def _is_sure(self, task: Task) -> bool:
        return task.step in self.site.row.sure

    def _is_same_outside(self, record: Record) -> bool:
        """Whether modules and files are what they were for a record."""
        if record.packages:
            packages = self.packages(record.packages)
            if any(packages.get(name) != stamp for name, stamp in record.packages.items()):
                return False
        if not record.files_read and not record.files_written:
            return True
        writers, at = self.site.layers.writers, self.site.layers.place_of(record.step)
        above, below = layers.above(writers, at), layers.below(writers, at)
        return surroundings.judge_files(record, above, below) is None

    @functools.cached_property
    def packages(self) -> Callable[[Iterable[str]], Mapping[str, str]]:
        """The stamps of modules, asked for once."""
        known: dict[tuple[str, ...], dict[str, str]] = {}

        def stamps(names: Iterable[str]) -> Mapping[str, str]:
            key = tuple(names)
            if key not in known:
                known[key] = modules.stamps(key)
            return known[key]

        return stamps

    def note(self, task: Task, record: Record, outlook: Outlook) -> None:
        """Note the grounds on which the record in force was just found fresh, where they are such
        that can be looked at."""
        names = frozenset(one.path.name for one in record.inputs)
        if (
            outlook.direction == "any_order"
            or record.held
            or self._are_touched(names)
            or not all(_is_whole(one, outlook) for one in record.inputs)
            or not all(self._is_plain_to_see(name, record) for name in names)
            or any(_is_of_module(left) for _, left in self.site.layers.ambient)
        ):
            self.known.pop(task.step, None)
            return
        is_sure, now, bindings = self._is_sure(task), self.site.layers, self.space.bindings
        plain = names & bindings.plain
        stood = tuple(
            (
                name,
                _bare(bindings.get(name)),
                now.left.get(name),
                _ANY if name in plain and not is_sure else now.givens.get(name),
            )
            for name in names
        )
        cells = self.cells if is_sure and plain else None
        ground = Ground(task, record, now.ambient, is_sure, cells, names, stood)
        self.known[task.step] = ground

    def _is_plain_to_see(self, name: str, record: Record) -> bool:
        """Whether a name means nothing, what a step of the job left, or what a plain cell made from
        nothing that steps made."""
        now, layers_now = self.space.bindings.get(name), self.site.layers
        if now is None:
            return name not in layers_now.givens
        if now.amended or now.version is None:
            return False
        if now.maker:
            return now.maker in layers_now.places and name not in layers_now.givens
        given = record.given_by.get(name)
        return not now.origin.stood and not (given and given.stood)


def _bare(binding: Binding | None) -> Binding | None:
    return None if binding is None else replace(binding, obj=DORMANT)


def _is_same(now: Binding | None, then: Binding | None) -> bool:
    """Whether a name means what it meant, whether it is in memory or not."""
    if now is None or then is None:
        return now is then
    return (
        now.version is then.version
        and now.maker == then.maker
        and now.record == then.record
        and now.amended is then.amended
        and now.origin is then.origin
    )


def _is_whole(one: Input, outlook: Outlook) -> bool:
    """Whether all of an input is what it was, and not only the part that was read."""
    if one.path.name.startswith(STEP_VALUE):
        return False
    return outlook.lookup(one.path).whole == one.whole


def _is_of_module(record: Record) -> bool:
    """Whether a run set globals of modules: for whom they count depends on the modules."""
    names = record.ambient.names if record.ambient is not None else ()
    return any(key.startswith(modulestate.KEY) for key in names)
