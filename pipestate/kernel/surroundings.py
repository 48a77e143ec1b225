"""What steps set in the process, as part of the pipe: kept with their records, put before others.

`ambient` knows how to read and write the process; here its keys get digests, a place in a record,
and an order: what stands before a step is what the steps above it left of each key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from ..pipe.status import Reason, because
from ..record import ABSENT, Digest, FileState, Record, Version
from ..store import codecs, content
from ..store.phases import Phase
from . import ambient, files, kinds, modulestate
from .namespace import Namespace

RANDOM = "random:"
_ROOT = "ambient"


class Setting(Struct, frozen=True):
    """The value that a step's record left of an ambient key."""

    digest: Digest
    version: Version
    step: str


Settings = Mapping[str, Setting]


def standing(records: Iterable[Record]) -> dict[str, Setting]:
    """What the steps that left `records`, in this order, leave of each key."""
    found: dict[str, Setting] = {}
    for record in records:
        if record.ambient is not None:
            for key, digest in record.ambient.names.items():
                found[key] = Setting(digest, record.ambient, record.step)
    return found


Origins = dict[str, tuple[object, Digest]]
"""What keys were in this process before steps set them (`GONE`: not there), and the digest of what
the steps left of them."""


def put(settings: Settings, space: Namespace, origins: Origins) -> tuple[str, ...]:
    """Put the settings in place where the process differs; lines about those that would not go."""
    if not settings:
        return ()
    modulestate.load_with(space.load)
    now = ambient.snapshot().values
    missing = {
        key: setting
        for key, setting in settings.items()
        if key not in now or digest_of(now[key]) != setting.digest
    }
    values = _values(missing, space.values)
    note(origins, values, now)
    return ambient.apply(values)


def note(origins: Origins, changed: Mapping[str, object], before: Mapping[str, object]) -> None:
    """Remember what keys were before a step set them."""
    for key, value in changed.items():
        if not key.startswith(RANDOM):
            first = origins[key][0] if key in origins else before.get(key, kinds.GONE)
            origins[key] = (first, digest_of(value))


def put_back(origins: Origins, settings: Settings) -> tuple[str, ...]:
    """Put back what steps had set and none of `settings` sets any more, where nobody else has set
    it since."""
    stray = origins.keys() - settings.keys()
    if not stray:
        return ()
    now, found = ambient.snapshot().values, {}
    for key in stray:
        first, left = origins.pop(key)
        if digest_of(now.get(key, kinds.GONE)) == left != digest_of(first):
            found[key] = first
    return ambient.apply(found)


def _values(
    settings: Settings, load: Callable[[Version], Mapping[str, object]]
) -> dict[str, object]:
    loaded: dict[Digest, Mapping[str, object]] = {}
    found: dict[str, object] = {}
    for key, setting in settings.items():
        version = setting.version
        if version.digest not in loaded:
            values = load(version)[_ROOT]
            assert isinstance(values, dict)
            loaded[version.digest] = values
        found[key] = loaded[version.digest][key]
    return found


def keep(changed: Mapping[str, object], phase: Phase) -> Version | None:
    """A version that holds the changed keys and their values; None where nothing changed."""
    if not changed:
        return None
    names = {key: digest_of(value) for key, value in sorted(changed.items())}
    pack = codecs.pack({_ROOT: dict(changed)})
    text = "\n".join(f"{key}={digest}" for key, digest in names.items())
    return Version(
        "value",
        content.digest(text.encode("utf-8", "surrogatepass")),
        names,
        stream=phase.put(pack.stream),
        buffers=phase.put_all(pack.buffers, pack.gaps),
    )


def inputs(settings: Settings, drawn: Iterable[str]) -> dict[str, Digest]:
    """The ambient inputs of a run: the random states that it drew from, the rest always."""
    found = {k: s.digest for k, s in settings.items() if not k.startswith(RANDOM)}
    for key in drawn:
        found[key] = settings[key].digest if key in settings else ABSENT
    return found


def drawn(changed: Iterable[str], left: Iterable[str], used: Iterable[str]) -> set[str]:
    """The random states that a run may have drawn from: those that it moved, and of those that it
    leaves, which it may have drawn from and then set to what they were, those of modules that it
    uses."""
    roots = {name.partition(".")[0] for name in used}
    own = {RANDOM + ("python" if root == "random" else root) for root in roots}
    return {key for key in changed if key.startswith(RANDOM)} | (own & {*left})


def outputs(changed: Mapping[str, object], settings: Settings, *, seeds: bool) -> dict[str, object]:
    """What a run leaves of the keys it changed: random states only once somebody has seeded.

    A run that seeds leaves every random state, for it may have set one to what it was.
    """
    found = dict(changed)
    if seeds:
        now = ambient.snapshot().values
        found |= {key: value for key, value in now.items() if key.startswith(RANDOM)}
    return {
        key: value
        for key, value in found.items()
        if seeds or key in settings or not key.startswith(RANDOM)
    }


def digest_of(value: object) -> Digest:
    """The digest of an ambient value."""
    return content.digest(kinds.digest_key(value))


# --- files ---------------------------------------------------------------------------------------


def judge_files(record: Record, above: list[Record], below: list[Record]) -> Reason | None:
    """Whether the files are as they were for a record.

    A reader is judged by the last writer above it, and only the last writer of all by the disk.
    """
    written = {one.path: one for left in above for one in left.files_written}
    rewritten = {one.path for left in below for one in left.files_written}
    own = {one.path for one in record.files_written}
    for one in record.files_read:
        if one.path in written:
            now = written[one.path].digest
            if now != one.digest:
                return _differs("file", one, is_there=now != ABSENT)
        elif one.path not in own and one.path not in rewritten and not files.is_same(one):
            return _differs("file", one, is_there=os.path.exists(one.path))
    for one in record.files_written:
        if one.path not in rewritten and not files.is_same(one):
            return _differs("written", one, is_there=os.path.exists(one.path))
    return None


def overwritten(
    text: str, named: Iterable[str], head: Record | None, above: Iterable[Record]
) -> dict[str, str]:
    """The files that a step is about to read, as far as can be told ahead, and that are not what
    the last step above it that wrote them has left: each with that step.

    What its last run read is told by its record; what other text would read, by the file's name in
    the text. `named` are those that its line names.
    """
    last = {one.path: (left.step, one) for left in above for one in left.files_written}
    if not last:
        return {}
    read = {one.path: one.digest for one in head.files_read} if head is not None else {}
    own = {one.path: one for one in head.files_written} if head is not None else {}
    wanted = {path for path in last if path in read or path in named}
    wanted |= {path for path in last.keys() - own.keys() if os.path.basename(path) in text}
    return {
        path: step
        for path, (step, left) in last.items()
        if path in wanted and not files.is_same(left)
        # What the step changed in place itself is put back before it runs.
        if not (read.get(path) == left.digest and path in own and files.is_same(own[path]))
    }


def misread(record: Record, above: Iterable[Record]) -> list[str]:
    """The files that a run read otherwise than the last step above it that wrote them left them."""
    last = {one.path: one.digest for left in above for one in left.files_written}
    return [one.path for one in record.files_read if last.get(one.path, one.digest) != one.digest]


def _differs(kind: str, one: FileState, *, is_there: bool) -> Reason:
    if not is_there:
        return because(f"{kind} gone", one.path)
    is_new = kind == "file" and one.digest == ABSENT
    return because("file new" if is_new else kind, one.path)
