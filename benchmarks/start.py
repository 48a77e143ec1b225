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


def starts(room: Path, *, rounds: int) -> list[Row]:
    """What a session waits for before its first cell."""
    # As installed: nothing is compiled at each start.
    with patch.dict(os.environ, PYTHONPYCACHEPREFIX=str(room / "compiled")):
        fresh(start, room)
        times = [fresh(start, room) for _ in range(rounds)]
    bare = median(one[0] for one in times)
    whole = pair((one[0], sum(one)) for one in times)
    parts = ("import pipestate", "%load_ext pipestate", "%pipe job")
    rows = [
        Row("start", part, median(one[number] for one in times) * 1e3, "ms")
        for number, part in enumerate(parts, 1)
    ]
    told = f"IPython alone {bare * 1e3:,.0f} ms"
    return [*rows, Row("start", "all three over bare IPython", whole.times, "x", None, told)]
