"""What a block of code does with the globals, as it is found, and how such findings meet.

A state holds the names whose earlier meaning is surely out of sight, bound or deleted. What a
function's body does is found once, seen from nowhere in particular, and counted (`merge`) with the
state that holds where the function may first run: what comes later only hides more of the past.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from ..record import AccessPath
from .scopes import Scope

LOOK: Final = 0
KEEP: Final = 1
WRITE: Final = 2
"""Uses of a value: it is looked at; something may hold it, or a part of it, afterwards; code that
may change it is handed it."""

State = dict[str, bool | None]
"""Names whose earlier meaning is surely out of sight: bound (True), deleted (False), or either."""

End = tuple[State, bool]
"""A state after some statements, and whether it is out of reach."""


class Facts(Struct):
    """What one block of code, or a function's body, does with the globals.

    `touched` are bound or deleted, `deleted` the latter; `late_bound` and `late_deleted` are so by
    functions, at times unknown. `loads` are mentions of names that the cell defines, with what
    holds at all of them; `flags` what is true of the whole.
    """

    reads: set[AccessPath] = field(default_factory=set)
    called: set[AccessPath] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    late_bound: set[str] = field(default_factory=set)
    late_deleted: set[str] = field(default_factory=set)
    mentions: set[str] = field(default_factory=set)
    loads: dict[str, State] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


def merge(facts: Facts, inner: Facts, state: State) -> None:
    """Count what a function's body does as done where `state` holds."""
    facts.reads.update(path for path in inner.reads if path.name not in state)
    facts.called.update(path for path in inner.called if path.name not in state)
    facts.writes.update(inner.writes.difference(state))
    facts.kept.update(inner.kept.difference(state))
    facts.touched |= inner.touched
    facts.late_bound |= inner.late_bound
    facts.late_deleted |= inner.late_deleted
    facts.mentions |= inner.mentions
    facts.flags |= inner.flags - {"async"}
    for name, seen in inner.loads.items():
        here = state | seen
        facts.loads[name] = meet(facts.loads[name], here) if name in facts.loads else here


def key_of(scope: Scope | None, name: str) -> str:
    """Under which a name stands in a state; for a class's own no identifier, so no clash."""
    return name if scope is None or scope.parent is None else f"{id(scope)}.{name}"


def meet(one: State, other: State) -> State:
    """What holds whichever of two ways was taken."""
    return {
        name: value if other[name] is value else None
        for name, value in one.items()
        if name in other
    }
