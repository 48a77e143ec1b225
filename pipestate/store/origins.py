"""Where a function, a class or a module comes from: the notebook, the project, or an installed one.

What is installed (the standard library, site-packages, what is compiled in) is named and trusted
not to change under its name; what the user is writing (the notebook's `__main__`, files anywhere
else) is told by its content. pipestate itself counts as installed, wherever it lies.
"""

from __future__ import annotations

import functools
import importlib
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from .handlers import is_of_handler

NOTEBOOK = "__main__"
PACKAGE = __name__.partition(".")[0]


def is_own(module: str | None) -> bool:
    """Whether a module of this name is the notebook or one of the project's own."""
    if module == NOTEBOOK:
        return True
    found = sys.modules.get(module) if module else None
    if found is None or (module or "").partition(".")[0] == PACKAGE:
        return False
    file = getattr(found, "__file__", None)
    return isinstance(file, str) and not is_installed(file)


@functools.lru_cache(maxsize=4096)
def is_installed(file: str) -> bool:
    """Whether a file belongs to Python or to an installed distribution."""
    path = Path(file)
    if {"site-packages", "dist-packages"}.intersection(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _library_folders())


@functools.cache
def _library_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    found = {Path(paths[key]) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(found | {folder.resolve() for folder in found})


def module_named(name: str | None) -> ModuleType | None:
    """The module that a class or function says it is from.

    Some libraries load parts of themselves only when somebody asks (`numpy.rec`): where such a part
    is named, it is loaded, as pickle does.
    """
    found = sys.modules.get(name) if name else None
    if found is None and name and "." in name and name not in _missing:
        root = sys.modules.get(name.partition(".")[0])
        file = getattr(root, "__file__", None)
        if isinstance(file, str) and is_installed(file):
            try:
                found = importlib.import_module(name)
            except Exception as error:  # there is no such part, or it does not load here
                if is_of_handler(error):
                    raise
                _missing.add(name)
    return found if isinstance(found, ModuleType) else None


_missing: set[str] = set()


def importable(obj: object, module: str | None, qualname: str | None) -> bool:
    """Whether `module.qualname` is this very object, so that a name is enough to find it again."""
    found: object = module_named(module)
    if found is None or not qualname:
        return False
    for part in qualname.split("."):
        # A module may answer any name (`__getattr__`); the identity below is what counts.
        found = getattr(found, part, None)
    return found is obj
