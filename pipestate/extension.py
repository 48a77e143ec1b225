"""`%load_ext pipestate`: traits, `%%step`, `%pipe`, and the hooks around every cell.

`load` puts everything in and `unload` takes all of it out again. The job is opened at the first
cell that needs it, so that a profile which loads pipestate everywhere costs nothing where it is
not used.
"""

from __future__ import annotations

import ast
import contextlib
import html
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from IPython.core.error import UsageError as IPythonUsageError
from traitlets import Bool, Enum, Int, TraitError, Unicode, observe
from traitlets.config import Configurable

from . import commands, view
from .cell.source import parse_line
from .errors import PipeStateError, StoreError
from .kernel import badges, completion, imports, notebooks, pages
from .kernel.bench import Doors, Settings, Told
from .kernel.cascade import Planned
from .kernel.hooks import CellHooks, is_step_line, run_body
from .kernel.session import Session
from .kernel.trial import Task
from .ledger import Ledger
from .pipe.status import StepStatus
from .store import upkeep
from .store.folder import locate, open_store


class PipeState(Configurable):
    """Settings of pipestate: `c.PipeState.<name>` in a profile, `%config PipeState.<name>` here."""

    store = Unicode(
        "",
        help="The store's folder. By default $PIPESTATE_STORE, else the nearest "
        ".pipestate/ in this folder or above it, else a new one here.",
    ).tag(config=True)
    job = Unicode(
        "",
        help="The job. By default $PIPESTATE_JOB, else the notebook's name where "
        "Jupyter tells it, else 'default'.",
    ).tag(config=True)
    mode = Enum(
        ("manual", "lazy"),
        "lazy",
        help="When stale steps run: 'lazy' before a step that "
        "needs them, 'manual' only when asked for.",
    ).tag(config=True)
    direction = Enum(
        ("in_order", "any_order"),
        "in_order",
        help="'in_order': a step reads each "
        "name as the steps above it leave it; 'any_order': as it stands now.",
    ).tag(config=True)
    restore = Enum(
        ("lazy", "eager"),
        "lazy",
        help="'lazy' loads a restored step's values when a cell names them, 'eager' at once.",
    ).tag(config=True)
    badge = Bool(True, help="Show a line under a step that says what became of it.").tag(
        config=True
    )
    durable = Bool(
        False,
        help="Wait until everything is on the disk itself (fsync) before a step counts as done.",
    ).tag(config=True)
    auto = Bool(False, help="Every cell is a step (not there yet).").tag(config=True)
    keep_runs = Int(
        20,
        min=1,
        help="How many records of a step are at hand to be restored; "
        "`%pipe gc` removes the others.",
    ).tag(config=True)
    max_bytes = Int(
        0,
        min=0,
        help="The size that the store should not outgrow: earlier records go, the oldest first, "
        "never what is in force. 0: no bound.",
    ).tag(config=True)
    verification = Enum(
        ("on", "strict", "off"),
        "on",
        help="What is believed. 'on': what a trusted key has signed; the rest is stale, and big "
        "values are hashed once in each state of their file. 'strict': the rest is an error, and "
        "they are hashed at every use. 'off': everything.",
    ).tag(config=True)

    def __init__(self, shell: Any) -> None:
        super().__init__(parent=shell)
        self.shell = shell
        self._session: Session | None = None
        self._settings = Settings()
        self._undo: list[Callable[[], None]] = []
        self._shown = 0
        self._pages = pages.Pages()
        self._elsewhere: list[list[Told]] = []
        self._fault = ""
        self._take_settings()

    # --- the session -----------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The kernel's session with its job, opened at the first need."""
        if self._session is None:
            doors = Doors(
                self.tell, self.show, lambda task: run_body(self.shell, task), self._at_home
            )
            ledger = self._open(self.job or default_job(self.shell))
            self._session = Session.open(self.shell, ledger, self._settings, doors)
        return self._session

    def _open(self, job: str) -> Ledger:
        path = locate(self.store or None)
        store = open_store(path, durable=self.durable, verification=self.verification)  # type: ignore[arg-type]
        return Ledger.open(store, job, keep_runs=self.keep_runs)

    @observe("mode", "direction", "restore", "keep_runs", "max_bytes")
    def _take_settings(self, _: Any = None) -> None:
        settings = getattr(self, "_settings", None)
        if settings is not None:
            for name in ("mode", "direction", "restore", "keep_runs", "max_bytes"):
                setattr(settings, name, getattr(self, name))
        session = getattr(self, "_session", None)
        if session is not None:
            session.ledger.keep_runs = self.keep_runs

    @observe("store", "durable", "verification")
    def _reopen(self, _: Any) -> None:
        session = getattr(self, "_session", None)
        if session is None:
            return
        try:
            session.use(self._open(session.ledger.job))
        except StoreError:
            # The next cell that needs the job says why; what was believed before is not any more.
            self._session = None
            raise

    @observe("job")
    def _go_over(self, change: Any) -> None:
        session = getattr(self, "_session", None)
        if session is not None and change["new"] and session.ledger.job != change["new"]:
            session.use(self._open(change["new"]))

    # --- in and out ------------------------------------------------------------------------------

    def install(self) -> None:
        """Put magics, hooks and completion in."""
        shell = self.shell
        hooks = CellHooks(shell, self._enter, self._leave, self._give_up)
        self._undo = [
            hooks.install(),
            imports.watch(),
            completion.install(shell, self._dormant, self._words),
            _put_magic(shell, "line", "pipe", self.pipe),
            _put_magic(shell, "cell", "step", self.step),
        ]
        shell.configurables.append(self)

    def uninstall(self) -> None:
        """Take all of it out again; what is resident stays in the namespace."""
        while self._undo:
            self._undo.pop()()
        if self in self.shell.configurables:
            self.shell.configurables.remove(self)
        if self._session is not None:
            self._session.ledger.store.close()

    def _enter(self, raw: str, transformed: str, cell_id: str, tree: ast.Module) -> ast.Module:
        self._pages.meet(self.shell, cell_id if is_step_line(raw.lstrip()) else "")
        try:
            session = self.session
        except StoreError as error:
            # Whoever has pipestate in a profile must be able to work beside a store that is not
            # to be had. A step says so each time, plain cells once.
            if str(error) != self._fault or is_step_line(raw.lstrip()):
                self._fault = str(error)
                self.tell(f"off, nothing is kept: {error}")
            return tree
        return session.enter(raw, transformed, cell_id, tree)

    @contextlib.contextmanager
    def _at_home(self, task: Task) -> Iterator[None]:
        """What a step shows that runs for another's sake goes under its own cell, and one line
        under the cell that runs."""
        page = self._pages.find(self.shell, task.cell_id)
        if page is None:
            yield
            return
        told: list[Told] = []
        self._elsewhere.append(told)
        try:
            with pages.opened(self.shell, page):
                yield
        finally:
            self._elsewhere.remove(told)
            for one in told:
                self._show(one)

    def _leave(self, error: BaseException | None) -> None:
        if self._session is not None:
            self._session.leave(error)

    def _give_up(self, error: BaseException) -> None:
        if self._session is not None:
            self._session.give_up()
        if isinstance(error, KeyboardInterrupt):
            self.tell("interrupted; this cell is not kept")
        else:
            self.tell(f"off for this cell, which is not kept ({type(error).__name__}: {error})")

    def _dormant(self) -> Iterable[str]:
        return self.session.space.dormant()

    def _words(self, line: str) -> list[str]:
        if "%%step" in line:
            return [*STEP_OPTIONS, *self.session.ledger.pipe.order]
        return commands.complete(self, line)

    # --- the magics ------------------------------------------------------------------------------

    def pipe(self, line: str) -> None:  # noqa: D102 - the table of commands says it, below
        try:
            shown = commands.call(self, line)
        except PipeStateError as error:
            raise IPythonUsageError(str(error)) from None
        if shown.html:
            data = {"text/plain": shown.text, "text/html": shown.html}
            self.shell.display_pub.publish(data=data, metadata={"pipestate": {}})
        elif shown.text:
            print(shown.text)  # noqa: T201 - a magic's answer is what it prints

    def step(self, line: str, cell: str) -> None:
        """Make this cell a step of the pipe: what it makes is kept, and restored while it is true.

        %%step NAME [--done KEY] [--reads PATH] [--always] [--setup] [--force]
                    [--no-save NAME] [--after STEP] [< STEP]

        NAME            letters, digits, _, - and .
        --done KEY      done only once KEY is true: a name it binds, or a key of its value
        --reads PATH    a file that it reads and that is not seen automatically (repeatable)
        --always        run every time
        --setup         run once in every kernel, never restore: connections, options, seeds
        --force         run this once, whatever is kept
        --no-save NAME  keep that name out of the store (repeatable)
        --after STEP    where in the pipe it stands
        < STEP          bind _ to that step's value, as a shell's redirection would
        """
        try:
            parse_line(line)
        except PipeStateError as error:
            raise IPythonUsageError(str(error)) from None
        self.shell.run_cell(f"%%step {line}\n{cell}")

    # --- what commands ask for -------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The job in use, with what other processes have added."""
        self.session.refresh()
        return self.session.ledger

    def use(self, job: str) -> None:
        """Go over to a job."""
        if self._session is not None and self._session.ledger.job != job:
            self._session.use(self._open(job))
        self.job = job
        _ = self.session

    def statuses(self) -> list[StepStatus]:
        """Every step with its state; a step whose cell was deleted says so."""
        seen, gone = self.session.ledger.pipe.seen, self._pages.gone
        return [
            replace(one, reason="; ".join(filter(None, (DELETED, one.reason))))
            if one.name in seen and seen[one.name].cell_id in gone
            else one
            for one in self.session.statuses()
        ]

    def load(self, names: Sequence[str]) -> Sequence[str]:
        """Load names, all dormant ones for none; those that were."""
        return self.session.load(names)

    def unload(self, names: Sequence[str]) -> Sequence[str]:
        """Take names out of memory that the store keeps."""
        return self.session.unload(names)

    def plan(self, steps: Sequence[str]) -> Sequence[Planned]:
        """What bringing steps up to date would do."""
        return self.session.plan(steps)

    def run(self, steps: Sequence[str]) -> Sequence[str]:
        """Bring steps up to date, with a line that follows the progress."""
        tell = self._progress("run")

        def progress(step: str, number: int, count: int) -> None:
            tell(view.progress_text(step, number, count))

        return self.session.run_steps(steps, progress)

    def verify(self) -> Sequence[str]:
        """Check every byte of the store, with a line that follows the progress."""
        return upkeep.verify(self.session.ledger.store, self._progress("verify"))

    def reopen(self) -> None:
        """Read the job anew: what may be believed of it has changed."""
        self._reopen(None)

    def _progress(self, verb: str) -> Callable[[str], None]:
        """Shows how far something is, in one line, once it takes longer than a moment."""
        name = f"pipestate-{verb}-{os.getpid()}-{self._shown}"
        started = time.monotonic()
        shown: list[str] = []

        def progress(text: str) -> None:
            if shown or time.monotonic() - started > PATIENCE:
                page = html.escape(text)
                badges.show(self.shell, {}, text, page, "", verb, name, update=bool(shown))
                shown.append(text)

        return progress

    def drop(self, steps: Sequence[str]) -> None:
        """Forget steps."""
        for step in steps:
            self.session.drop(step)

    def names(self) -> Iterable[str]:
        """The names that the job keeps."""
        return sorted(self.session.space.bindings)

    def imports(self) -> dict[str, str]:
        """The imports of the job, and those of this kernel that are not kept yet."""
        return self.session.imports()

    def code(self, name: str) -> str:
        """The smallest program that makes what a name means."""
        return self.session.code(name)

    def configure(self, trait: str, value: str) -> None:
        """Set a trait."""
        setattr(self, trait, value)

    def setting(self, trait: str) -> Any:
        """A trait's value."""
        return getattr(self, trait)

    # --- telling ---------------------------------------------------------------------------------

    def tell(self, line: str) -> None:
        """A line for the user, never part of what a step shows."""
        self._badge("", "note", {}, f"pipestate: {line}", f"pipestate: {line}")

    def show(self, told: Told) -> None:
        """What became of a step, as a badge; what could not be kept is said in any case."""
        for name, flaw in told.flaws:
            if "--no-save" not in flaw:
                self.tell(
                    f"`{name}` of {told.step} cannot be kept: {flaw}; "
                    f"a cell that needs it in another kernel makes {told.step} run again"
                )
        self._show(told)
        if self._elsewhere:
            self._elsewhere[-1].append(told)

    def _show(self, told: Told) -> None:
        if self.badge:
            reason = "" if told.is_first else told.reason
            words = (told.step, told.event, told.seconds, reason)
            self._badge(
                told.step,
                told.event,
                {"seconds": told.seconds, "reason": told.reason},
                view.badge_text(*words),
                view.badge_html(*words),
            )

    def _badge(self, step: str, state: str, data: dict[str, Any], text: str, page: str) -> None:
        self._shown += 1
        name = f"pipestate-{os.getpid()}-{id(self):x}-{self._shown}"
        badges.show(self.shell, data, text, page, step, state, name)


