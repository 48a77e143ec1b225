"""What the expressions of a cell read, how deep, and what they may do to it.

A path goes as deep as what is surely all that is seen: constant subscripts and attributes. Beside
it goes the use that is made of the value there: it is looked at, kept (something that outlives the
expression may hold it, or a part of it), or handed to code that may change it. In doubt a path is
cut and a use is the strongest. Knows nothing of statements (`flow` has those) nor of values.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ..record import AccessPath, Key
from .lookers import (
    ARITHMETIC,
    ARITHMETIC_MODULES,
    DYNAMIC_NAMES,
    FRAME_READERS,
    LOOKERS,
    LOOKING_METHODS,
    PASSERS,
    PASSING_METHODS,
)
from .magics import MagicText, read_magic, words
from .scopes import Scope, function_scope, names_scope, target_names

LOOK: Final = 0
KEEP: Final = 1
WRITE: Final = 2

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
State = dict[str, bool | None]
"""Names whose earlier meaning is surely out of sight: bound (True), deleted (False), or either."""

_CONTAINERS = (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp)
_FRAMES = frozenset(["_getframe", "currentframe", "__globals__", "f_globals", "f_locals"])
_SHELL_CALLS = frozenset(["run_line_magic", "run_cell_magic", "system", "getoutput"])


@dataclass
class Facts:
    """What one block of code, or a function's body, does with the globals."""

    reads: set[AccessPath] = field(default_factory=set)
    called: set[AccessPath] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    mentions: set[str] = field(default_factory=set)
    loads: dict[str, State] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


class Expressions:
    """Walks expressions; `Statements` adds the rest.

    expr(node, use)
      path        names, attributes and subscripts: chain, then name
      call        magics, builtins, methods, anything else; then arguments
      comp        comprehensions, with a scope of their own
    """

    def __init__(self, scope: Scope, local_definitions: frozenset[str]) -> None:
        self.scope = scope
        self.local_definitions = local_definitions
        self.state: State = {}
        self.facts = Facts()
        self.calls_own = False

    # --- names ---

    def name(self, name: str, parts: tuple[tuple[str, Key], ...], use: int) -> None:
        """Read a name, or the part of it at `parts`, in the present scope."""
        name = self.scope.mangled(name)
        owner = self.scope.owner(name)
        if owner is not None and owner.kind != "class":
            if roots := owner.roots.get(name):
                self.use(roots, use)
            return
        if owner is not None:
            self.calls_own = self.calls_own or name in self.local_definitions
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
        kind = type(node)
        if kind is ast.Name:
            self.name(node.id, (), use)  # type: ignore[attr-defined]
        elif kind is ast.Constant:
            if isinstance(node.value, str) and "__main__" in node.value:  # type: ignore[attr-defined]
                self.facts.flags.add("dynamic")
        else:
            method = _METHODS.get(kind)
            if method is None:
                self.parts(node, use)
            else:
                method(self, node, use)

    def parts(self, node: ast.AST, use: int) -> None:
        """Read every expression right below, put to the same use."""
        for value in node.__dict__.values():
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
                if node.attr in _FRAMES:
                    self.facts.flags.add("dynamic")
                if node.attr.startswith("__") and node.attr.endswith("__"):
                    parts.clear()  # `x.__dict__` sees all of x
                else:
                    parts.append(("attr", self.scope.mangled(node.attr)))
            elif isinstance(node, ast.Subscript):
                key = constant(node.slice)
                if key is None:
                    parts.clear()
                else:
                    parts.append(("item", key[0]))
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
            return self.expr(node.left, LOOK)
        self.expr(node.left, LOOK)
        self.expr(node.comparators[0], LOOK)
        before = dict(self.state) if len(node.comparators) > 1 else self.state
        for other in node.comparators[1:]:
            self.expr(other, LOOK)
        self.state = meet(before, self.state) if self.state != before else before
        return None

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

    # --- calls ---

    def call(self, node: ast.Call, use: int) -> None:
        """A call: of a magic, a builtin, a method, or anything."""
        func = node.func
        if isinstance(func, ast.Name):
            self.plain_call(node, func, use)
        elif isinstance(func, ast.Attribute):
            if _is_shell_call(func) and self.shell_call(node, func.attr):
                return
            self.method_call(node, func, use)
        else:
            self.expr(func, WRITE)
            self.given(node, WRITE)

    def plain_call(self, node: ast.Call, func: ast.Name, use: int) -> None:
        """`f(x)`."""
        name = func.id
        if _is_seed(name):
            self.facts.flags.add("seeds")
        self.name(name, (), LOOK)
        if name == "get_ipython" or (name in ("vars", "dir") and not node.args):
            self.facts.flags.add("dynamic")
        is_own = self.is_own(name)
        if not is_own and name not in LOOKERS and name not in PASSERS:
            self.facts.called.add(AccessPath(self.scope.mangled(name)))
        if is_own or name not in LOOKERS | PASSERS or _writes_by_option(node):
            self.given(node, WRITE)
        elif name in LOOKERS:
            self.given(node, LOOK)
        else:
            self.given(node, max(use, KEEP) if name == "display" else use)

    def method_call(self, node: ast.Call, func: ast.Attribute, use: int) -> None:
        """`x.f(y)`: x counts as a whole, unless it turns out to be a module."""
        method = func.attr
        if _is_seed(method):
            self.facts.flags.add("seeds")
        root, parts = self.chain(func)
        is_arithmetic = (
            method in ARITHMETIC and isinstance(root, ast.Name) and root.id in ARITHMETIC_MODULES
        )
        if _writes_by_option(node):
            receiver = given = WRITE
        elif method in LOOKING_METHODS or is_arithmetic:
            receiver = given = LOOK
        elif method in PASSING_METHODS:
            receiver = given = use
        else:
            receiver = given = WRITE
        is_attributes_only = len(parts) > 0 and _is_attributes(func)
        if isinstance(root, ast.Name) and is_attributes_only:
            self.name(root.id, parts, receiver)
            if not self.is_own(root.id):
                self.facts.called.add(AccessPath(self.scope.mangled(root.id), parts))
            if root.id == "inspect" and method in ("stack", "trace"):
                self.facts.flags.add("dynamic")
        else:
            self.path(func.value, receiver)
            self.chain(func)  # for what its last attribute says
        if method in FRAME_READERS:
            self.frame_text(node)
        self.given(node, given)

    def given(self, node: ast.Call, use: int) -> None:
        """The arguments of a call, put to one use."""
        for argument in node.args:
            self.expr(argument, use)
        for option in node.keywords:
            self.expr(option.value, WRITE if option.arg == "file" else use)

    def frame_text(self, node: ast.Call) -> None:
        """`df.query("price > @limit")` reads names that only its text mentions."""
        for argument in (*node.args, *(option.value for option in node.keywords)):
            if isinstance(argument, (ast.Constant, ast.JoinedStr)):
                texts = [n.value for n in ast.walk(argument) if isinstance(n, ast.Constant)]
                for word in words(" ".join(text for text in texts if isinstance(text, str))):
                    self.name(word, (), WRITE)
            else:
                self.facts.flags.add("dynamic")

    def shell_call(self, node: ast.Call, kind: str) -> bool:
        """A magic or a shell line; False where it is not as IPython writes them."""
        texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        wanted = {"run_line_magic": 2, "run_cell_magic": 3}.get(kind, 1)
        if len(texts) != wanted or node.keywords or not all(isinstance(t, str) for t in texts):
            return False
        if self.scope.owner("get_ipython") is not None or "get_ipython" in self.state:
            return False
        self.magic(read_magic(kind, tuple(cast("list[str]", texts))))
        return True

    # --- what statements add ---

    def magic(self, text: MagicText) -> None:
        """Read what a magic runs."""
        raise NotImplementedError

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


