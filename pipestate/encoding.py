"""Frozen data as JSON of a fixed shape, and back; reading it can never run code.

A dataclass is an object with its fields in the order of the class, defaults left out: they are most
of a record. Type hints say what each field is, and whatever does not fit them is a FormatError, and
nothing else. A class with `to_plain` and `from_plain` says itself what JSON it is.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import types
import typing
from typing import Any, Final, Literal, TypeVar

from .errors import FormatError

T = TypeVar("T")


def to_bytes(noun: Any) -> bytes:
    """The bytes of a dataclass, from which `from_bytes` makes an equal one."""
    write = _writer(typing.cast(Any, type(noun)))
    return _encode(write(noun) if write else noun).encode("utf-8", "surrogatepass")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def from_bytes(cls: type[T], data: bytes) -> T:
    """What `to_bytes` made `data` of; raises FormatError for anything else."""
    try:
        plain = json.loads(data.decode("utf-8", "surrogatepass"))
        return typing.cast(T, _reader(typing.cast(Any, cls))(plain))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError(
            f"not a {cls.__name__.lower()} that this pipestate can read ({error})",
            "`%pipe verify` finds what is damaged; a newer pipestate may have written it",
        ) from error


_Writer = typing.Callable[[Any], Any]
_Reader = typing.Callable[[Any], Any]


@functools.cache
def _writer(hint: Any) -> _Writer | None:
    """A function that makes plain JSON of a noun's own value; None where it is that already."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "to_plain"):
        return typing.cast(_Writer, hint.to_plain)
    if dataclasses.is_dataclass(hint):
        return _noun_writer(typing.cast(type, hint))
    if origin is tuple:
        writers = [_writer(arg) for arg in args if arg is not Ellipsis]
        return _row_writer(writers[0] if args[1:] == (Ellipsis,) else None, writers)
    if origin is dict:
        item = _writer(args[1])
        return item and (lambda held: {key: item(value) for key, value in held.items()})
    if origin in (types.UnionType, typing.Union):
        inner = _writer(next(arg for arg in args if arg is not type(None)))
        return inner and (lambda held: None if held is None else inner(held))
    return None


def _row_writer(item: _Writer | None, writers: list[_Writer | None]) -> _Writer | None:
    """For a tuple: of items alike, or of these. JSON's own encoder takes a tuple for a list."""
    if item is not None:
        return lambda held: list(map(item, held))
    if not any(writers):
        return None
    return lambda held: [w(one) if w else one for w, one in zip(writers, held, strict=True)]


def _noun_writer(cls: type) -> _Writer:
    hints = typing.get_type_hints(cls)
    fields = [(name, default, _writer(hints[name])) for name, default in _defaults(cls)]
    get = operator.attrgetter(*(name for name, *_ in fields))
    items = get if len(fields) > 1 else lambda noun: (get(noun),)

    def write(noun: Any) -> dict[str, Any]:
        found = {}
        for item, (name, default, writer) in zip(items(noun), fields, strict=True):
            if item is not default and item != default:
                found[name] = item if writer is None else writer(item)
        return found

    return write


@functools.cache
def _defaults(cls: type) -> tuple[tuple[str, Any], ...]:
    """Fields and their defaults; a field without one gets a default that equals nothing."""
    return tuple(
        (
            f.name,
            f.default
            if f.default is not dataclasses.MISSING
            else f.default_factory()
            if f.default_factory is not dataclasses.MISSING
            else dataclasses.MISSING,
        )
        for f in dataclasses.fields(cls)
    )


@functools.cache
def _reader(hint: Any) -> _Reader:
    """A function that checks plain JSON against a type hint and gives the noun's own value."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "from_plain"):
        return typing.cast(_Reader, hint.from_plain)
    if dataclasses.is_dataclass(hint):
        return _noun_reader(typing.cast(type, hint))
    if origin is tuple:
        return _tuple_reader(args)
    if origin is dict:
        return _dict_reader(args[1])
    if origin is Literal:
        return lambda plain: plain if plain in args else _refuse(plain)
    if origin in (types.UnionType, typing.Union):
        inner = _reader(next(arg for arg in args if arg is not type(None)))
        return lambda plain: None if plain is None else inner(plain)
    if hint is float:
        return lambda plain: float(plain) if type(plain) in (int, float) else _refuse(plain)
    return lambda plain: _is(hint, plain)


_ATOMS: Final = frozenset({str, int, bool, float})
"""Types that stand in JSON as they are: most of what there is to read, and a look tells them."""


def _noun_reader(cls: type) -> _Reader:
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    atoms = {name: hints[name] for name in names if hints[name] in _ATOMS}
    readers = {name: _reader(hints[name]) for name in names}

    def read(plain: Any) -> Any:
        if type(plain) is not dict:
            _refuse(plain)
        for name, value in plain.items():
            if type(value) is not atoms.get(name):
                plain[name] = readers[name](value)  # nobody else has what was just decoded
        return cls(**plain)

    return read


def _dict_reader(hint: Any) -> _Reader:
    item, atoms = _reader(hint), {hint} & _ATOMS

    def read(plain: Any) -> Any:
        if type(plain) is not dict:  # whose keys are strings, in JSON
            _refuse(plain)
        if atoms.issuperset(map(type, plain.values())):
            return plain
        return {key: item(value) for key, value in plain.items()}

    return read


def _tuple_reader(args: tuple[Any, ...]) -> _Reader:
    if len(args) == 2 and args[1] is Ellipsis:
        item, atoms = _reader(args[0]), {args[0]} & _ATOMS

        def read_alike(plain: Any) -> Any:
            if type(plain) is not list:
                _refuse(plain)
            return tuple(plain if atoms.issuperset(map(type, plain)) else map(item, plain))

        return read_alike
    readers = tuple(_reader(arg) for arg in args)

    def read(plain: Any) -> Any:
        values = _is(list, plain)
        return tuple(r(value) for r, value in zip(readers, values, strict=True))

    return read


def _is(kind: Any, plain: Any) -> Any:
    return plain if type(plain) is kind else _refuse(plain)


def _refuse(plain: Any) -> typing.NoReturn:
    raise ValueError(f"{str(plain)[:40]!r} is out of place")
