"""Plain cells are watched, not kept: what they made counts for steps and is put back too."""

from __future__ import annotations

import pytest


@pytest.fixture
def job(nb):
    """A notebook that has loaded a job."""
    nb.load("job")
    return nb


def test_a_step_that_changes_a_given_in_place_starts_from_what_it_saw(job):
    """Running it again gives the same."""
    job.run("g = [0]")
    assert job.run("%%step b\ng.append(1)\ng").value == "[0, 1]"
    assert job.run("%%step b --force\ng.append(1)\ng").value == "[0, 1]"
    job.kill()
    job.load("job")
    assert job.run("%%step b --force\ng.append(1)\ng").value == "[0, 1]"


def test_a_failed_attempt_leaves_no_trace_in_the_next(job):
    """What the body did stays visible to plain cells, and is put back before any step reads it."""
    job.run("g = [0]")
    assert job.run("%%step b\ng.append(1); 1/0").error == "ZeroDivisionError"
    assert job.run("g").value == "[0, 1]"
    assert job.run("%%step b\ng.append(1)\ng").value == "[0, 1]"


def test_a_failed_attempt_leaves_an_alias_one_object_with_what_it_was(job):
    """A plain cell gave what a step made another name; both mean again what they meant."""
    job.run("%%step a\nxs = [1]", "ys = xs", "%%step b\nxs.append(2); 1/0")
    job.run("%%step b\nn = len(xs)")
    assert job.run("xs, ys, n, xs is ys").value == "([1], [1], 1, True)"
    job.run("%%step b\nxs.append(2); 1/0", "%%step b\nxs.append(2)")
    assert job.run("xs, ys, xs is ys").value == "([1, 2], [1, 2], True)"


def test_what_a_failed_attempt_changed_still_comes_from_its_step(job):
    """Where that step runs again for the next attempt, it is what that run makes."""
    job.run("%%step k\nk = 1", "%%step a\nxs = [k]", "ys = xs", "%%step b\nxs.append(2); 1/0")
    job.run("%%step k\nk = 5")
    assert job.run("%%step b\nxs.append(2)\nxs").value == "[5, 2]"


def test_a_change_in_place_by_a_plain_cell_is_put_aside_with_the_version(job):
    """It belongs to the version it changed."""
    job.run("%%step a\nxs = []")
    job.run("%%step b\nxs.append(1)")
    job.run("xs.append(2)")
    assert job.run("xs").value == "[1, 2]"
    assert job.run("%%step b --force\nxs.append(1)\nxs").value == "[1]"


def test_a_change_by_a_plain_cell_counts_for_the_steps_below(job):
    """It is their given."""
    job.run("%%step a\nxs = [1]")
    job.run("xs.append(2)")
    assert job.run("%%step c\nn = len(xs)\nn").value == "2"
    job.kill()
    job.load("job")
    assert job.run("%%step c\nn = len(xs)\nn").states[-1][1] in ("restored", "ran")


def test_names_of_a_plain_cell_that_share_with_a_step_belong_to_it(job):
    """An alias and a container that a plain cell made are put back together with the object."""
    job.run("%%step a\nxs = [1]")
    job.run("zs = [xs]")
    assert job.run("%%step b\nxs.append(2)\nxs").value == "[1, 2]"
    assert job.run("zs").value == "[[1, 2]]"
    job.run("%%step b --force\nxs.append(2)\nxs")
    assert job.run("zs, zs[0] is xs").value == "([[1, 2]], True)"


def test_a_plain_cell_that_makes_something_else_makes_its_readers_stale(job):
    """A given is an input like any other."""
    job.run("k = 1")
    job.run("%%step a\nu = k")
    job.run("k = 2")
    assert job.run("%%step a\nu = k\nu").value == "2"
    job.run("k = 2")
    assert job.run("%%step a\nu = k\nu").states == [("a", "restored")]


def test_what_a_later_step_made_of_a_given_is_put_aside(job):
    """The given stands for it again."""
    job.run("k = 1")
    job.run("%%step a\nu = k\nu")
    job.run("%%step z\nk = 5")
    assert job.run("%%step a --force\nu = k\nu").value == "1"
    assert job.run("k").value == "5"


def test_after_a_restart_a_name_says_if_a_plain_cell_had_made_more_of_it(job):
    """It means what was last kept, and the first cell that names it is told."""
    job.run("%%step a\nxs = [1]\nk = 1\nsame = 5")
    job.run("xs.append(2)\nk = 2")
    job.run("same = 5")
    job.kill()
    job.load("job")
    first = job.run("xs, k")
    assert first.value == "([1], 1)"
    assert "`xs` is as it was last kept; a plain cell had worked on it since" in first.text
    assert "`k` is as it was last kept" in first.text
    assert "as it was last kept" not in job.run("xs, k, same").text


def test_after_a_restart_nothing_is_told_of_what_plain_cells_only_looked_at(job):
    """By calls of which nobody knows what they do."""
    job.run("import json\ndef look(*given): return len(given)\nclass P: pass")
    job.run("%%step a\nxs, d, k, p, m = [1], {'a': 1}, 1.5, P(), json\nlook(P)")
    job.run("look(xs, d, k, p, m, P, look), json.dumps(d), max(d, key=d.get), P()")
    job.kill()
    job.load("job")
    shown = job.run("print(xs, d, k, m.dumps(d), type(p) is P, look(P))").text
    assert shown == "[1] {'a': 1} 1.5 {\"a\": 1} True 1\n"


