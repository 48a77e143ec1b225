"""What the simple statements of a cell bind, delete and store into."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from ..record import IMPORTED
from .calls import Calls
from .facts import KEEP, LOOK, WRITE, State, key_of, meet
from .lookers import DYNAMIC_ATTRIBUTES, DYNAMIC_MODULES, DYNAMIC_NAMES
from .magics import MagicText, words
from .scopes import Scope, bound_name

Statement = Callable[[Any, Any], None]


class Writes(Calls):
    """Walks statements one after another; this class those without statements inside.

    block(body)
      mark, store     names get and lose meanings
      magic           Python that magics run, in the same order
    """

    statements: ClassVar[dict[type[ast.AST], Statement]]

    def __init__(self, scope: Scope, local_definitions: frozenset[str]) -> None:
        super().__init__(scope, local_definitions)
        self.is_dead = False
        self.is_late = False
        self.log: list[tuple[str, bool]] = []

    def block(self, body: Iterable[ast.stmt]) -> None:
        """Run statements one after another."""
        for node in body:
            method = self.statements.get(type(node))
            if method is None:
                self.parts(node, LOOK)
            else:
                method(self, node)

    def bind(self, name: str) -> None:
        """Give a name of the present scope a meaning."""
        self.mark(name, value=True)

    def unbind(self, name: str) -> None:
        """Take a name of the present scope its meaning."""
        self.mark(name, value=False)

    def mark(self, name: str, *, value: bool) -> None:
        """Note that a name is bound or deleted here."""
        name = self.scope.mangled(name)
        owner: Scope | None = self.scope
        if self.scope.parent is not None:
            owner = self.scope.owner(name)
            if owner is not None and owner.kind != "class":
                return
        key = key_of(owner, name)
        self.state[key] = value
        self.log.append((key, value))
        if key == name:
            self.facts.touched.add(name)
            if self.is_late:
                (self.facts.late_bound if value else self.facts.late_deleted).add(name)

    def store(self, target: ast.expr) -> None:
        """Assign to a target."""
        if isinstance(target, ast.Name):
            self.bind(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self.store(element)
        elif isinstance(target, ast.Starred):
            self.store(target.value)
        else:
            self.whole(target, WRITE)

    def expression(self, node: ast.Expr) -> None:
        """At the top a bare value may be displayed, and `Out` holds it then."""
        self.expr(node.value, KEEP if self.scope.parent is None else LOOK)

    def augmented(self, node: ast.AugAssign) -> None:
        """`a += value`: a list that is added to holds what is added."""
        self.whole(node.target, WRITE)
        self.expr(node.value, KEEP)
        if isinstance(node.target, ast.Name):
            self.bind(node.target.id)

    def annotated(self, node: ast.AnnAssign) -> None:
        """`a: t = value`; `a: t` binds nothing."""
        if node.value is not None:
            self.expr(node.value, KEEP)
            self.store(node.target)
        elif not isinstance(node.target, ast.Name):
            self.whole(node.target, LOOK)
        self.annotation(node.annotation)

    def annotation(self, node: ast.AST) -> None:
        """An annotation; a text that is one may be looked up by whoever asks for type hints."""
        self.expr(node, KEEP)
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                for word in words(part.value):
                    self.name(word, (), LOOK)

    def delete(self, node: ast.Delete) -> None:
        """`del a, b["k"]`: deleting a name fails where there is none, so it is read."""
        for target in node.targets:
            self.delete_target(target)

    def delete_target(self, target: ast.expr) -> None:
        """One target of `del`."""
        if isinstance(target, ast.Name):
            self.name(target.id, (), LOOK)
            self.unbind(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self.delete_target(element)
        else:
            self.whole(target, WRITE)

    def assertion(self, node: ast.Assert) -> None:
        """`assert`, which `python -O` leaves out."""
        before = dict(self.state)
        self.parts(node, LOOK)
        self.state = meet(before, self.state)

    def leave(self, node: ast.Return | ast.Raise) -> None:
        """`return`, `raise`: what follows is out of reach."""
        self.parts(node, KEEP)
        self.is_dead = True

    def import_(self, node: ast.Import | ast.ImportFrom) -> None:
        """An import; stars bind nobody knows what."""
        if _leads_everywhere(node):
            self.facts.flags.add("dynamic")
        for alias in node.names:
            if alias.name != "*":
                self.bind(bound_name(alias))
        if self.in_function():
            self.facts.flags.update(IMPORTED + name for name in _modules(node))

    def nothing(self, _node: ast.stmt) -> None:
        """`pass`, `global`, `nonlocal`: scopes know of these."""

    def magic(self, text: MagicText) -> None:
        """Read what a magic runs, and bind what it may bind."""
        for expression in text.shown:
            self.expr(expression, LOOK)
        for code in text.code:
            if code.tree is None:
                continue
            if code.is_function:
                self.timed(code.tree)
                continue
            before, since = dict(self.state), len(self.log)
            self.block(code.tree.body)
            if not code.is_sure:
                self.state = meet(self.weakened(before, since), self.state)
        for word in text.words:
            self.name(word, (), WRITE)
        for name in text.binds:
            before = dict(self.state)
            self.bind(name)
            self.state = meet(before, self.state)
        if text.is_foreign:
            self.facts.mentions.add("get_ipython")
        if text.is_dynamic:
            self.facts.flags.add("dynamic")

    def timed(self, tree: ast.Module) -> None:
        """Python that runs as a function's body."""
        raise NotImplementedError

    def weakened(self, state: State, since: int) -> State:
        """What holds wherever, since that mark in the log, things were left by an exception."""
        undone = {(key, not value) for key, value in self.log[since:]}
        return {
            key: None if value is not None and (key, value) in undone else value
            for key, value in state.items()
        }


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that an import may import."""
    names = [alias.name for alias in node.names]
    base = node.module or "" if isinstance(node, ast.ImportFrom) else ""
    return [base, *(f"{base}.{name}" for name in names)] if base else names


def _leads_everywhere(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether an import gives what reaches every name, by a name that would not show it."""
    if isinstance(node, ast.Import):
        return any(alias.name == "__main__" for alias in node.names)
    module = (node.module or "").partition(".")[0]
    if module not in DYNAMIC_MODULES:
        return module == "__main__"
    ways = (DYNAMIC_NAMES | DYNAMIC_ATTRIBUTES) - {"get_ipython"}  # which is known by its name
    return any(a.name in ways or (a.asname and a.name == "get_ipython") for a in node.names)


Writes.statements = {
    ast.Expr: Writes.expression,
    ast.AugAssign: Writes.augmented,
    ast.AnnAssign: Writes.annotated,
    ast.Delete: Writes.delete,
    ast.Assert: Writes.assertion,
    ast.Return: Writes.leave,
    ast.Raise: Writes.leave,
    ast.Import: Writes.import_,
    ast.ImportFrom: Writes.import_,
    ast.Global: Writes.nothing,
    ast.Nonlocal: Writes.nothing,
    ast.Pass: Writes.nothing,
}
