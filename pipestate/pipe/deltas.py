"""In what two mappings differ, of which one was made of the other.

A job's mappings grow long, and a cell changes one key or two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from itertools import compress
from operator import is_not
from typing import Any


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys that have another value now, or are new, or gone."""
    if then is now:
        return []
    for one, other, keys in tuple(_noted):  # another thread may note one meanwhile
        if one is then and other is now:
            return [key for key in keys if then.get(key) != now.get(key)]
    # Nearly all are the very objects that they were, and none is None.
    others = compress(now, map(is_not, now.values(), map(then.get, now)))
    found = [key for key in others if then.get(key) != now[key]]
    if len(then) + sum(key not in then for key in found) != len(now):
        found.extend(key for key in then if key not in now)
    return found


def note(then: Mapping[str, Any], now: Mapping[str, Any], keys: Collection[str]) -> None:
    """Remember that of two mappings, which nobody changes any more, at most `keys` differ: whoever
    made one of the other knows, and need not be asked to find out."""
    _noted.appendleft((then, now, keys))


_noted: deque[tuple[Mapping[str, Any], Mapping[str, Any], Collection[str]]] = deque(maxlen=4)
