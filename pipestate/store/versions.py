"""Values to versions: where digests, pickles and blobs meet.

`describe` says what a component is (its digest, what its code reads) without keeping it, `keep`
packs it as well; `loading` gives the objects again.

It does not know what a step or a kernel is; a script keeps and loads values by the same verbs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from ..errors import PackError
from ..record import Version
from . import codecs, digests, loading
from .handlers import is_of_handler
from .phases import Phase
from .pickler import ATOMS

PROOF_BYTES = 64 * 1024
"""Packs up to this size are proved by loading them: bigger ones would cost what they save."""


class Source(Struct, frozen=True):
    """An `import`, `def` or `class` statement that makes a name's value, and what it needs."""

    kind: str
    text: str
    needs: tuple[str, ...] = ()


class Component(Struct, frozen=True):
    """Values that share mutable objects, by name, and how each looks."""

    values: Mapping[str, object]
    streams: Mapping[str, digests.Stream]
    source: Source | None = None
    definitions: Mapping[int, str] = field(default_factory=dict)
    needed: Callable[[str], str] = lambda name: ""
    resolve: Callable[[str], object] | None = None

    @property
    def flaw(self) -> str:
        """Why it cannot be kept; or ""."""
        return next((s.flaw for s in self.streams.values() if s.flaw), "")


def describe(component: Component, *, lost: str = "") -> Version:
    """The version that this component is, not kept yet.

    `lost` is the digest to give to what cannot be kept: it stands for how the value was made.
    """
    streams = component.streams
    names = sorted(streams)
    flaw = component.flaw if component.source is None else ""
    union = [streams[name] for name in names]
    joint, shares = (lost, None) if flaw else digests.together(streams, names)
    single = {name: lost if flaw else streams[name].digest for name in names}
    return Version(
        kind="lost" if flaw else _kind(component.source),
        digest=joint,
        names=single,
        types={name: streams[name].kind for name in names},
        shares=None if len(names) == 1 else shares,
        source=component.source.text if component.source else "",
        needs=_needs(component),
        reads=tuple(sorted({path for s in union for path in s.reads}, key=str)),
        writes=tuple(sorted({name for s in union for name in s.writes})),
        flaw=flaw,
        mutable=bool(flaw) or any(s.is_mutable for s in union),
    )


def _kind(source: Source | None) -> Any:
    return source.kind if source else "value"


def _needs(component: Component) -> dict[str, str]:
    """The definitions that loading it asks for, and what each is now."""
    needs = {name for s in component.streams.values() for name in s.needs}
    if component.source:
        needs |= set(component.source.needs)
    return {name: component.needed(name) for name in sorted(needs - set(component.values))}


def keep(
    component: Component, version: Version, *, namespace: dict[str, Any], phase: Phase
) -> Version:
    """The version with its bytes in the store; a `lost` one where they cannot be had.

    What has been kept already is given back as it is.
    """
    if version.kind != "value" or version.stream is not None:
        return version
    if _is_big_tree(component):
        ((name, tree),) = component.values.items()
        packed = codecs.pack_tree(name, tree, phase.put)
        if packed is not None:
            stream, buffers = phase.put(packed[0]), packed[1]
            return version.replace(stream=stream, buffers=buffers, parts=_parts(component, phase))
    is_plain = _is_plain(component)
    try:
        pack = codecs.pack(
            component.values,
            is_plain=is_plain,
            definitions=component.definitions,
            namespace=namespace,
        )
    except PackError as error:
        return _lost(version, f"{error.kind} at {error.where}" if error.where else str(error))
    flaw = "" if is_plain else _disprove(component, version, pack, namespace)
    if flaw not in ("", SETTLES):
        return _lost(version, flaw)
    stream = phase.put(pack.stream)
    buffers = phase.put_all(pack.buffers, pack.gaps)
    return version.replace(
        stream=stream,
        buffers=buffers,
        needs={**{name: component.needed(name) for name in pack.needs}, **version.needs},
        parts=_parts(component, phase),
        settles=flaw == SETTLES,
    )


