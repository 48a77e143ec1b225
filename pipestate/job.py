"""A job for scripts and servers: its values, to be read and set, and what became of its steps.

It joins the store and the judgement of the pipe; it needs no kernel and never meets IPython.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from .errors import DamageError, FormatError, PackError, UsageError, in_short
from .ledger import MANY, Ledger
from .pipe import graph, pieces, slices, status, told, why
from .pipe.graph import Held
from .pipe.status import StepStatus
from .record import VALUE, Digest, Meaning, Pipe, Record, Run, Version
from .space import Meter
from .store import blobs, versions
from .store.garbage import gc_paused
from .store.phases import Phase
from .values import Values, check_name
from .worlds import Worlds


class Job(Values, MutableMapping[str, Any]):
    """The steps of one job and their values: `job["step_01"]`, `job["step_01"] = value`.

        job[step] = ── keep ──── commit
        job.status() ── what was told of it, or ──── Worlds ──── statuses

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
        super().__init__(name, store, verification=verification)
        if type(max_bytes) is not int or max_bytes < 0:
            raise UsageError(f"{max_bytes!r} is no bound", "a number of bytes is, and 0 for none")
        self._options |= {"max_bytes": max_bytes}
        self._max_bytes, self._meter = max_bytes, Meter()
        self._told: tuple[Pipe, list[StepStatus]] | None = None
        self._marked: tuple[Pipe, Digest] | None = None

    # --- the mapping ---------------------------------------------------------------------------

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

    # --- looking -------------------------------------------------------------------------------

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
            f"job {self.name!r} has no step {step!r}", f"its steps are: {in_short(self) or 'none'}"
        )

    def code(self, name: str) -> str:
        """The smallest program that makes what a name means, from the sources last seen.

        Raises UsageError where no step makes it.
        """
        self._refresh()
        pipe = self._ledger.pipe
        if name not in pipe.meanings:
            known = in_short(sorted(pipe.meanings)) or "none"
            raise UsageError(f"job {self.name!r} has no name {name!r}", f"its names are: {known}")
        steps = [step for step in pipe.order if step in pipe.seen]
        text = lambda step: pipe.seen[step].source  # noqa: E731
        return slices.code(pieces.pieces(steps, self._ledger.head, text, pipe.seen), [name])

    # --- inside --------------------------------------------------------------------------------

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
