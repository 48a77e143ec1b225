"""Which names a function, class or comprehension keeps to itself: Python's scoping, from the tree.

`symtable` knows the same, but as a second tree that cannot be matched to the syntax tree without
guessing, and at several times the cost; the tests hold the two against each other instead. Knows
nothing of what a name means or of the order in which statements run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_BLOCKS = frozenset((*_FUNCTIONS, ast.ClassDef))
_BINDING = frozenset(
    (ast.Import, ast.ImportFrom, ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping)
)
_LEAVES = frozenset((ast.Constant, ast.Load, ast.Store, ast.Del))
"""Kinds of nodes that have nothing below them, and that there are most of."""


class Scope(Struct, eq=False):
    """One block of names. `parent` is None for the notebook's own, whose names are the globals.

    `roots` gives, for a comprehension's variable, the globals whose parts it may be. `mangler` is
    the class whose name is put before private names (`__x`).
    """

    kind: str
    parent: Scope | None = None
    names: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)
    roots: dict[str, frozenset[str]] = field(default_factory=dict)
    mangler: str = ""

    def owner(self, name: str) -> Scope | None:
        """The scope that a mention of `name` here means; None for the notebook's own."""
        scope, is_here = self, True
        while scope.parent is not None:
            if is_here or scope.kind != "class":  # methods do not see the names of their class
                if name in scope.outer:
                    return None
                if name in scope.names:
                    return scope
            scope, is_here = scope.parent, False
        return None

    def mangled(self, name: str) -> str:
        """The name as the compiler spells it: `__x` in class `C` is `_C__x`."""
        if not self.mangler or not name.startswith("__") or name.endswith("__"):
            return name
        return f"_{self.mangler}{name}"


def mangler_of(class_name: str) -> str:
    """What a class puts before private names; nothing for a name of underscores only."""
    return class_name.lstrip("_")


def function_scope(node: FunctionNode, parent: Scope) -> Scope:
    """The scope inside a function or lambda."""
    body = node.body if isinstance(node.body, list) else [node.body]
    scope = _scope("function", body, parent, parent.mangler)
    scope.names.update(parent.mangled(arg) for arg in argument_names(node.args))
    return scope


def class_scope(node: ast.ClassDef, parent: Scope) -> Scope:
    """The scope of a class body."""
    return _scope("class", node.body, parent, mangler_of(node.name))


def names_scope(names: Iterable[str], parent: Scope) -> Scope:
    """A scope that holds given names: a comprehension's variables, type parameters."""
    mangled = {parent.mangled(name) for name in names}
    return Scope("names", parent, mangled, mangler=parent.mangler)


def argument_names(args: ast.arguments) -> Iterator[str]:
    """The names of all parameters."""
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
        if arg is not None:
            yield arg.arg


def type_parameters(node: ast.AST) -> list[ast.AST]:
    """The type parameters of a function, class or alias; none before Python 3.12."""
    return list(getattr(node, "type_params", ()))


def target_names(target: ast.AST) -> Iterator[str]:
    """The names that an assignment target binds."""
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def bound_name(alias: ast.alias) -> str:
    """The name that one part of an import statement binds."""
    return alias.asname or alias.name.partition(".")[0]


def _scope(kind: str, body: Iterable[ast.AST], parent: Scope, mangler: str) -> Scope:
    scope = Scope(kind, parent, mangler=mangler)
    bound, declared_global, declared_nonlocal = _bindings(body)
    scope.outer = {scope.mangled(name) for name in declared_global}
    elsewhere = scope.outer | {scope.mangled(name) for name in declared_nonlocal}
    scope.names = {scope.mangled(name) for name in bound} - elsewhere
    return scope


def _bindings(body: Iterable[ast.AST]) -> tuple[set[str], set[str], set[str]]:
    """Names bound, declared global and declared nonlocal in a block, nested blocks left out."""
    bound: set[str] = set()
    declared_global: set[str] = set()
    declared_nonlocal: set[str] = set()
    stack: list[ast.AST] = list(body)
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind is ast.Name:
            if type(node.ctx) is not ast.Load:  # type: ignore[attr-defined]
                bound.add(node.id)  # type: ignore[attr-defined]
        elif kind in _LEAVES:
            continue
        elif kind in COMPREHENSIONS:
            bound.update(_walruses(node))
        elif isinstance(node, ast.Global):
            declared_global.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            declared_nonlocal.update(node.names)
        elif kind in _BLOCKS:
            bound.update(_own_bindings(node))
            stack.extend(_evaluated_outside(node))
        else:
            if kind in _BINDING:
                bound.update(_own_bindings(node))
            stack.extend(children(node))
    return bound, declared_global, declared_nonlocal


def _own_bindings(node: ast.AST) -> Iterable[str]:
    """The names that a node which is no name binds by itself, nodes below it left out."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return (node.name,)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [bound_name(alias) for alias in node.names]
    name = None
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        name = node.name
    elif isinstance(node, ast.MatchMapping):
        name = node.rest
    return (name,) if name else ()


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes right below, as `ast.iter_child_nodes` has them, in half the time.

    Never by `vars(node)`: contexts and operators are singletons that every tree shares, and other
    tools hang a `parent` on them (executing does, whenever IPython shows a traceback).
    """
    for value in [getattr(node, name, None) for name in node._fields]:
        if isinstance(value, ast.AST):
            yield value
        elif type(value) is list:
            for item in value:
                if isinstance(item, ast.AST):
                    yield item


def _evaluated_outside(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions of a definition that run where it stands, which a walrus may be in."""
    if isinstance(node, ast.ClassDef):
        yield from (*node.decorator_list, *node.bases, *node.keywords)
    elif isinstance(node, _FUNCTIONS):
        yield from node.args.defaults
        yield from (default for default in node.args.kw_defaults if default)
        if not isinstance(node, ast.Lambda):
            yield from node.decorator_list
            if node.returns:
                yield node.returns
        yield from parameter_annotations(node.args)


def parameter_annotations(args: ast.arguments) -> Iterator[ast.expr]:
    """The annotations of parameters."""
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
        if arg is not None and arg.annotation is not None:
            yield arg.annotation


def _walruses(comprehension: ast.AST) -> Iterator[str]:
    """Names that `:=` in a comprehension binds in the block around it."""
    stack = list(children(comprehension))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.NamedExpr):
            yield node.target.id
        if not isinstance(node, ast.Lambda):
            stack.extend(children(node))