def keep_one(
    names: Sequence[str], value: object, *, namespace: dict[str, Any], phase: Phase
) -> Version:
    """What `keep` gives of one value that goes by some names. Numbers, texts and small trees of
    such, as most are that scripts set, take a shorter way there, at a third of the cost."""
    if type(value) in ATOMS:
        return _keep_plain(names, value, digests.leaf(value), phase, (), {})
    if (flat := digests.flat(value, PROOF_BYTES)) is not None:
        held, digest, its = flat
        parts = {name + path: part for name in names for path, part in its.items()}
        return _keep_plain(names, held, digest, phase, (0,), parts)
    one = digests.stream(value, name=names[0], buffer_digest=phase.digest)
    component = Component(dict.fromkeys(names, value), dict.fromkeys(names, one))
    if not _is_plain(component):
        return keep(component, describe(component), namespace=namespace, phase=phase)
    outer = digests.outermost(one.parents)
    return _keep_plain(names, value, one.digest, phase, outer, _parts(component, phase))


def _keep_plain(
    names: Sequence[str],
    value: object,
    digest: str,
    phase: Phase,
    outer: Sequence[int],
    parts: dict[str, str],
) -> Version:
    single = dict.fromkeys(sorted(names), digest)
    joint, shares = digests.of_one(single, outer)
    pack = codecs.pack(dict.fromkeys(names, value), is_plain=True)
    return Version(
        kind="value",
        digest=joint,
        names=single,
        types=dict.fromkeys(single, type(value).__name__),
        shares=shares,
        parts=parts,
        stream=phase.put(pack.stream),
        buffers=phase.put_all(pack.buffers, pack.gaps),
        mutable=bool(outer),
    )


def _is_big_tree(component: Component) -> bool:
    """Whether it is one tree that is worth another way; nobody holds a part of it."""
    if len(component.streams) > 1:
        return False
    (one,) = component.streams.values()
    return one.is_tree and one.is_mutable and one.nbytes >= PROOF_BYTES


def _lost(version: Version, flaw: str) -> Version:
    return version.replace(kind="lost", flaw=flaw, mutable=True)


def _parts(component: Component, phase: Phase) -> dict[str, str]:
    found: dict[str, str] = {}
    done: dict[int, tuple[str, dict[str, str]]] = {}
    for name, value in component.values.items():
        if not (component.streams[name].is_mutable or isinstance(value, tuple)):
            continue
        if id(value) in done:  # a step's value often has a name, too
            other, its = done[id(value)]
            found |= {name + path[len(other) :]: digest for path, digest in its.items()}
            continue
        its = digests.parts(
            value,
            name=name,
            size=len(component.streams[name].mutables),
            is_tree=component.streams[name].is_tree,
            definitions=component.definitions,
            buffer_digest=phase.digest,
        )
        done[id(value)] = name, its
        found |= its
    return found


SETTLES = "settles"
"""The proof's answer for what comes back without its caches: another digest, but then the same."""


def _disprove(
    component: Component, version: Version, pack: codecs.Pack, namespace: dict[str, Any]
) -> str:
    """Why the pack does not give the same values again, or "". Loading it is the only proof.

    A library's object may remember what it has been asked (pandas' groupers and indexes do) and
    lose that by pickling: it is good if a second trip changes nothing more. What names a class of
    the notebook has no such excuse: its own pickling loses what the user put there.
    """
    if _is_array(component):
        return ""
    size = len(pack.stream) + sum(buffer.nbytes for buffer in pack.buffers)
    hides = any(stream.hides for stream in component.streams.values())
    if any(hasattr(namespace.get(name), "__del__") for name in pack.needs):
        # Dropping the copy would run the user's code.
        return "its own pickling leaves something out" if hides else ""
    if size > PROOF_BYTES and not hides:
        return ""
    try:
        root = _root(component)
        again, told = _round_trip(component, root, pack, namespace)
        if told == _told(root, component.values, component.streams):
            return ""
        if not pack.needs and not hides:
            second = codecs.pack(again, definitions=component.definitions, namespace=namespace)
            if _round_trip(component, root, second, namespace)[1] == told:
                return SETTLES
    except Exception as error:  # whatever a user's __setstate__ raises
        if is_of_handler(error):
            raise
        return f"it does not load again ({type(error).__name__}: {error})"
    return "it comes back from pickle as something else"


