"""The real things that the tests run on: kernels as tiny notebooks, plain scripts, a terminal.

`nb` is a notebook on a real ipykernel in a folder of its own:

    nb.load("job")                          # %load_ext pipestate, %pipe job job
    result = nb.run("x = 1", "%%step s\\nx + 1")
    assert result.value == "2"
    nb.kill()                               # SIGKILL, and a new kernel in the same folder

Results are the page as a front end shows it: `clear_output` and `update_display` reach the cell
they belong to, also later, and so do outputs that a kernel publishes under an earlier cell.
A kernel is started ahead of its use while the test before it runs, and told its folder when it is
taken; no kernel ever serves two tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pexpect
import pytest
import zmq
from hypothesis import HealthCheck, settings
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60.0
"""How long a cell may take before its test fails; no test asserts a time."""
NO_HISTORY = "--HistoryManager.hist_file=:memory:"


# A busy machine is no failure: neither an example's time nor that of making one is judged.
settings.register_profile("pipestate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pipestate")


def child_environment(home: Path) -> dict[str, str]:
    """The environment of kernels and scripts: this checkout importable, nothing of the user's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIPESTATE_", "JPY_", "COV_"))}
    kept.pop("MPLBACKEND", None)
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    own = {"IPYTHONDIR": str(home), "PIPESTATE_KEYS": str(keys_in(home))}
    return {**kept, **own, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def keys_in(home: Path) -> Path:
    """The folder of keys that kernels, scripts and the tests' own process share."""
    return home / "keys"


# --- what a cell showed --------------------------------------------------------------------------


@dataclass
class Result:
    """What one cell shows: it fills while the cell runs, and may change when later cells run."""

    source: str
    cell_id: str | None = None
    page: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    traceback: str = ""
    count: int | None = None
    is_done: bool = False
    clears: bool = False

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The cell's own outputs, as nbformat writes them; badges are not among them."""
        return [one for one in self.page if not is_badge(one)]

    @property
    def badges(self) -> list[dict[str, Any]]:
        """The displays that pipestate added, as they stand now."""
        return [one for one in self.page if is_badge(one)]

    @property
    def states(self) -> list[tuple[str, str]]:
        """(step, state) of each badge."""
        marks = [one["metadata"]["pipestate"] for one in self.badges]
        return [(mark.get("step", ""), mark.get("state", "")) for mark in marks]

    @property
    def stdout(self) -> str:
        return "".join(one["text"] for one in self.page if one.get("name") == "stdout")

    @property
    def stderr(self) -> str:
        return "".join(one["text"] for one in self.page if one.get("name") == "stderr")

    @property
    def value(self) -> str | None:
        """The plain text of the cell's result, or None where it has none."""
        found = [one for one in self.page if one["output_type"] == "execute_result"]
        return str(found[-1]["data"]["text/plain"]) if found else None

    @property
    def text(self) -> str:
        """All that a reader of the page sees, badges and traceback included, as plain text."""
        return "\n".join(
            one["text"] if "text" in one else one.get("data", {}).get("text/plain", "")
            for one in self.page
            if one["output_type"] != "error"
        ) + (f"\n{self.traceback}" if self.traceback else "")


def is_badge(output: Mapping[str, Any]) -> bool:
    """Whether an output is pipestate's own."""
    return "pipestate" in output.get("metadata", {})


class Page:
    """Routes what a kernel publishes to the cell that it belongs to, as a front end does."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.displays: dict[str, list[dict[str, Any]]] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Show one message of the iopub channel."""
        kind, content = message["msg_type"], message["content"]
        if kind == "update_display_data":
            for shown in self.displays.get(content["transient"]["display_id"], []):
                shown.update(data=content["data"], metadata=content["metadata"])
            return
        result = self.results.get(message["parent_header"].get("msg_id", ""))
        if result is None:
            return
        if kind == "status" and content["execution_state"] == "idle":
            result.is_done = True
        elif kind == "clear_output":
            result.clears = content["wait"]
            if not content["wait"]:
                result.page.clear()
        elif kind in ("stream", "display_data", "execute_result", "error"):
            self._show(result, kind, content)

    def _show(self, result: Result, kind: str, content: dict[str, Any]) -> None:
        if result.clears:
            result.page.clear()
            result.clears = False
        last = result.page[-1] if result.page else {}
        if kind == "stream" and last.get("name") == content["name"]:
            last["text"] += content["text"]
            return
        fields = {k: v for k, v in content.items() if k != "transient"}
        output = {"output_type": kind, **fields}
        result.page.append(output)
        display_id = content.get("transient", {}).get("display_id")
        if display_id:
            self.displays.setdefault(display_id, []).append(output)
        if kind == "error":
            result.error = content["ename"]
            result.traceback = without_colours("\n".join(content["traceback"]))


def without_colours(text: str) -> str:
    """`text` without a terminal's escape sequences."""
    return re.sub(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>])", "", text)


