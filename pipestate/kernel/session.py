"""The life of a cell: before it, decide whether to run or restore, run, and after it.

    enter ──┬─ plain: setup steps, load what it names
            └─ step:  setup steps, what is stale above it, judge ──┬─ restore, replay
                                                                  └─ start the run
    leave ──┬─ plain: notice what it bound, suspect what it touched
            └─ step:  end the run

A session keeps what lies between the two; the work is done by `cascade`, `restores` and `runs`
on its `bench`. It also follows the job: other processes add to it, and the user may change it.
"""

from __future__ import annotations

import ast
import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from .. import job
from ..cell import names as cell_names
from ..cell import source as cell_source
from ..cell.names import Names
from ..cell.source import StepLine
from ..errors import DamageError, StoreError, UsageError, in_short
from ..ledger import Ledger
from ..pipe import graph
from ..pipe.status import Reason, because
from ..record import Blob, Digest, Meaning, Record, Run, Text
from ..store.content import View
from . import (
    absences,
    ambient,
    bindings,
    cascade,
    keeping,
    modules,
    news,
    redefined,
    restores,
    runs,
    statements,
    turns,
)
from .absences import Absence
from .bench import Bench, Doors, Settings
from .bindings import Binding, Origin
from .namespace import Namespace, Past
from .restores import Unders
from .runs import Running
from .trial import Task
from .visible import Visible

LOOKED_AT: Final = 64 << 10
"""The bytes up to which it is found out at once whether a plain cell has worked on a value, or only
looked at it."""


class Plain(Struct, frozen=True):
    """A plain cell on its way: what its text says, the names it reaches, the text, and its id."""

    names: Names
    reached: frozenset[str]
    text: str
    cell: str = ""


