"""Parts of a value by access path: looked up without running any of the user's code.

`at` follows constant subscripts and attributes as far as getting them is sure to run nothing but
the interpreter and, for a column, pandas. `parts` takes the digests of what a cell could read in
this way, a bounded number of them.
"""

from __future__ import annotations

import enum
import sys
import types
import weakref
from collections import namedtuple
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from ..record import AccessPath, Key, part_text
from . import origins
from .streams import NOTHING, leaf, small_tree, stream, tree
from .tokens import LEAVES
from .trees import INNER
from .walk import BufferDigest, buffer_digest


class Lookup(enum.Enum):
    """What stands for a part that there is not."""

    MISSING = "missing"
    OPAQUE = "opaque"


MISSING: Final = Lookup.MISSING
"""There is no such part now; reading it would raise."""
OPAQUE: Final = Lookup.OPAQUE
"""Getting the part would run code: the whole object counts."""

FIELD: Final = type(vars(namedtuple("Pair", "one"))["one"])
"""What getting a field of a named tuple runs: nothing of the user's."""

NESTED = 2
"""How many levels of containers and instances `parts` goes down."""

ITEMS = 16
"""How many items of a list or tuple `parts` takes, beside the last: who counts on does not name
them one by one."""


SEEN = 1 << 14
"""How many keys of a dict are looked at."""


def at(value: object, path: AccessPath) -> object:
    """The part of `value` at the path, or MISSING, or OPAQUE."""
    for kind, key in path.parts:
        value = _attribute(value, str(key)) if kind == "attr" else _item(value, key)
        if value is MISSING or value is OPAQUE:
            return value
    return value


def parts(
    value: object,
    *,
    name: str,
    size: int = 0,
    is_tree: bool = False,
    limit: int = 256,
    definitions: Mapping[int, str] = NOTHING,
    buffer_digest: BufferDigest = buffer_digest,
) -> dict[str, str]:
    """The digests of columns, keys and attributes by `str(path)`; of the first `limit` of them.

    What `at` finds OPAQUE is left out, and so is what cannot be kept. Parts of what `is_tree` are
    trees. `size` is how many mutable objects there are in `value`. Two levels of a tree have twice
    as many together; where each part leads to all others, the first few are enough.
    """
    found: dict[str, str] = {}
    room = 3 * size + 1000
    for path, part in islice(_walk(value, name, NESTED), limit):
        if id(part) in definitions:
            continue
        if type(part) in LEAVES:
            found[path] = leaf(part)
            continue
        if is_tree and type(part) in INNER:
            found[path] = tree(part)
            continue
        one = stream(part, definitions=definitions, buffer_digest=buffer_digest)
        if not one.flaw:
            found[path] = one.digest
        room -= len(one.mutables)
        if room < 0:
            break
    return found


def flat(value: object, most: int) -> tuple[dict[str, object], str, dict[str, str]] | None:
    """A dict that has few texts as keys and numbers and texts under them, as many have that scripts
    set, as it is at one moment; its digest, and what `parts` gives of it, without the name: in a
    third of the time. None for any other value, and for one of so many bytes."""
    if type(value) is not dict or not 0 < len(value) <= FEW:
        return None
    held = dict(value)  # another thread may go on in it
    if {*map(type, held)} != {str} or not FLAT.issuperset(map(type, held.values())):
        return None
    digest = small_tree(held, most)
    if not digest:
        return None
    return held, digest, {part_text("item", key): leaf(one) for key, one in held.items()}


FEW: Final = 64
FLAT: Final = frozenset({int, float, bool, str, type(None)})


def _walk(value: object, path: str, depth: int) -> Iterator[tuple[str, object]]:
    found = list(islice(_steps(value), 1024))
    is_foreign = _is_foreign(value)
    inner: list[tuple[str, object]] = []
    for step in found:
        longer = path + part_text(*step)
        # That all keys of a dict are plain, `_steps` has found out: to ask takes going over it.
        part = value[step[1]] if type(value) is dict else at(value, AccessPath("", (step,)))
        if part is MISSING or part is OPAQUE or (is_foreign and not _is_plain(part)):
            continue
        yield longer, part
        inner.append((longer, part))
    if depth > 1:
        for longer, part in inner:
            if type(part) in (dict, list, tuple) or _is_plain_instance(type(part)):
                yield from _walk(part, longer, depth - 1)


def _is_foreign(value: object) -> bool:
    """Whether it is an instance of a library's class. Its numbers, texts and arrays are parts; what
    else it holds is built as the library likes, and often all of it hangs together."""
    kind = type(value)
    if kind.__module__ in ("builtins", "types") or is_frame(kind) or _is_array(kind):
        return False
    return not origins.is_own(kind.__module__)


def _is_plain(part: object) -> bool:
    return type(part) in LEAVES or _is_array(type(part))


