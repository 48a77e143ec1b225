"""One kernel's desk: the job that it works on, what commands ask of it, and what it tells the user.

All that needs the engine is here, apart from the door (`extension`): a profile that loads pipestate
everywhere waits only for what every cell needs, and for the engine at the first cell.
"""

from __future__ import annotations

import ast
import contextlib
import html
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from .. import view
from ..errors import StoreError, UsageError
from ..ledger import Ledger
from ..pipe.status import StepStatus
from ..record import VALUE
from ..store import upkeep
from ..store.folder import locate, open_store
from ..values import check_job
from . import answers, badges, notebooks, pages
from .bench import Doors, Settings, Told
from .cascade import Planned
from .hooks import is_step_line, run_body
from .session import Session
from .trial import Task

DELETED = "its cell was deleted, `%pipe drop` forgets it"
"""What the status of a step says that still feeds what reads it, and is in the notebook no more."""

PATIENCE = 0.5
"""Seconds before a run shows how far it is."""

HEEDED = ("mode", "direction", "restore", "keep_runs", "max_bytes")
"""The settings that the engine looks at."""


class Traits(Protocol):
    """The settings of this kernel, as the user has them now."""

    store: Any
    job: Any
    badge: Any
    durable: Any
    keep_runs: Any
    verification: Any


