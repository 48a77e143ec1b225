"""Functions and classes in a walk.

What is installed is a name. What the user is writing is its content: the code (see `codefacts`)
with defaults, closure and attributes; a class with its bases and what is in it. Where a value
refers to a definition of the notebook by name, or to one that can be imported from the project, the
digest of its content is folded in, but the mutable objects in it are not the value's.
"""

from __future__ import annotations

import abc
import enum
import functools
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from ..record import IMPORTED, SEEDING, AccessPath
from . import codefacts, origins
from .tokens import Token, text
from .walk import Walk

HEAP_TYPE = 1 << 9
PLACE_KEYS = frozenset(
    {"__doc__", "__module__", "__dict__", "__weakref__", "__qualname__", "__firstlineno__"}
    | {"__static_attributes__", "__slotnames__", "__abstractmethods__", "__annotations_cache__"}
    | {"_abc_impl", "_abc_registry", "_abc_cache", "_abc_negative_cache"}
    | {"_abc_negative_cache_version"}
)
"""What Python puts into a class that says where it stands, or that it only remembers."""
ENUM_KEYS = frozenset(
    {"_member_names_", "_member_map_", "_value2member_map_", "_new_member_", "_use_args_"}
    | {"_unhashable_values_", "_hashable_values_", "_unhashable_values_map_", "_member_type_"}
    | {"_generate_next_value_", "_value_repr_", "_flag_mask_", "_all_bits_", "_singles_mask_"}
    | {"_boundary_", "_inverted_", "__new__", "_use_args_"}
)
HIDDEN_READS = frozenset({"__name__", "__annotations__", "__conditional_annotations__"})


def walk_definition(walk: Walk, obj: object) -> None:
    """A function or a class."""
    token = class_token(walk, obj)
    if token is not None:
        walk.emit(token)
        return
    number = walk.number(obj)
    if number is not None:
        items = class_items(obj) if isinstance(obj, type) else function_items(walk, obj)
        walk.push(list(items), parent=number)


def class_token(walk: Walk, obj: object) -> bytes | None:
    """The token of a function or class that is referred to; None for one held by value."""
    installed = walk.findings.installed
    token = installed.get(id(obj))
    if token is not None:
        return token
    if is_referred(walk, obj):
        return refer(walk, obj)
    token = _installed(obj)
    if token is not None:
        installed[id(obj)] = token
        walk.findings.alive.append(obj)
    return token


def is_referred(walk: Walk, obj: object) -> bool:
    """Whether a value holds this by its name: a definition of the notebook or of the project."""
    if walk.is_inside or obj is walk.root:
        return False
    return id(obj) in walk.findings.definitions or _is_imported(obj)


def refer(walk: Walk, obj: object) -> bytes:
    """A token for a definition by its content; its name is noted."""
    findings = walk.findings
    if id(obj) in findings.definitions:
        findings.needs.add(findings.definitions[id(obj)])
    token = findings.named.get(id(obj))
    if token is None:
        token = findings.named[id(obj)] = b"D" + walk.inner(obj).run()
        findings.alive.append(obj)
    return token


def _installed(obj: Any) -> bytes | None:
    """The token of what a name is enough for, or None."""
    module = getattr(obj, "__module__", None)
    qualname = getattr(obj, "__qualname__", None)
    if isinstance(obj, type) and not obj.__flags__ & HEAP_TYPE:
        return b"G" + text(f"{module}.{qualname}")
    if origins.is_own(module) or not origins.importable(obj, module, qualname):
        return None
    return b"G" + text(f"{module}.{qualname}")


def _is_imported(obj: Any) -> bool:
    if not isinstance(obj, (type, types.FunctionType)):
        return False
    module = obj.__module__
    if module == origins.NOTEBOOK or not origins.is_own(module):
        return False
    return origins.importable(obj, module, getattr(obj, "__qualname__", None))


# --- functions -----------------------------------------------------------------------------------


def function_items(walk: Walk, obj: Any) -> Iterator[object]:
    """What a function is made of; the globals that it reads and assigns are noted."""
    facts = codefacts.facts(obj.__code__)
    note_globals(walk, facts, str(obj.__globals__.get("__name__", "")))
    yield Token(b"F" + facts.digest.encode() + text(obj.__name__))
    yield obj.__defaults__
    yield from _pairs(b"k", (obj.__kwdefaults__ or {}).items())
    yield Token(b"c%d:" % len(obj.__closure__ or ()))
    yield from obj.__closure__ or ()
    attributes = [pair for pair in obj.__dict__.items() if pair[0] not in PLACE_KEYS]
    yield from _pairs(b"d", attributes)
    annotate = getattr(obj, "__annotate__", None)
    if annotate is not None:  # 3.14: annotations are code, not run until somebody asks
        yield annotate
    else:
        yield from _pairs(b"a", obj.__annotations__.items())


def note_globals(walk: Walk, facts: codefacts.CodeFacts, module: str) -> None:
    """Note what code of this module reads and writes, if it is the user's own."""
    if not origins.is_own(module):
        return
    prefix = "" if module == origins.NOTEBOOK else f"{module}."
    reads = [path for path in facts.reads if path.name not in HIDDEN_READS]
    if prefix:  # what a module imports, at its top or later, is known from its source
        reads = [path for path in reads if not path.name.startswith(IMPORTED)]
    walk.findings.reads.update(
        AccessPath(path.name if path.name == SEEDING else prefix + path.name, path.parts)
        for path in reads
    )
    walk.findings.writes.update(prefix + name for name in facts.writes)


