"""The steps to run besides the one asked for, in order, each once.

One mechanism for all who need it: what is stale above a step that is asked for (mode `lazy`), what
makes again a value that could not be kept, setup steps in a new kernel, and whole ranges of steps.
It looks again after each run: a step that came out equal leaves those below it fresh (early
cut-off). A step whose need failed is noted as failed itself, so that its source is the last seen.

    bring_up ─── needs ── next_stale ── run
    load ─────── make_again ── run
    run_steps, run_setups ──── run
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Final, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ..errors import DamageError, UsageError, kind_of
from ..pipe import graph, layers
from ..pipe.status import Reason, StepStatus, because
from ..record import ABSENT, VALUE, Digest, Record, Version
from ..store.leases import Lease
from . import ambient, needs, news, pictures, restores, runs, surroundings, turns
from .bench import Bench, Told
from .bindings import Binding
from .outlook import Outlook, Site
from .stage import UnloadableError
from .trial import Task

LONG_SECONDS: Final = 5.0
"""A step whose last run took so long is announced before it runs for another's sake."""

_LOOKS: Final = 3
"""How often what is about to run is looked at, where each time what it needs is gone by then."""

T = TypeVar("T")


class Planned(Struct, frozen=True):
    """What bringing a job up to date would do with a step, why, and what its last run took."""

    step: str
    act: Literal["run", "restore"]
    reason: str
    seconds: float


# --- what is stale ------------------------------------------------------------------------------


def next_stale(
    bench: Bench, steps: Iterable[str], site: Site, done: Collection[str] = ()
) -> tuple[str, Reason | tuple[Digest, Record]] | None:
    """The first of `steps` that is not what a run would leave now, and what to do about it.

    Those in `done` have been seen to.
    """
    glance, pipe = bench.glance(site), bench.ledger.pipe
    heads, record = pipe.heads, bench.ledger.record
    for step in steps:
        head = record(heads[step]) if step in heads else None
        if step in done or step not in pipe.seen or (head and head.is_set):
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
        if step not in pipe.failed and glance.is_fresh(task, head):
            continue
        outlook = bench.outlook(task, site)
        verdict = bench.verdict(task, outlook, glance.packages)
        is_in_force = step not in pipe.failed and not isinstance(verdict, Reason)
        if isinstance(verdict, Reason) or not (is_in_force and verdict[0] == pipe.heads.get(step)):
            return step, verdict
        glance.note(task, verdict[1], outlook)
    return None


# --- running them --------------------------------------------------------------------------------


def again(bench: Bench, begin: Callable[[], T]) -> T:
    """What `begin` gives; it looks anew where what it has looked at is gone when it comes to load
    it: another process may have set another value, and reclaimed the room of the one before. What
    is there and does not load is made again.

    Raises DamageError or UnloadableError where that does not help.
    """
    for _ in range(_LOOKS - 1):
        try:
            return begin()
        except DamageError:
            bench.ledger.reread()
            news.follow(bench)
        except UnloadableError as error:
            bench.memory.unloadable[error.key] = error.flaw
    return begin()


def make_ready(bench: Bench, task: Task, lease: Lease, outlook: Outlook) -> Outlook:
    """Make again what a task needs and is not to be had; where that fails, its turn is over. What
    stands before the task then."""
    try:
        rewrite_files(bench, task)
        remake_lost(bench, task, bench.still(task, outlook))
        _remake_stdin(bench, task)
        return bench.still(task, outlook)
    except BaseException:
        turns.give_back(bench, lease)
        raise


def run(bench: Bench, task: Task, reason: Reason) -> tuple[bool, BaseException | None]:
    """Run a step inside the cell that runs now, unless another kernel has done so meanwhile:
    whether it ran, and what it raised."""
    lease, verdict = turns.take(bench, task, reason)
    if not isinstance(verdict, Reason):
        restores.restore(bench, task, *verdict)
        return False, None
    outlook = make_ready(bench, task, lease, bench.outlook(task))
    with bench.doors.at_home(task):
        running = runs.start(bench, task, outlook, verdict, lease)
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
    _, error = again(bench, lambda: run(bench, bench.task_of(step), reason))
    if error is not None:
        who = f"{asked} did not run" if asked else "this cell did not run"
        raise UsageError(f"{who}: {step}, which it needs, failed", f"mend {step} and run it")
    bench.memory.helpers.add(step)


