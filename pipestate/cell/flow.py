"""What the statements of a cell read and bind, in the order in which Python runs them.

A state holds the names whose earlier meaning is surely out of sight; whatever is read outside of
it is a read of the cell. Where ways meet (branches, loops, exceptions) only what holds on all of
them is kept. A function's body counts where the function's name is first mentioned after that: it
may be called from there on, and later calls see less of the past, not more.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from .lookers import NEVER_SUPPRESSING, QUIET_DECORATORS
from .magics import SESSION, MagicText, words
from .reads import KEEP, LOOK, WRITE, Expressions, Facts, State, key_of, meet
from .scopes import (
    FunctionNode,
    Scope,
    bound_name,
    class_scope,
    function_scope,
    names_scope,
    parameter_annotations,
    type_parameters,
)

End = tuple[State, bool]
"""A state after some statements, and whether it is out of reach."""

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Statements(Expressions):
    """Walks statements.

    block(body)
      one statement each: bindings, branches, loops, try, with, match, definitions
      magic           Python that magics run, in the same order
    bodies            what the functions and classes defined here do when they are used
    """

    def __init__(self, scope: Scope, local_definitions: frozenset[str]) -> None:
        super().__init__(scope, local_definitions)
        self.bodies: dict[str, list[Facts]] = {}
        self.methods = Facts()
        self.is_dead = False
        self.log: list[tuple[str, bool]] = []
        self.breaks: list[list[State]] = []
        self.continues: list[list[State]] = []

    # --- binding ---

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

    # --- control ---

    def block(self, body: Iterable[ast.stmt]) -> None:
        """Run statements one after another."""
        for node in body:
            method = _METHODS.get(type(node))
            if method is None:
                self.parts(node, LOOK)
            else:
                method(self, node)

    def branch(self, state: State, body: Iterable[ast.stmt]) -> End:
        """Run statements from a state; the state after them, and whether it is out of reach."""
        self.state, self.is_dead = dict(state), False
        self.block(body)
        return self.state, self.is_dead

    def join(self, ends: Sequence[End]) -> None:
        """Go on from whichever of these ends was reached."""
        alive = [state for state, is_dead in ends if not is_dead]
        self.is_dead = not alive
        states = alive or [state for state, _ in ends]
        joined = states[0]
        for state in states[1:]:
            joined = meet(joined, state)
        self.state = joined

    def weakened(self, state: State, since: int) -> State:
        """What holds wherever, since that mark in the log, things were left by an exception."""
        undone = {(key, not value) for key, value in self.log[since:]}
        return {
            key: None if value is not None and (key, value) in undone else value
            for key, value in state.items()
        }

    def expression(self, node: ast.Expr) -> None:
        """At the top a bare value may be displayed, and `Out` holds it then."""
        self.expr(node.value, KEEP if self.scope.parent is None else LOOK)

    def assign(self, node: ast.Assign) -> None:
        """`a = b = value`."""
        if isinstance(node.value, ast.Lambda) and self.scope.parent is None:
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
            if len(names) == len(node.targets):
                self.arguments(node.value.args)
                facts = self.inside(node.value)
                for name in names:
                    self.defined(name, facts, is_used=False)
                return
        self.expr(node.value, KEEP)
        for target in node.targets:
            self.store(target)

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

    def jump(self, node: ast.Break | ast.Continue) -> None:
        """`break`, `continue`."""
        ends = self.breaks if isinstance(node, ast.Break) else self.continues
        if ends and not self.is_dead:
            ends[-1].append(dict(self.state))
        self.is_dead = True

    def if_(self, node: ast.If) -> None:
        """`if`, its `elif`s walked without recursion."""
        ends: list[End] = []
        while True:
            self.expr(node.test, LOOK)
            after_test = dict(self.state)
            ends.append(self.branch(after_test, node.body))
            self.state = after_test
            if len(node.orelse) != 1 or not isinstance(node.orelse[0], ast.If):
                break
            node = node.orelse[0]
        ends.append(self.branch(after_test, node.orelse))
        self.join(ends)

    def while_(self, node: ast.While) -> None:
        """`while`: the test runs at least once, the body perhaps never."""
        is_endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        after_test: State = {}

        def turn() -> None:
            nonlocal after_test
            self.expr(node.test, LOOK)
            after_test = dict(self.state)
            self.block(node.body)

        self.breaks.append([])
        self.loop(turn)
        self.after_loop([(after_test, is_endless)], node.orelse)

    def for_(self, node: ast.For | ast.AsyncFor) -> None:
        """`for`: its body runs at least once only over a literal."""
        if isinstance(node, ast.AsyncFor) and not self.in_function():
            self.facts.flags.add("async")
        # The variable is a part of what is run over, and stays bound.
        self.expr(node.iter, KEEP)

        def turn() -> None:
            self.store(node.target)
            self.block(node.body)

        self.breaks.append([])
        entry, again = self.loop(turn)
        self.after_loop(again if _has_items(node.iter) else [(entry, False)], node.orelse)

    def loop(self, turn: Callable[[], None]) -> tuple[State, list[End]]:
        """Run a loop's turn until the state before it no longer changes.

        The state before a turn, and the ends of a turn.
        """
        entry = dict(self.state)
        while True:
            self.continues.append([])
            self.state, self.is_dead = dict(entry), False
            turn()
            again = [(self.state, self.is_dead), *((s, False) for s in self.continues.pop())]
            self.join([(entry, False), *again])
            if self.state == entry:
                return entry, again
            entry = self.state

    def after_loop(self, ends: list[End], orelse: list[ast.stmt]) -> None:
        """Go on after a loop that ended by itself in one of these states, or was broken out of."""
        broken = [(state, False) for state in self.breaks.pop()]
        self.join(ends)
        if not self.is_dead:
            self.block(orelse)
        self.join([(self.state, self.is_dead), *broken])

    def try_(self, node: ast.Try) -> None:
        """`try`: a handler may start from anywhere in the body; `finally` from anywhere at all."""
        entry, since = dict(self.state), len(self.log)
        jumps = self.jumps()
        body, is_dead = self.branch(entry, node.body)
        start = self.weakened(entry, since)
        ends = [(body, True) if is_dead else self.branch(body, node.orelse)]
        ends.extend(self.handler(handler, start) for handler in node.handlers)
        self.join(ends)
        if node.finalbody:
            after, is_dead = self.state, self.is_dead
            # Once as after an exception, for what it may read; once as the body ends.
            _, leaves = self.branch(self.weakened(entry, since), node.finalbody)
            since = len(self.log)
            self.branch(after, node.finalbody)
            self.is_dead = is_dead or leaves
            self.jumped(jumps, since)

    def handler(self, node: ast.ExceptHandler, start: State) -> End:
        """One `except`, which takes its name away again at its end."""
        self.state = dict(start)
        if node.type is not None:
            self.expr(node.type, LOOK)
        if node.name is None:
            return self.branch(self.state, node.body)
        self.bind(node.name)
        jumps = self.jumps()
        _, is_dead = self.branch(self.state, node.body)
        since = len(self.log)
        self.unbind(node.name)
        self.jumped(jumps, since)
        return self.state, is_dead

    def jumps(self) -> list[int]:
        """How many jumps out of each loop around there have been."""
        return [len(found) for found in (*self.breaks, *self.continues)]

    def jumped(self, before: list[int], since: int) -> None:
        """Jumps since then ran what was logged since that mark on their way out."""
        for found, mark in zip((*self.breaks, *self.continues), before, strict=True):
            found[mark:] = [self.weakened(state, since) for state in found[mark:]]

    def with_(self, node: ast.With | ast.AsyncWith) -> None:
        """`with`: unless its manager is known to let exceptions pass, the body may end early."""
        if isinstance(node, ast.AsyncWith) and not self.in_function():
            self.facts.flags.add("async")
        early: list[tuple[State, int]] = []
        for item in node.items:
            lets_pass = _lets_pass(item.context_expr)
            self.expr(item.context_expr, LOOK if lets_pass else WRITE)
            if isinstance(item.optional_vars, ast.Name):
                self.store(item.optional_vars)
            if not lets_pass:
                early.append((dict(self.state), len(self.log)))
            if item.optional_vars is not None and not isinstance(item.optional_vars, ast.Name):
                self.store(item.optional_vars)
        self.block(node.body)
        left = [(self.weakened(state, since), False) for state, since in early]
        self.join([(self.state, self.is_dead), *left])

    def match(self, node: ast.Match) -> None:
        """`match`: what a pattern binds may be a part of its subject, and stays."""
        self.expr(node.subject, KEEP)
        ends: list[End] = []
        is_whole = False
        for case in node.cases:
            before = dict(self.state)
            self.pattern(case.pattern)
            if case.guard is not None:
                self.expr(case.guard, LOOK)
            after_pattern = self.state
            ends.append(self.branch(after_pattern, case.body))
            self.state = meet(before, after_pattern)
            is_whole = is_whole or (case.guard is None and _takes_all(case.pattern))
        self.join([*ends, (self.state, is_whole)])

    def pattern(self, node: ast.pattern) -> None:
        """What a pattern compares with, and the names that it binds."""
        if isinstance(node, (ast.MatchAs, ast.MatchStar)):
            name = node.name
        else:
            name = node.rest if isinstance(node, ast.MatchMapping) else None
        for value in node.__dict__.values():
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.pattern):
                    before = dict(self.state)
                    self.pattern(part)
                    if isinstance(node, ast.MatchOr):
                        self.state = meet(before, self.state) | _names(part)
                elif isinstance(part, ast.expr):
                    self.expr(part, LOOK)
        if name:
            self.bind(name)

    # --- definitions and imports ---

    def import_(self, node: ast.Import | ast.ImportFrom) -> None:
        """An import; stars bind nobody knows what."""
        if any(alias.name.partition(".")[0] == "__main__" for alias in node.names) or (
            isinstance(node, ast.ImportFrom) and node.module == "__main__"
        ):
            self.facts.flags.add("dynamic")
        for alias in node.names:
            if alias.name != "*":
                self.bind(bound_name(alias))

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

    def header(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
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
        if self.scope.kind == "class" and not is_used:
            merge(self.methods, facts, {})
        elif self.scope.parent is None and not is_used:
            self.bodies.setdefault(name, []).append(facts)
        else:
            merge(self.facts, facts, self.state)
        self.bind(name)

    def inside(self, node: FunctionNode) -> Facts:
        """What a function's body does, seen from nowhere in particular."""
        walker = Statements(function_scope(node, self.scope), self.local_definitions)
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

    def nothing(self, _node: ast.stmt) -> None:
        """`pass`, `global`, `nonlocal`: scopes know of these."""

    # --- magics ---

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
        if text.is_dynamic:
            self.facts.flags.add("dynamic")

    def timed(self, tree: ast.Module) -> None:
        """`%timeit` runs its code as a function's body: what it binds is gone after it."""
        function = ast.parse("def timed(): pass").body[0]
        assert isinstance(function, ast.FunctionDef)
        function.body = tree.body
        merge(self.facts, self.inside(function), self.state)


