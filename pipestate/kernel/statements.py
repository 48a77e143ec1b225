"""Which statement makes a name's value: imports, functions and classes are kept as their source.

Only where running it again makes the same object, and does nothing else: what it names is itself an
import or a definition kept in this way, and its digest comes out equal when it is tried.
"""

from __future__ import annotations

import sys

from ..cell.names import Names
from ..store import versions
from ..store.versions import Source
from . import effects
from .namespace import Namespace
from .visible import UNBOUND


def note(names: Names, space: Namespace, bound: frozenset[str]) -> None:
    """Remember the statements of imports and definitions, where running them makes the same."""
    _note_imports(names, space, bound)
    for definition in names.definitions:
        name, value = definition.name, space.ns.get(definition.name, UNBOUND)
        if definition.is_plain and name in bound and value is not UNBOUND:
            needs = {need for need in definition.needs if need in space.ns and need != name}
            source = Source("definition", definition.source, tuple(sorted(needs)))
            if _is_reproducible(source, name, value, space):
                space.sources[name] = (source, value)


def _note_imports(names: Names, space: Namespace, bound: frozenset[str]) -> None:
    """Remember the import statements behind `bound`."""
    for line in names.imports:
        value = space.ns.get(line.name, UNBOUND)
        if value is not UNBOUND:
            statement = _joined(space, line.name, line.statement, value)
            space.sources[line.name] = (Source("import", statement), value)
    for star in names.stars:
        module = sys.modules.get(star)
        for name in bound - {line.name for line in names.imports}:
            value = space.ns.get(name, UNBOUND)
            if value is not UNBOUND and getattr(module, name, UNBOUND) is value:
                statement = f"from {star} import {name}"
                space.sources[name] = (Source("import", statement), value)


def _joined(space: Namespace, name: str, statement: str, value: object) -> str:
    """`import a.b` and `import a.c` bind the same module: both are needed to have it whole."""
    source, made = space.sources.get(name, (None, None))
    if source is None or made is not value or source.kind != "import":
        return statement
    lines = source.text.splitlines()
    if not (statement.startswith("import ") and lines[0].startswith("import ")):
        return statement
    return "\n".join(dict.fromkeys([*lines, statement]))


def _is_reproducible(source: Source, name: str, value: object, space: Namespace) -> bool:
    """Whether the statement, run again, makes an object equal to the one it made.

    It is only run again where all that it names is an import or a definition kept in this way.
    """
    if any(need not in space.sources for need in source.needs):
        return False
    if effects.of_statement(value, source.needs, space.ns):
        return False
    return versions.same_after([source], name, value, space.ns)
