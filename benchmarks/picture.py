"""The figures as pictures: bars of pipestate and its peers, and lines of what grows.

Drawn from the rows of a run, or later from its JSON: `python -m benchmarks.picture FIGURES.json
PICTURE.svg`. The background is clear and all else of a middle grey, so that one file can be read
on a light page and on a dark one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .rounds import Row

GREY, OURS, THEIRS = "#7d8590", "#2f81f7", "#9aa4b0"
STYLE: dict[str, Any] = {
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": GREY,
    "axes.titlesize": 10,
    "font.size": 9,
    "savefig.transparent": True,
    "svg.hashsalt": "pipestate",  # the same figures give the same file
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}
MOST_PANELS_ABREAST = 3
UNITS = {
    "keep": "times a raw write",
    "first use": "times a raw read",
    "added": "milliseconds, over a cell without it",
}
SMALLEST_BAR = 1e-3
"""Where nothing is added, or less than nothing, on paper that has no zero."""


def draw(rows: Iterable[Row], file: Path, *, is_small: bool = False) -> list[Path]:
    """Draw the bars into `file`, and the lines into one beside it; those that there are rows for.

    Figures of small sizes are marked as such: they show whether things work, not what they cost.
    """
    rows = list(rows)
    note = "small sizes: these figures say nothing" if is_small else ""
    panels: dict[str, list[Row]] = {}
    for row in rows:
        if row.panel and row.value is not None:
            panels.setdefault(row.panel, []).append(row)
    drawn = []
    if panels:
        drawn.append(_bars(panels, file, note))
    lines = [row for row in rows if row.points]
    if lines:
        drawn.append(_lines(lines, file.with_stem(f"{file.stem}-growth"), note))
    return drawn


def _bars(panels: dict[str, list[Row]], file: Path, note: str) -> Path:
    kinds = [[name for name in panels if name.startswith(kind)] for kind in UNITS]
    grid = [names for names in kinds if names]
    columns = max(map(len, grid))
    heights = [max(len(panels[name]) for name in names) for names in grid]
    with _figure((4.6 * columns, sum(heights) * 0.26 + 0.9 * len(grid) + 0.2)) as (figure, save):
        cells = figure.subplots(
            len(grid), columns, sharex="row", squeeze=False, height_ratios=heights
        )
        for axes_row, names in zip(cells, grid, strict=True):
            for at, axes in enumerate(axes_row):
                if at < len(names):
                    _panel(axes, names[at], panels[names[at]])
                else:
                    axes.set_axis_off()
            values = [max(_value(row), SMALLEST_BAR) for name in names for row in panels[name]]
            # One scale for what stands abreast, with room for the numbers after the bars.
            axes_row[0].set_xlim(min([*values, 1]) / 2, max([*values, 1]) * 4)
        return save(file, note)


def _panel(axes: Any, name: str, rows: Sequence[Row]) -> None:
    rows = sorted(rows, key=_value, reverse=True)
    values = [max(_value(row), SMALLEST_BAR) for row in rows]
    colours = [OURS if row.bar.startswith("pipestate") else THEIRS for row in rows]
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    bars = axes.barh([row.bar for row in rows], values, color=colours, height=0.7)
    axes.bar_label(bars, [f"{_value(row):.2g}" for row in rows], padding=3)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        if row.bar.startswith("pipestate"):
            label.set_color(OURS)
            label.set_fontweight("bold")
    unit = next(unit for kind, unit in UNITS.items() if name.startswith(kind))
    if unit.startswith("times"):
        axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_title(f"{name}\n{unit}; less is better", loc="left")


def _lines(rows: Sequence[Row], file: Path, note: str) -> Path:
    columns = min(MOST_PANELS_ABREAST, len(rows))
    lines = -(-len(rows) // columns)
    with _figure((4 * columns, 2.6 * lines)) as (figure, save):
        cells = figure.subplots(lines, columns, squeeze=False).flat
        for row, axes in zip(rows, cells, strict=False):
            what, _, unit = row.what.rpartition(", by ")
            sizes, times = zip(*row.points, strict=True)
            axes.loglog(sizes, [took * 1e3 for took in times], "o-", color=OURS)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
            axes.set_xlabel(unit)
            axes.set_ylabel("ms")
            low, high = axes.get_ylim()
            if high < low * 20:  # or noise would fill the panel
                axes.set_ylim(low / 4, high * 4)
            axes.set_title(f"{what}: exponent {_value(row):.2f}", loc="left")
        for axes in cells:
            axes.set_axis_off()
        return save(file, note)


def _value(row: Row) -> float:
    assert row.value is not None, "rows without a figure are not drawn"
    return row.value


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[tuple[Any, Callable[[Path, str], Path]]]:
    """A figure in our style, and how to save it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")

        def save(file: Path, note: str) -> Path:
            if note:
                figure.suptitle(note, color="#f85149")
            # Without the date, as the same figures should give the same file.
            metadata = {"Date": None} if file.suffix == ".svg" else None
            figure.savefig(file, dpi=150, metadata=metadata)
            return file

        yield figure, save


def rows_of(told: dict[str, Any]) -> list[Row]:
    """The rows of a run's JSON."""
    rows = []
    for one in told["rows"]:
        known = {key: value for key, value in one.items() if key != "verdict"}
        points = tuple((size, took) for size, took in known.pop("points", ()))
        rows.append(Row(**known, points=points))
    return rows


def main(argv: Sequence[str]) -> None:
    """Draw a run's JSON."""
    if len(argv) != 2:
        raise SystemExit("python -m benchmarks.picture FIGURES.json PICTURE.svg")
    told = json.loads(Path(argv[0]).read_text())
    for file in draw(rows_of(told), Path(argv[1]), is_small=told["small"]):
        sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
