"""What the analysis says of random programs, held against what Python does when it runs them.

The globals are a dict that tells which names are looked up before they are bound, holding probes
that tell which of their parts are seen or written. Whatever is seen has to be foretold.
"""

from __future__ import annotations

import builtins
import random
import symtable
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipestate.cell.names import Names, analyse
from pipestate.record import AccessPath

NAMES = ["a", "b", "c", "d", "x", "y", "f", "g", "_C__p"]
KEYS = ['"k"', "0", "-1", '"z"', "True", "None"]
PATTERNS = ["0", "_", "[N, *N]", "{'k': N, **N}", "(N | 0)", "0 | 1", "int() as N", "[0, N]", "N"]
BUDGET = 2000


class Programs:
    """Writes random programs; most of them compile, and each ends soon."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.is_in = {"function": False, "loop": False, "class": False, "iterable": False}

    def inside(self, make: Callable[[], str], **where: bool) -> str:
        before, self.is_in = self.is_in, self.is_in | where
        made = make()
        self.is_in = before
        return made

    def name(self) -> str:
        is_private = self.is_in["class"] and self.rng.random() < 0.1
        return "__p" if is_private else self.rng.choice(NAMES[:-1])

    def fill(self, form: str, depth: int) -> str:
        """A form with names for N, expressions for E, keys for K, targets for T."""
        makers: dict[str, Callable[[], str]] = {
            "N": self.name,
            "E": lambda: self.expr(depth - 1),
            "K": lambda: self.rng.choice(KEYS),
            "T": self.target,
        }
        return "".join(makers[char]() if char in makers else char for char in form)

    def target(self) -> str:
        form = self.rng.choice(["N", "N", "N", "N.p", "N[K]", "(N, *N)"])
        return self.fill(form, 1)

    def expr(self, depth: int) -> str:
        if depth <= 0:
            return self.rng.choice([self.name(), self.name(), "0", "1", "'s'", "''"])
        forms = ["N", "N", "N.p", "N.__p", "N[K]", "N[K].q", "N[E]", "(E + E)", "(E and E)"]
        forms += ["(E or E)", "(E < E < E)", "(E if E else E)", "N(E)", "N(E, E)", "N.m(E)"]
        forms += [
            "N.mean(E)",
            "N.copy()",
            "(lambda N=E: E)",
            "(lambda: E)()",
            "f'{N}'",
            "[E, *[E]]",
        ]
        forms += ["len(E)", "list(E)", "sorted(E)", "(E, E)", "comprehension", "comprehension"]
        if not self.is_in["iterable"] and not self.is_in["class"]:
            forms += ["(N := E)", "(N := E)"]
        form = self.rng.choice(forms)
        return self.comprehension(depth) if form == "comprehension" else self.fill(form, depth)

    def comprehension(self, depth: int) -> str:
        head = self.fill(self.rng.choice(["E for N", "E for N", "E for N, N", "E for N.p"]), depth)
        over = [self.inside(lambda: self.expr(depth - 1), iterable=True) for _ in range(2)]
        tail = self.fill(self.rng.choice(["", "", " if E"]), depth)
        if self.rng.random() < 0.3:
            tail += f" for {self.name()} in {over[1]}"
        form = self.rng.choice(["[{}]", "list({})", "{{0: {}}}"])
        return form.format(f"{head} in {over[0]}{tail}")

    def block(self, depth: int, first: str = "") -> str:
        lines = [first, *(self.stmt(depth) for _ in range(self.rng.randrange(1, 4)))]
        return textwrap.indent("\n".join(line for line in lines if line), "    ")

    def stmt(self, depth: int) -> str:
        forms = ["T = E", "T = E", "N = N = E", "N += E", "N.p += E", "N: E", "N: E = E", "del N"]
        forms += ["del N", "del N.p", "del N[0]", "E", "E", "assert E", "import os as N", "pass"]
        forms += ["N = lambda N: E", "raise ValueError", "from os import path as N"]
        forms += ["break", "continue"] if self.is_in["loop"] else []
        forms += ["return E"] if self.is_in["function"] else []
        if depth > 0 and self.rng.random() < 0.5:
            kinds = (self.if_, self.loop, self.try_, self.with_, self.def_, self.class_, self.match)
            return self.rng.choice(kinds)(depth)
        return self.fill(self.rng.choice(forms), 2)

    def if_(self, depth: int) -> str:
        text = self.fill("if E:\n", 2) + self.block(depth - 1)
        if self.rng.random() < 0.4:
            text += self.fill("\nelif E:\n", 2) + self.block(depth - 1)
        return text + self.orelse(depth)

    def orelse(self, depth: int) -> str:
        return f"\nelse:\n{self.block(depth - 1)}" if self.rng.random() < 0.4 else ""

    def loop(self, depth: int) -> str:
        heads = ["for T in E", "for T in (1, 2)", "for T in [0]", "while E", "while True"]
        head = self.fill(self.rng.choice(heads), 2)
        body = self.inside(lambda: self.block(depth - 1, first="tick()"), loop=True)
        return f"{head}:\n{body}{self.orelse(depth)}"

    def try_(self, depth: int) -> str:
        text = f"try:\n{self.block(depth - 1)}"
        kind = self.rng.randrange(3)
        if kind:
            head = self.fill(self.rng.choice(["Exception", "Exception as N", "ValueError as N"]), 1)
            text += f"\nexcept {head}:\n{self.block(depth - 1)}{self.orelse(depth)}"
        if kind != 1:
            # A jump out of `finally` would swallow the end of the budget.
            last = self.inside(lambda: self.block(depth - 1), loop=False, function=False)
            text += f"\nfinally:\n{last}"
        return text

    def with_(self, depth: int) -> str:
        head = self.fill(self.rng.choice(["with E", "with E as T", "with E as N, E as T"]), 2)
        return f"{head}:\n{self.block(depth - 1)}"

    def def_(self, depth: int) -> str:
        name, head = self.name(), self.fill(self.rng.choice(["", "N", "N=E", "*a, **b"]), 2)
        first = self.fill(self.rng.choice(["", "", "global N", "nonlocal N"]), 1)
        body = self.inside(lambda: self.block(depth - 1, first), function=True, loop=False)
        decorator = self.fill(self.rng.choice(["", "", "", "", "@N\n"]), 1)
        call = self.rng.choice(["", "N()", "N(E)"]).replace("N", name)
        return f"{decorator}def {name}({head}):\n{body}\n{self.fill_call(call)}"

    def fill_call(self, call: str) -> str:
        return call.replace("E", self.expr(1))

    def class_(self, depth: int) -> str:
        name, base = self.rng.choice([self.name(), "C"]), self.rng.choice(["", "", "", "(N)"])
        first = self.fill(self.rng.choice(["", "", "global N"]), 1)
        where = {"class": True, "loop": False, "function": False}
        body = self.inside(lambda: self.block(depth - 1, first), **where)
        call = self.fill(self.rng.choice(["", ".N()", "().N()", "().N(E)"]), 1)
        return f"class {name}{self.fill(base, 1)}:\n{body}\n{name + call if call else ''}"

    def match(self, depth: int) -> str:
        text = self.fill("match E:", 2)
        for _ in range(self.rng.randrange(1, 3)):
            head = self.fill(self.rng.choice(PATTERNS) + self.rng.choice(["", "", " if E"]), 1)
            text += "\n" + textwrap.indent(f"case {head}:\n{self.block(depth - 1)}", "    ")
        return text

    def program(self) -> str:
        return "\n".join(self.stmt(2) for _ in range(self.rng.randrange(1, 6)))


class BudgetError(BaseException):
    """A program ran long enough."""


class Log:
    """What a program did."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.looked_up: set[str] = set()
        self.rebound: set[str] = set()
        self.seen: set[tuple[Any, ...]] = set()
        self.written: set[str] = set()
        self.steps = 0

    def tick(self) -> None:
        self.steps += 1
        if self.steps > BUDGET:
            raise BudgetError


