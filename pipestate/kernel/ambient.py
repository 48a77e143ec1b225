"""What a cell changes in the process rather than in a name, kept key by key and put back as values.

Environment variables, `sys.path`, the working directory, warning filters, logging levels, the
options of matplotlib, pandas, numpy and torch, the decimal context, the locale and the global
random states. Only what is imported is looked at; nothing is imported here. A value is plain data
wherever the library's own value has such a form, so that it survives pickling and compares by
content. This room does not know which steps set a key, nor which keys count for whom: it tells what
differs between two moments, and makes it so again. (Nix keeps a build's environment in this way, as
a set of values and never as a script to be replayed.)

Keys: `env:NAME`, `path:ENTRY`, `cwd`, `locale`, `warnings:FILTER`, `logging:NAME`,
`logging:=disable`, `matplotlib:OPTION`, `pandas:OPTION`, `numpy:print.OPTION`, `numpy:err.KIND`,
`torch:OPTION`, `decimal:FIELD`, `random:python`, `random:numpy`, `random:torch`.

**What an import changed belongs to the import.** The first `import pandas` adds warning filters,
the second adds none; were they the step's, the step would differ between two runs. So while
`watch_imports` is in force each outermost import is measured on its own, and `changes` counts from
what it left. Random states of libraries that were there before are the exception: a draw is a draw.

**Order.** Entries of `sys.path` and warning filters stand in rows where order counts. The value of
one is itself and its two neighbours, `(row, before it, after it)`: it is right where it stands
between those two, and is put there when it does not; whatever else was added stays as it is.

Known weakness: numpy's error and print options, torch's grad mode and the decimal context belong to
a thread or a context, and are those of the thread that asks.
"""

from __future__ import annotations

import bisect
import contextlib
import decimal
import enum
import functools
import itertools
import locale
import logging
import os
import pickle
import re
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from typing import Any, Final, cast


class Gone(enum.Enum):
    """The type of `GONE`; an enumeration, so that the marker stays one object through pickling."""

    GONE = "gone"

    def __repr__(self) -> str:
        return "GONE"


GONE: Final = Gone.GONE
"""The value of a key that was taken away. For a library's option: what its import left."""

Row = Any
"""An entry of `sys.path` (a string) or a warning filter in plain form (a tuple)."""

_ODD = (AttributeError, KeyError, TypeError, ValueError, RuntimeError, OSError)
"""What a library raises that is half imported, has moved its insides, or refuses a value."""


@dataclass(frozen=True)
class Ambient:
    """The state of the process at one moment.

    `groups` holds it as it was taken, by group; `mark` is how many imports had been measured.
    """

    groups: Mapping[str, Any]
    mark: int = 0

    @functools.cached_property
    def values(self) -> Mapping[str, object]:
        """Every key with its value in plain form; worked out when asked for, in about 1 ms."""
        return {k: v for name, raw in self.groups.items() for k, v in _values(name, raw).items()}


def snapshot() -> Ambient:
    """The state of the process now; about 0.1 ms with numpy, pandas and matplotlib imported."""
    return Ambient(_take(_GROUPS), len(_imports))


def changes(before: Ambient, after: Ambient) -> dict[str, object]:
    """The keys that differ, with their later value or `GONE`; what imports changed is left out."""
    return _differences(before.groups, after.groups, _imports[before.mark : after.mark])


def apply(values: Mapping[str, object]) -> tuple[str, ...]:
    """Put the values in place, where they are not yet; give one line for each that would not go.

    Keys of a library that is not imported stay pending until it is.
    """
    wanted: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        _pending.pop(key, None)
        _unsettled.pop(key, None)
        wanted.setdefault(_group_of(key), {})[key] = value
    lines: list[str] = []
    for name in sorted(wanted, key=_PLACES.__getitem__):
        raw = _take({name: _GROUPS[name]})
        if raw:
            lines += _put(name, raw[name], wanted[name])
        else:
            _pending.update({k: v for k, v in wanted[name].items() if v is not GONE})
    return tuple(lines)


def pending() -> dict[str, object]:
    """The values that wait for the import of their library."""
    return dict(_pending)


