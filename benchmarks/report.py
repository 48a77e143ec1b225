"""The command: runs the groups, prints the table, writes the JSON and the pictures.

Every group runs in a process and a folder of its own; the folder lies in `--folder`, on the disk
that is to be measured, and is removed again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import cells, extensions, growth, jobs, peers, picture, start, values, work
from .rounds import Row, fresh

Group = Callable[[Path, bool], Iterable[Row]]
"""Given a folder and whether to be quick; gives rows, one by one where a whole group takes long."""

PACKAGES = (
    *("ipython", "ipykernel", "numpy", "pandas", "torch", "scikit-learn", "blake3", "diskcache"),
    *("cloudpickle", "dill", "ipyflow", "joblib", "marimo"),
)


def _values(name: str) -> Group:
    def run(room: Path, small: bool) -> list[Row]:
        return values.big_values(room, name, scale=0.1 if small else 1.0, rounds=3 if small else 9)

    return run


def _peers(room: Path, small: bool) -> Iterator[Row]:
    yield from peers.values_kept(room, scale=0.1 if small else 1.0, rounds=1 if small else 5)
    yield from extensions.added_by_extensions(
        room, rounds=3 if small else 7, cells=10 if small else 20
    )


GROUPS: dict[str, Group] = {
    "start": lambda room, small: start.starts(room, rounds=3 if small else 7),
    "process": lambda room, small: fresh(
        cells.in_process, room, rounds=5 if small else 11, cells=20 if small else 40
    ),
    "kernel": lambda room, small: fresh(
        cells.in_kernels, room, rounds=3 if small else 9, cells=10 if small else 20
    ),
    "notebook": lambda room, small: fresh(cells.notebook, room, cells=50 if small else 200),
    "code": lambda room, small: fresh(cells.code, room, rounds=5 if small else 11),
    "array": _values("array"),
    "frame": _values("frame"),
    "weights": _values("weights"),
    "read": lambda room, small: fresh(
        values.read_only, room, size=values.MB * (100 if small else 1000), rounds=3 if small else 5
    ),
    "dicts": lambda room, small: fresh(
        values.many_dicts, room, count=100_000 if small else 1_000_000, rounds=3
    ),
    "objects": lambda room, small: fresh(
        values.many_objects, room, count=10_000 if small else 100_000, rounds=3
    ),
    "forest": lambda room, small: fresh(
        values.fitted_forest, room, rows=2000 if small else 20_000, rounds=3 if small else 5
    ),
    "bytes": lambda room, small: fresh(
        values.bytes_stored, room, rows=500_000 if small else 4_500_000
    ),
    "script": lambda room, small: fresh(
        work.set_by_script, room, count=500 if small else 10_000, rounds=2 if small else 3
    ),
    "warm": lambda room, small: work.warm_run(
        room, steps=20 if small else 100, nbytes=values.MB * (1 if small else 10)
    ),
    "among": lambda room, small: fresh(
        work.among_others,
        room,
        others=100 if small else 1000,
        upstream=10 if small else 100,
        rounds=3 if small else 9,
        cells=10 if small else 20,
    ),
    "session": lambda room, small: work.plain_cells(
        room, cells=300 if small else 10_000, window=50 if small else 100
    ),
    "job": lambda room, small: jobs.big_job(
        room, steps=300 if small else 10_000, runs=3000 if small else 100_000
    ),
    "memory": lambda room, small: work.memory_added(room, scale=0.1 if small else 1.0),
    "growth": lambda room, small: growth.grown(room, small=small),
    "peers": _peers,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; by default all")
    parser.add_argument("--small", action="store_true", help="a tenth of the sizes, fewer rounds")
    parser.add_argument("--folder", default=".", help="where the temporary files go")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--picture", type=Path, help="also draw peers and growth: .svg or .png")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.groups) - set(GROUPS))
    if unknown:
        parser.error(f"there is no group {', '.join(unknown)}; the groups are {', '.join(GROUPS)}")
    rows: list[Row] = []
    _say(HEAD)
    for name in args.groups or GROUPS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=args.folder) as room:
            for row in GROUPS[name](Path(room).resolve(), args.small):
                _say(line(row))
                rows.append(row)
        _say(f"  ({name}: {time.perf_counter() - began:.0f} s)")
    if args.json:
        figures = [{**asdict(row), "verdict": row.verdict} for row in rows]
        told = {"machine": machine(), "small": args.small, "rows": figures}
        args.json.write_text(json.dumps(told, indent=1) + "\n")
    if args.picture:
        _say(*map(str, picture.draw(rows, args.picture, is_small=args.small)))


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.flush()


HEAD = f"{'':11}{'':64}{'figure':>10} {'':8}{'target':>7}"


def line(row: Row) -> str:
    """A row of the table."""
    target = "" if row.target is None else f"{row.target:g}"
    value = "-" if row.value is None else f"{row.value:.3f}"
    told = f"{row.group:11}{row.what:64}{value:>10} {row.unit:8}{target:>7} {row.verdict:7}"
    return f"{told}{row.beside}".rstrip()


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "packages": found,
    }
