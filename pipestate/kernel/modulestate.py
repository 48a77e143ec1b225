"""What project modules hold beside their code: globals that a step may set, or a function may fill.

So do the classes of a module: `count` of `helpers.Box` goes by the key `helpers.Box:count`, where
it is a number, a text or a container.

A number or a text is taken as it is, anything else that can be pickled as its bytes, up to a bound:
it may be changed in place. Functions, classes, modules and types are code, which counts by its
source.
What cannot be pickled, and what is beyond the bound, is not followed.
"""

from __future__ import annotations
import __future__

import enum
import functools
import io
import pickle
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from . import packages

T = TypeVar("T")

GROUP: Final = "module"
KEY: Final = f"{GROUP}:"
BOUND: Final = 2**20
"""Bytes of one global's pickle up to which it is followed: it is taken twice in each step."""

_ATOMS: Final = frozenset((int, float, complex, str, bytes, bool, type(None)))
_CODE: Final = (
    *(types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, type),
    *(types.GenericAlias, typing.TypeVar, typing.ParamSpec),
    *(type(functools.lru_cache(len)), type(__future__.annotations)),
)
_IN_PLACE: Final = (dict, list, set, bytearray)


@dataclass(frozen=True, slots=True)
class Pickled:
    """A value of a module as it was at one moment."""

    data: bytes

    def canonical(self) -> tuple[str, str]:
        """What is equal for equal contents, in every process."""
        from ..store import blobs, digests  # the engine: the extension is loaded without it

        try:
            return "pickled", digests.stream(self.value()).digest
        except Exception:  # noqa: BLE001 - a class that is there no more, or that cannot be made
            return "bytes", blobs.digest(self.data)

    def value(self) -> Any:
        """The value made anew; it may hold what the notebook defines, which is loaded for it."""
        return _Unpickler(io.BytesIO(self.data)).load()


class _Unpickler(pickle.Unpickler):
    """Finds also what the notebook defines, and has not loaded yet."""

    def find_class(self, module: str, name: str, /) -> Any:
        first = name.partition(".")[0]
        if module == "__main__" and first not in vars(sys.modules[module]):
            for load in _loaders:
                load([first])
        return super().find_class(module, name)


class _Bounded(io.RawIOBase):
    """Bytes that are written, up to the bound."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.nbytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        part = bytes(memoryview(data)[: BOUND + 1])
        self.nbytes += len(part)
        if self.nbytes > BOUND:
            raise OverflowError
        self.parts.append(part)
        return len(part)


# The process has one set of modules: which of them are the project's, as far as they were looked
# at, and what their globals were right after their import.
_looked_at: set[str] = set()
_project: list[str] = []
_born: dict[str, object] = {}
_loaders: list[Callable[[Iterable[str]], None]] = []


def load_with(load: Callable[[Iterable[str]], None]) -> None:
    """What loads the names of the notebook, from now on."""
    _loaders[:] = [load]


def take() -> dict[str, object]:
    """The globals of the project's modules by `module.name`; costs nothing where there are none."""
    _look()
    found: dict[str, object] = {}
    for name in _project:
        module = sys.modules.get(name)
        if isinstance(module, types.ModuleType):
            found |= {f"{name}.{key}": taken for key, taken in _globals(module)}
    return found


def _look() -> None:
    if len(_looked_at) != len(sys.modules):
        for name in [name for name in sys.modules if name not in _looked_at]:
            if isinstance(sys.modules[name], types.ModuleType) and packages.is_project_module(name):
                _project.append(name)
        _looked_at.clear()
        _looked_at.update(sys.modules)
        _project[:] = dict.fromkeys(name for name in _project if name in sys.modules)


def _globals(module: types.ModuleType) -> Iterable[tuple[str, object]]:
    for key, value in list(vars(module).items()):
        if type(value) in _ATOMS:
            if not key.startswith("__"):
                yield key, value
        elif not key.startswith("__") and not issubclass(type(value), _CODE):
            data = _bytes_of(value)
            if data is not None:
                yield key, Pickled(data)
        elif isinstance(value, type) and value.__module__ == module.__name__:
            yield from _attributes(key, value)


def _attributes(name: str, owner: type) -> Iterable[tuple[str, object]]:
    """What a class holds that its instances share and may change."""
    if isinstance(owner, enum.EnumMeta):
        return
    for key, value in list(vars(owner).items()):
        if key.startswith("__"):
            continue
        if type(value) in _ATOMS:
            yield f"{name}:{key}", value
        elif type(value) in _IN_PLACE:
            data = _bytes_of(value)
            if data is not None:
                yield f"{name}:{key}", Pickled(data)


def _bytes_of(value: object) -> bytes | None:
    file = _Bounded()
    try:
        pickle.Pickler(file, 5).dump(value)
    except Exception:  # noqa: BLE001 - whatever a user's own __reduce__ raises
        return None
    return b"".join(file.parts)


def note_born(names: Iterable[str]) -> None:
    """Remember what modules hold that were imported, or loaded anew, just now."""
    for name in names:
        module = sys.modules.get(name)
        if isinstance(module, types.ModuleType) and packages.is_project_module(module):
            for key in [key for key in _born if key.rpartition(".")[0] == name]:
                del _born[key]
            _born.update((f"{name}.{key}", taken) for key, taken in _globals(module))


def born(key: str, default: object) -> object:
    """What a global was right after the import of its module."""
    return _born.get(key, default)


def module_of(key: str) -> str:
    """The module of a key with its group's name."""
    return key.removeprefix(KEY).rpartition(".")[0]


def put(key: str, value: Any) -> None:
    """Give a global its value; containers keep their identity, for others may hold them too."""
    holder, attribute = _holder(key)
    new: Any = value.value() if isinstance(value, Pickled) else value
    old: Any = vars(holder).get(attribute)
    if type(old) is not type(new) or type(old) not in _IN_PLACE:
        setattr(holder, attribute, new)
    elif type(old) in (dict, set):
        old.clear()
        old.update(new)
    else:
        old[:] = new


def take_away(key: str) -> None:
    """Delete a global that was not there before."""
    holder, attribute = _holder(key)
    if attribute in vars(holder):
        delattr(holder, attribute)


def _holder(key: str) -> tuple[Any, str]:
    """The module or class that has a global, and what it is called there."""
    name, _, attribute = key.rpartition(".")
    owner, _, within = attribute.rpartition(":")
    module = sys.modules[name]
    return (getattr(module, owner), within) if owner else (module, attribute)


def without(settings: Mapping[str, T], used: Iterable[str]) -> dict[str, T]:
    """The settings without the globals of modules that are `used`."""
    names = set(used)
    return {k: s for k, s in settings.items() if not k.startswith(KEY) or module_of(k) not in names}


def relevant(settings: Mapping[str, T], used: Iterable[str]) -> dict[str, T]:
    """The settings without the globals of modules that are not `used`."""
    names = set(used)
    return {k: s for k, s in settings.items() if not k.startswith(KEY) or module_of(k) in names}
