"""Whose turn it is to run a step: of the kernels that would run it at once, one does.

    foresee ── the lease of a step that is going to run, if nobody has it, before the look at the
               job with which its cell begins: then that look is the last that is needed
    take ──┬─ nobody runs it: the lease, and the reason to run as it was
           └─ another kernel does: wait for it, take up what it has left, judge again

A kernel waits only for what may spare it the run: not where the step runs in any case (`--force`,
`--always`, a setup step), and not while it has a lease itself, so that no two wait for each other.
"""

from __future__ import annotations

import os
import time
from typing import Final

from ..cell import source
from ..cell.source import parse_line
from ..errors import StoreError, UsageError
from ..pipe.status import Reason
from ..record import Digest, Record
from ..store import leases
from ..store.leases import Holder, Lease
from . import news
from .bench import Bench
from .trial import Task

IN_ANY_CASE: Final = frozenset({"forced", "setup", "always", "dynamic", "lost"})
"""Reasons to run that nothing which another kernel makes would take away."""

_PAUSES: Final = (0.01, 0.25)
"""Seconds between two looks, at first and at last."""


def foresee(bench: Bench, line: str, transformed: str) -> None:
    """Take the lease of a step before its cell looks at the job, where it is surely going to run:
    what it says is new to this kernel. What others have added by then is seen by that look, and
    what they add later is not of this step, unless they never asked for the lease."""
    forgo(bench)
    try:
        step, normal = parse_line(line).name, source.normal(transformed)
    except UsageError:
        return  # it is refused, after the look
    known = bench.memory.tasks.get(step)
    if known[1].normal == normal if known else step in bench.ledger.pipe.seen:
        return  # more likely it is restored
    name = _name(bench, step, normal)
    lease = leases.take(bench.ledger.store.path, name, may_make=False)
    if isinstance(lease, Lease) and lease.holds:
        bench.memory.foreseen = name, lease


def forgo(bench: Bench) -> None:
    """Give back what was foreseen, where it was not taken."""
    if bench.memory.foreseen is not None:
        give_back(bench, bench.memory.foreseen[1])
        bench.memory.foreseen = None


def take(bench: Bench, task: Task, reason: Reason) -> tuple[Lease, Reason | tuple[Digest, Record]]:
    """The lease of a task's step, to be released when its body has ended, and what is to be done.

    Waits for a kernel that runs the same code as this step; an interrupt ends that. Where another
    process has added to the job since the last look, the step is judged again: it may be restored
    then, and needs no lease.
    """
    foreseen = bench.memory.foreseen
    if foreseen is not None and reason.kind != "setup":
        name, lease = foreseen
        if name == _name(bench, task.step, task.normal):
            bench.memory.leases.append(lease)
            bench.memory.foreseen = None  # last: until then an interrupt has it given back
            return lease, reason
    forgo(bench)  # another step comes first: nobody may wait for a lease who has one
    if reason.kind == "setup":
        return Lease(), reason
    asked = _lease(bench, task)
    if isinstance(asked, Holder):
        # This process itself has it after an interrupt at the wrong moment.
        is_own = asked.pid == os.getpid()
        if reason.kind in IN_ANY_CASE or bench.memory.leases or is_own:
            return Lease(), reason
        bench.tell(f"{asked} runs {task.step}: waiting for it; an interrupt ends that")
        asked = _wait(bench, task)
    lease = asked
    bench.memory.leases.append(lease)
    try:
        verdict = _judge_again(bench, task, reason)
    except BaseException:
        give_back(bench, lease)
        raise
    if not isinstance(verdict, Reason):
        give_back(bench, lease)
    return lease, verdict


def give_back(bench: Bench, lease: Lease) -> None:
    """Let another kernel have its turn."""
    lease.release()
    if lease in bench.memory.leases:
        bench.memory.leases.remove(lease)


def _name(bench: Bench, step: str, normal: str) -> str:
    """Kernels that run other sources under one name have nothing to give each other."""
    return "\0".join((bench.ledger.job, step, normal))


def _lease(bench: Bench, task: Task) -> Lease | Holder:
    store, name = bench.ledger.store, _name(bench, task.step, task.normal)
    lease = leases.take(store.path, name)
    if isinstance(lease, Holder) or lease.holds:
        return lease
    try:
        store.make_folder()
    except StoreError:
        return lease  # the commit will say so
    return leases.take(store.path, name)


def _wait(bench: Bench, task: Task) -> Lease:
    pause, last = _PAUSES
    while isinstance(lease := _lease(bench, task), Holder):
        time.sleep(pause)
        pause = min(2 * pause, last)
    return lease


def _judge_again(bench: Bench, task: Task, reason: Reason) -> Reason | tuple[Digest, Record]:
    """What is to be done, now that nobody else runs the step; as before where nobody has."""
    ledger = bench.ledger
    if reason.kind in IN_ANY_CASE or ledger.is_current:
        return reason
    news.follow(bench)
    return bench.verdict(task, bench.outlook(task))
