"""The run from the top: all cells down to one, in an empty namespace, without pipestate."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import random
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .canon import Canon


@dataclass(frozen=True)
class Shown:
    """What a cell shows: the text it prints and the text of its result, or the error it raises."""

    out: str = ""
    result: str | None = None
    error: str = ""


@dataclass(frozen=True)
class Bare:
    """The last cell of a run from the top: what it showed, what it bound, what it changed."""

    shown: Shown
    ns: dict[str, Any]
    bound: frozenset[str]
    changed: frozenset[str]
    gone: frozenset[str]
    failed: str = ""


@functools.cache
def parse(source: str) -> ast.Module:
    """The tree of a cell, made once."""
    return ast.parse(source)


@functools.cache
def surely_bound(source: str) -> frozenset[str]:
    """The names that the top level of a cell binds whatever happens."""
    found: set[str] = set()
    for node in parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name))
            found |= {n.id for n in stored if isinstance(n.ctx, ast.Store)}
        elif isinstance(node, ast.Delete):
            found -= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return frozenset(found)


def _imports(source: str) -> str:
    """The imports of a cell: what it imported when it last ran is there, whatever it does now."""
    lines = [n for n in parse(source).body if isinstance(n, (ast.Import, ast.ImportFrom))]
    return "\n".join(map(ast.unparse, lines))


class Executor:
    """Runs cells from the top as IPython would show them, in a namespace of its own."""

    def __init__(self, text_of: Callable[[Any], str]) -> None:
        self._text_of = text_of

    def run(self, cells: Sequence[tuple[str, str]], *, salt: int = 0, mend: str = "") -> Bare:
        """Run `(step, source)` cells; `mend` says how to go on after a failing cell above.

        "": not at all; "stop": with what it did until it failed; "skip": as if it had nothing but
        its imports; "halt": with what it did until it failed, and its imports; "limp": with every
        statement of it that can run.
        """
        state = random.getstate()
        random.seed(salt)
        try:
            return self._run(cells, mend, salt)
        finally:
            random.setstate(state)

    def _run(self, cells: Sequence[tuple[str, str]], mend: str, salt: int) -> Bare:
        ns = _empty()
        for number, (step, source) in enumerate(cells[:-1]):
            error = self._body(source, ns).error
            if not error:
                continue
            if not mend:
                return Bare(Shown(error=error), ns, *[frozenset()] * 3, failed=step)
            if mend == "skip":
                left = _imports(source) if _imports(source) != source else ""
                rest = [*cells[:number], (step, left), *cells[number + 1 :]]
                random.seed(salt)
                return self._run(rest, mend, salt)
            if mend == "halt":
                self._limp(_imports(source), ns)
            if mend == "limp":
                ns = _empty()
                random.seed(salt)
                for _, above in cells[: number + 1]:
                    self._limp(above, ns)
        before = users(ns)
        earlier = {name: Canon().of(value) for name, value in before.items()}
        shown = self._body(cells[-1][1], ns)
        after = users(ns)
        changed = {
            name
            for name, value in after.items()
            if name not in before or before[name] is not value or Canon().of(value) != earlier[name]
        }
        bound = surely_bound(cells[-1][1]) & after.keys()
        gone = before.keys() - after.keys()
        return Bare(shown, after, frozenset(bound), frozenset(changed - bound), frozenset(gone))

    def _limp(self, source: str, ns: dict[str, Any]) -> None:
        for node in parse(source).body:
            with contextlib.redirect_stdout(Text()), contextlib.suppress(Exception):
                exec(_compiled([node]), ns)

    def _body(self, source: str, ns: dict[str, Any]) -> Shown:
        nodes = list(parse(source).body)
        last = nodes.pop() if nodes and isinstance(nodes[-1], ast.Expr) else None
        text, result, error = Text(), None, ""
        with contextlib.redirect_stdout(text):
            try:
                exec(_compiled(nodes), ns)
                if last is not None:
                    shown = compile(ast.Expression(last.value), "<cell>", "eval", dont_inherit=True)
                    value = eval(shown, ns)
                    result = None if value is None else tidy(self._text_of(value))
            except Exception as raised:  # noqa: BLE001 - the program's own, compared by its type
                error = type(raised).__name__
        return Shown(tidy(text.text), result, error)


def _compiled(nodes: list[ast.stmt]) -> types.CodeType:
    """Statements as a cell has them: what this module imports from `__future__` is not theirs."""
    return compile(ast.Module(nodes, []), "<cell>", "exec", dont_inherit=True)


class Text:
    """A stream that remembers."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        return


def _empty() -> dict[str, Any]:
    return {"__name__": "__main__", "__builtins__": builtins}


def users(ns: Mapping[str, Any]) -> dict[str, Any]:
    """The names that cells bound."""
    return {name: value for name, value in ns.items() if not name.startswith("__")}


def tidy(text: str) -> str:
    """A text without the addresses in it."""
    return re.sub(r"0x[0-9a-fA-F]{4,}", "0x", text)
