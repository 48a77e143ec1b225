"""Definitions that a plain cell has run again to the same: they keep the objects they had.

As with a step that comes out equal, one version is one object: an instance that a step keeps goes
on being one of its class, and what holds a function holds the one that the name means. Not so
where the cell made something of the new object, which would then belong to another class than the
one that is bound.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Set
from typing import Any

from ..cell import names as cell_names
from ..cell.names import Names
from ..pipe import graph
from .bench import Bench
from .bindings import Binding

_STATEMENTS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def kept(bench: Bench, text: str, names: Names) -> Mapping[str, Any]:
    """What a plain cell, which has run, defined as it was defined before: the earlier objects."""
    lines = {line.name: line for line in names.definitions if line.is_plain}
    found = {name: old for name in lines if (old := _earlier(bench, name)) is not None}
    if not found:
        return {}
    equal = found.keys() - _reached_by_others(bench, text, names)
    while mixed := _mixed(names, equal):
        equal -= mixed
    return {name: found[name] for name in equal}


def _mixed(names: Names, equal: Set[str]) -> set[str]:
    """Those of the earlier objects that new ones were made with, or that were made with others than
    are bound now: a class and its base."""
    new = {line.name for line in names.definitions} - equal
    used = {need for line in names.definitions if line.name in new for need in line.needs}
    return {
        line.name
        for line in names.definitions
        if line.name in equal and (line.name in used or not new.isdisjoint(line.needs))
    }


def _earlier(bench: Bench, name: str) -> Any:
    """The object that a definition, now run again, had when it was the same; None for none.

    It may have been another since. What no step has met has no digest, and nothing hangs on it.
    """
    space = bench.space
    known, new = space.bindings.get(name), space.ns.get(name)
    if known is None or known.obj is new:
        return None
    now = space.digest_at(name, new)
    old = space.earlier.get((name, now))
    if known.is_resident and known.version is not None and known.version.names[name] == now:
        old = None if _is_bound_by_step(bench, name, known) else known.obj
    # As it is now: an attribute may have been set since.
    is_same = old is not None and type(old) is type(new) and space.digest_at(name, old) == now
    return old if is_same else None


def _is_bound_by_step(bench: Bench, name: str, known: Binding) -> bool:
    """Whether a step defined it, and does not only hold what a plain cell did."""
    return bool(known.maker) and (
        not known.record or name in bench.ledger.record(known.record).bound
    )


def _reached_by_others(bench: Bench, text: str, names: Names) -> frozenset[str]:
    """All that the cell's other statements may have used, through functions too."""
    others = [node for node in ast.parse(text).body if not isinstance(node, _STATEMENTS)]
    if not others:
        return frozenset()
    within = {line.name: cell_names.analyse(line.source).mentions for line in names.definitions}

    def reads(name: str) -> Iterable[str]:
        return (*within.get(name, ()), *bench.reads_of(name))

    source = ast.unparse(ast.Module(others, []))
    return graph.reach(cell_names.analyse(source).mentions, reads)
