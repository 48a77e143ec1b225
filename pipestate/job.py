"""A job for scripts and servers: a mapping from steps to values, over the store of the notebook.

It joins the store and the judgement of the pipe; it needs no kernel and never meets IPython.
Values come back as the notebook left them; functions and classes of the notebook are run from
their source, into a module of the job.
"""

from __future__ import annotations

import contextlib
import os
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from .cell.source import is_step_name
from .errors import DamageError, FormatError, PackError, StoreError, TrustError, UsageError
from .ledger import MANY, Ledger
from .pace import Pace
from .pipe import graph, pieces, slices, status, told, why
from .pipe.graph import Held
from .pipe.status import StepStatus
from .record import VALUE, Digest, Meaning, Pipe, Record, Run, Version
from .space import Meter
from .store import blobs, versions
from .store.folder import locate, open_store
from .store.garbage import gc_paused
from .store.phases import Phase
from .store.trust import is_distrust
from .worlds import Worlds

Listener = Callable[[Ledger, str], None]
_listeners: list[Listener] = []


@contextlib.contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Tell a listener of each step whose value is asked for: it is an input of what runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Job(MutableMapping[str, Any]):
    """The steps of one job and their values: `job["step_01"]`, `job["step_01"] = value`.

        job[step] ──── head ──── its version of the value ──── versions.load
        job[step] = ── keep ──── commit
        job.names ──── meanings ──── versions.load

    `store` is the store's folder; by default `$PIPESTATE_STORE`, else the nearest `.pipestate/`.
    Every look sees what other processes have committed by then. Nothing is on disk before the
    first value is set. `verification` says what is believed, as the setting of that name does, and
    `max_bytes` what the store should not outgrow: beyond it, earlier records go.
    """

    def __init__(
        self,
        name: str,
        store: str | Path | None = None,
        *,
        verification: blobs.Verification = "on",
        max_bytes: int = 0,
    ) -> None:
        check_job(name)
        self.name, self._max_bytes, self._meter = name, max_bytes, Meter()
        self._ledger = Ledger.open(open_store(locate(store), verification=verification), name)
        self._module = types.ModuleType(f"pipestate job {name}")
        self._held: dict[str, Digest] = {}
        self._turns: dict[int, tuple[threading.RLock, set[str]]] = {}
        self._told: tuple[Pipe, list[StepStatus]] | None = None
        self._marked: tuple[Pipe, Digest] | None = None
        self._pace = Pace()

    def __repr__(self) -> str:
        return f"Job({self.name!r}, store={str(self._ledger.store.path)!r})"

    # --- the mapping ---------------------------------------------------------------------------

    def __getitem__(self, step: str) -> Any:
        while True:
            self._refresh()
            head = self._ledger.head_of(step)
            try:
                return self._value_of(step)
            except DamageError:
                # Where there is another one since, somebody has reclaimed the room of this one.
                self._refresh()
                if self._ledger.head_of(step) == head:
                    raise

    def _value_of(self, step: str) -> Any:
        record = self._ledger.head(step)
        for listener in _listeners:
            listener(self._ledger, step)
        if record is None:
            raise KeyError(step)
        if record.flaw:
            raise _unusable(f"the value of {step}", record.flaw)
        version = record.version_of(VALUE)
        if version is not None:
            return self._load(version)[VALUE]
        return {
            name: self._load(known)[name]
            for name in record.made
            if (known := record.version_of(name)) is not None and known.kind != "import"
        }

    def __setitem__(self, step: str, value: Any) -> None:
        self._set({step: value})

    def update(self, *others: Any, **more: Any) -> None:
        """As a dict's: set several steps, in their order. All are set, or, after an error, none."""
        self._set(dict(*others, **more))

    def _set(self, values: Mapping[str, Any]) -> None:
        for step in values:
            check_name(step)
        if not values:
            return
        is_quick = self._pace.is_quick() or self._ledger.store.index.rows.is_held
        is_quick = is_quick and len(values) == 1 and not self._max_bytes
        if not is_quick:
            self._take_up()
        with self._ledger.batch() as batch, gc_paused():
            phase = Phase(batch.put, writes=True)
            kept = [(step, self._keep(step, value, phase)) for step, value in values.items()]
            if is_quick and self._ledger.set_later(*kept[0], batch):
                return
            if is_quick:
                self._take_up()
            self._ledger.read(values)
            made = [self._ledger.setting(step, version) for step, version in kept]
            self._ledger.commit_all(made, batch=batch)
        records = [record for _, record in made]
        flaw = self._meter.heed(self._ledger.store, records, self._max_bytes)
        if flaw:  # the values are kept in any case
            warnings.warn(flaw, stacklevel=3)

    def __delitem__(self, step: str) -> None:
        self._refresh()
        if step not in self._ledger.pipe.order:
            raise KeyError(step)
        drop(self._ledger, step)

    def __iter__(self) -> Iterator[str]:
        self._refresh()
        pipe = self._ledger.pipe
        return iter([step for step in pipe.order if step in pipe.heads])

    def __len__(self) -> int:
        self._refresh()
        return self._ledger.steps

    def __contains__(self, step: object) -> bool:
        self._refresh()
        return self._ledger.head_of(step) is not None  # type: ignore[arg-type]

    # --- looking -------------------------------------------------------------------------------

    @property
    def names(self) -> Mapping[str, Any]:
        """What each name of the notebook means now, loaded when asked for."""
        self._refresh()
        return _Names(self, tuple(self._ledger.pipe.meanings))

    def status(self) -> list[StepStatus]:
        """One object a step, in order: `name`, `state`, `reason`, `seconds`, `nbytes`, `runs`."""
        self._refresh()
        pipe = self._ledger.pipe
        with gc_paused():
            found = self._known_statuses(pipe)
            if found is None:
                found = self._told_anew(pipe)
        return list(found)

    def _told_anew(self, pipe: Pipe) -> list[StepStatus]:
        ledger, mark = self._ledger, self._mark_of(pipe)
        read, found = ledger.read_heads(), self._statuses(pipe)
        self._told = pipe, found
        known = ledger.records
        is_whole = all(d in known and not known[d].flaw for d in pipe.heads.values())
        if read >= MANY and mark and is_whole:
            ledger.store.index.notes.tell(self.name, mark, told.to_bytes(found))
        return found

    def _mark_of(self, pipe: Pipe) -> Digest:
        """What stands for a job in its notes; "" for a small one, of which none are made."""
        if len(pipe.order) < MANY:
            return ""
        known = self._marked
        if known is None or known[0] is not pipe:
            known = self._marked = pipe, told.mark(pipe)
        return known[1]

    def _known_statuses(self, pipe: Pipe) -> list[StepStatus] | None:
        """What was told of the job as it stands, here or in another process; None where nothing
        was, or a record is gone since. A pipe never changes, and neither do its records."""
        last = self._told
        if last is not None and last[0] is pipe:
            return last[1]
        index, mark = self._ledger.store.index, self._mark_of(pipe)
        known = index.notes.told(self.name, mark) if mark else None
        try:
            if known is None or not index.has_records(pipe.heads.values()):
                return None
            found = told.from_bytes(known)
        except (DamageError, FormatError):  # as any note that cannot be used: it is told anew
            return None
        self._told = pipe, found
        return found

    def _statuses(self, pipe: Pipe, only: frozenset[str] | None = None) -> list[StepStatus]:
        record = _Records(self._ledger).__getitem__
        with gc_paused():
            worlds = Worlds(pipe, record, self._givens(pipe))
            return status.statuses(pipe, record, worlds, only=only)

    def history(self) -> list[Run]:
        """One object a run: `number`, `step`, `event`, `reason`, `started`, `seconds`."""
        self._refresh()
        return [run for run in self._ledger.runs() if run.event != "noted"]

    def why(self, step: str) -> str:
        """Why a step is fresh or stale: a sentence that names what changed, from where and when."""
        self._refresh()
        pipe = self._ledger.pipe
        found = self._known_statuses(pipe)
        if found is None:
            self._ledger.read_heads()
            only = status.sources(pipe, self._ledger.record, step)
            found = self._statuses(pipe, only)
        for one in found:
            if one.name == step:
                return explain(self._ledger, one)
        raise UsageError(
            f"job {self.name!r} has no step {step!r}", f"its steps are: {', '.join(self) or 'none'}"
        )

    def code(self, name: str) -> str:
        """The smallest program that makes what a name means, from the sources last seen.

        Raises UsageError where no step makes it.
        """
        self._refresh()
        pipe = self._ledger.pipe
        if name not in pipe.meanings:
            known = ", ".join(sorted(pipe.meanings)) or "none"
            raise UsageError(f"job {self.name!r} has no name {name!r}", f"its names are: {known}")
        steps = [step for step in pipe.order if step in pipe.seen]
        text = lambda step: pipe.seen[step].source  # noqa: E731
        return slices.code(pieces.pieces(steps, self._ledger.head, text, pipe.seen), [name])

    def load_name(self, name: str) -> Any:
        """What a name of the notebook means now. Raises KeyError where it means nothing."""
        known = self._ledger.pipe.meanings.get(name)
        try:
            return self._value_of_name(name)
        except DamageError:
            # As for a step: its room may have been reclaimed, or its store be gone.
            self._refresh()
            if self._ledger.pipe.meanings.get(name) == known:
                raise
            return self._value_of_name(name)

    def _value_of_name(self, name: str) -> Any:
        version = self._meant(name)
        if version is None:
            raise KeyError(name)
        if version.kind in ("definition", "import"):
            return self._need(name)
        return self._load_meant(name, version)

    # --- inside --------------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._pace.stop()
        self._take_up()

    def _take_up(self) -> None:
        self._ledger.refresh()
        self._ledger.take_news()  # who looks anew each time has no use for it
        self._ledger.is_anew = False

    def _keep(self, step: str, value: object, phase: Phase) -> Version:
        names = [VALUE, *([step] if step.isidentifier() else [])]
        version = versions.keep_one(names, value, namespace=vars(self._module), phase=phase)
        if version.kind == "lost":
            kind, _, where = version.flaw.partition(f" at {VALUE}")
            raise PackError(
                f"the value for {step} cannot be kept: {kind}{where and f' at {step}{where}'}",
                "set what can be pickled",
                kind=kind,
                where=where,
            )
        return version

    def _load(self, version: Version) -> dict[str, Any]:
        space = vars(self._module)
        values = versions.load(
            version,
            fetch=self._ledger.fetch,
            resolve=lambda name: self._needed(name, version.needs.get(name, "")),
            namespace=space,
        )
        if version.reads:
            with self._turn()[0]:
                self._bring_read(version, set())
        return values

    def _load_meant(self, name: str, version: Version) -> Any:
        """The value of the version that a name means. What was never kept is a PackError, whichever
        way it is asked for; what cannot be read or trusted any more is not."""
        if version.kind == "lost":
            flaw = self._ledger.record(self._ledger.pipe.meanings[name].record).flaw
            if flaw:
                raise _unusable(f"`{name}`", flaw)
        return self._load(version)[name]

    def _needed(self, name: str, digest: Digest) -> Any:
        """A definition that a value needs, as it was when the value was kept."""
        with self._turn()[0]:
            known = self._meant(name)
            if digest and (known is None or known.names[name] != digest):
                earlier = self._ledger.definition(name, digest)
                if earlier is not None:
                    return self._load(earlier)[name]
            return self._need(name)

    def _turn(self) -> tuple[threading.RLock, set[str]]:
        """What to hold while a definition is run, for there is one object of a version; and the
        names that are under way. A forked child has its own: who held it is not there."""
        return self._turns.setdefault(os.getpid(), (threading.RLock(), set()))

    def _need(self, name: str) -> Any:
        """What a name means, one object for one version: other values refer to it by its name."""
        with self._turn()[0]:
            self._bring(name, set())
            return vars(self._module)[name]

    def _bring(self, name: str, seen: set[str]) -> None:
        """Have what a name means now in the module, and all that its code reads."""
        space, under_way = vars(self._module), self._turn()[1]
        version = self._meant(name)
        if version is None:
            raise StoreError(f"`{name}`, which a kept value needs, is not in the store")
        seen.add(name)
        if name in under_way:
            return
        under_way.add(name)
        try:
            if self._held.get(name) != version.digest or name not in space:
                space[name] = self._load_meant(name, version)
                self._held[name] = version.digest
            else:
                self._bring_read(version, seen)
        finally:
            under_way.discard(name)

    def _bring_read(self, version: Version, seen: set[str]) -> None:
        for path in version.reads:
            if path.name not in seen and self._meant(path.name) is not None:
                self._bring(path.name, seen)

    def _meant(self, name: str) -> Version | None:
        meaning = self._ledger.pipe.meanings.get(name)
        if meaning is None:
            statement = self._ledger.pipe.imports.get(name)
            return Version("import", "", {name: ""}, source=statement) if statement else None
        return self._held_by(name, meaning)

    def _held_by(self, name: str, meaning: Meaning) -> Version | None:
        record = self._ledger.record(meaning.record)
        return next(
            (
                version
                for version in (*record.outputs, *record.givens)
                if name in version.names and version.digest == meaning.digest
            ),
            None,
        )

    def _givens(self, pipe: Pipe) -> dict[str, Held]:
        return {
            name: Held("", meaning.record, version)
            for name, meaning in pipe.meanings.items()
            if not meaning.maker and (version := self._held_by(name, meaning)) is not None
        }


