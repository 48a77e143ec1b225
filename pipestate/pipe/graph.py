"""Who makes a name, and what it stands for at a place.

Pure: records in, answers out. A job is a row of steps in their places. What a name *stands for*
before a step is the version that the nearest step above it left of it, found by folding the
records in force from the top (`layers` finds it without). What a step may do to a name is told by
what it left last time and by what its source, as last seen, could bind or change. The unit is the
version of a component, after Kishu's co-variables (Li et al., VLDB 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from ..record import VALUE, Digest, Record, Version


class Held(NamedTuple):
    """A version, the step that made it, and the record that holds it."""

    maker: str
    record: Digest
    version: Version


Standing = Mapping[str, Held]
"""What each name stands for at a place; a name that is missing stands for nothing."""


class Touches(Struct, frozen=True):
    """What a step's source says that it may do: names it reads, and names it may bind or change."""

    reads: frozenset[str]
    binds: frozenset[str]
    changes: frozenset[str]

    @property
    def makes(self) -> frozenset[str]:
        """The names that it binds or changes."""
        return self.binds | self.changes


def above(order: Sequence[str], step: str | None) -> tuple[str, ...]:
    """The steps above `step` in their places; all of them for None or a step that has no place."""
    return tuple(order[: order.index(step)]) if step in order else tuple(order)


def leave(held: dict[str, Held], step: str, digest: Digest, record: Record) -> None:
    """Change `held` as running the step that left `record` would."""
    for name in record.gone:
        held.pop(name, None)
    for version in record.outputs:
        for name in version.names:
            if name != VALUE:
                held[name] = Held(step, digest, version)


def in_force(
    name: str, digest: Digest, heads: Mapping[str, Digest], record: Callable[[Digest], Record]
) -> bool:
    """Whether some step, by its record in force, left this version of a name."""
    return any(
        version.names.get(name) == digest
        for head in heads.values()
        for version in record(head).outputs
    )


def reach(names: Iterable[str], reads: Callable[[str], Iterable[str]]) -> frozenset[str]:
    """`names` and all that the code in their values reads in turn."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(reads(name))
    return frozenset(found)
