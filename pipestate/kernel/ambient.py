"""What a cell changes in the process rather than in a name, kept key by key and put back as values.

Environment variables, `sys.path`, the working directory, warning filters, logging levels, the
options of matplotlib, pandas, numpy and torch, the decimal context, the locale and the global
random states. Only what is imported is looked at, and nothing is imported here. A value is plain
data wherever the library's own value has such a form, so that it survives pickling and compares by
content. This room does not know which steps set a key, nor for whom it counts: it tells what
differs between two moments, and makes it so again. (Nix keeps a build's environment in this way, as
a set of values and never as a script to be replayed.)

The kinds of state, and the keys of each, are in `kinds`.

**What an import changed belongs to the import.** The first `import pandas` adds warning filters,
the second adds none; were they the step's, the step would differ between two runs. So each
outermost import is measured on its own (see `imports`), and `changes` counts from what it left.
Random states that were there before are the exception: a draw is a draw.

**Order.** Entries of `sys.path` and warning filters stand in rows where order counts. The value of
one is itself and its two neighbours, `(row, before it, after it)`: it is right where it stands
between those two, and is put there when it does not; whatever else was added stays as it is.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
import os
import sys
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from . import modulestate
from .kinds import (
    GONE,
    GROUPS,
    OPTIONS,
    RANDOM,
    REFUSED,
    ROWS,
    Row,
    class_named,
    digest_key,
    is_at_hand,
    plain,
    take,
)


class Ambient(Struct, frozen=True, dict=True):
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
    return Ambient(take(GROUPS), len(_imports))


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
    strange = [key for key in values if _group_of(key) not in GROUPS]
    lines = [f"{key} is nothing that this pipestate can set" for key in strange]
    for name, group in GROUPS.items():
        if name not in wanted:
            continue
        raw = take({name: group})
        waiting = {key: value for key, value in wanted[name].items() if not is_at_hand(key)}
        _pending.update((key, value) for key, value in waiting.items() if value is not GONE)
        wanted[name] = {key: v for key, v in wanted[name].items() if key not in waiting}
        if raw:
            lines += (_put_rows if name in ROWS else _put)(name, raw[name], wanted[name])
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
        _put_rows(name, GROUPS[name].take(), {})
    return lines


def drop_pending() -> None:
    """Forget what waits: another job is in use."""
    for waiting in (_pending, _unsettled, _lines):
        waiting.clear()


def forget(keys: Iterable[str]) -> None:
    """Let these keys wait for an import no longer."""
    for key in keys:
        _pending.pop(key, None)


@contextlib.contextmanager
def importing(module: types.ModuleType) -> Iterator[None]:
    """What changes in here, while a module's code runs, is the import's doing: `changes` leaves it
    out."""
    # The module itself is in sys.modules by now, and empty.
    fresh = {k: g for k, g in RANDOM.items() if sys.modules.get(g.module, module) is module}
    known = {*sys.modules} - {module.__name__}
    before = take(OPTIONS)
    try:
        yield
    finally:
        modulestate.note_born([name for name in list(sys.modules) if name not in known])
        _lines.extend(apply_pending())  # not the step's doing either: before the measure
        changed = _differences(before, take(OPTIONS | fresh), ())
        if changed:
            _imports.append(changed)


# The process has one state, so these belong to the module: what each measured import changed, what
# waits for an import, rows whose neighbours are not there yet, lines nobody has read yet.
_imports: list[dict[str, object]] = []
_pending: dict[str, object] = {}
_unsettled: dict[str, object] = {}
_lines: list[str] = []


# --- what differs --------------------------------------------------------------------------------


def _values(name: str, raw: Any) -> dict[str, Any]:
    """The values in plain form by their full keys."""
    if name in ROWS:
        nearby = zip((None, *raw), raw, (*raw[1:], None), strict=False)
        return {f"{name}:{row}": (row, above, below) for above, row, below in nearby}
    if name == "env":
        return {f"env:{os.fsdecode(key)}": os.fsdecode(value) for key, value in raw.items()}
    return {f"{name}:{key}" if key else name: plain(value) for key, value in raw.items()}


def _group_of(key: str) -> str:
    return key if key in GROUPS else key.partition(":")[0]


def _is_ready(key: str, value: Any) -> bool:
    name = _group_of(key)
    if name == "warnings":
        return class_named(value[0][3]) is not None
    return is_at_hand(key) and bool(take({name: GROUPS[name]}))


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
        differ = _changed_rows if name in ROWS else _changed_keys
        found.update(differ(name, () if old is None else old, new, shift))
    return found


def _is_equal(old: Any, new: Any) -> bool:
    try:
        return bool(old == new)
    except REFUSED:  # an option whose value is an array: look at its keys one by one
        return False


def _changed_keys(name: str, old: Any, new: Any, shift: dict[str, object]) -> dict[str, object]:
    base = (_values(name, old) if old else {}) | shift
    now = _values(name, new)
    gone = {key: GONE for key, value in base.items() if key not in now and value is not GONE}
    return {key: value for key, value in now.items() if not _is_same(base, key, value)} | gone


def _is_same(known: Mapping[str, object], key: str, value: object) -> bool:
    return key in known and digest_key(known[key]) == digest_key(value)


def _put(name: str, raw: Any, wanted: Mapping[str, object]) -> list[str]:
    group, lines = GROUPS[name], []
    rests = {key[len(name) + 1 :] for key in wanted}
    now = _values(name, raw if name == "env" else {k: raw[k] for k in rests if k in raw})
    for key, value in wanted.items():
        if value is GONE and name not in ("env", "logging", modulestate.GROUP):
            value = next((entry[key] for entry in _imports if key in entry), GONE)
            if value is GONE:
                continue  # it was there before imports were measured: nobody took it away
        is_unknown = value is GONE and key not in now and name != modulestate.GROUP
        if _is_same(now, key, value) or is_unknown:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a deprecated option: it was set all the same
                group.put(key[len(name) + 1 :], value)
        except REFUSED as error:
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
        if named is None or class_named(named) is not None:
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
        GROUPS[name].put(rows)
    return lines
