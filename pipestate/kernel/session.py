"""The life of a cell: before it, decide whether to run or restore, run, and after it.

    enter ──┬─ plain: setup steps, load what it names
            └─ step:  setup steps, what is stale above it (cascade), judge ──┬─ restore, replay
                                                                            └─ start a trial
    leave ──┬─ plain: notice what it bound, suspect what it touched
            └─ step:  outcome, record, commit, adopt ── or, after an error, abandon

A step run for another's sake goes the same way, through `run_other`. What goes wrong in pipestate
itself after a body has run leaves the values in memory and the record in force as it was, with one
line that says so; no body runs twice.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..cell import names as cell_names
from ..cell import source as cell_source
from ..cell.names import Names
from ..cell.source import StepLine
from ..errors import PackError, PipeStateError, StoreError, UsageError
from .. import job
from ..ledger import Ledger
from ..pipe import graph, places, status
from ..pipe.graph import Standing
from ..pipe.places import Cells
from ..pipe.status import STEP_VALUE, Reason, StepStatus, World, because, judge, value_found
from ..record import VALUE, AccessPath, Digest, FileState, Input, Record, Run, Version
from ..store.folder import Batch
from ..store.versions import Phase
from . import (
    ambient,
    cascade,
    displays,
    files,
    keeping,
    modules,
    notebooks,
    outputs,
    surroundings,
    trial,
)
from .keeping import Circumstances
from .namespace import Binding, Namespace
from .outlook import Direction, Outlook
from .trial import Outcome, Task, Trial

Mode = Literal["manual", "lazy", "reactive"]


@dataclass(slots=True)
class Settings:
    """What the user may set; the extension's traits write it."""

    mode: Mode = "lazy"
    direction: Direction = "in_order"
    restore: Literal["lazy", "eager"] = "lazy"
    badge: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """A step's body on its way: what stood before it, and who watches it."""

    trial: Trial
    reason: Reason
    batch: Batch
    capture: outputs.Capture
    watch: files.Watch
    ambient: ambient.Ambient
    settings: surroundings.Settings
    started: float
    asked: dict[str, Input]
    hearing: contextlib.ExitStack


@dataclass(frozen=True, slots=True)
class Told:
    """What the user is told about a step that ran or was restored."""

    step: str
    event: Literal["ran", "restored", "failed"]
    seconds: float
    reason: str = ""
    flaws: tuple[tuple[str, str], ...] = ()
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """What bringing a job up to date would do with a step, why, and what its last run took."""

    step: str
    act: Literal["run", "restore"]
    reason: str
    seconds: float


@dataclass(slots=True)
class Unders:
    """What `_` and `Out` will mean once somebody names them: restored results, by cell number."""

    waiting: dict[int, Version] = field(default_factory=dict)
    last: tuple[int, Any] | None = None


