"""What the lines of a job's steps say, as last seen, told anew only for those that changed.

Pure, as `layers` is, and for the same reason: a cell must not cost a look at each of the lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cell.source import parse_line
from ..record import Seen


@dataclass(frozen=True, slots=True)
class Lines:
    """The cells of the steps by step, the steps that each `--after` names, and those of setup."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    setups: frozenset[str] = frozenset()


def moved(known: Lines, seen: Mapping[str, Seen]) -> Lines:
    """What these lines say, from what earlier ones said."""
    if known.seen is seen:
        return known
    cells, after, setups = dict(known.cells), dict(known.after), set(known.setups)
    for step in differing(known.seen, seen):
        setups.discard(step)
        for part in (cells, after):
            part.pop(step, None)
        if step in seen:
            options = seen[step].options
            cells[step] = seen[step].cell_id
            line = parse_line(options) if "--" in options else None
            if line is not None and line.setup:
                setups.add(step)
            if line is not None and line.after:
                after[step] = line.after
    return Lines(seen, cells, after, frozenset(setups))


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys that have another value now, or are new, or gone."""
    if then is now:
        return []
    # Nearly all are the very objects that they were.
    found = [k for k, v in now.items() if (w := then.get(k)) is not v and w != v]
    if len(then) + sum(key not in then for key in found) != len(now):
        found.extend(key for key in then if key not in now)
    return found
