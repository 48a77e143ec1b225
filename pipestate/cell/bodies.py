"""What the functions and classes that a cell defines do, and when that counts.

A body counts where the name is first mentioned after that, since it may be called from there on;
or at once where a decorator, a base or a descriptor may call it.
"""

from __future__ import annotations

import ast
from typing import Any, Final

from .facts import KEEP, LOOK, WRITE, Facts, State, meet, merge
from .flow import Flow
from .lookers import QUIET_DECORATORS
from .scopes import (
    FunctionNode,
    Scope,
    class_scope,
    function_scope,
    names_scope,
    parameter_annotations,
    type_parameters,
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Bodies(Flow):
    """Walks definitions; the whole of a cell, then, its functions counted by `use_bodies`.

    function, class_
      header      what runs where the definition stands
      inside      what the body does, seen from nowhere in particular
      defined     kept for when the name is used
    """

    def __init__(self, scope: Scope, local_definitions: frozenset[str]) -> None:
        super().__init__(scope, local_definitions)
        self.bodies: dict[str, list[Facts]] = {}
        self.methods = Facts()

    def assign(self, node: ast.Assign) -> None:
        """`a = b = value`; lambdas in it that nothing calls here count when a name is used."""
        names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        is_simple = self.scope.parent is None and len(names) == len(node.targets)
        if is_simple and _lambdas(node.value):
            facts = Facts()
            self.held(node.value, facts)
            for name in names:
                self.defined(name, facts, is_used=False)
            return
        self.expr(node.value, KEEP)
        for target in node.targets:
            self.store(target)

    def held(self, node: ast.expr, facts: Facts) -> None:
        """Read a lambda or a display of a container; what its lambdas do goes to `facts`."""
        if isinstance(node, ast.Lambda):
            self.arguments(node.args)
            merge(facts, self.inside(node), {})
        elif _lambdas(node):
            for part in _display(node):
                self.held(part, facts)
        else:
            self.expr(node, KEEP)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """`def`: the body counts when it is used."""
        self.header(node)
        outer = self.type_parameters(node)
        facts = self.inside(node)
        self.scope = outer
        self.defined(node.name, facts, is_used=not _is_quiet(node.decorator_list))

    def class_(self, node: ast.ClassDef) -> None:
        """`class`: its body runs now; its methods may from then on, if anything is handed it."""
        before, methods, calls_own = dict(self.state), self.methods, self.calls_own
        self.methods, self.calls_own = Facts(), False
        self.header(node)
        facts = self.methods
        if self.calls_own:  # its body mentions a method, and may call it there
            merge(self.facts, facts, before)
        self.methods, self.calls_own = methods, calls_own
        # A base's `__init_subclass__` or a descriptor's `__set_name__` may call methods at once.
        is_used = bool(node.decorator_list or node.bases or node.keywords) or _has_objects(node)
        self.defined(node.name, facts, is_used=is_used)

    def header(self, node: Definition) -> None:
        """What runs where a definition stands: all but the bodies of functions."""
        for decorator in node.decorator_list:
            self.expr(decorator, WRITE)
        if isinstance(node, ast.ClassDef):
            outer = self.type_parameters(node)
            for base in (*node.bases, *(option.value for option in node.keywords)):
                self.expr(base, KEEP)
            self.scope = class_scope(node, self.scope)
            self.block(node.body)
        else:
            self.arguments(node.args)
            outer = self.type_parameters(node)
            for annotation in (
                *parameter_annotations(node.args),
                *([node.returns] if node.returns else []),
            ):
                self.annotation(annotation)
        self.scope = outer

    def defined(self, name: str, facts: Facts, *, is_used: bool) -> None:
        """Bind a function or class, and keep what it does until somebody uses it."""
        self.facts.mentions |= facts.mentions | {path.name for path in facts.reads}
        if self.scope.kind == "class" and not is_used and self.scope.owner(name) is self.scope:
            merge(self.methods, facts, {})
        elif self.scope.parent is None and not is_used:
            self.bodies.setdefault(name, []).append(facts)
        else:
            merge(self.facts, facts, self.state)
        self.bind(name)

    def inside(self, node: FunctionNode) -> Facts:
        """What a function's body does, seen from nowhere in particular."""
        walker = Bodies(function_scope(node, self.scope), self.local_definitions)
        walker.is_late = True
        if isinstance(node, ast.Lambda):
            walker.expr(node.body, KEEP)
        else:
            walker.block(node.body)
        return walker.facts

    def type_parameters(self, node: ast.AST) -> Scope:
        """Enter the scope of type parameters, if there are any; the scope to go back to."""
        outer = self.scope
        if parameters := type_parameters(node):
            self.scope = names_scope([p.name for p in parameters], outer)  # type: ignore[attr-defined]
            for parameter in parameters:
                self.parts(parameter, LOOK)
        return outer

    def alias(self, node: Any) -> None:
        """`type X = …`, looked at when somebody asks for its value."""
        outer = self.type_parameters(node)
        self.expr(node.value, KEEP)
        self.scope = outer
        self.bind(node.name.id)

    def timed(self, tree: ast.Module) -> None:
        """`%timeit` runs its code as a function's body: what it binds is gone after it."""
        function = ast.parse("def timed(): pass").body[0]
        assert isinstance(function, ast.FunctionDef)
        function.body = tree.body
        merge(self.facts, self.inside(function), self.state)


def use_bodies(walker: Bodies) -> None:
    """Count the bodies of the functions and classes that the cell mentions, and what they mention.

    Each from the first state in which it may run.
    """
    done: dict[str, State] = {}
    while True:
        todo = {n: s for n, s in walker.facts.loads.items() if n in walker.bodies}
        todo = {n: s for n, s in todo.items() if n not in done or meet(done[n], s) != done[n]}
        if not todo:
            return
        for name, state in todo.items():
            done[name] = meet(done[name], state) if name in done else dict(state)
            for body in walker.bodies[name]:
                merge(walker.facts, body, done[name])


def defined_names(tree: ast.Module) -> frozenset[str]:
    """Names that functions, classes and lambdas anywhere in a cell are given."""
    found = set[str]()
    # All of them are statements, which only statements hold: to look at expressions as well takes
    # as long as the rest of the analysis.
    waiting: list[Any] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, Definition):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            if _lambdas(node.value):
                found.update(t.id for t in node.targets if isinstance(t, ast.Name))
            continue
        for held in node._fields:
            if held in _BLOCKS:
                waiting.extend(getattr(node, held))
    return frozenset(found)


