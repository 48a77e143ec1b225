"""Which attributes of a name a cell sets when it runs: `math.tau2 = 6`, `setattr(math, "tau2", 6)`.

Only what its own statements do; what a function of it does when it is called is not told here.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from typing import Final

from . import parsed

_LATER: Final = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
_MAY: Final = re.compile(r"\.\w+[^=\n(]*=(?!=)|\b(?:set|del)attr\b|\bdel\b")
"""What no such cell is without: nearly all are told by it that they are none."""
_SETTERS: Final = frozenset(["delattr", "setattr"])


@functools.lru_cache(maxsize=256)
def attributes_set(transformed: str) -> tuple[tuple[str, str], ...]:
    """(`a.b`, `c`) for each `a.b.c` that a cell's own statements set or delete."""
    if _MAY.search(transformed) is None:
        return ()
    try:
        tree = parsed.parse(transformed)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(dict.fromkeys(_found(tree)))


def _found(node: ast.AST) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _LATER):
            continue
        if isinstance(child, ast.Attribute) and not isinstance(child.ctx, ast.Load):
            base = _dotted(child.value)
            if base:
                yield base, child.attr
        if isinstance(child, ast.Call) and len(child.args) > 1:
            base, name = _dotted(child.args[0]), child.args[1]
            if base and _dotted(child.func) in _SETTERS and isinstance(name, ast.Constant):
                yield base, str(name.value)
        yield from _found(child)


def _dotted(node: ast.expr) -> str:
    """`a.b` for a name with its attributes; "" for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
