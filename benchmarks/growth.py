"""How figures grow with what they may grow with: each measured at several sizes, and an exponent.

The exponent is the slope of a line through the points on double-logarithmic paper: 0 is flat, 1 is
in proportion. What it costs at any size bends the line at its lower end, so the sizes begin where
that is not all there is to see.
"""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import linear_regression, median

from . import jobs, peers
from .notebooks import Shell, expect
from .rounds import Row, fresh

FLAT = 0.2
LINEAR = 1.1
"""What an exponent should not exceed: the rest of 0.2 and 0.1 is noise."""

Points = Sequence[tuple[float, float]]


def exponent(points: Points) -> float:
    """The slope of the line through (size, seconds) on double-logarithmic paper."""
    logs = [(math.log(size), math.log(took)) for size, took in points]
    return linear_regression([x for x, _ in logs], [y for _, y in logs]).slope


def row(what: str, unit: str, target: float, points: Points) -> Row:
    """The row of an exponent; beside it the first and the last of its points."""
    ends = [f"{took * 1e3:,.3g} ms at {size:,.0f}" for size, took in (points[0], points[-1])]
    told = f"{' to '.join(ends)} {unit}"
    return Row(
        "growth",
        f"{what}, by {unit}",
        exponent(points),
        "exponent",
        target,
        told,
        points=tuple(points),
    )


def up_to(most: int, count: int) -> list[int]:
    """So many sizes up to the biggest, each three times the one before or about that."""
    return [round(most / math.sqrt(10) ** at) for at in reversed(range(count))]


def grown(room: Path, *, small: bool) -> list[Row]:
    """All that is measured at several sizes."""
    tasks: tuple[Callable[[Path, bool], list[Row]], ...] = (_cells, _steps, _job, _bytes)
    rows = []
    for task in tasks:
        own = room / task.__name__
        own.mkdir()
        rows += task(own, small)
        shutil.rmtree(own)
    return rows


def _cells(room: Path, small: bool) -> list[Row]:
    sizes = up_to(1000 if small else 10_000, 4 if small else 5)
    plain, steps = fresh(cells_after, room, sizes)
    return [
        row("plain cell", "cells before it", FLAT, plain),
        row("step that runs", "cells before it", FLAT, steps),
    ]


def _steps(room: Path, small: bool) -> list[Row]:
    others = up_to(100 if small else 1000, 3 if small else 4)
    upstream = up_to(30 if small else 300, 3)
    by_others, by_upstream = room / "others", room / "upstream"
    by_others.mkdir()
    by_upstream.mkdir()
    return [
        row("step that runs", "steps of its job", FLAT, fresh(steps_among, by_others, others)),
        row("step that runs", "steps upstream", LINEAR, fresh(steps_after, by_upstream, upstream)),
    ]


def _job(room: Path, small: bool) -> list[Row]:
    rows = []
    for what, most in (("runs", 3000 if small else 100_000), ("steps", 300 if small else 10_000)):
        points: dict[str, list[tuple[float, float]]] = {}
        for size in up_to(most, 3):
            steps, runs = (100, size) if what == "runs" else (size, size)
            own = room / f"{what}-{size}"
            own.mkdir()
            first, _ = jobs.made_and_looked(own, steps=steps, runs=runs)
            for name, took in first.items():
                points.setdefault(name, []).append((size, took))
            shutil.rmtree(own)
        flat = ("open", "status", "status again") if what == "runs" else ()
        rows += [
            row(f"{name} of a job", what, FLAT if name in flat else LINEAR, found)
            for name, found in points.items()
        ]
    return rows


def _bytes(room: Path, small: bool) -> list[Row]:
    keep, use = [], []
    for size in up_to(100_000_000 if small else 1_000_000_000, 4):
        own = room / f"bytes-{size}"
        own.mkdir()
        kept = fresh(peers.keep_by, own, "pipestate", "array", size, rounds=3)
        keep.append((size / 1e6, kept.ours))
        used = [fresh(peers.use_by, own, "pipestate", "array")[1] for _ in range(3)]
        use.append((size / 1e6, median(used)))
        shutil.rmtree(own)
    return [
        row("keep an array", "megabytes", LINEAR, keep),
        row("first use of an array", "megabytes", FLAT, use),
    ]


def cells_after(room: Path, sizes: Sequence[int], *, window: int = 50) -> tuple[Points, Points]:
    """The median times of plain cells and of a step in this process, after so many plain cells."""
    shell, number, edits = Shell(room), itertools.count(), itertools.count()
    plain, steps = [], []
    shell.load()
    for size in sizes:
        while (at := next(number)) < size:
            shell.run(f"q = {at}")
        plain.append((float(size), median([shell.run(f"q = -{at}") for at in range(window)])))
        steps.append((float(size), _edited(shell, "q", edits)))
    return plain, steps


def steps_among(room: Path, sizes: Sequence[int], *, upstream: int = 10) -> Points:
    """The median time of a step at the end of a chain of ten, in a job of so many steps."""
    shell, numbers, points, done = Shell(room), itertools.count(), [], 0
    shell.load()
    _lengthen(shell, 0, upstream)
    for size in sizes:
        for at in range(done, size - upstream):
            shell.run(f"%%step other_{at}\nname_{at} = {at}")
        done = max(done, size - upstream)
        points.append((float(size), _edited(shell, f"link_{upstream - 1}", numbers)))
    return points


def steps_after(room: Path, sizes: Sequence[int]) -> Points:
    """The median time of a step at the end of a chain of so many."""
    shell, numbers, points, done = Shell(room), itertools.count(), [], 0
    shell.load()
    for size in sizes:
        _lengthen(shell, done, size)
        done = size
        points.append((float(size), _edited(shell, f"link_{size - 1}", numbers)))
    return points


def _lengthen(shell: Shell, done: int, size: int) -> None:
    for at in range(done, size):
        shell.run(f"%%step link_{at}\nlink_{at} = {f'link_{at - 1} + 1' if at else 0}")


def _edited(shell: Shell, name: str, numbers: Iterator[int], *, cells: int = 20) -> float:
    """The median time of a step whose source is new each time, so that it runs.

    It has a place of its own below all that is there: from where it first ran, it would see
    nothing that came after.
    """
    step = f"last_{next(numbers)}"
    steps = [f"%%step {step}\nq = {name} + {next(numbers)}" for _ in range(cells)]
    took = median([shell.run(step) for step in steps])
    expect(shell.room, step, "ran")
    return took
