"""The globals of the project's modules: what a step sets in them, or has them remember, counts."""

from __future__ import annotations

import pytest

HELPERS = """
LIM = 1
count = 0
seen = {}
names = set()

def limit():
    return LIM

def bump():
    global count
    count += 1
    return count

def remember(key, value=None):
    if value is not None:
        seen[key] = value
    names.add(key)
    return seen.get(key), sorted(names)

class Box:
    def size(self):
        return LIM
"""


@pytest.fixture
def job(nb, cwd):
    """A notebook beside a module of its project."""
    (cwd / "helpers.py").write_text(HELPERS, encoding="utf-8")
    nb.load("job")
    return nb


def again(nb):
    """Kill the kernel, and load the job in a new one."""
    nb.kill()
    nb.load("job")


SET = "%%step a\nimport helpers\nhelpers.LIM = {}"
READ = "%%step b\nn = helpers.limit()\nn"


def test_a_global_that_a_step_set_is_set_again_in_a_new_kernel(job):
    """Before a step below it runs; the step itself is restored."""
    job.run(SET.format(5), READ)
    again(job)
    assert job.run(READ).states == [("b", "restored")]
    assert job.run(f"{READ} + 1").value == "6"
    assert job.run(SET.format(5)).states == [("a", "restored")]


def test_a_step_edited_in_a_new_kernel_does_not_find_what_its_last_run_set(job):
    """Its own import of the module brings the module as it is written; so too for steps below."""
    first = "%%step a\nimport helpers\nhelpers.seen['x'] = 1\nsorted(helpers.seen)"
    job.run(first, "%%step b\nhelpers.seen['z'] = 1")
    again(job)
    assert job.run(first.replace("'x'", "'y'")).value == "['y']"


def test_what_an_import_brings_in_a_new_kernel_is_not_lost_by_a_step_beside_it(job):
    """A step that uses no module runs, and a plain cell still sees what a step had set."""
    job.run("%%step n\nn = 1", SET.format(5))
    again(job)
    job.run("%%step n\nn = 2")
    assert job.run("helpers.limit()").value == "5"


@pytest.mark.parametrize(
    ("cell", "look", "expected"),
    [
        ("def one(): return 1\nhelpers.seen['k'] = one", "helpers.seen['k']()", "1"),
        ("class P: n = 2\nhelpers.seen['k'] = P()", "helpers.seen['k'].n", "2"),
        ("class P: n = 2\nhelpers.seen['k'] = P()", "type(helpers.seen['k']) is P", "True"),
    ],
)
def test_a_global_may_hold_what_the_notebook_defines(job, cell, look, expected):
    """In a new kernel it is loaded for the module, as for anybody else."""
    cells = f"%%step a\nimport helpers\n{cell}", f"%%step b\nr = {look}\nr"
    assert job.run(*cells).value == expected
    again(job)
    assert job.run(f"{cells[1]}, 0").value == f"({expected}, 0)"
    again(job)
    assert job.run(cells[0]).states == [("a", "restored")]
    again(job)
    edited = cells[0].replace("1", "11").replace("2", "22")
    assert not job.run(edited).error


def test_what_a_class_of_a_module_holds_counts_as_its_globals_do(job, cwd):
    """A counter of its instances, and a list that they share."""
    text = "class M:\n    n = 0\n    all = []\n    def __init__(self):\n        M.n += 1\n"
    (cwd / "helpers.py").write_text(text + "        M.all.append(M.n)\n")
    job.run("from helpers import M")
    cells = "%%step a\nx = M()\nM.n, M.all", "%%step b\ny = M()\nM.n, M.all"
    assert job.run(*cells).value == "(2, [1, 2])"
    assert job.run("%%step a\nx = M(); w = M()\nM.n, M.all").value == "(2, [1, 2])"
    why = "b is stale: the global helpers.M.all, set by a, changed"
    assert job.run("%pipe why b").stdout.startswith(why)
    assert job.run(cells[1]).value == "(3, [1, 2, 3])"
    again(job)
    assert job.run(cells[1]).states == [("b", "restored")]
    assert job.run(f"{cells[1]}, 0").value == "(3, [1, 2, 3], 0)"


def test_a_function_of_a_module_may_seed(job, cwd):
    """Who draws below is stale when the seed is another one."""
    (cwd / "helpers.py").write_text("import random\ndef begin(n): random.seed(n)\n")
    begin, draw = "%%step a\nimport helpers\nhelpers.begin({})", "%%step b\nrandom.random()"
    job.run("import random", begin.format(1), draw, begin.format(2))
    assert job.run(draw).value == "0.9560342718892494"


def test_who_reads_a_global_is_stale_when_a_step_sets_it_otherwise(job):
    """Through a function, in this kernel and the next, and when nobody sets it any more."""
    job.run(SET.format(5), READ)
    job.run(SET.format(6))
    told = "b is stale: the global helpers.LIM, set by a, changed between runs 2 and 3"
    assert job.run("%pipe why b").stdout.strip() == told
    again(job)
    assert job.run(READ).value == "6"
    job.run("%%step a\nimport helpers")
    assert job.run(READ).value == "1"


def test_a_step_that_reaches_no_module_does_not_care(job):
    """Nor one that reaches another module."""
    job.run(SET.format(5), "%%step c\nk = 1", "%%step d\nimport math\nr = math.sqrt(4)")
    job.run(SET.format(6))
    assert job.run("%%step c\nk = 1").states == [("c", "restored")]
    assert job.run("%%step d\nimport math\nr = math.sqrt(4)").states == [("d", "restored")]


