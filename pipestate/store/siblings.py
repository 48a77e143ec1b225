"""Many objects side by side in a walk, told kind by kind at the speed of C.

To visit each of a hundred thousand instances takes ten times as long as to pickle them. Here those
of one kind are a column: what is the same of all of them is told once, the rest in one piece, and
what lies in them lies side by side again, one level below. A column whose objects cannot be told
like that is walked one by one. Which way is taken depends on the content alone, so that equal
values give equal tokens.
"""

from __future__ import annotations

import datetime
import enum
import functools
import pathlib
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, compress, repeat, tee
from operator import attrgetter
from typing import Any, Final, NamedTuple

from msgspec import Struct, field

from . import arrays, containers, definitions, reduced, trees
from .tokens import Token, text
from .walk import ROOT, Apart, Handler, Siblings, Sink, Walk, in_rows


class Row(Struct, frozen=True):
    """Objects side by side that are being told, below so many opened tuples, and what is left to
    be told on the next level: what lies `below` those that are walked once, and `inside` those that
    may be met again."""

    walk: Walk
    opened: int
    below: list[tuple[Iterable[object], Iterable[int]]] = field(default_factory=list)
    inside: list[tuple[Iterable[object], Iterable[int]]] = field(default_factory=list)

    def leave(
        self, rows: Iterable[Iterable[object]], holders: Iterable[int], *, is_inside: bool = False
    ) -> None:
        """Leave what lies in some objects; it is copied when it is reached, for a pickling hook may
        change what it is a part of."""
        copies, same = tee(map(list, rows))
        parents = chain.from_iterable(map(repeat, holders, map(len, same)))
        left = self.inside if is_inside else self.below
        left.append((chain.from_iterable(copies), parents))

    def push(self) -> None:
        """Put what was left on the walk's stack."""
        for left, opened in ((self.inside, self.opened + 1), (self.below, 0)):
            if left:
                items, parents = (chain.from_iterable(some) for some in zip(*left, strict=True))
                self.walk.push(in_rows(items, parents, opened))


class Column(NamedTuple):
    """How objects of a kind are told: a tag that no other has, and what writes them out, met in
    these parents, or does nothing and says so."""

    tag: bytes
    tell: Callable[[Row, list[Any], Sequence[int]], bool]


