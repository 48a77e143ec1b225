"""One canonical walk over a value: every object becomes tokens, every mutable object a number.

The walk is in preorder with an explicit stack, so the interpreter's does not bound it. A mutable
object is numbered when it is first met and is afterwards only referred to by its number;
an immutable one stands for its content wherever it is met. Two values give the same tokens exactly
if content and sharing of mutables are equal. Nothing in the tokens comes from an address, an
iteration order of a set, a hash seed or a process.

This module holds the machine. What it does with a type is handed to it as `select`: a function from
a type to a handler. The handlers live beside it (`containers`, `arrays`, `definitions`, `reduced`)
and know the machine; it does not know them.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice, takewhile
from operator import length_hint
from typing import Any, NamedTuple, Protocol

from blake3 import blake3
from msgspec import Struct, field

from ..record import AccessPath
from . import content, trees
from .content import View
from .gaps import Gaps, filled
from .tokens import LEAVES, text

Handler = Callable[["Walk", object], None]
ROOT = -1
"""The parent of what no mutable object holds."""
INNER = -2
"""The holder of what lies deeper in a pandas object than the columns of a frame: content only."""
Place = tuple[int, tuple[object, ...]]
"""Where a view begins in memory, and its strides, shape and type."""
SMALL = 4096
"""Buffers up to this many bytes are tokens themselves; bigger ones stand as their digest."""
TREE = b"T"
"""Before the bytes of a tree."""
PENDING = 4096
MANY = 64
"""So many objects side by side are told together (see `siblings`)."""
MANY_MET = 256
"""After so many mutable objects the few that an object holds are told together, too: a big graph
may be of objects that hold two each."""
DEFINED = (type, types.FunctionType)
ROW = 1 << 13
"""So many of them at once: what is worked out about them is thrown away before the next."""
DEEPEST = 100_000
"""Beyond this depth nothing can be packed (`codecs`); an object may make new ones for ever."""


class Waiting(Protocol):
    """Who is about to know the digest of a buffer; see `phases`."""

    def digest(self) -> str:
        """The digest, once it is known; raises what keeping it raised."""

    def give_up(self) -> None:
        """Let the buffer change from now on."""


class Original(NamedTuple):
    """Memory that a copy without its gaps is kept in the place of."""

    memory: memoryview
    gaps: Gaps

    def filled(self) -> View:
        """The copy."""
        return filled(self.memory, self.gaps)


class BufferDigest(Protocol):
    """Gives the digest of a buffer, or who is about to know it."""

    def __call__(self, view: View, of: Original | None = None, /) -> str | Waiting:
        """The digest of a contiguous buffer; `of` says of a copy what it is to be kept for."""


def buffer_digest(view: View, of: Original | None = None, /) -> str:
    """The digest of a buffer that nobody is about to keep."""
    return content.digest(view)


class Findings(Struct):
    """What a walk and the walks inside it found beside the tokens.

    It `hides` something where the pickling hooks of a class of the user's do not tell all of it.
    """

    definitions: Mapping[int, str]
    buffer_digest: BufferDigest
    reads: set[AccessPath] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    named: dict[int, bytes] = field(default_factory=dict)
    installed: dict[int, bytes] = field(default_factory=dict)
    alive: list[object] = field(default_factory=list)
    hides: bool = False
    waiting: list[Waiting] = field(default_factory=list)

    def settle(self) -> None:
        """Wait until no buffer is looked at any more: then it may change."""
        try:
            for one in self.waiting:
                with contextlib.suppress(Exception):  # told where the digest was asked for
                    one.digest()
        except BaseException:
            for one in self.waiting:
                one.give_up()
            raise


class Numbering(Struct):
    """The numbers of mutable objects, in the order they were met.

    `parents` gives for each number that of the mutable object it was met in. `places` tells for
    array memory how the first view of it lies. `lazy` is memory that pandas holds under
    copy-on-write: the number of the frame that holds it, and how its first column lies there.
    `tree` holds the mutable objects of a value that is one tree, instead of `numbers`.
    """

    numbers: dict[int, int] = field(default_factory=dict)
    parents: list[int] = field(default_factory=list)
    places: dict[int, Place] = field(default_factory=dict)
    tree: Sequence[list[object]] = ()
    lazy: dict[int, tuple[int, Place]] = field(default_factory=dict)


class Frame(Struct):
    """Items still to be walked, the mutable object they lie in, and what is done at their end.

    `holder` is the number of the pandas object whose columns they are, or `INNER`, or `ROOT`.
    """

    items: Iterator[object]
    parent: int
    holder: int
    end: Callable[[], None] | None = None


class Siblings(NamedTuple):
    """Objects that lie side by side, the numbers of the mutable objects they lie in (None: all in
    the one that is walked), and how many tuples they are below that were opened for them."""

    items: list[object]
    parents: list[int] | None = None
    opened: int = 0


class Apart(NamedTuple):
    """An object that is walked by itself, and the number of what it lies in."""

    item: object
    parent: int


def in_rows(items: Iterable[object], parents: Iterable[int], opened: int) -> Iterable[Siblings]:
    """Items that lie in several objects: a list of all, or rows as they come."""
    left, rest = iter(items), iter(parents)

    def row() -> Siblings:
        some = list(islice(left, ROW))
        return Siblings(some, list(islice(rest, len(some))), opened)

    first = row()
    if len(first.items) < ROW:
        return [first] if first.items else []
    return chain([first], takewhile(lambda row: row.items, iter(row, None)))


class Walk:
    """A walk over one value.

    run ── visit ── a handler of `select` ── emit, number, push, seal, defer
     └── at the end: sets that hold mutable objects, in the order they were met
    """

    def __init__(
        self,
        root: object,
        select: Callable[[type], Handler],
        findings: Findings,
        *,
        outer: Mapping[int, int] | None = None,
        is_inside: bool = False,
    ) -> None:
        self.root = root
        self.select = select
        self.findings = findings
        self.numbering = Numbering()
        self.outer = outer
        self.is_inside = is_inside
        self.is_look = False
        self.flaws: list[tuple[object, str]] = []
        self.nbytes = 0
        self._out: list[bytes | Waiting] = []
        self._hasher = blake3()
        self._stack: list[Frame] = []
        self._later: list[Callable[[], None]] = []
        self._sealed: dict[int, bytes] = {}
        self._seals = 0
        self.deep: set[int] = set()
        self.hooked: set[int] = set()
        self._handlers: dict[type, Handler] = {}

    # --- the machine ---

    def run(self, limit: int | None = None) -> bytes:
        """Walk it all and give the digest; stop after `limit` nodes once a mutable was met."""
        self.is_look = limit is not None
        self.visit(self.root)
        while self._stack or self._later:
            if len(self._stack) > DEEPEST:
                self.fail(self.root, "is nested too deeply")
                break
            if self._stack:
                self._advance()
            else:
                self._later.pop(0)()
            if limit is not None and len(self.numbering.parents) > limit:
                break
        self.flush()
        return self._hasher.digest(length=20)

    def _advance(self) -> None:
        """Visit items of the frame on top until one of them opens a frame, or it is at its end."""
        stack, visit = self._stack, self.visit
        frame, depth = stack[-1], len(stack)
        for item in frame.items:
            visit(item)
            if len(stack) != depth:
                if frame.end is None and not length_hint(frame.items, 1):
                    del stack[depth - 1]  # at its end: a long chain is no nest
                return
        stack.pop()
        if frame.end is not None:
            frame.end()
        if len(self._out) > PENDING:
            self.flush()

    def visit(self, item: object) -> None:
        """Write out one object; what lies in it may be left on the stack."""
        kind = type(item)
        leaf = LEAVES.get(kind)
        if leaf is not None:
            self._out.append(leaf(item))
            return
        (self._handlers.get(kind) or self.handler_of(kind))(self, item)

    def handler_of(self, kind: type) -> Handler:
        """What `select` gives for a type, which is asked once."""
        handler = self._handlers.get(kind)
        if handler is None:
            handler = self._handlers[kind] = self.select(kind)
        return handler

    def flush(self) -> None:
        """Hash what was written out so far."""
        if self.findings.waiting:
            self._out = [t if isinstance(t, bytes) else _digested(t) for t in self._out]
        joined = b"".join(self._out)  # type: ignore[arg-type]
        self.nbytes += len(joined)
        self._hasher.update(joined)
        self._out.clear()

    # --- what handlers use ---

    @property
    def parent(self) -> int:
        """The number of the mutable object that is being walked."""
        return self._stack[-1].parent if self._stack else ROOT

    @property
    def holder(self) -> int:
        """The number of the pandas object whose columns are being walked, or INNER, or ROOT."""
        return self._stack[-1].holder if self._stack else ROOT

    def emit(self, token: bytes) -> None:
        """Write out a token; it has to say itself where it ends."""
        self._out.append(token)

    def number(self, obj: object, key: int | None = None) -> int | None:
        """The number of a mutable object met for the first time, else None: a reference is written.

        `key` stands for it instead of its id: for the memory of an array, what `arrays.memory`
        gives.
        """
        if key is None:
            key = id(obj)
        numbers = self.numbering.numbers
        known = numbers.get(key)
        if known is None and self.outer is not None and key in self.outer:
            self._out.append(b"^%d;" % self.outer[key])
            return None
        if known is not None:
            self._out.append(b"@%d;" % known)
            return None
        new = numbers[key] = len(self.numbering.parents)
        self.numbering.parents.append(self.parent)
        self.findings.alive.append(obj)
        return new

    def number_all(
        self, objects: list[Any], parents: Sequence[int]
    ) -> tuple[list[Any], Sequence[int]]:
        """Those of the objects that are met for the first time, and their numbers; the numbers of
        all are written out where some are met again. `parents` are those of what they lie in."""
        numbers, known = self.numbering.numbers, self.numbering.parents
        ids, first = list(map(id, objects)), len(known)
        fresh = dict(zip(ids, objects, strict=True))
        if len(fresh) == len(ids) and numbers.keys().isdisjoint(fresh):
            self._out.append(b"*")
            numbers.update(zip(ids, count(first)))
            known.extend(parents)
        else:
            self._out.append(b"/")
            held = dict(zip(reversed(ids), reversed(parents), strict=True))
            for key in [key for key in fresh if key in numbers]:
                del fresh[key]
            numbers.update(zip(fresh, count(first)))
            known.extend(map(held.__getitem__, fresh))
            trees.dump(list(map(numbers.__getitem__, ids)), Sink(self))
            objects = list(fresh.values())
        self.findings.alive.append(objects)
        return objects, range(first, len(known))

    def is_numbered(self, key: int) -> bool:
        """Whether the object was met before."""
        return key in self.numbering.numbers or (self.outer is not None and key in self.outer)

    def push(
        self,
        items: Iterable[object],
        *,
        parent: int | None = None,
        holder: int | None = None,
        end: Callable[[], None] | None = None,
    ) -> None:
        """Leave items on the stack, to be walked next, as lying in the object numbered `parent`."""
        parent = self.parent if parent is None else parent
        holder = self.holder if holder is None else holder
        self._stack.append(Frame(iter(items), parent, holder, end))

    def side_by_side(self, items: list[object]) -> Iterable[object]:
        """The items of a list that nobody else changes as they are walked best: together where they
        are many, or where many objects have been met before."""
        if len(items) < MANY and not self._is_wide(items):
            return items
        if len(items) <= ROW:
            return [Siblings(items)]
        return (Siblings(items[at : at + ROW]) for at in range(0, len(items), ROW))

    def _is_wide(self, items: list[object]) -> bool:
        """Whether a graph of many objects branches here: a chain has one link after the other. What
        is sealed is told alike wherever it is met."""
        if self._seals or len(self.numbering.parents) < MANY_MET:
            return False
        kinds = map(type, items)
        return sum(kind not in LEAVES and not issubclass(kind, DEFINED) for kind in kinds) > 1

    def push_each(self, items: Iterable[object], parents: Iterable[int]) -> None:
        """Leave items on the stack to be walked one by one, each as lying in its parent."""
        self.push(list(map(Apart, items, parents)))

    def visit_apart(self, one: Apart) -> None:
        """Visit what `push_each` has left."""
        self._stack[-1].parent = one.parent
        self.visit(one.item)

    def seal(self, obj: object, items: Iterable[object], *, holder: int | None = None) -> None:
        """Walk an immutable object: what is in it is written out as one digest.

        Shared tuples nest to exponential trees, so the digest is remembered, once all mutables in
        it are numbered and it thus cannot come out otherwise.
        """
        known = self._sealed.get(id(obj))
        if known is not None:
            self._out.append(known)
            return
        before = (self._out, self._hasher, len(self.numbering.parents), len(self._later))
        self._out, self._hasher = [], blake3()
        self._seals += 1

        def end() -> None:
            self._seals -= 1
            self.flush()
            token = b"I" + self._hasher.digest(length=20)
            self._out, self._hasher = before[0], before[1]
            if (len(self.numbering.parents), len(self._later)) == before[2:]:
                self._sealed[id(obj)] = token
                self.findings.alive.append(obj)
            self._out.append(token)

        row = self.side_by_side(items) if isinstance(items, list) else items
        self.push(row, holder=holder, end=end)

    def content(
        self, buffer: View, *, is_passing: bool = False, of: Original | None = None
    ) -> None:
        """Write out raw bytes. Whoever is about to know their digest is asked for it at the end.

        Those of a copy that is not going to be kept are `is_passing`; `of` says of one that is what
        it is kept for.
        """
        self.nbytes += buffer.nbytes
        if buffer.nbytes <= SMALL:
            self._out.append(b"b%d:" % buffer.nbytes + buffer[:])
            return
        digest = buffer_digest(buffer) if is_passing else self.findings.buffer_digest(buffer, of)
        if isinstance(digest, str):
            self._out.append(b"B" + digest.encode())
        else:
            self.findings.waiting.append(digest)
            self._out.append(digest)

    def fail(self, obj: object, reason: str) -> None:
        """Note that an object cannot be kept, and write its type in its place."""
        self.flaws.append((obj, reason))
        self._out.append(b"!" + text(f"{type(obj).__module__}.{type(obj).__qualname__}"))

    def defer(self, action: Callable[[], None]) -> None:
        """Do something when all else has been walked."""
        self._later.append(action)

    def sealed(self, obj: object) -> bytes | None:
        """The digest that `seal` remembered for an immutable object."""
        return self._sealed.get(id(obj))

    def adopt(
        self,
        write: Callable[[Sink], object],
        levels: Sequence[list[object]],
        *,
        is_rooted: bool,
    ) -> None:
        """Write out a whole tree, and number the mutable objects in it one after the other.

        `write` gives its bytes, piece by piece, and they tell themselves where they end. If it
        `is_rooted` in the first of the mutable objects, that one counts as the parent of all the
        others: whoever holds the root holds them all.
        """
        self.emit(TREE)
        write(Sink(self))
        if not levels:
            return
        self.findings.alive.append(levels)
        if self._stack:
            found = list(chain.from_iterable(levels))
            first, parent = len(self.numbering.parents), self.parent
            numbers = range(first, first + len(found))
            self.numbering.numbers.update(zip(map(id, found), numbers, strict=True))
            self.numbering.parents.append(parent)
            self.numbering.parents.extend([first if is_rooted else parent] * (len(found) - 1))
        else:
            # All there is to the value: nobody asks for the numbers during the walk.
            self.numbering.tree = levels
            rest = sum(map(len, levels)) - 1
            self.numbering.parents.extend((ROOT, *[0 if is_rooted else ROOT] * rest))

    def inner(self, root: object) -> Walk:
        """A walk of its own for a definition, with the same findings: it shares nothing with it."""
        made = Walk(root, self.select, self.findings, is_inside=True)
        made.hooked = self.hooked
        return made


class Sink(Struct, frozen=True):
    """A walk as a file to write tokens to: what is big is hashed as it comes, and never held."""

    walk: Walk

    def write(self, data: bytes) -> None:
        """Write out a piece."""
        self.walk.emit(data)
        if len(data) > PENDING:
            self.walk.flush()


def _digested(one: Waiting) -> bytes:
    return b"B" + one.digest().encode()
