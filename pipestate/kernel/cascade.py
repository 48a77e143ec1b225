"""The steps to run besides the one asked for, in order, each once.

One mechanism for all who need it: what is stale above a step that is asked for (mode `lazy`), what
makes again a value that could not be kept, setup steps in a new kernel, and whole ranges of steps.
It looks again after each run: a step that came out equal leaves those below it fresh (early
cut-off). A step whose need failed is noted as failed itself, so that its source is the last seen.

    bring_up ─── needed_by ── next_stale ── run
    load ─────── make_again ── run
    run_steps, run_setups ──── run
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from ..cell.names import Names
from ..errors import DamageError, PipeStateError, UsageError
from ..pipe import graph, layers
from ..pipe.graph import Touches
from ..pipe.layers import Makers
from ..pipe.lines import differing
from ..pipe.status import STEP_VALUE, Reason, StepStatus, because
from ..record import ABSENT, Digest, Pipe, Record, Seen, Version
from . import ambient, news, pictures, restores, runs, turns
from .bench import Bench, Told
from .bindings import Binding
from .outlook import Outlook, Site
from .surroundings import RANDOM
from .trial import Task

LONG_SECONDS: Final = 5.0
"""A step whose last run took so long is announced before it runs for another's sake."""

FILE = "file:"
AMBIENT = "ambient:"
"""Before a path or an ambient key, they make a name of it: one that no identifier can be."""

_RANDOM_STATES = frozenset(f"{AMBIENT}{RANDOM}{name}" for name in ("python", "numpy", "torch"))
_SURROUNDINGS = f"{AMBIENT}rest"


@dataclass(frozen=True, slots=True)
class Planned:
    """What bringing a job up to date would do with a step, why, and what its last run took."""

    step: str
    act: Literal["run", "restore"]
    reason: str
    seconds: float


# --- who is needed -------------------------------------------------------------------------------


def needed_by(bench: Bench, task: Task, outlook: Outlook) -> tuple[str, ...]:
    """The steps above a task that may have a part in what it reads, in order."""
    now = _makers(bench, outlook.order)
    own = touches(bench, task.step).reads
    names = {path.name for path in outlook.paths(task.names)}
    names |= {name for name in own if name.startswith((FILE, AMBIENT))}
    names |= {FILE + path for path in task.line.reads}
    names.add(_SURROUNDINGS)
    if bench.ledger.head(task.step) is None:  # whether it draws is not known yet
        names |= _RANDOM_STATES
    return now.needed(task.step, names)


def _makers(bench: Bench, order: tuple[str, ...]) -> Makers:
    """What each step of the job does to which names; only what has moved is looked at anew."""
    memory, pipe = bench.memory, bench.ledger.pipe
    known, then = memory.makers, memory.made_for or Pipe("")
    if then is pipe and known.order == order:
        return known
    heads = differing(then.heads, pipe.heads)
    moved = {*heads, *differing(then.seen, pipe.seen), *then.failed, *pipe.failed}
    left = _names_left(bench, (one.get(step) for one in (then.heads, pipe.heads) for step in heads))
    moved |= {step for step, mark in known.marks.items() if mark.depends_on(left)}
    is_longer = order[: len(known.order)] == known.order
    moved |= {*(order[len(known.order) :] if is_longer else order)}
    marks = {step: _mark(bench, step) for step in order if step in moved}
    memory.makers = layers.makers(known, order, marks, lambda step: touches(bench, step))
    memory.made_for = pipe
    return memory.makers


def _names_left(bench: Bench, records: Iterable[Digest | None]) -> frozenset[str]:
    """The names that some of the records made or took away."""
    found = [bench.ledger.record(digest) for digest in records if digest]
    return frozenset(
        name
        for record in found
        for names in (record.made, record.gone, *(version.names for version in record.outputs))
        for name in names
    )


class Mark(NamedTuple):
    """What a step's touches are told from.

    `unproved` is the pipe's number for a step whose source has proved nothing yet, else 0: what it
    could do depends on all that stands before it. `in_place` are the names whose objects its record
    found and left as others, `mates` those that share objects with these before it now.
    """

    head: Digest | None
    seen: Seen | None
    unproved: int
    in_place: frozenset[str]
    mates: frozenset[str]

    def depends_on(self, names: frozenset[str]) -> bool:
        """Whether it may be another one once these names mean something else."""
        return self.unproved > 0 or not self.in_place.isdisjoint(names)