class Probe:
    """A value that tells which of its parts are seen."""

    __slots__ = ("_log", "_place")

    def __init__(self, log: Log, place: tuple[Any, ...]) -> None:
        object.__setattr__(self, "_log", log)
        object.__setattr__(self, "_place", place)

    def _part(self, *part: Any) -> Probe:
        self._log.tick()
        return Probe(self._log, (*self._place, part))

    def _see(self, *others: object) -> None:
        self._log.tick()
        self._log.seen.add(self._place)
        for other in others:
            if isinstance(other, Probe):
                other._see()  # noqa: SLF001 - of its own kind

    def _write(self, *_: object) -> None:
        self._see()
        self._log.seen.add(self._place[:1])
        self._log.written.add(self._place[0])

    def _maybe(self, *others: object) -> bool:
        self._see(*others)
        return self._log.rng.random() < 0.5

    def _number(self, *others: object) -> int:
        self._see(*others)
        return 1

    def _text(self, *_: object) -> str:
        self._see()
        return "text"

    def __getattr__(self, name: str) -> Probe:
        if name.startswith("__") and name.endswith("__"):
            self._see()
            raise AttributeError(name)
        return self._part("attr", name)

    def __getitem__(self, key: object) -> Probe:
        if key is None or isinstance(key, (int, str)):
            return self._part("item", key)
        self._see(key)
        return self._part("any")

    def __call__(self, *given: object) -> object:
        self._see(*given)
        if len(self._place) > 1 and self._place[-1][0] == "attr":
            self._log.seen.add(self._place[:-1])
        for function in given:
            if callable(function) and not isinstance(function, Probe) and self._maybe():
                function()
        return 1 if self._place[-1] == ("attr", "mean") else self._log.rng.choice([0, 1, self])

    def __iter__(self) -> Iterator[object]:
        self._see()
        return iter([self._part("any") for _ in range(self._log.rng.randrange(3))])

    def __iadd__(self, other: object) -> Probe:
        self._see(other)
        self._log.written.add(self._place[0])
        return self

    def __enter__(self) -> Probe:
        self._see()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, Exception) and self._maybe()

    def __hash__(self) -> int:
        return self._number()

    __bool__ = __lt__ = __gt__ = __eq__ = __contains__ = _maybe  # type: ignore[assignment]
    __add__ = __radd__ = __len__ = __index__ = _number
    __repr__ = __str__ = __format__ = _text  # type: ignore[assignment]
    __setitem__ = __delitem__ = __setattr__ = __delattr__ = _write  # type: ignore[assignment]