def _pairs(tag: bytes, pairs: Iterable[tuple[object, object]]) -> Iterator[object]:
    found = list(pairs)
    yield Token(tag + b"%d:" % len(found))
    for key, value in found:
        yield key
        yield value


# --- classes -------------------------------------------------------------------------------------


def class_items(cls: Any) -> Iterator[object]:
    """What a class is made of. The order of its attributes does not count."""
    yield Token(b"C" + text(cls.__name__))
    yield type(cls)
    yield Token(b"p%d:" % len(cls.__bases__))
    yield from cls.__bases__
    skipped = PLACE_KEYS
    if isinstance(cls, enum.EnumMeta):
        members: dict[str, Any] = dict(cls.__members__)
        skipped = skipped | ENUM_KEYS | members.keys()
        yield from _pairs(b"e", [(name, member.value) for name, member in members.items()])
    found = [
        (key, value)
        for key, value in sorted(vars(cls).items())
        if key not in skipped and not isinstance(value, SLOT_TYPES)
    ]
    yield from _pairs(b"d", found)
    if isinstance(cls, abc.ABCMeta):
        registered = frozenset(one for one in _registered(cls) if one is not None)
        if registered:
            yield from (Token(b"r"), registered)


def _registered(cls: abc.ABCMeta) -> list[type | None]:
    """The classes that count as subclasses because `register` was called: known to C alone."""
    registry, *_ = abc._get_dump(cls)  # type: ignore[attr-defined]  # noqa: SLF001
    return [reference() for reference in registry]


SLOT_TYPES = (types.MemberDescriptorType, types.GetSetDescriptorType)
"""What `__slots__` makes; the slots themselves are counted under that name."""


def walk_cell(walk: Walk, obj: object) -> None:
    """A closure's cell: functions that share one see each other's assignments."""
    assert isinstance(obj, types.CellType)
    number = walk.number(obj)
    if number is None:
        return
    try:
        content = (Token(b"l"), obj.cell_contents)
    except ValueError:  # empty: the name is not bound yet
        walk.emit(b"0")
    else:
        walk.push(content, parent=number)


def walk_code(walk: Walk, obj: object) -> None:
    """A code object by itself."""
    assert isinstance(obj, types.CodeType)
    walk.emit(b"K" + codefacts.facts(obj).digest.encode())


def walk_property(walk: Walk, obj: object) -> None:
    """A property: its three functions."""
    assert isinstance(obj, property)
    walk.seal(obj, [Token(b"P"), obj.fget, obj.fset, obj.fdel])


def walk_cached(walk: Walk, obj: object) -> None:
    """A cached property: its function. Up to Python 3.11 it has a lock, which is none of it."""
    assert isinstance(obj, functools.cached_property)
    walk.seal(obj, [Token(b"Q"), obj.func, obj.attrname])


def walk_wrapped(walk: Walk, obj: object) -> None:
    """A static or class method: the function in it."""
    assert isinstance(obj, (staticmethod, classmethod))
    walk.seal(obj, [Token(b"W" + text(type(obj).__name__)), obj.__func__])


def walk_method(walk: Walk, obj: object) -> None:
    """A bound method: its function and what it is bound to."""
    assert isinstance(obj, types.MethodType)
    walk.seal(obj, [Token(b"m" + text(obj.__func__.__name__)), obj.__self__, obj.__func__])


def walk_descriptor(walk: Walk, obj: object) -> None:
    """A method or attribute of a class that is written in C."""
    descriptor: Any = obj
    owner = descriptor.__objclass__
    name = f"{owner.__module__}.{owner.__qualname__}.{descriptor.__name__}"
    walk.emit(b"g" + text(name))


def walk_module(walk: Walk, obj: object) -> None:
    """A module: its name. What is read of it is told by those who read it.

    One that nobody can import by its name is what it holds, as an instance is.
    """
    assert isinstance(obj, types.ModuleType)
    walk.emit(b"M" + text(obj.__name__))
    if sys.modules.get(obj.__name__) is obj:
        return
    number = walk.number(obj)
    if number is not None:
        items = [item for item in vars(obj).items() if item[0] not in _MACHINERY]
        walk.push([part for item in items for part in item], parent=number)


_MACHINERY = frozenset({"__builtins__", "__loader__", "__spec__", "__cached__"})
"""What the import system leaves in a module."""


HANDLERS = {
    types.FunctionType: walk_definition,
    types.CellType: walk_cell,
    types.CodeType: walk_code,
    types.MethodType: walk_method,
    types.ModuleType: walk_module,
    types.MemberDescriptorType: walk_descriptor,
    types.GetSetDescriptorType: walk_descriptor,
    types.WrapperDescriptorType: walk_descriptor,
    types.MethodDescriptorType: walk_descriptor,
    types.ClassMethodDescriptorType: walk_descriptor,
    property: walk_property,
    functools.cached_property: walk_cached,
    staticmethod: walk_wrapped,
    classmethod: walk_wrapped,
}
