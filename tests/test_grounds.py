"""A step upstream that was fresh is looked at again when anything that it stands on has moved.

Each change comes after two runs of the step at the end, when all of it has been found fresh.
"""

from __future__ import annotations

import pytest

CHAIN = (
    "%%step a\nxs = [1]",
    "%%step b\nys = [len(xs), k]",
    "%%step c\nz = ys + [0]",
)
LAST = "%%step last\nz, {}"


@pytest.fixture
def chain(nb):
    """Steps of which each reads the one above it, and the second a plain cell's name too."""
    nb.load("job")
    nb.run("k = 1", *CHAIN, LAST.format(1), LAST.format(2))
    return nb


def ran(result):
    """The steps that a cell had run, or restored, before its own."""
    return [step for step, state in result.states if step != "last"]


def test_where_nothing_has_moved_nothing_runs(chain):
    """The step alone does."""
    result = chain.run(LAST.format(3))
    assert (result.value, result.states) == ("([1, 1, 0], 3)", [("last", "ran")])


@pytest.mark.parametrize(
    ("cell", "again", "value"),
    [
        ("k = 2", ["b", "c"], "([1, 2, 0], 3)"),
        ("k = 1", [], "([1, 1, 0], 3)"),
        ("del k\nk = 1", [], "([1, 1, 0], 3)"),
        ("%%step a\nxs = [1, 2]", ["b", "c"], "([2, 1, 0], 3)"),
        ("%%step a\nxs = list([1])", [], "([1, 1, 0], 3)"),
        ("%%step c\nz = ys + [5]", [], "([1, 1, 5], 3)"),
        ("%%step len --after a\nlen = lambda xs: 7", ["b", "c"], "([7, 1, 0], 3)"),
        ("%%step more --after a\nk = 9", ["b", "c"], "([1, 9, 0], 3)"),
        ("%%step more --after b\nys = [4]", ["c"], "([4, 0], 3)"),
        ("len = lambda xs: 8", ["b", "c"], "([8, 1, 0], 3)"),
    ],
)
def test_what_has_moved_is_judged(chain, cell, again, value):
    """A plain cell's name, a step above, a builtin that is one no more, a step put between."""
    chain.run(cell)
    result = chain.run(LAST.format(3))
    assert (ran(result), result.value) == (again, value)


def test_a_change_in_place_by_a_plain_cell_counts_as_ever(chain):
    """What a plain cell below the steps works on is put back for them."""
    before = chain.run(LAST.format(3)).value
    chain.run("xs.append(2)\nys.append(3)")
    result = chain.run("%%step b\nys = [len(xs), k, 0]")
    assert result.states == [("b", "ran")]
    assert chain.run(LAST.format(3)).value != before


def test_another_direction_asks_for_what_stands_now(chain):
    """Where the order counts no more, a plain cell's change in place does."""
    chain.run("xs.append(2)", "%config PipeState.direction = 'any_order'")
    assert ran(chain.run(LAST.format(3))) == ["b", "c"]
    chain.run("%config PipeState.direction = 'in_order'")
    assert chain.run(LAST.format(4)).value == "([2, 1, 0], 4)"


def test_a_step_that_is_dropped_or_failed_is_fresh_no_more(chain):
    """Whatever it was before."""
    assert chain.run("%%step b\n1 / 0").error == "ZeroDivisionError"
    assert "b" in chain.run(LAST.format(3)).text
    chain.run(CHAIN[1], "%pipe drop a", "del xs")
    assert chain.run(LAST.format(4)).states != [("last", "ran")]


def test_another_kernel_that_runs_a_step_is_heeded(chain, notebook):
    """Its run counts here at once."""
    other = notebook()
    other.load("job")
    other.run("%%step a\nxs = [1, 2, 3]")
    result = chain.run(LAST.format(3))
    assert ([one for one in ran(result) if one], result.value) == (["b", "c"], "([3, 1, 0], 3)")


def test_modules_and_files_are_looked_at_each_time(nb, cwd):
    """They change without the kernel's knowledge."""
    (cwd / "helpers.py").write_text("def size():\n    return 1\n", encoding="utf-8")
    (cwd / "in.txt").write_text("ab", encoding="utf-8")
    nb.load("job")
    nb.run(
        "%%step a\nimport helpers\nn = helpers.size()",
        "%%step b\nm = n, len(open('in.txt').read())",
        LAST.format(1).replace("z", "m"),
        LAST.format(2).replace("z", "m"),
    )
    last = LAST.format(3).replace("z", "m")
    (cwd / "in.txt").write_text("abc", encoding="utf-8")
    assert nb.run(last).value == "((1, 3), 3)"
    (cwd / "helpers.py").write_text("def size():\n    return 10\n", encoding="utf-8")
    assert nb.run(last.replace("3", "4")).value == "((10, 3), 4)"


def test_a_setting_of_the_process_counts_for_those_below(nb):
    """Also where no step was made anew but the one that sets it."""
    nb.load("job")
    set_up, read = (
        "%%step a\nimport os\nos.environ['TEA'] = '{}'",
        "%%step b\nt = os.environ['TEA']",
    )
    nb.run(set_up.format(1), read, "%%step c\nu = t + '!'\nu")
    assert nb.run("%%step c\nu = t + '?'\nu").value == "'1?'"
    nb.run(set_up.format(2))
    assert nb.run("%%step c\nu = t + '.'\nu").value == "'2.'"


def test_cells_of_known_places_count_where_they_stand(nb):
    """A plain cell that ran again, or another that was put between, makes what the step reads."""
    cells = {"p": "k = 1", "a": "%%step a\nn = k", "b": "%%step b\nn * 10, {}"}
    nb.save(*cells.items())
    nb.load("job")

    def run(one, source):
        return nb.run(source, cell_id=one)

    run("p", cells["p"]), run("a", cells["a"])
    run("b", cells["b"].format(1)), run("b", cells["b"].format(2))
    run("p", "k = 2")
    assert run("b", cells["b"].format(3)).value == "(20, 3)"
    nb.save(("p", "k = 2"), ("q", "k = 7"), ("a", cells["a"]), ("b", cells["b"]))
    run("q", "k = 7")
    assert run("b", cells["b"].format(4)).value == "(70, 4)"
