"""What extensions of IPython add to a trivial cell, in a process and through a real kernel.

Each has a process of its own: to take an extension out again is a promise that few make.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from .notebooks import OURS, Kernel, Shell
from .rounds import Row, Timed, paired

EXTENSIONS: dict[str, tuple[str, ...]] = {"pipestate": OURS, "ipyflow": ("%load_ext ipyflow",)}

PLAIN = "q = 1"


def added_by_extensions(room: Path, *, rounds: int, cells: int) -> Iterator[Row]:
    """A row for each extension and each way to run cells, and one for pipestate's steps."""
    for where, opened in (("in process", _processes), ("ipykernel", _kernels)):
        panel = f"added to a trivial cell, {where}"
        for name, lines in EXTENSIONS.items():
            if importlib.util.find_spec(name) is None:
                why = f"left out: {name} is not installed"
                yield Row("peers", f"{panel}: {name}", None, "ms", beside=why)
                continue
            own = room / f"{where}-{name}".replace(" ", "-")
            own.mkdir()
            with opened(own, lines, cells) as (bare, ours, steps):
                bars = {name: ours}
                if name == "pipestate":
                    bars["pipestate, a step"] = steps
                for bar, timed in bars.items():
                    pair = paired(rounds, bare, timed)
                    what, added = f"{panel}: {bar}", pair.added * 1e3
                    yield Row("peers", what, added, "ms", None, str(pair), panel=panel, bar=bar)


@contextmanager
def _kernels(room: Path, lines: Sequence[str], cells: int) -> Iterator[tuple[Timed, Timed, Timed]]:
    bare, ours = Kernel(room), Kernel(room, lines=lines)
    number = count()
    try:
        yield (
            lambda: bare.time([PLAIN] * cells),
            lambda: ours.time([PLAIN] * cells),
            lambda: ours.time(_steps(number, cells)),
        )
    finally:
        bare.close()
        ours.close()


@contextmanager
def _processes(
    room: Path, lines: Sequence[str], cells: int
) -> Iterator[tuple[Timed, Timed, Timed]]:
    spawn = get_context("spawn")
    number = count()
    with ProcessPoolExecutor(1, spawn) as bare, ProcessPoolExecutor(1, spawn) as ours:
        ours.submit(timed_here, room, lines).result()
        yield (
            lambda: bare.submit(timed_here, room, [PLAIN] * cells).result(),
            lambda: ours.submit(timed_here, room, [PLAIN] * cells).result(),
            lambda: ours.submit(timed_here, room, _steps(number, cells)).result(),
        )


def _steps(number: Iterator[int], cells: int) -> list[str]:
    return [f"%%step trivial\nq = {next(number)}" for _ in range(cells)]


@functools.cache
def _shell(room: Path) -> Shell:
    return Shell(room)


def timed_here(room: Path, cells: Sequence[str]) -> float:
    """The median time of these cells in the one shell of this process."""
    return median([_shell(room).run(cell) for cell in cells])