@dataclass(slots=True)
class Session:
    """One kernel and the job that it works on.

    `run_body` runs a cell's Python as the shell would and gives what it raised; `tell` shows the
    user a line, `show` what became of a step.
    """

    shell: Any
    ledger: Ledger
    settings: Settings
    tell: Callable[[str], None]
    show: Callable[[Told], None]
    run_body: Callable[[Task], BaseException | None]
    space: Namespace = field(init=False)
    running: Running | None = None
    plain: tuple[Names, frozenset[str]] | None = None
    unders: Unders = field(default_factory=Unders)
    set_up: set[str] = field(default_factory=set)
    tasks: dict[str, Task] = field(default_factory=dict)
    cells: dict[str, str] = field(default_factory=dict)
    start_folder: str = field(default_factory=os.getcwd)

    def __post_init__(self) -> None:
        self.space = Namespace(self.shell.user_ns, self.ledger.fetch)
        self.space.notice(trial.visible(self.space.ns))
        self.take_meanings()

    # --- the job -------------------------------------------------------------------------------

    def use(self, ledger: Ledger) -> None:
        """Go over to another job: what is resident stays as plain cells' values, the rest goes."""
        for name, binding in list(self.space.bindings.items()):
            if binding.is_resident:
                self.space.bindings[name] = Binding(obj=binding.obj)
            else:
                self.space.drop(name)
        self.ledger = ledger
        self.space.fetch = ledger.fetch
        self.set_up.clear()
        ambient.drop_pending()
        self.take_meanings()

    def take_meanings(self) -> None:
        """Let names mean what the job says they mean, where this kernel has nothing of its own."""
        pipe = self.ledger.pipe
        for name, meaning in pipe.meanings.items():
            if name not in self.space.bindings and name not in self.space.ns:
                version = self._version(meaning.record, name, meaning.digest)
                if version is not None:
                    self.space.declare(name, meaning.maker, meaning.record, version)
        for name, statement in pipe.imports.items():
            if name not in self.space.bindings and name not in self.space.ns:
                self.space.declare(name, "", "", keeping.import_version(name, statement))
        self._put_surroundings(pipe.order)

    def refresh(self) -> None:
        """Take up what other processes have added to the job."""
        self._take_up(self.ledger.refresh())

    def _take_up(self, runs: Iterable[Run]) -> None:
        """Let names mean what other processes have made of them since the last cell."""
        news = {name: meaning for run in runs for name, meaning in run.meanings.items()}
        replaced = []
        for name, meaning in news.items():
            now = self.space.bindings.get(name)
            if now is not None and not now.maker and now.is_resident and not now.record:
                continue  # a plain cell of this kernel made it
            if now is not None and now.is_resident:
                replaced.append(name)
            if meaning is None:
                self.space.drop(name)
                continue
            version = self._version(meaning.record, name, meaning.digest)
            if version is not None:
                self.space.declare(name, meaning.maker, meaning.record, version)
        if replaced:
            self.tell(
                f"{', '.join(sorted(replaced))} changed in the store since, by another process"
            )

    def _version(self, record: Digest, name: str, digest: Digest) -> Version | None:
        try:
            known = self.ledger.record(record)
        except StoreError as error:
            self.tell(f"`{name}` is not to be had: {error}")
            return None
        both = (*known.outputs, *known.givens)
        return next((v for v in both if name in v.names and v.digest == digest), None)

    def _records(self, steps: Iterable[str]) -> list[Record]:
        return [record for step in steps if (record := self.ledger.head(step)) is not None]

    def _put_surroundings(self, steps: Iterable[str]) -> surroundings.Settings:
        """Put what `steps` set in the process, and run their session magics' effects again."""
        settings = surroundings.standing(self._records(steps))
        for line in surroundings.put(settings, self.space):
            self.tell(line)
        return settings

    # --- before --------------------------------------------------------------------------------

    def enter(self, raw: str, transformed: str, cell_id: str, tree: ast.Module) -> ast.Module:
        """Called with every cell before its body; gives the body to run.

        Raises PipeStateError for a cell that must not run.
        """
        self.running = self.plain = None
        self.refresh()
        split = cell_source.split_cell(raw)
        if split is None:
            self._enter_plain(transformed)
            return tree
        line = cell_source.parse_line(split[0])
        task = self.task(line, split[1], transformed, cell_id)
        self._meet_cell(task)
        return self._enter_step(task, tree)

    def _meet_cell(self, task: Task) -> None:
        """The same cell under another name is a rename; another cell of the same name is said."""
        if not task.cell_id:
            return
        seen, met = self.ledger.pipe.seen, self.cells
        known = seen.get(task.step)
        earlier = met.get(task.step, task.cell_id)
        if earlier != task.cell_id:
            self.tell(f"two cells are named {task.step}; the one that ran last counts")
        if known is None and task.step not in self.ledger.pipe.order:
            old = [s for s, one in seen.items() if one.cell_id == task.cell_id and s != task.step]
            if old:
                self._rename(old[-1], task)
                met.pop(old[-1], None)
        met[task.step] = task.cell_id

    def _rename(self, old: str, task: Task) -> None:
        """Place, history and record stay; what the names mean comes from the new name now."""
        pipe, new = self.ledger.pipe, task.step
        meanings = {
            name: replace(meaning, maker=new)
            for name, meaning in pipe.meanings.items()
            if meaning.maker == old
        }
        head = pipe.heads.get(old)
        self.ledger.commit(
            lambda _: keeping.run_of(
                task,
                "renamed",
                reason=f"{old} is now {new}",
                heads={old: None, **({new: head} if head else {})},
                meanings=dict(meanings),
            )
        )
        for name, binding in list(self.space.bindings.items()):
            if binding.maker == old:
                self.space.bindings[name] = replace(binding, maker=new)
        if old in self.set_up:
            self.set_up.add(new)

    def task(
        self,
        line: StepLine,
        source: str,
        transformed: str,
        cell_id: str = "",
        *,
        is_asked: bool = True,
    ) -> Task:
        """A step's cell with what its text says."""
        names = cell_names.analyse(transformed)
        if line.stdin is not None:
            names = replace(names, reads=names.reads | {AccessPath(STEP_VALUE + line.stdin)})
        normal = cell_source.normal(transformed)
        return Task(line, source, transformed, names, normal, cell_id, is_asked)

    def task_of(self, step: str) -> Task:
        """A step of the job from the source last seen for it."""
        seen = self.ledger.pipe.seen[step]
        known = self.tasks.get(step)
        if known is None or keeping.seen(known) != seen:
            line = cell_source.parse_line(seen.options)
            transformed = self.shell.transform_cell(seen.source)
            known = self.task(line, seen.source, transformed, seen.cell_id, is_asked=False)
            self.tasks[step] = known
        return known

    def _enter_plain(self, transformed: str) -> None:
        names = cell_names.analyse(transformed)
        wanted = names.mentions | {path.name for path in names.reads}
        if names.is_dynamic:
            wanted |= self.space.dormant()
        self._run_setups(self.ledger.pipe.order, wanted)
        self.load(wanted)
        self._load_unders(transformed)
        self.plain = (names, graph.reach(wanted, self._reads_of))

    def _reads_of(self, name: str) -> Iterable[str]:
        binding = self.space.bindings.get(name)
        version = binding.version if binding else None
        return [*(path.name for path in version.reads), *version.needs] if version else ()

    def load(self, names: Iterable[str]) -> None:
        """Load dormant names, with what their code reads.

        What could not be kept, or does not load any more, is made again by running its steps.
        """
        names = list(names)
        for name in sorted(graph.reach(names, self._reads_of)):
            binding = self.space.bindings.get(name)
            if binding is None or binding.is_resident or binding.version is None:
                continue
            if name in self.space.junk:
                continue
            if binding.version.kind == "lost":
                self._make_again(name, binding.version, binding.maker)
                continue
            try:
                self.space.load([name])
            except Exception as error:  # damage, a library gone, a user's __setstate__
                flaw = str(error) if isinstance(error, PipeStateError) else repr(error)
                self._make_again(name, replace(binding.version, flaw=flaw), binding.maker)
        self._tell_pending()

    def unload(self, names: Iterable[str]) -> list[str]:
        """Take names out of memory that the store keeps as they are; those that went."""
        names = [name for name in names if self.space.is_current(name)]
        self.space.verify(names, Phase(self.ledger.batch().put))
        kept = [name for name in names if self.space.bindings[name].record]
        for name in sorted(set(names) - set(kept)):
            self.tell(f"`{name}` stays: no step has kept it as it is now")
        self.space.unload(kept)
        return kept

    def _tell_pending(self) -> None:
        for line in ambient.apply_pending():
            self.tell(line)

    def _make_again(self, name: str, version: Version, upto: str) -> None:
        """Run the steps that made a value that could not be kept, and those that used it since."""
        steps = cascade.makers_of(self.ledger, name, upto)
        if not steps or any(step not in self.ledger.pipe.seen for step in steps):
            raise UsageError(
                f"`{name}` ({version.types.get(name, '')}) is not to be had: {version.flaw}",
                "run the cell that makes it again",
            )
        runs = " and ".join(steps)
        self.tell(
            f"`{name}` could not be {'kept' if version.kind == 'lost' else 'loaded'} "
            f"({version.flaw}): {runs} runs again to make it"
            + ("; --setup makes it in every kernel" if version.kind == "lost" else "")
        )
        for step in steps:
            self.run_other(step, because("lost", name, detail=version.flaw))

    def _enter_step(self, task: Task, tree: ast.Module) -> ast.Module:
        order = self.place(task)
        self._check_stdin(task)
        self._run_setups(graph.above(order, task.step), None)
        if self.settings.mode != "manual":
            self.bring_up(task)
        outlook = self.outlook(task)
        verdict = self.verdict(task, outlook)
        if not isinstance(verdict, Reason):
            messages = self._displays(verdict[1])
            if messages is not None:
                self._restore(task, *verdict, messages)
                return ast.Module(body=[], type_ignores=[])
            verdict = because("damaged", detail="what it showed")
        self.running = self.start(task, outlook, verdict)
        return tree

    def _check_stdin(self, task: Task) -> None:
        step = task.line.stdin
        if step is not None and step not in self.ledger.pipe.heads:
            known = ", ".join(self.ledger.pipe.heads) or "none yet"
            raise UsageError(f"there is no step `{step}` to read from", f"the steps are: {known}")

    def outlook(self, task: Task) -> Outlook:
        """What stands before a task's step."""
        pipe = self.ledger.pipe
        order = self.place(task)
        steps = graph.above(order, task.step)
        held = graph.standing(steps, pipe.heads, self.ledger.record)
        phase = Phase(self.ledger.batch().put)
        return Outlook(
            task.step,
            self.space,
            held,
            order,
            self.settings.direction,
            phase,
            self.ledger.head,
            self.ledger.record,
            graph.givens((*pipe.order, task.step), pipe.heads, self.ledger.record),
        )

    def place(self, task: Task) -> tuple[str, ...]:
        """The steps in their places, with this one among them."""
        pipe, after = self.ledger.pipe, task.line.after
        if after is not None and (after not in pipe.order or after == task.step):
            raise UsageError(
                f"there is no step `{after}` for {task.step} to stand after",
                f"the steps are: {', '.join(pipe.order) or 'none yet'}",
            )
        ids = {step: seen.cell_id for step, seen in pipe.seen.items()}
        ids[task.step] = task.cell_id or ids.get(task.step, "")
        own = {step: name for step, seen in pipe.seen.items() if (name := _after(seen.options))}
        own.pop(task.step, None)
        if after is not None:
            own[task.step] = after
        saved = notebooks.cell_ids(notebooks.path_of(self.shell.user_ns, self.start_folder))
        return places.order_for(task.step, pipe.order, Cells(ids, saved, own))

    def verdict(self, task: Task, outlook: Outlook) -> Reason | tuple[Digest, Record]:
        """The record to restore, or why the body runs."""
        line = task.line
        asked = {"forced": line.force, "setup": line.setup, "always": line.always}
        for kind, is_so in asked.items():
            if is_so:
                return because(kind)
        if outlook.is_dynamic(task.names):
            return because("dynamic", "eval, exec or globals()")
        first: Reason | None = None
        world = self.world(task, outlook)
        for digest, record in self.ledger.candidates(task.step):
            reason = judge(record, world)
            if reason is None:
                return digest, record
            first = first or reason
        return first or because("new")

    def world(self, task: Task, outlook: Outlook) -> World:
        """What a task's records are judged against."""
        steps = graph.above(outlook.order, task.step)
        settings = surroundings.standing(self._records(steps))
        below = outlook.order[len(steps) + 1 :]
        return World(
            normal=task.normal,
            lookup=outlook.lookup,
            joint=outlook.joint,
            packages=modules.stamps,
            files=lambda record: _judge_files(record, self._records(steps), self._records(below)),
            ambient={key: setting.digest for key, setting in settings.items()},
        )

    def start(self, task: Task, outlook: Outlook, reason: Reason) -> Running:
        """Put in place what a body should find, and begin to watch it."""
        steps = graph.above(outlook.order, task.step)
        self._remake_lost(outlook, task)
        modules.reload_edited(self._modules(task))
        batch = self.ledger.batch()
        prepared = trial.prepare(task, outlook, self.ledger, Phase(batch.put))
        self._bind_stdin(task)
        settings = self._put_surroundings(steps)
        capture, watch = outputs.Capture(), files.Watch(self.ledger.store.path)
        watch.start()
        now = ambient.snapshot()
        asked: dict[str, Input] = {}
        hearing = contextlib.ExitStack()
        hearing.enter_context(job.heard_by(lambda ledger, one: self._hear(asked, ledger, one)))
        capture.start(self.shell)
        started = time.time()
        return Running(
            prepared, reason, batch, capture, watch, now, settings, started, asked, hearing
        )

    def _hear(self, asked: dict[str, Input], ledger: Ledger, step: str) -> None:
        """A value that the body asks a job for is an input of its step."""
        if ledger.job == self.ledger.job and ledger.store.path == self.ledger.store.path:
            found = value_found(step, ledger.head(step))
            path = AccessPath(STEP_VALUE + step)
            asked[step] = Input(path, found.whole, found.whole, found.maker)

    def _remake_lost(self, outlook: Outlook, task: Task) -> None:
        for name in sorted(outlook.touched(outlook.paths(task.names))):
            want = outlook.wanted(name)
            if want is not None and want.version is not None and want.version.kind == "lost":
                if not self._is_at_hand(name, want.version, want.maker):
                    self._make_again(name, want.version, want.maker)

    def _is_at_hand(self, name: str, version: Version, maker: str) -> bool:
        """Whether a value that cannot be kept is in memory, and no plain cell has used it up."""
        now = self.space.bindings.get(name)
        if now is None or now.version is not version or not self.space.is_current(name):
            return False
        is_set_up = "--setup" in self.ledger.pipe.seen[maker].options
        return is_set_up or name not in self.space.suspects

    def _bind_stdin(self, task: Task) -> None:
        """Bind `_` to the value of the step after `<`."""
        step = task.line.stdin
        head = self.ledger.head(step) if step is not None else None
        if head is None:
            return
        version = head.version_of(VALUE)
        if version is not None:
            value = self.space.values(version)[VALUE]
        else:
            value = {}
            for known in head.outputs:
                value |= self.space.values(known)
        self._set_under(value)

    def _set_under(self, value: object) -> None:
        """Let `_` mean a value, until the next result is displayed."""
        self.shell.displayhook._ = value  # noqa: SLF001 - IPython's own name for it
        self.shell.push({"_": value}, interactive=False)

    def give_up(self) -> None:
        """Something went wrong in pipestate itself: the cell that runs is a plain one."""
        running, self.running = self.running, None
        if running is not None:
            running.capture.stop()
            running.watch.stop()
            running.hearing.close()
        self.plain = None
        self.space.notice([*trial.visible(self.space.ns), *self.space.bindings])

    # --- other steps ---------------------------------------------------------------------------

    def bring_up(self, task: Task) -> None:
        """Run the stale steps above that a task needs, in order; see `cascade`."""
        fresh: set[str] = set()
        for _ in range(len(self.ledger.pipe.order) + 1):
            outlook = self.outlook(task)
            steps = cascade.needed_by(self, task, outlook, self._analysis)
            found = cascade.next_stale(self, steps, fresh)
            if found is None:
                return
            step, verdict = found
            if isinstance(verdict, Reason):
                self.run_other(step, verdict, asked=task.step)
            else:
                self._restore(self.task_of(step), *verdict, None)
            fresh.clear()

    def plan(self, steps: Iterable[str]) -> list[Planned]:
        """What bringing steps up to date would run and restore, and why, as far as can be told.

        What lies below a step that runs is only judged once that one has run: it may come out equal.
        """
        states = {one.name: one for one in self.statuses()}
        wanted = self._with_needs(steps)
        return [
            Planned(
                step,
                "run" if states[step].state != "fresh" else "restore",
                states[step].reason,
                states[step].seconds,
            )
            for step in wanted
        ]

    def _with_needs(self, steps: Iterable[str]) -> tuple[str, ...]:
        wanted: set[str] = set()
        for step in steps:
            wanted.add(step)
            if step in self.ledger.pipe.seen:
                task = self.task_of(step)
                wanted.update(cascade.needed_by(self, task, self.outlook(task), self._analysis))
        return tuple(step for step in self.ledger.pipe.order if step in wanted)

    def run_steps(
        self, steps: Iterable[str], progress: Callable[[str, int, int], None]
    ) -> list[str]:
        """Bring steps up to date with what they need, in order, each once; the steps that ran.

        Raises UsageError at the first that fails, with what was done and what was not.
        """
        wanted = self._with_needs(steps)
        ran: list[str] = []
        for number, step in enumerate(wanted):
            if step not in self.ledger.pipe.seen:
                continue
            progress(step, number, len(wanted))
            task = replace(self.task_of(step), is_asked=True)
            verdict = self.verdict(task, self.outlook(task))
            if not isinstance(verdict, Reason):
                self._restore(task, *verdict, None)
                continue
            if task.line.setup and step in self.set_up:
                continue
            self.set_up.update([step] if task.line.setup else [])
            if self._run(task, verdict) is not None:
                left = ", ".join(wanted[number + 1 :]) or "nothing"
                done = ", ".join(ran) or "nothing"
                raise UsageError(f"{step} failed; done: {done}; not done: {left}", f"mend {step}")
            ran.append(step)
        return ran

    def _analysis(self, step: str) -> Names | None:
        return self.task_of(step).names if step in self.ledger.pipe.seen else None

    def _run_setups(self, steps: Iterable[str], names: frozenset[str] | None) -> None:
        """Run the setup steps among `steps` that this kernel has not run, or those for `names`."""
        for step in steps:
            seen = self.ledger.pipe.seen.get(step)
            if seen is None or step in self.set_up or "--setup" not in seen.options:
                continue
            head = self.ledger.head(step)
            made = head.made if head else ()
            if names is None or not names.isdisjoint(made):
                self.set_up.add(step)
                self.run_other(step, because("setup"))

    def run_other(self, step: str, reason: Reason, *, asked: str = "") -> None:
        """Run a step for another's sake, from the source last seen for it.

        Raises UsageError where it fails: what asked for it does not run.
        """
        error = self._run(self.task_of(step), reason)
        if error is not None:
            who = f"{asked} did not run" if asked else "this cell did not run"
            raise UsageError(f"{who}: {step}, which it needs, failed", f"mend {step} and run it")

    def _run(self, task: Task, reason: Reason) -> BaseException | None:
        """Run a step inside the cell that runs now; what it raised."""
        outer = self.running
        self.running = running = self.start(task, self.outlook(task), reason)
        try:
            error = self.run_body(task)
            self._end(running, error)
        finally:
            self.running = outer
        return error

    # --- restore -------------------------------------------------------------------------------

    def _restore(
        self,
        task: Task,
        digest: Digest,
        record: Record,
        messages: tuple[dict[str, Any], ...] | None,
    ) -> None:
        """Bind what a record holds, dormant, and show what it showed."""
        started = time.time()
        self._make_session(record)
        found = keeping.bindings_of(task, digest, record)
        head = self.ledger.head(task.step)
        outlook = self.outlook(task)
        for name in set(head.made if head else ()) - found.keys():
            now = self.space.bindings.get(name)
            if now is not None and now.maker == task.step:
                found[name] = outlook.wanted(name)
        changes = {n: b for n, b in found.items() if not self._is_held(n, found)}
        if not task.is_asked:
            changes = {n: b for n, b in changes.items() if self._is_free(n, task.step)}
        heads = {task.step: digest} if self.ledger.pipe.heads.get(task.step) != digest else {}
        meanings = keeping.meanings_of(changes, (), digest)
        known = self.ledger.pipe.meanings
        self.ledger.commit(
            lambda _: keeping.run_of(
                task,
                "restored",
                started=started,
                seconds=time.time() - started,
                record=digest,
                heads=dict(heads),
                meanings={n: m for n, m in meanings.items() if known.get(n) != m},
                order=self._new_order(task),
            )
        )
        for name, binding in changes.items():
            if binding is None:
                self.space.drop(name)
            elif not self._is_resident(name, binding):
                self.space.bind(name, binding)
        for line in surroundings.put(surroundings.standing([record]), self.space):
            self.tell(line)
        if self.settings.restore == "eager":
            self.load(changes)
        if messages is not None:
            self.show(Told(task.step, "restored", record.seconds))
            self._replay(record, messages)

    def _replay(self, record: Record, messages: tuple[dict[str, Any], ...]) -> None:
        version = record.version_of(VALUE)
        outputs.replay(self.shell, messages)
        if version is not None and any(m["output_type"] == "execute_result" for m in messages):
            number = self.shell.displayhook.prompt_count
            self.unders.waiting[number] = version
            self.unders.last = (number, self.shell.displayhook._)  # noqa: SLF001

    def _load_unders(self, transformed: str) -> None:
        """Load the restored results that `_`, `_3` or `Out` in a cell's text would mean."""
        if not self.unders.waiting or not _UNDERS.search(transformed):
            return
        hook = self.shell.displayhook
        for number, version in self.unders.waiting.items():
            value = self.space.values(version)[VALUE]
            self.space.ns[f"_{number}"] = self.space.ns["_oh"][number] = value
            if self.unders.last is not None and self.unders.last[0] == number:
                if hook._ is self.unders.last[1]:  # noqa: SLF001 - nothing was displayed since
                    self._set_under(value)
        self.unders = Unders()

    def _displays(self, record: Record) -> tuple[dict[str, Any], ...] | None:
        if record.displays is None:
            return ()
        try:
            return displays.from_bytes(bytes(self.ledger.fetch(record.displays)))
        except StoreError as error:
            self.tell(f"{record.step}: {error}")
            return None

    def _make_session(self, record: Record) -> None:
        """Run the magics again that set the session up."""
        for statement in record.session:
            code = compile(statement, "<pipestate session>", "exec", dont_inherit=True)
            exec(code, self.space.ns)

    def _is_held(self, name: str, found: Mapping[str, Binding | None]) -> bool:
        """Whether a name means a later step's version that holds this one unchanged."""
        binding, now = found[name], self.space.bindings.get(name)
        if binding is None or binding.version is None or now is None:
            return False
        if now.maker in ("", binding.maker) or name in self.space.suspects:
            return False
        order = self.ledger.pipe.order
        if now.maker not in order or order.index(now.maker) < _index(order, binding.maker):
            return False
        names = [n for n in binding.version.names if n != VALUE]
        return trial.holds(self.space.bindings, binding.version, names)

    def _is_resident(self, name: str, binding: Binding) -> bool:
        """Whether the object in memory is this version already."""
        now = self.space.bindings.get(name)
        if now is None or binding.version is None or not self.space.is_current(name):
            return False
        if name in self.space.suspects:
            self.space.verify([name], Phase(self.ledger.batch().put))
            now = self.space.bindings[name]
        return now.means(binding.maker, binding.version)

    def _is_free(self, name: str, step: str) -> bool:
        now = self.space.bindings.get(name)
        return now is None or now.maker == step

    # --- after ---------------------------------------------------------------------------------

    def leave(self, error: BaseException | None) -> None:
        """Called after every cell, with what its body raised."""
        if self.running is not None:
            running, self.running = self.running, None
            self._end(running, error)
        elif self.plain is not None:
            (names, reached), self.plain = self.plain, None
            self._leave_plain(names, reached)
        self._tell_pending()

    def _leave_plain(self, names: Names, reached: frozenset[str]) -> None:
        may = set(names.binds | names.may_bind | names.deletes | names.mentions)
        if names.is_dynamic or names.stars or "get_ipython" in names.mentions:
            may |= trial.visible(self.space.ns).keys() | self.space.bindings.keys()
        for name in reached:
            binding = self.space.bindings.get(name)
            if binding is not None and binding.version is not None:
                may |= set(binding.version.writes)
        changed = self.space.notice(may, reached)
        self.space.suspect(reached - set(changed))
        if names.imports or names.definitions or names.stars:
            task = Task(StepLine("plain"), "", "", names, "")
            trial.sources(task, self.space, frozenset(may))
            modules.watch(self._modules(task))
            self._remember_imports()

    def new_imports(self) -> dict[str, str]:
        """The import statements known here that the job does not remember yet."""
        known = self.ledger.pipe.imports
        return {
            name: source.text
            for name, (source, value) in self.space.sources.items()
            if source.kind == "import"
            and self.space.ns.get(name) is value
            and known.get(name) != source.text
        }

    def _remember_imports(self) -> None:
        """Keep new imports, in a job that has begun; else they go along with its first step."""
        imports = self.new_imports()
        if imports and self.ledger.pipe.number:
            self.ledger.commit(lambda _: Run(0, "", "", "noted", imports=imports))

    def _end(self, running: Running, error: BaseException | None) -> None:
        seconds = time.time() - running.started
        shown = running.capture.stop()
        touched = running.watch.stop()
        running.hearing.close()
        task = running.trial.task
        try:
            if error is None:
                self._keep(running, shown, touched, seconds)
            else:
                self._fail(running, error, seconds)
        except (StoreError, PackError) as problem:
            self.tell(f"{task.step} was not kept, its values stand in memory: {problem}")
            self.space.notice([*trial.visible(self.space.ns), *running.trial.objects])

    def _fail(self, running: Running, error: BaseException, seconds: float) -> None:
        task = running.trial.task
        trial.abandon(running.trial)
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        self.ledger.commit(
            lambda _: keeping.run_of(
                task,
                "failed",
                reason=text,
                started=running.started,
                seconds=seconds,
                order=self._new_order(task),
            ),
            batch=running.batch,
        )

    def _keep(
        self, running: Running, shown: outputs.Shown, touched: files.Touched, seconds: float
    ) -> None:
        task, before = running.trial.task, running.trial
        phase = Phase(running.batch.put, writes=True)
        changed = ambient.changes(running.ambient, ambient.snapshot())
        result = trial.outcome(before, shown.value, shown.has_value, phase)
        left = surroundings.outputs(changed, running.settings, seeds=task.names.seeds)
        messages = shown.messages
        used = self._modules(task)
        modules.watch(used)
        record = keeping.record_of(
            before,
            result,
            Circumstances(
                started=running.started,
                seconds=seconds,
                displays=running.batch.put(displays.to_bytes(messages)) if messages else None,
                ambient=surroundings.keep(left, phase),
                moved=surroundings.inputs(running.settings, changed),
                packages=modules.stamps(used),
                files_read=_all_read(touched, task),
                files_written=touched.states_written(),
                is_done=self._is_done(task, shown),
                is_volatile=before.is_dynamic,
                asked=tuple(running.asked.values()),
            ),
        )
        changes = trial.meanings(before, result)
        run = self.ledger.commit(
            lambda digest: keeping.run_of(
                task,
                "ran",
                reason=str(running.reason),
                started=running.started,
                seconds=seconds,
                record=digest,
                heads={task.step: digest},
                meanings=keeping.meanings_of(changes, before.givens, digest or ""),
                imports=self.new_imports(),
                order=self._new_order(task),
            ),
            record=record,
            batch=running.batch,
        )
        trial.adopt(before, changes, run.record or "")
        self._take_givens(before, run.record or "")
        if task.line.setup:
            self.set_up.add(task.step)
        is_first = running.reason.kind == "new"
        told = Told(task.step, "ran", seconds, str(running.reason), result.flaws, is_first)
        self.show(told)

    def _modules(self, task: Task) -> set[str]:
        """The modules that the step's source, or the code it reached, imports."""
        found = {_module_of(line.statement) for line in task.names.imports} | set(task.names.stars)
        wanted = task.names.mentions | {path.name for path in task.names.reads}
        for name in graph.reach(wanted, self._reads_of):
            binding = self.space.bindings.get(name)
            if binding is not None and binding.version and binding.version.kind == "import":
                found.add(_module_of(binding.version.source))
            source, value = self.space.sources.get(name, (None, None))
            if source is not None and source.kind == "import" and self.space.ns.get(name) is value:
                found.add(_module_of(source.text))
        return found

    def _is_done(self, task: Task, shown: outputs.Shown) -> bool:
        key = task.line.done
        if key is None:
            return True
        if shown.has_value and isinstance(shown.value, Mapping) and key in shown.value:
            return bool(shown.value[key])
        return bool(self.space.ns.get(key, False))

    def _take_givens(self, before: Trial, record: Digest) -> None:
        """What was given to the step is kept with its record now."""
        for version in before.givens:
            for name in version.names:
                known = self.space.bindings.get(name)
                if known is None or known.record or known.version is None:
                    continue
                if known.version.digest == version.digest:
                    self.space.bindings[name] = Binding(
                        known.maker, record, version, known.obj, known.amended
                    )

    def _new_order(self, task: Task) -> tuple[str, ...] | None:
        order = self.place(task)
        return order if order != self.ledger.pipe.order else None

    # --- looking -------------------------------------------------------------------------------

    def statuses(self) -> list[StepStatus]:
        """Every step with its state, judged with what this kernel holds."""
        self.refresh()
        return status.statuses(self.ledger.pipe, self.ledger.record, self._world_of)

    def _world_of(self, step: str, _held: Standing) -> World:
        if step in self.ledger.pipe.seen:
            task = self.task_of(step)
            return self.world(task, self.outlook(task))
        head = self.ledger.head(step)
        line = StepLine(step)
        task = Task(line, "", "", cell_names.analyse(""), head.normal if head else "")
        return self.world(task, self.outlook(task))


