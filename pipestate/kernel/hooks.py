"""Where pipestate meets IPython's run of a cell: the few places that know its insides.

    cleanup_transforms   takes the `%%step` line off, so that the body is an ordinary cell
    pre_run_cell         notes that a cell begins (see `underway`)
    ast_transformers     asks the session; a restored step's body becomes empty
    post_run_cell        tells the session how it ended

What must stop a cell is raised from the AST transformer as `InputRejected`: IPython prints and
forgets what an event callback raises.
"""

from __future__ import annotations

import ast
import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import TYPE_CHECKING, Any

from IPython.core.error import InputRejected
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult

from ..cell import parsed
from ..errors import PipeStateError
from .underway import Cell, Cells, is_last

if TYPE_CHECKING:
    from .trial import Task

Undo = Callable[[], None]
_log = logging.getLogger(__name__)
Enter = Callable[[str, str, str, ast.Module, bool], ast.Module]
Leave = Callable[[BaseException | None], None]
GiveUp = Callable[[BaseException], None]


class StepRefused(InputRejected):
    """A cell that does not run, and the one line that says why."""

    def _render_traceback_(self) -> list[str]:
        return [f"pipestate: {self}"]


class Whole(ast.Module):
    """A cell's tree as Python's parser made it, to be run: every line number is there.

    Where there are transformers, IPython goes over the whole tree to fill in those that are
    missing, which takes as long as to parse it. In this one it finds nothing to go over, and what
    it runs is the list of statements. Nobody else is handed it.
    """

    _fields = ()

    def __init__(self, tree: ast.Module) -> None:
        super().__init__(body=tree.body, type_ignores=tree.type_ignores)


class CellHooks:
    """The hooks around every cell of one shell: `install()` gives what takes them out again."""

    def __init__(self, shell: Any, enter: Enter, leave: Leave, give_up: GiveUp) -> None:
        self._shell = shell
        self._give_up = give_up
        self._enter = enter
        self._leave = leave
        self._cells = Cells(shell)

    def install(self) -> Undo:
        """Put all hooks in."""
        shell = self._shell
        transforms = shell.input_transformer_manager.cleanup_transforms
        transforms.append(take_line_off)
        shell.events.register("pre_run_cell", self.pre_run_cell)
        shell.events.register("post_run_cell", self.post_run_cell)
        shell.ast_transformers.append(self)

        def undo() -> None:
            transforms.remove(take_line_off)
            shell.events.unregister("pre_run_cell", self.pre_run_cell)
            shell.events.unregister("post_run_cell", self.post_run_cell)
            if self in shell.ast_transformers:
                shell.ast_transformers.remove(self)

        return undo

    def pre_run_cell(self, info: ExecutionInfo) -> None:
        """A cell begins."""
        self._cells.begin(info)

    def visit(self, tree: ast.Module) -> ast.Module:
        """The body that the session has for the cell that begins."""
        cell = self._cells.transformed()
        if cell is None:
            return tree
        for dead in self._cells.dead():
            self._end(dead, KeyboardInterrupt())
        is_nested = self._cells.are_entered()
        cell.is_entered = True
        raw = str(cell.info.raw_cell)
        known = getattr(cell.info, "transformed_cell", None)
        made = known or self._shell.transform_cell(raw)
        try:
            if known and cell.is_parsed(self._shell, self):
                parsed.lend(made, tree)
                tree = Whole(tree) if is_last(self._shell) else tree
            return self._enter(raw, made, cell.info.cell_id or "", tree, is_nested)
        except PipeStateError as error:
            raise StepRefused(str(error)) from None
        except KeyboardInterrupt as error:
            # IPython expects none here, and would leave the cell without its end.
            self._give_up(error)
            raise StepRefused("interrupted before the cell ran") from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - our own mistake, or a user's pickling hook
            # IPython would take the transformer out for good.
            _log.debug("before a cell", exc_info=True)
            self._give_up(error)
            return tree
        finally:
            parsed.take_back()

    def post_run_cell(self, result: ExecutionResult | None) -> None:
        """A cell has ended."""
        cell = self._cells.ended(result)
        if cell is None:
            return  # one that an interrupt kept from beginning: it is part of what runs it
        for dead in self._cells.above(cell):
            self._end(dead, KeyboardInterrupt())
        error = result.error_before_exec or result.error_in_exec if result else KeyboardInterrupt()
        self._end(cell, error)

    def _end(self, cell: Cell, error: BaseException | None) -> None:
        """End a cell, with what its body raised; never raises."""
        is_entered, cell.is_entered = cell.is_entered, False  # once, whatever comes in between
        try:
            if is_entered:
                self._leave(error)
        except KeyboardInterrupt as interrupt:
            self._give_up(interrupt)
        except (Exception, SystemExit) as mistake:  # noqa: BLE001 - our own mistake, or a user's pickling hook
            # The values stand in memory, and the record in force as it was.
            _log.debug("after a cell", exc_info=True)
            self._give_up(mistake)
        finally:
            self._cells.forget(cell)


