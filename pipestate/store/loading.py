"""Versions to values again: what is kept is fetched, checked and unpickled.

It needs nothing of what takes values apart, which is most of this floor: who only reads a value is
not to wait for all that.
"""

from __future__ import annotations

import io
import linecache
import pickle
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import DamageError, PackError
from ..record import Blob, Version
from . import content
from .garbage import gc_paused

Fetch = Callable[[Sequence[Blob]], Sequence[memoryview]]

_REBUILD: Final = "pipestate.store.rebuild"


def load(
    version: Version,
    *,
    fetch: Fetch,
    resolve: Callable[[str], object],
    namespace: dict[str, Any],
) -> dict[str, Any]:
    """The values of a version by name. `resolve` gives the notebook's definitions that they need.

    Raises DamageError for bytes that are missing or altered, PackError for what was never kept,
    and what the values' own loading raises.
    """
    if version.kind == "lost":
        raise PackError(
            f"`{', '.join(version.names)}` could not be kept: {version.flaw}",
            "run the step that makes it again",
            kind=", ".join(version.types.values()),
        )
    if version.kind in ("import", "definition"):
        for name in version.needs:
            resolve(name)
        (name,) = version.names
        return {name: execute(version.source, name, namespace)}
    if version.stream is None:
        raise DamageError("a version without bytes", "run its step again")
    view, *buffers = fetch([version.stream, *version.buffers])
    # What is unpickled is hashed in the very copy that is: a mapped file could change meanwhile.
    stream = bytes(view)
    if content.digest(stream) != version.stream.digest:
        raise DamageError(f"blob {version.stream.digest[:12]} does not hold the bytes put there")
    return unpack(
        stream,
        buffers,
        resolve=resolve,
        namespace=namespace,
    )


def execute(source: str, name: str, namespace: dict[str, Any]) -> Any:
    """What a statement binds to `name`, with `namespace` as its globals; it binds nothing there.

    The source is put where tracebacks and `inspect.getsource` look for it.
    """
    filename = f"<pipestate {name} {content.digest(source.encode())[:8]}>"
    lines = source.splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)
    bound: dict[str, Any] = {}
    exec(compile(source, filename, "exec", dont_inherit=True), namespace, bound)
    return bound[name]


class _Unpacker(pickle.Unpickler):
    """Puts the given namespace and definitions where the stream only names them."""

    def __init__(
        self,
        stream: bytes | memoryview,
        buffers: Sequence[Any],
        resolve: Callable[[str], object],
        namespace: dict[str, Any],
    ) -> None:
        super().__init__(io.BytesIO(stream), buffers=buffers)
        self._given = {"definition": resolve, "NAMESPACE": namespace}

    def find_class(self, module: str, name: str) -> Any:
        if module == _REBUILD and name in self._given:
            return self._given[name]
        return super().find_class(module, name)


def unpack(
    stream: bytes | memoryview,
    buffers: Sequence[Any],
    *,
    resolve: Callable[[str], object],
    namespace: dict[str, Any],
) -> dict[str, object]:
    """The values of a pack; runs code that the stream names, so the bytes must be trusted.

    `buffers` are used as they are, without a copy: writable where the value is to be. `resolve`
    gives the notebook's definition of a name. Whatever the stream's code raises comes through.
    """
    # Loading makes many objects and no garbage: looking for it took three times the loading.
    with gc_paused():
        loaded: dict[str, object] = _Unpacker(stream, buffers, resolve, namespace).load()
        return loaded
