"""What everything around a cell works on: one kernel, its namespace, and the job it uses.

A bench looks and judges: which task a cell is, where its step stands, what stands before it, and
whether a kept record may be restored. It runs nothing, binds nothing and commits nothing; that is
for `runs`, `restores` and `cascade`, which are handed one.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, Literal, TypeVar

from msgspec import Struct, field, structs
from msgspec.structs import replace

from ..cell import names as cell_names
from ..cell import source as cell_source
from ..cell.names import Names
from ..cell.source import StepLine
from ..errors import UsageError, in_short
from ..ledger import Ledger
from ..pipe import graph, layers, places
from ..pipe import lines as pipe_lines
from ..pipe.history import KEPT
from ..pipe.layers import Layers, Makers
from ..pipe.lines import Lines
from ..pipe.places import Cells, Row
from ..pipe.status import STEP_VALUE, Reason, World, because, judge
from ..record import (
    IMPORTED,
    SEEDING,
    AccessPath,
    Blob,
    Digest,
    FileState,
    Pipe,
    Record,
    Seen,
    Text,
)
from ..space import Meter
from ..store.content import View
from ..store.leases import Lease
from ..store.phases import Phase
from . import modules, modulestate, notebooks, patched, surroundings
from .grounds import Glance, Grounds
from .namespace import Namespace
from .outlook import Direction, Outlook, Site
from .trial import Task

Mode = Literal["manual", "lazy"]
Packages = Callable[[Iterable[str]], Mapping[str, str]]
"""Gives the stamps of modules."""
T = TypeVar("T")


class Settings(Struct):
    """What the user may set; the extension's traits write it."""

    mode: Mode = "lazy"
    direction: Direction = "in_order"
    restore: Literal["lazy", "eager"] = "lazy"
    keep_runs: int = KEPT
    max_bytes: int = 0


class Told(Struct, frozen=True):
    """What the user is told about a step that ran or was restored, or runs now (`needed`)."""

    step: str
    event: Literal["ran", "restored", "failed", "needed"]
    seconds: float
    reason: str = ""
    flaws: tuple[tuple[str, str], ...] = ()
    is_first: bool = False


class Doors(Struct, frozen=True):
    """How a bench reaches the user: `tell` shows a line, `show` what became of a step, and
    `run_body` runs a step's Python as the shell would and gives what it raised. What is shown
    inside `at_home` goes under the step's own cell where that can be reached."""

    tell: Callable[[str], None]
    show: Callable[[Told], None]
    run_body: Callable[[Task], BaseException | None]
    at_home: Callable[[Task], AbstractContextManager[None]]