def take_line_off(lines: list[str]) -> list[str]:
    """The cell without its `%%step` line; an empty one stays, so that line numbers fit.

    Before another cell magic nothing stays, or IPython would not see that magic.
    """
    if not lines or not is_step_line(lines[0]):
        return lines
    rest = lines[1:]
    for number, line in enumerate(rest):
        if line.startswith("%%"):
            return rest[number:]
        if line.strip():
            break
    return ["\n", *rest]


# Whether a cell is complete is asked of the text as it stands: a step is typed line by line.
take_line_off.has_side_effects = True  # type: ignore[attr-defined]


def is_step_line(line: str) -> bool:
    """Whether a line begins a step (`%%step?` asks for help instead)."""
    words = line.split(None, 1)
    return bool(words) and words[0] == "%%step" and line.startswith("%%step")


def run_body(shell: Any, task: Task) -> BaseException | None:
    """Run a step's body inside the cell that runs now, as the shell would; what it raised.

    IPython runs the nodes itself, so the last expression is displayed, tracebacks have the step's
    own lines, and errors are shown. A body that awaits gets an event loop in a thread of its own,
    since the kernel's loop is busy with this cell.
    """
    compiler, hook = shell.compile, shell.displayhook
    name = compiler.cache(task.transformed, shell.execution_count, raw_code=task.source)
    result = ExecutionResult(None)  # type: ignore[no-untyped-call]
    outer = getattr(hook, "exec_result", None)
    hook.exec_result = result
    try:
        tree = compiler.ast_parse(task.transformed, filename=name)
        tree = shell.transform_ast(tree)
        body = shell.run_ast_nodes(
            tree.body,
            name,
            interactivity=shell.ast_node_interactivity,
            compiler=compiler,
            result=result,
        )
        (_run_in_thread if task.names.is_async else _run_here)(body)
    except SyntaxError as error:
        shell.showsyntaxerror()
        return error
    finally:
        hook.exec_result = outer
        flush_figures()
    return result.error_before_exec or result.error_in_exec


def _run_here(body: Coroutine[Any, Any, Any]) -> None:
    try:
        body.send(None)
    except StopIteration:
        return
    body.close()
    raise RuntimeError("a body that awaits was run as one that does not")


def _run_in_thread(body: Coroutine[Any, Any, Any]) -> None:
    # A shell that is neither a kernel nor a terminal has no asyncio yet, and the import takes a
    # sixth of what `%load_ext` does; only a body that awaits needs it.
    run = import_module("asyncio").run
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(run, body), daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)  # so that an interrupt gets through


def flush_figures() -> None:
    """Show the figures of the body that has just run, before the next one draws its own."""
    inline = sys.modules.get("matplotlib_inline.backend_inline")
    if inline is not None:
        inline.flush_figures()
