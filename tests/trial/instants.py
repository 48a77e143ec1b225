"""At each instant: strace lets a process die, or a disk be full, at the n-th call of a kind.

That is below Python and SQLite, so nothing has to be patched, and no write is forgotten.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "write", "pwrite64", "ftruncate", "rename", "unlink", "mkdir", "fsync", "fdatasync", "fcntl",
)  # fmt: skip

MAY_BE_FULL = ("pwrite64", "ftruncate", "rename", "mkdir", "fsync", "fdatasync")
"""Of these a full disk may be the answer. A notebook prints by `write`: `test_limits` has that."""

SYNCS = ("fsync", "fdatasync")
"""Few, unless a store is durable."""

ROOT = Path(__file__).parents[2]

CODE = """
import sys
sys.path.insert(0, {root!r})
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
from pipestate.extension import find
from tests.trial.referee import value

config = Config()
config.HistoryManager.enabled = False
config.PipeState.store = sys.argv[1]
config.PipeState.durable = sys.argv[2] == "durable"
config.PipeState.keep_runs = 1
shell = InteractiveShell.instance(config=config, user_ns={{"value": value}})
shell.run_cell("%load_ext pipestate")
shell.run_cell("%pipe job trial")

def run(step, number):
    heads = lambda: find(shell).session.ledger.pipe.heads
    before = heads().get(step)
    shell.run_cell(f"%%step {{step}}\\n{{step}} = value('cell', {{number}})")
    shell.run_cell(f"{{step}};")  # what is restored is loaded when a cell names it
    if shell.user_ns.get(step) != value("cell", number):
        sys.exit(f"{{step}} does not stand in memory")
    if heads().get(step) != before:
        print("done", step, number, file=sys.stderr, flush=True)

run("cell_1", 1)
run("cell_4", 4)
run("cell_1", 2)
shell.run_cell("%pipe gc")
"""
"""A notebook without a front end: two steps, one of them once more, and a sweep."""


@functools.cache
def is_possible() -> bool:
    """Whether there is a strace here that may trace."""
    if shutil.which("strace") is None:
        return False
    return not subprocess.run(
        ["strace", "-qq", "true"], capture_output=True, check=False
    ).returncode


def run(folder: Path, *words: str, durable: bool = False) -> tuple[int, dict[str, int], str]:
    """Run the code under strace: its exit code, the steps it said were done, and its output."""
    code = CODE.format(root=str(ROOT))
    python = [sys.executable, "-c", code, str(folder), "durable" if durable else ""]
    done = subprocess.run(
        ["strace", "-f", "-qq", *words, *python],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    if done.returncode == 1:
        raise RuntimeError(done.stderr)
    told = re.findall(r"^done (\w+) (\d+)$", done.stderr, re.M)
    return done.returncode, {step: int(number) for step, number in told}, done.stdout


@dataclass(frozen=True)
class Struck:
    """A run that was struck: its store, the steps that it had said were done, what it showed."""

    store: Path
    done: dict[str, int]
    shown: str


def at_each(
    call: str, fault: str, folder: Path, *, first: int = 1, stride: int = 1, durable: bool = False
) -> Iterator[Struck]:
    """Runs with a fault at the first, second, ... call of a kind, each on a store of its own, until
    there is no such call left."""
    log, count = folder / "log", first
    while True:
        store = folder / f"{call}-{count}"
        inject = f"inject={call}:{fault}:when={count}"
        words = ("-e", f"trace={call}", "-e", inject, "-o", str(log))
        code, done, shown = run(store, *words, durable=durable)
        told = log.read_text(errors="replace")
        if "INJECTED" not in told and "killed by SIGKILL" not in told:
            assert code == 0
            assert len(done) == 2
            return
        yield Struck(store, done, shown)
        count += stride
