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


def test_a_setting_of_the_process_is_told_in_words(nb):
    """What it is, which step set it, and between which runs it changed."""
    nb.load("job")
    nb.run("%%step set_up\nimport os\nos.environ['TEA'] = 'green'", "%%step b\nn = 1")
    nb.run("%%step set_up\nimport os\nos.environ['TEA'] = 'black'")
    told = "b is stale: the environment variable TEA, set by set_up, changed between runs 2 and 3"
    assert nb.run("%pipe why b").stdout.strip() == told
    nb.run("%%step set_up\nimport os\nos.environ['CUP'] = 'red'")
    gone = "b is stale: the environment variable TEA is set before it no more"
    assert nb.run("%pipe why b").stdout.strip() == gone
    nb.run("%%step b\nn = 1", "%%step set_up\nimport os\nos.environ['CUP'] = 'red'\nos.chdir('/')")
    new = "b is stale: the working directory, set by set_up, was not set before"
    assert nb.run("%pipe why b").stdout.strip() == new


def test_where_another_transformer_reads_the_cells_status_says_what_a_run_finds(nb):
    """A text may be another program there, without a change of its own."""
    other = """def read(lines):
    return [line.replace("@@", {!r}) for line in lines]
get_ipython().input_transformers_cleanup.append(read)"""
    nb.load("job")
    nb.run(other.format("41 +"), "%%step a\na = @@ 1", "%%step b\nb = a")
    assert nb.run("%pipe why b").stdout.strip() == "b is fresh"
    nb.kill()
    nb.load("job")
    nb.run(other.format("40 +"))
    assert nb.run("%pipe why a").stdout.strip() == "a is stale: its source changed"
    assert nb.run("%%step b\nb = a").states == [("a", "ran"), ("b", "ran")]


def test_a_step_with_a_magic_says_that_it_is_fresh_only_as_it_is_read_now(nb):
    """As any other."""
    nb.load("job")
    nb.run("%%step a\nlines = !echo one", "%%step b\ncount = len(lines)")
    nb.kill()
    nb.load("job")
    assert nb.run("%pipe why a").stdout.strip() == "a is fresh"
    assert nb.run("%%step b\ncount = len(lines)").states == [("b", "restored")]