def _mark(bench: Bench, step: str) -> Mark:
    pipe, in_place = bench.ledger.pipe, _changed_in_place(bench, step)
    unproved = 0 if _is_proved(bench, step) else max(pipe.number, 1)
    mates = frozenset(_mates(bench, step, in_place)) if in_place else in_place
    return Mark(pipe.heads.get(step), pipe.seen.get(step), unproved, in_place, mates)


def _changed_in_place(bench: Bench, step: str) -> frozenset[str]:
    """The names whose objects the record in force found, and left as others."""
    record = bench.ledger.head(step)
    if record is None:
        return frozenset()
    return frozenset(record.made).difference(record.bound)


def touches(bench: Bench, step: str) -> Touches:
    """What a step did when it last ran, and what its source, as last seen, could do."""
    reads: set[str] = {_SURROUNDINGS}
    binds: set[str] = {STEP_VALUE + step}
    changes: set[str] = set()
    record, names = bench.ledger.head(step), bench.names_of(step)
    # A step that failed stops a run from the top, whatever it still imports.
    imported = frozenset() if step in bench.ledger.pipe.failed else _imported(record, names)
    if record is not None:
        reads |= {one.path.name for one in record.inputs if one.whole != ABSENT}
        reads |= {FILE + one.path for one in record.files_read}
        reads |= {AMBIENT + key for key in record.moved if key.startswith(RANDOM)}
        made = {name for version in record.outputs for name in version.names} | {*record.made}
        changes |= made - imported
        changes |= _mates(bench, step, _changed_in_place(bench, step))
        changes |= {*record.gone}
        changes |= {FILE + one.path for one in record.files_written}
        changes |= _ambient_of(record)
    if names is not None:
        reads |= {path.name for path in names.reads}
        binds |= names.binds - imported
        touched = names.may_bind | names.writes | _changed(bench, step, names)
        changes |= touched | names.deletes
        if not _is_proved(bench, step):
            again = names.binds & {path.name for path in names.reads}  # `xs += [1]` works in place
            changes |= _mates(bench, step, touched | again)
        # What a failed step would have drawn nobody knows: it counts if it could have.
        may_draw = step in bench.ledger.pipe.failed and _mentions_random(names)
        changes |= _RANDOM_STATES if names.seeds or may_draw else frozenset()
    return Touches(frozenset(reads), frozenset(binds), frozenset(changes))


def _is_proved(bench: Bench, step: str) -> bool:
    """Whether the record in force is what the source last seen for a step left."""
    pipe = bench.ledger.pipe
    head, seen = bench.ledger.head(step), pipe.seen.get(step)
    if head is None or step in pipe.failed:
        return False
    return seen is None or seen.normal == head.normal


_LOOKED_AT: Final = frozenset(
    "DataFrame Index Series bytearray defaultdict deque dict list ndarray set".split()
)
"""Types of which a part can be kept without a change to them; to go over an iterator uses it up."""


def _changed(bench: Bench, step: str, names: Names) -> frozenset[str]:
    """The names of which a step keeps parts, and may change them by another name."""
    if names.is_changing:
        return names.kept
    site = bench.memory.site or bench.whole()
    held = site.layers.before(step)
    kinds = {n: one.version.types.get(n) for n in names.kept if (one := held.get(n)) is not None}
    return frozenset(n for n in names.kept if kinds.get(n) not in _LOOKED_AT)


def _mates(bench: Bench, step: str, names: Iterable[str]) -> set[str]:
    """The names that share objects with `names` before a step: it may change them as well."""
    site = bench.memory.site or bench.whole()
    held = site.layers.before(step)
    known = (held.get(name) for name in names)
    return {mate for one in known if one is not None for mate in one.version.names}


def _mentions_random(names: Names) -> bool:
    return "random" in names.mentions or any(
        ("attr", "random") in path.parts for path in names.reads
    )


