"""Every step can say why it is as it is: what changed, from where, between which runs."""

from __future__ import annotations

import pytest


@pytest.fixture
def job(nb):
    """Two steps of which the second reads one column that the first makes."""
    nb.load("job")
    nb.run(
        "%%step load\nimport pandas as pd\ndf = pd.DataFrame({'price': [1, 2], 'other': [3, 4]})",
        "%%step clean\nmean = df['price'].mean()",
        "%%step plot\nshown = mean + 1",
    )
    return nb


def test_the_sentence_names_path_maker_and_runs(job, script):
    """In the notebook and in a script alike."""
    job.run(
        "%%step load\nimport pandas as pd\ndf = pd.DataFrame({'price': [1, 5], 'other': [3, 4]})"
    )
    told = 'clean is stale: `df["price"]`, made by load, changed between runs 2 and 4'
    assert job.run("%pipe why clean").stdout.strip() == told
    assert job.run("%pipe why plot").stdout.strip() == (
        "plot is stale: waits for clean, which is stale"
    )
    assert script("import pipestate\nprint(pipestate.Job('job').why('clean'))").strip() == told


def test_another_column_is_no_reason(job):
    """A step depends on just the column that it reads."""
    job.run(
        "%%step load\nimport pandas as pd\ndf = pd.DataFrame({'price': [1, 2], 'other': [9, 9]})"
    )
    assert job.run("%pipe why clean").stdout.strip() == "clean is fresh"
    assert job.run("%%step clean\nmean = df['price'].mean()").states == [("clean", "restored")]


def test_the_reason_shows_under_a_step_that_runs_again(job):
    """The same sentence as `why` tells."""
    told = job.run("%%step plot\nshown = mean + 2").text
    assert "its source changed" in told


def test_a_failure_is_a_reason(job):
    """With its error."""
    job.run("%%step plot\nshown = mean / 0 + nope")
    assert "NameError" in job.run("%pipe why plot").stdout