def test_a_step_that_reads_what_a_plain_cell_had_made_more_of_is_told_too(job):
    """Once; a step that is restored needs none of it."""
    job.run("%%step a\nxs = [1]", "%%step r\nm = len(xs)", "xs.append(2)")
    job.kill()
    job.load("job")
    assert "as it was last kept" not in job.run("%%step r\nm = len(xs)").text
    first = job.run("%%step b\nn = len(xs)\nn")
    assert first.value == "1"
    assert "`xs` is as it was last kept; a plain cell had worked on it since" in first.text
    assert "as it was last kept" not in job.run("%%step c\nu = xs").text


def test_a_value_that_a_step_has_made_anew_is_not_told_of(job):
    """What is kept is what it means."""
    job.run("%%step a\nxs = [1]")
    job.run("xs.append(2)")
    job.run("%%step a --force\nxs = [1]")
    job.kill()
    job.load("job")
    assert "as it was last kept" not in job.run("xs").text


def test_a_name_of_ipythons_own_is_no_value_of_a_plain_cell(nb):
    """`open` stands in IPython's namespace; a cell that calls it or looks at all binds nothing."""
    nb.load("job")
    step = "%%step a\nsize = len(open('/dev/null').read())"
    nb.run(step, "open('/dev/null').close()", "len(globals())")
    assert nb.run(step).states == [("a", "restored")]


def test_every_change_in_place_by_a_plain_cell_counts_for_the_steps_below(job):
    """Not only the first; and what it changed may be put back."""
    job.run("%%step raw\nxs = [1]", "xs.append(5)")
    total = "%%step tot\ntot = sum(xs)\ntot"
    assert job.run(total).value == "6"
    job.run("xs.append(7)")
    assert job.run(total).value == "13"
    job.run("%%step raw\nxs = [1]")
    assert job.run(total).value == "1"


def test_a_name_that_a_plain_cell_only_looks_at_is_not_told_of(job):
    """After a restart it means what it meant."""
    job.run("%%step a\ni = 1\nxs = [1]")
    job.run("i\nxs", "xs[0]")
    job.kill()
    job.load("job")
    assert "as it was last kept" not in job.run("i, xs").text


def test_a_key_of_the_namespace_that_is_no_name_harms_nothing(job):
    """`globals()` takes any key."""
    job.run("globals()[3] = 4")
    assert job.run("%%step a\nx = 1\nx").states == [("a", "ran")]


def test_a_definition_that_is_run_again_keeps_its_object(job):
    """Instances that steps keep go on being its own; also when it was another in between."""
    same, other = "class P:\n    k = 1", "class P:\n    k = 2"
    job.run(same, "def f():\n    return 1", "%%step a\np = P()\ng = f", "%%step b\np.k")
    for cells in ((same,), (same, "def f():\n    return 1"), (other, same)):
        assert job.run(*cells, "isinstance(p, P), g is f").value == "(True, True)", cells
    assert job.run("%%step a\np = P()\ng = f").states == [("a", "restored")]
    assert job.run("%%step b\np.k").states == [("b", "restored")]


def test_a_definition_that_its_own_cell_uses_is_the_new_one(job):
    """Else what the cell made would be of another class than the one that is bound."""
    cell = "class P:\n    pass\ndef make():\n    return P()\nq = make()"
    job.run(cell, "%%step a\np = P()", cell)
    assert job.run("isinstance(q, P)").value == "True"


def test_a_definition_with_an_attribute_that_was_set_since_is_made_anew(job):
    """It is as its statement leaves it."""
    job.run("class P:\n    k = 1", "%%step a\np = P()", "P.k = 5", "class P:\n    k = 1")
    assert job.run("P.k").value == "1"


def test_what_a_plain_cell_made_of_a_steps_object_takes_that_along(job):
    """A step that changes the one has changed the other: it is kept, and put back, with it."""
    job.run("%%step a\nxs = [1]", "zs = [xs]", "%%step b\nzs[0].append(2)")
    assert job.run("%%step c\nlen(xs)").value == "2"
    assert job.run("%%step b --force\nzs[0].append(2)\nzs").value == "[[1, 2]]"
    assert job.run("xs, zs[0] is xs").value == "([1, 2], True)"
    job.kill()
    job.load("job")
    assert job.run("xs, zs[0] is xs").value == "([1, 2], True)"
    assert job.run("%%step c\nlen(xs)").states == [("c", "restored")]


def test_a_failed_attempt_at_what_a_plain_cell_made_leaves_it_one_with_its_parts(job):
    """The step named only the one of them."""
    job.run("%%step a\nxs = [1]", "zs = [xs]", "%%step b\nzs.append(2); 1/0")
    job.run("%%step b\nxs.append(2)")
    assert job.run("xs, zs, zs[0] is xs").value == "([1, 2], [[1, 2]], True)"


def test_a_class_that_is_run_again_goes_on_with_the_base_that_it_was_made_with(job):
    """A base that its subclasses write into is made anew, so they are, too."""
    base = "class Base:\n    known = {}\n    def __init_subclass__(cls):"
    base += "\n        Base.known['x'] = cls"
    cells = (f"{base}\nclass Door(Base): pass", "%%step a\nm = Door()")
    for _ in range(3):
        job.run(*cells)
        assert job.run("isinstance(m, Base), Door is type(m)").value == "(True, True)"
