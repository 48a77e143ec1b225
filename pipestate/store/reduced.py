"""Objects of any other type in a walk: as pickle takes them apart.

`reductions.reduce` is asked first, then `copyreg`'s table, then `__reduce_ex__(5)`, which is how
the packer does it, so that digest and pack speak of the same parts. This runs the pickling hooks
of the user's classes, and nothing else of theirs.
"""

from __future__ import annotations

import array as buffers
import contextlib
import copyreg
import datetime
import decimal
import enum
import fractions
import operator
import pathlib
import re
import sys
import types
import typing
import uuid
import weakref
import zoneinfo
from itertools import chain
from pickle import PickleBuffer
from typing import Any

from . import arrays, containers, definitions, origins
from .handlers import is_of_handler
from .reductions import leaf_bits, leaf_memory, reduce, reducer_of, tensor_kind, tensor_state
from .tokens import Token, text
from .walk import INNER, ROOT, Handler, Walk

IMMUTABLE = (
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, zoneinfo.ZoneInfo),
    *(decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath, re.Pattern, range, slice),
    *(enum.Enum, types.BuiltinFunctionType, types.MethodWrapperType, types.GenericAlias),
    *(types.UnionType, operator.itemgetter, operator.attrgetter, operator.methodcaller),
    *(typing.TypeVar, typing.ParamSpec, typing.ForwardRef, type(typing.Any), type(list[int])),
    *(type(typing.List[int]), type(typing.Optional[int]), type(typing.Optional)),  # noqa: UP006, UP045
)
"""Types, with their subclasses that add no state of their own, whose identity never counts."""

IMMUTABLE_NAMES = (
    *("numpy:generic", "numpy:dtype", "numpy:ufunc"),
    *(
        "pandas:Timedelta",
        "pandas:Period",
        "pandas:Interval",
        "pandas:api.extensions.ExtensionDtype",
    ),
    *("pyarrow:DataType", "pyarrow:Scalar", "pyarrow:Buffer", "pyarrow:Schema", "pyarrow:Field"),
    *("torch:dtype", "torch:device", "torch:Size"),
)
EXTENSIONS = ("pandas:api.extensions.ExtensionArray",)
TENSORS = ("torch:Tensor",)
HOLDERS = {"pandas", "numpy", "pyarrow"}
"""Whose objects, inside a pandas object, are no more than its content."""
SESSION_NAMES = (
    "IPython.core.interactiveshell:InteractiveShell",
    "ipykernel.iostream:OutStream",
    "ipykernel.kernelbase:Kernel",
)
"""What a session consists of. A thread, a handler of logging and `sys.stdout` lead to it, and it to
all that the notebook holds, none of which is a part of them."""
LAZY_NAMES = ("pandas:DataFrame", "pandas:Series", "pandas:Index")
"""Copy-on-write: who holds one never sees what is done to another that shares its memory."""


def select(kind: type) -> Handler:
    """What to do with objects of this type."""
    if issubclass(kind, type):
        return definitions.walk_definition
    known = containers.HANDLERS.get(kind) or definitions.HANDLERS.get(kind) or OTHERS.get(kind)
    if known is not None:
        return known
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind is numpy.ndarray:
        return arrays.walk_array
    if issubclass(kind, IMMUTABLE) or _is_one(kind, IMMUTABLE_NAMES):
        return walk_immutable
    if _is_one(kind, LAZY_NAMES):
        return walk_lazy
    if _is_one(kind, TENSORS):
        return walk_tensor
    if _is_one(kind, SESSION_NAMES):
        return walk_session
    if _is_plain(kind):
        return walk_plain
    return walk_hooked if _has_own_hooks(kind) else walk_object


def _is_plain(kind: type) -> bool:
    """Whether instances are pickled as their class and their `__dict__`, and nothing else."""
    if kind in copyreg.dispatch_table or reducer_of(kind) is not None:
        return False
    if kind.__module__.partition(".")[0] in HOLDERS or kind.__basicsize__ != PLAIN_SIZE:
        return False
    if not kind.__dictoffset__:  # a type written in C may have the size by chance
        return False
    return not any(HOOKS & vars(cls).keys() for cls in kind.__mro__[:-1])


HOOKS = {"__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs_ex__", "__getnewargs__"}
HOOKS |= {"__slots__"}
PLAIN_SIZE = type("Plain", (), {}).__basicsize__
"""The size of instances that have no base written in C."""


def walk_plain(walk: Walk, obj: object) -> None:
    """An instance of an ordinary class: what `__reduce_ex__` would give, without the call."""
    if definitions.is_referred(walk, obj):
        walk.emit(definitions.refer(walk, obj))
        return
    number = walk.number(obj)
    if number is None:
        return
    kind = type(obj)
    token = definitions.class_token(walk, kind)
    if token is None:
        walk.push((Token(b"o"), kind, obj.__dict__), parent=number)
    else:
        walk.emit(b"o" + token)
        walk.push((obj.__dict__,), parent=number)


