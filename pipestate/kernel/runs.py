"""One body from start to end: put in place, watched, and then kept, or noted as failed.

    start ── reload edited modules ── prepare the trial ── surroundings ── watch
       (the body runs)
    end ──┬─ keep ── outcome ── record ── commit ── adopt the meanings
          └─ fail ── abandon the trial ── commit the failure

Effects come in one order: blobs while the outcome is worked out, one transaction, and only then
the bindings of this kernel. What goes wrong on the way leaves the record in force as it was.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from .. import values
from ..errors import PackError, StoreError, UsageError, kind_of
from ..ledger import Ledger
from ..pipe import layers
from ..pipe.layers import Layers
from ..pipe.status import STEP_VALUE, Reason, value_found
from ..record import VALUE, AccessPath, Blob, FileState, Input, Record
from ..store.folder import Batch
from ..store.leases import Lease
from ..store.phases import Phase
from . import (
    ambient,
    caches,
    displays,
    files,
    keeping,
    meanings,
    modules,
    modulestate,
    news,
    outputs,
    room,
    stage,
    surroundings,
    trial,
    turns,
)
from .bench import Bench, Told
from .keeping import Circumstances
from .outlook import Outlook
from .reloading import reload_edited
from .trial import Outcome, Task, Trial


class Watchers(Struct, frozen=True):
    """Who watches a body: what it shows, which files it opens, which values it asks a job for."""

    capture: outputs.Capture
    opened: files.Watch
    asked: dict[str, Input]
    hearing: contextlib.ExitStack

    def stop(self) -> tuple[outputs.Shown, files.Touched]:
        """End the watch."""
        self.hearing.close()
        return self.capture.stop(), self.opened.stop()


class Running(Struct, frozen=True):
    """A step's body on its way: what stood before it, and who watches it."""

    trial: Trial
    reason: Reason
    batch: Batch
    watchers: Watchers
    ambient: ambient.Ambient
    settings: surroundings.Settings
    lease: Lease
    started: float


def start(bench: Bench, task: Task, outlook: Outlook, reason: Reason, lease: Lease) -> Running:
    """Put in place what a body should find, and begin to watch it; `end` gives the lease back."""
    try:
        return _start(bench, task, outlook, reason, lease)
    except BaseException:
        turns.give_back(bench, lease)
        raise


def _start(bench: Bench, task: Task, outlook: Outlook, reason: Reason, lease: Lease) -> Running:
    reload_edited(bench, task)
    _put_files_back(bench, task)
    batch = bench.ledger.batch()
    try:
        setups = bench.lines().setups
        prepared = stage.prepare(task, outlook, bench.ledger, Phase(batch.put), setups)
        batch.settle()  # the body may take hours
    except BaseException:
        batch.discard()
        raise
    news.tell_outgrown(bench, prepared.named & prepared.placed.keys() - prepared.aside.keys())
    memory = bench.memory
    prepared = replace(
        prepared,
        helpers=frozenset(memory.helpers),
        is_remaking=task.step in memory.remaking,
    )
    caches.forget(bench.space, prepared, bench.reads_of)
    try:
        _bind_stdin(bench, task)
    except BaseException:
        stage.clear(bench.space, {**prepared.aside, **prepared.own})
        raise
    settings = put_surroundings(bench, outlook.site.layers, task.step)
    _forget_pending(bench, task, settings)
    watchers = _watch(bench)
    before = ambient.snapshot()
    return Running(prepared, reason, batch, watchers, before, settings, lease, time.time())


