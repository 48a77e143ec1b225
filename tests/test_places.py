"""Where a step stands, whose version of a name it sees, and what a renamed cell keeps."""

from __future__ import annotations

import pytest

from pipestate.pipe.places import Cells, order_for


@pytest.mark.parametrize(
    ("step", "order", "ids", "saved", "after", "expected"),
    [
        ("a", (), {}, (), {}, "a"),
        ("c", ("a", "b"), {}, (), {}, "abc"),
        ("a", ("a", "b"), {}, (), {}, "ab"),
        # the notebook's order wins over that of first runs
        ("a", ("b", "a"), {"a": "1", "b": "2"}, ("1", "2"), {}, "ab"),
        # a new cell between two known ones
        ("n", ("a", "b"), {"a": "1", "n": "2", "b": "3"}, ("1", "2", "3"), {}, "anb"),
        # what the notebook does not have keeps its slot
        ("c", ("x", "b", "a"), {"a": "1", "b": "2", "c": "3"}, ("1", "2", "3"), {}, "xabc"),
        # a cell that is not saved yet stands above every cell that runs after it
        ("b", ("a", "b", "n"), {"a": "1", "b": "2", "n": "9"}, ("1", "2"), {}, "anb"),
        # --after says it all
        ("n", ("a", "b"), {}, (), {"n": "a"}, "anb"),
        ("n", ("a", "b", "n"), {"n": "1", "a": "2"}, ("1", "2"), {"n": "b"}, "abn"),
    ],
)
def test_order(step, order, ids, saved, after, expected):
    """The truth table of places."""
    assert "".join(order_for(step, order, Cells(ids, saved, after))) == expected


def test_a_step_sees_names_as_the_steps_above_it_leave_them(nb):
    """What later steps made is put aside for the run, and put back after."""
    nb.load()
    nb.run("%%step a\nx = 1", "%%step b\ny = x", "%%step c\nx = 2")
    assert nb.run("%%step b\ny = x * 10\ny").value == "10"
    assert nb.run("x").value == "2"


def test_any_order_reads_what_the_namespace_holds(nb):
    """A later step may feed an earlier one."""
    nb.load()
    nb.run("%pipe direction any_order")
    nb.run("%%step a\nx = 1", "%%step b\ny = x", "%%step c\nx = 2")
    assert nb.run("%%step b\ny = x\ny").value == "2"


def test_the_notebooks_order_is_the_place_of_its_steps(nb):
    """Also of one that is run for the first time after those below it."""
    nb.save(("1", "%%step a"), ("2", "%%step m"), ("3", "%%step z"))
    nb.kill()
    nb.load()
    nb.run("%%step a\nx = 1", cell_id="1")
    nb.run("%%step z\nx = x + 1\nx", cell_id="3")
    assert nb.run("%%step m\nx = x * 10\nx", cell_id="2").value == "10"
    assert nb.run("%%step z\nx = x + 1\nx", cell_id="3").value == "11"


def test_after_says_where_a_step_stands(nb):
    """Whenever it ran first."""
    nb.load()
    nb.run("%%step a\nx = 1", "%%step c\nx = x + 1\nx")
    nb.run("%%step b --after a\nx = 10")
    assert nb.run("%%step c\nx = x + 1\nx").value == "11"


def test_the_same_cell_under_another_name_is_a_rename(nb):
    """Place, history and record stay, and the body does not run."""
    nb.load()
    nb.run("%%step a\nx = 1", cell_id="1")
    nb.run("%%step b\nx = x + 1\nx", cell_id="2")
    assert nb.run("%%step first\nx = 1", cell_id="1").states == [("first", "restored")]
    assert nb.run("%%step b\nx = x + 1\nx", cell_id="2").value == "2"
    assert nb.run("%pipe").text.split().count("a") == 0


def test_one_name_in_two_cells_is_said(nb):
    """A copied cell whose name was not changed."""
    nb.load()
    nb.run("%%step a\nx = 1", cell_id="1")
    assert "two cells are named a" in nb.run("%%step a\nx = 2", cell_id="2").text
