"""Values in a form that shows structure, content and which mutable objects are shared.

Independent of pipestate's own walk on purpose: what both got wrong in the same way would not show.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any

_NOISE = {
    "__doc__", "__module__", "__dict__", "__weakref__", "__qualname__", "__firstlineno__",
    "__static_attributes__", "__slotnames__", "__annotations__", "__annotate__",
    "__annotate_func__", "__annotations_cache__", "__annotate_cache__",
    "__conditional_annotations__",
}  # fmt: skip


class Canon:
    """Values as nested tuples: equal ones have the same structure, content and inner sharing.

    Mutable objects are numbered where they are first met; a second meeting gives the number alone.
    Several values put through one Canon show what they share. Functions and classes count by
    content: a definition restored twice may be one object or two, as long as it does the same; what
    they hold (defaults, closures, attributes) counts as any value does.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._owners: dict[int, tuple[int, int]] = {}
        self._alive: list[object] = []
        self._inside: list[int] = []

    def of(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in (int, bool, float, complex, str, bytes):
            return (kind.__name__, repr(value))
        if kind in (tuple, frozenset, set) or isinstance(value, types.ModuleType):
            return self._plain(value, kind)
        if isinstance(value, (types.FunctionType, type)):
            return self._definition(value)
        if id(value) in self._numbers:
            return ("same", self._numbers[id(value)])
        number = self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        return (number, *self._mutable(value, kind))

    def _plain(self, value: Any, kind: type) -> Any:
        if isinstance(value, types.ModuleType):
            return ("module", value.__name__)
        if kind is tuple:
            return ("tuple", *(self.of(item) for item in value))
        items = sorted(repr(Canon().of(item)) for item in value)
        if kind is frozenset:
            return ("frozenset", *items)
        if id(value) in self._numbers:
            return ("same", self._numbers[id(value)])
        number = self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        return (number, "set", *items)

    def _mutable(self, value: Any, kind: type) -> tuple[Any, ...]:
        if kind is list:
            return ("list", *(self.of(item) for item in value))
        if kind is dict:
            return ("dict", *((self.of(k), self.of(v)) for k, v in value.items()))
        if isinstance(value, types.MethodType):
            return ("method", value.__func__.__name__, self.of(value.__self__))
        module = kind.__module__.partition(".")[0]
        if module == "__main__":
            held = _attributes(value)
            items = tuple(map(self.of, value)) if isinstance(value, tuple) else ()
            return ("instance", self.of(kind), self.of(held) if held else (), items)
        if module == "pandas":
            return self._frame(value)
        if module == "numpy":
            return self._array(value)
        if isinstance(value, types.BuiltinFunctionType):
            return ("builtin", value.__name__)
        return ("opaque", kind.__name__, re.sub(r"0x[0-9a-f]+", "0x", repr(value)))

    def _definition(self, value: types.FunctionType | type) -> Any:
        if id(value) in self._inside:  # one that names itself, by its closure or its attributes
            return ("itself", len(self._inside) - self._inside.index(id(value)))
        self._alive.append(value)
        self._inside.append(id(value))
        try:
            return self._class(value) if isinstance(value, type) else self._function(value)
        finally:
            self._inside.pop()

    def _function(self, value: types.FunctionType) -> tuple[Any, ...]:
        if value.__module__ != "__main__":
            return ("library", value.__module__, value.__qualname__)
        cells = []
        for cell in value.__closure__ or ():
            try:
                cells.append(self.of(cell.cell_contents))
            except ValueError:
                cells.append("empty")
        return (
            "function", value.__name__, _code(value.__code__), self.of(value.__defaults__),
            self.of(value.__kwdefaults__), tuple(cells), self.of(dict(vars(value))),
        )  # fmt: skip

    def _class(self, value: type) -> tuple[Any, ...]:
        if value.__module__ != "__main__":
            return ("library", value.__module__, value.__qualname__)
        held = {k: v for k, v in vars(value).items() if k not in _NOISE}
        body = tuple((name, self.of(held[name])) for name in sorted(held))
        return ("class", value.__name__, tuple(self.of(base) for base in value.__bases__), body)

    def _frame(self, value: Any) -> tuple[Any, ...]:
        if hasattr(value, "columns"):
            columns = [(str(c), str(value[c].dtype), value[c].tolist()) for c in value.columns]
            return ("frame", repr(columns), repr(value.index.tolist()))
        if not hasattr(value, "dtype"):
            return ("grouping", type(value).__name__, self._frame(value.obj))
        return ("series", str(getattr(value, "name", "")), str(value.dtype), repr(value.tolist()))

    def _array(self, value: Any) -> tuple[Any, ...]:
        if not hasattr(value, "dtype"):
            return ("random", type(value).__name__, repr(value.bit_generator.state))
        if not hasattr(value, "__array_interface__") or value.ndim == 0:
            return ("scalar", str(value.dtype), repr(value))
        if not value.size:
            return ("array", str(value.dtype), value.shape)
        owner = value
        while getattr(owner, "base", None) is not None:
            owner = owner.base
        address = value.__array_interface__["data"][0]
        number, first = self._owners.setdefault(id(owner), (len(self._owners), address))
        self._alive.append(owner)
        return ("array", number, address - first, str(value.dtype), repr(value.tolist()))


def _attributes(value: object) -> dict[str, Any]:
    """What an instance holds in its dict and its slots."""
    slots = [name for cls in type(value).__mro__ for name in vars(cls).get("__slots__", ())]
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {**held, **getattr(value, "__dict__", {})}


def _code(code: types.CodeType) -> tuple[Any, ...]:
    consts = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (code.co_name, code.co_code.hex(), tuple(consts), *names)


def canon(values: Mapping[str, Any]) -> dict[str, Any]:
    """Each name's value in canonical form; sharing is over all of them together."""
    form = Canon()
    return {name: form.of(values[name]) for name in sorted(values)}
