"""Functions of the notebook and of the project, kept by value and bound to live globals.

A function that is found by its name in an importable module is kept as that name. Others are kept
as their code; but unlike cloudpickle, which gives each a copy of the globals that it reads, they
are bound on loading to the globals that they had: the notebook's, or their module's. A cell of a
closure is an object of its own, so two closures over one variable go on sharing it.
"""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

from . import origins, rebuild


def is_importable(obj: Any) -> bool:
    """Whether a function is what its module has under its name."""
    name = getattr(obj, "__module__", None)
    module = origins.module_named(name)
    if module is None or name == "__main__":
        return False
    found: Any = module
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def globals_token(function: types.FunctionType, namespace: dict[str, Any] | None) -> object | None:
    """What stands for the globals of a function in a pack; None if they have to be copied."""
    held = function.__globals__
    main = vars(sys.modules["__main__"]) if "__main__" in sys.modules else None
    if held is namespace:
        return rebuild.NAMESPACE
    if held is main:
        # Nobody who loads what a script has set has that script's globals.
        is_scripts = namespace is not None and not hasattr(builtins, "__IPYTHON__")
        return None if is_scripts else rebuild.NAMESPACE
    name = held.get("__name__")
    if namespace is None and name == "__main__":
        return rebuild.NAMESPACE
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is not None and vars(module) is held:
        return rebuild.ModuleGlobals(module.__name__)
    return None


def function_reduction(function: types.FunctionType, token: object) -> tuple[Any, ...]:
    """A function as its code over the globals that `token` stands for."""
    state = {
        "__name__": function.__name__,
        "__qualname__": function.__qualname__,
        "__module__": function.__module__,
        "__doc__": function.__doc__,
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__type_params__": getattr(function, "__type_params__", ()),
    }
    # From Python 3.14 on annotations are computed when asked for, and may not be computable yet.
    lazily = "__annotate__"
    notes = lazily if hasattr(function, lazily) else "__annotations__"
    state[notes] = getattr(function, notes)
    kept = {name: value for name, value in state.items() if value}
    made = (function.__code__, token, function.__name__, function.__closure__)
    attributes = function.__dict__ or None
    return rebuild.function, made, (kept, attributes), None, None, rebuild.set_function


def cell_reduction(cell: types.CellType) -> tuple[Any, ...]:
    """A variable of a closure. Its content comes after it, as it may hold the closure itself."""
    try:
        content = (cell.cell_contents,)
    except ValueError:  # not bound (yet)
        return rebuild.cell, ()
    return rebuild.cell, (), content, None, None, rebuild.set_cell
