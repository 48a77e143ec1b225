"""The code that makes a name, who made it and who uses it."""

from __future__ import annotations

import pytest


@pytest.fixture
def job(nb):
    """A small pipe with a side branch and a plain cell."""
    nb.load("job")
    nb.run(
        "k = 3",
        "%%step load\nimport json\nrows = json.loads('[1, 2, 3]')\nnoise = 'x' * 9",
        "%%step scale\ndef times(row):\n    return row * k\nscaled = [times(r) for r in rows]",
        "%%step other\nunrelated = len(noise)",
        "%%step total\ntotal = sum(scaled); half = total / 2",
    )
    return nb


def test_the_code_of_a_name_makes_the_same_value_in_a_fresh_interpreter(job, script):
    """The smallest program: nothing that has no part in it."""
    code = job.run("%pipe code total").stdout
    assert script(f"{code}\nprint(total)") == "18\n"
    assert "noise" not in code
    assert "unrelated" not in code
    assert "half" not in code


def test_a_script_gets_the_code_too(job, script):
    """`Job.code(name)`."""
    code = script("import pipestate\nprint(pipestate.Job('job').code('half'))")
    assert script(f"{code}\nprint(half)") == "9.0\n"


def value_by_code(nb, script, name):
    """What a fresh interpreter makes of the code of a name, as text."""
    return script(f"{nb.run(f'%pipe code {name}').stdout}\nprint({name})").splitlines()[-1]


def test_a_change_by_another_name_has_a_part_in_it(nb, script):
    """Whether the other name is another step's, or a part that was given a name."""
    nb.load("job")
    nb.run("%%step a\nxs = [[1]]\nys = xs", "%%step b\nys.append(2)")
    nb.run("%%step c\npart = xs[0]", "%%step d\npart.append(3)")
    assert value_by_code(nb, script, "xs") == "[[1, 3], 2]"


def test_a_change_through_an_object_that_is_reached_from_it_has_a_part_in_it(nb, script):
    """An axis of a figure, drawn on in another step; what the module is told as well."""
    nb.load("job")
    nb.run(
        "%%step a\nimport matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt",
        "%%step b\nfig, ax = plt.subplots()\nother = plt.figure()",
        "%%step c\nax.plot([1, 2]);",
        "%%step d\nax.set_title('tea');",
    )
    code = nb.run("%pipe code fig").stdout
    assert script(f"{code}\nprint(len(fig.axes[0].lines), fig.axes[0].get_title())") == "1 tea\n"
    assert "other" not in code


def test_a_change_by_a_function_has_a_part_in_it(nb, script):
    """Its call changes what only its body names."""
    nb.load("job")
    nb.run("%%step a\nxs = []\ndef add(n):\n    xs.append(n)", "%%step b\nadd(4)\nk = 5")
    assert value_by_code(nb, script, "xs") == "[4]"


def test_what_plain_cells_made_and_changed_has_a_part_in_it(nb, script):
    """As often as they did, and where a step saw it."""
    nb.load("job")
    nb.run("ks = [1]", "%%step a\nn = len(ks)", "ks.append(7)", "ks.append(7)")
    nb.run("%%step b\nt = [sum(ks)]", "t.append(8)", "%%step c\nu = t + ks", "v = u[1:]")
    assert value_by_code(nb, script, "u") == "[15, 8, 1, 7, 7]"
    assert value_by_code(nb, script, "v") == "[8, 1, 7, 7]"
    nb.kill()
    nb.load("job")
    assert value_by_code(nb, script, "u") == "[15, 8, 1, 7, 7]"


def test_what_was_drawn_at_random_before_has_a_part_in_it(nb, script):
    """Where somebody has seeded: the next number depends on how many were drawn."""
    nb.load("job")
    nb.run("%%step a\nimport random\nrandom.seed(1)", "%%step b\nx = random.random()")
    drawn = nb.run("%%step c\ny = random.random()\ny").value
    assert value_by_code(nb, script, "y") == drawn


def test_the_step_that_wrote_a_file_has_a_part_in_it(nb, script):
    """A file is a name with versions."""
    nb.load("job")
    nb.run("%%step a\nk = 5\nwith open('k.txt', 'w') as f:\n    f.write(str(k))")
    nb.run("%%step b\nn = open('k.txt').read()")
    (nb.cwd / "k.txt").unlink()
    assert value_by_code(nb, script, "n") == "5"


def test_a_step_that_its_run_has_shown_to_look_only_has_no_part_in_it(nb):
    """Though its source might have changed what it was handed."""
    nb.load("job")
    nb.run("%%step a\nxs = [1]\ndef show(it):\n    print(it)", "%%step b\nshow(xs)")
    assert nb.run("%pipe code xs").stdout == "# a\nxs = [1]\n"