def _is_one(kind: type, names: tuple[str, ...]) -> bool:
    """Whether a type is one of those of libraries, or derived from it: that stays as it is."""
    known = _known.setdefault(kind, {})
    if names not in known:
        types, are_all = _types(names)
        if not are_all:
            return issubclass(kind, types)
        known[names] = issubclass(kind, types)
    return known[names]


_known: weakref.WeakKeyDictionary[type, dict[tuple[str, ...], bool]] = weakref.WeakKeyDictionary()


def _types(names: tuple[str, ...]) -> tuple[tuple[type, ...], bool]:
    """The types of the libraries that are imported, and whether these have all of them."""
    found, are_all = [], True
    for name in names:
        package, attribute = name.split(":")
        if package in sys.modules:
            try:
                found.append(operator.attrgetter(attribute)(sys.modules[package]))
            except AttributeError:  # a library that is half imported, or of another version
                are_all = False
    return tuple(one for one in found if isinstance(one, type)), are_all


def walk_object(walk: Walk, obj: object) -> None:
    """A mutable object, as it is reduced; by its name where it is a definition of the notebook."""
    if walk.holder != ROOT and type(obj).__module__.partition(".")[0] in HOLDERS:
        walk.seal(obj, _once(walk, obj), holder=INNER)
        return
    if definitions.is_referred(walk, obj):
        walk.emit(definitions.refer(walk, obj))
        return
    if walk.is_numbered(id(obj)):
        walk.number(obj)
        return
    reduced = reduction(walk, obj)
    if isinstance(reduced, str):  # found by its name, like any function
        walk.push(by_name(obj, reduced))
        return
    number = walk.number(obj)
    walk.push(walk.side_by_side(parts(walk, obj, reduced)), parent=number)


def walk_session(walk: Walk, obj: object) -> None:
    """A part of the session: it cannot be kept, and nothing in it is looked at."""
    walk.fail(obj, "it is a part of the session")


_OWN_HOOKS = {"__reduce_ex__", "__reduce__", "__getstate__"}


def _has_own_hooks(kind: type) -> bool:
    """Whether a class of the user's says itself what pickle takes along of its instances."""
    own = [cls for cls in kind.__mro__[:-1] if origins.is_own(cls.__module__)]
    return any(_OWN_HOOKS & vars(cls).keys() for cls in own) or bool(
        own and kind in copyreg.dispatch_table
    )


def walk_hooked(walk: Walk, obj: object) -> None:
    """An instance whose class says what pickle takes along: that, and what it does not tell of.

    A hook may leave out what a cell can see. That counts by content, a lock or the like by its
    type, so that a pack which comes back without it is found out.
    """
    is_new = id(obj) not in walk.hooked
    walk.hooked.add(id(obj))
    walk_object(walk, obj)
    hidden = _hidden(walk, obj) if is_new else {}
    if not hidden or definitions.is_referred(walk, obj):
        return
    walk.findings.hides = True
    for name in sorted(hidden):
        walk.emit(b"h" + text(name) + _by_content(walk, hidden[name]))


def _by_content(walk: Walk, value: object) -> bytes:
    """A token for what is not going to be kept; its type where it has no content to speak of."""
    inner = walk.inner(value)
    with contextlib.suppress(Exception):  # an attribute of a user's may raise anything
        digest = inner.run()
        if not inner.flaws:
            return digest
    return text(f"{type(value).__module__}.{type(value).__qualname__}")


def _hidden(walk: Walk, obj: object) -> dict[str, object]:
    """The attributes of an instance that its reduction does not hold as they are."""
    try:
        state = dict(object.__getattribute__(obj, "__dict__"))
    except AttributeError:  # all of it is in slots
        state = {}
    for name in copyreg._slotnames(type(obj)):  # type: ignore[attr-defined]  # noqa: SLF001
        with contextlib.suppress(AttributeError):
            state.setdefault(name, object.__getattribute__(obj, name))
    reduced = reduction(walk, obj)
    if not state or isinstance(reduced, str) or not reduced:
        return {}
    told = [*reduced[1], *(reduced[2:3])]
    told += [item for one in reduced[2:3] for item in (one if type(one) is tuple else (one,))]
    told += [item for one in told if type(one) is dict for item in one.values()]
    ids = set(map(id, told))
    return {name: value for name, value in state.items() if id(value) not in ids}


def walk_immutable(walk: Walk, obj: object) -> None:
    """An object whose identity never counts."""
    walk.seal(obj, _once(walk, obj))


def _once(walk: Walk, obj: object) -> Any:
    """The items, taken apart only if the seal is not known already."""
    yield from items(walk, obj)


def walk_lazy(walk: Walk, obj: object) -> None:
    """A pandas object: an identity of its own, and insides that count by content only."""
    if walk.holder != ROOT:
        walk.seal(obj, _once(walk, obj), holder=INNER)
        return
    number = walk.number(obj)
    if number is not None:
        is_frame = type(obj).__name__ in ("DataFrame", "Series")
        walk.push(items(walk, obj), parent=number, holder=number if is_frame else INNER)


def walk_tensor(walk: Walk, obj: object) -> None:
    """A tensor: an object over a storage."""
    try:
        number = arrays.walk_storage(walk, obj)
        if number is not None and not _walk_leaf(walk, obj):
            walk.push(items(walk, obj), parent=number)
    except RuntimeError as error:  # a sparse or meta tensor has no storage to speak of
        walk.fail(obj, str(error))


