"""A value as a stream: its digest, what is mutable in it, what its code reads, what is wrong.

A stream is taken at memory speed and says enough to tell later, without the value, how names hang
together (see `joints`). It holds the objects whose ids it tells, so that the ids stay true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from types import MappingProxyType
from typing import Any

import msgspec
from blake3 import blake3

from ..errors import StoreError
from ..record import AccessPath
from . import trees, where
from .garbage import gc_paused
from .handlers import is_of_handler
from .siblings import select
from .tokens import LEAVES, leaf_pieces
from .walk import (
    ROOT,
    TREE,
    BufferDigest,
    Findings,
    Place,
    Walk,
    buffer_digest,
)

NO_READS: frozenset[AccessPath] = frozenset()
NO_NAMES: frozenset[str] = frozenset()
NOTHING: Mapping[int, str] = MappingProxyType({})
NOWHERE: Mapping[int, Any] = MappingProxyType({})


class TreeNumbers(Mapping[int, int]):
    """The numbers of the mutable objects of a tree by id, worked out when somebody asks."""

    def __init__(self, levels: Sequence[list[object]]) -> None:
        self._levels = levels
        self._numbers: dict[int, int] | None = None

    def _found(self) -> dict[int, int]:
        if self._numbers is None:
            objects = chain.from_iterable(self._levels)
            self._numbers = dict(zip(map(id, objects), count()))
        return self._numbers

    def as_dict(self) -> dict[int, int]:
        """The same as a dict, which answers in C."""
        return self._found()

    def __getitem__(self, key: int) -> int:
        return self._found()[key]

    def __iter__(self) -> Iterator[int]:
        return iter(self._found())

    def __len__(self) -> int:
        return sum(map(len, self._levels))


def numbers_of(mutables: Mapping[int, int]) -> Mapping[int, int]:
    """The same numbers as they are looked up fastest."""
    return mutables.as_dict() if isinstance(mutables, TreeNumbers) else mutables


class Stream(msgspec.Struct, frozen=True, eq=False):
    """What one look at a value told.

    `digest` covers content and the sharing inside, and is the same in every process. `kind` is the
    type's name. `mutables` gives each mutable object's id (or key of array memory) its number in
    the walk, `parents` the number of what it was first met in, `places` how views lie in array
    memory, `lazy` the memory that pandas holds under copy-on-write. `root` is the value, and
    `alive` what was made to look at it. `reads` and `writes` are the globals of the code in it,
    `needs` the notebook's definitions that it names. A `flaw` says what
    cannot be kept and where; then the digest compares with nothing. One that `hides` holds an
    instance whose own pickling does not tell of all that is in it.
    """

    digest: str
    kind: str
    mutables: Mapping[int, int]
    reads: frozenset[AccessPath]
    writes: frozenset[str]
    needs: frozenset[str]
    flaw: str
    nbytes: int
    is_mutable: bool
    root: object
    alive: object
    parents: Sequence[int] = ()
    places: Mapping[int, Place] = NOWHERE
    lazy: Mapping[int, tuple[int, Place]] = NOWHERE
    hides: bool = False

    @property
    def is_tree(self) -> bool:
        """Whether the value is one tree of plain builtin values (see `trees`)."""
        return isinstance(self.mutables, TreeNumbers)


def stream(
    value: object,
    *,
    name: str = "",
    definitions: Mapping[int, str] = NOTHING,
    buffer_digest: BufferDigest = buffer_digest,
) -> Stream:
    """Look at a value. `name` is what a flaw's place begins with.

    `definitions` are the notebook's functions and classes by id, with the names they go by; `value`
    itself is looked at by content even if it is among them. Costs about the hashing of its buffers
    and a microsecond for each object that is not plain builtin data.
    """
    kind = type(value)
    if kind in LEAVES:
        return _leaf_stream(value)
    deep: set[int] = set()
    with gc_paused():
        levels = trees.containers(value, deep=deep) if kind in trees.INNER else None
        if levels is not None:
            return _tree_stream(value, levels)
        findings = Findings(definitions, buffer_digest)
        walk = Walk(value, select, findings)
        walk.deep |= deep | {id(value)}  # not to be asked for again
        digest = _walked(walk, value)
    numbering = walk.numbering
    return Stream(
        digest=digest,
        kind=type(value).__name__,
        mutables=TreeNumbers(numbering.tree) if numbering.tree else numbering.numbers,
        reads=frozenset(findings.reads),
        writes=frozenset(findings.writes),
        needs=frozenset(findings.needs),
        flaw=_flaw(walk, value, name) if walk.flaws else "",
        nbytes=walk.nbytes,
        is_mutable=bool(numbering.parents),
        root=value,
        alive=findings.alive,
        parents=numbering.parents,
        places=numbering.places,
        lazy=numbering.lazy,
        hides=findings.hides,
    )


def _walked(walk: Walk, value: object) -> str:
    try:
        return walk.run().hex()
    except StoreError:
        raise  # a buffer that was to be written at once did not fit: that is no fault of the value
    except Exception as error:  # an attribute of a user's may raise anything
        if is_of_handler(error):
            raise
        walk.fail(value, str(error))
        return blake3(type(value).__qualname__.encode()).hexdigest(length=20)
    finally:
        walk.findings.settle()


def leaf(value: object) -> str:
    """The digest of a value of one of the types `LEAVES`, as `stream` has it."""
    return _hashed(leaf_pieces(value))


def tree(value: object) -> str:
    """The digest of a list, dict or tuple that is part of a tree, as `stream` has it."""
    written = _Written()
    trees.dump(value, written)
    return written.hasher.hexdigest(length=20)


def small_tree(value: object, most: int) -> str:
    """As `tree`, at once; "" where it has so many bytes, or more."""
    written = TREE + trees.dumps(value)
    return blake3(written).hexdigest(length=20) if len(written) < most else ""


def _hashed(pieces: Iterable[bytes]) -> str:
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest(length=20)


def _leaf_stream(value: object) -> Stream:
    token = leaf_pieces(value)
    return Stream(
        digest=_hashed(token),
        kind=type(value).__name__,
        mutables={},
        reads=NO_READS,
        writes=NO_NAMES,
        needs=NO_NAMES,
        flaw="",
        nbytes=sum(map(len, token)),
        is_mutable=False,
        root=value,
        alive=(),
    )


def _tree_stream(value: object, levels: list[list[object]]) -> Stream:
    """The stream of a tree, as a walk would tell it, without one: most values that scripts set are
    small trees. `levels` are its lists and dicts."""
    written = _Written()
    trees.dump(value, written)
    count = sum(map(len, levels))
    first = ROOT if type(value) is tuple else 0  # who holds the root holds them all
    return Stream(
        digest=written.hasher.hexdigest(length=20),
        kind=type(value).__name__,
        mutables=TreeNumbers(levels),
        reads=NO_READS,
        writes=NO_NAMES,
        needs=NO_NAMES,
        flaw="",
        nbytes=written.nbytes,
        is_mutable=count > 0,
        root=value,
        alive=levels,
        parents=(ROOT, *[first] * (count - 1)) if count else (),
    )


class _Written:
    """A file to write a tree to, which hashes it: one that is `TREE`."""

    __slots__ = ("hasher", "nbytes")

    def __init__(self) -> None:
        self.hasher, self.nbytes = blake3(TREE), len(TREE)

    def write(self, data: bytes) -> None:
        self.hasher.update(data)
        self.nbytes += len(data)


def _flaw(walk: Walk, value: object, name: str) -> str:
    obj, _ = walk.flaws[0]
    return f"{type(obj).__name__} at {name or 'value'}{where.path(value, obj)}"