def _put_files_back(bench: Bench, task: Task) -> None:
    """Undo what the step's last run, and a failed attempt after it, did to files in place, where
    nobody else has touched them."""
    for path, (copy, left_as) in bench.memory.attempts.pop(task.step, {}).items():
        if files.is_same(left_as):
            files.put_back(path, copy)
        _remove([copy])
    head = bench.ledger.head(task.step)
    if head is None or not head.files_before:
        return
    left = {one.path: one for one in head.files_written}
    for path, blob in head.files_before.items():
        if path not in left:
            continue
        if not files.is_same(left[path]) and not _is_as_left_below(bench, task, path):
            if not _is_as_before(bench, path, blob) and not _is_as_left_above(bench, task, path):
                bench.tell(f"{path} stays as it is before {task.step} runs: it was changed since")
            continue
        if blob is None:
            files.put_back(path, None)
            continue
        try:
            (before,) = bench.ledger.fetch([blob])
        except StoreError as error:
            bench.tell(f"{path} stays as it is before {task.step} runs: {error}")
            continue
        with tempfile.NamedTemporaryFile() as earlier:
            earlier.write(before)
            earlier.flush()
            files.put_back(path, earlier.name)


def _is_as_left_above(bench: Bench, task: Task, path: str) -> bool:
    """Whether a file is what the last step above that wrote it has left."""
    now = bench.site(task).layers
    left = [
        one
        for record in layers.above(now.writers, now.place_of(task.step))
        for one in record.files_written
        if one.path == path
    ]
    return bool(left) and files.is_same(left[-1])


def _is_as_left_below(bench: Bench, task: Task, path: str) -> bool:
    """Whether a file is what a step below has left that no step above writes: all in it that came
    after the step is the work of steps, which run again."""
    now = bench.site(task).layers
    at = now.place_of(task.step)
    if any(
        one.path == path for record in layers.above(now.writers, at) for one in record.files_written
    ):
        return False
    below = layers.below(now.writers, at)
    return any(
        one.path == path and files.is_same(one) for record in below for one in record.files_written
    )


def _is_as_before(bench: Bench, path: str, blob: Blob | None) -> bool:
    """Whether a file is gone, or what it was before the step's last run, or that cannot be told."""
    try:
        now = Path(path).read_bytes()
        return blob is not None and bytes(bench.ledger.fetch([blob])[0]) == now
    except (OSError, StoreError):
        return True


def put_surroundings(bench: Bench, now: Layers, step: str = "") -> surroundings.Settings:
    """Put in the process what the steps above `step` set there; all steps for "" .

    What only steps below have set stays, but for globals of modules, which the step may read.
    """
    at, origins = now.place_of(step), bench.memory.origins
    settings = surroundings.standing(layers.above(now.ambient, at))
    if origins:
        others = surroundings.standing(left for place, left in now.ambient if place != at)
        for line in surroundings.put_back(
            origins, {**modulestate.relevant(others, ()), **settings}
        ):
            bench.tell(line)
    for line in surroundings.put(settings, bench.space, origins):
        bench.tell(line)
    return settings


def _forget_pending(bench: Bench, task: Task, settings: surroundings.Settings) -> None:
    """What the step itself set, or a step below set in a module that it uses, does not come with
    an import of this run."""
    pending = ambient.pending().keys() - settings.keys()
    if not pending:
        return
    now, used = bench.site(task).layers, modules.used_by(bench.modules_of(task))
    at = now.place_of(task.step)
    others = surroundings.standing(left for place, left in now.ambient if place != at)
    stay = modulestate.without(others, used)
    ambient.forget(pending - stay.keys())


def _watch(bench: Bench) -> Watchers:
    asked: dict[str, Input] = {}

    def hear(ledger: Ledger, step: str) -> None:
        """A value that the body asks the job for is an input of its step."""
        if ledger.job == bench.ledger.job and ledger.store.path == bench.ledger.store.path:
            found = value_found(step, ledger.head(step))
            path = AccessPath(STEP_VALUE + step)
            asked[step] = Input(path, found.whole, found.whole, found.maker)

    hearing = contextlib.ExitStack()
    hearing.enter_context(values.heard_by(hear))
    capture, watch = outputs.Capture(), files.Watch(bench.ledger.store.path)
    watch.start()
    capture.start(bench.shell)
    return Watchers(capture, watch, asked, hearing)


