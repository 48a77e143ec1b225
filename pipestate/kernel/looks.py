"""Values taken apart: what objects in memory are as versions now, beside what was known of them."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from itertools import compress
from typing import Any, Final

from ..record import VALUE, Version
from ..store import digests, versions
from ..store.phases import Phase
from ..store.versions import Component, Source

_DEFINITIONS: Final = (types.FunctionType, type)


def is_own(value: object) -> bool:
    """Whether it is a function or a class of the notebook."""
    # Not isinstance: that asks the value for its class, and any object of the user's is met here.
    is_definition = issubclass(type(value), _DEFINITIONS)
    return is_definition and getattr(value, "__module__", None) == "__main__"


def own(values: Mapping[str, Any]) -> dict[int, str]:
    """The functions and classes of the notebook among its values: the name of each, by its id."""
    found: dict[int, str] = {}
    kinds = {kind for kind in set(map(type, values.values())) if issubclass(kind, _DEFINITIONS)}
    are = map(kinds.__contains__, map(type, values.values()))
    for name in compress(values, are) if kinds else ():
        value = values[name]
        if is_own(value) and (id(value) not in found or value.__name__ == name):
            found[id(value)] = name
    return found


def is_same(known: Version | None, now: Version, name: str) -> bool:
    """Whether a look found what was known: the component whole, or the part of it still bound."""
    if known is None or now.names.get(name) != known.names.get(name):
        return False
    if known.digest == now.digest:
        return True
    if not now.names.keys() <= known.names.keys():
        return False
    joint = digests.joint_of(known.names, known.shares, sorted(now.names))
    return joint == now.digest


def look(
    values: Mapping[str, object],
    sources: Mapping[str, tuple[Source, Any]],
    definitions: Mapping[int, str],
    phase: Phase,
    *,
    needed: Callable[[str], str],
    resolve: Callable[[str], object],
    lost: str = "",
) -> list[tuple[Component, Version]]:
    """Values by name, taken apart into components, each with the version that it is now."""
    streams = {
        name: digests.stream(
            value,
            name=name,
            definitions=without(definitions, name, value),
            buffer_digest=phase.digest,
        )
        for name, value in values.items()
    }
    found = []
    for names in digests.components(streams):
        own = {id(values[name]) for name in names}
        component = Component(
            values={name: values[name] for name in sorted(names)},
            streams={name: streams[name] for name in sorted(names)},
            source=_source(sources, names, values),
            definitions={k: n for k, n in definitions.items() if k not in own},
            needed=needed,
            resolve=resolve,
        )
        found.append((component, versions.describe(component, lost=lost)))
    return found


def without(definitions: Mapping[int, str], name: str, value: object) -> Mapping[int, str]:
    """The definitions that a root refers to: all but itself."""
    if definitions.get(id(value)) != name:
        return definitions
    return {key: known for key, known in definitions.items() if key != id(value)}


def _source(
    sources: Mapping[str, tuple[Source, Any]], names: frozenset[str], values: Mapping[str, object]
) -> Source | None:
    if len(names) != 1 or VALUE in names:
        return None
    (name,) = names
    source, made = sources.get(name, (None, None))
    return source if source is not None and made is values[name] else None
