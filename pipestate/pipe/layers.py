"""What stands at each place of a pipe, and who may have had a part in it, without going over it.

The records in force lie one over the other in the order of their steps. Both structures here are
made once for a pipe and then moved along with it: what a new record changed is replaced, the rest
is shared. So asking costs what is asked for, however many steps a job has, and a commit costs a
look at each step and no more. Pure, as `graph` is, which says the same by folding from the top.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from ..record import VALUE, Digest, Record
from .deltas import differing
from .graph import Held, Touches

T = TypeVar("T")
Pile = tuple[tuple[int, T], ...]
"""What some of the steps left of one thing, with their places, from the top."""

_place = itemgetter(0)


class Layers(Struct, frozen=True):
    """The records in force, by what they left.

    `left` are versions by name (None: the step took the name away), `givens` what steps were given
    by plain cells, `ambient` and `writers` the records that set something in the process, or wrote
    files.
    """

    order: tuple[str, ...] = ()
    places: Mapping[str, int] = field(default_factory=dict)
    heads: Mapping[str, Digest] = field(default_factory=dict)
    left: Mapping[str, Pile[Held | None]] = field(default_factory=dict)
    givens: Mapping[str, Pile[Held]] = field(default_factory=dict)
    ambient: Pile[Record] = ()
    writers: Pile[Record] = ()

    def before(self, step: str) -> Before:
        """What names stand for before a step; after all of them for one that has no place."""
        return self.at(self.place_of(step))

    def at(self, place: int) -> Before:
        """What names stand for below so many steps."""
        return Before(self.left, place)

    def place_of(self, step: str) -> int:
        """The number of a step's place; that after the last for one that has none."""
        return self.places.get(step, len(self.order))

    def given(self, name: str, step: str) -> Held | None:
        """What no step made of a name, as this step read it, else as the last one did."""
        pile = self.givens.get(name, ())
        at = self.place_of(step)
        own = next((held for place, held in pile if place == at), None)
        return own or (pile[-1][1] if pile else None)

    def given_by(self, name: str, record: Callable[[Digest], Record]) -> dict[str, Held]:
        """What plain cells left of a name, as far as steps have read it, by the cell's id.

        Of what one cell left, the version that was read last counts.
        """
        found: dict[str, Held] = {}
        for _, held in sorted(
            self.givens.get(name, ()), key=lambda pair: record(pair[1].record).started
        ):
            by = record(held.record).given_by.get(name)
            if by is not None and by.cell:
                found[by.cell] = held
        return found


class Before(Mapping[str, Held]):
    """What names stand for above a place. A view: `get` and `in` look, nothing is copied."""

    __slots__ = ("_left", "_place")

    def __init__(self, left: Mapping[str, Pile[Held | None]], place: int) -> None:
        self._left = left
        self._place = place

    def __getitem__(self, name: str) -> Held:
        pile = self._left.get(name, ())
        at = bisect_left(pile, self._place, key=_place)
        held = pile[at - 1][1] if at else None
        if held is None:
            raise KeyError(name)
        return held

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._left if self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def above(pile: Pile[T], place: int) -> list[T]:
    """What lies above a place."""
    return [one for at, one in pile if at < place]


def below(pile: Pile[T], place: int) -> list[T]:
    """What lies below a place."""
    return [one for at, one in pile if at > place]


def moved(
    known: Layers,
    order: tuple[str, ...],
    heads: Mapping[str, Digest],
    record: Callable[[Digest], Record],
) -> Layers:
    """The layers of these heads in this order, from those of an earlier moment."""
    if known.heads is heads and known.order == order:
        return known
    known = known if leads_on(known.order, order) else Layers()
    then = known.heads
    places = known.places
    if known.order != order:
        places = {step: at for at, step in enumerate(order)}
    moves = dict.fromkeys((*differing(then, heads), *order[len(known.order) :]))
    changed = [(places[step], step) for step in moves if step in places]
    if any(step in then and record(then[step]).flaw for _, step in changed):
        return moved(Layers(), order, heads, record)  # what they had left is not known any more
    left, givens = dict(known.left), dict(known.givens)
    ambient, writers = known.ambient, known.writers
    for at, step in changed:
        old, new = then.get(step), heads.get(step)
        for name in _left_by(step, old, record(old)) if old is not None else ():
            _replace(left, name, at)
        for name in _given_to(old, record(old)) if old is not None else ():
            _replace(givens, name, at)
        head = record(new) if new is not None else None
        if new is not None and head is not None:
            for name, held in _left_by(step, new, head).items():
                _replace(left, name, at, held)
            for name, given in _given_to(new, head).items():
                _replace(givens, name, at, given)
        ambient = _put(ambient, at, *((head,) if head is not None and head.ambient else ()))
        writers = _put(writers, at, *((head,) if head is not None and head.files_written else ()))
    return Layers(order, places, heads, left, givens, ambient, writers)