def _bind_stdin(bench: Bench, task: Task) -> None:
    """Bind `_` to the value of the step after `<`."""
    head = bench.ledger.head(task.line.stdin) if task.line.stdin is not None else None
    if head is None:
        return
    shown = head.version_of(VALUE)
    if shown is not None and shown.kind == "lost":
        flaw, step = shown.flaw.removesuffix(f" at {VALUE}"), task.line.stdin
        raise UsageError(
            f"the value of {step} could not be kept ({flaw})",
            f"let {step} bind it to a name, and read that",
        )
    if shown is not None:
        set_under(bench, bench.space.values(shown)[VALUE])
    else:
        set_under(bench, {n: v for one in head.outputs for n, v in bench.space.values(one).items()})


def set_under(bench: Bench, value: object) -> None:
    """Let `_` mean a value, until the next result is displayed."""
    bench.shell.displayhook._ = value  # IPython's own name for it
    bench.shell.push({"_": value}, interactive=False)


# --- after ---------------------------------------------------------------------------------------


def end(bench: Bench, running: Running, error: BaseException | None) -> None:
    """Keep what a body left, or note that it failed with `error`."""
    seconds = max(0.0, time.time() - running.started)  # a clock may be set back
    shown, touched = running.watchers.stop()
    with contextlib.ExitStack() as after:
        after.callback(turns.give_back, bench, running.lease)
        if error is None:
            after.callback(_remove, touched.copies.values())
        else:
            bench.memory.attempts[running.trial.task.step] = {
                path: (copy, files.state(path)) for path, copy in touched.copies.items()
            }
        with running.batch:
            _end(bench, running, error, shown, touched, seconds)


def _remove(copies: Iterable[str | None]) -> None:
    for copy in filter(None, copies):
        folder = os.path.dirname(copy)
        with contextlib.suppress(OSError):
            os.unlink(copy)
            os.rmdir(folder)


def _end(
    bench: Bench,
    running: Running,
    error: BaseException | None,
    shown: outputs.Shown,
    touched: files.Touched,
    seconds: float,
) -> None:
    try:
        if error is None:
            _keep(bench, running, shown, touched, seconds)
        else:
            meanings.abandon(running.trial, Phase(running.batch.put))
            bench.space.settle()
            task = running.trial.task
            note_failure(bench, task, error, running.started, seconds, running.batch)
            bench.doors.show(Told(task.step, "failed", seconds))
    except (StoreError, PackError) as problem:
        step = running.trial.task.step
        bench.tell(f"{step} was not kept, its values stand in memory: {problem}")
        bench.space.notice([*bench.space.visible.now(), *running.trial.objects])


def note_failure(
    bench: Bench,
    task: Task,
    error: BaseException,
    started: float = 0.0,
    seconds: float = 0.0,
    batch: Batch | None = None,
) -> None:
    """Write down that an attempt failed; the record in force stays, its source is the last seen."""
    bench.ledger.commit(
        lambda _: keeping.run_of(
            task,
            "failed",
            reason=kind_of(error),
            started=started,
            seconds=seconds,
            order=bench.new_order(task),
        ),
        batch=batch,
    )


def _keep(
    bench: Bench,
    running: Running,
    shown: outputs.Shown,
    touched: files.Touched,
    seconds: float,
) -> None:
    before, task = running.trial, running.trial.task
    if before.unkept is not None:
        raise before.unkept
    phase = Phase(running.batch.put, writes=True)
    changed = bench.counting(task, ambient.changes(running.ambient, ambient.snapshot()))
    surroundings.note(bench.memory.origins, changed, running.ambient.values)
    read = _all_read(touched, task)
    result = trial.outcome(before, shown.value, shown.has_value, phase, read)
    around = _circumstances(bench, running, shown, touched, read, changed, phase, seconds)
    record = keeping.record_of(before, result, around)
    changes = meanings.meanings(before, result)
    run = bench.ledger.commit(
        lambda digest: keeping.run_of(
            task,
            "ran",
            reason=str(running.reason),
            started=running.started,
            seconds=seconds,
            record=digest,
            heads={task.step: digest},
            meanings=keeping.meanings_of(changes, digest or "", before.givens, before.aside),
            imports=new_imports(bench),
            order=bench.new_order(task),
        ),
        record=record,
        batch=running.batch,
    )
    bench.remember(task)
    meanings.adopt(before, result, changes, run.record or "")
    bench.space.bindings.take_givens(before.givens, run.record or "")
    bench.space.settle()
    if task.line.setup:
        bench.memory.set_up.add(task.step)
    _tell_outcome(bench, running, result, seconds)
    _tell_misread(bench, running, record)
    room.heed(bench, record)
    if shown.is_clearing:  # the badge has emptied the page of what a loop showed last
        outputs.replay(bench.shell, shown.messages)