def key_of(scope: Scope | None, name: str) -> str:
    """Under which a name stands in a state; for a class's own no identifier, so no clash."""
    return name if scope is None or scope.parent is None else f"{id(scope)}.{name}"


def meet(one: State, other: State) -> State:
    """What holds whichever of two ways was taken."""
    return {
        name: value if other[name] is value else None
        for name, value in one.items()
        if name in other
    }


def constant(node: ast.AST) -> tuple[Key] | None:
    """The constant that a subscript is, in a tuple; None for anything that is no key of a path."""
    if isinstance(node, ast.Constant):
        if node.value is None or isinstance(node.value, (str, int, bool, float, bytes)):
            return (node.value,)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = node.operand
        if isinstance(inner, ast.Constant) and type(inner.value) in (int, float):
            return (-cast("int | float", inner.value),)
    return None


def _is_seed(name: str) -> bool:
    return (
        "seed" in name.lower()
        or name in ("set_state", "setstate")
        or name.startswith("set_rng_state")
    )


def _is_attributes(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        if node.attr.startswith("__"):
            return False
        node = node.value
    return isinstance(node, ast.Name)


def _is_shell_call(func: ast.Attribute) -> bool:
    maker = func.value
    return (
        func.attr in _SHELL_CALLS
        and isinstance(maker, ast.Call)
        and isinstance(maker.func, ast.Name)
        and maker.func.id == "get_ipython"
        and not maker.args
    )


def _is_main_test(node: ast.Compare) -> bool:
    """`__name__ == "__main__"`, which names the module without reaching into it."""
    other = node.comparators[0]
    return (
        isinstance(node.left, ast.Name)
        and node.left.id == "__name__"
        and len(node.comparators) == 1
        and isinstance(other, ast.Constant)
    )


def _writes_by_option(node: ast.Call) -> bool:
    return any(option.arg in (None, "inplace", "out", "key") for option in node.keywords)


_METHODS: Final[dict[type[ast.AST], Callable[[Any, Any, int], None]]] = {
    ast.Attribute: Expressions.path,
    ast.Subscript: Expressions.path,
    ast.Call: Expressions.call,
    ast.BinOp: Expressions.binary,
    ast.UnaryOp: Expressions.look,
    ast.Compare: Expressions.compare,
    ast.BoolOp: Expressions.choice,
    ast.IfExp: Expressions.choice,
    ast.NamedExpr: Expressions.walrus,
    ast.Await: Expressions.wait,
    ast.Yield: Expressions.wait,
    ast.YieldFrom: Expressions.wait,
    ast.JoinedStr: Expressions.look,
    ast.FormattedValue: Expressions.look,
    ast.ListComp: Expressions.comp,
    ast.SetComp: Expressions.comp,
    ast.DictComp: Expressions.comp,
    ast.GeneratorExp: Expressions.comp,
    ast.Lambda: Expressions.lambda_,
}
