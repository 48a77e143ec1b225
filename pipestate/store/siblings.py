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
from itertools import chain, compress, repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple

from . import arrays, containers, definitions, reduced, trees
from .walk import ROOT, Handler, Siblings, Sink, Token, Walk, in_rows, text


class Column(NamedTuple):
    """How objects of a kind are told: a tag that no other has, and what writes them out, met in
    these parents and below so many opened tuples, or does nothing and says so."""

    tag: bytes
    tell: Callable[[Walk, list[Any], Sequence[int], int], bool]


MOST_KINDS: Final = 255
MOST_ITEMS: Final = 1 << 18
"""Dicts and sets that hold more, all together, are not copied, nor such tuples told twice."""
MOST_OPENED: Final = 4
WIDEST: Final = 4
"""Tuples may be shared freely, and are told as often as they are met: only so many, one in another,
and of so many items each are opened, and others told by their digests."""
MOST_PARTS: Final = 12
"""The same of what a number, a date or the like is reduced to."""
PATHS: Final = frozenset(
    {pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath}
)
ZONES: Final = frozenset({type(None), datetime.timezone})
NUMERIC: Final = frozenset(
    {"bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
    | {"float16", "float32", "float64", "complex64", "complex128"}
)


def select(kind: type) -> Handler:
    """What to do with objects of this type."""
    return walk_siblings if kind is Siblings else reduced.select(kind)


def walk_siblings(walk: Walk, obj: object) -> None:
    """Objects side by side; one by one where only their order is asked for."""
    assert isinstance(obj, Siblings)
    items, parents, opened = obj
    if parents is None:
        parents = [walk.parent] * len(items)
    kinds = list(map(type, items))
    columns = {kind: _column(walk, kind) for kind in dict.fromkeys(kinds)}
    codes: dict[object, int] = {}
    code_of = {
        kind: codes.setdefault(column if column in MIXED else kind, len(codes))
        for kind, column in columns.items()
    }
    if walk.is_look or len(codes) > MOST_KINDS:
        walk.emit(b"~")
        walk.push_each(items, parents)
        return
    walk.emit(b"|%d,%d:" % (len(items), len(codes)))
    if len(codes) == 1:
        _tell(walk, columns[kinds[0]], items, parents, opened)
        return
    row = bytes(map(code_of.__getitem__, kinds))
    walk.emit(row)
    for code, column in {code_of[kind]: column for kind, column in columns.items()}.items():
        chosen = row.translate(CHOSEN[code])
        _tell(walk, column, list(compress(items, chosen)), list(compress(parents, chosen)), opened)


def _tell(
    walk: Walk, column: Column, objects: list[Any], parents: Sequence[int], opened: int
) -> None:
    walk.emit(column.tag)
    if not column.tell(walk, objects, parents, opened):
        walk.emit(b"~")
        walk.push_each(objects, parents)


def _column(walk: Walk, kind: type) -> Column:
    """How to tell objects of a kind."""
    known = KINDS.get(kind)
    if known is not None:
        return known
    handler = walk.handler_of(kind)
    if handler is reduced.walk_immutable:
        numpy = sys.modules.get("numpy")
        if numpy is not None and issubclass(kind, numpy.generic) and kind.__name__ in NUMERIC:
            return NUMBERS
        return MEMBERS if issubclass(kind, enum.Enum) else VALUES
    return HANDLED.get(handler, ONE_BY_ONE)


def _one_by_one(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    return False


# --- what has no parts ---------------------------------------------------------------------------


def _scalars(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    walk.adopt(functools.partial(trees.dump, objects), (), is_rooted=False)
    return True


def _tokens(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    walk.emit(b"".join(objects))
    return True


def _times(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    if not set(map(type, map(attrgetter("tzinfo"), objects))) <= ZONES:
        return False
    return _scalars(walk, objects, parents, opened)


def _uuids(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    if set(map(attrgetter("is_safe"), objects)) != {uuid.SafeUUID.unknown}:
        return False
    return _scalars(walk, list(map(attrgetter("int"), objects)), parents, opened)


def _paths(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    walk.emit(text(type(objects[0]).__name__))
    return _scalars(walk, list(map(str, objects)), parents, opened)


def _numbers(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    """Scalars of numpy."""
    numpy = sys.modules["numpy"]
    array = numpy.array(objects, numpy.dtype(type(objects[0])))
    walk.emit(text(array.dtype.str))
    walk.content(memoryview(array).cast("B"), is_passing=True)
    return True


def _members(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    """Members of an enum: there is one object for each of them."""
    members = _told_apart(walk, objects)
    walk.push_each(members, repeat(ROOT, len(members)))
    return True


def _definitions(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    """Functions and classes that names stand for."""
    distinct = dict(zip(map(id, objects), objects, strict=True)).values()
    found = [definitions.class_token(walk, one) for one in distinct]
    tokens = [token for token in found if token is not None]
    if len(tokens) < len(found):
        return False
    _told_apart(walk, objects)
    walk.emit(b"".join(tokens))
    return True


def _told_apart(walk: Walk, objects: list[Any]) -> list[Any]:
    """The objects, each once, as they are met first; which stands where is written out."""
    ids = list(map(id, objects))
    distinct = dict(zip(ids, objects, strict=True))
    places = {key: place for place, key in enumerate(distinct)}
    walk.emit(b"%d," % len(distinct))
    trees.dump(list(map(places.__getitem__, ids)), Sink(walk))
    return list(distinct.values())


# --- what holds others ---------------------------------------------------------------------------


def _lists(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    fresh, numbers = walk.number_all(objects, parents)
    lengths = _lengths(walk, fresh)
    _push(walk, map(list, fresh), numbers, lengths, opened)
    return True


def _dicts(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    """Dicts; the order of the keys counts. Most have the same keys."""
    if sum(map(len, objects)) > MOST_ITEMS:
        return False
    fresh, numbers = walk.number_all(objects, parents)
    lengths = _lengths(walk, fresh)
    rows = list(map(tuple, fresh))
    kinds = set(map(type, chain.from_iterable(rows)))
    if kinds <= {str}:
        shapes = dict.fromkeys(rows)
        places = {row: place for place, row in enumerate(shapes)}
        trees.dump([list(shapes), list(map(places.__getitem__, rows))], Sink(walk))
    else:
        walk.emit(b"k")
        _push(walk, rows, numbers, lengths, opened)
    _push(walk, map(list, map(dict.values, fresh)), numbers, lengths, opened)
    return True


def _tuples(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    items = sum(map(len, objects))
    if items > MOST_ITEMS:
        return False
    if set(map(type, chain.from_iterable(objects))) <= trees.SCALARS:
        return _scalars(walk, objects, parents, opened)
    if opened == MOST_OPENED or items > WIDEST * len(objects):
        return False
    _push(walk, objects, parents, _lengths(walk, objects), opened + 1)
    return True


def _sets(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    if not _are_sortable(objects):
        return False
    fresh, _ = walk.number_all(objects, parents)
    trees.dump(list(map(sorted, fresh)), Sink(walk))
    return True


def _frozensets(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    if not _are_sortable(objects):
        return False
    trees.dump(list(map(sorted, objects)), Sink(walk))
    return True


def _are_sortable(sets: list[Any]) -> bool:
    """Whether what is in the sets has one order, the same whatever order it is put in from."""
    return (
        sum(map(len, sets)) <= MOST_ITEMS
        and set(map(type, chain.from_iterable(sets))) in containers.SORTABLE
    )


def _instances(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    """Instances of an ordinary class: the class once, and their attributes."""
    token = definitions.class_token(walk, type(objects[0]))
    if token is None or _are_named(walk, objects):
        return False
    walk.emit(token)
    fresh, numbers = walk.number_all(objects, parents)
    walk.push(in_rows(map(attrgetter("__dict__"), fresh), numbers, opened))
    return True


def _objects(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    """Objects as pickle takes them apart, or as their names."""
    if walk.holder != ROOT or _are_named(walk, objects):
        return False
    distinct = dict(zip(map(id, objects), objects, strict=True))
    made = {key: reduced.reduction(walk, one) for key, one in distinct.items()}
    taken = {key: its for key, its in made.items() if isinstance(its, tuple)}
    if not taken:
        walk.push_each(_told_apart(walk, objects), repeat(ROOT, len(distinct)))
        return True
    if len(taken) < len(made):
        return False
    fresh, numbers = walk.number_all(objects, parents)
    rows = [reduced.parts(walk, one, taken[id(one)]) for one in fresh]
    _push(walk, rows, numbers, _lengths(walk, rows), opened)
    return True


def _values(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    """Objects whose identity never counts, as pickle takes them apart: what they are made of may be
    shared, as in a tuple."""
    if opened == MOST_OPENED:
        return False
    made = [reduced.reduction(walk, one) for one in objects]
    taken = [its for its in made if isinstance(its, tuple)]
    if len(taken) < len(made):
        return False
    rows = [reduced.parts(walk, one, its) for one, its in zip(objects, taken, strict=True)]
    if sum(map(len, rows)) > MOST_PARTS * len(rows):
        return False
    _push(walk, rows, parents, _lengths(walk, rows), opened + 1)
    return True


def _arrays(walk: Walk, objects: list[Any], parents: Sequence[int], opened: int) -> bool:
    return arrays.walk_many(walk, objects, parents)


def _are_named(walk: Walk, objects: list[Any]) -> bool:
    return not walk.findings.definitions.keys().isdisjoint(map(id, objects))


def _lengths(walk: Walk, holders: Iterable[Any]) -> list[int]:
    lengths = list(map(len, holders))
    trees.dump(lengths, Sink(walk))
    return lengths


def _push(
    walk: Walk,
    rows: Iterable[Iterable[object]],
    holders: Iterable[int],
    lengths: Iterable[int],
    opened: int,
) -> None:
    """Leave what lies in some objects to be told next; `rows` are copied when they are reached, for
    a pickling hook may change what it is a part of."""
    parents = chain.from_iterable(map(repeat, holders, lengths))
    walk.push(in_rows(chain.from_iterable(rows), parents, opened))


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
    **dict.fromkeys((datetime.datetime, datetime.time), Column(b"t", _times)),
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
