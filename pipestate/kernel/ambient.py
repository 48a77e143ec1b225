"""What a cell changes in the process rather than in a name, kept key by key and put back as values.

Environment variables, `sys.path`, the working directory, warning filters, logging levels, the
options of matplotlib, pandas, numpy and torch, the decimal context, the locale and the global
random states. Only what is imported is looked at, and nothing is imported here. A value is plain
data wherever the library's own value has such a form, so that it survives pickling and compares by
content. This room does not know which steps set a key, nor for whom it counts: it tells what
differs between two moments, and makes it so again. (Nix keeps a build's environment in this way, as
a set of values and never as a script to be replayed.)

Keys: `env:NAME`, `path:ENTRY`, `cwd`, `locale`, `warnings:FILTER`, `logging:NAME`,
`logging:=disable`, `matplotlib:OPTION`, `pandas:OPTION`, `numpy:print.OPTION`, `numpy:err.KIND`,
`torch:OPTION`, `decimal:FIELD`, `random:python`, `random:numpy`, `random:torch`.

**What an import changed belongs to the import.** The first `import pandas` adds warning filters,
the second adds none; were they the step's, the step would differ between two runs. So while
`watch_imports` is in force each outermost import is measured on its own, and `changes` counts from
what it left. Random states that were there before are the exception: a draw is a draw.

**Order.** Entries of `sys.path` and warning filters stand in rows where order counts. The value of
one is itself and its two neighbours, `(row, before it, after it)`: it is right where it stands
between those two, and is put there when it does not; whatever else was added stays as it is.

Known weakness: numpy's error and print options, torch's grad mode and the decimal context belong to
a thread or a context, and are those of the thread that asks.

The length: three parts (what differs, the kinds of state, imports) that share the table of kinds.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from typing import Any, Final, cast


class Gone(enum.Enum):
    """The type of `GONE`: an enumeration, so that the marker stays one object through pickling."""

    GONE = "gone"

    def __repr__(self) -> str:
        return "GONE"


GONE: Final = Gone.GONE
"""The value of a key that was taken away. For a library's option: what its import left."""

Row = Any
"""An entry of `sys.path` (a string) or a warning filter in plain form (a tuple)."""

_REFUSED = (
    *(AttributeError, KeyError, TypeError, ValueError, RuntimeError, OSError, ImportError),
    locale.Error,
)
"""What comes of a library that is half imported, has moved its insides, or refuses a value."""


@dataclass(frozen=True)
class Ambient:
    """The state of the process at one moment.

    `groups` holds it as it was taken, by group; `mark` is how many imports had been measured.
    """

    groups: Mapping[str, Any]
    mark: int = 0

    @functools.cached_property
    def values(self) -> Mapping[str, object]:
        """Every key with its value in plain form; worked out group by group, when asked for."""
        return _Values(self.groups)


class _Values(Mapping[str, object]):
    def __init__(self, groups: Mapping[str, Any]) -> None:
        self._groups = groups
        self._known: dict[str, dict[str, Any]] = {}

    def _of(self, name: str) -> dict[str, Any]:
        if name not in self._known:
            self._known[name] = _values(name, self._groups[name]) if name in self._groups else {}
        return self._known[name]

    def __getitem__(self, key: str) -> object:
        return self._of(_group_of(key))[key]

    def __iter__(self) -> Iterator[str]:
        return itertools.chain.from_iterable(map(self._of, self._groups))

    def __len__(self) -> int:
        return sum(len(self._of(name)) for name in self._groups)


def snapshot() -> Ambient:
    """The state of the process now; about 0.1 ms with numpy, pandas and matplotlib imported."""
    return Ambient(_take(_GROUPS), len(_imports))


def changes(before: Ambient, after: Ambient) -> dict[str, object]:
    """The keys that differ, with their later value or `GONE`; what imports changed is left out."""
    return _differences(before.groups, after.groups, _imports[before.mark : after.mark])


