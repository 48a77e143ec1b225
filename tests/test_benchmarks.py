"""The benchmarks measure what they say: fits, pictures, and jobs that are made to be looked at."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("benchmarks", reason="they are in a checkout, not in an archive")

from benchmarks import growth, jobs, peers, picture, table
from benchmarks.rounds import Row, paired
from pipestate import Job

BAR = Row("peers", "keep: us", 1.2, "x", panel="keep a 1 MB array", bar="pipestate")
ROWS = [
    BAR,
    Row("peers", "keep: them", 12.0, "x", panel="keep a 1 MB array", bar="others"),
    Row("peers", "keep: nobody", None, "", beside="left out: not installed"),
    growth.row("plain cell", "cells", growth.FLAT, [(10, 0.1), (100, 0.1), (1000, 0.1)]),
]


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_exponent_of_a_power_is_that_power(power: float) -> None:
    """Whatever the factor before it."""
    points = [(size, 0.003 * size**power) for size in (10, 100, 1000)]
    assert growth.exponent(points) == pytest.approx(power)


@pytest.mark.parametrize(
    ("value", "verdict"), [(1.0, "ok"), (1.2, "MISSED"), (None, "")], ids=["ok", "missed", "none"]
)
def test_a_goal_is_met_or_missed(value: float | None, verdict: str) -> None:
    """A figure that was not taken is neither."""
    assert Row("group", "what", value, "x", 1.1).verdict == verdict


def test_a_slow_peer_has_one_round_that_counts() -> None:
    """However little time there is for it."""
    calls: list[int] = []

    def ours() -> float:
        calls.append(1)
        return 2.0

    assert paired(100, lambda: 1.0, ours, most_seconds=0).times == 2.0
    assert len(calls) == 2


def test_a_run_is_a_table_from_its_json() -> None:
    """What has a goal, and then each panel, the least first."""
    goal = Row("start", "import", 12.345, "ms", 10.0)
    rows = [{**asdict(row), "verdict": row.verdict} for row in [*ROWS, goal]]
    machine = {"python": "3.11", "system": "Linux", "cores": 2, "packages": {"numpy": "2", "x": ""}}
    text = table.markdown({"small": False, "machine": machine, "rows": rows})
    assert text.splitlines() == [
        "Python 3.11, Linux, 2 cores; numpy 2.",
        "",
        "| | | figure | goal | |",
        "| --- | --- | --: | --: | --- |",
        "| growth | plain cell, by cells | 0 | 0.2 |  |",
        "| start | import | 12.3 ms | 10 | **missed** |",
        "",
        "| keep a 1 MB array, times a raw write | |",
        "| --- | --: |",
        "| **pipestate** | 1.2 |",
        "| others | 12 |",
    ]


def test_the_pages_show_the_figures_that_are_kept() -> None:
    """All of them on their own page, those that have a goal in the README."""
    docs = Path(__file__).parent.parent / "docs"
    told = json.loads((docs / "benchmarks.json").read_text(encoding="utf-8"))
    assert table.markdown(told) in (docs / "benchmarks.md").read_text(encoding="utf-8")
    (goals,) = table.goals(picture.rows_of(told))
    assert goals in (docs.parent / "README.md").read_text(encoding="utf-8")
    assert not told["small"]


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_run_is_drawn_again_from_its_json(tmp_path: Path, ending: str) -> None:
    """Bars in one file and lines in another, from the same rows."""
    told = {"small": True, "rows": [{**asdict(row), "verdict": row.verdict} for row in ROWS]}
    rows = picture.rows_of(json.loads(json.dumps(told)))
    assert rows == ROWS
    drawn = picture.draw(rows, tmp_path / f"one.{ending}", is_small=True)
    assert [file.name for file in drawn] == [f"one.{ending}", f"one-growth.{ending}"]
    assert all(file.stat().st_size > 1000 for file in drawn)


def test_a_job_that_is_made_stands_as_one_that_has_run(tmp_path: Path) -> None:
    """All of its steps are fresh, and a step tells how often it ran and what it read."""
    store = tmp_path / "store"
    jobs.make(store, "made", steps=5, runs=12, upstream=3)
    found = Job("made", store=store).status()
    assert {one.state for one in found} == {"fresh"}
    assert [one.runs for one in found] == [3, 3, 2, 2, 2]
    assert [one.reads for one in found] == [(), ("name_0",), ("name_1",), (), ("name_3",)]


@pytest.mark.parametrize("name", ["pickle 5 to a file", "cloudpickle to a file", "diskcache"])
def test_a_peer_gives_back_what_it_kept(name: str, tmp_path: Path) -> None:
    """The code of the first use runs, and is timed."""
    peer = peers.PEERS[name]
    keep = peer.keeper(tmp_path, [1, 2, 3])
    assert keep() > 0
    assert keep() > 0
    assert peer.user(tmp_path, "assert big == [1, 2, 3]")() > 0


def test_a_peer_that_is_not_there_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a row without a figure for each kind of value, and costs nobody else's."""
    absent = peers.Peer("no_such_module", *[lambda *_: lambda: 0.0] * 2)
    monkeypatch.setattr(peers, "PEERS", {"absent": absent})
    rows = list(peers.values_kept(tmp_path, scale=0.001, rounds=1))
    assert {row.value for row in rows} == {None}
    assert {row.beside for row in rows} == {"left out: no_such_module is not installed"}