MOST_KINDS: Final = 255
MOST_ITEMS: Final = 1 << 18
"""Dicts and sets that hold more, all together, are not copied, nor such tuples told twice."""
MOST_OPENED: Final = 2
WIDEST: Final = 4
"""Tuples may be shared freely, and are told as often as they are met: only so many, one in another,
and of so many items each are opened, and others told by their digests."""
MOST_PARTS: Final = 12
"""The same of what a number, a date or the like is reduced to."""
LONG: Final = 256
"""Of it, texts that are longer are told once."""
PATHS: Final = frozenset(
    {pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath}
)
ZONES: Final = frozenset({type(None), datetime.timezone})
NUMERIC: Final = frozenset(
    {"bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
    | {"float16", "float32", "float64", "complex64", "complex128"}
)


def select(kind: type) -> Handler:
    """What to do with objects of this type."""
    return _OWN.get(kind) or reduced.select(kind)


def walk_siblings(walk: Walk, obj: object) -> None:
    """Objects side by side; one by one where only their order is asked for."""
    assert isinstance(obj, Siblings)
    items, parents, opened = obj
    if parents is None:
        parents = [walk.parent] * len(items)
    kinds = list(map(type, items))
    found = dict.fromkeys(kinds)
    if len(items) == 1 or walk.is_look or any(map(_is_odd, found)):
        _tell_each(walk, items, parents)
        return
    columns = {kind: _column(walk, kind) for kind in found}
    codes: dict[object, int] = {}
    code_of = {
        kind: codes.setdefault(column if column in MIXED else kind, len(codes))
        for kind, column in columns.items()
    }
    if len(codes) > MOST_KINDS:
        _tell_each(walk, items, parents)
        return
    walk.emit(b"|%d,%d:" % (len(items), len(codes)))
    row = Row(walk, opened)
    if len(codes) == 1:
        _tell(row, columns[kinds[0]], items, parents)
    else:
        places = bytes(map(code_of.__getitem__, kinds))
        walk.emit(places)
        for code, column in {code_of[kind]: column for kind, column in columns.items()}.items():
            chosen = places.translate(CHOSEN[code])
            _tell(row, column, list(compress(items, chosen)), list(compress(parents, chosen)))
    row.push()


def _walk_apart(walk: Walk, obj: object) -> None:
    assert isinstance(obj, Apart)
    walk.visit_apart(obj)


_OWN: Final[dict[type, Handler]] = {Siblings: walk_siblings, Apart: _walk_apart}


def _tell(row: Row, column: Column, objects: list[Any], parents: Sequence[int]) -> None:
    row.walk.emit(column.tag)
    if not column.tell(row, objects, parents):
        _tell_each(row.walk, objects, parents)


def _tell_each(walk: Walk, objects: list[Any], parents: Sequence[int]) -> None:
    walk.emit(b"~")
    walk.push_each(objects, parents)


def _is_odd(kind: type) -> bool:
    """Whether its metaclass may call it equal to another class."""
    return type(kind).__hash__ is not type.__hash__


def _column(walk: Walk, kind: type) -> Column:
    """How to tell objects of a kind."""
    known = KINDS.get(kind)
    if known is not None:
        return known
    handler = walk.handler_of(kind)
    if handler is reduced.walk_immutable:
        numpy = sys.modules.get("numpy")
        if kind.__name__ in NUMERIC and kind is getattr(numpy, kind.__name__, None):
            return NUMBERS
        return MEMBERS if issubclass(kind, enum.Enum) else VALUES
    return HANDLED.get(handler, ONE_BY_ONE)


def _one_by_one(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    return False


# --- what has no parts ---------------------------------------------------------------------------


def _scalars(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    row.walk.adopt(functools.partial(trees.dump, objects), (), is_rooted=False)
    return True


def _tokens(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    row.walk.emit(b"".join(objects))
    return True


def _times(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    """Dates with times, and times; where a test sets the clock, others have their names."""
    if not set(map(type, map(attrgetter("tzinfo"), objects))) <= ZONES:
        return False
    return _scalars(row, [one.__reduce_ex__(5)[1] for one in objects], parents)


def _uuids(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    if set(map(attrgetter("is_safe"), objects)) != {uuid.SafeUUID.unknown}:
        return False
    return _scalars(row, list(map(attrgetter("int"), objects)), parents)


def _paths(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    row.walk.emit(text(type(objects[0]).__name__))
    return _scalars(row, list(map(attrgetter("parts"), objects)), parents)


def _numbers(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    """Scalars of numpy."""
    walk = row.walk
    numpy = sys.modules["numpy"]
    array = numpy.array(objects, numpy.dtype(type(objects[0])))
    walk.emit(text(array.dtype.str))
    walk.content(memoryview(array).cast("B"), is_passing=True)
    return True


def _members(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    """Members of an enum, where there is one object for each of them."""
    kind = type(objects[0])
    known = {*map(id, kind.__members__.values()), *map(id, kind._value2member_map_.values())}
    if not known.issuperset(map(id, objects)):  # what a `_missing_` has made
        return False
    members = _told_apart(row.walk, objects)
    row.walk.push_each(members, repeat(ROOT, len(members)))
    return True


def _definitions(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    """Functions and classes that names stand for."""
    walk = row.walk
    found = [definitions.class_token(walk, one) for one in _distinct(objects).values()]
    tokens = [token for token in found if token is not None]
    if len(tokens) < len(found):
        return False
    _told_apart(walk, objects)
    walk.emit(b"".join(tokens))
    return True


def _told_apart(walk: Walk, objects: list[Any]) -> list[Any]:
    """The objects, each once, as they are met first; which stands where is written out."""
    distinct = _distinct(objects)
    places = {key: place for place, key in enumerate(distinct)}
    walk.emit(b"%d," % len(distinct))
    trees.dump(list(map(places.__getitem__, map(id, objects))), Sink(walk))
    return list(distinct.values())


# --- what holds others ---------------------------------------------------------------------------


def _lists(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    fresh, numbers = row.walk.number_all(objects, parents)
    _tell_lengths(row.walk, fresh)
    row.leave(fresh, numbers)
    return True


def _dicts(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    """Dicts; the order of the keys counts. Most have the same keys."""
    walk = row.walk
    if sum(map(len, objects)) > MOST_ITEMS:
        return False
    fresh, numbers = walk.number_all(objects, parents)
    _tell_lengths(walk, fresh)
    keys = list(map(tuple, fresh))
    kinds = set(map(type, chain.from_iterable(keys)))
    if kinds <= {str}:
        shapes = dict.fromkeys(keys)
        places = {shape: place for place, shape in enumerate(shapes)}
        trees.dump([list(shapes), list(map(places.__getitem__, keys))], Sink(walk))
    else:
        walk.emit(b"k")
        row.leave(keys, numbers)
    row.leave(map(dict.values, fresh), numbers)
    return True


def _tuples(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    items = sum(map(len, objects))
    if items > MOST_ITEMS:
        return False
    if set(map(type, chain.from_iterable(objects))) <= trees.SCALARS:
        return _scalars(row, objects, parents)
    if row.opened == MOST_OPENED or items > WIDEST * len(objects):
        return False
    _tell_lengths(row.walk, objects)
    row.leave(objects, parents, is_inside=True)
    return True


def _sets(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    if not _are_sortable(objects):
        return False
    fresh, _ = row.walk.number_all(objects, parents)
    trees.dump(list(map(sorted, fresh)), Sink(row.walk))
    return True


def _frozensets(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    if not _are_sortable(objects):
        return False
    trees.dump(list(map(sorted, objects)), Sink(row.walk))
    return True


def _are_sortable(sets: list[Any]) -> bool:
    """Whether what is in the sets has one order, the same whatever order it is put in from."""
    return (
        sum(map(len, sets)) <= MOST_ITEMS
        and set(map(type, chain.from_iterable(sets))) in containers.SORTABLE
    )


def _instances(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    """Instances of an ordinary class: the class once, and their attributes."""
    walk = row.walk
    token = definitions.class_token(walk, type(objects[0]))
    if token is None or _are_named(walk, objects):
        return False
    walk.emit(token)
    fresh, numbers = walk.number_all(objects, parents)
    row.below.append((map(attrgetter("__dict__"), fresh), numbers))
    return True


def _objects(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    """Objects as pickle takes them apart, or as their names."""
    walk = row.walk
    if walk.holder != ROOT or _are_named(walk, objects):
        return False
    distinct = _distinct(objects)
    new = {key: one for key, one in distinct.items() if not walk.is_numbered(key)}
    made = {key: reduced.reduction(walk, one) for key, one in new.items()}
    taken = {key: its for key, its in made.items() if isinstance(its, tuple)}
    if not taken and len(new) == len(distinct):
        walk.push_each(_told_apart(walk, objects), repeat(ROOT, len(distinct)))
        return True
    if len(taken) < len(made):
        return False
    fresh, numbers = walk.number_all(objects, parents)
    rows = [reduced.parts(walk, one, taken[id(one)]) for one in fresh]
    _tell_lengths(walk, rows)
    row.leave(rows, numbers)
    return True


def _values(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    """Objects whose identity never counts, as pickle takes them apart: what they are made of may be
    shared, as in a tuple."""
    walk = row.walk
    if row.opened == MOST_OPENED:
        return False
    parts: dict[int, list[object]] = {}
    for key, one in _distinct(objects).items():
        its = reduced.reduction(walk, one)
        if not isinstance(its, tuple):
            return False
        parts[key] = reduced.parts(walk, one, its)
    if any(map(_is_long, chain.from_iterable(parts.values()))):
        return False
    rows = list(map(parts.__getitem__, map(id, objects)))
    if sum(map(len, rows)) > MOST_PARTS * len(rows):
        return False
    _tell_lengths(walk, rows)
    row.leave(rows, parents, is_inside=True)
    return True


def _is_long(part: object) -> bool:
    """Whether a part is a text that is not to be told as often as it is met."""
    return type(part) in (str, bytes) and len(part) > LONG  # type: ignore[arg-type]


def _distinct(objects: list[Any]) -> dict[int, Any]:
    """The objects by id, each once, as they are met first."""
    return dict(zip(map(id, objects), objects, strict=True))


def _arrays(row: Row, objects: list[Any], parents: Sequence[int]) -> bool:
    return arrays.walk_many(row.walk, objects, parents)


def _are_named(walk: Walk, objects: list[Any]) -> bool:
    named = walk.findings.definitions.keys()
    return not (walk.is_inside or named.isdisjoint(map(id, objects)))


def _tell_lengths(walk: Walk, holders: Iterable[Any]) -> None:
    trees.dump(list(map(len, holders)), Sink(walk))


ONE_BY_ONE: Final = Column(b"o", _one_by_one)
SCALARS: Final = Column(b"s", _scalars)
MIXED: Final = frozenset({ONE_BY_ONE, SCALARS})
"""Of which objects of several kinds are told together."""
NUMBERS: Final = Column(b"n", _numbers)
MEMBERS: Final = Column(b"e", _members)
VALUES: Final = Column(b"v", _values)
DEFINITIONS: Final = Column(b"d", _definitions)
KINDS: Final[dict[type, Column]] = {
    **dict.fromkeys(trees.SCALARS, SCALARS),
    datetime.datetime: Column(b"t", _times),
    datetime.time: Column(b"h", _times),
    **dict.fromkeys(PATHS, Column(b"p", _paths)),
    Token: Column(b"T", _tokens),
    uuid.UUID: Column(b"u", _uuids),
    list: Column(b"[", _lists),
    dict: Column(b"{", _dicts),
    tuple: Column(b"(", _tuples),
    set: Column(b"<", _sets),
    frozenset: Column(b">", _frozensets),
    types.FunctionType: DEFINITIONS,
}
HANDLED: Final[dict[Handler, Column]] = {
    arrays.walk_array: Column(b"a", _arrays),
    definitions.walk_definition: DEFINITIONS,
    reduced.walk_plain: Column(b"i", _instances),
    reduced.walk_object: Column(b"r", _objects),
}
CHOSEN: Final = [bytes(map(code.__eq__, range(256))) for code in range(MOST_KINDS)]
"""For each code what makes of a row of codes a row that says where it is."""
