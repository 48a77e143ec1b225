"""Each outermost import is measured on its own: what it changes in the process is not the step's.

A finder that finds nothing stands before all others, and wraps the loaders that they find.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from typing import Any, cast

from . import ambient


def watch() -> Callable[[], None]:
    """Measure each outermost import from now on, and put what waits for it; gives its undo."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    return lambda: sys.meta_path.remove(finder) if finder in sys.meta_path else None


class _Finder:
    """A finder that finds nothing by itself: it has the outermost import of a thread measured."""

    def __init__(self) -> None:
        self._importing: set[int] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        # Asked by importlib's _find_spec: for an import, and not for `importlib.util.find_spec`
        asker = sys._getframe(2)  # noqa: SLF001 - there is no other way to know
        is_import = asker.f_code.co_name == "_find_and_load_unlocked"
        if threading.get_ident() in self._importing or not is_import:
            return None
        with self.alone():
            specs = (
                finder.find_spec(name, path, target)
                for finder in list(sys.meta_path)
                if finder is not self and hasattr(finder, "find_spec")
            )
            spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = cast(Loader, _Loader(spec.loader, self))
        return spec

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """For imports in here this finder does not exist: they are part of one being measured."""
        thread = threading.get_ident()
        self._importing.add(thread)
        try:
            yield
        finally:
            self._importing.discard(thread)


class _Loader:
    """A module's own loader, which it gives back before the module's code runs, and a measure."""

    def __init__(self, inner: Any, finder: _Finder) -> None:
        self._inner = inner
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        with ambient.importing(module), self._finder.alone():
            self._inner.exec_module(module)