class KernelDesk:
    """What commands work on, and what runs around every cell; the job is opened at the first need.

    enter ── session ── leave, give_up
    tell, show ── _badge
    """

    def __init__(self, shell: Any, traits: Traits) -> None:
        self.shell = shell
        self.traits = traits
        self._session: Session | None = None
        self._settings = Settings()
        self._shown = 0
        self._pages = pages.Pages()
        self._elsewhere: list[list[Told]] = []
        self._fault = ""
        self.take_settings()

    # --- the session -----------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The kernel's session with its job, opened at the first need."""
        if self._session is None:
            doors = Doors(
                self.tell, self.show, lambda task: run_body(self.shell, task), self._at_home
            )
            job = self.traits.job or default_job(self.shell)
            check_job(job)
            ledger = self._open(job)
            self._session = Session.open(self.shell, ledger, self._settings, doors)
        return self._session

    def _open(self, job: str) -> Ledger:
        traits = self.traits
        path = locate(traits.store or None)
        store = open_store(path, durable=traits.durable, verification=traits.verification)
        return Ledger.open(store, job, keep_runs=traits.keep_runs)

    def take_settings(self) -> None:
        """Heed the settings that the engine looks at."""
        for name in HEEDED:
            setattr(self._settings, name, getattr(self.traits, name))
        if self._session is not None:
            self._session.ledger.keep_runs = self.traits.keep_runs

    def reopen(self) -> None:
        """Open the store anew: another one, or what may be believed of it has changed."""
        if self._session is None:
            return
        try:
            self._session.use(self._open(self._session.ledger.job))
        except StoreError:
            # The next cell that needs the job says why; what was believed before is not any more.
            self._session = None
            raise

    def go_over(self, job: str) -> None:
        """Go over to a job, if one is in use."""
        if self._session is not None and job and self._session.ledger.job != job:
            self._session.use(self._open(job))

    def close(self) -> None:
        """Let go of the store; what is resident stays in the namespace."""
        if self._session is not None:
            self._session.ledger.store.close()

    # --- around a cell ---------------------------------------------------------------------------

    def enter(
        self, raw: str, transformed: str, cell_id: str, tree: ast.Module, is_nested: bool
    ) -> ast.Module:
        """A cell begins: the body that it gets."""
        self._pages.meet(self.shell, cell_id if is_step_line(raw.lstrip()) else "")
        try:
            session = self.session
        except (StoreError, UsageError) as error:
            # Whoever has pipestate in a profile must be able to work beside a store that is not
            # to be had, or a `$PIPESTATE_JOB` that names none. A step says so each time, plain
            # cells once.
            if str(error) != self._fault or is_step_line(raw.lstrip()):
                self._fault = str(error)
                self.tell(f"off, nothing is kept: {error}")
            return tree
        return session.enter(raw, transformed, cell_id, tree, is_nested)

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

    def leave(self, error: BaseException | None) -> None:
        """A cell has ended."""
        if self._session is not None:
            self._session.leave(error)

    def give_up(self, error: BaseException) -> None:
        """Something went wrong in pipestate itself, or it was interrupted: the cell is not kept."""
        if self._session is not None:
            self._session.give_up()
        if isinstance(error, KeyboardInterrupt):
            self.tell("interrupted; this cell is not kept")
        else:
            self.tell(f"off for this cell, which is not kept ({type(error).__name__}: {error})")

    # --- what commands ask for -------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """The job in use, with what other processes have added."""
        self.session.refresh()
        return self.session.ledger

    def use(self, job: str) -> None:
        """Go over to a job."""
        self.go_over(job)
        self.traits.job = job
        _ = self.session

    def statuses(self) -> list[StepStatus]:
        """Every step with its state; a step whose cell was deleted says so."""
        self.session.refresh()
        return [self._with_page(one) for one in answers.statuses(self.session.bench)]

    def status_of(self, step: str) -> StepStatus | None:
        """One step with its state; None where there is no such step."""
        self.session.refresh()
        found = answers.status_of(self.session.bench, step)
        return found and self._with_page(found)

    def _with_page(self, one: StepStatus) -> StepStatus:
        """What is said of a step and, where its cell was deleted on the page, that too."""
        seen = self.session.ledger.pipe.seen.get(one.name)
        if seen is None or seen.cell_id not in self._pages.gone:
            return one
        return one._replace(reason="; ".join(filter(None, (DELETED, one.reason))))

    def load(self, names: Sequence[str]) -> Sequence[str]:
        """Load names, all dormant ones for none; those that were."""
        return self.session.load(names)

    def unload(self, names: Sequence[str]) -> Sequence[str]:
        """Take names out of memory that the store keeps."""
        return self.session.unload(names)

    def plan(self, steps: Sequence[str]) -> Sequence[Planned]:
        """What bringing steps up to date would do."""
        self.session.refresh()
        return answers.plan(self.session.bench, steps)

    def run(self, steps: Sequence[str]) -> Sequence[str]:
        """Bring steps up to date, with a line that follows the progress."""
        tell = self._progress("run")

        def progress(step: str, number: int, count: int) -> None:
            tell(view.progress_text(step, number, count))

        return self.session.run_steps(steps, progress)

    def verify(self) -> Sequence[str]:
        """Check every byte of the store, with a line that follows the progress."""
        return upkeep.verify(self.session.ledger.store, self._progress("verify"))

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

    def dormant(self) -> Iterable[str]:
        """The names that a cell could load now."""
        return self.session.space.dormant()

    def names(self) -> Iterable[str]:
        """The names that the job keeps."""
        return sorted(self.session.space.bindings)

    def imports(self) -> dict[str, str]:
        """The imports of the job, and those of this kernel that are not kept yet."""
        return answers.imports(self.session.bench)

    def code(self, name: str) -> str:
        """The smallest program that makes what a name means."""
        return answers.code(self.session.bench, name)

    def configure(self, trait: str, value: str) -> None:
        """Set a trait."""
        setattr(self.traits, trait, value)

    def setting(self, trait: str) -> Any:
        """A trait's value."""
        return getattr(self.traits, trait)

    # --- telling ---------------------------------------------------------------------------------

    def tell(self, line: str) -> None:
        """A line for the user, never part of what a step shows."""
        self._badge("", "note", {}, f"pipestate: {line}", f"pipestate: {line}")

    def show(self, told: Told) -> None:
        """What became of a step, as a badge; what could not be kept is said in any case."""
        for name, flaw in told.flaws:
            if name == VALUE:
                said = flaw.removesuffix(f" at {VALUE}")
                self.tell(f"what {told.step} shows last cannot be kept as its value: {said}")
            elif "--no-save" not in flaw:
                self.tell(
                    f"`{name}` of {told.step} cannot be kept: {flaw}; "
                    f"a cell that needs it in another kernel makes {told.step} run again"
                )
        self._show(told)
        if self._elsewhere:
            self._elsewhere[-1].append(told)

    def _show(self, told: Told) -> None:
        if self.traits.badge:
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


def default_job(shell: Any) -> str:
    """$PIPESTATE_JOB, else the notebook's name where the front end tells it, else `default`."""
    job = os.environ.get("PIPESTATE_JOB")
    if job:
        return job
    path = notebooks.path_of(shell.user_ns, os.getcwd())
    name = path.stem.strip().lstrip("-") if path is not None else ""
    return "".join(char for char in name if char.isprintable()).strip() or "default"
