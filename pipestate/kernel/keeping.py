"""From what a run left to the record and the line of history that say so. Data in, data out."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..cell import names as cell_names
from ..cell import source as cell_source
from ..pipe import status
from ..record import (
    VALUE,
    AccessPath,
    Blob,
    Digest,
    FileState,
    Input,
    Meaning,
    Record,
    Run,
    Seen,
    Version,
)
from ..store import content
from .bindings import Binding
from .outlook import joint
from .trial import Outcome, Task, Trial


class Circumstances(Struct, frozen=True):
    """What was around a run, beside the names: time, files, modules, what it showed and set."""

    started: float
    seconds: float
    displays: Blob | None
    ambient: Version | None
    moved: Mapping[str, Digest]
    packages: Mapping[str, str]
    files_read: tuple[FileState, ...]
    files_written: tuple[FileState, ...]
    files_before: Mapping[str, Blob | None]
    is_done: bool
    is_volatile: bool
    asked: tuple[Input, ...] = ()


def record_of(trial: Trial, result: Outcome, around: Circumstances) -> Record:
    """The record of a run that ended well."""
    task, anew = trial.task, trial.bound_anew(result.bound)
    inputs = (*_inputs(trial, result, anew), *around.asked)
    whole = status.whole_names(inputs)
    return Record(
        step=task.step,
        source=task.source,
        normal=task.normal,
        options=cell_source.format_line(task.line),
        inputs=tuple(dict.fromkeys(inputs)),
        joint=joint({name: trial.stood(name) for name in whole if name in trial.placed}),
        held={
            name: mates
            for name, mates in trial.mates.items()
            if mates and name not in anew and _holds(trial, result, name)
        },
        outputs=tuple(version for _, version in result.versions),
        givens=trial.givens,
        given_by=dict(trial.given_by),
        made=tuple(sorted(result.made)),
        bound=tuple(sorted(result.bound & result.made)),
        gone=tuple(sorted(result.gone)),
        displays=around.displays,
        ambient=around.ambient,
        moved=dict(around.moved),
        files_read=around.files_read,
        files_written=around.files_written,
        files_before=dict(around.files_before),
        packages=dict(around.packages),
        session=task.names.session,
        python=platform.python_version(),
        started=around.started,
        seconds=around.seconds,
        is_done=around.is_done,
        is_volatile=around.is_volatile,
        under=_under(trial),
        cell_id=task.cell_id,
    )


def _under(trial: Trial) -> str:
    """The name by which a step, or code that it reaches, reads what was displayed before it, "" for
    none."""
    task, placed = trial.task, trial.placed.values()
    reached = {path for one in placed if one.version is not None for path in one.version.reads}
    reads = {one.name for one in reached | task.names.reads if cell_names.is_displayed(one.name)}
    return min(reads - ({"_"} if task.line.stdin is not None else set()), default="")


def _holds(trial: Trial, result: Outcome, name: str) -> bool:
    """Whether what the run made holds the object that it found under a name, be that gone now."""
    if name in result.made or name not in result.gone:
        return name in result.made
    key = id(trial.objects.get(name))
    looks = (one for component, _ in result.versions for one in component.streams.values())
    return any(key in one.mutables for one in looks)


def _inputs(trial: Trial, result: Outcome, anew: frozenset[str]) -> tuple[Input, ...]:
    """The inputs; those that the outputs changed, hold or share with count as a whole."""
    held = result.made
    whole = [
        one.replace(path=AccessPath(one.path.name), digest=one.whole)
        if one.path.parts and one.path.name in held
        else one
        for one in trial.inputs
        if one.path.name not in anew
    ]
    known = {one.path.name for one in whole} | anew
    for name in sorted(held & trial.placed.keys() - known):
        binding = trial.stood(name)
        if binding.version is not None:
            digest = binding.version.names[name]
            whole.append(Input(AccessPath(name), digest, digest, binding.maker))
    return tuple(dict.fromkeys(whole))


def meanings_of(
    changes: Mapping[str, Binding | None],
    record: Digest,
    givens: Iterable[Version] = (),
    aside: Collection[str] = (),
) -> dict[str, Meaning | None]:
    """What a run makes names mean, for the history. What was given to it means that from now on,
    where it is not for the run alone that the name meant it."""
    found: dict[str, Meaning | None] = {}
    for version in givens:
        for name in version.names.keys() - set(aside):
            found[name] = Meaning("", record, version.digest)
    for name, binding in changes.items():
        if binding is None or binding.version is None:
            found[name] = None
        else:
            found[name] = Meaning(binding.maker, binding.record or record, binding.version.digest)
    return found


def run_of(task: Task, event: Any, **rest: Any) -> Run:
    """A line of history about a task's step; the ledger numbers it."""
    return Run(0, "", task.step, event, seen=seen(task), is_forced=task.line.force, **rest)


def seen(task: Task) -> Seen:
    """The task's cell as last attempted; `--force` was for that attempt only."""
    line = replace(task.line, force=False) if task.line.force else task.line
    return Seen(task.source, cell_source.format_line(line), task.cell_id, task.normal)


def import_version(name: str, statement: str) -> Version:
    """The version of a name that an import statement binds."""
    digest = content.digest(statement.encode())
    return Version("import", digest, {name: digest}, source=statement, mutable=False)


def bindings_of(task: Task, digest: Digest, record: Record) -> dict[str, Binding | None]:
    """What restoring a record makes names mean (None: nothing)."""
    found: dict[str, Binding | None] = dict.fromkeys(record.gone)
    for version in record.outputs:
        for name in version.names:
            if name != VALUE:
                found[name] = Binding(task.step, digest, version)
    return found
