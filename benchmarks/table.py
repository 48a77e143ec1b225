"""The figures as a table of Markdown, from a run's JSON: `python -m benchmarks.table FIGURES.json`.

Figures that have a goal come first, a table for all of them; then, for each panel of the picture,
what pipestate takes beside its peers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .picture import UNITS, rows_of
from .rounds import Row


def markdown(told: dict[str, Any]) -> str:
    """The whole text."""
    rows = rows_of(told)
    parts = [machine(told["machine"]), *goals(rows), *peers(rows)]
    if told["small"]:
        parts.insert(0, "Small sizes: these figures say nothing.")
    return "\n\n".join(parts) + "\n"


def machine(told: dict[str, Any]) -> str:
    """What the figures were taken on."""
    packages = ", ".join(f"{name} {number}" for name, number in told["packages"].items() if number)
    return f"Python {told['python']}, {told['system']}, {told['cores']} cores; {packages}."


def goals(rows: Iterable[Row]) -> Iterator[str]:
    """The figures that have a goal."""
    lines = [
        f"| {row.group} | {row.what} | {_figure(row)} | {row.target:g} | {_verdict(row)} |"
        for row in rows
        if row.target is not None and row.value is not None
    ]
    if lines:
        yield "\n".join(["| | | figure | goal | |", "| --- | --- | --: | --: | --- |", *lines])


def peers(rows: Iterable[Row]) -> Iterator[str]:
    """A table for each panel of the picture, the least first."""
    panels: dict[str, list[Row]] = {}
    for row in rows:
        if row.panel and row.value is not None:
            panels.setdefault(row.panel, []).append(row)
    for name, found in panels.items():
        unit = next(unit for kind, unit in UNITS.items() if name.startswith(kind))
        lines = [f"| {name}, {unit} | |", "| --- | --: |"]
        lines += [f"| {_bar(row)} | {_number(row)} |" for row in sorted(found, key=_number_of)]
        yield "\n".join(lines)


def _figure(row: Row) -> str:
    unit = "" if row.unit == "exponent" else f" {row.unit}"
    return f"{_number(row)}{unit}"


def _number(row: Row) -> str:
    return f"{_number_of(row):.3g}" if abs(_number_of(row)) < 100 else f"{_number_of(row):,.0f}"


def _number_of(row: Row) -> float:
    assert row.value is not None, "rows without a figure are in no table"
    return row.value


def _verdict(row: Row) -> str:
    return "" if row.verdict == "ok" else "**missed**"


def _bar(row: Row) -> str:
    return f"**{row.bar}**" if row.bar.startswith("pipestate") else row.bar


def main(argv: Sequence[str]) -> None:
    """Print the tables of a run."""
    if len(argv) != 1:
        raise SystemExit("python -m benchmarks.table FIGURES.json")
    sys.stdout.write(markdown(json.loads(Path(argv[0]).read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
