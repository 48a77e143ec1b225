"""What pipestate adds to a cell: plain, step that runs, step that is restored, code inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from pipestate.cell.names import analyse
from pipestate.cell.source import normal

from .notebooks import OURS, Kernel, Shell, expect
from .rounds import Row, paired, seconds

Timer = Callable[[Iterable[str]], float]

CODE = {
    "loops": """
total = 0
for i in range(300_000):
    total += i % 7
""",
    "calls": """
def half(x):
    return x // 2
total = 0
for i in range(150_000):
    total += half(i)
""",
    "recursion": """
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
fib(25)
""",
    "pandas calls": """
import pandas as pd
frame = pd.DataFrame({"key": [i % 7 for i in range(1000)], "value": range(1000)})
for i in range(60):
    frame.groupby("key")["value"].sum()
    frame["value"].rolling(5).mean()
""",
}
TIMED = """
from time import perf_counter as clock
began = clock()
{code}
took = clock() - began
"""


def in_process(room: Path, *, rounds: int, cells: int) -> list[Row]:
    """Cells of a shell in this process."""
    shell = Shell(room)
    rows = added(
        "in process",
        room,
        lambda cells: shell.time(cells, is_loaded=False),
        lambda cells: shell.time(cells, is_loaded=True),
        rounds=rounds,
        cells=cells,
    )
    shell.load()
    for one in range(100):
        shell.run(f"%%step step_{one}\nname_{one} = {one}")
    number = count(1_000_000)
    pair = paired(
        rounds,
        lambda: shell.time(["q = 1"] * cells, is_loaded=False),
        lambda: shell.time(_edited(number, cells), is_loaded=True),
    )
    return [
        *rows,
        Row("in process", "the same among 100 others", pair.added * 1e3, "ms", 3.0, str(pair)),
    ]


def in_kernels(room: Path, *, rounds: int, cells: int) -> list[Row]:
    """Cells of two real kernels, one with the extension and one without."""
    bare, ours = Kernel(room), Kernel(room, lines=OURS)
    try:
        rows = added("ipykernel", room, bare.time, ours.time, rounds=rounds, cells=cells)
        return rows + _for_scale(bare, rounds=rounds, cells=cells)
    finally:
        bare.close()
        ours.close()


def added(
    group: str, room: Path, bare: Timer, ours: Timer, *, rounds: int, cells: int
) -> list[Row]:
    """What is added to trivial cells: `bare` and `ours` run cells without and with pipestate."""
    plain = ["q = 1"] * cells
    number = count()
    rows = []

    def row(what: str, target: float, step_cells: Callable[[], list[str]]) -> None:
        pair = paired(rounds, lambda: bare(plain), lambda: ours(step_cells()))
        rows.append(Row(group, what, pair.added * 1e3, "ms", target, str(pair)))

    row("added to a plain cell", 0.3, lambda: plain)
    row("added to a step that runs", 3.0, lambda: _edited(number, cells))
    expect(room, "trivial", "ran")
    ours(["%%step trivial\nq = 1"])
    row("added to a step that is restored", 2.0, lambda: ["%%step trivial\nq = 1"] * cells)
    expect(room, "trivial", "restored")
    return rows


SCALE = """
import time
publish = get_ipython().display_pub.publish
page = {"text/plain": "trivial: ran in 0 ms", "text/html": "<div>" + 300 * "x" + "</div>"}
def show():
    publish(data=page, metadata={"a": {"b": "c"}}, transient={"display_id": "one"})
def work():
    end = time.thread_time() + 0.002
    while time.thread_time() < end:
        pass
"""


def _for_scale(bare: Kernel, *, rounds: int, cells: int) -> list[Row]:
    """What a kernel without pipestate takes for a message like a badge, and for some work."""
    bare.run(SCALE)
    rows = []
    for what, cell in (
        ("a display like a badge", "show()"),
        ("two milliseconds of work", "work()"),
    ):
        plain, busy = (partial(bare.time, [one] * cells) for one in ("q = 1", cell))
        pair = paired(rounds, plain, busy)
        what = f"for scale: added by {what}, without pipestate"
        rows.append(Row("ipykernel", what, pair.added * 1e3, "ms", None, str(pair)))
    return rows


FRAME = """
import pandas as pd
df = pd.DataFrame({f"c{i}": range(1000) for i in range(10)})
def share(column, total):
    return column / total
"""
CELL = """
# What the {at}th of many analysts might ask.
total_{at} = int(df["c{column}"].sum())
part_{at} = share(df["c{column}"], total_{at} or {at})
high_{at} = part_{at}[part_{at} > part_{at}.mean()]
text_{at} = f"{{len(high_{at})}} of {{len(part_{at})}} above the mean"
"""


def notebook(room: Path, *, cells: int) -> list[Row]:
    """A notebook of steps, each with analysis, digests of what it read and made, and a commit."""
    sources = [CELL.format(at=at, column=at % 10) for at in range(cells)]
    shell = Shell(room)
    shell.load(False)
    shell.run(FRAME)
    bare = [shell.run(source) for source in sources]
    shell.load()
    shell.run(f"%%step frame\n{FRAME}")
    first = [shell.run(f"%%step s{at}{source}") for at, source in enumerate(sources)]
    again = [shell.run(f"%%step s{at}{source}") for at, source in enumerate(sources)]
    expect(room, f"s{cells - 1}", "restored")
    analysis = [seconds(lambda one=one: (analyse(one + "#"), normal(one + "#"))) for one in sources]  # type: ignore[misc]
    what = f"notebook of {cells} steps, each cell"
    return [
        Row("notebook", f"{what}: analysis alone", median(analysis) * 1e3, "ms"),
        Row("notebook", f"{what}: added when it runs", _added(first, bare), "ms"),
        Row("notebook", f"{what}: its last quarter", _added(first[-cells // 4 :], bare), "ms"),
        Row("notebook", f"{what}: added when it is restored", _added(again, bare), "ms"),
    ]


def _added(times: Iterable[float], bare: Iterable[float]) -> float:
    return (median(times) - median(bare)) * 1e3


def _edited(number: Iterator[int], cells: int) -> list[str]:
    return [f"%%step trivial\nq = {next(number)}" for _ in range(cells)]


def code(room: Path, *, rounds: int) -> list[Row]:
    """The speed of code inside cells, taken inside of them."""
    shell = Shell(room)

    def took(cell: str, *, is_loaded: bool) -> float:
        shell.load(is_loaded)
        shell.run(cell)
        return float(shell.names["took"])

    rows = []
    for what, source in CODE.items():
        cell = TIMED.format(code=source)
        for kind, line in (("plain cell", ""), ("step", "%%step code --always\n")):
            pair = paired(
                rounds,
                lambda cell=cell: took(cell, is_loaded=False),  # type: ignore[misc]
                lambda cell=line + cell: took(cell, is_loaded=True),  # type: ignore[misc]
            )
            rows.append(Row("code", f"{what} in a {kind}", pair.times, "x", 1.03, str(pair)))
    return rows