def _walk_leaf(walk: Walk, obj: Any) -> bool:
    """Write out a tensor that has nothing but its bytes: of weights there may be thousands, and
    part by part each would cost more than it takes to hash a hundred kilobytes."""
    known = bits = leaf_bits(obj)
    if known is None:
        known = leaf_memory(obj)
    if known is None:
        return False
    asks, *rest = tensor_state(obj)
    if rest != [None, None]:
        return False
    walk.emit(b"V" + text(repr((*tensor_kind(obj), known[1], asks))))
    walk.content(arrays.in_c_order(bits[0]) if bits else known[0], is_passing=bits is not None)
    return True


def items(walk: Walk, obj: object) -> list[object]:
    """Tokens and parts of a reduced object, in the order in which pickle would write them."""
    reduced = reduction(walk, obj)
    return by_name(obj, reduced) if isinstance(reduced, str) else parts(walk, obj, reduced)


def reduction(walk: Walk, obj: object) -> str | tuple[Any, ...]:
    """What pickle would make of an object; nothing, and a flaw noted, where it cannot."""
    try:
        found: Any = reduce(obj)
        if found is None:
            reducer = copyreg.dispatch_table.get(type(obj))
            found = reducer(obj) if reducer is not None else obj.__reduce_ex__(5)
    except Exception as error:  # a user's __reduce__ may raise anything
        if is_of_handler(error):
            raise
        walk.fail(obj, str(error))
        return ()
    if isinstance(found, str) or (isinstance(found, tuple) and 2 <= len(found) <= 6):
        walk.findings.alive.append(found)
        return found
    walk.fail(obj, "__reduce__ must return a string, or a tuple of 2 to 6")
    return ()


def by_name(obj: Any, name: str) -> list[object]:
    """An object that pickle finds by name; what it wraps is the user's where it is his."""
    wrapped = getattr(obj, "__wrapped__", None)
    module = getattr(obj, "__module__", None)
    kind = Token(b"n" + text(f"{type(obj).__module__}.{type(obj).__qualname__}"))
    if wrapped is not None and origins.is_own(module):
        return [kind, wrapped]
    owner = getattr(obj, "__self__", None)
    if isinstance(owner, types.ModuleType):
        module = owner.__name__
    return [kind, Token(text(f"{module}.{name}"))]


def parts(walk: Walk, obj: object, reduced: tuple[Any, ...]) -> list[object]:
    """Tokens and parts of an object, from what `reduction` gave, in the order pickle has them."""
    if not reduced:
        return []
    function, args, state, listed, pairs, setter = [*reduced, None, None, None, None][:6]
    if _is_unordered(type(obj)) and len(args) == 1 and type(args[0]) is list:
        args = (frozenset(args[0]),)  # the list has the order of the hashes
    if type(state) is dict and state.get("_readonly") is False and _is_one(type(obj), EXTENSIONS):
        # pandas notes this in an array when it makes a view of it: no change.
        state = {key: value for key, value in state.items() if key != "_readonly"}
    found = [Token(b"R%d:" % len(args)), function, *args, state]
    try:
        if listed is not None:
            elements = list(listed)
            found += [Token(b"l%d:" % len(elements)), *elements]
        if pairs is not None:
            entries = list(chain.from_iterable(pairs))
            found += [Token(b"d%d:" % len(entries)), *entries]
    except Exception as error:  # the iterators are the user's as well
        if is_of_handler(error):
            raise
        walk.fail(obj, str(error))
    if setter is not None:
        found += [Token(b"t"), setter]
    # Parts made only for this look must not be freed: the next one's ids could be theirs.
    walk.findings.alive.append(found)
    return found


def _is_unordered(kind: type) -> bool:
    """Whether it is a set that is taken apart and gone over as sets are."""
    for base in (set, frozenset):
        if issubclass(kind, base) and kind not in copyreg.dispatch_table:
            same = (kind.__reduce__, kind.__iter__) == (base.__reduce__, base.__iter__)
            return same and kind.__reduce_ex__ is object.__reduce_ex__
    return False


def walk_buffer(walk: Walk, obj: object) -> None:
    """Bytes that the packer keeps out of band."""
    assert isinstance(obj, PickleBuffer)
    walk.content(obj.raw())


def walk_type_variable(walk: Walk, obj: object) -> None:
    """A type variable: its name and bounds. Its module is that of whoever made it, loaders too."""
    names = ("__bound__", "__constraints__", "__covariant__", "__contravariant__")
    kind = Token(b"v" + text(f"{type(obj).__name__} {obj.__name__}"))  # type: ignore[attr-defined]
    walk.seal(obj, [kind, *(getattr(obj, name, None) for name in names)])


OTHERS: dict[type, Handler] = {
    **dict.fromkeys((typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple), walk_type_variable),
    PickleBuffer: walk_buffer,
    bytearray: arrays.walk_buffer,
    buffers.array: arrays.walk_buffer,
    arrays.FIELD: arrays.walk_field,
}
