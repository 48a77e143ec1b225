"""The house checks its own stairs: imports go down, importing costs nothing, names are promised."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pipestate
from pipestate.cell import lookers
from pipestate.store import codefacts

ROOT = Path(pipestate.__file__).parent
MODULES = sorted(module for module in ROOT.rglob("*.py") if module.stat().st_size)

PUBLIC = {
    "DamageError",
    "FormatError",
    "Job",
    "PackError",
    "PipeStateError",
    "StoreError",
    "TrustError",
    "UsageError",
    "__version__",
    "get",
    "jobs",
    "pip",
    "read",
    "set",
    "write",
}


def test_imports_go_down_the_stairs() -> None:
    """The contract in `.importlinter` is kept: floors, purity, no IPython for servers."""
    checker = Path(sys.executable).with_name("lint-imports")
    if not (ROOT.parent / ".importlinter").exists() or not checker.exists():
        pytest.skip("the contract is checked in a checkout that has import-linter")
    done = subprocess.run(
        [checker, "--no-cache"],
        cwd=ROOT.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_pipestate_does_nothing(script: Callable[..., str], cwd: Path) -> None:
    """No file, no thread, and none of the modules that cost time."""
    told = script(
        "import sys, threading\n"
        "import pipestate\n"
        "heavy = 'IPython traitlets diskcache cloudpickle blake3 numpy pandas torch'.split()\n"
        "print(sorted(set(heavy) & set(sys.modules)), threading.active_count())"
    )
    assert told == "[] 1\n"
    assert list(cwd.iterdir()) == []


def test_scripts_and_servers_never_meet_ipython(script: Callable[..., str], cwd: Path) -> None:
    """Neither `Job` nor the shell imports it, and reading makes no store."""
    told = script(
        "import sys\n"
        "import pipestate, pipestate.cli\n"
        "print(pipestate.get('job', step='step', default=7), pipestate.jobs())\n"
        "print(sorted({'IPython', 'traitlets', 'ipykernel', 'numpy'} & set(sys.modules)))"
    )
    assert told == "7 []\n[]\n"
    assert list(cwd.iterdir()) == []


def test_the_public_names_are_these() -> None:
    """What is promised is what `__all__` lists; each of them is there."""
    assert set(pipestate.__all__) == PUBLIC
    assert {name for name in PUBLIC if hasattr(pipestate, name)} == PUBLIC
    assert set(dir(pipestate)) >= PUBLIC


def test_pip_is_pipestate_itself() -> None:
    """`from pipestate import pip` and `import pipestate as pip` are the same."""
    assert pipestate.pip is pipestate


def test_the_version_is_the_same_everywhere(shell: Callable[..., object]) -> None:
    """The shell says what the package says."""
    done = shell("--version")
    assert getattr(done, "stdout", "") == f"pipestate {pipestate.__version__}\n"


def functions() -> Iterator[tuple[str, int]]:
    """Every function of the package with its number of lines."""
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                yield f"{module.relative_to(ROOT)}: {node.name}", node.end_lineno - node.lineno + 1


def test_no_function_outgrows_a_screen() -> None:
    """Fifty lines at most; what decides fits on one screen."""
    assert [name for name, lines in functions() if lines > 50] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_every_room_says_what_it_is_for(module: Path) -> None:
    """A module begins with a docstring."""
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))


def test_no_room_makes_a_dataclass() -> None:
    """One costs up to a millisecond to make when its module is imported, and each instance of a
    frozen one a microsecond; a hundred of them were a fifth of the first look at a store. A struct
    costs a tenth of that."""
    found = [module for module in MODULES if "@dataclass" in module.read_text()]
    assert found == []


def test_a_text_that_names_what_it_reads_is_known_in_cells_and_in_functions() -> None:
    """The two floors do not know each other: their lists are kept the same here."""
    assert codefacts.FRAME_READERS == lookers.FRAME_READERS
