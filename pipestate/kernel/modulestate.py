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
from typing import Any, Final, TypeVar

from msgspec import Struct

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
_PARTS: Final = (
    *(property, classmethod, staticmethod, functools.cached_property),
    *(types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType),
)
"""Types of what classes are made of, beside functions."""
_IN_PLACE: Final = (dict, list, set, bytearray)
_SMALL: Final = 2**10
"""Bytes of an immutable value up to which it is remembered, and so kept from being freed."""


class Pickled(Struct, frozen=True):
    """A value of a module as it was at one moment."""

    data: bytes

    def canonical(self) -> tuple[str, str]:
        """What is equal for equal contents, in every process."""
        from ..store import content, digests  # the engine: the extension is loaded without it

        try:
            return "pickled", digests.stream(self.value()).digest
        except Exception:  # noqa: BLE001 - a class that is there no more, or that cannot be made
            return "bytes", content.digest(self.data)

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


class _Bounded:
    """Bytes that are written, up to the bound."""

    __slots__ = ("nbytes", "parts")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.nbytes = 0

    def write(self, data: Any, /) -> int:
        part = data if type(data) is bytes else bytes(memoryview(data)[: BOUND + 1])
        self.nbytes += len(part)
        if self.nbytes > BOUND:
            raise OverflowError
        self.parts.append(part)
        return len(part)


class _Look(Struct, frozen=True):
    """What a module or a class held when all of it was looked at.

    While it holds the same objects under the same names, `settled` is what the immutable ones among
    them give, and only the `classes` and those called `open` can have changed. `held` keeps the
    others alive, so that no new object gets the id of one of them.
    """

    names: list[str]
    ids: list[int]
    settled: dict[str, object]
    open: tuple[str, ...]
    classes: tuple[tuple[str, type], ...]
    held: tuple[object, ...]


# The process has one set of modules: which of them are the project's, as far as they were looked
# at, what they and their classes held then, and what their globals were right after their import.
_looked_at: set[str] = set()
_project: list[str] = []
_looks: dict[str, _Look] = {}
_born: dict[str, object] = {}
_loaders: list[Callable[[Iterable[str]], None]] = []


Taken = dict[int, tuple[object, bytes | None]]
"""Objects with their bytes, by id, as they are at one moment."""


def load_with(load: Callable[[Iterable[str]], None]) -> None:
    """What loads the names of the notebook, from now on."""
    _loaders[:] = [load]


def take() -> dict[str, object]:
    """The globals of the project's modules by `module.name`; costs nothing where there are none."""
    _look()
    found: dict[str, object] = {}
    known: Taken = {}
    for name in _project:
        module = sys.modules.get(name)
        if isinstance(module, types.ModuleType):
            _take_globals(name, module, found, known)
    return found


def _look() -> None:
    if len(_looked_at) != len(sys.modules):
        now = sys.modules.copy()  # threads may go on importing
        for name in [name for name in now if name not in _looked_at]:
            if isinstance(now[name], types.ModuleType) and packages.is_project_module(name):
                _project.append(name)
        _looked_at.clear()
        _looked_at.update(now)
        _project[:] = dict.fromkeys(name for name in _project if name in now)
        _looks.clear()


def _take_globals(
    name: str, module: types.ModuleType, found: dict[str, object], known: Taken
) -> None:
    """Add what a module holds that counts."""
    now = vars(module).copy()
    look = _looked(f"{name}.", now, _is_immutable)
    found.update(look.settled)
    for key in look.open:
        value = now[key]
        if type(value) in _ATOMS:
            found[f"{name}.{key}"] = value
        elif not issubclass(type(value), _CODE):
            _take_bytes(f"{name}.{key}", value, found, known)
        elif issubclass(type(value), type) and value.__module__ == module.__name__:
            _take_attributes(f"{name}.{key}:", value, found, known)
    for key, owner in look.classes:
        if owner.__module__ == module.__name__:
            _take_attributes(f"{name}.{key}:", owner, found, known)


def _take_attributes(prefix: str, owner: type, found: dict[str, object], known: Taken) -> None:
    """Add what a class holds that its instances share and may change."""
    if isinstance(owner, enum.EnumMeta):
        return
    now = vars(owner).copy()
    look = _looked(prefix, now, _is_atom)
    found.update(look.settled)
    for key in look.open:
        value = now[key]
        if type(value) in _ATOMS:
            found[prefix + key] = value
        elif type(value) in _IN_PLACE:
            _take_bytes(prefix + key, value, found, known)


def _is_code(value: object) -> bool:
    return issubclass(type(value), _CODE) or type(value) in _PARTS


def _looked(prefix: str, now: dict[str, Any], is_settled: Callable[[object], bool]) -> _Look:
    """A look at what somebody holds: the last one, while they are the same objects. `is_settled`
    tells which of them count and can never change."""
    known, ids = _looks.get(prefix), list(map(id, now.values()))
    if known is not None and known.ids == ids and known.names == list(now):
        return known
    settled: dict[str, object] = {}
    classes = {key: value for key, value in now.items() if issubclass(type(value), type)}
    is_open, held = [], []
    for key, value in now.items():
        counts_not = key.startswith("__") or _is_code(value)
        if counts_not or (is_settled(value) and _is_taken(value, settled, prefix + key)):
            held.append(value)
        else:
            is_open.append(key)
    _looks[prefix] = _Look(
        list(now), ids, settled, tuple(is_open), tuple(classes.items()), tuple(held)
    )
    return _looks[prefix]


def _is_taken(value: object, settled: dict[str, object], key: str) -> bool:
    """Whether an object is small enough to be held on to: then what it gives is taken once."""
    if _is_atom(value):
        if sys.getsizeof(value) > _SMALL:
            return False
        settled[key] = value
        return True
    data = _bytes_of(value)
    if data is None or len(data) > _SMALL:
        return False
    settled[key] = Pickled(data)
    return True


def _is_atom(value: object) -> bool:
    return type(value) in _ATOMS


def _is_immutable(value: Any, depth: int = 3) -> bool:
    if type(value) in (tuple, frozenset):
        return depth > 0 and all(_is_immutable(item, depth - 1) for item in value)
    return type(value) in _ATOMS


def _take_bytes(key: str, value: object, found: dict[str, object], known: Taken) -> None:
    if id(value) not in known:  # what modules import from each other they all hold
        known[id(value)] = value, _bytes_of(value)
    data = known[id(value)][1]
    if data is not None:
        found[key] = Pickled(data)


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
            _take_globals(name, module, _born, {})


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
