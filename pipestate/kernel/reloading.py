"""Modules of the project that were edited: loaded anew, with what is imported from them."""

from __future__ import annotations

from msgspec.structs import replace

from ..errors import UsageError, kind_of
from ..store import loading
from . import modules
from .bench import Bench
from .trial import Task


def reload_edited(bench: Bench, task: Task) -> None:
    """Have a step find its project's modules as their files are now, and what is imported from
    them."""
    try:
        reloaded = modules.reload_edited(bench.modules_of(task))
    except Exception as error:
        raise UsageError(
            f"an edited module cannot be loaded ({kind_of(error)})", "mend it"
        ) from error
    _import_anew(bench, reloaded)


def _import_anew(bench: Bench, reloaded: frozenset[str]) -> None:
    """Names imported from modules that were edited mean what the new source makes of them."""
    space = bench.space
    for name, (source, value) in list(space.sources.items()):
        is_ours = source.kind == "import" and space.ns.get(name) is value
        if is_ours and modules.imported_by(source.text) & reloaded:
            new = loading.execute(source.text, name, space.ns)
            space.ns[name] = new
            space.sources[name] = (source, new)
            if name in space.bindings:
                space.bindings[name] = replace(space.bindings[name], obj=new)