_UNDERS = re.compile(r"(?<!\w)(?:_{1,3}|_\d+|_oh|Out)(?!\w)")


def _after(options: str) -> str:
    """The step after which a line's `--after` says that its step stands."""
    return cell_source.parse_line(options).after or "" if "--after" in options else ""


def _index(order: tuple[str, ...], step: str) -> int:
    return order.index(step) if step in order else len(order)


def _module_of(statement: str) -> str:
    """The module that an import statement imports from."""
    return statement.split()[1]


def _all_read(touched: files.Touched, task: Task) -> tuple[FileState, ...]:
    seen = {one.path: one for one in touched.states_read()}
    for path in task.line.reads:
        one = files.state(path)
        seen.setdefault(one.path, one)
    return tuple(seen.values())


def _judge_files(record: Record, above: list[Record], below: list[Record]) -> Reason | None:
    """Whether the files are as they were: a reader is judged by the last writer above it, and only
    the last writer of all by the disk."""
    written = {one.path: one for left in above for one in left.files_written}
    rewritten = {one.path for left in below for one in left.files_written}
    own = {one.path for one in record.files_written}
    for one in record.files_read:
        if one.path in written:
            if written[one.path].digest != one.digest:
                return because("file", one.path)
        elif one.path not in own and one.path not in rewritten and not files.is_same(one):
            return because("file", one.path)
    for one in record.files_written:
        if one.path not in rewritten and not files.is_same(one):
            return because("missing", one.path)
    return None