def apply(values: Mapping[str, object]) -> tuple[str, ...]:
    """Put the values in place, where they are not yet; gives one line for each that would not go.

    Keys of a library that is not imported stay pending until it is.
    """
    wanted: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        _pending.pop(key, None)
        _unsettled.pop(key, None)
        wanted.setdefault(_group_of(key), {})[key] = value
    strange = [key for key in values if _group_of(key) not in _GROUPS]
    lines = [f"{key} is nothing that this pipestate can set" for key in strange]
    for name, group in _GROUPS.items():
        if name not in wanted:
            continue
        raw = _take({name: group})
        if raw:
            lines += (_put_rows if name in _ROWS else _put)(name, raw[name], wanted[name])
        else:
            _pending.update((k, v) for k, v in wanted[name].items() if v is not GONE)
    return tuple(lines)


def pending() -> dict[str, object]:
    """The values that wait for the import of their library."""
    return dict(_pending)


def apply_pending() -> tuple[str, ...]:
    """Put in place what waited for a library that is imported by now; cheap where nothing waits.

    Also gives the lines about what was put after an import, since it was last called.
    """
    lines = tuple(_lines)
    _lines.clear()
    ready = {key: value for key, value in _pending.items() if _is_ready(key, value)}
    if ready:
        lines += apply(ready)
    for name in {_group_of(key) for key in _unsettled}:
        _put_rows(name, _GROUPS[name].take(), {})
    return lines


def drop_pending() -> None:
    """Forget what waits: another job is in use."""
    for waiting in (_pending, _unsettled, _lines):
        waiting.clear()


def digest_key(value: object) -> bytes:
    """Bytes that are equal for equal values, in every process; types count, 1 is not True."""
    return repr(_canonical(value)).encode("utf-8", "surrogatepass")


