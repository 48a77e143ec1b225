"""The kinds of state that a process has beside its names: how each is taken, and how it is put.

A value is plain data wherever the library's own value has such a form, so that it survives pickling
and compares by content. Only what is imported is looked at, and nothing is imported here. Which
keys differ, and what waits for an import, is for `ambient`.

Keys: `env:NAME`, `path:ENTRY`, `cwd`, `locale`, `warnings:FILTER`, `logging:NAME`,
`logging:=disable`, `matplotlib:OPTION`, `pandas:OPTION`, `numpy:print.OPTION`, `numpy:err.KIND`,
`torch:OPTION`, `module:MODULE.GLOBAL`, `decimal:FIELD`, `random:python`, `random:numpy`,
`random:torch`.

Known weakness: numpy's error and print options, torch's grad mode and the decimal context belong to
a thread or a context, and are those of the thread that asks.
"""

from __future__ import annotations

import decimal
import enum
import functools
import locale
import logging
import os
import pickle
import re
import sys
import time
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from msgspec import Struct

from . import modulestate


class Gone(enum.Enum):
    """The type of `GONE`: an enumeration, so that the marker stays one object through pickling."""

    GONE = "gone"

    def __repr__(self) -> str:
        return "GONE"


GONE: Final = Gone.GONE
"""The value of a key that was taken away. For a library's option: what its import left."""

Row = Any
"""An entry of `sys.path` (a string) or a warning filter in plain form (a tuple)."""

REFUSED = (
    *(AttributeError, KeyError, TypeError, ValueError, RuntimeError, OSError, ImportError),
    locale.Error,
)
"""What comes of a library that is half imported, has moved its insides, or refuses a value."""


class Group(Struct, frozen=True):
    """A kind of state: the module it needs, how to take it, how to put one key of it.

    `take` gives a dict, its keys without the group's name, "" where the name is the whole key. For
    a group of rows it gives a tuple of them, and `put` gets them all.
    """

    module: str
    take: Callable[[], Any]
    put: Callable[..., object]


def take(groups: Mapping[str, Group]) -> dict[str, Any]:
    """The state of each of the groups whose module is imported, by the group's name."""
    taken = {}
    modules = sys.modules
    for name, group in groups.items():
        if group.module in modules:
            try:
                taken[name] = group.take()
            except REFUSED:
                continue  # not there yet: as if it were not imported
    return taken


# --- the process itself --------------------------------------------------------------------------


def _take_env() -> dict[Any, Any]:
    # The mapping's own dict: a hundred times faster than decoding every variable.
    held = getattr(os.environ, "_data", None)
    return held.copy() if type(held) is dict else dict(os.environ)


def _put_env(name: str, value: object) -> None:
    if value is GONE:
        del os.environ[name]
    else:
        os.environ[name] = str(value)
    if name == "TZ" and hasattr(time, "tzset"):
        time.tzset()  # who sets the zone says so to the C library too


def _take_path() -> tuple[str, ...]:
    entries: list[Any] = sys.path  # others than strings are legal, and Python passes them over
    return tuple(dict.fromkeys(entry for entry in entries if type(entry) is str))


def _take_filters() -> tuple[Row, ...]:
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    return tuple(dict.fromkeys(_plain_filter(*entry) for entry in filters))


@functools.lru_cache(maxsize=1000)
def _plain_filter(action: str, message: Any, category: type, module: Any, lineno: int) -> Row:
    named = f"{category.__module__}.{category.__qualname__}"
    return (action, *_plain_pattern(message), named, *_plain_pattern(module), lineno)


def _plain_pattern(pattern: Any) -> tuple[str | None, int]:
    if pattern is None or isinstance(pattern, str):
        return pattern, -1  # the filters that Python starts with hold bare strings
    return pattern.pattern, pattern.flags


def class_named(named: str) -> Any:
    """The class of that name, where its module is imported; else None."""
    parts = named.split(".")
    for i in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:i]))
        if module is not None:
            return functools.reduce(
                lambda at, part: getattr(at, part, None), parts[i:], cast(Any, module)
            )
    return None


