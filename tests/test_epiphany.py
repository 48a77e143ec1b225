"""The main job: named steps that outlive the kernel."""

from __future__ import annotations


def test_a_value_is_there_after_the_kernel_was_killed(nb, script):
    """Any cell that names what a step made has it, and the step's body does not run again."""
    nb.load("epiphany-hello-01")
    first = nb.run('%%step step_01\nprint("computing")\nname = "Mike Again"\nname')
    assert first.stdout == "computing\n"
    assert first.value == "'Mike Again'"
    nb.kill()
    nb.load("epiphany-hello-01")
    again = nb.run('print(f"Name again: {name}")')
    assert again.stdout == "Name again: Mike Again\n"
    assert "computing" not in again.text
    out = script("import pipestate as pip\nprint(pip.get('epiphany-hello-01', step='step_01'))")
    assert out == "Mike Again\n"


def test_an_unchanged_step_is_restored_with_all_that_it_showed(nb):
    """Streams come back as streams, the result as the result, and `_` and `Out` are set."""
    nb.load("job")
    cell = "%%step s\nimport sys\nprint('out')\nprint('err', file=sys.stderr)\nx = 41\nx + 1"
    nb.run(cell)
    nb.kill()
    nb.load("job")
    again = nb.run(cell + "  # a comment is no change")
    assert again.states == [("s", "restored")]
    assert (again.stdout, again.stderr, again.value) == ("out\n", "err\n", "42")
    assert nb.run("_, x").value == "(42, 41)"
    assert nb.run(f"Out[{again.count}]").value == "42"