class Globals(dict[str, Any]):
    """A namespace that tells which names are looked up while they mean what they meant before."""

    def __init__(self, log: Log, initial: dict[str, Any]) -> None:
        super().__init__(initial)
        self.log, self.initial = log, initial

    def __getitem__(self, name: str) -> Any:
        self.log.tick()
        is_missing = name not in self
        if name in self.initial:
            if not is_missing and self.get(name) is self.initial[name]:
                self._look_up(name)
        elif is_missing and name != "C":
            self._look_up(name)
        return super().__getitem__(name)

    def _look_up(self, name: str) -> None:
        if name not in self.log.rebound:
            self.log.looked_up.add(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.log.rebound.add(name)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        if self.get(name) is self.initial.get(name, self):
            self._look_up(name)
        self.log.rebound.add(name)
        super().__delitem__(name)


def compiled(source: str) -> Any:
    """The code of a program, None if it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            return compile(source, "<program>", "exec", dont_inherit=True)
        except SyntaxError:
            return None


def complaints(source: str, code: Any, rng: random.Random) -> list[str]:
    """What the analysis of a program did not foretell."""
    log = Log(rng)
    initial: dict[str, Any] = {name: Probe(log, (name,)) for name in NAMES}
    initial |= {"__name__": "__main__", "tick": log.tick}
    namespace = Globals(log, initial)
    dict.__setitem__(namespace, "__builtins__", builtins.__dict__)
    try:
        exec(code, namespace)
        is_done = True
    except (Exception, BudgetError):  # noqa: BLE001 - programs fail as they please
        is_done = False
    names = analyse(source)
    return [*_unseen(names, log), *_unbound(names, namespace, is_done=is_done)]


def _unseen(names: Names, log: Log) -> Iterator[str]:
    roots = {path.name for path in names.reads}
    for name in log.looked_up:
        if not name.startswith("__") and not {name} <= roots & names.mentions:
            yield f"{name} was looked up"
    changed = names.kept | names.writes
    wide = {(path.name, *path.parts) for path in names.reads} | {(name,) for name in changed}
    wide |= {(path.name, *path.parts[:-1]) for path in names.called if path.parts}
    for place in log.seen:
        if not any(place[:end] in wide for end in range(1, len(place) + 1)):
            yield f"{place} was seen"
    for name in log.written - changed:
        if AccessPath(name) not in names.called:  # a called object may hand itself out
            yield f"{name} was written"


def _unbound(names: Names, namespace: Globals, *, is_done: bool) -> Iterator[str]:
    touched = names.binds | names.may_bind | names.deletes
    if len(touched) != len(names.binds) + len(names.may_bind) + len(names.deletes):
        yield "a name is in two sets"
    for name in namespace.keys() | namespace.initial.keys():
        is_same = namespace.get(name) is namespace.initial.get(name)
        is_pythons = name in ("__builtins__", "__annotations__", "__name__")
        if not is_same and not is_pythons and name not in touched:
            yield f"{name} was changed"
    if is_done:
        yield from (f"{name} is not bound" for name in names.binds - namespace.keys())
        yield from (f"{name} is not gone" for name in names.deletes & namespace.keys())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64))
@example(20_922_789_887_999)
def test_what_a_program_sees_and_changes_is_foretold(seed: int) -> None:
    """No name, no part of a value and no binding that Python meets is missing from the analysis."""
    source = Programs(random.Random(seed)).program()
    code = compiled(source)
    if code is not None:
        found = complaints(source, code, random.Random(seed))
        assert not found, f"{found} in:\n{source}"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**64))
@example(20_922_789_887_999)
@example(1_184_899)
def test_names_are_resolved_as_python_resolves_them(seed: int) -> None:
    """Every global that some block looks up, by Python's symbol table, is known."""
    source = Programs(random.Random(seed)).program()
    if compiled(source) is None:
        return
    names = analyse(source)
    known = names.mentions | names.binds | names.may_bind | names.deletes
    # What nothing calls is only mentioned, and not by a name that it binds before it looks it up.
    used = analyse(f"{source}\n({' or '.join(names.binds | names.may_bind)})")
    bound_first = (used.binds | used.may_bind) - {path.name for path in used.reads}
    assert _looked_up(symtable.symtable(source, "<program>", "exec")) <= known | bound_first


def _looked_up(table: symtable.SymbolTable) -> set[str]:
    found = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module")
    }
    return found.union(*(_looked_up(child) for child in table.get_children()))
