"""What the expressions of a cell read, and how deep.

A path goes as deep as what is surely all that is seen: constant subscripts and attributes. Beside
it goes the use that is made of the value there: it is looked at, kept (something that outlives the
expression may hold it, or a part of it), or handed to code that may change it. In doubt a path is
cut and a use is the strongest. Knows nothing of calls and statements, nor of values.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

from ..record import AccessPath, Key
from .facts import KEEP, LOOK, WRITE, Facts, State, key_of, meet
from .lookers import DYNAMIC_ATTRIBUTES, DYNAMIC_NAMES
from .scopes import Scope, function_scope, names_scope, target_names

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Method = Callable[[Any, Any, int], None]
_CONTAINERS = (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp)


class Reads:
    """Walks expressions but for calls, which the next class adds.

    expr(node, use)
      path        names, attributes and subscripts: chain, then name
      binary, choice, compare, walrus, comp, lambda_ ...
    """

    expressions: ClassVar[dict[type[ast.AST], Method]]

    def __init__(self, scope: Scope, local_definitions: frozenset[str]) -> None:
        self.scope = scope
        self.local_definitions = local_definitions
        self.state: State = {}
        self.facts = Facts()
        self.calls_own = False

    # --- names ---

    def name(self, name: str, parts: tuple[tuple[str, Key], ...], use: int) -> None:
        """Read a name, or the part of it at `parts`, in the present scope."""
        spelled, name = name, self.scope.mangled(name)
        if use == WRITE:  # a part of what is kept may be changed by a name of the cell's own
            self.facts.flags.add("changes")
        if name == "get_ipython":  # imported or not, it leads to the namespace
            self.facts.flags.add("dynamic")
        owner = self.scope.owner(name)
        if owner is not None and owner.kind != "class":
            if roots := owner.roots.get(name):
                self.use(roots, use)
            return
        if owner is not None:
            self.calls_own = self.calls_own or spelled in self.local_definitions
            if self.state.get(key_of(owner, name)) is True:
                return
        # A class's own name that is not bound yet is looked up as a global, even in a function.
        self.global_name(name, parts, use)

    def global_name(self, name: str, parts: tuple[tuple[str, Key], ...], use: int) -> None:
        """Read a global."""
        facts = self.facts
        if name in self.local_definitions:
            seen = facts.loads.get(name)
            facts.loads[name] = dict(self.state) if seen is None else meet(seen, self.state)
        if name in self.state:
            return
        facts.reads.add(AccessPath(name, parts))
        if use:
            self.use((name,), use)
        if name in DYNAMIC_NAMES:
            facts.flags.add("dynamic")

    def is_own(self, name: str) -> bool:
        """Whether a name surely means what this cell, or a function in it, has bound."""
        name = self.scope.mangled(name)
        owner = self.scope.owner(name)
        if owner is not None and owner.kind == "class":
            return self.state.get(key_of(owner, name)) is True
        return owner is not None or name in self.state

    def use(self, roots: Iterable[str], use: int) -> None:
        """Note what is done with (parts of) these globals."""
        if use:
            self.facts.kept.update(roots)
        if use == WRITE:
            self.facts.writes.update(roots)

    def whole(self, node: ast.expr, use: int) -> None:
        """Read all of the name that a target or receiver starts from."""
        root = node
        while isinstance(root, (ast.Attribute, ast.Subscript, ast.Starred)):
            root = root.value
        if isinstance(root, ast.Name):
            self.name(root.id, (), use)
        else:
            self.expr(root, use)
        self.slices(node)

    def slices(self, node: ast.expr) -> None:
        """Read what the subscripts along a chain read."""
        found = []
        while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
            if isinstance(node, ast.Subscript) and constant(node.slice) is None:
                found.append(node.slice)
            node = node.value
        for part in reversed(found):
            self.expr(part, LOOK)

    # --- expressions ---

    def expr(self, node: ast.AST, use: int) -> None:
        """Read an expression whose value is put to `use`."""
        if use == WRITE:
            self.facts.flags.add("changes")
        kind = type(node)
        if kind is ast.Name:
            self.name(node.id, (), use)  # type: ignore[attr-defined]
        elif kind is ast.Constant:
            if isinstance(node.value, str) and "__main__" in node.value:  # type: ignore[attr-defined]
                self.facts.flags.add("dynamic")
        else:
            method = self.expressions.get(kind)
            if method is None:
                self.parts(node, use)
            else:
                method(self, node, use)

    def parts(self, node: ast.AST, use: int) -> None:
        """Read every expression right below, put to the same use."""
        for value in [getattr(node, name, None) for name in node._fields]:
            if isinstance(value, ast.expr):
                self.expr(value, use)
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, ast.AST):
                        self.expr(item, use)

    def path(self, node: ast.expr, use: int) -> None:
        """Read `a.b["c"]`: the path as deep as it is constant."""
        root, parts = self.chain(node)
        if isinstance(root, ast.Name):
            self.name(root.id, parts, use)
        else:
            self.expr(root, use)
        self.slices(node)

    def chain(self, node: ast.expr) -> tuple[ast.expr, tuple[tuple[str, Key], ...]]:
        """Where a chain of attributes and subscripts starts, and its narrow part."""
        parts: list[tuple[str, Key]] = []
        while True:
            if isinstance(node, ast.Attribute):
                if node.attr in DYNAMIC_ATTRIBUTES:
                    self.facts.flags.add("dynamic")
                if node.attr.startswith("__") and node.attr.endswith("__"):
                    parts.clear()  # `x.__dict__` sees all of x
                else:
                    parts.append(("attr", self.scope.mangled(node.attr)))
            elif isinstance(node, ast.Subscript):
                key = constant(node.slice)
                if key is None:
                    parts.clear()
                    if isinstance(node.slice, ast.Name) and node.slice.id == "__name__":
                        self.facts.flags.add("dynamic")  # `sys.modules[__name__]`
                else:
                    parts.append(("item", key[0]))
                    if key[0] == "__main__":  # of `sys.modules`
                        self.facts.flags.add("dynamic")
            else:
                parts.reverse()
                return node, tuple(parts)
            node = node.value

    def look(self, node: ast.AST, _use: int) -> None:
        """Read operands that are only looked at."""
        self.parts(node, LOOK)

    def binary(self, node: ast.BinOp, use: int) -> None:
        """A long sum is walked down its left side without recursion."""
        operands: list[ast.expr] = []
        joins = False
        left: ast.expr = node
        while isinstance(left, ast.BinOp):
            operands.append(left.right)
            # A list plus a part holds what the part held. Of other sums nobody knows but their
            # digests, after the run.
            joins = joins or isinstance(left.right, _CONTAINERS)
            left = left.left
        joins = joins or isinstance(left, _CONTAINERS)
        for operand in (left, *reversed(operands)):
            self.expr(operand, use if joins else LOOK)

    def choice(self, node: ast.BoolOp | ast.IfExp, use: int) -> None:
        """`a or b`, `a if t else b`: what comes later may not run."""
        if isinstance(node, ast.IfExp):
            self.expr(node.test, LOOK)
            options = [node.body, node.orelse]
        else:
            self.expr(node.values[0], use)
            options = node.values[1:]
        for option in options:
            before = dict(self.state)
            self.expr(option, use)
            if self.state != before:
                self.state = meet(before, self.state)

    def compare(self, node: ast.Compare, _use: int) -> None:
        """`a < b < c`: c may not be looked at."""
        if _is_main_test(node):
            return
        self.expr(node.left, LOOK)
        self.expr(node.comparators[0], LOOK)
        before = dict(self.state) if len(node.comparators) > 1 else self.state
        for other in node.comparators[1:]:
            self.expr(other, LOOK)
        self.state = meet(before, self.state) if self.state != before else before

    def walrus(self, node: ast.NamedExpr, use: int) -> None:
        """`x := value`: binds in the block around comprehensions."""
        self.expr(node.value, max(use, KEEP))
        scope = self.scope
        while scope.kind == "names" and scope.parent is not None:
            scope = scope.parent
        inside, self.scope = self.scope, scope
        self.bind(node.target.id)
        self.scope = inside

    def wait(self, node: ast.Await | ast.Yield | ast.YieldFrom, use: int) -> None:
        """Awaiting runs the awaited; a yielded value is out of sight."""
        if isinstance(node, ast.Await) and not self.in_function():
            self.facts.flags.add("async")
        if node.value is not None:
            self.expr(node.value, KEEP if isinstance(node, ast.Yield) else WRITE)

    def comp(self, node: Comprehension, use: int) -> None:
        """A comprehension: its variables are its own, and may be parts of what it runs over."""
        outer, before = self.scope, dict(self.state)
        roots = self.roots(node.generators[0].iter)
        names = {name for part in node.generators for name in target_names(part.target)}
        self.scope = names_scope(names, outer)
        for number, part in enumerate(node.generators):
            if number:
                roots = self.roots(part.iter)
            if part.is_async and not self.in_function():
                self.facts.flags.add("async")
            for name in map(outer.mangled, target_names(part.target)):
                self.scope.roots[name] = self.scope.roots.get(name, frozenset()) | roots
            self.target(part.target)
            for test in part.ifs:
                self.expr(test, LOOK)
        elements = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        for element in elements:
            self.expr(element, use)
        self.scope = outer
        self.state = meet(before, self.state) if self.state != before else before

    def target(self, target: ast.expr) -> None:
        """Store into what is no name: an item or an attribute of something."""
        if isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self.target(element)
        elif isinstance(target, ast.Starred):
            self.target(target.value)
        elif not isinstance(target, ast.Name):
            self.whole(target, WRITE)

    def roots(self, node: ast.expr) -> frozenset[str]:
        """Read an expression that is run over; the globals whose parts it may hand out."""
        facts = self.facts
        kept, facts.kept = facts.kept, set()
        writes = set(facts.writes)
        self.expr(node, KEEP)
        found, facts.kept = frozenset(facts.kept), kept | (facts.writes - writes)
        return found

    def lambda_(self, node: ast.Lambda, _use: int) -> None:
        """A lambda: its body counts as run here, since what comes later only hides more."""
        self.arguments(node.args)
        outer, before = self.scope, dict(self.state)
        self.scope = function_scope(node, outer)
        self.expr(node.body, KEEP)
        self.scope, self.state = outer, before

    def arguments(self, args: ast.arguments) -> None:
        """Defaults run where a function is made, and it keeps them."""
        for default in (*args.defaults, *args.kw_defaults):
            if default is not None:
                self.expr(default, KEEP)

    # --- what statements add ---

    def bind(self, name: str) -> None:
        """Give a name of the present scope a meaning."""
        raise NotImplementedError

    def in_function(self) -> bool:
        """Whether the present scope is inside a function."""
        scope: Scope | None = self.scope
        while scope is not None:
            if scope.kind == "function":
                return True
            scope = scope.parent
        return False


def constant(node: ast.AST) -> tuple[Key] | None:
    """The constant that a subscript is, in a tuple; None for anything that is no key of a path.

    `True` and `1.0` are none: they equal `1`, and yet a list takes only two of the three.
    """
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = node.operand
        is_number = isinstance(inner, ast.Constant) and type(inner.value) is int
        return (-cast("int", cast("ast.Constant", inner).value),) if is_number else None
    if not isinstance(node, ast.Constant):
        return None
    value = node.value
    if isinstance(value, float):
        return None if value.is_integer() else (value,)
    is_key = value is None or (isinstance(value, (str, int, bytes)) and value is not True)
    return (cast("Key", value),) if is_key and value is not False else None


def _is_main_test(node: ast.Compare) -> bool:
    """`__name__ == "__main__"`, which names the module without reaching into it."""
    sides = (node.left, *node.comparators)
    return (
        len(sides) == 2
        and any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
        and any(isinstance(side, ast.Constant) for side in sides)
    )


Reads.expressions = {
    ast.Attribute: Reads.path,
    ast.Subscript: Reads.path,
    ast.BinOp: Reads.binary,
    ast.UnaryOp: Reads.look,
    ast.Compare: Reads.compare,
    ast.BoolOp: Reads.choice,
    ast.IfExp: Reads.choice,
    ast.NamedExpr: Reads.walrus,
    ast.Await: Reads.wait,
    ast.Yield: Reads.wait,
    ast.YieldFrom: Reads.wait,
    ast.JoinedStr: Reads.look,
    ast.FormattedValue: Reads.look,
    ast.ListComp: Reads.comp,
    ast.SetComp: Reads.comp,
    ast.DictComp: Reads.comp,
    ast.GeneratorExp: Reads.comp,
    ast.Lambda: Reads.lambda_,
}