class Session(Struct):
    """One kernel and the job that it works on, from cell to cell."""

    bench: Bench
    running: Running | None = None
    plain: Plain | None = None
    outer: list[Plain | bool | None] = field(default_factory=list)
    unders: Unders = field(default_factory=Unders)
    fault: str = ""
    absences: dict[tuple[Any, str], Absence] = field(default_factory=dict)

    @classmethod
    def open(cls, shell: Any, ledger: Ledger, settings: Settings, doors: Doors) -> Session:
        """A session of this shell with a job; what the namespace holds counts as plain cells'."""

        def put(data: bytes | View, **how: Any) -> Blob:
            return session.bench.put(data, **how)

        space = Namespace(shell.user_ns, Visible(shell.user_ns), ledger.fetch, put)
        session = cls(Bench(shell, ledger, settings, doors, space))
        space.past = Past(
            lambda name, digest: session.ledger.definition(name, digest),
            lambda name, digest, record: session.ledger.is_same_object(name, digest, record),
        )
        space.hidden = shell.user_ns_hidden
        space.notice(space.visible.now())
        session._take_meanings()
        return session

    @property
    def ledger(self) -> Ledger:
        """The job in use."""
        return self.bench.ledger

    @property
    def space(self) -> Namespace:
        """The kernel's bindings."""
        return self.bench.space

    # --- the job -------------------------------------------------------------------------------

    def use(self, ledger: Ledger) -> None:
        """Go over to another job: what is resident stays as plain cells' values, the rest goes.

        Back in a job, what its steps made means that again.
        """
        is_same = _place(self.ledger) == _place(ledger)
        bindings = {} if is_same else self.space.bindings
        made = {name: known.version for name, known in bindings.items() if known.maker}
        self.absences[_place(self.ledger)] = absences.begin(self.bench)
        self.bench.ledger = ledger
        self.space.fetch = ledger.fetch
        self.bench.memory.clear()
        ambient.drop_pending()
        known = self.absences.pop(_place(ledger), None)
        absences.end(self.bench, known or absences.nowhere_yet(), made)
        self._take_meanings()

    def _take_meanings(self) -> None:
        """Let names mean what the job says they mean, where this kernel has nothing of its own."""
        self.ledger.read_heads()
        pipe, space = self.ledger.pipe, self.space
        for name, meaning in pipe.meanings.items():
            if name not in space.bindings and name not in space.ns:
                version = news.version_of(self.bench, name, meaning)
                if version is not None:
                    news.declare(self.bench, name, meaning, version)
        for name, statement in pipe.imports.items():
            if name not in space.bindings and name not in space.ns:
                version = keeping.import_version(name, statement)
                space.declare(name, Binding(version=version))
        runs.put_surroundings(self.bench, self.bench.layers(pipe.order))

    def refresh(self) -> None:
        """Take up what other processes have added: names mean what they have made of them."""
        news.follow(self.bench)
        if self.ledger.is_anew:
            self._go_over()

    def _go_over(self) -> None:
        """Another store stands in the place of the one that was in use, or none does."""
        ledger, bindings = self.ledger, self.space.bindings
        ledger.is_anew = False
        turns.forgo(self.bench)  # it is a lease of the other store
        self.unders.waiting.clear()
        makers = {name: bindings[name].maker for name in self.space.dormant()}
        self._let_go_of_store()
        gone = {n: maker for n, maker in makers.items() if n not in bindings}
        self.bench.memory.gone.update(gone)
        what = "is another one now" if ledger.store.identity() else "was deleted"
        rest = f"; not in memory, and gone: {', '.join(sorted(gone))}" if gone else ""
        self.bench.tell(f"the store {ledger.store.path} {what}: what is in memory stays{rest}")

    def _let_go_of_store(self) -> None:
        """What is resident stays, as plain cells' values where the store that is there now does not
        hold that very record; the rest goes."""
        space, meanings = self.space, self.ledger.pipe.meanings
        for name, binding in list(space.bindings.items()):
            means = meanings.get(name)
            if not binding.is_resident:
                space.drop(name)
            elif not (binding.maker and means and means.record == binding.record):
                texts = () if binding.maker else binding.texts
                space.bindings[name] = Binding(obj=binding.obj, origin=Origin(texts=texts))
        space.earlier.clear()
        space.plain.clear()
        self.absences.clear()
        self.bench.memory.clear()
        ambient.drop_pending()
        self._take_meanings()

    def _check_gone(self, names: Names) -> None:
        """Refuse a cell that reads what went with a store, before anything changes."""
        for name in sorted({path.name for path in names.reads} & self.bench.memory.gone.keys()):
            if name not in self.space.bindings and name not in self.space.ns:
                step = self.bench.memory.gone[name]
                cell = f"the cell of {step}, which makes it" if step else "the cell that makes it"
                raise UsageError(f"`{name}` is gone with the store that held it", f"run {cell}")

    # --- before --------------------------------------------------------------------------------

    def enter(
        self, raw: str, transformed: str, cell_id: str, tree: ast.Module, is_nested: bool
    ) -> ast.Module:
        """Called with every cell before its body; gives the body to run.

        Raises PipeStateError for a cell that must not run.
        """
        if not is_nested:
            self._end_all()
        if self.running is not None:  # the body of a step runs a cell: it is part of that body
            self.outer.append(True)
            return tree
        self.outer.append(self.plain)
        self.plain = None
        self.bench.memory.helpers.clear()
        split = cell_source.split_cell(raw)
        try:
            if split is not None:
                turns.foresee(self.bench, split[0], cell_source.without_mark(transformed))
            try:
                self.refresh()
            except StoreError as error:
                self._enter_without(transformed, split is not None, str(error), cell_id)
                return tree
            if split is not None:
                line = cell_source.parse_line(split[0])
                return self._enter_step(self.bench.task(line, split[1], transformed, cell_id), tree)
        finally:
            turns.forgo(self.bench)
        # The words after `%pipe` are for it alone: `%pipe unload df` must not load df first.
        self._meet_plain(cell_id)
        self._enter_plain("" if _is_pipe_line(raw) else transformed, cell_id)
        return tree

    def _enter_without(self, transformed: str, is_step: bool, fault: str, cell: str) -> None:
        """The store is not to be had: what runs is a plain cell with what is in memory."""
        if is_step or fault != self.fault:
            self.fault = fault
            self.bench.tell(f"off, nothing is kept: {fault}")
        names = cell_names.analyse(transformed)
        wanted = names.mentions | {path.name for path in names.reads}
        self.plain = Plain(names, graph.reach(wanted, self.bench.reads_of), transformed, cell)

    def _meet_plain(self, cell: str) -> None:
        """A cell that was a step and is none any more: the notebook has no such step now."""
        if not cell:
            return
        met = self.bench.memory.cells
        for step in self.bench.steps_of(cell):
            if met.get(step, cell) == cell:
                try:
                    self.drop(step)
                except StoreError as error:
                    self.bench.tell(f"{step} stays a step, it could not be dropped: {error}")
                    continue
                self.bench.tell(f"{step} is no step any more: its cell has no `%%step` line")

    def _enter_plain(self, transformed: str, cell: str) -> None:
        names = cell_names.analyse(transformed)
        self._check_gone(names)
        wanted = names.mentions | {path.name for path in names.reads}
        if names.is_dynamic:
            wanted |= self.space.dormant()
        cascade.run_setups(self.bench, self.ledger.pipe.order, wanted)
        cascade.load(self.bench, wanted)
        self.unders.load(self.bench, transformed)
        reached = graph.reach(wanted, self.bench.reads_of)
        self.plain = Plain(names, reached, transformed, cell)

    def _check(self, task: Task) -> None:
        """Refuse a line that names steps which are not there, before anything changes."""
        self.bench.place(task)
        step = task.line.stdin
        if step is not None and step not in self.ledger.pipe.heads:
            known = in_short(self.ledger.pipe.heads) or "none yet"
            raise UsageError(f"there is no step `{step}` to read from", f"the steps are: {known}")

    def _enter_step(self, task: Task, tree: ast.Module) -> ast.Module:
        self._check(task)
        self._check_gone(task.names)
        self._meet_cell(task)
        running = cascade.again(self.bench, lambda: self._begun(task))
        if running is None:
            return ast.Module(body=[], type_ignores=[])
        self.running = running
        return tree

    def _begun(self, task: Task) -> Running | None:
        """The run of a step, or None where it was restored."""
        bench = self.bench
        try:
            cascade.run_setups(bench, bench.above(task))
            is_alone = bench.settings.mode == "manual"
            outlook = (cascade.warn if is_alone else cascade.bring_up)(bench, task)
            reason = self._restored(task, bench.verdict(task, outlook))
            if reason is not None:
                lease, verdict = turns.take(bench, task, reason)
                reason = self._restored(task, verdict)
            if reason is None:
                return None
            outlook = cascade.make_ready(bench, task, lease, outlook)
        except UsageError as refused:
            runs.note_failure(bench, task, refused)
            raise
        return runs.start(bench, task, outlook, reason, lease)

    def _restored(self, task: Task, verdict: Reason | tuple[Digest, Record]) -> Reason | None:
        """Restore what is fresh and show what it showed; or the reason why the body must run."""
        if isinstance(verdict, Reason):
            return verdict
        bench = self.bench
        messages = restores.shown_by(bench, verdict[1])
        if messages is None:
            return because("damaged", detail="what it showed")
        try:
            restores.restore(bench, task, *verdict)
        except DamageError as error:  # another process may have reclaimed its space
            return because("damaged", detail=error.message)
        if bench.settings.restore == "eager":
            cascade.load(bench, verdict[1].made)
        restores.replay(bench, self.unders, task.step, verdict[1], messages)
        return None

    def _meet_cell(self, task: Task) -> None:
        """The same cell under another name is a rename; another cell of the same name is said."""
        if not task.cell_id:
            return
        self.space.plain.begin(task.cell_id, time.time())  # it may have been a plain cell before
        pipe, met = self.ledger.pipe, self.bench.memory.cells
        if met.get(task.step, task.cell_id) != task.cell_id:
            self.bench.tell(f"two cells are named {task.step}; the one that ran last counts")
        if task.step not in pipe.order:
            old = self.bench.steps_of(task.cell_id)
            if old:
                self._rename(old[-1], task)
                met.pop(old[-1], None)
        met[task.step] = task.cell_id

    def _rename(self, old: str, task: Task) -> None:
        """Place, history and record stay; what the names mean comes from the new name now."""
        pipe, new = self.ledger.pipe, task.step
        meanings = {
            name: meaning.replace(maker=new)
            for name, meaning in pipe.meanings.items()
            if meaning.maker == old
        }
        head = pipe.heads.get(old)
        try:
            self.ledger.commit(
                lambda _: keeping.run_of(
                    task,
                    "renamed",
                    reason=f"{old} is now {new}",
                    heads={old: None, **({new: head} if head else {})},
                    meanings=dict(meanings),
                )
            )
        except StoreError as error:  # full or closed: it is a new step then
            self.bench.tell(f"that {old} is now {new} could not be written down: {error}")
            return
        bindings = self.space.bindings
        for name, binding in bindings.items():
            if binding.maker == old:
                bindings[name] = replace(binding, maker=new)
        if old in self.bench.memory.set_up:
            self.bench.memory.set_up.add(new)

    # --- after ---------------------------------------------------------------------------------

    def leave(self, error: BaseException | None) -> None:
        """Called after every cell, with what its body raised."""
        outer = self.outer.pop() if self.outer else None
        if outer is True:
            return
        if self.running is not None:
            running, self.running = self.running, None
            runs.end(self.bench, running, error)
        elif self.plain is not None:
            plain, self.plain = self.plain, None
            self._leave_plain(plain)
        self.plain = outer if isinstance(outer, Plain) else None
        for line in ambient.apply_pending():
            self.bench.tell(line)

    def _end_all(self) -> None:
        """End what an interrupt kept from ending here: else the next cells count as parts of it,
        and nothing is kept any more."""
        while self.outer or self.running is not None or self.plain is not None:
            try:
                self.leave(KeyboardInterrupt())
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as where hooks end one
                self.give_up()
                self.bench.tell(f"the cell before was not kept ({type(error).__name__}: {error})")

    def _leave_plain(self, plain: Plain) -> None:
        space, names, reached = self.space, plain.names, plain.reached
        may = set(names.binds | names.may_bind | names.deletes | names.mentions)
        if names.is_dynamic or names.stars or "get_ipython" in names.mentions:
            may |= space.visible.now().keys() | space.bindings.keys()
        for name in reached:
            binding = space.bindings.get(name)
            if binding is not None and binding.version is not None:
                may |= set(binding.version.writes)
        now = time.time()
        said = Text(now, plain.text)
        self.bench.memory.said.append(said)
        space.plain.begin(plain.cell, now)
        read = graph.reach({path.name for path in names.reads}, self.bench.reads_of)
        origin = Origin(plain.cell, reached, space.bindings.stood(read), (said,))
        same = redefined.kept(self.bench, plain.text, names) if names.definitions else {}
        changed = space.notice(may, origin, names.binds, same)
        worked_on = names.writes | names.binds | names.may_bind
        space.suspect(reached - set(changed), origin, worked_on)
        self._note_outgrown({*changed, *(reached & names.writes)})
        if names.imports or names.definitions or names.stars:
            task = Task(StepLine("plain"), "", "", names, "")
            statements.note(names, space, frozenset(may))
            modules.watch(self.bench.modules_of(task))
            self._remember_imports()

    def _note_outgrown(self, names: Collection[str]) -> None:
        """Write down, once, that what is kept of these names is not what they mean now."""
        known = self.ledger.pipe.meanings
        found = {n: known[n] for n in names if n in known and not known[n].is_outgrown}
        news = {n: m.replace(is_outgrown=True) for n, m in found.items() if self._differs(n, m)}
        if news:
            self.ledger.commit(lambda _: Run(0, "", "", "noted", meanings=dict(news)))

    def _differs(self, name: str, meaning: Meaning) -> bool:
        """Whether a name may mean something else; a plain cell that ran again often means the
        same."""
        now = self.space.bindings.get(name)
        if now is None or not now.is_resident:
            return True
        known = now.version
        if known is None and not bindings.is_light(now.obj):
            return True
        if known is not None and known.digest != meaning.digest:
            return True
        if known is not None and (not known.mutable or known.kind == "import"):
            return False
        if known is not None and (known.kind == "lost" or known.nbytes > LOOKED_AT):
            return True  # to look would take longer than the cell may
        version = self.space.version_at(name, now.obj, self.bench.phase())
        return version.names[name] != (known.names[name] if known else meaning.digest)

    def _remember_imports(self) -> None:
        """Keep new imports, in a job that has begun; else they go along with its first step."""
        imports = runs.new_imports(self.bench)
        if imports and self.ledger.pipe.number:
            with contextlib.suppress(StoreError):  # the next step that is kept takes them along
                self.ledger.commit(lambda _: Run(0, "", "", "noted", imports=imports))

    def give_up(self) -> None:
        """Something went wrong in pipestate itself, or it was interrupted: the cell that runs is a
        plain one."""
        running, self.running = self.running, None
        for lease in list(self.bench.memory.leases):
            turns.give_back(self.bench, lease)
        if running is not None:
            running.watchers.stop()
        self.plain = None
        self.space.notice([*self.space.visible.now(), *self.space.bindings])

    # --- asked for -----------------------------------------------------------------------------

    def load(self, names: Iterable[str]) -> list[str]:
        """Load names, all dormant ones for none; those that were loaded."""
        dormant = self.space.dormant()
        wanted = [name for name in names or sorted(dormant) if name in dormant]
        cascade.load(self.bench, wanted)
        return wanted

    def unload(self, names: Iterable[str]) -> list[str]:
        """Take names out of memory that the store keeps as they are; those that went."""
        names = [name for name in names if self.space.is_current(name)]
        self.space.verify(names, self.bench.phase())
        kept = [name for name in names if self.space.bindings[name].record]
        for name in sorted(set(names) - set(kept)):
            self.bench.tell(f"`{name}` stays: no step has kept it as it is now")
        self.space.unload(kept)
        return kept

    def drop(self, step: str) -> None:
        """Forget a step: what its names mean goes too, as it would with a restart."""
        run = job.drop(self.ledger, step)
        self.bench.memory.cells.pop(step, None)
        self.space.clear_junk(step)
        news.take_up(self.bench, run.meanings)

    def run_steps(
        self, steps: Iterable[str], progress: Callable[[str, int, int], None]
    ) -> list[str]:
        """Bring steps up to date; see `cascade.run_steps`."""
        return cascade.run_steps(self.bench, steps, progress)


def _place(ledger: Ledger) -> tuple[Any, str]:
    return ledger.store.path, ledger.job


def _is_pipe_line(raw: str) -> bool:
    lines = raw.strip().splitlines() if "%pipe" in raw else []
    return len(lines) == 1 and lines[0].split()[0] == "%pipe"
