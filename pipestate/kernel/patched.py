"""Whether a step sets an attribute of an imported module or class: then it counts as `--setup`.

Such a thing is the process's: no record keeps it, and restoring the step would not set it. Modules
of the project are left out, for what they hold is kept (see `modulestate`), and so is what
`ambient` keeps.
"""

from __future__ import annotations

import sys
from typing import Final

from ..cell.names import Names
from ..cell.patches import attributes_set
from . import packages
from .namespace import Namespace

_KEPT: Final = frozenset(["os.environ", "sys.path", "warnings.filters"])


def what(transformed: str, names: Names, space: Namespace) -> str:
    """The first attribute of a module or an imported class that a cell sets, or ""."""
    own = {line.name: line.statement for line in names.imports}
    for base, attribute in attributes_set(transformed):
        root, _, rest = base.partition(".")
        module = _module(own[root], is_class=root[:1].isupper()) if root in own else ""
        module = module or _known(root, space)
        full = f"{module}.{rest}" if rest else module
        if not module or (rest and full not in sys.modules) or packages.is_project_module(module):
            continue
        if f"{full}.{attribute}" not in _KEPT:
            return f"{base}.{attribute}"
    return ""


def _module(statement: str, *, is_class: bool) -> str:
    """The module that an import binds, or the one that it takes a class from."""
    words = statement.split()
    if words[0] == "import":
        return words[1].rstrip(",") if "as" in words else words[1].rstrip(",").partition(".")[0]
    full = f"{words[1]}.{words[3]}"
    return full if full in sys.modules else words[1] if is_class else ""


def _known(name: str, space: Namespace) -> str:
    """As `_module`, for a name that an earlier cell has imported."""
    binding = space.bindings.get(name)
    version = binding.version if binding is not None else None
    if version is not None and version.kind == "import":
        return _module(version.source, is_class=name[:1].isupper())
    source, value = space.sources.get(name, (None, None))
    if source is not None and source.kind == "import" and space.ns.get(name) is value:
        return _module(source.text, is_class=name[:1].isupper())
    return ""
