"""What the lines of a job's steps say, as last seen, told anew only for those that changed.

Pure, as `layers` is, and for the same reason: a cell must not cost a look at each of the lines.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from ..cell.source import parse_line
from ..record import Seen
from .deltas import differing


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
