"""Two kinds of notebook to time cells in: a shell in this process, and a real kernel."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

JOB = "bench"
OURS = ("%load_ext pipestate", f"%pipe job {JOB}")
QUIET = "--HistoryManager.hist_file=:memory:"


def environment(room: Path) -> dict[str, str]:
    """What a notebook in the folder `room` is started with: nothing of the user's."""
    root = str(Path(__file__).resolve().parent.parent)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIPESTATE_", "JPY_"))}
    path = os.pathsep.join(filter(None, [root, kept.get("PYTHONPATH")]))
    own = {
        "PYTHONPATH": path,
        "IPYTHONDIR": str(room / "home"),
        "PIPESTATE_STORE": str(room / "store"),
        "PIPESTATE_KEYS": str(room / "keys"),
    }
    return {**kept, **own}


def id_of(cell: str) -> str:
    """The id that a front end gives a cell: of a step one for its name, however it is edited."""
    return hashlib.blake2s(cell.partition("\n")[0].encode(), digest_size=8).hexdigest()


class Shell:
    """IPython in this process, with the extension or without; what cells show goes nowhere."""

    def __init__(self, room: Path) -> None:
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        self.room = room
        os.environ.update(environment(room))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        config = Config()
        config.HistoryManager.hist_file = ":memory:"
        self.shell: Any = InteractiveShell.instance(config=config)
        self.is_loaded = False

    @property
    def names(self) -> dict[str, Any]:
        """The notebook's namespace."""
        names: dict[str, Any] = self.shell.user_ns
        return names

    def run(self, cell: str) -> float:
        """Run a cell; how many seconds it took."""
        name = id_of(cell)
        start = time.perf_counter()
        result = self.shell.run_cell(cell, store_history=True, cell_id=name)
        took = time.perf_counter() - start
        result.raise_error()
        return took

    def load(self, is_wanted: bool = True) -> None:
        """Load the extension and use the job, or take all of it out again."""
        if is_wanted and not self.is_loaded:
            for line in OURS:
                self.run(line)
        elif self.is_loaded and not is_wanted:
            self.run("%unload_ext pipestate")
        self.is_loaded = is_wanted

    def time(self, cells: Iterable[str], *, is_loaded: bool) -> float:
        """The median time of these cells, with the extension or without."""
        self.load(is_loaded)
        return median([self.run(cell) for cell in cells])


class Kernel:
    """A real ipykernel, timed from the request to the last message of its answer."""

    def __init__(self, room: Path, *, lines: Iterable[str] = ()) -> None:
        """Start it and run these lines, each in a cell of its own."""
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(
            kernel_name="python3",
            env=environment(room),
            cwd=str(room),
            extra_arguments=[QUIET, "--log-level=ERROR"],
        )
        for line in lines:
            self.run(line)

    def run(self, cell: str) -> float:
        """Run a cell; how many seconds it took."""
        content = {
            "code": cell,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        metadata = {"cellId": id_of(cell)}
        start = time.perf_counter()
        asked = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(asked)
        sent = asked["header"]["msg_id"]
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["content"].get("execution_state") == "idle":
                break
        reply = self.client.get_shell_msg(timeout=60)
        took = time.perf_counter() - start
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"]["traceback"]))
        return took

    def time(self, cells: Iterable[str]) -> float:
        """The median time of these cells."""
        return median([self.run(cell) for cell in cells])

    def ask(self, expression: str) -> str:
        """What an expression is in the kernel, as text, without a cell."""
        sent = self.client.execute("", silent=True, user_expressions={"asked": expression})
        reply = self.client.get_shell_msg(timeout=60)
        while reply["parent_header"].get("msg_id") != sent:
            reply = self.client.get_shell_msg(timeout=60)
        return str(reply["content"]["user_expressions"]["asked"]["data"]["text/plain"])

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def expect(room: Path, step: str, event: str) -> None:
    """Make sure that what was timed is what happened: the last run of a step."""
    import pipestate  # its import is among what is timed

    runs = [run for run in pipestate.Job(JOB, store=room / "store").history() if run.step == step]
    if not runs or runs[-1].event != event:
        raise RuntimeError(f"{step} should have {event}: {runs[-1:]}")
