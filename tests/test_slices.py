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


def test_deps_and_users(job):
    """Those next to it, and with `--all` theirs in turn."""
    assert job.run("%pipe deps total").stdout.split() == ["scale:", "scaled", "total:", "total"]
    assert "load: rows" in job.run("%pipe deps total --all").stdout
    assert job.run("%pipe users rows").stdout == "scale: rows\n"
    assert job.run("%pipe users rows --all").stdout == "scale: rows\ntotal: scaled\n"


def test_a_name_that_is_not_kept_is_answered_in_a_line(job):
    """With what would be right."""
    assert "did you mean total" in job.run("%pipe code totl").text