def _imported(record: Record | None, names: Names | None) -> frozenset[str]:
    """Names that a step imports as it did when it last ran: fresh, whatever else of it is not."""
    if record is None or names is None:
        return frozenset()
    return frozenset(
        line.name
        for line in names.imports
        if (version := record.version_of(line.name)) is not None
        and version.kind == "import"
        and line.statement in version.source.splitlines()
    )


def _ambient_of(record: Record) -> set[str]:
    keys = set(record.ambient.names) if record.ambient is not None else set()
    found = {AMBIENT + key for key in keys if key.startswith(RANDOM)}
    return found | ({_SURROUNDINGS} if len(found) < len(keys) else set())


def next_stale(
    bench: Bench, steps: Iterable[str], site: Site, done: Collection[str] = ()
) -> tuple[str, Reason | tuple[Digest, Record]] | None:
    """The first of `steps` that is not what a run would leave now, and what to do about it.

    Those in `done` have been seen to.
    """
    for step in steps:
        head = bench.ledger.head(step)
        if step in done or step not in bench.ledger.pipe.seen or (head and head.is_set):
            continue
        task = bench.task_of(step)
        if task.line.setup:
            continue
        if head is not None and head.normal == task.normal:
            if not head.is_done:
                reason = because("unfinished", step, detail=task.line.done or "")
                raise UsageError(str(reason), f"run {step} until it is done")
            if task.line.always:
                continue
        verdict = bench.verdict(task, bench.outlook(task, site))
        pipe = bench.ledger.pipe
        is_in_force = step not in pipe.failed and not isinstance(verdict, Reason)
        if isinstance(verdict, Reason) or not (is_in_force and verdict[0] == pipe.heads.get(step)):
            return step, verdict
    return None


# --- running them --------------------------------------------------------------------------------


def run(bench: Bench, task: Task, reason: Reason) -> tuple[bool, BaseException | None]:
    """Run a step inside the cell that runs now, unless another kernel has done so meanwhile:
    whether it ran, and what it raised."""
    lease, verdict = turns.take(bench, task, reason)
    if not isinstance(verdict, Reason):
        restores.restore(bench, task, *verdict)
        return False, None
    try:
        remake_lost(bench, task, bench.outlook(task))
    except BaseException:
        turns.give_back(bench, lease)
        raise
    with bench.doors.at_home(task):
        running = runs.start(bench, task, bench.outlook(task), verdict, lease)
        error: BaseException | None = None
        try:
            error = bench.doors.run_body(task)
        except BaseException as interrupt:
            error = interrupt
            raise
        finally:
            runs.end(bench, running, error)
    return True, error


def run_other(bench: Bench, step: str, reason: Reason, *, asked: str = "") -> None:
    """Run a step for another's sake, from the source last seen for it.

    Raises UsageError where it fails: what asked for it does not run.
    """
    head = bench.ledger.head(step)
    if head is not None and head.seconds >= LONG_SECONDS:
        why = f"{asked or 'this cell'} needs it"
        bench.doors.show(Told(step, "needed", head.seconds, why))
    if run(bench, bench.task_of(step), reason)[1] is not None:
        who = f"{asked} did not run" if asked else "this cell did not run"
        raise UsageError(f"{who}: {step}, which it needs, failed", f"mend {step} and run it")


def bring_up(bench: Bench, task: Task) -> None:
    """Run the stale steps above that a task needs, in order."""
    done: set[str] = set()
    for _ in range(len(bench.ledger.pipe.order) + 1):
        steps = needed_by(bench, task, bench.outlook(task))
        found = next_stale(bench, steps, bench.site(task), done)
        if found is None:
            return
        step, verdict = found
        # Once is enough, also for a step that would run at every look: those above it are done.
        done.add(step)
        if isinstance(verdict, Reason):
            run_other(bench, step, verdict, asked=task.step)
        else:
            restores.restore(bench, bench.task_of(step), *verdict)


def warn(bench: Bench, task: Task) -> None:
    """Say on what stale step a task stands that runs alone."""
    steps = needed_by(bench, task, bench.outlook(task))
    found = next_stale(bench, steps, bench.site(task))
    if found is not None:
        step, verdict = found
        why = f": {verdict}" if isinstance(verdict, Reason) else ""
        bench.tell(f"{task.step} stands on {step}, which is stale{why}")