def bring_up(bench: Bench, task: Task) -> Outlook:
    """Run the stale steps above that a task needs, in order; what stands before it then."""
    done: set[str] = set()
    outlook = bench.outlook(task)
    if next(bench.above(task), None) is None:
        return outlook
    for _ in range(len(bench.ledger.pipe.order) + 1):
        steps = needs.needed_by(bench, task, outlook)
        found = next_stale(bench, steps, bench.site(task), done)
        if found is None:
            break
        step, verdict = found
        # Once is enough, also for a step that would run at every look: those above it are done.
        done.add(step)
        if isinstance(verdict, Reason):
            run_other(bench, step, verdict, asked=task.step)
        else:
            restores.restore(bench, bench.task_of(step), *verdict)
        outlook = bench.outlook(task)
    return bench.still(task, outlook)


def warn(bench: Bench, task: Task) -> Outlook:
    """Say on what stale step a task stands that runs alone; what stands before it."""
    outlook = bench.outlook(task)
    steps = needs.needed_by(bench, task, outlook)
    found = next_stale(bench, steps, bench.site(task))
    if found is not None:
        step, verdict = found
        why = f": {verdict}" if isinstance(verdict, Reason) else ""
        bench.tell(f"{task.step} stands on {step}, which is stale{why}")
    return bench.still(task, outlook)


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
            _run_setup(bench, step, is_for_plain=names is not None)


def _run_setup(bench: Bench, step: str, *, is_for_plain: bool) -> None:
    """Run a setup step; a plain cell goes on without it where what it stands on is not to be had:
    what it has kept is."""
    try:
        run_other(bench, step, because("setup"))
    except UsageError as refused:
        if not is_for_plain or step in bench.ledger.pipe.failed:
            raise
        bench.tell(f"{step}, which sets up this kernel, did not run: {refused}")


# --- what could not be kept ----------------------------------------------------------------------


def load(bench: Bench, names: Iterable[str]) -> None:
    """Load dormant names, with what their code reads.

    What could not be kept, or does not load any more, is made again by running its steps. Where
    others have set names anew meanwhile, what was loaded of them before is loaded anew.
    """
    wanted = frozenset(names)
    for _ in range(_LOOKS):
        _load(bench, wanted)
        if not any(map(bench.space.is_dormant, graph.reach(wanted, bench.reads_of))):
            break
    pictures.prepare(bench.shell)
    for line in ambient.apply_pending():
        bench.tell(line)


def _load(bench: Bench, names: Iterable[str]) -> None:
    space = bench.space
    for name in sorted(graph.reach(names, bench.reads_of)):
        binding = space.bindings.get(name)
        if binding is None or binding.is_resident or binding.version is None or name in space.junk:
            continue
        if binding.version.kind == "lost":
            make_again(bench, name, binding, binding.version)
            continue
        news.tell_outgrown(bench, [name])
        try:
            space.load([name])
        except Exception as error:  # noqa: BLE001 - damage, a library gone, a user's __setstate__
            if isinstance(error, DamageError) and _has_moved_on(bench, name, binding):
                _load(bench, [name])
                continue
            make_again(bench, name, binding, binding.version.replace(flaw=kind_of(error)))


def _has_moved_on(bench: Bench, name: str, known: Binding) -> bool:
    """Whether another process has given a name a new value since this cell began: then it may have
    reclaimed the room of the one before, and nothing is damaged."""
    news.follow(bench)
    return bench.space.bindings.get(name) is not known


def remake_lost(bench: Bench, task: Task, outlook: Outlook) -> None:
    """Make again the values that could not be kept, or are damaged, and that a task may touch.

    While a row of steps runs for such a value, each takes up what the one before it left.
    """
    remaking = bench.memory.remaking
    touched = outlook.touched(outlook.paths(task.names))
    if outlook.is_dynamic(task.names):
        touched &= task.names.mentions | {path.name for path in task.names.reads}
    for name in sorted(touched):
        want = outlook.wanted(name)
        if want is None or want.version is None:
            continue
        if want.version.kind == "lost":
            if not remaking and not _is_at_hand(bench, name, want.version, want.maker):
                make_again(bench, name, want, want.version)
        elif want.maker not in remaking and (flaw := _damage_of(bench, name, want)):
            make_again(bench, name, want, want.version.replace(flaw=flaw))
            outlook = bench.outlook(task)  # the step made other names anew as well


