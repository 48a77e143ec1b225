"""The trees of cells. IPython has parsed a cell already when that is asked what its text says."""

from __future__ import annotations

import ast

_lent: dict[str, ast.Module] = {}


def parse(transformed: str) -> ast.Module:
    """The tree of a text, which nobody may change; raises what `ast.parse` raises."""
    return _lent.get(transformed) or ast.parse(transformed)


def lend(transformed: str, tree: ast.Module) -> None:
    """Have `parse` give this tree for this text, until `take_back`: it is what IPython made of it,
    and is going to run."""
    _lent[transformed] = tree


def take_back() -> None:
    """From now on the tree may be changed."""
    _lent.clear()
