"""Trees of plain builtin values, at the speed of C.

A tree is made of exact lists, dicts and tuples over exact scalars, no list or dict of it reached
twice. It has one digest that needs no numbering: a pickle without memo (`Pickler.fast`), which
depends on the content alone. Whether something is a tree is itself a matter of its content (depth
and the number of nodes, with multiplicity), so that equal values always take the same way.
"""

from __future__ import annotations

import datetime
import decimal
import gc
import io
import pickle
from collections.abc import Container
from itertools import compress

SCALARS = frozenset(
    {int, float, bool, complex, str, bytes, type(None)}
    | {datetime.date, datetime.timedelta, decimal.Decimal}
)
MUTABLE = frozenset({list, dict})
INNER = MUTABLE | {tuple}
MAX_DEPTH = 64
"""Deeper ones are walked one by one: the C pickler recurses."""
MAX_TUPLES = 1 << 23
"""Tuples may be shared freely and nest to any number of visits; beyond this many, walk instead."""


def containers(
    root: object, seen: Container[int], outer: Container[int] | None
) -> list[list[object]] | None:
    """The lists and dicts of the tree under `root`, a level each, root first; None for no tree.

    None, too, where one of them is among the ids in `seen` or `outer`.
    """
    ids: set[int] = set()
    levels: list[list[object]] = []
    level: list[object] = [root]
    ntuples = 0
    for _ in range(MAX_DEPTH):
        types = list(map(type, level))
        inner = list(compress(level, map(INNER.__contains__, types)))
        if not set(types) <= SCALARS | INNER:
            return None
        if not inner:
            return levels
        mutable = list(compress(level, map(MUTABLE.__contains__, types)))
        if mutable:
            known = len(ids) + len(mutable)
            ids.update(map(id, mutable))
            if len(ids) != known or _any_in(mutable, seen, outer):
                return None
            levels.append(mutable)
        ntuples += len(inner) - len(mutable)
        if ntuples > MAX_TUPLES:
            return None
        level = gc.get_referents(*inner)
    return None


def _any_in(found: list[object], *known: Container[int] | None) -> bool:
    return any(any(map(ids.__contains__, map(id, found))) for ids in known if ids)


class TreePickler:
    """Pickles trees one after the other, each to its own canonical bytes."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._pickler = pickle.Pickler(self._buffer, 5)
        self._pickler.fast = True

    def dumps(self, tree: object) -> bytes:
        """The bytes of a tree, the same for every tree of equal content."""
        self._buffer.seek(0)
        self._buffer.truncate()
        self._pickler.dump(tree)
        return self._buffer.getvalue()
