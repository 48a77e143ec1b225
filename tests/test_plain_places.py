"""Plain cells in their places: what each made counts below it, until another makes the name anew.

The cells are known by their ids, and their order by the saved notebook.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


class Sheet:
    """A saved notebook: its cells by id, from the top, run by id."""

    def __init__(self, nb: Any, cells: dict[str, str]) -> None:
        self.nb, self.cells = nb, cells
        self.restart()

    def restart(self) -> None:
        """Save it, and go on in a new kernel."""
        self.nb.save(*self.cells.items())
        self.nb.kill()
        self.nb.load()

    def run(self, *ids: str) -> Any:
        """Run cells in this order; what the last one showed."""
        return [self.nb.run(self.cells[one], cell_id=one) for one in ids][-1]

    def edit(self, one: str, source: str) -> None:
        """Give a cell another source, and save."""
        self.cells[one] = source
        self.nb.save(*self.cells.items())


@pytest.fixture
def sheet(nb) -> Callable[..., Sheet]:
    """Make a notebook of `id=source` cells."""
    return lambda **cells: Sheet(nb, cells)


def test_what_a_plain_cell_made_counts_until_the_next_makes_the_name_anew(sheet):
    """Each step finds what the plain cell above it made, whatever ran since."""
    page = sheet(p="k = 1", a="%%step a --always\nu = k\nu", q="k = 2", b="%%step b\nv = k\nv")
    assert page.run("p", "a", "q", "b").value == "2"
    assert page.run("a").value == "1"
    assert page.run("b").states == [("b", "restored")]
    assert page.nb.run("k").value == "2"


def test_a_given_is_judged_against_what_its_own_cell_last_made(sheet):
    """A step is fresh though the name means something else by now, and stale when its cell ran."""
    page = sheet(p="k = 1", a="%%step a\nu = k\nu", q="k = 2")
    page.run("p", "a", "q")
    assert page.run("a").states == [("a", "restored")]
    page.edit("p", "k = 5")
    page.run("p")
    page.run("q")
    result = page.run("a")
    assert (result.value, result.states[-1]) == ("5", ("a", "ran"))


def test_places_outlive_the_kernel(sheet):
    """After a restart a step still stands on the plain cell above it."""
    page = sheet(p="k = 1", a="%%step a\nu = k\nu", q="k = 2", b="%%step b\nv = k\nv")
    page.run("p", "a", "q", "b")
    page.restart()
    assert page.run("a").states == [("a", "restored")]
    assert page.run("b").states == [("b", "restored")]
    page.edit("a", "%%step a\nu = k * 10\nu")
    assert page.run("a").value == "10"
    assert page.nb.run("k").value == "2"
    page.edit("b", "%%step b\nv = k * 10\nv")
    assert page.run("b").value == "20"


def test_a_step_below_wins_over_a_plain_cell_above_it(sheet):
    """Also when the plain cell ran last."""
    page = sheet(p="k = 1", s="%%step s\nk = 5", x="%%step x\nu = k\nu")
    page.run("p", "s", "p")
    assert page.run("x").value == "5"
    assert page.nb.run("k").value == "1"


def test_a_plain_cell_below_wins_over_a_step_above_it(sheet):
    """What the step makes is not even needed: it does not run again."""
    page = sheet(s="%%step s\nk = 5", p="k = 1", x="%%step x\nu = k\nu")
    page.run("s", "p", "s")
    assert page.run("x").value == "1"


def test_what_only_a_plain_cell_below_makes_is_not_seen(sheet):
    """A run from the top would not have it."""
    page = sheet(x="%%step x\nu = later", p="later = 1")
    page.run("p")
    assert page.run("x").error == "NameError"
    assert page.nb.run("later").value == "1"


def test_a_function_that_a_plain_cell_defines_counts_in_its_place(sheet):
    """A later cell of the same name does not reach up."""
    page = sheet(
        p="def f():\n    return 1",
        a="%%step a\nf()",
        q="def f():\n    return 2",
        b="%%step b\nf()",
    )
    assert page.run("p", "a", "q", "b").value == "2"
    page.edit("a", "%%step a\n10 + f()")
    assert page.run("a").value == "11"
    assert page.nb.run("f()").value == "2"


def test_a_change_in_place_by_a_plain_cell_below_is_put_aside(sheet):
    """It counts for the steps below it only."""
    page = sheet(
        a="%%step a\nxs = [1]",
        b="%%step b\nn = len(xs)\nn",
        p="xs.append(2)",
        c="%%step c\nm = len(xs)\nm",
    )
    assert page.run("a", "b", "p", "c").value == "2"
    assert page.run("b").states == [("b", "restored")]
    page.edit("b", "%%step b\nn = len(xs) * 10\nn")
    assert page.run("b").value == "10"
    assert page.nb.run("xs").value == "[1, 2]"
    assert page.run("c").states == [("c", "restored")]


def test_a_change_in_place_of_what_a_plain_cell_made_has_a_place_too(sheet):
    """The step between the two cells sees what the first of them made."""
    page = sheet(p="g = [0]", b="%%step b\nn = len(g)\nn", q="g.append(1)", r="print(g)")
    page.run("p", "b", "q", "r")
    assert page.run("b").states == [("b", "restored")]
    page.edit("b", "%%step b\nn = len(g) + 10\nn")
    assert page.run("b").value == "11"
    assert page.nb.run("g").value == "[0, 1]"


def test_what_a_plain_cell_left_that_cannot_be_had_is_said(sheet):
    """The step runs with what stands, names the remedy, and stays stale."""
    page = sheet(p="g = [0]", b="%%step b\nn = len(g)\nn", q="g = [1, 2]")
    page.run("p", "q")
    result = page.run("b")
    assert result.value == "2"
    assert "run that cell again" in page.nb.run("%pipe").text
    page.run("p")
    assert page.run("b").value == "1"
    assert page.run("b").states == [("b", "restored")]


def test_a_step_that_stands_on_an_outdated_plain_cell_is_never_fresh(sheet):
    """It runs with what stands, and says which name and from what."""
    page = sheet(
        a="%%step load\ndf = [1, 2]",
        p="df2 = [x * 10 for x in df]",
        c="%%step use\nn = sum(df2)\nn",
    )
    assert page.run("a", "p", "c").value == "30"
    page.edit("a", "%%step load\ndf = [1, 2, 3]")
    page.run("a")
    for _ in range(2):
        result = page.run("c")
        assert (result.value, result.states[-1]) == ("30", ("use", "ran"))
        assert "`df2` was made by a plain cell from an earlier `df`" in result.text
    page.run("p")
    assert page.run("c").value == "60"
    assert page.run("c").states == [("use", "restored")]


def test_an_outdated_plain_cell_is_still_told_after_a_restart(sheet):
    """The record knows what its given was made from."""
    page = sheet(a="%%step load\ndf = [1]", p="df2 = df * 2", c="%%step use\nlen(df2)")
    page.run("a", "p", "c")
    page.edit("a", "%%step load\ndf = [1, 2]")
    page.run("a", "c")
    page.restart()
    status = page.nb.run("%pipe").text
    assert "`df2` was made by a plain cell from an earlier `df`" in status


def test_a_cell_that_the_saved_notebook_does_not_have_counts_as_it_stands(sheet):
    """Only a known place puts something aside."""
    page = sheet(a="%%step a\nu = k\nu")
    page.nb.run("k = 1", cell_id="new")
    assert page.run("a").value == "1"
    page.nb.run("k = 2", cell_id="other")
    assert page.run("a").value == "2"


def test_a_name_that_a_plain_cell_takes_away_is_gone_below_it(sheet):
    """And still there above it."""
    page = sheet(
        s="%%step s\nk = 5",
        a="%%step a --always\n'k' in dir()",
        p="del k",
        b="%%step b\ntry:\n    u = k\nexcept NameError:\n    u = 'gone'\nu",
    )
    assert page.run("s", "p", "b").value == "'gone'"


def test_all_run_again_is_all_restored(sheet):
    """From the top, in the same kernel and in a new one."""
    page = sheet(
        p="g = [0]", a="%%step a\ng.append(1)\nlen(g)", q="g.append(5)", b="%%step b\nlen(g)"
    )
    assert page.run("p", "a", "q", "b").value == "3"
    for again in range(2):
        assert page.run("p", "a").states == [("a", "restored")], again
        assert page.run("q", "b").states == [("b", "restored")], again
        page.restart()


def test_a_change_in_place_by_a_plain_cell_keeps_its_place_after_a_restart(sheet):
    """It was given to the step below it, and does not reach up."""
    page = sheet(o="%%step o\ng = [0]", a="%%step a\nlen(g)", q="g.append(5)", b="%%step b\nlen(g)")
    assert page.run("o", "a", "q", "b").value == "2"
    page.restart()
    assert page.run("a").states == [("a", "restored")]
    assert page.run("b").states == [("b", "restored")]


def test_a_cell_that_is_no_step_any_more_takes_its_step_along(sheet):
    """And says so; what it makes now counts in its place."""
    page = sheet(p="%%step p\nk = 2", a="%%step a\nk")
    assert page.run("p", "a").value == "2"
    page.edit("p", "k = 3")
    assert "p is no step any more" in page.run("p").text
    assert page.run("a").value == "3"
    assert page.nb.run("k").value == "3"


def test_a_name_that_a_plain_cell_makes_no_more_is_gone_below_it(sheet):
    """A run from the top would not have it; plain cells still do."""
    use = "%%step a\ntry:\n    u = k\nexcept NameError:\n    u = 'gone'\nu"
    page = sheet(s="%%step s\nm = 1", p="k = m", a=use)
    assert page.run("s", "p", "a").value == "1"
    page.edit("p", "n = m")
    page.run("p")
    assert page.run("a").value == "'gone'"
    assert page.nb.run("k").value == "1"
    page.edit("p", "k = m")
    page.run("p")
    assert page.run("a").value == "1"
    page.restart()
    page.edit("p", "n = m")
    page.run("p")
    assert page.run("a").value == "'gone'"


def test_a_name_that_a_plain_cell_still_names_is_still_there(sheet):
    """It may make it once only."""
    page = sheet(p="if 'k' not in globals():\n    k = [1]", a="%%step a\nlen(k)", q="ks = k")
    page.run("p", "a", "q")
    page.run("p", "q")
    assert page.run("a").states == [("a", "restored")]


def test_a_change_in_place_of_what_a_step_makes_otherwise_now_is_to_be_made_again(sheet):
    """Its cell is told, in this kernel and in the next, until it has run."""
    page = sheet(a="%%step a\nxs = [1]", p="xs.append(2)", b="%%step b\nn = len(xs)\nn")
    assert page.run("a", "p", "b").value == "2"
    page.edit("a", "%%step a\nxs = [1, 1]")
    page.run("a")
    for _ in range(2):
        assert "`xs` was made by a plain cell from an earlier `xs`" in page.nb.run("%pipe").text
        assert page.run("b").states[-1] == ("b", "ran")
        page.restart()
    page.run("p")
    assert page.run("b").value == "3"
    assert page.run("b").states == [("b", "restored")]


def test_a_change_in_place_of_what_a_step_makes_again_the_same_still_counts(sheet):
    """The version that the plain cell changed is in force."""
    page = sheet(a="%%step a\nxs = [1]", p="xs.append(2)", b="%%step b\nn = len(xs)\nn")
    page.run("a", "p", "b", "a")
    assert page.run("b").states == [("b", "restored")]
    page.restart()
    assert page.run("b").states == [("b", "restored")]
