"""What the records of a job are judged against where there is no kernel: the records alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from .pipe import status
from .pipe.graph import Held, Standing
from .pipe.status import Lookup, World
from .record import Digest, Pipe, Record
from .store import digests


class Worlds:
    """The world of each step, by what stands before it.

    What stands there is one mapping that is moved along, so little is made for each step.
    """

    def __init__(self, pipe: Pipe, record: Callable[[Digest], Record], givens: Standing) -> None:
        self._pipe, self._record, self._givens = pipe, record, givens
        self._held: Standing | None = None
        self._lookup: Lookup
        self._joint: Callable[[Iterable[str]], Mapping[str, Digest]]
        self._mates: Callable[[str], str]

    def __call__(self, step: str, head: Record, held: Standing) -> World:
        """The world of a step, and of the record that is in force for it."""
        if held is not self._held:
            self._stand_on(held)
        seen = self._pipe.seen.get(step)
        normal = seen.normal if seen is not None else head.normal
        packages = (lambda names: head.packages) if head.packages else _none
        return World(normal, self._lookup, self._joint, self._mates, packages, _as_left, head.moved)

    def _head(self, step: str) -> Record | None:
        digest = self._pipe.heads.get(step)
        return self._record(digest) if digest else None

    def _stand_on(self, held: Standing) -> None:
        self._held, head = held, self._head
        at = _Above(held, self._givens) if self._givens else held
        self._lookup = lambda path: status.find(at, path, head)
        self._joint = lambda names: _joint(at, names)
        self._mates = lambda name: _mates(at, name)


def _none(names: Iterable[str]) -> Mapping[str, str]:
    return {}


def _as_left(record: Record) -> None:
    """Files are not looked at: they are those of the machine that the kernel runs on."""


class _Above(Mapping[str, Held]):
    """What names stand for at a place: what the steps above left, else what plain cells gave.

    A ChainMap says the same, in four times the time: `get` is asked for every input of a job.
    """

    __slots__ = ("_givens", "_left")

    def __init__(self, left: Standing, givens: Standing) -> None:
        self._left, self._givens = left, givens

    def __getitem__(self, name: str) -> Held:
        return self._left[name] if name in self._left else self._givens[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._left, *self._givens)))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _joint(held: Standing, names: Iterable[str]) -> dict[str, Digest]:
    groups: dict[tuple[str, Digest], list[str]] = {}
    for name in names:
        known = held.get(name)
        if known is not None and len(known.version.names) > 1:
            groups.setdefault((known.maker, known.version.digest), []).append(name)
    found = {}
    for (_, digest), group in groups.items():
        version = held[group[0]].version
        if len(group) > 1:
            some = digests.joint_of(version.names, version.shares, sorted(group))
            found[",".join(sorted(group))] = some or digest
    return found


def _mates(held: Standing, name: str) -> str:
    known = held.get(name)
    if known is None:
        return ""
    return ",".join(sorted(mate for mate in known.version.names if held.get(mate) == known))