def merge(facts: Facts, inner: Facts, state: State) -> None:
    """Count what a function's body does as done where `state` holds."""
    facts.reads.update(path for path in inner.reads if path.name not in state)
    facts.called.update(path for path in inner.called if path.name not in state)
    facts.writes.update(inner.writes.difference(state))
    facts.kept.update(inner.kept.difference(state))
    facts.touched |= inner.touched
    facts.mentions |= inner.mentions
    facts.flags |= inner.flags - {"async"}
    for name, seen in inner.loads.items():
        here = state | seen
        facts.loads[name] = meet(facts.loads[name], here) if name in facts.loads else here


def session_lines(tree: ast.Module) -> tuple[str, ...]:
    """The statements at the top that set the session up."""
    return tuple(ast.unparse(node) for node in tree.body if _sets_session_up(node))


def _sets_session_up(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__"  # IPython compiles later cells with it too
    call = node.value if isinstance(node, ast.Expr) else None
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "run_line_magic"
        and bool(call.args)
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value in SESSION
    )


def defined_names(tree: ast.Module) -> frozenset[str]:
    """Names that functions, classes and lambdas anywhere in a cell are given."""
    found = {n.name for n in ast.walk(tree) if isinstance(n, _DEFINITIONS)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            found.update(t.id for t in node.targets if isinstance(t, ast.Name))
    return frozenset(found)


def _lets_pass(manager: ast.expr) -> bool:
    func = manager.func if isinstance(manager, ast.Call) else None
    if isinstance(func, ast.Attribute):
        return func.attr in NEVER_SUPPRESSING
    return isinstance(func, ast.Name) and func.id in NEVER_SUPPRESSING


def _takes_all(pattern: ast.pattern) -> bool:
    if isinstance(pattern, ast.MatchAs):
        return pattern.pattern is None or _takes_all(pattern.pattern)
    return isinstance(pattern, ast.MatchOr) and _takes_all(pattern.patterns[-1])


def _names(pattern: ast.pattern) -> State:
    """All alternatives of a pattern bind the same names."""
    found: State = {}
    for node in ast.walk(pattern):
        if isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            found[node.name] = True
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found[node.rest] = True
    return found


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


def _has_items(node: ast.expr) -> bool:
    return (
        isinstance(node, (ast.List, ast.Tuple))
        and bool(node.elts)
        and not any(isinstance(item, ast.Starred) for item in node.elts)
    )


_METHODS: Final[dict[type[ast.AST], Callable[[Any, Any], None]]] = {
    ast.Expr: Statements.expression,
    ast.Assign: Statements.assign,
    ast.AugAssign: Statements.augmented,
    ast.AnnAssign: Statements.annotated,
    ast.Delete: Statements.delete,
    ast.Assert: Statements.assertion,
    ast.Return: Statements.leave,
    ast.Raise: Statements.leave,
    ast.Break: Statements.jump,
    ast.Continue: Statements.jump,
    ast.If: Statements.if_,
    ast.While: Statements.while_,
    ast.For: Statements.for_,
    ast.AsyncFor: Statements.for_,
    ast.Try: Statements.try_,
    ast.With: Statements.with_,
    ast.AsyncWith: Statements.with_,
    ast.Match: Statements.match,
    ast.Import: Statements.import_,
    ast.ImportFrom: Statements.import_,
    ast.FunctionDef: Statements.function,
    ast.AsyncFunctionDef: Statements.function,
    ast.ClassDef: Statements.class_,
    ast.Global: Statements.nothing,
    ast.Nonlocal: Statements.nothing,
    ast.Pass: Statements.nothing,
}
if hasattr(ast, "TryStar"):
    _METHODS[ast.TryStar] = Statements.try_
if hasattr(ast, "TypeAlias"):
    _METHODS[ast.TypeAlias] = Statements.alias
