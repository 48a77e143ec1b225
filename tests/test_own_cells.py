"""A step that runs for another's sake shows what it shows under its own cell."""

from __future__ import annotations

import pytest


@pytest.fixture
def pair(nb):
    """Two steps that have run, the first of which is stale; what their cells show."""
    nb.load()
    nb.run("k = 1")
    first = nb.run("%%step a\nprint('a has', k)\nx = k\nx", cell_id="a")
    second = nb.run("%%step b\ny = x * 10\ny", cell_id="b")
    nb.run("k = 2")
    return nb, first, second


def test_its_outputs_take_the_place_of_the_earlier_ones(pair):
    """Printed text, the result and the badge; the other cell gets a line."""
    nb, first, _ = pair
    again = nb.run("%%step b\ny = x * 10\ny", cell_id="b")
    assert first.stdout == "a has 2\n"
    assert first.value == "2"
    assert first.states == [("a", "ran")]
    assert again.value == "20"
    assert again.stdout == ""
    assert again.states == [("a", "ran"), ("b", "ran")]


def test_its_result_keeps_the_number_of_its_cell(pair):
    """`Out` of that number is the new value."""
    nb, first, _ = pair
    nb.run("%%step b\ny = x * 10\ny", cell_id="b")
    (result,) = [one for one in first.page if one["output_type"] == "execute_result"]
    assert result["execution_count"] == first.count
    assert nb.run(f"Out[{first.count}]").value == "2"


def test_its_traceback_shows_there_too(pair):
    """And the cell that needs it says that it did not run."""
    nb, _, _ = pair
    nb.run("k = None")
    failed = nb.run("%%step a\nprint('now')\nx = k + 1\nx", cell_id="a")
    assert "NoneType" in failed.traceback
    nb.run("k = 'text'")
    again = nb.run("%%step b\ny = x * 10\ny", cell_id="b")
    assert "concatenate str" in failed.traceback
    assert failed.states == [("a", "failed")]
    assert "b did not run: a, which it needs, failed" in again.text
    assert "concatenate" not in again.traceback


def test_figures_and_prints_of_threads_show_there_too(pair):
    """Whatever is sent while it runs."""
    pytest.importorskip("matplotlib")
    nb, _, _ = pair
    nb.run("%matplotlib inline\nimport matplotlib.pyplot as plt, threading")
    drawn = nb.run(
        "%%step a\nplt.plot([k])\nt = threading.Thread(target=print, args=('thread', k))\n"
        "t.start(); t.join(); del t\nx = k",
        cell_id="a",
    )
    nb.run("k = 3")
    again = nb.run("%%step b\ny = x * 10\ny", cell_id="b")
    assert drawn.stdout == "thread 3\n"
    assert any("image/png" in one.get("data", {}) for one in drawn.outputs)
    assert not any("image/png" in one.get("data", {}) for one in again.outputs)


def test_what_it_showed_there_is_what_is_restored(pair):
    """The record has it as if the step had been asked for."""
    nb, _, _ = pair
    nb.run("%%step b\ny = x * 10\ny", cell_id="b")
    nb.kill()
    nb.load()
    nb.run("k = 2")
    restored = nb.run("%%step a\nprint('a has', k)\nx = k\nx", cell_id="a")
    assert (restored.stdout, restored.value) == ("a has 2\n", "2")
    assert restored.states == [("a", "restored")]


def test_a_cell_that_was_deleted_is_not_written_to(pair):
    """The step's outputs show under the cell that runs."""
    nb, first, _ = pair
    before = list(first.page)
    begun = nb.begin("%%step b\ny = x * 10\ny", cell_id="b", metadata={"deletedCells": ["a"]})
    again = nb.wait(begun)
    assert "a has 2" in again.stdout
    assert first.page == before


def test_without_cell_ids_all_shows_under_the_cell_that_runs(nb):
    """A front end that sends none may drop what is meant for an earlier cell."""
    nb.load()
    nb.run("k = 1", "%%step a\nprint('a has', k)\nx = k", "%%step b\ny = x")
    nb.run("k = 2")
    assert "a has 2" in nb.run("%%step b\ny = x").stdout


def test_pipe_run_shows_each_step_under_its_own_cell(pair):
    """And a line for each under `%pipe run`."""
    nb, first, second = pair
    ran = nb.run("%pipe run")
    assert first.stdout == "a has 2\n"
    assert second.value == "20"
    assert ran.stdout.count("a has") == 0
    assert ran.states[:2] == [("a", "ran"), ("b", "ran")]


def test_pipe_run_tells_of_each_step_once(pair):
    """By its badge, and by name where badges are off."""
    nb, _, _ = pair
    ran = nb.run("%pipe run")
    assert [line.partition(" ")[0] for line in ran.text.splitlines()] == ["a:", "b:"]
    nb.run("%config PipeState.badge = False", "k = 3")
    assert nb.run("%pipe run").text.strip() == "ran a, b"
    assert nb.run("%pipe run").text.strip() == "everything is up to date; nothing ran"


def test_a_step_that_takes_long_is_announced_before_it_runs_for_another(nb):
    """With what its last run took, and who needs it."""
    nb.load()
    nb.run("import time\nk = 5")
    nb.run("%%step slow\ntime.sleep(k)\nx = k", "%%step b\ny = x")
    nb.run("k = 0")
    again = nb.run("%%step b\ny = x")
    assert again.states[0] == ("slow", "needed")
    assert "slow: runs first, its last run took 5.0 s (b needs it)" in again.text


def test_a_step_whose_cell_was_deleted_says_so_and_still_feeds_others(pair):
    """Until the front end brings the cell back, or the step is dropped."""
    nb, _, _ = pair
    nb.wait(nb.begin("1", cell_id="c", metadata={"deletedCells": ["a"]}))
    assert "its cell was deleted" in nb.run("%pipe").text
    assert nb.run("%%step b\ny = x * 10\ny", cell_id="b").value == "20"
    nb.run("%%step a\nprint('a has', k)\nx = k\nx", cell_id="a")
    assert "its cell was deleted" not in nb.run("%pipe").text
