"""Every kind of value survives a killed kernel: equal, writable, shared as it was, and undisturbed.

Each kind of `value_kinds` is made in a step, its kernel is killed, and a plain cell of a new kernel
uses it. What it looks like there is compared with what a plain Python process shows that makes it
fresh. With `WRITE_PAGES=1` in the environment and in one process, the run writes docs/values.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import value_kinds
from conftest import ROOT, Notebook
from value_kinds import Kind

import pipestate

PAGE = ROOT / "docs" / "values.md"


@dataclass
class Seen:
    """What was seen of one kind: what failed, and what its steps keep."""

    kind: Kind
    failed: list[str] = field(default_factory=list)
    nbytes: int = 0
    shares: bool = True

    def expect(self, what: str, actual: object, expected: object) -> None:
        if actual != expected:
            self.failed.append(f"{what}: {clip(actual)}, not {clip(expected)}")


def clip(value: object) -> str:
    """A repr that fits a line."""
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]} … {text[-90:]}"


# --- the life of a value -------------------------------------------------------------------------


def steps(kind: Kind) -> dict[str, str]:
    """The steps that make a value."""
    return {f"make_{kind.slug}_{at}": kind.write(cell) for at, cell in enumerate(kind.make)}


def run_step(nb: Notebook, seen: Seen, name: str, body: str, state: str, when: str) -> str:
    """Run a step and expect its state; the text that the page shows."""
    result = nb.run(f"%%step {name}\n{body}")
    own = [found for step, found in result.states if step == name]
    others = [step for step, found in result.states if step != name and found == "ran"]
    seen.expect(f"{name} {when}", (result.error, own, others), ("", [state], []))
    return result.text


def make(nb: Notebook, seen: Seen) -> None:
    """The first kernel: steps make the value, one reads it; asked for again, all are restored."""
    kind = seen.kind
    read = kind.write("V_seen = type(V).__name__")
    for name, body in steps(kind).items():
        text = run_step(nb, seen, name, body, "ran", "first")
        told = "cannot be kept" in text
    if kind.lost:
        seen.expect("the message names the type", kind.write(kind.lost) in text and told, True)
        return
    seen.expect("says that it cannot be kept", text if told else "", "")
    run_step(nb, seen, f"read_{kind.slug}", read, "ran", "first")
    for name, body in steps(kind).items():
        run_step(nb, seen, name, body, "restored", "asked for again")
    run_step(nb, seen, f"read_{kind.slug}", read, "restored", "asked for again")


def use(nb: Notebook, seen: Seen, fresh: list[list[str]]) -> None:
    """The new kernel: all is restored, looks as if made fresh, and nothing takes it for changed."""
    kind = seen.kind
    read = kind.write("V_seen = type(V).__name__")
    for name, body in steps(kind).items():
        run_step(nb, seen, name, body, "restored", "in the new kernel")
    run_step(nb, seen, f"read_{kind.slug}", read, "restored", "in the new kernel")
    look(nb, seen, value_kinds.report(kind), fresh[0], "loaded")
    if not kind.is_remembering:
        run_step(nb, seen, f"read_{kind.slug}", read, "restored", "after a look")
    new = kind.write("V_new = type(V).__qualname__")
    run_step(nb, seen, f"new_{kind.slug}", new, "ran", "in the new kernel")
    for name, body in steps(kind).items():
        run_step(nb, seen, name, body, "restored", "after a new reader")
    if kind.change:
        look(nb, seen, value_kinds.change(kind), fresh[1], "changed")
        for name, body in steps(kind).items():
            run_step(nb, seen, name, body, "restored", "after a change by a plain cell")
        look(nb, seen, value_kinds.report(kind), fresh[0], "put back")


def make_again(nb: Notebook, seen: Seen, fresh: list[list[str]]) -> None:
    """The new kernel: the step is restored without what cannot be kept, and runs for its use."""
    kind = seen.kind
    for name, body in steps(kind).items():
        run_step(nb, seen, name, body, "restored", "in the new kernel")
    result = look(nb, seen, value_kinds.report(kind), fresh[0], "made again")
    seen.expect("the use says that it runs again", "runs again" in result, True)


def look(nb: Notebook, seen: Seen, cell: str, fresh: list[str], when: str) -> str:
    """Run a plain cell that prints what it sees, and expect what a fresh value shows."""
    result = nb.run(cell)
    wrong = result.traceback[-400:] if result.error else result.stdout.rstrip("\n")
    seen.expect(when, wrong, fresh[0])
    if not seen.kind.lost:
        ran = [step for step, state in result.states if state == "ran"]
        seen.expect(f"{when}: steps that run", (ran, result.text if ran else ""), ([], ""))
    seen.shares = seen.shares and result.stdout.endswith(", True)\n")
    return result.text


# --- the groups ----------------------------------------------------------------------------------


GROUPS = tuple(dict.fromkeys(kind.group for kind in value_kinds.KINDS))


@pytest.fixture(scope="module")
def rows() -> Iterator[list[str]]:
    """The lines of the table so far; written as a page when all have run, if that is asked for."""
    found: list[str] = []
    yield found
    if os.environ.get("WRITE_PAGES"):
        PAGE.write_text(INTRODUCTION + table(found) + "\n", encoding="utf-8")


@pytest.fixture
def fresh(cwd: Path, script: Callable[..., str]) -> Callable[[list[Kind]], Any]:
    """Makes values in a plain Python process, and tells what they look like there."""

    def see(found: list[Kind]) -> Any:
        cells = {
            kind.slug: [
                value_kinds.source(kind) + "\n" + value_kinds.report(kind),
                value_kinds.change(kind) if kind.change else "",
            ]
            for kind in found
        }
        (cwd / "fresh.json").write_text(json.dumps(cells), encoding="utf-8")
        shown = script(value_kinds.FRESH, env={"PYTHONHASHSEED": "7", "MPLBACKEND": "Agg"})
        return json.loads(shown)

    return see


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_kind_of_value_survives_a_killed_kernel(
    group: str, nb: Notebook, cwd: Path, fresh: Callable[..., Any], rows: list[str]
) -> None:
    """Equal to a fresh one, identity and writing right, and never taken for changed when read."""
    (cwd / "helpers.py").write_text(value_kinds.HELPERS, encoding="utf-8")
    seen = [Seen(kind) for kind in value_kinds.KINDS if kind.group == group]
    shown = fresh([one.kind for one in seen])
    nb.load(group)
    for one in seen:
        make(nb, one)
    nb.kill()
    nb.load(group)
    for one in seen:
        (make_again if one.kind.lost else use)(nb, one, shown[one.kind.slug])
    weigh(group, seen)
    rows.extend(row(one) for one in seen)
    print(table([row(one) for one in seen]))  # noqa: T201 - to be seen under -s
    wrong = [
        f"{one.kind.title}: {text}" for one in seen if not one.kind.known for text in one.failed
    ]
    mended = [
        f"{one.kind.title}: holds now, and is not to be known as `{one.kind.known}`"
        for one in seen
        if one.kind.known and not one.failed
    ]
    assert not wrong + mended, "\n" + "\n".join(wrong + mended)


def weigh(group: str, seen: list[Seen]) -> None:
    """Note what the steps keep, and that steps that only look made nothing but their own name."""
    status = {one.name: one for one in pipestate.Job(group).status()}
    for one in seen:
        kind = one.kind
        one.nbytes = sum(status[name].nbytes for name in steps(kind) if name in status)
        for name in (f"read_{kind.slug}", f"new_{kind.slug}"):
            if name in status:
                made = set(status[name].made) - {kind.write("V_seen"), kind.write("V_new")}
                one.expect(f"{name} made", made, set())


# --- the page ------------------------------------------------------------------------------------


INTRODUCTION = """# Which values are kept, and how

