"""A job's name: one rule at every door, and what is let in works at all of them."""

from __future__ import annotations

import pytest

ODD = ["x/y", "x/y/z", "a b", "..", "50% é🍵", "x:y*?"]
"""Names that are let in, whatever a file system would say to them."""

WRONG = ["", " a", "a ", "a\tb", "--help", "-x"]
REFUSED = "is no name for a job"


def test_a_name_of_any_printable_text_works_at_every_door(nb, script, shell):
    """Jobs whose names begin alike stay apart, in the store, after a restart and at the shell."""
    nb.load()
    for number, name in enumerate(ODD):
        nb.run(f'%pipe job "{name}"', f"%%step s\nk = {number}")
    assert [line[2:] for line in nb.run("%pipe jobs").stdout.splitlines()] == ODD
    nb.kill()
    nb.load()
    for number, name in enumerate(ODD):
        nb.run(f'%pipe job "{name}"')
        assert nb.run("k").value == str(number)
        assert "fresh" in shell("status", "--job", name).stdout
        assert shell("why", "s", "--job", name).stdout == "s is fresh\n"
    read = f"import pipestate as pip\nprint([pip.get(job, step='s')['k'] for job in {ODD!r}])"
    assert script(read) == "[0, 1, 2, 3, 4, 5]\n"
    assert "as it was put there" in shell("verify").stdout


def test_a_script_makes_a_job_of_an_odd_name(script):
    """And finds it again."""
    script("import pipestate as pip\npip.set('x/y', step='s', value=3)")
    assert script("import pipestate\nprint(pipestate.jobs(), pipestate.Job('x/y')['s'])") == (
        "['x/y'] 3\n"
    )


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_name_is_refused_in_one_line_in_scripts(script, name):
    """By each function that takes one; nothing is made."""
    for call in (f"Job({name!r})", f"set({name!r}, step='s', value=1)", f"get({name!r}, step='s')"):
        said = script(f"import pipestate\npipestate.{call}", check=False).splitlines()
        assert REFUSED in said[-1]
    assert script("import pipestate\nprint(pipestate.jobs())") == "[]\n"


def test_what_is_no_name_is_refused_in_one_line_in_the_notebook(nb):
    """By the magic and by the setting; the job in use stays."""
    nb.load("job")
    for name in WRONG:
        assert REFUSED in nb.run(f"%pipe job '{name}'").text
        if name:
            assert REFUSED in nb.run(f"%config PipeState.job = {name!r}").text
    assert nb.run("%pipe job").stdout.startswith("job job in ")


def test_a_variable_that_names_no_job_keeps_no_cell_from_running(nb):
    """A line says what is wrong with `$PIPESTATE_JOB`, and nothing is kept."""
    nb.restart(env={"PIPESTATE_JOB": "a\tb"})
    nb.run("%load_ext pipestate")
    ran = nb.run("%%step s\nk = 1\nk")
    assert ran.value == "1"
    assert REFUSED in ran.text