def apply_pending() -> tuple[str, ...]:
    """Put in place what waited for a library that is imported by now; cheap where nothing waits.

    Also gives the lines of what was put after an import, since it was last called.
    """
    lines = tuple(_lines)
    _lines.clear()
    if _unsettled:
        _settle()
    ready = {k: v for k, v in _pending.items() if _is_ready(k, v)}
    return lines + (apply(ready) if ready else ())


def drop_pending() -> None:
    """Forget what waits: another job is in use."""
    _pending.clear()
    _unsettled.clear()
    _lines.clear()


def digest_key(value: object) -> bytes:
    """Bytes that are equal for equal values, in every process; types count, 1 is not True."""
    return repr(_canonical(value)).encode("utf-8", "surrogatepass")


def watch_imports() -> Callable[[], None]:
    """Measure each outermost import from now on, and put what waits for it; gives its undo."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)

    def undo() -> None:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)

    return undo


# The process has one state, so these belong to the module: what each measured import changed, what
# waits for an import, rows whose neighbours are not there yet, lines nobody has read yet.
_imports: list[dict[str, object]] = []
_pending: dict[str, object] = {}
_unsettled: dict[str, object] = {}
_lines: list[str] = []


# --- groups --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Group:
    """A kind of state: the module it needs, how to take it, name its keys, and put one of them.

    A group of rows has `put_rows` in place of `put`: it gets them all, in order.
    """

    module: str
    take: Callable[[], Any]
    values: Callable[[Any], dict[str, object]]
    put: Callable[[str, object], None] | None = None
    put_rows: Callable[[list[Row]], None] | None = None


def _take(groups: Mapping[str, _Group]) -> dict[str, Any]:
    taken = {}
    modules = sys.modules
    for name, group in groups.items():
        if group.module in modules:
            try:
                taken[name] = group.take()
            except _ODD:
                continue  # not there yet: as if it were not imported
    return taken


def _values(name: str, raw: Any) -> dict[str, object]:
    if name not in _ROWS:
        return _GROUPS[name].values(raw)
    return {
        f"{name}:{row if isinstance(row, str) else repr(row)}": (row, above, below)
        for above, row, below in zip((None, *raw), raw, (*raw[1:], None), strict=False)
    }


def _group_of(key: str) -> str:
    return key if key in _GROUPS else key.partition(":")[0]


def _is_ready(key: str, value: object) -> bool:
    name = _group_of(key)
    if name == "warnings" and isinstance(value, tuple):
        return _category(value[0][3]) is not None
    return bool(_take({name: _GROUPS[name]}))


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any], imports: Sequence[dict[str, object]]
) -> dict[str, object]:
    shifts: dict[str, list[dict[str, object]]] = {}
    for entry in imports:
        for name, keys in itertools.groupby(entry, key=_group_of):
            shifts.setdefault(name, []).append({key: entry[key] for key in keys})
    found: dict[str, object] = {}
    for name, new in after.items():
        old, shift = before.get(name), shifts.get(name, [])
        if not shift and old is not None and _is_equal(old, new):
            continue
        if name in _ROWS:
            found.update(_changed_rows(name, old or (), new, shift))
        else:
            found.update(_changed_keys(name, old, new, shift))
    return found


def _is_equal(old: Any, new: Any) -> bool:
    try:
        return bool(old == new)
    except _ODD:  # an option whose value is an array: look at its keys one by one
        return False


def _changed_keys(
    name: str, old: Any, new: Any, shift: Iterable[dict[str, object]]
) -> dict[str, object]:
    base = dict(_values(name, old)) if old is not None else {}
    for entry in shift:
        base.update(entry)
    now = _values(name, new)
    found: dict[str, object] = {
        key: value
        for key, value in now.items()
        if key not in base or digest_key(base[key]) != digest_key(value)
    }
    gone = [key for key, value in base.items() if key not in now and value is not GONE]
    return found | dict.fromkeys(gone, GONE)


def _put(name: str, raw: Any, wanted: Mapping[str, object]) -> list[str]:
    if name in _ROWS:
        return _put_rows(name, raw, wanted)
    group, now, lines = _GROUPS[name], _values(name, raw), []
    assert group.put is not None
    for key, value in wanted.items():
        if value is GONE and group.module not in _BUILT_IN:
            value = _left_by_import(key)
        if digest_key(now.get(key, GONE)) == digest_key(value):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a deprecated option: it was set all the same
                group.put(key.partition(":")[2] or key, value)
        except _ODD as error:
            lines.append(_line(key, error))
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("locale", *_LIBRARIES):
                raise
            lines.append(_line(key, error))  # the library's own word for a value it refuses
    return lines


def _line(key: str, error: BaseException) -> str:
    said = " ".join(str(error).split())[:120]
    return f"{key} could not be set as it was ({said or type(error).__name__})"


def _left_by_import(key: str) -> object:
    return next((entry[key] for entry in _imports if key in entry), GONE)


# --- rows ----------------------------------------------------------------------------------------


def _changed_rows(
    name: str, old: Sequence[Row], new: Sequence[Row], shift: Iterable[dict[str, object]]
) -> dict[str, object]:
    base = list(old)
    for entry in shift:
        _place(name, base, entry)
    standing = _values(name, new)
    keys = dict(zip(new, standing, strict=True))
    where = {row: i for i, row in enumerate(base)}
    stayed = set(_longest_rise([where[row] for row in new if row in where]))
    found = {
        keys[row]: standing[keys[row]]
        for row in new
        if row not in where or where[row] not in stayed
    }
    gone = [key for key, (row, _, _) in _rows_of(name, base) if row not in keys]
    return found | dict.fromkeys(gone, GONE)


def _rows_of(name: str, rows: Sequence[Row]) -> Iterable[tuple[str, tuple[Row, Row, Row]]]:
    return _values(name, tuple(rows)).items()  # type: ignore[return-value]


def _longest_rise(numbers: Sequence[int]) -> list[int]:
    """A longest rising subsequence: the rows that need not be called moved."""
    tails: list[int] = []
    ends: list[int] = []
    earlier: list[int] = []
    for i, number in enumerate(numbers):
        at = bisect.bisect_left(tails, number)
        tails[at : at + 1] = [number]
        ends[at : at + 1] = [i]
        earlier.append(ends[at - 1] if at else -1)
    found, i = [], ends[-1] if ends else -1
    while i >= 0:
        found.append(numbers[i])
        i = earlier[i]
    return found


def _place(name: str, rows: list[Row], wanted: Mapping[str, object]) -> dict[str, object]:
    """Put rows between their neighbours, or take them out; gives those with a neighbour missing."""
    unsettled: dict[str, object] = {}
    for key, value in wanted.items():
        if value is GONE:
            rows[:] = [row for old, (row, _, _) in _rows_of(name, rows) if old != key]
            continue
        row, above, below = cast(tuple[Row, Row, Row], value)
        if not _stands(rows, row, above, below):
            rows[:] = [other for other in rows if other != row]
            if below in rows:
                rows.insert(rows.index(below), row)
            elif above in rows:
                rows.insert(rows.index(above) + 1, row)
            else:
                rows.insert(len(rows) if below is None else 0, row)
        if any(near is not None and near not in rows for near in (above, below)):
            unsettled[key] = value
    return unsettled


def _stands(rows: Sequence[Row], row: Row, above: Row, below: Row) -> bool:
    if row not in rows:
        return False
    i = rows.index(row)
    return (above not in rows or rows.index(above) < i) and (
        below not in rows or i < rows.index(below)
    )


def _put_rows(name: str, raw: Sequence[Row], wanted: Mapping[str, object]) -> list[str]:
    put, rows, lines = _GROUPS[name].put_rows, list(raw), []
    assert put is not None
    ready = {}
    for key, value in wanted.items():
        if value is GONE or name != "warnings" or _category(value[0][3]) is not None:  # type: ignore[index]
            ready[key] = value
        elif _is_waiting(value[0][3]):  # type: ignore[index]
            _pending[key] = value
        else:
            lines.append(_line(key, LookupError(f"no {value[0][3]} any more")))  # type: ignore[index]
    _unsettled.update(_place(name, rows, ready))
    if tuple(rows) != tuple(raw):
        put(rows)
    return lines


def _settle() -> None:
    """Move rows whose neighbours came with an import; never bring back what somebody took out."""
    for name in _ROWS:
        raw = _GROUPS[name].take()
        here = {key for key, _ in _rows_of(name, raw)}
        mine = {k: v for k, v in _unsettled.items() if _group_of(k) == name}
        for key in mine:
            del _unsettled[key]
        _put_rows(name, raw, {k: v for k, v in mine.items() if k in here})


# --- the process: environment, path, folder, locale, warnings, logging ---------------------------


def _take_env() -> dict[Any, Any]:
    # The mapping's own dict: a hundred times faster than decoding every variable.
    held = getattr(os.environ, "_data", None)
    return held.copy() if type(held) is dict else dict(os.environ)


def _put_env(name: str, value: object) -> None:
    if value is GONE:
        os.environ.pop(name, None)
    else:
        os.environ[name] = str(value)
    if name == "TZ" and hasattr(time, "tzset"):
        time.tzset()  # who sets the zone says so to the C library too


def _take_cwd() -> str:
    return os.getcwd()


def _put_cwd(_: str, value: object) -> None:
    os.chdir(str(value))


def _take_path() -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(_is_text, sys.path)))


def _is_text(entry: object) -> bool:
    return type(entry) is str  # other entries are legal, and Python passes them over


def _put_path(rows: list[Row]) -> None:
    sys.path[:] = rows


def _take_filters() -> tuple[Any, ...]:
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


def _pattern(text: str | None, flags: int) -> Any:
    return text if text is None or flags < 0 else re.compile(text, flags)


def _category(named: str) -> type[Warning] | None:
    """The class of that name, where its module is imported."""
    parts = named.split(".")
    for i in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:i]))
        if module is not None:
            found: Any = module
            for part in parts[i:]:
                found = getattr(found, part, None)
            return found if isinstance(found, type) else None
    return None


def _is_waiting(named: str) -> bool:
    root = named.partition(".")[0]
    return root not in sys.modules or root == "__main__"


def _put_filters(rows: list[Row]) -> None:
    warnings.filters[:] = [  # type: ignore[index]
        (action, _pattern(message, flags), _category(named), _pattern(module, module_flags), line)
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
    found["root"] = (root.level, root.disabled)
    found["=disable"] = (root.manager.disable, False)
    return found


def _put_logging(name: str, value: object) -> None:
    level, disabled = (0, False) if value is GONE else cast(tuple[int, bool], value)
    if name == "=disable":
        logging.disable(level)
        return
    logger = logging.getLogger(None if name == "root" else name)
    logger.setLevel(level)
    logger.disabled = disabled


def _put_locale(_: str, value: object) -> None:
    locale.setlocale(locale.LC_ALL, str(value))


def _take_decimal() -> dict[str, object]:
    context = decimal.getcontext()
    traps = tuple(sorted(signal.__name__ for signal, on in context.traps.items() if on))
    return {
        "prec": context.prec,
        "rounding": context.rounding,
        "Emin": context.Emin,
        "Emax": context.Emax,
        "capitals": context.capitals,
        "clamp": context.clamp,
        "traps": traps,
    }


def _put_decimal(name: str, value: Any) -> None:
    context = decimal.getcontext()
    if name != "traps":
        setattr(context, name, value)
        return
    for signal in context.traps:
        context.traps[signal] = signal.__name__ in value


# --- libraries -----------------------------------------------------------------------------------


def _module(name: str) -> Any:
    return sys.modules[name]


def _take_matplotlib() -> tuple[tuple[str, ...], list[Any]]:
    options = _module("matplotlib").rcParams
    # dict's own methods: rcParams' sort the keys, and start a backend when asked for one
    return tuple(dict.keys(options)), [
        value.copy() if type(value) is list else value for value in dict.values(options)
    ]


def _matplotlib_values(raw: tuple[tuple[str, ...], list[Any]]) -> dict[str, object]:
    # The backend is set by `%matplotlib` and the front end, and differs between doors.
    return {
        f"matplotlib:{key}": _plain(value)
        for key, value in zip(*raw, strict=True)
        if key not in ("backend", "backend_fallback")
    }


def _put_matplotlib(name: str, value: Any) -> None:
    if value is GONE:
        return
    if isinstance(value, tuple) and value[:1] == ("=cycler",):
        cycler = _module("cycler").cycler
        value = cycler(**{key: list(items) for key, items in value[1]})
    _module("matplotlib").rcParams[name] = value


def _take_pandas() -> dict[str, Any]:
    pandas = _module("pandas")
    registered = getattr(sys.modules.get("pandas._config.config"), "_registered_options", {})
    found: dict[str, Any] = {}
    below = [("", pandas.options.d)]
    while below:
        prefix, tree = below.pop()
        for key, value in tree.items():
            if type(value) is dict and prefix + key not in registered:
                below.append((f"{prefix}{key}.", value))
            else:
                found[prefix + key] = value
    return found


def _put_pandas(name: str, value: Any) -> None:
    if value is not GONE:
        _module("pandas").set_option(name, value)


def _take_numpy() -> dict[str, Any]:
    numpy = _module("numpy")
    found = {f"print.{key}": value for key, value in numpy.get_printoptions().items()}
    found.update((f"err.{key}", value) for key, value in numpy.geterr().items())
    return found


def _put_numpy(name: str, value: Any) -> None:
    kind, _, option = name.partition(".")
    if value is not GONE:
        numpy = _module("numpy")
        (numpy.set_printoptions if kind == "print" else numpy.seterr)(**{option: value})


def _take_torch() -> dict[str, object]:
    torch = _module("torch")
    return {
        "default_dtype": str(torch.get_default_dtype()).partition(".")[2],
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _put_torch(name: str, value: Any) -> None:
    torch = _module("torch")
    if value is GONE:
        return
    if name == "default_dtype":
        torch.set_default_dtype(getattr(torch, value))
    elif name == "grad":
        torch.set_grad_enabled(value)
    else:
        torch.use_deterministic_algorithms(value)


def _put_python_random(_: str, value: Any) -> None:
    _module("random").setstate(value)


def _take_numpy_random() -> Any:
    return _plain(_module("numpy.random").get_state(legacy=False))


def _put_numpy_random(_: str, value: Any) -> None:
    _module("numpy.random").set_state(_with_arrays(value))


def _with_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_arrays(item) for key, item in value.items()}
    if isinstance(value, tuple) and value[:1] == ("=array",):
        return _module("numpy").frombuffer(value[3], dtype=value[1]).reshape(value[2])
    return value


def _take_torch_random() -> bytes:
    state: bytes = _module("torch").get_rng_state().numpy().tobytes()
    return state


def _put_torch_random(_: str, value: Any) -> None:
    torch = _module("torch")
    torch.set_rng_state(torch.frombuffer(bytearray(value), dtype=torch.uint8))


def _keyed(prefix: str) -> Callable[[Any], dict[str, object]]:
    return lambda raw: {f"{prefix}:{key}": _plain(value) for key, value in raw.items()}


def _single(key: str) -> Callable[[Any], dict[str, object]]:
    return lambda raw: {key: raw}


def _env_values(raw: Mapping[Any, Any]) -> dict[str, object]:
    return {f"env:{os.fsdecode(key)}": os.fsdecode(value) for key, value in raw.items()}


def _no_put(_: Any) -> dict[str, object]:
    return {}


_BUILT_IN: Final = ("os", "sys", "warnings", "logging", "locale", "decimal")
_LIBRARIES: Final = ("matplotlib", "pandas", "numpy", "torch", "cycler", "decimal")
_ROWS: Final = ("path", "warnings")


def _python_random() -> Any:
    return _module("random").getstate()


_OPTIONS: Final[dict[str, _Group]] = {
    "env": _Group("os", _take_env, _env_values, _put_env),
    "cwd": _Group("os", _take_cwd, _single("cwd"), _put_cwd),
    "path": _Group("sys", _take_path, _no_put, put_rows=_put_path),
    "locale": _Group(
        "locale", lambda: locale.setlocale(locale.LC_ALL), _single("locale"), _put_locale
    ),
    "warnings": _Group("warnings", _take_filters, _no_put, put_rows=_put_filters),
    "logging": _Group("logging", _take_logging, _keyed("logging"), _put_logging),
    "decimal": _Group("decimal", _take_decimal, _keyed("decimal"), _put_decimal),
    "matplotlib": _Group("matplotlib", _take_matplotlib, _matplotlib_values, _put_matplotlib),
    "pandas": _Group("pandas", _take_pandas, _keyed("pandas"), _put_pandas),
    "numpy": _Group("numpy", _take_numpy, _keyed("numpy"), _put_numpy),
    "torch": _Group("torch", _take_torch, _keyed("torch"), _put_torch),
}
_RANDOM: Final[dict[str, _Group]] = {
    "random:python": _Group("random", _python_random, _single("random:python"), _put_python_random),
    "random:numpy": _Group(
        "numpy.random", _take_numpy_random, _single("random:numpy"), _put_numpy_random
    ),
    "random:torch": _Group("torch", _take_torch_random, _single("random:torch"), _put_torch_random),
}
_GROUPS: Final = _OPTIONS | _RANDOM
_PLACES: Final = {name: i for i, name in enumerate(_GROUPS)}


# --- plain and canonical forms -------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """The value as plain data where it has such a form; itself where it has none."""
    kind = type(value)
    if kind in (int, float, str, bool, type(None), bytes):
        return value
    if kind in (tuple, list):
        return kind(map(_plain, value))
    if kind is dict:
        return {key: _plain(item) for key, item in value.items()}
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
    if kind in (int, float, complex, str, bool, type(None), bytes):
        return value
    if kind in (tuple, list):
        return kind(map(_canonical, value))
    if kind is dict:
        return ("dict", sorted((repr(_canonical(k)), _canonical(v)) for k, v in value.items()))
    if kind in (set, frozenset):
        return ("set", sorted(repr(_canonical(item)) for item in value))
    if isinstance(value, types.FunctionType):
        return _canonical_function(value)
    if isinstance(value, types.BuiltinMethodType) and not isinstance(
        value.__self__, (types.ModuleType, type(None))
    ):
        return ("method", value.__name__, _canonical(value.__self__))
    return _canonical_object(value)


def _canonical_function(value: types.FunctionType) -> Any:
    if value.__module__ != "__main__" and "<" not in value.__qualname__:
        return ("function", value.__module__, value.__qualname__)
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    return (
        "code",
        _canonical_code(value.__code__),
        _canonical(value.__defaults__),
        [*map(_canonical, cells)],
    )


def _canonical_code(code: types.CodeType) -> Any:
    consts = [
        _canonical_code(c) if isinstance(c, types.CodeType) else _canonical(c)
        for c in code.co_consts
    ]
    return (code.co_code.hex(), consts, code.co_names, code.co_varnames, code.co_freevars)


def _canonical_object(value: Any) -> Any:
    named = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Gone):
        return ("gone",)
    try:
        return (named, pickle.dumps(value, 5))
    except Exception as error:  # noqa: BLE001 - whatever a user's own __reduce__ raises
        return (named, type(error).__name__)


# --- imports -------------------------------------------------------------------------------------


class _Finder:
    """A finder that finds nothing by itself: it has the outermost import of a thread measured."""

    def __init__(self) -> None:
        self._importing: set[int] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        if threading.get_ident() in self._importing or not _is_importing():
            return None
        with self.alone():
            spec = self._found(name, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = cast(Loader, _Loader(spec.loader, self))
        return spec

    def _found(self, name: str, path: Sequence[str] | None, target: Any) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """For imports in here, this finder does not exist: they are part of one being measured."""
        thread = threading.get_ident()
        self._importing.add(thread)
        try:
            yield
        finally:
            self._importing.discard(thread)


def _is_importing() -> bool:
    """Whether an import asks, rather than `importlib.util.find_spec` or a reload."""
    frame: types.FrameType | None = sys._getframe(3)  # noqa: SLF001 - the only door
    return frame is not None and frame.f_code.co_name == "_find_and_load_unlocked"


class _Loader:
    """A module's own loader, which it gives back before the module's code runs, and a measure."""

    def __init__(self, inner: Any, finder: _Finder) -> None:
        self._inner = inner
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        if any(group.module not in sys.modules for group in _RANDOM.values()):
            fresh = {k: g for k, g in _RANDOM.items() if g.module not in sys.modules}
        else:
            fresh = {}
        before = _take(_OPTIONS)
        try:
            with self._finder.alone():
                self._inner.exec_module(module)
        finally:
            _lines.extend(apply_pending())
            changed = _differences(before, _take(_OPTIONS | fresh), ())
            if changed:
                _imports.append(changed)