def _remake_stdin(bench: Bench, task: Task) -> None:
    """Run the step after `<` again where its value is damaged."""
    step = task.line.stdin
    head = bench.ledger.head(step) if step is not None else None
    if step is None or head is None or step in bench.memory.remaking:
        return
    shown = head.version_of(VALUE)
    kept = [blob for one in ([shown] if shown else head.outputs) for blob in one.blobs]
    try:
        bench.ledger.fetch(kept)
    except DamageError as error:
        run_other(bench, step, because("unusable", detail=error.message), asked=task.step)


def rewrite_files(bench: Bench, task: Task) -> None:
    """Run the steps again whose files a task is about to read, where others have written to them
    since: later steps, which are stale then, or somebody else."""
    now = bench.site(task).layers
    above = layers.above(now.writers, now.place_of(task.step))
    if not above or bench.settings.mode == "manual":
        return
    head, line = bench.ledger.head(task.step), task.line
    is_known = head is not None and head.normal == task.normal
    text = "" if is_known else task.transformed
    found = surroundings.overwritten(text, line.reads, head, above)
    for step in bench.site(task).order:
        paths = [path for path, writer in found.items() if writer == step]
        if paths and step in bench.ledger.pipe.seen:
            run_other(
                bench, step, because("overwritten", paths[0], detail=task.step), asked=task.step
            )


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
    return bench.memory.unloadable.pop((want.maker, version.digest), "")


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
    steps = makers_of(bench, {name, *version.names}, binding.maker) if binding.maker else ()
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
    outer = bench.memory.remaking
    bench.memory.remaking = outer | set(steps)
    try:
        for step in steps:
            run_other(bench, step, reason)
    finally:
        bench.memory.remaking = outer


def makers_of(bench: Bench, names: Iterable[str], upto: str) -> tuple[str, ...]:
    """The steps that made the values of names, which share objects, and those that used them since,
    down to `upto`."""
    steps = (*graph.above(bench.ledger.pipe.order, upto), upto)
    found: set[str] = set()
    for name in names:
        found.update(_makers_of(bench, name, steps))
    return tuple(step for step in steps if step in found)


def _makers_of(bench: Bench, name: str, steps: Iterable[str]) -> list[str]:
    found: list[str] = []
    for step in steps:
        record = bench.ledger.head(step)
        if record is None or record.version_of(name) is None:
            continue
        if not any(one.path.name == name and one.whole != ABSENT for one in record.inputs):
            found = []
        found.append(step)
    return found


# --- ranges --------------------------------------------------------------------------------------


def with_needs(bench: Bench, steps: Iterable[str]) -> tuple[str, ...]:
    """Steps and all that they need, in their places."""
    wanted: set[str] = set()
    for step in steps:
        wanted.add(step)
        if step in bench.ledger.pipe.seen:
            task = bench.task_of(step)
            wanted.update(needs.needed_by(bench, task, bench.outlook(task)))
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
        has_run, error = again(bench, partial(_run_step, bench, step))
        if error is not None:
            left = ", ".join(wanted[number + 1 :]) or "nothing"
            done = ", ".join(ran) or "nothing"
            raise UsageError(f"{step} failed; done: {done}; not done: {left}", f"mend {step}")
        if has_run:
            ran.append(step)
    return ran


def _run_step(bench: Bench, step: str) -> tuple[bool, BaseException | None]:
    """Run or restore a step, whichever it needs: whether it ran, and what it raised."""
    task = replace(bench.task_of(step), is_asked=True)
    verdict = bench.verdict(task, bench.outlook(task))
    if not isinstance(verdict, Reason):
        if not _means_its_own(bench, step, verdict[1]):
            restores.restore(bench, task, *verdict)
    elif not (task.line.setup and step in bench.memory.set_up):
        return run(bench, task, verdict)
    return False, None
