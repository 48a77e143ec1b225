"""Builtin containers in a walk: lists, dicts, tuples and sets.

A container that is the root of a tree of plain values is written out in one piece (see `trees`),
any other item by item.

Known weakness: the order of equal-looking mutable elements of a set (instances hashed by identity)
is told by a bounded look at each. Where that cannot tell two apart, equal values may get different
digests; different values never get equal ones.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any

from . import trees
from .tokens import LEAVES, Token, text
from .walk import MANY, Handler, Sink, Walk

SORTABLE = frozenset(map(frozenset, [(int,), (str,), (bytes,)]))
"""Of each of these types any objects have one order."""
COLOUR_NODES = 256
"""How many mutable objects below a set's element are looked at to put it in order."""


def walk_list(walk: Walk, obj: object) -> None:
    """A list."""
    assert isinstance(obj, list)
    if walk.is_numbered(id(obj)) or not _walk_tree(walk, obj):
        number = walk.number(obj)
        if number is not None:
            walk.emit(b"[%d:" % len(obj))
            walk.push(walk.side_by_side(list(obj)), parent=number)


def walk_dict(walk: Walk, obj: object) -> None:
    """A dict; the order of its keys counts."""
    assert isinstance(obj, dict)
    if walk.is_numbered(id(obj)) or not _walk_tree(walk, obj):
        number = walk.number(obj)
        if number is not None:
            walk.emit(b"{%d:" % len(obj))
            walk.push(walk.side_by_side(list(chain.from_iterable(obj.items()))), parent=number)


def walk_tuple(walk: Walk, obj: object) -> None:
    """A tuple, by its content alone."""
    assert isinstance(obj, tuple)
    known = walk.sealed(obj)
    if known is not None:
        walk.emit(known)
        return
    kinds = set(map(type, obj))
    if kinds <= trees.SCALARS:  # a tree of one level, and most are
        walk.adopt(functools.partial(trees.dump, obj), (), is_rooted=False)
    elif not _walk_tree(walk, obj):
        walk.seal(obj, [Token(b"(%d:" % len(obj)), *obj])


def _walk_tree(walk: Walk, obj: Any) -> bool:
    """Write out a tree of plain values in one piece, or say that it is none."""
    inner = obj.values() if type(obj) is dict else obj
    if not set(map(type, inner)) <= trees.KINDS:  # most that are none are found out here
        return False
    levels = trees.containers(obj, walk.numbering.numbers, walk.outer or (), deep=walk.deep)
    if levels is None:
        return False
    walk.adopt(functools.partial(trees.dump, obj), levels, is_rooted=type(obj) is not tuple)
    return True


# --- sets ----------------------------------------------------------------------------------------


def walk_set(walk: Walk, obj: object) -> None:
    """A set, without the order that it happens to have."""
    assert isinstance(obj, set)
    number = walk.number(obj)
    if number is not None:
        _walk_elements(walk, b"<%d:", obj, number)


def walk_frozenset(walk: Walk, obj: object) -> None:
    """A frozenset, by its content alone."""
    assert isinstance(obj, frozenset)
    _walk_elements(walk, b">%d:", obj, walk.parent)


def _walk_elements(walk: Walk, tag: bytes, elements: Collection[object], number: int) -> None:
    walk.emit(tag % len(elements))
    kinds = set(map(type, elements))
    if len(elements) >= MANY and kinds in SORTABLE:
        trees.dump(sorted(elements), Sink(walk))  # type: ignore[type-var]
        return
    if kinds <= LEAVES.keys():
        walk.emit(b"".join(sorted(LEAVES[type(element)](element) for element in elements)))
        return
    if kinds <= trees.SCALARS | {tuple} and trees.containers(list(elements)):
        # Tuples of scalars: no list or dict can be in a set.
        walk.emit(b"".join(sorted(trees.dumps(element) for element in elements)))
        return
    if walk.outer is not None and walk.numbering.parents:
        # Only a look, and below a mutable already: to look into each element as well would be to
        # look at everything from everywhere.
        walk.emit(b"".join(sorted(text(type(element).__qualname__) for element in elements)))
        return
    coloured = _coloured(walk, elements)
    walk.emit(b"".join(colour for colour, is_mutable, _ in coloured if not is_mutable))
    mutable = [element for _, is_mutable, element in coloured if is_mutable]
    walk.emit(b"/%d:" % len(mutable))
    if mutable:
        # Walked last, when most of what is in them has got its number elsewhere.
        walk.defer(functools.partial(_walk_mutable, walk, mutable, number))


def _walk_mutable(walk: Walk, elements: Iterable[object], number: int) -> None:
    ordered = [element for _, _, element in _coloured(walk, elements)]
    walk.push([Token(b"}%d:" % number), *ordered], parent=number)


def _coloured(walk: Walk, elements: Iterable[object]) -> list[tuple[bytes, bool, object]]:
    """Each element with a digest that puts it in order, and whether mutables are in it."""
    found = []
    outer = {**(walk.outer or {}), **walk.numbering.numbers}
    for element in elements:
        look = Walk(element, walk.select, walk.findings, outer=outer, is_inside=walk.is_inside)
        colour = look.run(COLOUR_NODES)
        walk.flaws.extend(look.flaws)
        found.append((colour, bool(look.numbering.parents), element))
    return sorted(found, key=lambda each: each[:2])


HANDLERS: dict[type, Handler] = {
    list: walk_list,
    dict: walk_dict,
    tuple: walk_tuple,
    set: walk_set,
    frozenset: walk_frozenset,
}