# --- kernels -------------------------------------------------------------------------------------


class Kernel:
    """One ipykernel process and the client that talks to it, over sockets in a folder of its own.

    Sockets are files, not ports: tests run side by side, and ports chosen ahead of their use clash.
    """

    def __init__(self, home: Path, context: zmq.Context[Any], env: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nb-"))
        file, _ = write_connection_file(
            str(self.folder / "kernel.json"), transport="ipc", ip=str(self.folder / "k")
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", file, NO_HISTORY],
            cwd=self.folder,
            env={**child_environment(home), **env},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.client = BlockingKernelClient(connection_file=file, context=context)
        self.is_connected = False

    def connect(self, seconds: float = 20.0) -> bool:
        """Wait until the kernel answers on both channels; False if it does not."""
        until = time.monotonic() + seconds
        while not all((self.folder / f"k-{number}").exists() for number in range(1, 6)):
            if self.process.poll() is not None or time.monotonic() > until:
                return False
            time.sleep(0.005)
        self.client.load_connection_file()
        self.client.start_channels(stdin=False, hb=False)
        self.is_connected = True
        while time.monotonic() < until:
            asked = self.client.kernel_info()
            if self._heard(asked):
                return True
        return False

    def _heard(self, asked: str) -> bool:
        """Whether the answer to `asked` and its idle status come within a second.

        A subscription takes effect some time after the connection, and until then all is lost.
        """
        try:
            while self.client.get_shell_msg(timeout=1)["parent_header"].get("msg_id") != asked:
                continue
            while True:
                message = self.client.get_iopub_msg(timeout=1)
                idle = message["content"].get("execution_state") == "idle"
                if idle and message["parent_header"].get("msg_id") == asked:
                    return True
        except queue.Empty:
            return False

    def send(self, code: str, metadata: dict[str, Any] | None = None, silent: bool = False) -> str:
        """Ask for a run of `code`; the id of the request."""
        content = {
            "code": code,
            "silent": silent,
            "store_history": not silent,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        message = self.client.session.msg("execute_request", content, metadata=metadata or {})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def kill(self) -> None:
        """SIGKILL the kernel and whatever it started, and take the sockets away."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.is_connected:
            self.client.stop_channels()
        shutil.rmtree(self.folder, ignore_errors=True)


class Kernels:
    """Starts kernels, the next one always ahead of its use."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.context = zmq.Context()
        self.ahead: Kernel | None = None

    def take(self, cwd: Path, env: Mapping[str, str]) -> Kernel:
        """A kernel that stands in `cwd` with `env` in its environment, its counter at 1."""
        for _ in range(3):
            kernel = self.ahead or Kernel(self.home, self.context, {})
            self.ahead = Kernel(self.home, self.context, {})
            if kernel.connect():
                settle(kernel, cwd, env)
                return kernel
            kernel.kill()
        raise RuntimeError("no kernel starts here")

    def start(self, cwd: Path, env: Mapping[str, str]) -> Kernel:
        """A kernel that has `env` from its very start, for what is read only then."""
        for _ in range(3):
            kernel = Kernel(self.home, self.context, env)
            if kernel.connect():
                settle(kernel, cwd, {})
                return kernel
            kernel.kill()
        raise RuntimeError("no kernel starts here")

    def close(self) -> None:
        if self.ahead is not None:
            self.ahead.kill()
        self.context.destroy(linger=0)


def settle(kernel: Kernel, cwd: Path, env: Mapping[str, str]) -> None:
    """Tell a kernel its folder and environment, and leave no trace in its namespace."""
    asked = kernel.send(
        f"__import__('os').chdir({str(cwd)!r})\n"
        f"__import__('os').environ.update({{'PWD': {str(cwd)!r}, **{dict(env)!r}}})\n"
        f"get_ipython().user_ns['_dh'][:] = [{str(cwd)!r}]",
        silent=True,
    )
    while kernel.client.get_shell_msg(timeout=SECONDS)["parent_header"].get("msg_id") != asked:
        continue


class Notebook:
    """A tiny notebook: cells are sent to a real kernel one after the other.

    `results` holds every cell's result since the start, over restarts. `env` is what each kernel of
    it gets into its environment when it is taken.
    """

    def __init__(self, kernels: Kernels, cwd: Path) -> None:
        self.cwd = cwd
        self.env: dict[str, str] = {}
        self.results: list[Result] = []
        self._kernels = kernels
        self._page = Page()
        self._kernel = kernels.take(cwd, {})

    @property
    def pid(self) -> int:
        return self._kernel.process.pid

    @property
    def states(self) -> list[tuple[str, str]]:
        """(step, state) of every badge on the page, in the order of the runs."""
        return [state for result in self.results for state in result.states]

    def load(self, job: str = "job") -> Result:
        """The two lines with which a notebook starts."""
        for line in ("%load_ext pipestate", f"%pipe job {job}"):
            result = self.run(line)
            assert not result.error, result.traceback
        return result

    def run(self, *cells: str, cell_id: str | None = None) -> Result:
        """Run the cells in order, also after one that fails; the last one's result."""
        for cell in cells:
            result = self.wait(self.begin(cell, cell_id=cell_id))
        return result

    __call__ = run

    def begin(
        self, cell: str, *, cell_id: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Result:
        """Send a cell and do not wait; with `cell_id` as a front end sends it that has one.

        `metadata` adds to the request's own: `{"deletedCells": [...]}`, `{"cellMeta": ...}`.
        """
        known = {"cellId": cell_id} if cell_id is not None else {}
        asked = self._kernel.send(cell, {**known, **(metadata or {})})
        result = Result(cell, cell_id)
        self._page.results[asked] = result
        self.results.append(result)
        return result

    def wait(self, result: Result) -> Result:
        """Wait until the kernel has said that it is done with a cell."""
        self.wait_for(lambda: result.is_done)
        while result.count is None:
            message = self._kernel.client.get_shell_msg(timeout=SECONDS)
            replied = self._page.results.get(message["parent_header"].get("msg_id", ""))
            if replied is not None:
                replied.count = message["content"].get("execution_count", 0)
        return result

    def wait_for(self, truth: Callable[[], object], seconds: float = SECONDS) -> None:
        """Take messages until `truth()`; fails with what the page shows if that takes too long."""
        until = time.monotonic() + seconds
        while not truth():
            try:
                self._page.take(self._kernel.client.get_iopub_msg(timeout=0.2))
            except queue.Empty:
                if self._kernel.process.poll() is not None:
                    raise RuntimeError(f"the kernel died\n{self._shown()}") from None
                if time.monotonic() > until:
                    raise TimeoutError(f"the kernel is not done\n{self._shown()}") from None

    def _shown(self) -> str:
        return "\n".join(f"> {one.source}\n{one.text}" for one in self.results[-3:])

    def complete(self, code: str) -> list[str]:
        """What the kernel offers for Tab at the end of `code`."""
        asked = self._kernel.client.complete(code, len(code))
        while True:
            message = self._kernel.client.get_shell_msg(timeout=SECONDS)
            if message["parent_header"].get("msg_id") == asked:
                return list(message["content"]["matches"])

    def interrupt(self) -> None:
        """The stop button."""
        os.kill(self.pid, signal.SIGINT)

    def kill(self, *, env: Mapping[str, str] | None = None) -> None:
        """SIGKILL the kernel, and start a new one."""
        self._kernel.kill()
        self.env.update(env or {})
        self._kernel = self._kernels.take(self.cwd, self.env)

    def restart(self, *, env: Mapping[str, str] | None = None, from_start: bool = False) -> None:
        """Restart as the menu does: the kernel is asked to leave, and a new one starts.

        With `from_start`, the new kernel has `env` from the start, for what only then is read, as
        `IPYTHONDIR` is.
        """
        control = self._kernel.client
        control.control_channel.send(control.session.msg("shutdown_request", {"restart": True}))
        # ipykernel, leaving, may wait 10 s in one thread for another that has left already; now
        # and then it waits for ever, and is killed, as Jupyter does sooner.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._kernel.process.wait(timeout=30)
        self._kernel.kill()
        self.env.update(env or {})
        take = self._kernels.start if from_start else self._kernels.take
        self._kernel = take(self.cwd, self.env)

    def save(self, *cells: tuple[str, str], name: str = "notebook.ipynb") -> Path:
        """Write (cell id, source) as a notebook file, as a front end saves it.

        The kernel learns the path at its next start, as Jupyter tells it; so save before `kill` or
        `restart` the first time.
        """
        path = self.cwd / name
        rows = [
            {"cell_type": "code", "id": cell_id, "metadata": {}, "source": source}
            | {"outputs": [], "execution_count": None}
            for cell_id, source in cells
        ]
        page = {"cells": rows, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        path.write_text(json.dumps(page), encoding="utf-8")
        self.env["JPY_SESSION_NAME"] = str(path)
        return path

    def close(self) -> None:
        self._kernel.kill()


# --- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ipython_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IPython folder that is nobody's, for every kernel and terminal of this run."""
    return tmp_path_factory.mktemp("ipython")


@pytest.fixture(scope="session")
def kernels(ipython_home: Path) -> Iterator[Kernels]:
    """The starter of kernels."""
    found = Kernels(ipython_home)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, ipython_home: Path) -> None:
    """Nothing that a developer has set for pipestate or IPython reaches a test, keys included."""
    for name in [name for name in os.environ if name.startswith(("PIPESTATE_", "JPY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IPYTHONDIR", str(ipython_home))
    monkeypatch.setenv("PIPESTATE_KEYS", str(keys_in(ipython_home)))


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, which it stands in: notebooks and scripts share its store."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def notebook(kernels: Kernels, cwd: Path) -> Iterator[Callable[..., Notebook]]:
    """Makes notebooks, each with a kernel of its own: `notebook()`, `notebook(cwd=folder)`."""
    made: list[Notebook] = []

    def make(*, cwd: Path = cwd) -> Notebook:
        made.append(Notebook(kernels, cwd))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def nb(notebook: Callable[..., Notebook]) -> Notebook:
    """A notebook on a real kernel, in the test's own folder."""
    return notebook()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes disks of so many bytes, which are there while a test runs; root only."""
    mounted: list[Path] = []

    def make(size: str, *options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs"]
        done = subprocess.run([*words, str(folder)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("no disk can be made here")
        mounted.append(folder)
        return folder

    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root makes disks")
    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(disk: Path, options: str) -> None:
    """Change a disk's size, or whether it may be written to."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


class Terminal:
    """IPython in a terminal, with its simple prompt: `run(cell)` gives what the screen adds.

    A blank line ends a compound statement there, as it does at any Python prompt.
    """

    def __init__(self, home: Path, cwd: Path) -> None:
        options = ["--simple-prompt", "--no-banner", "--no-confirm-exit", "--colors=NoColor"]
        options += [NO_HISTORY, "--TerminalInteractiveShell.term_title=False"]
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", *options],
            cwd=str(cwd),
            env={**child_environment(home), "TERM": "xterm"},
            encoding="utf-8",
            echo=False,
            timeout=SECONDS,
            dimensions=(50, 300),
        )
        self.child.delaybeforesend = None
        self._wait()

    def run(self, *cells: str) -> str:
        """Type the cells, one after the other; the text that came after the last one."""
        shown = ""
        for cell in cells:
            lines = cell.split("\n")
            while lines:
                self.child.sendline(lines.pop(0))
                if not self._wait() and not lines:
                    lines.append("")
            shown = without_colours(self.child.before).replace("\r\n", "\n").strip("\n")
        return shown

    def _wait(self) -> bool:
        """Wait for a prompt; whether it is one for a new cell."""
        prompts = [r"In \[\d+\]: $", r"   \.\.\.: $"]
        return self.child.expect(prompts) == 0

    def kill(self) -> None:
        """SIGKILL."""
        self.child.close(force=True)


@pytest.fixture
def terminal(cwd: Path, ipython_home: Path) -> Iterator[Callable[[], Terminal]]:
    """Opens terminals in the test's folder: `terminal().run("1 + 1")`."""
    opened: list[Terminal] = []

    def make() -> Terminal:
        opened.append(Terminal(ipython_home, cwd))
        return opened[-1]

    yield make
    for one in opened:
        one.kill()


@pytest.fixture
def script(cwd: Path, ipython_home: Path) -> Callable[..., str]:
    """Runs code as a plain Python process in the test's folder: `script(code) -> stdout`.

    `env` adds to the environment. A process that fails fails the test with its traceback, unless
    `check=False`, which gives stdout and stderr together.
    """

    def run(code: str, *, env: Mapping[str, str] | None = None, check: bool = True) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=cwd,
            env={**child_environment(ipython_home), **(env or {})},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if not check:
            return done.stdout + done.stderr
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def shell(cwd: Path, ipython_home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in the test's folder: `shell("status", "--job", "x")`."""

    def run(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipestate", *words],
            cwd=cwd,
            env={**child_environment(ipython_home), **(env or {})},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return run