def _is_plain(component: Component) -> bool:
    """Whether all of it is plain values, small trees of such, and numpy's numbers: pickle gives
    them again as they were."""
    return all(
        type(value) in ATOMS
        or (component.streams[name].is_tree and component.streams[name].nbytes < PROOF_BYTES)
        or _is_number(type(value))
        for name, value in component.values.items()
    )


def _is_array(component: Component) -> bool:
    """Whether all names mean one array of numpy's numbers, as most arrays are: the pack has its
    memory, and how that lies."""
    first, *others = component.values.values()
    if getattr(sys.modules.get("numpy"), "ndarray", None) is not type(first):
        return False
    array: Any = first
    is_plain = array.dtype.kind in "biufc" and array.dtype.char not in "gG"
    return (
        is_plain
        and array.dtype.metadata is None
        and array.flags.c_contiguous
        and array.flags.writeable
        and all(one is first for one in others)
    )


def _is_number(kind: type) -> bool:
    """Whether it is one of numpy's numbers, but for the long ones: they have bytes that mean
    nothing."""
    if kind.__module__ != "numpy" or kind.__name__ not in _NUMBERS:
        return False
    return getattr(sys.modules.get("numpy"), kind.__name__, None) is kind


_NUMBERS: Final = frozenset(
    "bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 longlong ulonglong"
    " float16 float32 float64 complex64 complex128".split()
)


def _root(component: Component) -> str:
    """The name from whose value those of all the others are reached; "" where there is none."""
    for name, one in component.streams.items():
        numbers = digests.numbers_of(one.mutables)
        if all(name == other or id(it) in numbers for other, it in component.values.items()):
            return name
    return ""


def _told(
    root: str, values: Mapping[str, object], streams: Mapping[str, digests.Stream]
) -> tuple[str, list[int | None]]:
    """What tells values from others: how the one looks that leads to all, and where they are in it,
    or, where there is none, how all look together."""
    if not root:
        return digests.joint(streams, streams), []
    numbers = digests.numbers_of(streams[root].mutables)
    return streams[root].digest, [numbers.get(id(values[name])) for name in sorted(values)]


def _round_trip(
    component: Component, root: str, pack: codecs.Pack, namespace: dict[str, Any]
) -> tuple[dict[str, Any], tuple[str, list[int | None]]]:
    """The values of a pack, and what tells them from others."""
    again = loading.unpack(
        pack.stream,
        [memoryview(bytearray(buffer)) for buffer in pack.buffers],
        resolve=component.resolve or namespace.__getitem__,
        namespace=namespace,
    )
    known = {**component.definitions, **_own_definitions(component, again)}
    of: dict[int, digests.Stream] = {}
    for name, value in again.items():
        if id(value) not in of and root in ("", name):
            of[id(value)] = digests.stream(value, name=name, definitions=known)
    streams = {name: of[id(value)] for name, value in again.items() if id(value) in of}
    return again, _told(root, again, streams)


def _own_definitions(component: Component, again: Mapping[str, object]) -> dict[int, str]:
    """The functions and classes that the component holds itself, as they came back.

    Its other values refer to them by name, as they did to the originals.
    """
    named = {name for one in component.streams.values() for name in one.needs}
    return {id(again[name]): name for name in named & again.keys()}


def same_after(sources: Iterable[Source], name: str, value: object, space: dict[str, Any]) -> bool:
    """Whether running a definition's statement makes an object with the digest of `value`."""
    for source in sources:
        try:
            again = loading.execute(source.text, name, space)
        except Exception as error:  # what the statement raises: it is kept by value then
            if is_of_handler(error):
                raise
            return False
        return digests.stream(again).digest == digests.stream(value).digest
    return False