def run_setups(bench: Bench, steps: Iterable[str], names: frozenset[str] | None = None) -> None:
    """Run the setup steps among `steps` that this kernel has not run; or only those for `names`."""
    waiting = bench.lines().setups - bench.memory.set_up
    for step in steps if waiting else ():
        if step not in waiting:
            continue
        head = bench.ledger.head(step)
        made = head.made if head else ()
        if names is None or not names.isdisjoint(made):
            bench.memory.set_up.add(step)
            run_other(bench, step, because("setup"))


# --- what could not be kept ----------------------------------------------------------------------


def load(bench: Bench, names: Iterable[str]) -> None:
    """Load dormant names, with what their code reads.

    What could not be kept, or does not load any more, is made again by running its steps.
    """
    space = bench.space
    for name in sorted(graph.reach(names, bench.reads_of)):
        binding = space.bindings.get(name)
        if binding is None or binding.is_resident or binding.version is None or name in space.junk:
            continue
        if binding.version.kind == "lost":
            make_again(bench, name, binding, binding.version)
            continue
        if name in space.outgrown:
            bench.tell(f"`{name}` is as it was last kept; a plain cell had worked on it since")
            space.outgrown.discard(name)
        try:
            space.load([name])
        except Exception as error:  # noqa: BLE001 - damage, a library gone, a user's __setstate__
            if isinstance(error, DamageError) and _has_moved_on(bench, name, binding):
                load(bench, [name])
                continue
            flaw = str(error) if isinstance(error, PipeStateError) else repr(error)
            make_again(bench, name, binding, replace(binding.version, flaw=flaw))
    pictures.prepare(bench.shell)
    for line in ambient.apply_pending():
        bench.tell(line)


def _has_moved_on(bench: Bench, name: str, known: Binding) -> bool:
    """Whether another process has given a name a new value since this cell began: then it may have
    reclaimed the room of the one before, and nothing is damaged."""
    news.follow(bench)
    return bench.space.bindings.get(name) is not known


def remake_lost(bench: Bench, task: Task, outlook: Outlook) -> None:
    """Make again the values that could not be kept, or are damaged, and that a task may touch.

    While a row of steps runs for such a value, each takes up what the one before it left.
    """
    if bench.memory.is_remaking:
        return
    touched = outlook.touched(outlook.paths(task.names))
    if outlook.is_dynamic(task.names):
        touched &= task.names.mentions | {path.name for path in task.names.reads}
    for name in sorted(touched):
        want = outlook.wanted(name)
        if want is None or want.version is None:
            continue
        if want.version.kind != "lost":
            flaw = _damage_of(bench, name, want)
            if flaw:
                make_again(bench, name, want, replace(want.version, flaw=flaw))
                outlook = bench.outlook(task)  # the step made other names anew as well
        elif not _is_at_hand(bench, name, want.version, want.maker):
            make_again(bench, name, want, want.version)


def _damage_of(bench: Bench, name: str, want: Binding) -> str:
    """What is wrong with the bytes of a value that would have to be loaded; "" where nothing is.
    They are mapped and not loaded: before a step's run is prepared, nothing is put in place."""
    now, version = bench.space.bindings.get(name), want.version
    if want.is_resident or version is None or version.stream is None:
        return ""
    if now is not None and now.is_resident and now.means(want.maker, version):
        return ""
    try:
        bench.ledger.fetch([version.stream, *version.buffers])
    except DamageError as error:
        return error.message
    return ""


def _is_at_hand(bench: Bench, name: str, version: Version, maker: str) -> bool:
    """Whether a value that cannot be kept is in memory, and no plain cell has used it up."""
    now = bench.space.bindings.get(name)
    if now is None or now.version is None or not bench.space.is_current(name):
        return False
    if now.version.names.get(name) != version.names[name] or now.maker != maker:
        return False
    return bench.is_setup(maker) or name not in bench.space.suspects