def _tell_outcome(bench: Bench, running: Running, result: Outcome, seconds: float) -> None:
    reason = running.reason
    step = running.trial.task.step
    is_first = reason.kind == "new"
    # That a setup step's values cannot be kept is what makes it one.
    flaws = () if running.trial.task.line.setup else result.flaws
    bench.doors.show(Told(step, "ran", seconds, str(reason), flaws, is_first))
    sets = running.trial.task.sets
    if sets:
        bench.tell(f"{step} sets `{sets}`, so it counts as --setup: it runs once in every kernel")
    for name in running.trial.task.line.no_save:
        if name not in result.made:
            bench.tell(f"--no-save {name}: {step} makes no such name")


def _tell_misread(bench: Bench, running: Running, record: Record) -> None:
    """Say what could not be told ahead: it read a file as the last writer above had not left it."""
    now, step = running.trial.outlook.site.layers, record.step
    for path in surroundings.misread(record, layers.above(now.writers, now.place_of(step))):
        bench.tell(f"{step} read {path} as it was left since by others; run {step} again")


def _circumstances(
    bench: Bench,
    running: Running,
    shown: outputs.Shown,
    touched: files.Touched,
    read: tuple[FileState, ...],
    changed: Mapping[str, object],
    phase: Phase,
    seconds: float,
) -> Circumstances:
    task, put = running.trial.task, running.batch.put
    used = bench.modules_of(task)
    modules.watch(used)
    left = surroundings.outputs(changed, running.settings, seeds=bench.may_seed(task, changed))
    drawn = surroundings.drawn(changed, left, used)
    return Circumstances(
        started=running.started,
        seconds=seconds,
        displays=put(displays.to_bytes(shown.messages)) if shown.messages else None,
        ambient=surroundings.keep(left, phase),
        moved=surroundings.inputs(bench.counting(task, running.settings), drawn),
        packages=modules.stamps(used),
        files_read=read,
        files_written=touched.states_written(),
        files_before={
            path: None if copy is None else put(Path(copy).read_bytes())
            for path, copy in touched.copies.items()
        },
        is_done=_is_done(bench, task, shown),
        is_volatile=running.trial.is_dynamic,
        asked=tuple(running.watchers.asked.values()),
    )


def _all_read(touched: files.Touched, task: Task) -> tuple[FileState, ...]:
    seen = {one.path: one for one in touched.states_read()}
    for path in task.line.reads:
        one = files.state(path)
        seen.setdefault(one.path, one)
    return tuple(seen.values())


def _is_done(bench: Bench, task: Task, shown: outputs.Shown) -> bool:
    key = task.line.done
    if key is None:
        return True
    if shown.has_value and isinstance(shown.value, Mapping) and key in shown.value:
        return bool(shown.value[key])
    return bool(bench.space.ns.get(key, False))


def new_imports(bench: Bench) -> dict[str, str]:
    """The imports of plain cells that the job does not remember yet; a step's are its outputs."""
    known, space = bench.ledger.pipe.imports, bench.space
    return {
        name: source.text
        for name, (source, value) in space.sources.items()
        if source.kind == "import"
        and space.ns.get(name) is value
        and known.get(name) != source.text
        and name in space.bindings
        and not space.bindings[name].maker
    }
