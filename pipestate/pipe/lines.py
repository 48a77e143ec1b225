"""What the lines of a job's steps say, as last seen, told anew only for those that changed.

Pure, as `layers` is, and for the same reason: a cell must not cost a look at each of the lines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from itertools import compress
from operator import is_not
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from ..cell.source import parse_line
from ..record import Seen


class Lines(Struct, frozen=True):
    """The cells of the steps by step, and the steps by cell; the steps that each `--after` names,
    and those of setup."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)
    steps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    setups: frozenset[str] = frozenset()


def moved(known: Lines, seen: Mapping[str, Seen]) -> Lines:
    """What these lines say, from what earlier ones said."""
    if known.seen is seen:
        return known
    then = known.seen
    differ = [
        step
        for step in differing(then, seen)
        if step not in then or _line_of(then, step) != _line_of(seen, step)
    ]
    if not differ:  # a source was edited
        return replace(known, seen=seen)
    cells, steps = dict(known.cells), dict(known.steps)
    after, setups = dict(known.after), set(known.setups)
    for step in differ:
        setups.discard(step)
        after.pop(step, None)
        was = cells.pop(step, "")
        if was:
            steps[was] = tuple(one for one in steps[was] if one != step)
        if step in seen:
            options, cell = seen[step].options, seen[step].cell_id
            cells[step] = cell
            if cell:
                steps[cell] = (*steps.get(cell, ()), step)
            line = parse_line(options) if "--" in options else None
            if line is not None and line.setup:
                setups.add(step)
            if line is not None and line.after:
                after[step] = line.after
    return Lines(seen, cells, steps, after, frozenset(setups))


def _line_of(seen: Mapping[str, Seen], step: str) -> tuple[str, str] | None:
    one = seen.get(step)
    return None if one is None else (one.options, one.cell_id)


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
