"""Values and their bytes: one pickle stream for what shares objects, and its big buffers beside it.

Pickle protocol 5 leaves big buffers out of the stream, so that each can be kept under its own
digest, shared between versions and mapped on loading. `pickler` says what is pickled otherwise than
by default, `reductions` how values of libraries are taken apart. This room knows neither the store
nor the notebook: it is given the definitions that are referred to by name, and the namespace that
functions live in.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from ..errors import PackError
from ..record import Blob
from . import flaws, memory, pickler, rebuild, trees
from .content import BIG
from .gaps import Gaps
from .handlers import is_of_handler
from .pickler import ATOMS

_STACK: Final = 512 << 20
_DEPTH: Final = 100_000
"""Deeply nested values are pickled in a thread with a stack for this many levels."""

_NO_DEFINITIONS: Final[Mapping[int, str]] = {}
_deep: Final = threading.Lock()


class Pack(Struct, frozen=True):
    """A pickle stream, the buffers that it leaves out, and the definitions that it refers to.

    The buffers are the values' own memory, not copies: write them out before a value may change.
    `gaps` are those of structures, by the number of their buffer: what is in them need not be kept.
    """

    stream: bytes
    buffers: tuple[memoryview, ...]
    needs: tuple[str, ...]
    gaps: Mapping[int, Gaps] = field(default_factory=dict)


def pack(
    values: Mapping[str, object],
    *,
    is_plain: bool = False,
    definitions: Mapping[int, str] = _NO_DEFINITIONS,
    namespace: dict[str, Any] | None = None,
) -> Pack:
    """One pack of `values`, which may share objects; `is_plain` says of them that they are `ATOMS`
    and small trees of such.

    `definitions` are the functions and classes, by id, to refer to by name; functions over
    `namespace` (else over `__main__`) are bound to the namespace that they are loaded into. Costs a
    `pickle.dumps` without the big buffers, twice where arrays see the same memory. Runs the
    pickling hooks of the values. Raises PackError for what cannot be pickled.
    """
    roots = dict(values)
    if is_plain or all(type(value) in ATOMS for value in roots.values()):
        return _pack_atoms(roots)  # what is below would give the same, in five times the time
    try:
        return _pack(roots, definitions, namespace)
    except RecursionError:
        return _with_deep_stack(roots, definitions, namespace)
    except Exception as error:  # a user's __reduce__ may raise anything
        if is_of_handler(error):
            raise
        raise _pack_error(roots, definitions, namespace, error) from error


def _pack_atoms(roots: Mapping[str, object]) -> Pack:
    big = {id(one): _Beside(one) for one in roots.values() if _is_long(one)}
    if not big:
        return Pack(pickle.dumps(roots, 5), (), ())
    named = {name: big.get(id(one), one) for name, one in roots.items()}
    stream = pickle.dumps(named, 5, buffer_callback=lambda _: False)
    return Pack(stream, tuple(memoryview(one.data) for one in big.values()), ())


def _is_long(value: object) -> bool:
    return isinstance(value, (bytes, str)) and len(value) >= BIG


class _Beside:
    """Stands in a pack for bytes or a text beside it: in the stream they would be a copy."""

    def __init__(self, value: Any) -> None:
        self._how = ("utf-8", "surrogatepass") if isinstance(value, str) else ()
        self._kind = type(value)
        self.data: bytes = value.encode(*self._how) if isinstance(value, str) else value

    def __reduce__(self) -> tuple[Any, ...]:
        return self._kind, (pickle.PickleBuffer(self.data), *self._how)


def pack_tree(
    name: str, tree: object, put: Callable[[bytes], Blob]
) -> tuple[bytes, tuple[Blob, ...]] | None:
    """The stream of one name that means a tree, and its pieces, each kept by `put` as it is made.

    None where it is to be pickled as any value is. Costs a fraction of a `pickle.dumps`.
    """
    try:
        blobs = tuple(map(put, trees.pieces(tree)))
    except ValueError:
        return None
    return pickle.dumps({name: _Pieces(blobs)}, 5, buffer_callback=lambda _: False), blobs


class _Pieces:
    """Stands in a pack for the tree that is made of the buffers beside it."""

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self._blobs = blobs

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild.tree, ([(one.digest, pickle.PickleBuffer(b"")) for one in self._blobs],)


def _pack(
    roots: dict[str, object], definitions: Mapping[int, str], namespace: dict[str, Any] | None
) -> Pack:
    packer, made = _dump(roots, definitions, namespace, [])
    if packer.census.sights:
        regions = memory.regions(
            packer.census, lambda: [obj for _, obj in packer.memo.copy().values()]
        )
        if regions:
            packer.let_go()
            packer, made = _dump(roots, definitions, namespace, regions)
    packer.let_go()
    return made


def _dump(
    roots: dict[str, object],
    definitions: Mapping[int, str],
    namespace: dict[str, Any] | None,
    regions: list[memory.Region],
) -> tuple[pickler.Packer, Pack]:
    buffers: list[memoryview] = []
    told: list[tuple[pickle.PickleBuffer, Gaps]] = []
    gaps: dict[int, Gaps] = {}

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < pickler.SMALL:
            return True
        if told and told[-1][0] is buffer:
            gaps[len(buffers)] = told[-1][1]
        buffers.append(raw)
        return False

    stream = io.BytesIO()
    packer = pickler.Packer(
        stream,
        on_buffer=keep,
        on_gaps=lambda buffer, spans: told.append((buffer, spans)),
        definitions=definitions,
        namespace=namespace,
        regions=regions,
    )
    try:
        packer.dump(roots)
    except BaseException:
        packer.let_go()
        raise
    needs = tuple(packer.needs)
    return packer, Pack(stream.getvalue(), tuple(buffers), needs, gaps)


def _with_deep_stack(
    roots: dict[str, object], definitions: Mapping[int, str], namespace: dict[str, Any] | None
) -> Pack:
    """Pickle goes down with each level of nesting: give it a stack to go down on."""
    outcome: list[Pack | BaseException] = []

    def run() -> None:
        try:
            outcome.append(_pack(roots, definitions, namespace))
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            outcome.append(error)

    with _deep:
        limit, size = sys.getrecursionlimit(), threading.stack_size(_STACK)
        sys.setrecursionlimit(max(limit, _DEPTH))
        try:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        finally:
            sys.setrecursionlimit(limit)
            threading.stack_size(size)
    made = outcome[0]
    if isinstance(made, Pack):
        return made
    if isinstance(made, RecursionError):
        kind, where = _deepest(roots)
        raise PackError(
            f"{kind} at {where} is nested too deeply to be kept",
            "keep it flat, or leave it out with `--no-save`",
            kind=kind,
            where=where,
        ) from made
    if isinstance(made, Exception):
        raise _pack_error(roots, definitions, namespace, made) from made
    raise made


def _deepest(roots: dict[str, object]) -> tuple[str, str]:
    name, value = next(iter(roots.items())) if len(roots) == 1 else ("values", roots)
    return type(value).__name__, name


def _pack_error(
    roots: dict[str, object],
    definitions: Mapping[int, str],
    namespace: dict[str, Any] | None,
    error: Exception,
) -> PackError:
    packer = pickler.Packer(
        io.BytesIO(),
        on_buffer=lambda _: True,
        on_gaps=lambda _, __: None,
        definitions=definitions,
        namespace=namespace,
        regions=[],
    )
    try:
        flaw = flaws.find(roots, packer.reducer_override, packer.dispatch_table)
    finally:
        packer.let_go()
    if flaw is None:
        kind, where = _deepest(roots)
        flaw = flaws.Flaw(kind, where, str(error))
    return PackError(
        f"{flaw.kind} at {flaw.where} cannot be kept",
        f"{flaw.reason or type(error).__name__}".splitlines()[0],
        kind=flaw.kind,
        where=flaw.where,
    )
