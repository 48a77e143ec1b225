"""What other processes have added to the job, taken up into this kernel: between its cells only,
and when it has waited for one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from ..errors import StoreError
from ..record import Meaning, Version
from .bench import Bench
from .bindings import Binding, Origin


def follow(bench: Bench) -> None:
    """Let names mean what other processes have made of them since the last look."""
    ledger = bench.ledger
    ledger.refresh()
    if ledger.is_anew:
        return  # another store: the session goes over to it before the next cell
    # What names mean by now: a run of this kernel may have come after those that are news to it.
    names = dict.fromkeys(name for run in ledger.take_news() for name in run.meanings)
    replaced = take_up(bench, {name: ledger.pipe.meanings.get(name) for name in names})
    if replaced:
        bench.tell(f"{', '.join(sorted(replaced))} changed in the store since")


def take_up(bench: Bench, news: Mapping[str, Meaning | None]) -> list[str]:
    """Let names mean what the job says now; those that meant something else in memory."""
    space, replaced = bench.space, []
    for name, meaning in news.items():
        now = space.bindings.get(name)
        if now is not None and not now.maker and now.is_resident and not now.record:
            continue  # a plain cell of this kernel made it
        if meaning is not None and now is not None and _is_of(now, meaning):
            continue
        if meaning is not None and now is not None and _is_equal(now, meaning):
            # Its bytes are those of this record now: the room of the other may be reclaimed.
            same = version_of(bench, name, meaning) or now.version
            space.bindings[name] = replace(
                now, maker=meaning.maker, record=meaning.record, version=same
            )
            continue
        if now is not None and now.is_resident:
            replaced.append(name)
        version = version_of(bench, name, meaning) if meaning else None
        if meaning is None:
            space.drop(name)
        elif version is not None:
            declare(bench, name, meaning, version)
    return replaced


def declare(bench: Bench, name: str, meaning: Meaning, version: Version) -> None:
    """Let a name mean what the job says it means."""
    by = None if meaning.maker else bench.ledger.record(meaning.record).given_by.get(name)
    origin = Origin(by.cell, stood=by.stood, texts=by.texts) if by else Origin()
    binding = Binding(meaning.maker, meaning.record, version, origin=origin)
    bench.space.declare(name, binding)
    if meaning.is_outgrown:
        bench.space.outgrown.add(name)


def tell_outgrown(bench: Bench, names: Iterable[str]) -> None:
    """Say, once, of which of these names a plain cell of an earlier kernel had made more."""
    for name in sorted(bench.space.outgrown.intersection(names)):
        bench.tell(f"`{name}` is as it was last kept; a plain cell had worked on it since")
        bench.space.outgrown.discard(name)


def version_of(bench: Bench, name: str, meaning: Meaning) -> Version | None:
    """The version that a name means; None, and a line to the user, where it is not to be had."""
    try:
        known = bench.ledger.record(meaning.record)
    except StoreError as error:
        bench.tell(f"`{name}` is not to be had: {error}")
        return None
    both = (*known.outputs, *known.givens)
    return next((v for v in both if name in v.names and v.digest == meaning.digest), None)


def _is_of(now: Binding, meaning: Meaning) -> bool:
    """Whether a binding is of this very record, or was before a plain cell worked on its object."""
    record = now.amended.record if now.amended else now.record
    return (now.maker, record) == (meaning.maker, meaning.record)


def _is_equal(now: Binding, meaning: Meaning) -> bool:
    return now.version is not None and not now.amended and now.version.digest == meaning.digest
