"""Work that takes many steps, many cells or much memory: scripts, warm runs, long sessions."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import diskcache

import pipestate

from .notebooks import OURS, Kernel, Shell, environment, expect
from .rounds import Row, fresh, paired, seconds
from .values import KINDS, MB, Keeper, dicts, forest, fortran, one_dict

# --- a script


def set_by_script(room: Path, *, count: int, rounds: int) -> list[Row]:
    """Many small steps set by a script, one by one and at once, over diskcache's own `set`."""
    os.environ.update(environment(room))
    store, raw = room / "store", room / "raw"
    numbers = {f"step_{number}": number for number in range(count)}
    small = {step: {"id": at, "name": step, "ok": True} for step, at in numbers.items()}

    def floor(values: Mapping[str, object]) -> float:
        shutil.rmtree(raw, ignore_errors=True)
        with diskcache.Cache(raw) as cache:
            return seconds(lambda: [cache.set(step, one) for step, one in values.items()])

    def emptied(action: Callable[[], object]) -> float:
        shutil.rmtree(store, ignore_errors=True)
        pipestate.set("bench", "first", 0, store=store)  # so that the store is there
        return seconds(action)

    def one_by_one(values: Mapping[str, object]) -> None:
        for step, one in values.items():
            pipestate.set("bench", step, one, store=store)
        if pipestate.get("bench", step, store=store) != one:  # nothing is left to do
            raise RuntimeError("what was set last is not there")

    def at_once(values: Mapping[str, object]) -> None:
        pipestate.write("bench", values, store=store)

    rows = []
    for what, values, action in (
        ("small steps by pip.set each", numbers, one_by_one),
        ("small steps by one pip.write", numbers, at_once),
        ("small dicts by pip.set each", small, one_by_one),
    ):
        pair = paired(
            rounds,
            functools.partial(floor, values),
            functools.partial(emptied, functools.partial(action, values)),
        )
        # Half of its rate is twice its time.
        told = f"{count:,} {what}, over diskcache's set"
        rows.append(Row("script", told, pair.times, "x", 2.0, str(pair)))
    return rows


# --- a job that is there


def warm_run(room: Path, *, steps: int, nbytes: int) -> list[Row]:
    """Steps of some megabytes each, restored in a new kernel, which reads none of their values."""
    cells = [
        f"%%step step_{at}\nvalue_{at} = numpy.full({nbytes // 8}, {at}.5)" for at in range(steps)
    ]
    first = Kernel(room, lines=[*OURS, "import numpy"])
    try:
        for cell in cells:
            first.run(cell)
    finally:
        first.close()
    expect(room, f"step_{steps - 1}", "ran")
    bare, again = Kernel(room, lines=["import numpy"]), Kernel(room, lines=[*OURS, "import numpy"])
    try:
        before = _resident(again)
        times = [again.run(cell) for cell in cells]
        grown = _resident(again) - before
        floor = bare.time(["q = 1"] * len(cells))
    finally:
        bare.close()
        again.close()
    expect(room, f"step_{steps - 1}", "restored")
    what = f"{steps} steps of {nbytes // MB} MB restored in a new kernel"
    added = (sum(times) - floor * steps) / steps
    told = f"{sum(times) * 1e3:,.0f} ms in all, the median {median(times) * 1e3:.2f} ms"
    return [
        Row("warm", f"{what}: added to each", added * 1e3, "ms", 5.0, told),
        # What is known of the steps takes some; the values would take ten times the target.
        Row("warm", f"{what}: memory", grown / MB, "MB", steps * nbytes / MB / 10),
    ]


def _resident(kernel: Kernel) -> float:
    """Bytes of memory that a kernel's process has, by Linux's account; elsewhere none is known."""
    if not Path("/proc/self/statm").exists():
        return 0.0
    pages = kernel.ask("int(open('/proc/self/statm').read().split()[1])")
    return int(pages) * float(os.sysconf("SC_PAGE_SIZE"))