def test_deps_and_users(job):
    """Those next to it, and with `--all` theirs in turn."""
    assert job.run("%pipe deps total").stdout.split() == ["scale:", "scaled", "total:", "total"]
    assert "load: rows" in job.run("%pipe deps total --all").stdout
    assert job.run("%pipe users rows").stdout == "scale: rows\n"
    assert job.run("%pipe users rows --all").stdout == "scale: rows\ntotal: scaled\n"


def test_a_name_that_is_not_kept_is_answered_in_a_line(job):
    """With what would be right."""
    assert "did you mean total" in job.run("%pipe code totl").text


# --- magics, commands and files ------------------------------------------------------------------


def test_magics_of_the_session_are_left_out_of_the_code(nb, script):
    """So is what only measures; what `%%time` and `%%capture` run stays."""
    nb.load("job")
    nb.run(
        "%%step a\n%matplotlib inline\n%config InlineBackend.close_figures = True\nxs = [1, 2]",
        "%%step b\n%%time\nys = [x + 1 for x in xs]",
        "%%step c\n%%capture\nfor y in ys:\n    print(y)\nn = len(ys)",
        "%%step d\n%timeit -n1 -r1 sum(ys)\n%time total = sum(ys)\nlast = %time total + n",
    )
    assert value_by_code(nb, script, "last") == "7"
    assert "timeit" not in nb.run("%pipe code last").stdout


def test_commands_and_what_magics_do_to_the_process_are_said_in_python(nb, script):
    """Names in braces and behind dollars are filled in, the shell's own variables are not."""
    nb.load("job")
    nb.run(
        "%%step a\n%env FLAVOUR=mint\n!mkdir -p sub\n%cd sub\nleaf = 'tea'",
        "%%step b\n!echo {leaf} > leaf.txt\nlines = !cat leaf.txt; echo $FLAVOUR",
        "%%step c\nimport os\nfolder = os.path.basename(os.getcwd())",
        "%%step d\nall_of_it = lines, os.environ['FLAVOUR'], folder",
    )
    said = "(['tea', 'mint'], 'mint', 'sub')"
    assert nb.run("all_of_it[0][:], *all_of_it[1:]").value == said
    assert value_by_code(nb, script, "all_of_it") == said


def test_a_magic_that_is_no_python_stays_as_a_line_that_says_so(nb, script):
    """In its place."""
    nb.load("job")
    nb.run("%%step a\nif True:\n    %precision 3\n    n = 4\n%alias_magic t time\n%pip --version")
    code = nb.run("%pipe code n").stdout
    assert "# %pip --version (a magic, left out: no Python says it)" in code.splitlines()
    assert script(f"{code}\nprint(n)") == "4\n"


def test_a_script_gets_magics_in_plain_python_too(nb, script):
    """From the text of the cells, without IPython."""
    nb.load("job")
    nb.run("%%step a\n%matplotlib inline\nword = 'tea'", "%%step b\n%%time\nlines = !echo {word}")
    code = script("import pipestate\nprint(pipestate.Job('job').code('lines'))")
    assert script(f"{code}\nprint(lines)") == "['tea']\n"


def test_a_file_that_a_plain_cell_wrote_has_a_part_in_the_code(nb, script):
    """With what that cell stands on; what a plain cell read comes from the step that wrote it."""
    nb.load("job")
    nb.run("k = 3", "with open('k.txt', 'w') as f:\n    f.write(str(k))")
    nb.run(
        "%%step b\nn = int(open('k.txt').read())", "%%step c\nopen('n.txt', 'w').write(str(n + 1))"
    )
    nb.run("m = open('n.txt').read()", "%%step d\nmm = m * 2", "mmm = open('n.txt').read() * 3")
    (nb.cwd / "k.txt").unlink()
    (nb.cwd / "n.txt").unlink()
    assert value_by_code(nb, script, "mm") == "44"
    assert value_by_code(nb, script, "mmm") == "444"


def test_a_file_that_a_magic_wrote_has_a_part_in_the_code(nb, script):
    """`%%writefile` in a plain cell."""
    nb.load("job")
    nb.run("%%writefile k.txt\nseven", "%%step b\nk = open('k.txt').read().strip()")
    (nb.cwd / "k.txt").unlink()
    assert value_by_code(nb, script, "k") == "seven"


def test_what_is_displayed_on_the_way_needs_no_notebook(nb, script):
    """`display` is IPython's."""
    nb.load("job")
    nb.run("%%step a\nxs = []\nfor n in range(3):\n    display(n)\n    xs.append(n)")
    assert value_by_code(nb, script, "xs") == "[0, 1, 2]"
