"""The imports and definitions of a cell, as the smallest source that makes them again.

A definition is plain if running its statement again can have no other effect than to define it;
whether it then makes the same object depends on what the names it `needs` mean, which only values
can tell.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator

from msgspec import Struct

from .magics import SESSION
from .scopes import bound_name, children, type_parameters

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_BLOCKS = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.With, ast.AsyncWith),
    *(ast.ExceptHandler, ast.match_case, ast.Match),
    *([ast.TryStar] if hasattr(ast, "TryStar") else ()),
)
_SIMPLE = (
    *(ast.Name, ast.Constant, ast.Attribute, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Lambda),
    *(ast.Subscript, ast.Slice, ast.Starred, ast.BinOp, ast.UnaryOp),
)


class ImportLine(Struct, frozen=True):
    """A name that an import binds, and the smallest statement that binds it.

    One name may have two (`try: import a as x` and `except ImportError: import b as x`).
    """

    name: str
    statement: str


class DefinitionLine(Struct, frozen=True):
    """A function or class of the cell's top level.

    `source` is exact, whole lines, decorators included, and begins at line `lineno`. `needs` are
    the names read when the statement runs: decorators, defaults, bases, class body, annotations.
    `is_plain`: bound once, and nothing runs but names, attributes, literals and operators, in
    decorators and bases also calls of such.
    """

    name: str
    source: str
    lineno: int
    needs: frozenset[str]
    is_plain: bool


def import_lines(tree: ast.Module) -> tuple[tuple[ImportLine, ...], tuple[str, ...]]:
    """The imports outside of functions and classes, and the modules imported from by star."""
    lines: list[ImportLine] = []
    stars: list[str] = []
    for node in _imports(tree):
        for alias in node.names:
            if isinstance(node, ast.Import):
                lines.append(ImportLine(bound_name(alias), f"import {_as(alias)}"))
                continue
            module = "." * node.level + (node.module or "")
            if alias.name == "*":
                stars.append(module)
            else:
                statement = f"from {module} import {_as(alias)}"
                lines.append(ImportLine(bound_name(alias), statement))
    return tuple(dict.fromkeys(lines)), tuple(dict.fromkeys(stars))


def definition_lines(
    tree: ast.Module,
    source: str,
    needs: Callable[[Definition], frozenset[str]],
    bound_often: Collection[str],
) -> tuple[DefinitionLine, ...]:
    """The definitions at the top level; `needs` says what a statement reads when it runs."""
    found = [node for node in tree.body if isinstance(node, Definition)]
    if not found:
        return ()
    lines = source.splitlines(keepends=True)
    return tuple(
        DefinitionLine(
            node.name,
            "".join(lines[first - 1 : node.end_lineno]),
            first,
            needs(node),
            node.name not in bound_often and _is_plain(node),
        )
        for node in found
        for first in [min([node.lineno, *(d.lineno for d in node.decorator_list)])]
    )


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


def _imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    stack: list[ast.AST] = list(reversed(tree.body))
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, _BLOCKS):
            stack.extend(reversed(list(children(node))))


def _as(alias: ast.alias) -> str:
    return f"{alias.name} as {alias.asname}" if alias.asname else alias.name


def _is_plain(node: Definition) -> bool:
    headers = [*node.decorator_list, *type_parameters(node)]
    if isinstance(node, ast.ClassDef):
        headers += [*node.bases, *(option.value for option in node.keywords)]
        inside = all(_is_plain_in_class(part) for part in node.body)
    else:
        args = node.args
        inside = all(
            _is_simple(part)
            for part in (*args.defaults, *args.kw_defaults, *_annotations(node))
            if part is not None
        )
    return inside and all(_is_simple(part) or _is_simple_call(part) for part in headers)


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.expr | None]:
    args = node.args
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
        yield arg.annotation if arg else None
    yield node.returns


def _is_plain_in_class(node: ast.stmt) -> bool:
    if isinstance(node, Definition):
        return _is_plain(node)
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        return _is_simple(node.value) and all(isinstance(t, ast.Name) for t in node.targets)
    if isinstance(node, ast.AnnAssign):
        value = node.value
        is_field = isinstance(value, ast.Call) and _is_field(value)
        return (
            isinstance(node.target, ast.Name)
            and _is_simple(node.annotation)
            and (value is None or _is_simple(value) or is_field)
        )
    return isinstance(node, ast.Pass)


def _is_field(call: ast.Call) -> bool:
    """`dataclasses.field`, by far the most frequent call in a class body; it has no effect."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else None
    name = call.func.id if isinstance(call.func, ast.Name) else name
    return name in ("field", "Field") and _is_simple_call(call)


def _is_simple_call(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return not isinstance(node, ast.expr)  # a type parameter
    parts = (node.func, *node.args, *(option.value for option in node.keywords))
    return all(_is_simple(part) for part in parts)


def _is_simple(node: ast.AST) -> bool:
    """Whether evaluating it calls nothing by name."""
    if isinstance(node, ast.Lambda):
        return all(_is_simple(d) for d in (*node.args.defaults, *node.args.kw_defaults) if d)
    return isinstance(node, _SIMPLE) and all(
        _is_simple(part) for part in children(node) if isinstance(part, ast.expr)
    )
