"""One IPython shell that plays sessions: what a front end would see of them.

A restart unloads the extension, empties the namespace and loads the extension again, which takes a
few milliseconds where a new process takes a second.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .top import Shown, Text, tidy

Action = tuple[Any, ...]
"""("run", step, statements), ("plain", statements), ("restart",), ("all",), ("probe", how)."""


@dataclass
class Difference(Exception):
    """Where a session and the run from the top part."""

    kind: str
    text: str
    at: int = -1

    def __str__(self) -> str:
        return f"[{self.kind}] action {self.at}: {self.text}"


@dataclass
class Event:
    """What reached the front end: ("out", text), ("result", text), ("badge", step, state, why)."""

    kind: str
    text: str
    step: str = ""
    why: str = ""


class Kernel:
    """One IPython shell that plays sessions, one after the other, each with a store of its own."""

    def __init__(self, *, xmode: str = "Minimal") -> None:
        from IPython.core.displayhook import DisplayHook
        from IPython.core.displaypub import DisplayPublisher
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets import Type
        from traitlets.config import Config

        events: list[Event] = []

        class Hook(DisplayHook):  # type: ignore[misc]
            def write_output_prompt(self) -> None:
                return

            def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
                events.append(Event("result", tidy(format_dict["text/plain"])))

            def finish_displayhook(self) -> None:
                self._is_active = False

        class Publisher(DisplayPublisher):  # type: ignore[misc]
            def publish(self, data: Any, metadata: Any = None, **options: Any) -> None:
                about = (metadata or {}).get("pipestate")
                if about is None:
                    super().publish(data, metadata, **options)
                else:
                    why = data.get("text/plain", "")
                    step, state = about.get("step", ""), about.get("state", "")
                    events.append(Event("badge", state, step, why))

        class Shell(InteractiveShell):  # type: ignore[misc]
            displayhook_class = Type(Hook)
            display_pub_class = Type(Publisher)

        config = Config()
        config.HistoryManager.enabled = False
        config.HistoryManager.hist_file = ":memory:"
        config.InteractiveShell.colors = "nocolor"
        config.InteractiveShell.xmode = xmode  # long tracebacks take most of a session's time
        self._main = sys.modules["__main__"]
        self.shell = Shell(config=config)
        self.events = events
        self.shell.user_module.__name__ = "__main__"
        self._base = dict(self.shell.user_ns)
        self._folder = ""
        self._cwd = os.getcwd()
        self._is_loaded = False

    def text_of(self, value: Any) -> str:
        """A result as the shell shows it."""
        return str(self.shell.display_formatter.format(value)[0]["text/plain"])

    @contextlib.contextmanager
    def session(self, salt: int) -> Iterator[None]:
        """A new folder and store, an empty namespace."""
        root = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self._folder = tempfile.mkdtemp(prefix="oracle-", dir=root)
        state, main = random.getstate(), sys.modules["__main__"]
        random.seed(salt)
        kept = os.environ.pop("PIPESTATE_STORE", None)
        try:
            os.chdir(self._folder)
            sys.modules["__main__"] = self.shell.user_module
            self.start()
            yield
        finally:
            self.stop()
            if kept is not None:
                os.environ["PIPESTATE_STORE"] = kept
            random.setstate(state)
            sys.modules["__main__"] = main
            os.chdir(self._cwd)
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """A kernel comes up: load the extension, take the job."""
        self.cell("%load_ext pipestate")
        self.cell("%pipe job oracle")
        self._is_loaded = True

    def stop(self) -> None:
        """The kernel goes away with all that it has in memory."""
        if not self._is_loaded:
            return
        self._is_loaded = False
        self.cell("%unload_ext pipestate")
        ns = self.shell.user_ns
        ns.clear()
        ns.update(self._base)
        ns["_oh"].clear()
        hook = self.shell.displayhook  # its own flush() collects garbage, which takes long
        hook._ = hook.__ = hook.___ = ""
        ns.update(_="", __="", ___="")
        self.shell.user_ns_hidden.clear()
        self.shell.execution_count = 1

    def restart(self) -> None:
        self.stop()
        random.seed(random.randrange(10**6))
        self.start()

    def cell(
        self, source: str, cell_id: str | None = None
    ) -> tuple[list[Event], BaseException | None]:
        """Run one cell: what was shown, and what it raised."""
        self.events.clear()
        stream, stdout, stderr = _Events(self.events), sys.stdout, sys.stderr
        sys.stdout = stream  # type: ignore[assignment]
        sys.stderr = Text()  # type: ignore[assignment]
        try:
            with _at_most(SECONDS, source):
                result = self.shell.run_cell(source, store_history=True, cell_id=cell_id)
        finally:
            sys.stdout, sys.stderr = stdout, stderr
        error = result.error_before_exec or result.error_in_exec
        if isinstance(error, _Hangs):  # IPython shows this one too
            raise Difference("hang", f"{source!r} does not end")
        return list(self.events), error

    def names(self) -> dict[str, Any]:
        """The user's names in the namespace, as they are."""
        return {
            name: value
            for name, value in self.shell.user_ns.items()
            if name not in self._base and not re.fullmatch(r"_+|_i+|_i?\d+|__.*|_exit_code", name)
        }


class _Hangs(BaseException):
    """A cell that does not come to an end; no `except Exception` on the way holds it."""


SECONDS = 20.0
"""How long a cell may take: a bound against loops without end."""


@contextlib.contextmanager
def _at_most(seconds: float, source: str) -> Iterator[None]:
    def ring(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 1.0)  # somebody may catch the first
        raise _Hangs(source)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Hangs:
        signal.setitimer(signal.ITIMER_REAL, 0)
        where = traceback.extract_tb(sys.exc_info()[2])[-1]
        raise Difference("hang", f"{source!r} at {where.filename}:{where.lineno}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Events(Text):
    def __init__(self, events: list[Event]) -> None:
        super().__init__()
        self._events = events

    def write(self, text: str) -> int:
        self._events.append(Event("out", text))
        return len(text)


def shown_by(step: str, events: Sequence[Event]) -> tuple[Shown, str]:
    """What a step's own run or restore showed, and which of the two it was.

    The badge stands below what a run shows and above what a restore replays; steps that ran for
    its sake show before that, above badges of their own.
    """
    own: list[Event] = []
    state = ""
    for event in events:
        if event.kind == "badge" and event.text != "note":
            if event.step == step:
                state = event.text
            if event.step != step or state == "restored":
                own = []
        elif event.kind != "badge":
            own.append(event)
    out = "".join(e.text for e in own if e.kind == "out")
    results = [e.text for e in own if e.kind == "result"]
    return Shown(tidy(out), results[-1] if results else None), state