def _put_filters(rows: list[Row]) -> None:
    def pattern(text: str | None, flags: int) -> Any:
        return text if text is None or flags < 0 else re.compile(text, flags)

    warnings.filters[:] = [  # type: ignore[index]
        (action, pattern(message, flags), class_named(named), pattern(module, module_flags), line)
        for action, message, flags, named, module, module_flags, line in rows
    ]
    with warnings.catch_warnings():
        pass  # entering and leaving it tells the C side that the filters are others now


def _take_logging() -> dict[str, tuple[int, bool]]:
    root = logging.root
    found = {
        name: (logger.level, logger.disabled)
        for name, logger in list(root.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and (logger.level or logger.disabled)
    }
    return {**found, "root": (root.level, root.disabled), "=disable": (root.manager.disable, False)}


def _put_logging(name: str, value: object) -> None:
    level, disabled = (0, False) if value is GONE else cast(tuple[int, bool], value)
    if name == "=disable":
        logging.disable(level)
        return
    logger = logging.getLogger(None if name == "root" else name)
    logger.setLevel(level)
    logger.disabled = disabled


def _take_decimal() -> dict[str, object]:
    context = decimal.getcontext()
    fields = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
    found = {name: getattr(context, name) for name in fields}
    found["traps"] = _trap_names(*context.traps.values())
    return found


@functools.lru_cache(maxsize=64)
def _trap_names(*are_on: bool) -> tuple[str, ...]:
    kinds = decimal.getcontext().traps
    return tuple(sorted(kind.__name__ for kind, on in zip(kinds, are_on, strict=True) if on))


def _put_decimal(name: str, value: Any) -> None:
    context = decimal.getcontext()
    if name == "traps":
        context.traps.update({kind: kind.__name__ in value for kind in context.traps})
    else:
        setattr(context, name, value)


# --- libraries -----------------------------------------------------------------------------------


def _module(name: str) -> Any:
    return sys.modules[name]


def _take_matplotlib() -> dict[str, Any]:
    options = _module("matplotlib").rcParams
    # dict's own methods: rcParams' sort the keys, and start a backend when asked for one
    pairs = zip(dict.keys(options), dict.values(options), strict=True)
    found = {key: value.copy() if type(value) is list else value for key, value in pairs}
    # The backend is set by `%matplotlib` and the front end, and differs between doors.
    found.pop("backend", None)
    found.pop("backend_fallback", None)
    return found


def _put_matplotlib(name: str, value: Any) -> None:
    if isinstance(value, tuple) and value[:1] == ("=cycler",):
        value = _module("cycler").cycler(**{key: list(items) for key, items in value[1]})
    _module("matplotlib").rcParams[name] = value


def _take_pandas() -> dict[str, Any]:
    options = getattr(sys.modules.get("pandas._config.config"), "_registered_options", {})
    found: dict[str, Any] = {}
    below = [("", _module("pandas").options.d)]
    while below:
        prefix, tree = below.pop()
        for key, value in tree.items():
            if type(value) is dict and prefix + key not in options:
                below.append((f"{prefix}{key}.", value))
            else:
                found[prefix + key] = value
    return found


def _take_numpy() -> dict[str, Any]:
    numpy = _module("numpy")
    found = {f"print.{key}": value for key, value in numpy.get_printoptions().items()}
    found.update((f"err.{key}", value) for key, value in numpy.geterr().items())
    return found


def _put_numpy(name: str, value: Any) -> None:
    numpy, (kind, _, option) = _module("numpy"), name.partition(".")
    (numpy.set_printoptions if kind == "print" else numpy.seterr)(**{option: value})


def _take_torch() -> dict[str, object]:
    torch = _module("torch")
    return {
        "default_dtype": str(torch.get_default_dtype()).partition(".")[2],
        "grad_enabled": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _put_torch(name: str, value: Any) -> None:
    torch = _module("torch")
    if name == "default_dtype":
        torch.set_default_dtype(getattr(torch, value))
    elif name == "grad_enabled":
        torch.set_grad_enabled(value)
    else:
        torch.use_deterministic_algorithms(value)


def _put_numpy_random(_: str, value: Any) -> None:
    def with_arrays(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: with_arrays(below) for key, below in item.items()}
        if isinstance(item, tuple) and item[:1] == ("=array",):
            return _module("numpy").frombuffer(item[3], dtype=item[1]).reshape(item[2])
        return item

    _module("numpy.random").set_state(with_arrays(value))


def _put_torch_random(_: str, value: Any) -> None:
    torch = _module("torch")
    torch.set_rng_state(torch.frombuffer(bytearray(value), dtype=torch.uint8))


def _put_module(key: str, value: object) -> None:
    value = modulestate.born(key, GONE) if value is GONE else value
    if value is GONE:
        modulestate.take_away(key)
    else:
        modulestate.put(key, value)


def is_at_hand(key: str) -> bool:
    """Whether the module is imported that a key of this kind belongs to; True for other kinds."""
    is_of_module = key.startswith(modulestate.KEY)
    return not is_of_module or modulestate.module_of(key) in sys.modules


ROWS: Final = ("path", "warnings")
OPTIONS: Final = {
    "env": Group("os", _take_env, _put_env),
    "cwd": Group("os", lambda: {"": os.getcwd()}, lambda _, value: os.chdir(value)),
    "path": Group("sys", _take_path, lambda rows: sys.path.__setitem__(slice(None), rows)),
    "locale": Group(
        "locale",
        lambda: {"": locale.setlocale(locale.LC_ALL)},
        lambda _, value: locale.setlocale(locale.LC_ALL, value),
    ),
    "warnings": Group("warnings", _take_filters, _put_filters),
    "logging": Group("logging", _take_logging, _put_logging),
    "decimal": Group("decimal", _take_decimal, _put_decimal),
    "matplotlib": Group("matplotlib", _take_matplotlib, _put_matplotlib),
    "pandas": Group(
        "pandas", _take_pandas, lambda key, value: _module("pandas").set_option(key, value)
    ),
    "numpy": Group("numpy", _take_numpy, _put_numpy),
    "torch": Group("torch", _take_torch, _put_torch),
    modulestate.GROUP: Group("sys", modulestate.take, _put_module),
}
RANDOM: Final = {
    "random:python": Group(
        "random",
        lambda: {"": _module("random").getstate()},
        lambda _, value: _module("random").setstate(value),
    ),
    "random:numpy": Group(
        "numpy.random",
        lambda: {"": plain(_module("numpy.random").get_state(legacy=False))},
        _put_numpy_random,
    ),
    "random:torch": Group(
        "torch",
        lambda: {"": _module("torch").get_rng_state().numpy().tobytes()},
        _put_torch_random,
    ),
}
GROUPS: Final = OPTIONS | RANDOM


# --- plain and canonical forms -------------------------------------------------------------------

_ATOMS: Final = (int, float, complex, str, bool, type(None), bytes)


def plain(value: Any) -> Any:
    """The value as plain data where it has such a form; itself where it has none."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind in (tuple, list):
        return kind(map(plain, value))
    if kind is dict:
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, enum.Enum):
        return value.value
    named = f"{kind.__module__}.{kind.__qualname__}"
    if named == "numpy.ndarray" and not value.dtype.hasobject:
        return ("=array", value.dtype.str, value.shape, value.tobytes())
    if named == "cycler.Cycler":
        return ("=cycler", tuple((key, tuple(items)) for key, items in value.by_key().items()))
    return value


def _canonical(value: Any) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is modulestate.Pickled:
        return value.canonical()
    if kind in (tuple, list):
        return kind(map(_canonical, value))
    if kind is dict:
        return (
            "dict",
            sorted((repr(_canonical(k)), repr(_canonical(v))) for k, v in value.items()),
        )
    if kind in (set, frozenset):
        return ("set", sorted(repr(_canonical(item)) for item in value))
    if kind is types.CodeType:
        names = (value.co_names, value.co_varnames, value.co_freevars)
        return ("code", value.co_code.hex(), *names, *map(_canonical, value.co_consts))
    if kind is types.FunctionType and (value.__module__ == "__main__" or "<" in value.__qualname__):
        cells = (cell.cell_contents for cell in value.__closure__ or ())
        return ("function", *map(_canonical, (value.__code__, value.__defaults__, *cells)))
    named = f"{kind.__module__}.{kind.__qualname__}"
    try:
        return (named, pickle.dumps(value, 5))
    except Exception as error:  # noqa: BLE001 - whatever a user's own __reduce__ raises
        return (named, type(error).__name__)


def digest_key(value: object) -> bytes:
    """Bytes that are equal for equal values, in every process; types count, 1 is not True."""
    return repr(_canonical(value)).encode("utf-8", "surrogatepass")