def _steps(value: object) -> Iterator[tuple[str, Key]]:
    """The subscripts and attributes that somebody could write."""
    kind = type(value)
    if kind is dict:
        assert isinstance(value, dict)
        keys = list(islice(value, SEEN)) if all_plain(value) else ()
        yield from (("item", key) for key in keys if type(key) in (str, int, bool, bytes))
    elif kind is list or kind is tuple:
        assert isinstance(value, (list, tuple))
        yield from (("item", index) for index in range(min(len(value), ITEMS)))
        if value:
            yield "item", -1
    elif is_frame(kind):
        columns: Any = value
        yield from (("item", label) for label in columns.columns if type(label) in (str, int))
    elif _is_array(kind):
        array: Any = value
        yield from (("item", field) for field in array.dtype.names or ())
    elif _is_plain_instance(kind):
        yield from (("attr", key) for key in _instance(value))
    elif _is_plain_tuple(kind):
        held = {name: one for cls in reversed(kind.__mro__) for name, one in vars(cls).items()}
        yield from (("attr", name) for name, one in held.items() if type(one) is FIELD)


# --- items ---------------------------------------------------------------------------------------


def _item(value: object, key: Key) -> object:
    kind = type(value)
    if kind is dict:
        assert isinstance(value, dict)
        # A key with an `__eq__` of its own could run code when the hashes collide.
        return value.get(key, MISSING) if all_plain(value) else OPAQUE
    if kind is list or kind is tuple:
        assert isinstance(value, (list, tuple))
        if type(key) not in (int, bool):
            return MISSING
        index = int(key)  # type: ignore[arg-type]
        return value[index] if -len(value) <= index < len(value) else MISSING
    if is_frame(kind):
        return _column(value, key)
    if _is_array(kind) and type(key) is str:
        array: Any = value
        names = array.dtype.names
        return OPAQUE if names is None else array[key] if key in names else MISSING
    return OPAQUE


PLAIN_KEYS = frozenset({str, int, bool, float, bytes, type(None), tuple})


def all_plain(value: dict[object, object]) -> bool:
    """Whether looking a key up in this dict runs no code of the user's."""
    return set(map(type, value)) <= PLAIN_KEYS


def is_frame(kind: type) -> bool:
    """Whether this is pandas' own DataFrame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and kind is getattr(pandas, "DataFrame", None)


def _is_array(kind: type) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is numpy.ndarray


def _column(value: object, key: Key) -> object:
    frame: Any = value
    columns = frame.columns
    if columns.nlevels != 1 or not columns.is_unique or type(key) not in (str, int):
        return OPAQUE
    if columns.dtype.kind == "M":  # a string may stand for a date, or for many
        return OPAQUE
    return frame[key] if key in columns else MISSING


# --- attributes ----------------------------------------------------------------------------------


def _attribute(value: object, name: str) -> object:
    kind = type(value)
    if kind is types.ModuleType:
        found = vars(value).get(name, MISSING)
        return OPAQUE if found is MISSING and "__getattr__" in vars(value) else found
    if is_frame(kind):
        return OPAQUE if hasattr(kind, name) else _column(value, name)
    if _is_plain_tuple(kind) and type(_of_class(kind, name)) is FIELD:
        return getattr(value, name)
    if not _is_plain_instance(kind):
        return OPAQUE
    held = _of_class(kind, name)
    if isinstance(held, types.MemberDescriptorType):
        try:
            return held.__get__(value, kind)
        except AttributeError:  # an empty slot
            return MISSING
    attributes = _instance(value)
    if held is MISSING:
        return attributes.get(name, MISSING)
    if hasattr(type(held), "__set__") or hasattr(type(held), "__delete__"):
        return OPAQUE
    if name in attributes:
        return attributes[name]
    return OPAQUE if hasattr(type(held), "__get__") else held


def _is_plain_tuple(kind: type) -> bool:
    """Whether it is a named tuple whose fields are got as Python itself gets them."""
    return (
        issubclass(kind, tuple)
        and kind is not tuple
        and kind.__getattribute__ is tuple.__getattribute__
        and _of_class(kind, "__getattr__") is MISSING
    )


def _is_plain_instance(kind: type) -> bool:
    """Whether attributes are got as Python itself gets them, from a dict or from slots."""
    if issubclass(kind, type) or kind.__getattribute__ is not object.__getattribute__:
        return kind is types.SimpleNamespace
    if _of_class(kind, "__getattr__") is not MISSING:
        return False
    return bool(kind.__flags__ & 1 << 9) or kind is types.SimpleNamespace


def _of_class(kind: type, name: str) -> object:
    return next((vars(cls)[name] for cls in kind.__mro__ if name in vars(cls)), MISSING)


_known_slots: weakref.WeakKeyDictionary[type, tuple[str, ...]] = weakref.WeakKeyDictionary()


def _slots(kind: type) -> tuple[str, ...]:
    found = _known_slots.get(kind)
    if found is None:
        found = _known_slots[kind] = tuple(
            name
            for cls in kind.__mro__
            for name, held in vars(cls).items()
            if isinstance(held, types.MemberDescriptorType) and not name.startswith("__")
        )
    return found


def _instance(value: object) -> dict[str, object]:
    """The attributes that an instance has in its `__dict__` and in its slots."""
    slots = dict.fromkeys(_slots(type(value)), MISSING)
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        attributes = {}
    return {**slots, **(attributes if type(attributes) is dict else {})}