class Memory(Struct):
    """What one kernel remembers of the job beside its bindings.

    `set_up` are the setup steps that ran here, `tasks` the analysed steps, `cells` the cell that
    each step was last met in, `folder` where the kernel was when the extension was loaded, `leases`
    those of the steps that run, `meter` what has the store keep to its bound.
    """

    set_up: set[str] = field(default_factory=set)
    tasks: dict[str, tuple[Seen, Task]] = field(default_factory=dict)
    cells: dict[str, str] = field(default_factory=dict)
    folder: str = field(default_factory=os.getcwd)
    leases: list[Lease] = field(default_factory=list)
    foreseen: tuple[str, Lease] | None = None
    """A lease taken before the look that a cell begins with, by its name (see `turns`)."""
    meter: Meter = field(default_factory=Meter)
    origins: dict[str, tuple[object, Digest]] = field(default_factory=dict)
    """What was set in the process before steps set it (see `surroundings`)."""
    remaking: set[str] = field(default_factory=set)
    """The steps that run to make a value again, and take up what those before them have left."""
    helpers: set[str] = field(default_factory=set)
    """The steps that have run for the sake of the one that the cell asks for."""
    attempts: dict[str, dict[str, tuple[str | None, FileState]]] = field(default_factory=dict)
    """What files were before a failed attempt at a step (a copy, None: not there), and after it."""
    layers: Layers = field(default_factory=Layers)
    site: Site | None = None
    sited: Task | None = None
    makers: Makers = field(default_factory=Makers)
    made_for: Pipe | None = None
    loose: set[str] = field(default_factory=set)
    """The steps whose part in `makers` may become another one without a new record of theirs."""
    gone: dict[str, str] = field(default_factory=dict)
    """The names whose values went with a store that was deleted or replaced, and their steps."""
    lines: Lines = field(default_factory=Lines)
    grounds: Grounds = field(default_factory=Grounds)
    said: deque[Text] = field(default_factory=lambda: deque(maxlen=1000))
    """What plain cells have said in this kernel, the last of them."""
    unloadable: dict[tuple[str, Digest], str] = field(default_factory=dict)
    """The makers and digests of values that are there and did not load, with the reason."""

    def clear(self) -> None:
        """Forget the job: another one, or another store of it, is gone over to."""
        parts = (self.set_up, self.tasks, self.cells, self.attempts, self.gone, self.helpers)
        for known in (*parts, self.loose, self.origins):
            known.clear()
        self.site = self.sited = self.made_for = None
        self.layers, self.makers, self.lines = Layers(), Makers(), Lines()
        self.grounds.clear()


