"""The place of one object inside another, in words: `[2].gen`. Only looked for when wanted."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterator

LIMIT = 100_000
"""Objects looked at before the search is given up."""


def path(root: object, target: object) -> str:
    """The shortest way from `root` to `target` by items and attributes, or "" if none is found."""
    seen = {id(root)}
    waiting: deque[tuple[object, str]] = deque([(root, "")])
    while waiting and len(seen) < LIMIT:
        obj, way = waiting.popleft()
        if obj is target:
            return way
        for step, part in _parts(obj):
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append((part, way + step))
    return ""


def _parts(obj: object) -> Iterator[tuple[str, object]]:
    """What lies in an object, without running any code of its type."""
    if isinstance(obj, dict):
        for key, value in dict.items(obj):
            yield f"[{key!r}]" if isinstance(key, (str, int)) else "[...]", value
    elif isinstance(obj, (list, tuple)):
        yield from ((f"[{number}]", item) for number, item in enumerate(obj))
    elif isinstance(obj, (set, frozenset, deque)):
        yield from (("[...]", item) for item in obj)
    elif isinstance(obj, types.CellType):
        try:
            yield "", obj.cell_contents
        except ValueError:
            return
    elif isinstance(obj, types.FunctionType):
        names = obj.__code__.co_freevars
        yield from ((f".{n}", cell) for n, cell in zip(names, obj.__closure__ or (), strict=False))
        yield from ((f".__defaults__[{n}]", item) for n, item in enumerate(obj.__defaults__ or ()))
    if not isinstance(obj, (type, types.ModuleType)):
        yield from _attributes(obj)


def _attributes(obj: object) -> Iterator[tuple[str, object]]:
    try:
        attributes = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        attributes = {}
    if type(attributes) is dict:
        yield from ((f".{name}", value) for name, value in list(attributes.items()))
    for cls in type(obj).__mro__:
        for name, slot in vars(cls).items():
            if isinstance(slot, types.MemberDescriptorType):
                try:
                    yield f".{name}", slot.__get__(obj)
                except (AttributeError, TypeError):  # an empty slot
                    continue
