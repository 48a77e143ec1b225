"""Which names the code in a value can reach."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any


def globals_in(value: Any) -> Iterator[str]:
    """The names in any code that a value holds or is an instance of, without end."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, types.FunctionType):
            waiting += [one.__code__, one.__defaults__, *(vars(one).values())]
            waiting += [c.cell_contents for c in one.__closure__ or ()]
        elif isinstance(one, types.CodeType):
            yield from one.co_names
            waiting += one.co_consts
        elif isinstance(one, (list, tuple, set)):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, type):
            if one.__module__ == "__main__":
                waiting += vars(one).values()
        elif type(one).__module__ == "__main__":
            waiting += [type(one), *vars(one).values()]
