"""Components that each came out as they were, and yet hang together in what stands now.

A name keeps its object while a later step's version holds what its own step made, unchanged. Two
names of which the later step made one object hold each what they should, but not both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..record import Version
from ..store import digests
from .bindings import Binding


def joined(
    bindings: Mapping[str, Binding | None], components: Iterable[Sequence[str]]
) -> frozenset[str]:
    """The names of all those components that share objects with another one in their bindings."""
    within: dict[tuple[str, frozenset[str]], tuple[Version, list[Sequence[str]]]] = {}
    for names in components:
        known = bindings.get(names[0])
        if known is not None and known.version is not None and len(known.version.names) > 1:
            key = (known.version.digest, frozenset(known.version.names))
            within.setdefault(key, (known.version, []))[1].append(names)
    return frozenset(
        name
        for version, some in within.values()
        if digests.joined(version.shares, some)
        for names in some
        for name in names
    )