def test_an_instance_of_a_class_of_the_module_reaches_it(job):
    """Its methods read the module's globals."""
    job.run(SET.format(5), "%%step box\nbox = helpers.Box()", "%%step s\nsize = box.size()\nsize")
    job.run(SET.format(7))
    assert job.run("%%step s\nsize = box.size()\nsize").value == "7"


def test_a_count_that_a_module_keeps_is_as_from_the_top(job):
    """However often a step runs, and after a restart."""
    first, second = "%%step a\nimport helpers\nx = helpers.bump()\nx", "%%step b\nhelpers.bump()"
    job.run(first, second)
    assert job.run(f"{first} + 10").value == "11"
    assert job.run(f"{second} + 10").value == "12"
    again(job)
    assert job.run(f"{second} + 20").value == "22"
    assert job.run(f"{second} + 30").value == "32"


def test_what_a_module_collects_is_as_from_the_top(job):
    """In a dict and a set that keep their identity."""
    job.run("%%step a\nimport helpers\nfrom helpers import seen\nhelpers.remember('a', 1)")
    job.run(
        "%%step b\nhelpers.remember('b', 2)", "%%step a\nimport helpers\nfrom helpers import seen"
    )
    assert job.run("%%step c\nhelpers.remember('c')").value == "(None, ['b', 'c'])"
    again(job)
    assert job.run("%%step c\nhelpers.remember('b')\n").value == "(2, ['b'])"
    assert job.run("seen is helpers.seen").value == "True"


def test_a_step_above_the_one_that_sets_a_global_reads_what_stood_before(job):
    """When it runs again after it."""
    job.run("%%step top\nimport helpers\nt = helpers.limit()", SET.format(5))
    assert job.run("%%step top\nimport helpers\nt = helpers.limit() + 0\nt").value == "1"
    assert job.run(READ).value == "5"


def test_a_module_that_was_edited_has_its_globals_set_again(job, cwd):
    """After it is loaded anew."""
    job.run(SET.format(5), READ)
    (cwd / "helpers.py").write_text(
        HELPERS.replace("return LIM", "return LIM * 10"), encoding="utf-8"
    )
    assert job.run(READ).value == "50"


# --- modules that are not the project's ----------------------------------------------------------


PATCH = "%%step a\nimport math\nmath.tau2 = 6"


def test_a_step_that_sets_an_attribute_of_another_module_counts_as_setup(job):
    """It says so in a line, and runs once in a new kernel before the first step below it."""
    first = job.run(PATCH)
    assert "a sets `math.tau2`, so it counts as --setup" in first.text
    job.run("%%step b\nmath.tau2")
    again(job)
    used = job.run("%%step b\nmath.tau2 + 1")
    assert used.value == "7"
    assert ("a", "ran") in used.states
    assert ("a", "ran") not in job.run("%%step b\nmath.tau2 + 2").states


@pytest.mark.parametrize(
    "cell",
    [
        "import fractions as fr\nfr.mark = 1",
        "from fractions import Fraction\nFraction.mark = 1",
        "import os.path\nos.path.mark = 1",
        "import fractions\nsetattr(fractions, 'mark', 1)",
        "import fractions\nif True:\n    fractions.mark = 1",
    ],
)
def test_so_does_each_way_to_set_one(job, cell):
    """Of a module under another name, of a class, by `setattr`."""
    assert "so it counts as --setup" in job.run(f"%%step a\n{cell}").text


@pytest.mark.parametrize(
    "cell",
    [
        "import types\nbox = types.SimpleNamespace()\nbox.mark = 1",
        "import sys\nsys.path = [*sys.path]",
        "class Box: pass\nBox.mark = 1",
        "import fractions\ndef later():\n    fractions.mark = 1",
        "import helpers\nhelpers.mark = 1",
        "import decimal\ndecimal.getcontext().prec = 9",
    ],
)
def test_what_is_kept_anyway_does_not(job, cell):
    """Objects and classes of the notebook, settings of the process, the project's own modules."""
    assert "--setup" not in job.run(f"%%step a\n{cell}").text


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("helpers.PAIR = (1, 3)", "((1, 3), (1, [2]), 'x', [], 5)"),
        ("helpers.NEST[1].append(3)", "((1, 2), (1, [2, 3]), 'x', [], 5)"),
        ("helpers.LONG = 'y' * 4000", "((1, 2), (1, [2]), 'y', [], 5)"),
        ("helpers.Box.all.append(3)", "((1, 2), (1, [2]), 'x', [3], 5)"),
        ("helpers.Box.most = 6", "((1, 2), (1, [2]), 'x', [], 6)"),
        ("del helpers.PAIR; helpers.PAIR = (4,)", "((4,), (1, [2]), 'x', [], 5)"),
        ("helpers.PAIR = [1]; helpers.PAIR.append(2)", "([1, 2], (1, [2]), 'x', [], 5)"),
    ],
)
def test_what_never_moved_before_counts_when_it_does(nb, cwd, change, value):
    """However often it was looked at; in a kernel that has looked, and in a new one."""
    (cwd / "helpers.py").write_text(
        "PAIR = (1, 2)\nNEST = (1, [2])\nLONG = 'x' * 4000\n"
        "class Box:\n    all = []\n    most = 5\n"
        "def look():\n    return PAIR, NEST, LONG[0], Box.all, Box.most\n",
        encoding="utf-8",
    )
    nb.load("job")
    read = "%%step b\nseen = helpers.look()\nseen"
    first = "((1, 2), (1, [2]), 'x', [], 5)"
    cells = ["import helpers", "%%step a\nn = 1", read, "%%step a\nn = 2", f"{read}, 1"]
    assert nb.run(*cells).value == f"({first}, 1)"
    nb.run(f"%%step a\n{change}")
    assert nb.run(read).value == value
    again(nb)
    assert nb.run(f"{read}, 2").value == f"({value}, 2)"