def among_others(room: Path, *, others: int, upstream: int, rounds: int, cells: int) -> list[Row]:
    """A step of a big job, at the end of a chain of steps."""
    pair = among(room, others=others, upstream=upstream, rounds=rounds, cells=cells)
    what = f"added to a step among {others:,}, {upstream} upstream"
    return [Row("in process", what, pair * 1e3, "ms", 5.0)]


def among(room: Path, *, others: int, upstream: int, rounds: int, cells: int) -> float:
    """What is added to a step that runs among `others`, `upstream` of which it stands on."""
    shell = Shell(room)
    shell.load()
    for cell in _chain(others, upstream):
        shell.run(cell)
    number = itertools.count()
    plain = ["q = 1"] * cells

    def ours() -> float:
        steps = [f"%%step last\nq = link_{upstream - 1} + {next(number)}" for _ in range(cells)]
        return shell.time(steps, is_loaded=True)

    added = paired(rounds, lambda: shell.time(plain, is_loaded=False), ours).added
    expect(room, "last", "ran")
    return added


def _chain(others: int, upstream: int) -> Iterator[str]:
    yield "%%step step_0\nlink_0 = 0"
    for at in range(1, upstream):
        yield f"%%step step_{at}\nlink_{at} = link_{at - 1} + 1"
    for at in range(upstream, others):
        yield f"%%step step_{at}\nname_{at} = {at}"


# --- a long session


def plain_cells(room: Path, *, cells: int, window: int) -> list[Row]:
    """Plain cells of two kernels, at the beginning of a session and after thousands of them."""
    bare, ours = Kernel(room), Kernel(room, lines=OURS)
    try:
        times = [(bare.run(f"q = {at}"), ours.run(f"q = {at}")) for at in range(cells)]
    finally:
        bare.close()
        ours.close()
    rows = []
    for what, some in (("first", times[:window]), ("last", times[-window:])):
        added = median(one[1] - one[0] for one in some)
        told = f"added to a plain cell, {what} {window} of {cells:,}"
        rows.append(Row("ipykernel", told, added * 1e3, "ms", 0.3))
    return rows


# --- memory


def memory_added(room: Path, *, scale: float) -> list[Row]:
    """What keeping a value takes at its peak, over the memory that the process had with it."""
    if not Path("/proc/self/clear_refs").exists():
        return [Row("memory", "", None, "MB", beside="left out: it is read from Linux's /proc")]
    sizes = {name: int(kind.size * scale) for name, kind in KINDS.items()}
    sizes |= {"dicts": int(1_000_000 * scale), "one dict": int(1_000_000 * scale)}
    sizes |= {name: int(200 * MB * scale) for name in ("bytes", "fortran")}
    sizes["forest"] = int(20_000 * scale)
    needs = {name: kind.library for name, kind in KINDS.items()} | {"forest": "sklearn"}
    rows = []
    for name, size in sizes.items():
        if importlib.util.find_spec(needs.get(name, "pickle")) is not None:
            own = room / name
            own.mkdir()
            added, held = fresh(peak, own, name, size)
            shutil.rmtree(own)
            told = f"the process with it {held / MB:,.0f} MB"
            rows.append(
                Row("memory", f"added at its peak by keeping: {name}", added / MB, "MB", 64, told)
            )
    return rows


def peak(room: Path, name: str, size: int) -> tuple[float, float]:
    """In a new process: the peak of memory that keeping adds, and what there was before it."""
    makers: dict[str, Callable[[int], Any]] = {
        "dicts": dicts,
        "one dict": one_dict,
        "bytes": bytes,
        "fortran": fortran,
        "forest": forest,
    }
    value = makers[name](size) if name in makers else KINDS[name].make(size)
    keeper = Keeper(room, [0])
    keeper.keep()  # what the first step imports is not the value's
    keeper = Keeper(room, value)
    # What it took to make the value is no part of it: the peak is counted from here.
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes("VmRSS")
    keeper.keep()
    return (_kilobytes("VmHWM") - before) * 1024.0, before * 1024.0


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])
