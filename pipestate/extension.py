"""`%load_ext pipestate`: traits, `%%step`, `%pipe`, and the hooks around every cell.

`load` puts everything in and `unload` takes all of it out again. What is behind the door, the
`desk`, comes with the first cell: a profile which loads pipestate everywhere is not to be waited
for.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError as IPythonUsageError
from traitlets import Bool, Enum, Int, TraitError, Unicode, observe, validate
from traitlets.config import Configurable

from .errors import PipeStateError
from .kernel import completion, imports
from .kernel.hooks import CellHooks

if TYPE_CHECKING:
    from .kernel.desk import KernelDesk
    from .kernel.session import Session


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
        self._desk: KernelDesk | None = None
        self._undo: list[Callable[[], None]] = []

    @property
    def desk(self) -> KernelDesk:
        """The kernel's desk, and the engine with it, imported at the first need."""
        if self._desk is None:
            from . import commands
            from .kernel.desk import KernelDesk

            # Whoever asks `%pipe?` reads what the table of commands says now.
            PipeState.pipe.__doc__ = commands.help_text()
            self._desk = KernelDesk(self.shell, self)
        return self._desk

    @property
    def session(self) -> Session:
        """The kernel's session with its job, opened at the first need."""
        return self.desk.session

    @observe("mode", "direction", "restore", "keep_runs", "max_bytes")
    def _take_settings(self, _: Any) -> None:
        if self._is_in_use():
            self.desk.take_settings()

    @observe("store", "durable", "verification")
    def _reopen(self, _: Any) -> None:
        if self._is_in_use():
            self.desk.reopen()

    @validate("job")
    def _check_job(self, proposal: Any) -> str:
        from .values import check_job

        name = str(proposal["value"])
        try:
            if name:  # none: the default
                check_job(name)
        except PipeStateError as error:
            raise TraitError(str(error)) from None
        return name

    @observe("job")
    def _go_over(self, change: Any) -> None:
        if self._is_in_use():
            self.desk.go_over(change["new"])

    def _is_in_use(self) -> bool:
        # Traits are set from the profile before there is anything else.
        return getattr(self, "_desk", None) is not None

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
        if self._is_in_use():
            self.desk.close()

    def _enter(
        self, raw: str, transformed: str, cell_id: str, tree: ast.Module, is_nested: bool
    ) -> ast.Module:
        return self.desk.enter(raw, transformed, cell_id, tree, is_nested)

    def _leave(self, error: BaseException | None) -> None:
        self.desk.leave(error)

    def _give_up(self, error: BaseException) -> None:
        self.desk.give_up(error)

    def _dormant(self) -> Iterable[str]:
        return self.desk.dormant()

    def _words(self, line: str) -> list[str]:
        from . import commands

        if "%%step" in line:
            return [*STEP_OPTIONS, *self.session.ledger.pipe.order]
        return commands.complete(self.desk, line)

    # --- the magics ------------------------------------------------------------------------------

    def pipe(self, line: str) -> None:
        """The pipe of this notebook: its steps and what they keep."""
        from . import commands

        try:
            shown = commands.call(self.desk, line)
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
        from .cell.source import parse_line

        try:
            parse_line(line)
        except PipeStateError as error:
            raise IPythonUsageError(str(error)) from None
        self.shell.run_cell(f"%%step {line}\n{cell}")


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
        extension.desk.tell(
            f"{wrong} is not used ({error}); `%config PipeState` lists what may be set"
        )
    extension.install()


def unload(shell: Any) -> None:
    """Take the extension out."""
    extension = find(shell)
    if extension is not None:
        extension.uninstall()