Every kind of value below is made in a step. Its kernel is then killed, and a plain cell of a new
kernel uses it. *Equal*: it looks as if made fresh there, and a step that only reads it is
restored. *Writable*: it can be changed there, and when its step is asked for again it is as it was.
*Identity*: what was one object, or one memory, still is; blank where there is nothing to share.
*Made again by its step*: it cannot be kept; a message says so, and the step runs when a cell needs
the value. *Not kept right*: a known weakness, and what goes wrong.

Written by `WRITE_PAGES=1 python -m pytest tests/test_value_table.py`.

"""


def row(seen: Seen) -> str:
    """A line of the table."""
    kind = seen.kind
    trip = "made again by its step" if kind.lost else "equal, writable" if kind.change else "equal"
    trip = f"**not kept right**: {kind.known}" if kind.known else trip
    trip = "**fails**" if seen.failed and not kind.known else trip
    same = "" if not kind.same else "kept" if seen.shares else "**fails**"
    return f"| {kind.group} | {kind.title} | {trip} | {same} | {seen.nbytes:,} |"


def table(rows: list[str]) -> str:
    """The rows under their heads."""
    heads = "| group | kind | round trip | identity | bytes kept |\n|---|---|---|---|--:|"
    return "\n".join([heads, *rows])


def test_a_plot_is_shown_again_and_costs_little(nb: Notebook) -> None:
    """What `plt.plot(...)` gives back and the picture under the cell, from the store."""
    cell = "%%step plot\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2])"
    nb.load("plots")
    first = nb.run(cell)
    nb.kill()
    nb.load("plots")
    again = nb.run(cell)
    assert again.states == [("plot", "restored")]
    pictures = [[one["data"].get("image/png") for one in r.outputs] for r in (first, again)]
    assert pictures[0] == pictures[1]
    assert any(pictures[1])
    (status,) = pipestate.Job("plots").status()
    assert status.nbytes < 200_000


def test_the_page_shows_every_kind() -> None:
    """docs/values.md has a line for each; `WRITE_PAGES=1` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    missing = [one.title for one in value_kinds.KINDS if f"| {one.title} |" not in page]
    assert not missing
