"""In which order the statements of a cell may run, and what surely holds after them.

Where ways meet (branches, loops, exceptions) only what holds on all of them is kept, so that
whatever is read outside of it is a read of the cell.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence

from .facts import KEEP, LOOK, WRITE, End, State, meet
from .lookers import NEVER_SUPPRESSING
from .scopes import Scope
from .writes import Writes


class Flow(Writes):
    """Walks statements with statements inside: branches, loops, try, with, match."""

    def __init__(self, scope: Scope, local_definitions: frozenset[str]) -> None:
        super().__init__(scope, local_definitions)
        self.breaks: list[list[State]] = []
        self.continues: list[list[State]] = []

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
        end, is_dead = self.state, self.is_dead
        self.block(orelse)
        # One that is out of reach is read like all such code, and leads nowhere.
        self.join([(end, True) if is_dead else (self.state, self.is_dead), *broken])

    def try_(self, node: ast.Try) -> None:
        """`try`: a handler may start from anywhere in the body; `finally` from anywhere at all."""
        entry, since = dict(self.state), len(self.log)
        jumps = self.jumps()
        body, is_dead = self.branch(entry, node.body)
        start = self.weakened(entry, since)
        end = self.branch(body, node.orelse)
        ends = [(body, True) if is_dead else end]
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
        for value in [getattr(node, name, None) for name in node._fields]:
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


def _has_items(node: ast.expr) -> bool:
    return (
        isinstance(node, (ast.List, ast.Tuple))
        and bool(node.elts)
        and not any(isinstance(item, ast.Starred) for item in node.elts)
    )


Flow.statements = Writes.statements | {
    ast.Break: Flow.jump,
    ast.Continue: Flow.jump,
    ast.If: Flow.if_,
    ast.While: Flow.while_,
    ast.For: Flow.for_,
    ast.AsyncFor: Flow.for_,
    ast.Try: Flow.try_,
    ast.With: Flow.with_,
    ast.AsyncWith: Flow.with_,
    ast.Match: Flow.match,
}
if hasattr(ast, "TryStar"):
    Flow.statements[ast.TryStar] = Flow.try_