_BLOCKS: Final = frozenset(("body", "orelse", "finalbody", "handlers", "cases"))
"""Where a statement, a handler or a case has statements, handlers or cases."""


def _display(node: ast.expr) -> list[ast.expr]:
    """The parts of a list, a tuple or a dict as it is written down, keys that are `**` aside."""
    if isinstance(node, (ast.List, ast.Tuple)):
        return node.elts
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return [part for pair in pairs for part in pair if part is not None]
    return []


def _lambdas(node: ast.expr) -> bool:
    """Whether it is a lambda, or holds one that nothing calls while it is made."""
    return isinstance(node, ast.Lambda) or any(map(_lambdas, _display(node)))


def _has_objects(node: ast.ClassDef) -> bool:
    """Whether a class body assigns anything but constants, which may be descriptors."""
    return any(
        isinstance(part, (ast.Assign, ast.AnnAssign))
        and part.value is not None
        and not isinstance(part.value, ast.Constant)
        for part in node.body
    )


def _is_quiet(decorators: list[ast.expr]) -> bool:
    """Whether none of the decorators calls what it is given."""
    return all(
        (isinstance(d, ast.Name) and d.id in QUIET_DECORATORS)
        or (isinstance(d, ast.Attribute) and d.attr in QUIET_DECORATORS)
        for d in decorators
    )


Bodies.statements = Flow.statements | {
    ast.Assign: Bodies.assign,
    ast.FunctionDef: Bodies.function,
    ast.AsyncFunctionDef: Bodies.function,
    ast.ClassDef: Bodies.class_,
}
if hasattr(ast, "TypeAlias"):
    Bodies.statements[ast.TypeAlias] = Bodies.alias
