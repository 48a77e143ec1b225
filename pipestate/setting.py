"""The record that a value leaves which is set under a step's name, and its line of history."""

from __future__ import annotations

from collections.abc import Callable

from .record import SET, VALUE, Digest, Meaning, Record, Run, Version
from .store import content

Make = Callable[[Digest | None], Run]
"""Makes a run once the digest of its record is known."""


def setting(
    step: str, version: Version, head: Record | None, started: float = 0.0
) -> tuple[Make, Record]:
    """The run and the record of a value, where `head` is the step's record in force.

    The names that the step's cell bound stay: the value is set, not what stands beside it.
    """
    beside = _beside(step, head) if head is not None and not head.flaw else ()
    outputs = (version, *beside)

    def make(digest: Digest | None) -> Run:
        meanings: dict[str, Meaning | None] = {
            name: Meaning(step, digest or "", one.digest)
            for one in outputs
            for name in one.names
            if name != VALUE
        }
        heads = {step: digest}
        return Run(0, "", step, "set", "", started, record=digest, heads=heads, meanings=meanings)

    normal = content.digest(f"set {version.digest}".encode())
    kept = sorted({name for one in beside for name in one.names} - {VALUE})
    made = (*(name for name in version.names if name != VALUE), *kept)
    return make, Record(step, "", normal, SET, outputs=outputs, made=made)


def _beside(step: str, head: Record) -> tuple[Version, ...]:
    """What the step left beside its value and its own name."""
    found = (_apart(one, step) for one in head.outputs if one.names.keys() - {VALUE, step})
    return tuple(found)


def _apart(version: Version, step: str) -> Version:
    """A version without the step's own name, which means something else from now on, where it
    shared objects with that: the same bytes, of which a name is not asked for."""
    if step not in version.names:
        return version
    names = {name: d for name, d in version.names.items() if name not in (VALUE, step)}
    left = ",".join(sorted(names))
    (first, *others) = names.values()
    told = content.digest(f"{left} of {version.digest}".encode("utf-8", "surrogatepass"))
    shares = version.shares if others else None
    return version.replace(
        names=names,
        digest=told if others else first,
        types={name: version.types[name] for name in names},
        shares=shares and {name: shares[name] for name in names},
    )
