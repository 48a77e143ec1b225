"""Would running a definition's statement again do more than define? Then it must not be run again.

A decorator that registers, a metaclass or an `__init_subclass__` that keeps a list: the statement
acts on objects of the notebook, so neither proving it nor loading it may call it. Read from the
bytecode, with what is known of names alone; in doubt it counts as acting.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

_ACTS = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_GLOBAL", "DELETE_GLOBAL"})
_CHANGERS = frozenset(
    "add append appendleft clear discard extend insert pop popitem register remove setdefault "
    "update write print open exec eval".split()
)
_HOOKS = ("__new__", "__init__", "__prepare__", "__init_subclass__", "__set_name__")


def of_statement(value: object, needs: Iterable[str], ns: Mapping[str, Any]) -> str:
    """The function of the notebook that running a statement again would call, and that acts; or "".

    `needs` are the names that the statement reads when it runs: decorators, bases, defaults.
    """
    called = [one for one in map(ns.get, needs) if isinstance(one, types.FunctionType)]
    return next((one.__qualname__ for one in called if _acts(one)), "") or of_class(value)


def of_class(value: object) -> str:
    """The method of the notebook that making a class calls, if it acts on more than it; or ""."""
    if not issubclass(type(value), type):  # isinstance would ask the value for its class
        return ""
    return next((one.__qualname__ for one in _makers(cast(type, value)) if _acts(one)), "")


def _makers(cls: type) -> Iterator[types.FunctionType]:
    """The functions of the notebook that run when a class statement does."""
    attributes = [type(one) for one in vars(cls).values()]
    metaclass: type = type(cls)
    owners = [*metaclass.__mro__, *cls.__mro__[1:], *attributes]
    for owner in owners:
        if getattr(owner, "__module__", None) != "__main__":
            continue
        hooks = _HOOKS if issubclass(owner, type) else _HOOKS[3:]
        for name in hooks:
            found = vars(owner).get(name)
            found = getattr(found, "__func__", found)
            if isinstance(found, types.FunctionType):
                yield found


def _acts(function: types.FunctionType) -> bool:
    return getattr(function, "__module__", None) == "__main__" and _code_acts(function.__code__)


@functools.lru_cache(maxsize=1024)
def _code_acts(code: types.CodeType) -> bool:
    for one in dis.get_instructions(code):
        if one.opname in _ACTS or (one.argval in _CHANGERS and one.opname.startswith("LOAD_")):
            return True
    return any(_code_acts(one) for one in code.co_consts if isinstance(one, types.CodeType))
