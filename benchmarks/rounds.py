"""Rounds in pairs: the floor and pipestate take turns, so that a busy machine slows down both.

A figure is the median over the rounds, of their ratio or of their difference, never a ratio of
medians from different minutes. The first rounds warm memory and page cache and are not counted.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Timed = Callable[[], float]
"""Does something once and says how many seconds the part of interest took."""

CHUNK = 256 << 20
WARMING = 2


@dataclass(frozen=True)
class Row:
    """One line of the table. `target` is what `value` should not exceed, where there is one.

    A `value` of None was not taken, and `beside` says why. `panel` and `bar` say where in the
    picture it stands; `points` are the sizes and seconds that an exponent was fitted to.
    """

    group: str
    what: str
    value: float | None
    unit: str
    target: float | None = None
    beside: str = ""
    panel: str = ""
    bar: str = ""
    points: tuple[tuple[float, float], ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the target is met, in a word."""
        if self.target is None or self.value is None:
            return ""
        return "ok" if self.value <= self.target else "MISSED"


@dataclass(frozen=True)
class Pair:
    """Medians over the rounds; `times` is ours over the floor, `added` ours less the floor."""

    floor: float
    ours: float
    times: float
    added: float

    def __str__(self) -> str:
        return f"{self.ours * 1e3:,.2f} ms over {self.floor * 1e3:,.2f} ms"


def paired(rounds: int, floor: Timed, ours: Timed, *, most_seconds: float = math.inf) -> Pair:
    """Let the two take turns, each going first in every other round.

    Once `most_seconds` are over no further round begins, so that a peer which takes a minute a
    round does not make an hour of it; one round is always counted.
    """
    end = time.perf_counter() + most_seconds
    for number in range(WARMING):
        if number and time.perf_counter() > end:
            break
        floor()
        ours()
    both: list[tuple[float, float]] = []
    for number in range(rounds):
        if both and time.perf_counter() > end:
            break
        if number % 2:
            second = ours()
            first = floor()
        else:
            first = floor()
            second = ours()
        both.append((first, second))
    return pair(both)


def pair(both: Iterable[tuple[float, float]]) -> Pair:
    """The medians of (floor, ours) in seconds."""
    both = list(both)
    return Pair(
        median(floor for floor, _ in both),
        median(ours for _, ours in both),
        median(ours / floor for floor, ours in both),
        median(ours - floor for floor, ours in both),
    )


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def fresh(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of a call in a process of its own, as after a restart."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def write(path: Path, buffers: Iterable[Any]) -> None:
    """The floor of keeping: these bytes into one new file, nothing else."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            done = 0
            while done < view.nbytes:
                done += os.write(fd, view[done : done + CHUNK])
    finally:
        os.close(fd)


def read_seconds(path: Path) -> float:
    """A file read into memory that has been touched before: a floor that nobody stands on after a
    restart, for comparison."""
    memory = memoryview(bytearray(path.stat().st_size))

    def read() -> None:
        with open(path, "rb", buffering=0) as file:
            done = 0
            while done < len(memory):
                done += file.readinto(memory[done : done + CHUNK])

    read()
    return seconds(read)


def read_new_seconds(path: Path) -> float:
    """The floor of loading: a file read into new memory, which is all that a process has after a
    restart. By it `pickle.load` of a big array or frame takes 0.8 to 1.1 times a raw read."""
    path.read_bytes()
    return seconds(path.read_bytes)


def bytes_in(folder: Path) -> int:
    """The sizes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