class Bench(Struct):
    """One kernel and the job that it works on.

    task, task_of ── place ── outlook ── world ── verdict
    """

    shell: Any
    ledger: Ledger
    settings: Settings
    doors: Doors
    space: Namespace
    memory: Memory = field(default_factory=Memory)

    def tell(self, line: str) -> None:
        """Show the user a line."""
        self.doors.tell(line)

    def phase(self) -> Phase:
        """A phase that only looks: what it puts is never committed."""
        return Phase(self.put)

    def put(self, data: bytes | View, **how: Any) -> Blob:
        """Keep bytes that nobody is going to commit."""
        return self.ledger.batch().put(data, **how)

    # --- tasks -----------------------------------------------------------------------------------

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
        text = cell_source.without_mark(transformed)
        names = cell_names.analyse(text)
        if line.stdin is not None:
            reads = names.reads | {AccessPath(STEP_VALUE + line.stdin)}
            names = structs.replace(names, reads=reads)
        normal = cell_source.normal(text)
        sets = "" if line.setup else patched.what(transformed, names, self.space)
        line = replace(line, setup=True) if sets else line
        return Task(line, source, transformed, names, normal, cell_id, is_asked, sets)

    def task_of(self, step: str) -> Task:
        """A step of the job from the source last seen for it."""
        seen = self.ledger.pipe.seen[step]
        known = self.memory.tasks.get(step)
        if known is None or (known[0] is not seen and known[0] != seen):
            line = cell_source.parse_line(seen.options)
            transformed = self.shell.transform_cell(seen.source)
            task = self.task(line, seen.source, transformed, seen.cell_id, is_asked=False)
            known = self.memory.tasks[step] = (seen, task)
        return known[1]

    def remember(self, task: Task) -> None:
        """Take a task that has just been committed for what was last seen of its step."""
        line = replace(task.line, force=False) if task.line.force else task.line
        known = replace(task, line=line, is_asked=False)
        self.memory.tasks[task.step] = (self.ledger.pipe.seen[task.step], known)

    def names_of(self, step: str) -> Names | None:
        """What the source last seen for a step says, None for a step that no cell made."""
        return self.task_of(step).names if step in self.ledger.pipe.seen else None

    def is_setup(self, step: str) -> bool:
        """Whether a step is one of setup, by the line last seen for it."""
        return step in self.lines().setups

    def lines(self) -> Lines:
        """What the lines last seen for the steps say."""
        self.memory.lines = pipe_lines.moved(self.memory.lines, self.ledger.pipe.seen)
        return self.memory.lines

    def steps_of(self, cell: str) -> Sequence[str]:
        """The steps whose source was last seen in a cell, in the order in which the job met them;
        more than one where it was given other names elsewhere."""
        found = self.lines().steps.get(cell, ())
        return found if len(found) < 2 else [one for one in self.ledger.pipe.seen if one in found]

    def modules_of(self, task: Task) -> set[str]:
        """The modules that the step's source, or the code it reaches, imports."""
        found = {*task.names.stars, *task.names.late_imports}
        statements = {line.statement for line in task.names.imports}
        for name in self.reached(task):
            if name.startswith(IMPORTED):
                found.add(name.removeprefix(IMPORTED))
            binding = self.space.bindings.get(name)
            if binding is not None and binding.version and binding.version.kind == "import":
                statements.add(binding.version.source)
            source, value = self.space.sources.get(name, (None, None))
            if source is not None and source.kind == "import" and self.space.ns.get(name) is value:
                statements.add(source.text)
        found = modules.only_modules(found)
        return found.union(*(modules.imported_by(statement) for statement in statements))

    def reached(self, task: Task) -> frozenset[str]:
        """The names that a step's source mentions, and those that the code they mean reads."""
        wanted = task.names.mentions | {path.name for path in task.names.reads}
        return graph.reach(wanted, self.reads_of)

    def may_seed(self, task: Task, changed: Iterable[str]) -> bool:
        """Whether a run that changed these keys of the process may have seeded a generator.

        What lies in a project module counts only where some generator is not as it was.
        """
        if task.names.seeds or SEEDING in self.reached(task):
            return True
        is_moved = any(key.startswith(surroundings.RANDOM) for key in changed)
        return is_moved and modules.may_seed(self.modules_of(task))

    def counting(self, task: Task, settings: Mapping[str, T]) -> Mapping[str, T]:
        """The settings that count for a task: of a project module's globals, those of modules that
        the task reaches."""
        if not any(key.startswith(modulestate.KEY) for key in settings):
            return settings
        reached = self.reached(task)
        held = {name.rpartition(".")[0] for name in reached if "." in name}
        return modulestate.relevant(settings, modules.used_by(self.modules_of(task) | held))

    def reads_of(self, name: str) -> Iterable[str]:
        """The names that the code in a name's value reads."""
        binding = self.space.bindings.get(name)
        version = binding.version if binding else None
        return [path.name for path in version.reads] if version else ()

    # --- places ----------------------------------------------------------------------------------

    def site(self, task: Task) -> Site:
        """Where a task stands, with all that lies around it in the job as it is now.

        Raises UsageError for a task that wants to stand after a step which is not there.
        """
        pipe, known = self.ledger.pipe, self.memory.site
        if known is not None and known.pipe is pipe and self.memory.sited is task:
            return known
        cells = self._cells_with(task)
        order = places.order_for(task.step, pipe.order, cells)
        row = places.row_of(order, cells) if cells.saved else Row()
        self.memory.sited, self.memory.site = task, Site(pipe, order, self.layers(order), row)
        return self.memory.site

    def whole(self) -> Site:
        """The whole job, its steps in the places that are written down."""
        pipe, cells = self.ledger.pipe, self._cells()
        row = places.row_of(pipe.order, cells) if cells.saved else Row()
        return Site(pipe, pipe.order, self.layers(pipe.order), row)

    def layers(self, order: tuple[str, ...]) -> Layers:
        """What each step of the job left, in this order."""
        site, known = self.memory.site, self.memory.layers
        if site is not None and known.order != order:
            known = site.layers
        if not known.order:
            self.ledger.read_heads()
        pipe, record = self.ledger.pipe, self.ledger.record
        self.memory.layers = layers.moved(known, order, pipe.heads, record)
        return self.memory.layers

    def place(self, task: Task) -> tuple[str, ...]:
        """The steps in their places, with the task's among them."""
        return self.site(task).order

    def above(self, task: Task) -> Iterator[str]:
        """The steps above a task's, in order."""
        site = self.site(task)
        return islice(site.order, site.layers.place_of(task.step))

    def _cells(self) -> Cells:
        """What is known of the cells: those of the steps, and the saved notebook's."""
        said = self.lines()
        saved = notebooks.cell_ids(notebooks.path_of(self.shell.user_ns, self.memory.folder))
        return Cells(said.cells, saved, said.after)

    def _cells_with(self, task: Task) -> Cells:
        """The cells with a task's own as it is now."""
        pipe, after = self.ledger.pipe, task.line.after
        if after is not None and (after not in pipe.order or after == task.step):
            raise UsageError(
                f"there is no step `{after}` for {task.step} to stand after",
                f"the steps are: {in_short(pipe.order) or 'none yet'}",
            )
        cells = self._cells()
        own = {step: name for step, name in (cells.after or {}).items() if step != task.step}
        if after is not None:
            own[task.step] = after
        own_id = task.cell_id or cells.ids.get(task.step, "")
        return Cells({**cells.ids, task.step: own_id}, cells.saved, own)

    def new_order(self, task: Task) -> tuple[str, ...] | None:
        """The order to write down with the task's run, None where nothing moves."""
        order = self.place(task)
        return order if order != self.ledger.pipe.order else None

    def records(self, steps: Iterable[str]) -> list[Record]:
        """The records in force of those of the steps that have one."""
        return [record for step in steps if (record := self.ledger.head(step)) is not None]

    # --- judging ---------------------------------------------------------------------------------

    def outlook(self, task: Task, site: Site | None = None) -> Outlook:
        """What stands before a task's step; at the site of another task, if that is given."""
        site = site or self.site(task)
        return Outlook(
            task.step,
            self.space,
            site,
            self.settings.direction,
            self.phase(),
            self.ledger.head,
            self.ledger.record,
            self.space.bindings.edition,
        )

    def still(self, task: Task, outlook: Outlook) -> Outlook:
        """The outlook while it holds; another one where the job has moved since, or a name."""
        is_same = outlook.edition == self.space.bindings.edition
        return outlook if is_same and outlook.site is self.site(task) else self.outlook(task)

    def glance(self, site: Site) -> Glance:
        """A look at a job's steps as they are at this moment."""
        return self.memory.grounds.glance(self.space, site, self.settings.direction)

    def world(self, task: Task, outlook: Outlook, packages: Packages = modules.stamps) -> World:
        """What a task's records are judged against."""
        now = outlook.site.layers
        at = now.place_of(task.step)
        above, below = layers.above(now.writers, at), layers.below(now.writers, at)
        settings = self.counting(task, surroundings.standing(layers.above(now.ambient, at)))
        return World(
            normal=task.normal,
            lookup=outlook.lookup,
            joint=outlook.joint,
            mates=outlook.mates,
            packages=packages,
            files=lambda record: surroundings.judge_files(record, above, below),
            ambient={key: setting.digest for key, setting in settings.items()},
            plain=outlook.plain,
            set_by=lambda key: settings[key].step if key in settings else "",
        )

    def verdict(
        self, task: Task, outlook: Outlook, packages: Packages = modules.stamps
    ) -> Reason | tuple[Digest, Record]:
        """The record to restore, or why the body runs."""
        line = task.line
        for kind, is_so in (
            ("forced", line.force),
            ("setup", line.setup),
            ("always", line.always),
        ):
            if is_so:
                return because(kind)
        first: Reason | None = None
        world = self.world(task, outlook, packages)
        for digest, record in self.ledger.candidates(task.step):
            reason = judge(record, world)
            if reason is None:
                return digest, record
            first = first or reason
        if outlook.is_dynamic(task.names):
            return because("dynamic", "eval, exec, globals() or the like")
        return first or because("new")
