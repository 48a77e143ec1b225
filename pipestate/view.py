"""What people see of a job: a list of steps, a list of jobs, a badge, as plain text and as HTML.

Pure: what it is given goes in, text comes out. It knows no store, no kernel and no terminal, so the
magic and the shell show the same. The HTML is a few tags with inline styles and no script: it takes
its colours from the page it stands on, light or dark, and no meaning rests on colour alone. Every
text of the user's is escaped there, and kept to one line of printable characters in both.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, Protocol


class Row(Protocol):
    """What a status list needs to know of a step."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def seconds(self) -> float: ...

    @property
    def nbytes(self) -> int: ...

    @property
    def runs(self) -> int: ...

    @property
    def reads(self) -> Sequence[str]: ...

    @property
    def made(self) -> Sequence[str]: ...


# --- the status list -----------------------------------------------------------------------------

_HEADINGS: Final = ("step", "state", "time", "size", "runs", "reads", "made", "why")
_NUMBERS: Final = frozenset(("time", "size", "runs"))


def status_text(rows: Iterable[Row]) -> str:
    """The steps of a job as a table, one line a step under a line of headings.

    The reason comes last and whole: it is what one reads the table for, so it is never cut.
    """
    columns = zip(_HEADINGS, *map(_cells, rows), strict=True)
    padded = [_column(cells[0], cells) for cells in columns]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


def status_html(rows: Iterable[Row]) -> str:
    """The same table for a page."""
    head = "".join(f'<th scope="col" style="{_align(h)}">{h}</th>' for h in _HEADINGS)
    body = "".join(f"<tr>{_html_cells(_cells(row), row.state)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(row: Row) -> tuple[str, ...]:
    has_run = row.state != "new"
    return (
        one_line(row.name),
        row.state,
        duration(row.seconds) if has_run else "-",
        size(row.nbytes) if has_run else "-",
        str(row.runs),
        _some(row.reads),
        _some(row.made),
        one_line(row.reason),
    )


def _html_cells(cells: Sequence[str], state: str) -> str:
    # All in one go: no cell has a line of its own.
    step, word, *rest = html.escape("\n".join(cells)).split("\n")
    begun = f'<th scope="row"{_STYLES[0]}>{step}</th><td{_STYLES[1]}>{_mark(state)}{word}</td>'
    return begun + "".join(
        [f"<td{style}>{text}</td>" for style, text in zip(_STYLES[2:], rest, strict=True)]
    )


def _align(heading: str) -> str:
    return f"text-align:{'right' if heading in _NUMBERS else 'left'}"


_STYLES: Final = tuple(f' style="{_align(heading)}"' for heading in _HEADINGS)


def _column(heading: str, cells: Sequence[str]) -> list[str]:
    """The cells of a column, each as wide as the widest."""
    widths = [*map(_width, cells)]
    most = max(widths)
    pads = [" " * (most - width) for width in widths]
    if heading in _NUMBERS:
        return [pad + cell for pad, cell in zip(pads, cells, strict=True)]
    return [cell + pad for pad, cell in zip(pads, cells, strict=True)]


def _some(names: Sequence[str], *, most: int = 4) -> str:
    """The first few names; a step that reads fifty would push the reason off the page."""
    shown = ", ".join(map(one_line, names[:most]))
    return f"{shown} +{len(names) - most}" if len(names) > most else shown


# --- badges --------------------------------------------------------------------------------------

_TOLD: Final = {
    "ran": "ran in {time}",
    "restored": "restored, its run took {time}",
    "failed": "failed after {time}",
    "needed": "runs first, its last run took {time}",
}
# Each sign differs in shape, and the word stands beside it: colour only helps.
_SIGNS: Final = {
    "fresh": ("●", "#2f9e57"),
    "ran": ("●", "#2f9e57"),
    "restored": ("◆", "#3b82c4"),
    "stale": ("○", "#c98500"),
    "failed": ("✕", "#d9534f"),
}


def badge_text(step: str, state: str, seconds: float = 0.0, reason: str = "") -> str:
    """What became of a step, in a line: `load: ran in 3.2 s (its source changed)`."""
    told = _TOLD.get(state, state).format(time=duration(seconds))
    return f"{one_line(step)}: {told}" + (f" ({one_line(reason)})" if reason else "")


def badge_html(step: str, state: str, seconds: float = 0.0, reason: str = "") -> str:
    """The same line for a page, small enough to stand under every step."""
    told = html.escape(_TOLD.get(state, state).format(time=duration(seconds)))
    why = f" ({html.escape(one_line(reason))})" if reason else ""
    return (
        f'<div style="font-size:0.85em">{_mark(state)}'
        f"<b>{html.escape(one_line(step))}</b>: {told}{why}</div>"
    )


def _mark(state: str) -> str:
    if state not in _SIGNS:
        return ""
    sign, colour = _SIGNS[state]
    return f'<span aria-hidden="true" style="color:{colour}">{sign}</span> '


# --- bringing up to date -------------------------------------------------------------------------


class PlanRow(Protocol):
    """What a run would do with a step."""

    @property
    def step(self) -> str: ...

    @property
    def act(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def seconds(self) -> float: ...


def plan_text(rows: Iterable[PlanRow]) -> str:
    """What would run and what would be restored, and about how long that takes."""
    rows = list(rows)
    lines = [
        f"{row.act:<7}  {one_line(row.step)}"
        + (f"  about {duration(row.seconds)} ({one_line(row.reason)})" if row.act == "run" else "")
        for row in rows
    ]
    total = sum(row.seconds for row in rows if row.act == "run")
    count = sum(row.act == "run" for row in rows)
    return "\n".join([*lines, f"{count} to run, about {duration(total)} in all"])


def progress_text(step: str, number: int, count: int) -> str:
    """How far a run is: a bar, and the step that runs now."""
    done = round(20 * number / count) if count else 20
    return f"[{'#' * done}{'.' * (20 - done)}] {number}/{count} {one_line(step)}"


# --- jobs ----------------------------------------------------------------------------------------


def jobs_text(names: Iterable[str], current: str | None = None) -> str:
    """The jobs of a store, one a line; where one is in use, it has a star."""
    if current is None:
        return "\n".join(map(one_line, names))
    return "\n".join(f"{'*' if name == current else ' '} {one_line(name)}" for name in names)


# --- words for amounts ---------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Seconds for people: `12 ms`, `3.2 s`, `2 min 5 s`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 0.0005:
        return "0 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    if seconds < 86370:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min"
    days, rest = divmod(round(seconds / 3600), 24)
    return f"{days} d {rest} h"


def size(nbytes: int) -> str:
    """Bytes for people, in powers of 1,000: `0 B`, `512 B`, `1.2 kB`, `40.0 MB`."""
    if nbytes < 1000:
        return f"{nbytes} B"
    amount = float(nbytes)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def one_line(text: str) -> str:
    """`text` on one line, with what a terminal would act on shown as a question mark."""
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _width(text: str) -> int:
    """Columns of a terminal: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
