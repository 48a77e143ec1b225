"""What a kernel keeps in mind of a job while it works on another one.

What is resident stays in memory, and counts in the other job as a plain cell's values would. When
the kernel comes back, a name that still has the object it had means what it meant; what the other
job's steps have made of it is theirs. Only ids are remembered: an object that nobody else holds is
free to go. One that took its place in memory is found out by its digest, as all that comes back is
suspect: the other job may have worked on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct
from msgspec.structs import replace

from ..record import Meaning, Text, Version
from .bench import Bench
from .bindings import DORMANT, Binding, Origin, Plain


class Absence(Struct, frozen=True):
    """What names meant in a job when it was left: their bindings without the objects, and the ids
    of those; what the job said of them; and what was known of plain cells and setup steps."""

    bindings: Mapping[str, tuple[Binding, int]]
    meanings: Mapping[str, Meaning]
    suspects: Mapping[str, dict[str, bool]]
    worked: Mapping[str, dict[Text, bool]]
    plain: Plain
    set_up: Collection[str]


def begin(bench: Bench) -> Absence:
    """Leave a job: what is resident is nobody's but the plain cells', the rest goes."""
    space = bench.space
    resident = {name: known for name, known in space.bindings.items() if known.is_resident}
    left = Absence(
        {name: (replace(known, obj=DORMANT), id(known.obj)) for name, known in resident.items()},
        bench.ledger.pipe.meanings,
        dict(space.suspects),
        dict(space.worked),
        space.plain,
        set(bench.memory.set_up),
    )
    for name in space.bindings.keys() - resident.keys():
        space.drop(name)
    for name, known in resident.items():
        texts = () if known.maker else known.texts
        space.bindings[name] = Binding(obj=known.obj, origin=Origin(texts=texts))
    space.suspects.clear()
    space.worked.clear()
    space.earlier.clear()
    space.plain = Plain()
    return left


def end(bench: Bench, left: Absence, foreign: Mapping[str, Version | None]) -> None:
    """Come back to a job, or to one that was never left; `foreign` are the names that steps of the
    other one made, with what they made of them."""
    space, meanings = bench.space, bench.ledger.pipe.meanings
    bench.memory.set_up.update(left.set_up)
    for name, meaning in meanings.items():
        known, _ = left.bindings.get(name, (Binding(), 0))
        if name in foreign and meaning.maker and not _is_as_it_was(name, known, foreign[name]):
            space.drop(name)
    space.plain = left.plain
    for name, (known, key) in left.bindings.items():
        now = space.bindings.get(name)
        is_same = now is not None and id(now.obj) == key and space.is_current(name)
        if is_same and now is not None and left.meanings.get(name) == meanings.get(name):
            space.bindings[name] = replace(known, obj=now.obj)
            space.suspects[name] = {"": False} | left.suspects.get(name, {})
            space.worked[name] = left.worked.get(name, {})


def _is_as_it_was(name: str, known: Binding, now: Version | None) -> bool:
    """Whether the other job left the value of a name alone; of what cannot be kept there is no
    other."""
    if known.version is None or now is None:
        return False
    return known.version.kind == "lost" or known.version.names[name] == now.names.get(name)


def nowhere_yet() -> Absence:
    """The absence from a job that this kernel has not been in."""
    return Absence({}, {}, {}, {}, Plain(), ())