def leads_on(known: tuple[str, ...], order: tuple[str, ...]) -> bool:
    """Whether an order is a known one, perhaps with steps below: places stay what they were."""
    return known is order or order[: len(known)] == known


def _left_by(step: str, digest: Digest, head: Record) -> dict[str, Held | None]:
    found: dict[str, Held | None] = dict.fromkeys(head.gone)
    for version in head.outputs:
        for name in version.names:
            if name != VALUE:
                found[name] = Held(step, digest, version)
    return found


def _given_to(digest: Digest, head: Record) -> dict[str, Held]:
    return {name: Held("", digest, version) for version in head.givens for name in version.names}


def _put(pile: Pile[T], at: int, *new: T) -> Pile[T]:
    """A pile with something new at a place, or nothing."""
    start = bisect_left(pile, at, key=_place)
    end = start + (start < len(pile) and pile[start][0] == at)
    if start == end and not new:
        return pile
    return (*pile[:start], *((at, one) for one in new), *pile[end:])


def _replace(piles: dict[str, Pile[T]], name: str, at: int, *new: T) -> None:
    pile = _put(piles.get(name, ()), at, *new)
    if pile:
        piles[name] = pile
    else:
        piles.pop(name, None)


# --- who is needed -------------------------------------------------------------------------------


class Makers(Struct, frozen=True):
    """What each step does to which names, and the places of those that may make a name.

    `marks` are what a step's touches were told from: where they are the same, so are those.
    """

    order: tuple[str, ...] = ()
    marks: Mapping[str, Any] = field(default_factory=dict)
    touches: Mapping[str, Touches] = field(default_factory=dict)
    places: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def needed(self, at: int, names: Iterable[str]) -> tuple[str, ...]:
        """The steps above a place, in order, that may have a part in what `names` stand for there.

        Backwards from the names: who may have made one is needed, and so is what that one reads; a
        name that it surely binds, whatever it was, is wanted no further.
        """
        wanted: set[str] = set()
        queue: list[int] = []
        queued: set[int] = set()

        def want(names: Iterable[str], limit: int) -> None:
            for name in names:
                if name not in wanted:
                    wanted.add(name)
                    new = [n for n in self.places.get(name, ()) if n < limit and n not in queued]
                    queued.update(new)
                    for place in new:
                        heapq.heappush(queue, -place)

        want(names, at)
        found: list[str] = []
        while queue:
            place = -heapq.heappop(queue)
            touched = self.touches[self.order[place]]
            if not wanted.isdisjoint(touched.makes):
                found.append(self.order[place])
                wanted -= touched.binds - touched.reads
                want(touched.reads, place)
        return tuple(reversed(found))


def makers(
    known: Makers,
    order: tuple[str, ...],
    place_of: Mapping[str, int],
    marks: Mapping[str, Any],
    touches: Callable[[str], Touches],
) -> Makers:
    """The makers in this order, each step at its place, from those of an earlier moment.

    `marks` are those of the steps whose marks may have moved since, new ones among them.
    """
    if not leads_on(known.order, order):
        marks = {step: mark for step, mark in {**known.marks, **marks}.items() if step in place_of}
        known = Makers()
    changed = [step for step, mark in marks.items() if mark != known.marks.get(step)]
    if not changed:
        return known if known.order == order else replace(known, order=order)
    now, places = dict(known.touches), dict(known.places)
    for step in changed:
        at = place_of[step]
        old = known.touches[step].makes if step in known.touches else frozenset()
        now[step] = touches(step)
        new = now[step].makes
        for name in old - new:
            places[name] = tuple(place for place in places[name] if place != at)
        for name in new - old:
            insort(row := list(places.get(name, ())), at)
            places[name] = tuple(row)
    return Makers(order, {**known.marks, **marks}, now, places)
