"""The modules behind a step: installed ones count by version, the project's own by their source.

A project module's stamp covers its source, comments, formatting and docstrings apart, and that of
the project modules that it imports. One that was edited since it was imported is loaded anew,
with its importers, before a step that reaches it runs.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable

from ..cell import source as cell_source
from ..record import SEEDING, AccessPath, Digest
from ..store import codefacts, content
from . import modulestate, packages

_imported: dict[str, Digest] = {}  # what each project module's source was when it was imported


def stamps(names: Iterable[str]) -> dict[str, str]:
    """Each module's installed version, or `source:` and a digest; nothing for Python's own."""
    found: dict[str, str] = {}
    for name in sorted(set(names)):
        root = name.partition(".")[0]
        if packages.is_project_module(root):
            found[name] = f"source:{_stamp(name)}"
        else:
            versions = packages.versions([root])
            if versions:
                found[root] = ", ".join(f"{one} {v}" for one, v in versions.items())
    return found


def _stamp(name: str) -> Digest:
    family = sorted(_family(name))
    text = "\n".join(f"{one} {_source_digest(path)}" for one, path in family)
    return content.digest(text.encode())


def _family(name: str) -> set[tuple[str, str]]:
    """A project module and the project modules that it imports, with their files."""
    found: set[tuple[str, str]] = set()
    waiting = [name]
    seen: set[str] = set()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        path = file_of(one)
        if path is None:
            continue
        found.add((one, path))
        waiting.extend(m for m in _imports(path, one) if packages.is_project_module(m))
    return found


def used_by(names: Iterable[str]) -> set[str]:
    """The project modules among `names`, and those that these import in turn."""
    found = {one for name in names if packages.is_project_module(name) for one in _family(name)}
    return {name for name, _ in found}


def imported_by(statement: str) -> set[str]:
    """The modules that an import of one name imports: also one that it takes out of a package."""
    words = statement.split()
    if words[0] == "import":
        return {words[1]}
    return {words[1], *only_modules([f"{words[1]}.{words[3]}"])}


def only_modules(names: Iterable[str]) -> set[str]:
    """Those of `names` that are modules, where something else in a module could be so called."""
    return {name for name in names if "." not in name or name in sys.modules}


def may_seed(names: Iterable[str]) -> bool:
    """Whether the project modules among `names`, or those that they import, seed a generator."""
    found = {one for name in names if packages.is_project_module(name) for one in _family(name)}
    return any(_seeds(path) for _, path in found)


def file_of(name: str) -> str | None:
    """The source file of a module, whether it is imported or not."""
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None) if module is not None else None
    if path is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        path = spec.origin if spec is not None else None
    return path if path is not None and path.endswith(".py") and os.path.exists(path) else None


def _source_digest(path: str) -> Digest:
    status = os.stat(path)
    return _digest_of_file(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1024)
def _digest_of_file(path: str, _mtime: int, _size: int) -> Digest:
    with open(path, "rb") as file:
        text = file.read()
    try:
        return cell_source.normal(text.decode("utf-8"))
    except (SyntaxError, ValueError):  # half-written: any text is its own normal form
        return content.digest(text)


def _imports(path: str, name: str) -> tuple[str, ...]:
    status = os.stat(path)
    return _imports_of_file(path, name, status.st_mtime_ns, status.st_size)


def _seeds(path: str) -> bool:
    status = os.stat(path)
    return _seeds_of_file(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1024)
def _seeds_of_file(path: str, _mtime: int, _size: int) -> bool:
    with open(path, "rb") as file:
        text = file.read()
    try:
        code = compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return AccessPath(SEEDING) in codefacts.facts(code).reads


@functools.lru_cache(maxsize=1024)
def _imports_of_file(path: str, name: str, _mtime: int, _size: int) -> tuple[str, ...]:
    with open(path, "rb") as file:
        text = file.read()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return ()
    found: list[str] = []
    package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            found.append(base)
            found.extend(f"{base}.{alias.name}" for alias in node.names)
    return tuple(one for one in dict.fromkeys(found) if one)


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    up = ".".join(parts[: len(parts) - node.level + 1])
    return f"{up}.{node.module}" if node.module else up


def watch(names: Iterable[str]) -> None:
    """Remember what the project modules among `names` look like now that they are imported."""
    for name in names:
        if packages.is_project_module(name):
            for one, path in _family(name):
                if one in sys.modules:
                    _imported.setdefault(one, _source_digest(path))


def reload_edited(names: Iterable[str]) -> frozenset[str]:
    """Load anew the project modules that were edited since, their importers after them."""
    done: list[str] = []
    family: set[tuple[str, str]] = set()
    for name in names:
        if packages.is_project_module(name):
            family |= _family(name)
    edited = {
        one
        for one, path in family
        if one in sys.modules and _imported.get(one, "") not in ("", _source_digest(path))
    }
    if not edited:
        return frozenset()
    for one, path in _importers_last(family):
        uses = set(_imports(path, one))
        if one in sys.modules and (one in edited or not uses.isdisjoint(done)):
            importlib.reload(sys.modules[one])
            _imported[one] = _source_digest(path)
            done.append(one)
    modulestate.note_born(done)
    return frozenset(done)


def _importers_last(family: set[tuple[str, str]]) -> list[tuple[str, str]]:
    paths = dict(family)
    order: list[str] = []

    def visit(one: str, trail: frozenset[str]) -> None:
        if one in order or one in trail:
            return
        for used in _imports(paths[one], one):
            if used in paths:
                visit(used, trail | {one})
        order.append(one)

    for one in sorted(paths):
        visit(one, frozenset())
    return [(one, paths[one]) for one in order]
