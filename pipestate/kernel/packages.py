"""Which installed distribution a module comes from, and which modules are the project's own.

The version is the one that the installation says, not `module.__version__`: many packages have no
such attribute or another value in it, and a step is judged before its modules are imported, too.
Nothing is imported here to find out. The table of all installed distributions takes about 50 ms to
read, so it is read only for a module whose own name is not that of its distribution, once for each
state of the folders that `sys.path` names.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import site
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Final

_OWN: Final = __name__.partition(".")[0]
_MAIN: Final = ("__main__", "__mp_main__")
"""What the process runs, and the other name that `multiprocessing` gives to that."""


def versions(modules: Iterable[str]) -> dict[str, str]:
    """The distributions that these modules come from, each with its version, sorted by name.

    Standard library, project modules and what is not installed give nothing.
    """
    roots = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    found: dict[str, str] = {}
    for root in roots - {"__main__", "", _OWN}:
        if not is_project_module(root):
            found.update(_versions_of(root))
    return dict(sorted(found.items()))


def is_project_module(name_or_module: str | types.ModuleType) -> bool:
    """Whether a module's code is the user's own: its file is neither installed nor Python's.

    `__main__` by either name, pipestate itself, and what is built in, frozen or not to be found
    are not.
    """
    if isinstance(name_or_module, types.ModuleType):
        name, module = name_or_module.__name__, name_or_module
    else:
        name = name_or_module
        loaded = sys.modules.get(name)
        if not isinstance(loaded, types.ModuleType):
            loaded = sys.modules.get(name.partition(".")[0])
        if not isinstance(loaded, types.ModuleType):
            return _is_project_place(_place_of_name(name.partition(".")[0]))
        module = loaded
    if name in _MAIN or name.partition(".")[0] == _OWN:
        return False
    return _is_project_place(_place(module))


def library_folders() -> tuple[str, ...]:
    """Folders of Python's own and of installed code, each with its separator at the end."""
    return _library_folders(os.environ.get("PYTHONUSERBASE", ""))


# --- where a module lives ------------------------------------------------------------------------


def _place(module: types.ModuleType) -> str:
    """The file of a module, or a folder of a package that has none; empty for what is built in."""
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return file
    try:
        return str(next(iter(module.__path__)))
    except (AttributeError, TypeError, StopIteration):
        return ""  # built in, frozen, or made by hand


@functools.lru_cache(maxsize=4096)
def _is_project_place(place: str) -> bool:
    if not place or place.startswith("<"):
        return False
    absolute = os.path.abspath(place)
    folders = library_folders()
    if absolute.startswith(folders) or os.path.realpath(absolute).startswith(folders):
        return False
    parts = absolute.split(os.sep)
    return "site-packages" not in parts and "dist-packages" not in parts


def _place_of_name(root: str) -> str:
    """The place of a module that is not imported; not remembered, for it may be written yet."""
    if root in ("", *_MAIN, _OWN) or root in sys.builtin_module_names:
        return ""
    try:
        spec = importlib.util.find_spec(root)  # of a top-level name: imports nothing
    except (ImportError, ValueError, AttributeError):
        return ""  # a half-made module, or a finder that refuses the name
    if spec is None:
        return ""
    if spec.has_location and spec.origin:
        return spec.origin
    return next(map(str, spec.submodule_search_locations or ()), "")


@functools.cache
def _library_folders(_: str) -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {os.path.dirname(os.__file__), *site.getsitepackages()}
    folders |= {site.getusersitepackages()} if site.ENABLE_USER_SITE else set()
    both = folders | {os.path.realpath(folder) for folder in folders}
    return tuple(sorted(os.path.join(folder, "") for folder in both if folder))


# --- what is installed ---------------------------------------------------------------------------


def _installed_state() -> tuple[tuple[str, int], ...]:
    """Changes when something is installed or removed: the folders' times of change."""
    found = []
    for folder in dict.fromkeys(map(str, sys.path)):
        if folder.rstrip(os.sep).endswith("-packages"):
            try:
                found.append((folder, os.stat(folder).st_mtime_ns))
            except OSError:
                continue  # an entry of the path that is not there
    return tuple(found)


_imported: dict[str, tuple[types.ModuleType, Mapping[str, str]]] = {}
"""Versions of modules that are imported: an upgrade on disk does not change what is in memory."""


def _versions_of(root: str) -> Mapping[str, str]:
    module = sys.modules.get(root)
    known = _imported.get(root)
    if known is not None and known[0] is module:
        return known[1]
    found = _distributions(root, _installed_state())
    if module is not None:
        _imported[root] = module, found
    return found


@functools.lru_cache(maxsize=4096)
def _distributions(root: str, state: tuple[tuple[str, int], ...]) -> Mapping[str, str]:
    """Most modules are named as their distribution: that is tried first, and proved by its place.

    Several distributions may share one root (namespace packages): all of them count then.
    """
    namesake = _namesake(root)
    names = (namesake,) if namesake else _table(state).get(root, ())
    return {name: _metadata().version(name) for name in names}


def _metadata() -> types.ModuleType:
    # A tenth of what `%load_ext` takes, where nothing else has imported it: no step may ask.
    return import_module("importlib.metadata")


def _namesake(root: str) -> str:
    """The distribution of that very name, if the module lies where it was installed; else ""."""
    metadata = _metadata()
    try:
        distribution = metadata.distribution(root)
    except (metadata.PackageNotFoundError, ValueError):
        return ""
    module = sys.modules.get(root)
    file = getattr(module, "__file__", None) if module is not None else _place_of_name(root)
    if not isinstance(file, str) or not file.endswith((".py", ".so", ".pyd")):
        return ""  # a namespace package: others may have their part in it
    place = os.path.realpath(str(distribution.locate_file(root)))
    is_there = os.path.realpath(file).startswith((os.path.join(place, ""), f"{place}."))
    return str(distribution.metadata["Name"]) if is_there else ""


@functools.lru_cache(maxsize=2)
def _table(_: tuple[tuple[str, int], ...]) -> Mapping[str, tuple[str, ...]]:
    table = _metadata().packages_distributions()
    return {root: tuple(sorted(set(names))) for root, names in table.items()}