class _Records(dict[Digest, Record]):
    """The records of a ledger; those that it had in memory are asked for at the cost of a dict."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.records)
        self._ledger = ledger

    def __missing__(self, digest: Digest) -> Record:
        return self._ledger.record(digest)


class _Names(Mapping[str, Any]):
    """The names of a job, each loaded when it is asked for."""

    def __init__(self, job: Job, names: tuple[str, ...]) -> None:
        self._job = job
        self._names = names

    def __repr__(self) -> str:
        return f"<names of {self._job!r}: {', '.join(self._names)}>"

    def __getitem__(self, name: str) -> Any:
        return self._job.load_name(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def explain(ledger: Ledger, status: StepStatus) -> str:
    """Why a step is as it is, with the runs between which it came about."""
    return why.explain(status, ledger.pipe, ledger.number_of, ledger.head(status.name))


def drop(ledger: Ledger, step: str) -> Run:
    """Forget a step: its record in force, its place, and what its names mean.

    They mean again what the other steps make of them, or nothing.
    """
    pipe, held = ledger.pipe, dict[str, Held]()
    for other in pipe.order:
        record = ledger.head(other)
        if record is not None and other != step:
            graph.leave(held, other, pipe.heads[other], record)
    meanings = {
        name: Meaning(one.maker, one.record, one.version.digest)
        if (one := held.get(name))
        else None
        for name, meaning in pipe.meanings.items()
        if meaning.maker == step
    }
    return ledger.commit(
        lambda _: Run(0, "", step, "dropped", heads={step: None}, meanings=meanings)
    )


def _unusable(what: str, flaw: str) -> StoreError:
    if is_distrust(flaw):
        return TrustError(
            f"{what} is not to be had: {flaw}",
            "run the cell that makes it, or see `%pipe trust`",
        )
    return DamageError(f"{what} is not to be had: {flaw}", "run the cell that makes it")


def check_job(name: object) -> None:
    """Raise UsageError for what cannot be the name of a job.

    Any text can that is seen as it is, and that no shell takes for an option.
    """
    is_text = isinstance(name, str) and name != "" and name.isprintable()
    if not is_text or str(name).strip() != name or str(name).startswith("-"):
        raise UsageError(
            f"{name!r} is no name for a job",
            "printable text that begins with no - and neither begins nor ends with a blank is one",
        )


def check_name(step: object) -> None:
    """Raise UsageError for what cannot be the name of a step."""
    if not isinstance(step, str) or not is_step_name(step):
        raise UsageError(
            f"{step!r} is no name for a step", "letters, digits, `_`, `-` and `.` make one"
        )
