"""Where a value cannot be pickled: looked for only when it has failed, by taking it apart again.

Pickle says which type it refused, and not where it sits. The walk here takes objects apart as the
packer does, breadth first, and names the first that cannot be: `generator at xs[2].gen`.
"""

from __future__ import annotations

import copyreg
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from . import rebuild
from .handlers import is_of_handler

LIMIT: Final = 1_000_000
"""Objects looked at before the walk gives up and names the root alone."""

_ATOMS: Final = frozenset((int, float, complex, bool, str, bytes, bytearray, type(None)))

Reduce = Callable[[Any], Any]


class Flaw(Struct, frozen=True):
    """The type that cannot be pickled, the path to it, and what pickle says."""

    kind: str
    where: str
    reason: str


def find(values: Mapping[str, object], reduce: Reduce, table: Mapping[Any, Reduce]) -> Flaw | None:
    """The first flaw in `values`, or None if each object can be taken apart by itself.

    `reduce` and `table` are the packer's `reducer_override` and dispatch table.
    """
    waiting = deque((name, value) for name, value in values.items())
    seen: dict[int, object] = {}
    while waiting and len(seen) < LIMIT:
        where, value = waiting.popleft()
        if type(value) in _ATOMS or id(value) in seen:
            continue
        seen[id(value)] = value
        try:
            waiting.extend(_parts(where, value, reduce, table))
        except Exception as error:  # a user's __reduce__ may raise anything
            if is_of_handler(error):
                raise
            return Flaw(type(value).__name__, where, str(error))
    return None


def _parts(where: str, value: Any, reduce: Reduce, table: Mapping[Any, Reduce]) -> Iterable[Any]:
    kind = type(value)
    if kind in (list, tuple):
        return [(f"{where}[{at}]", item) for at, item in enumerate(value)]
    if kind is dict:
        return _entries(where, value.items())
    if kind in (set, frozenset):
        return [(f"{where}{{{short(item)}}}", item) for item in value]
    made = reduce(value)
    if made is NotImplemented:
        made = table[kind](value) if kind in table else _default(value)
    if isinstance(made, str):
        _by_name(value, made)
        return ()
    return list(_reduced(where, value, made))


def _default(value: Any) -> Any:
    if isinstance(value, (type, types.FunctionType)):
        return value.__qualname__
    reducer = copyreg.dispatch_table.get(type(value))
    return reducer(value) if reducer is not None else value.__reduce_ex__(5)


def _by_name(value: Any, name: str) -> None:
    module = getattr(value, "__module__", None)
    found: Any = sys.modules.get(module or "")
    if found is None:
        return  # pickle looks through all modules for it
    for part in name.split("."):
        found = getattr(found, part)
    if found is not value:
        raise TypeError(f"it is not what {module}.{name} stands for")


def _reduced(where: str, value: Any, made: tuple[Any, ...]) -> Iterator[Any]:
    padded: list[Any] = [*made, None, None, None, None]
    function, args, state, listed, pairs = padded[:5]
    yield where, function
    if isinstance(value, types.FunctionType) and function is rebuild.function:
        names = value.__code__.co_freevars
        cells = value.__closure__ or ()
        yield from ((f"{where}.{name}", cell) for name, cell in zip(names, cells, strict=True))
        yield from ((f"{where}.{name}", item) for name, item in state[0].items())
    else:
        yield from ((where, item) for item in args)
        yield from _state(where, state[0] if function is rebuild.cell and state else state)
    if listed is not None:
        yield from ((f"{where}[{at}]", item) for at, item in enumerate(listed))
    if pairs is not None:
        yield from _entries(where, pairs)


def _state(where: str, state: Any) -> Iterator[Any]:
    for part in state if type(state) is tuple and len(state) == 2 else (state,):
        if type(part) is dict:
            yield from ((f"{where}.{name}", item) for name, item in part.items())
        else:
            yield where, part


def _entries(where: str, pairs: Any) -> Iterator[Any]:
    for key, item in pairs:
        yield f"{where}[{short(key)}]", item
        yield f"{where}[{short(key)}]", key


def short(key: object) -> str:
    """A key as a path shows it; only builtin ones are asked for their repr."""
    text = repr(key) if type(key) in _ATOMS or type(key) is tuple else f"<{type(key).__name__}>"
    return text if len(text) <= 40 else f"{text[:37]}..."