def make_again(bench: Bench, name: str, binding: Binding, version: Version) -> None:
    """Run the steps that made a value that is not to be had, and those that used it since."""
    # What a plain cell made is its own, whatever steps have given the name before it.
    steps = makers_of(bench, name, binding.maker) if binding.maker else ()
    if not steps or any(step not in bench.ledger.pipe.seen for step in steps):
        kind = version.types.get(name, "value")
        raise UsageError(
            f"`{name}` ({kind}) is not to be had: {version.flaw}", "run the cell that makes it"
        )
    # A record that is damaged or not trusted kept the value well: no --setup would help it.
    is_barred = bool(binding.record and bench.ledger.record(binding.record).flaw)
    is_lost = version.kind == "lost" and not is_barred
    bench.tell(
        f"`{name}` could not be {'kept' if is_lost else 'loaded'} ({version.flaw}): "
        f"{' and '.join(steps)} {'runs' if len(steps) == 1 else 'run'} again to make it"
        + ("; --setup makes it in every kernel" if is_lost else "")
    )
    reason = because("lost" if is_lost else "unusable", name, detail=version.flaw)
    outer, bench.memory.is_remaking = bench.memory.is_remaking, True
    try:
        for step in steps:
            run_other(bench, step, reason)
    finally:
        bench.memory.is_remaking = outer


def makers_of(bench: Bench, name: str, upto: str) -> tuple[str, ...]:
    """The steps that made a value and those that used it since, down to `upto`."""
    found: list[str] = []
    for step in (*graph.above(bench.ledger.pipe.order, upto), upto):
        record = bench.ledger.head(step)
        if record is None or record.version_of(name) is None:
            continue
        if not any(one.path.name == name and one.whole != ABSENT for one in record.inputs):
            found = []
        found.append(step)
    return tuple(found)


# --- ranges --------------------------------------------------------------------------------------


def with_needs(bench: Bench, steps: Iterable[str]) -> tuple[str, ...]:
    """Steps and all that they need, in their places."""
    wanted: set[str] = set()
    for step in steps:
        wanted.add(step)
        if step in bench.ledger.pipe.seen:
            task = bench.task_of(step)
            wanted.update(needed_by(bench, task, bench.outlook(task)))
    return tuple(step for step in bench.ledger.pipe.order if step in wanted)


def plan(bench: Bench, steps: Iterable[str], states: Iterable[StepStatus]) -> list[Planned]:
    """What bringing steps up to date would run and restore, and why, as far as can be told.

    What lies below a step that runs is only judged once that one has run: it may come out equal.
    """
    known = {one.name: one for one in states}
    return [
        Planned(
            step,
            "restore" if known[step].state == "fresh" else "run",
            known[step].reason,
            known[step].seconds,
        )
        for step in with_needs(bench, steps)
    ]


def _means_its_own(bench: Bench, step: str, record: Record) -> bool:
    """Whether all that a step made means what it made, a plain cell's changes in place included."""
    if bench.ledger.head(step) is not record:
        return False
    bindings = bench.space.bindings
    return all(name in bindings and bindings[name].maker == step for name in record.made)


def run_steps(
    bench: Bench, steps: Iterable[str], progress: Callable[[str, int, int], None]
) -> list[str]:
    """Bring steps up to date with what they need, in order, each once; the steps that ran.

    Raises UsageError at the first that fails, with what was done and what was not.
    """
    wanted = with_needs(bench, steps)
    ran: list[str] = []
    for number, step in enumerate(wanted):
        if step not in bench.ledger.pipe.seen:
            continue
        progress(step, number, len(wanted))
        task = replace(bench.task_of(step), is_asked=True)
        verdict = bench.verdict(task, bench.outlook(task))
        if not isinstance(verdict, Reason):
            if not _means_its_own(bench, step, verdict[1]):
                restores.restore(bench, task, *verdict)
        elif not (task.line.setup and step in bench.memory.set_up):
            has_run, error = run(bench, task, verdict)
            if error is not None:
                left = ", ".join(wanted[number + 1 :]) or "nothing"
                done = ", ".join(ran) or "nothing"
                raise UsageError(f"{step} failed; done: {done}; not done: {left}", f"mend {step}")
            if has_run:
                ran.append(step)
    return ran