PipeState.pipe.__doc__ = commands.help_text()  # so that `%pipe?` can never lag behind

DELETED = "its cell was deleted, `%pipe drop` forgets it"
"""What the status of a step says that still feeds what reads it, and is in the notebook no more."""

PATIENCE = 0.5
"""Seconds before a run shows how far it is."""

STEP_OPTIONS = (
    "--done",
    "--reads",
    "--always",
    "--setup",
    "--force",
    "--no-save",
    "--after",
    "<",
)


def _put_magic(shell: Any, kind: str, name: str, function: Any) -> Callable[[], None]:
    shell.register_magic_function(function, kind, name)

    def undo() -> None:
        shell.magics_manager.magics[kind].pop(name, None)

    return undo


def default_job(shell: Any) -> str:
    """$PIPESTATE_JOB, else the notebook's name where the front end tells it, else `default`."""
    job = os.environ.get("PIPESTATE_JOB")
    if job:
        return job
    path = notebooks.path_of(shell.user_ns, os.getcwd())
    return path.stem if path is not None else "default"


def find(shell: Any) -> PipeState | None:
    """The extension as it is loaded in a shell."""
    return next((one for one in shell.configurables if isinstance(one, PipeState)), None)


def load(shell: Any) -> None:
    """Load the extension; a second time changes nothing."""
    if find(shell) is not None:
        return
    try:
        extension = PipeState(shell)
    except TraitError as error:
        # A wrong `%config` or profile line would keep the extension out of this shell for good.
        wrong = shell.config.pop("PipeState", None)
        extension = PipeState(shell)
        extension.tell(f"{wrong} is not used ({error}); `%config PipeState` lists what may be set")
    extension.install()


def unload(shell: Any) -> None:
    """Take the extension out."""
    extension = find(shell)
    if extension is not None:
        extension.uninstall()