def watch_imports() -> Callable[[], None]:
    """Measure each outermost import from now on, and put what waits for it; gives its undo."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    return lambda: sys.meta_path.remove(finder) if finder in sys.meta_path else None


# The process has one state, so these belong to the module: what each measured import changed, what
# waits for an import, rows whose neighbours are not there yet, lines nobody has read yet.
_imports: list[dict[str, object]] = []
_pending: dict[str, object] = {}
_unsettled: dict[str, object] = {}
_lines: list[str] = []


# --- what differs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Group:
    """A kind of state: the module it needs, how to take it, how to put one key of it.

    `take` gives a dict, its keys without the group's name, "" where the name is the whole key. For
    a group of rows it gives a tuple of them, and `put` gets them all.
    """

    module: str
    take: Callable[[], Any]
    put: Callable[..., object]


def _take(groups: Mapping[str, _Group]) -> dict[str, Any]:
    taken = {}
    modules = sys.modules
    for name, group in groups.items():
        if group.module in modules:
            try:
                taken[name] = group.take()
            except _REFUSED:
                continue  # not there yet: as if it were not imported
    return taken


def _values(name: str, raw: Any) -> dict[str, Any]:
    """The values in plain form by their full keys."""
    if name in _ROWS:
        nearby = zip((None, *raw), raw, (*raw[1:], None), strict=False)
        return {f"{name}:{row}": (row, above, below) for above, row, below in nearby}
    if name == "env":
        return {f"env:{os.fsdecode(key)}": os.fsdecode(value) for key, value in raw.items()}
    return {f"{name}:{key}" if key else name: _plain(value) for key, value in raw.items()}


def _group_of(key: str) -> str:
    return key if key in _GROUPS else key.partition(":")[0]


def _is_ready(key: str, value: Any) -> bool:
    name = _group_of(key)
    if name == "warnings":
        return _class(value[0][3]) is not None
    return bool(_take({name: _GROUPS[name]}))


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any], imports: Sequence[dict[str, object]]
) -> dict[str, object]:
    shifts: dict[str, dict[str, object]] = {}
    for key, value in itertools.chain.from_iterable(entry.items() for entry in imports):
        shifts.setdefault(_group_of(key), {})[key] = value
    found: dict[str, object] = {}
    for name, new in after.items():
        old, shift = before.get(name), shifts.get(name, {})
        if not shift and old is not None and _is_equal(old, new):
            continue
        differ = _changed_rows if name in _ROWS else _changed_keys
        found.update(differ(name, () if old is None else old, new, shift))
    return found


def _is_equal(old: Any, new: Any) -> bool:
    try:
        return bool(old == new)
    except _REFUSED:  # an option whose value is an array: look at its keys one by one
        return False


def _changed_keys(name: str, old: Any, new: Any, shift: dict[str, object]) -> dict[str, object]:
    base = (_values(name, old) if old else {}) | shift
    now = _values(name, new)
    gone = {key: GONE for key, value in base.items() if key not in now and value is not GONE}
    return {key: value for key, value in now.items() if not _is_same(base, key, value)} | gone


def _is_same(known: Mapping[str, object], key: str, value: object) -> bool:
    return key in known and digest_key(known[key]) == digest_key(value)


def _put(name: str, raw: Any, wanted: Mapping[str, object]) -> list[str]:
    group, lines = _GROUPS[name], []
    rests = {key[len(name) + 1 :] for key in wanted}
    now = _values(name, raw if name == "env" else {k: raw[k] for k in rests if k in raw})
    for key, value in wanted.items():
        if value is GONE and name not in ("env", "logging"):
            value = next((entry[key] for entry in _imports if key in entry), GONE)
            if value is GONE:
                continue  # it was there before imports were measured: nobody took it away
        if _is_same(now, key, value) or (value is GONE and key not in now):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a deprecated option: it was set all the same
                group.put(key[len(name) + 1 :], value)
        except _REFUSED as error:
            lines.append(_line(key, str(error) or type(error).__name__))
    return lines


def _line(key: str, said: str) -> str:
    return f"{key} could not be set as it was ({' '.join(said.split())[:120]})"


# --- rows ----------------------------------------------------------------------------------------


def _changed_rows(name: str, old: Any, new: Any, shift: dict[str, object]) -> dict[str, object]:
    base = list(old)
    _place(name, base, shift)
    where = {row: i for i, row in enumerate(base)}
    stayed = set(_longest_rise([where[row] for row in new if row in where]))
    now = _values(name, new)
    gone = {key: GONE for key in _values(name, tuple(base)) if key not in now}
    return {k: v for k, v in now.items() if where.get(v[0], -1) not in stayed} | gone


def _longest_rise(numbers: Sequence[int]) -> list[int]:
    """A longest rising subsequence: the rows that need not be called moved."""
    tails: list[int] = []
    best: list[list[int]] = []
    for number in numbers:
        at = bisect.bisect_left(tails, number)
        tails[at : at + 1] = [number]
        best[at : at + 1] = [[*(best[at - 1] if at else ()), number]]
    return best[-1] if best else []


def _place(name: str, rows: list[Row], wanted: Mapping[str, Any]) -> None:
    """Put rows between their neighbours, or take them out; what stands right stays untouched.

    If one does not, all of them are put anew, each after the one above it: so the outcome depends
    on the other rows alone, and on those that stood before the change it is what stood after it.
    """
    gone = {key for key, value in wanted.items() if value is GONE}
    rows[:] = [row for row in rows if f"{name}:{row}" not in gone]
    waiting = {value[0]: value for value in wanted.values() if value is not GONE}
    if all(_stands(rows, *value) for value in waiting.values()):
        return
    rows[:] = [row for row in rows if row not in waiting]
    while waiting:
        ready = (row for row, (_, above, _) in waiting.items() if above not in waiting)
        row, above, below = waiting.pop(next(ready, next(iter(waiting))))
        if above is None or (above not in rows and below not in rows and below is not None):
            rows.insert(0, row)
        elif below is None:
            rows.append(row)
        else:
            rows.insert(rows.index(above) + 1 if above in rows else rows.index(below), row)


def _stands(rows: Sequence[Row], row: Row, above: Row, below: Row) -> bool:
    at = {other: i for i, other in enumerate(rows)}
    here = at.get(row)
    return here is not None and at.get(above, -1) < here < at.get(below, len(rows))


def _put_rows(name: str, raw: Sequence[Row], wanted: Mapping[str, Any]) -> list[str]:
    """Put rows, and with them those put earlier whose neighbours had not come yet.

    Of the latter none is brought back that somebody has taken out meanwhile.
    """
    here = _values(name, raw)
    waiting = {key: _unsettled.pop(key) for key in [*_unsettled] if _group_of(key) == name}
    known: dict[str, Any] = {key: v for key, v in waiting.items() if key in here} | dict(wanted)
    rows, lines, ready = list(raw), [], {}
    for key, value in known.items():
        named = value[0][3] if name == "warnings" and value is not GONE else None
        if named is None or _class(named) is not None:
            ready[key] = value
        elif named.partition(".")[0] not in sys.modules or named.startswith("__main__."):
            _pending[key] = value
        else:
            lines.append(_line(key, f"there is no {named} any more"))
    _place(name, rows, ready)
    for key, value in ready.items():
        if value is not GONE and any(row not in (None, *rows) for row in value[1:]):
            _unsettled[key] = value
    if tuple(rows) != tuple(raw):
        _GROUPS[name].put(rows)
    return lines


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


def _class(named: str) -> Any:
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
        (action, pattern(message, flags), _class(named), pattern(module, module_flags), line)
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


_ROWS: Final = ("path", "warnings")
_OPTIONS: Final = {
    "env": _Group("os", _take_env, _put_env),
    "cwd": _Group("os", lambda: {"": os.getcwd()}, lambda _, value: os.chdir(value)),
    "path": _Group("sys", _take_path, lambda rows: sys.path.__setitem__(slice(None), rows)),
    "locale": _Group(
        "locale",
        lambda: {"": locale.setlocale(locale.LC_ALL)},
        lambda _, value: locale.setlocale(locale.LC_ALL, value),
    ),
    "warnings": _Group("warnings", _take_filters, _put_filters),
    "logging": _Group("logging", _take_logging, _put_logging),
    "decimal": _Group("decimal", _take_decimal, _put_decimal),
    "matplotlib": _Group("matplotlib", _take_matplotlib, _put_matplotlib),
    "pandas": _Group(
        "pandas", _take_pandas, lambda key, value: _module("pandas").set_option(key, value)
    ),
    "numpy": _Group("numpy", _take_numpy, _put_numpy),
    "torch": _Group("torch", _take_torch, _put_torch),
}
_RANDOM: Final = {
    "random:python": _Group(
        "random",
        lambda: {"": _module("random").getstate()},
        lambda _, value: _module("random").setstate(value),
    ),
    "random:numpy": _Group(
        "numpy.random",
        lambda: {"": _plain(_module("numpy.random").get_state(legacy=False))},
        _put_numpy_random,
    ),
    "random:torch": _Group(
        "torch",
        lambda: {"": _module("torch").get_rng_state().numpy().tobytes()},
        _put_torch_random,
    ),
}
_GROUPS: Final = _OPTIONS | _RANDOM


# --- plain and canonical forms -------------------------------------------------------------------

_ATOMS: Final = (int, float, complex, str, bool, type(None), bytes)


def _plain(value: Any) -> Any:
    """The value as plain data where it has such a form; itself where it has none."""
    kind = type(value)
    if kind in _ATOMS:
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
    if kind in _ATOMS:
        return value
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


# --- imports -------------------------------------------------------------------------------------


class _Finder:
    """A finder that finds nothing by itself: it has the outermost import of a thread measured."""

    def __init__(self) -> None:
        self._importing: set[int] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        # Asked by importlib's _find_spec: for an import, and not for `importlib.util.find_spec`
        asker = sys._getframe(2)  # noqa: SLF001 - there is no other way to know
        is_import = asker.f_code.co_name == "_find_and_load_unlocked"
        if threading.get_ident() in self._importing or not is_import:
            return None
        with self.alone():
            specs = (
                finder.find_spec(name, path, target)
                for finder in list(sys.meta_path)
                if finder is not self and hasattr(finder, "find_spec")
            )
            spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = cast(Loader, _Loader(spec.loader, self))
        return spec

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """For imports in here this finder does not exist: they are part of one being measured."""
        thread = threading.get_ident()
        self._importing.add(thread)
        try:
            yield
        finally:
            self._importing.discard(thread)


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
        # The module itself is in sys.modules by now, and empty.
        fresh = {k: g for k, g in _RANDOM.items() if sys.modules.get(g.module, module) is module}
        before = _take(_OPTIONS)
        try:
            with self._finder.alone():
                self._inner.exec_module(module)
        finally:
            _lines.extend(apply_pending())  # not the step's doing either: before the measure
            changed = _differences(before, _take(_OPTIONS | fresh), ())
            if changed:
                _imports.append(changed)
