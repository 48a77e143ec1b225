"""Trees of plain builtin values, at the speed of C.

A tree is made of exact lists, dicts and tuples over exact scalars, no list or dict of it reached
twice. It has one digest that needs no numbering: a pickle without memo (`Pickler.fast`), which
depends on the content alone. Whether something is a tree is itself a matter of its content (depth
and the number of nodes, with multiplicity), so that equal values always take the same way. And a
big one is packed without the pickler's memo, too: as `pieces`.
"""

from __future__ import annotations

import datetime
import decimal
import io
import marshal
import pickle
import sys
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import chain, compress, islice
from typing import Any, Protocol

SCALARS = frozenset(
    {int, float, bool, complex, str, bytes, type(None)}
    | {datetime.date, datetime.timedelta, decimal.Decimal}
)
DICTS = frozenset({dict})
MUTABLE = frozenset({list, dict})
INNER = MUTABLE | {tuple}
KINDS = SCALARS | INNER
MAX_DEPTH = 64
"""Deeper ones are walked one by one: the C pickler recurses."""
MAX_TUPLES = 1 << 23
"""Wider levels with tuples in them are walked, for tuples may be shared and so be the same few."""
MIN_TUPLES = 1 << 12
"""What is always allowed, however deep: to double that often takes nothing but a dozen tuples."""


def containers(
    root: object, *seen: Collection[int], deep: set[int] | None = None
) -> list[list[object]] | None:
    """The lists and dicts of the tree under `root`, a level each, root first; None for no tree.

    None, too, where one of them is among the ids in `seen`. In `deep` it notes the ids of what it
    finds to be nested too deeply: else a long chain would be looked at from each of its links.
    """
    if deep is not None and id(root) in deep:
        return None
    levels: list[list[object]] = []
    kinds = {type(root)}
    inner: list[Any] = [root]  # the lists, dicts and tuples of a level
    ids: set[int] = set()
    is_below_tuples = False
    for depth in range(MAX_DEPTH):
        if not kinds <= KINDS:
            return None
        if kinds <= SCALARS:
            return levels
        mutable = inner if tuple not in kinds else _of_kinds(inner, MUTABLE)
        if mutable:
            # One is held by the lists of this level, and by the one thing that it was found in: by
            # more, if it can be reached twice. A shared tuple holds once what is reached twice.
            holders = len({id(inner), id(mutable)}) + 1
            shared = mutable if is_below_tuples else _held_by_more(mutable, holders)
            known = len(ids) + len(shared)
            ids.update(map(id, shared))
            if len(ids) != known or any(_is_any_in(shared, found) for found in seen if found):
                return None
            levels.append(mutable)
        if len(mutable) != len(inner) and _is_too_wide(inner, depth):
            return None
        is_below_tuples |= tuple in kinds
        below = _below(inner, kinds & INNER)
        # Most of a big tree is scalars: they are told by their types, and never listed.
        kinds = set(map(type, below()))
        inner = [one for one in below() if type(one) in INNER] if kinds & INNER else []
    if deep is not None:
        deep.update(_links(root))
    return None


def _links(root: object) -> list[int]:
    """The ids of the first containers below `root`, each the only one at its level, that have too
    many levels below them."""
    ids: list[int] = []
    level: list[Any] = [root]
    while len(ids) < 8 * MAX_DEPTH:
        inner = _of_kinds(level, INNER)
        if len(inner) != 1:
            break
        ids.append(id(inner[0]))
        level = list(_below(inner, {type(inner[0])})())
    return ids[: -MAX_DEPTH + 1]


def _below(inner: list[Any], kinds: set[type]) -> Callable[[], Iterator[object]]:
    """Gives what is in lists, tuples and dicts, as often as it is asked for. `gc` does not see it
    all: attributes since 3.13."""
    dicts: list[Any] = inner if kinds == DICTS else _of_kinds(inner, DICTS)
    others: list[Any] = [] if kinds == DICTS else _of_kinds(inner, INNER - DICTS)
    has_odd_keys = not set(map(type, chain.from_iterable(dicts))) <= SCALARS

    def below() -> Iterator[object]:
        return chain(
            chain.from_iterable(others),
            chain.from_iterable(map(dict.values, dicts)),
            chain.from_iterable(dicts if has_odd_keys else []),
        )

    return below


def _is_too_wide(inner: list[object], depth: int) -> bool:
    """Whether tuples, which may be shared freely, might nest to more visits than are worth it."""
    allowed = max(MAX_TUPLES >> max(0, 2 * depth - 6), MIN_TUPLES)
    return len(inner) > allowed or (
        len(inner) > MIN_TUPLES and sum(map(len, inner)) > 4 * MAX_TUPLES  # type: ignore[arg-type]
    )


def _of_kinds(level: list[object], kinds: frozenset[type]) -> list[object]:
    return list(compress(level, map(kinds.__contains__, map(type, level))))


def _held_by_more(objects: list[object], holders: int) -> list[object]:
    """Those that something else holds as well. To remember a million ids costs as much as the
    pickle, and nearly nothing is shared."""
    alone = next(map(sys.getrefcount, [[]])) + holders - 1
    counts = list(map(sys.getrefcount, objects))  # before `compress` holds them, too
    return list(compress(objects, map(alone.__ne__, counts))) if {*counts} != {alone} else []


def _is_any_in(objects: list[object], ids: Container[int]) -> bool:
    return any(map(ids.__contains__, map(id, objects)))


class File(Protocol):
    """What a tree's bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take the next piece."""


def dump(tree: object, file: File) -> None:
    """Write the bytes of a tree, the same for every tree of equal content. No such bytes are the
    beginning of others."""
    pickler = pickle.Pickler(file, 5)
    pickler.fast = True
    pickler.dump(tree)


def dumps(tree: object) -> bytes:
    """The bytes that `dump` writes."""
    buffer = io.BytesIO()
    dump(tree, buffer)
    return buffer.getvalue()


PIECE = 1 << 16
"""So many items of a list or dict are a piece: what they share is remembered while it is made."""

MARSHAL = 4
"""The format, which all of CPython's marshal modules from 3.4 on read."""


def pieces(tree: Any, size: int = PIECE) -> Iterator[bytes]:
    """The bytes that `joined` makes the tree of again: five times as fast as a pickle.

    A pickle remembers each object in case it comes again, and in a tree none does but texts and
    numbers, which marshal remembers if more than one holds them. Raises ValueError for dates and
    decimals, which marshal does not know.
    """
    cut: Iterator[Any] = iter([tree])
    if type(tree) is dict and tree:
        items = iter(tree.items())
        cut = iter(lambda: dict(islice(items, size)), {})
    elif type(tree) is list and tree:
        cut = (tree[at : at + size] for at in range(0, len(tree), size))
    return (marshal.dumps(piece, MARSHAL) for piece in cut)


def joined(parts: Iterable[bytes | memoryview]) -> Any:
    """The tree that was cut into such pieces."""
    found = map(marshal.loads, parts)
    tree = next(found)
    for piece in found:
        tree.update(piece) if type(tree) is dict else tree.extend(piece)
    return tree
