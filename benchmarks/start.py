"""What a session waits for before its first cell; nothing here imports what is timed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from statistics import median
from unittest.mock import patch

from .notebooks import Shell
from .rounds import Row, fresh, pair, seconds


def start(room: Path) -> tuple[float, float, float, float]:
    """In a new process: seconds for IPython and a shell, our import, %load_ext, %pipe job."""
    sys.dont_write_bytecode = False
    shell: list[Shell] = []
    bare = seconds(lambda: shell.append(Shell(room)))
    imported = seconds(lambda: __import__("pipestate"))
    return bare, imported, shell[0].run("%load_ext pipestate"), shell[0].run("%pipe job bench")


def script_start() -> tuple[float, float]:
    """In a new process: seconds for diskcache's import, and for what a script needs of ours."""
    sys.dont_write_bytecode = False
    floor = seconds(lambda: __import__("diskcache"))
    return floor, floor + seconds(lambda: __import__("pipestate").Job)


def starts(room: Path, *, rounds: int) -> list[Row]:
    """What a session waits for before its first cell."""
    # As installed: nothing is compiled at each start.
    with patch.dict(os.environ, PYTHONPYCACHEPREFIX=str(room / "compiled")):
        fresh(start, room)
        times = [fresh(start, room) for _ in range(rounds)]
        fresh(script_start)
        script = pair(fresh(script_start) for _ in range(rounds))
    bare = median(one[0] for one in times)
    whole = pair((one[0], sum(one)) for one in times)
    parts = {"import pipestate": 25.0, "%load_ext pipestate": 60.0, "%pipe job": None}
    rows = [
        Row("start", part, median(one[number] for one in times) * 1e3, "ms", target)
        for number, (part, target) in enumerate(parts.items(), 1)
    ]
    beside = f"diskcache alone {script.floor * 1e3:,.0f} ms"
    rows.append(
        Row("start", "import of get and set, by a script", script.ours * 1e3, "ms", None, beside)
    )
    told = f"IPython alone {bare * 1e3:,.0f} ms"
    return [*rows, Row("start", "all three over bare IPython", whole.times, "x", None, told)]
