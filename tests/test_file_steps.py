"""Files are inputs and outputs of steps, and what a step did to them is undone before a new run."""

from __future__ import annotations

import pytest


@pytest.fixture
def job(nb):
    """A notebook in a job."""
    nb.load("job")
    return nb


def test_a_step_that_reads_a_file_is_stale_when_it_changes(job, cwd):
    """The audit hook sees Python's `open`, pandas' readers included."""
    (cwd / "in.csv").write_text("a\n1\n2\n")
    cell = "%%step s\nimport pandas as pd\nn = int(pd.read_csv('in.csv').a.sum())\nn"
    assert job.run(cell).value == "3"
    assert job.run(cell).states == [("s", "restored")]
    (cwd / "in.csv").write_text("a\n1\n5\n")
    told = job.run(cell)
    assert told.value == "6"
    assert "in.csv" in told.text


def test_a_file_that_is_gone_is_told_from_one_that_changed(job, cwd):
    """And one that is there now from both; of what a step wrote likewise."""
    (cwd / "in.txt").write_text("1")
    read = "%%step r\nfrom pathlib import Path\nfile = Path('in.txt')\n"
    read += "n = file.read_text() if file.exists() else ''\nn"
    write = "%%step w\nwith open('out.txt', 'w') as f:\n    _n = f.write('made')"
    job.run(read, write)

    def why(step):
        return job.run(f"%pipe why {step}").stdout.strip()

    (cwd / "in.txt").write_text("22")
    assert why("r") == "r is stale: file `in.txt` changed"
    (cwd / "in.txt").unlink()
    assert why("r") == "r is stale: file `in.txt` is not there any more"
    assert "(file `in.txt` is not there any more)" in job.run(read).text
    (cwd / "out.txt").write_text("other")
    assert why("w") == "w is stale: file `out.txt`, which it wrote, changed"
    (cwd / "out.txt").unlink()
    assert why("w") == "w is stale: file `out.txt`, which it wrote, is not there any more"


def test_a_file_that_a_step_looked_for_in_vain_is_there_now(job, cwd):
    """Which is a change too."""
    cell = "%%step r\ntry:\n    n = open('in.txt').read()\nexcept FileNotFoundError:\n    n = ''\nn"
    job.run(cell)
    (cwd / "in.txt").write_text("1")
    told = job.run("%pipe why r").stdout
    assert told == "r is stale: file `in.txt` was not there before\n"
    assert job.run(cell).value == "'1'"


def test_a_step_whose_output_file_is_gone_runs_again(job, cwd):
    """A missing or altered output makes it stale."""
    cell = "%%step s\nwith open('out.txt', 'w') as f:\n    f.write('made')"
    job.run(cell)
    assert job.run(cell).states == [("s", "restored")]
    (cwd / "out.txt").unlink()
    assert job.run(cell).states == [("s", "ran")]
    assert (cwd / "out.txt").read_text() == "made"


def test_a_reader_needs_the_step_that_writes_its_file(job, cwd):
    """A stale writer runs first."""
    job.run("%%step k\nk = 1")
    job.run("%%step w\nwith open('f.txt', 'w') as f:\n    _n = f.write(str(k))")
    assert job.run("%%step r\nwith open('f.txt') as f:\n    got = f.read()\ngot").value == "'1'"
    job.run("%%step k\nk = 2")
    again = job.run("%%step r\nwith open('f.txt') as f:\n    got = f.read()\ngot")
    assert again.value == "'2'"
    assert ("w", "ran") in again.states


def test_appending_twice_means_appending_once(job, cwd):
    """What the last run appended is taken away before the step runs again."""
    (cwd / "log.txt").write_text("start\n")
    cell = "%%step s --force\nwith open('log.txt', 'a') as f:\n    _n = f.write('more\\n')"
    job.run(cell)
    job.run(cell)
    assert (cwd / "log.txt").read_text() == "start\nmore\n"


def test_what_a_plain_cell_wrote_to_a_file_counts(job, cwd):
    """Who read the file is stale; so is who wrote it, and what that one appended stays, told of."""
    (cwd / "log.txt").write_text("1")
    reader = "%%step r\nt = open('log.txt').read()\nt"
    writer = "%%step w\nwith open('log.txt', 'a') as f:\n    _n = f.write('3')"
    job.run(reader, "with open('log.txt', 'a') as f: f.write('2');")
    assert job.run("%pipe why r").text.startswith("r is stale: file `log.txt` changed")
    assert job.run(reader).value == "'12'"
    job.run(writer, "with open('log.txt', 'a') as f: f.write('4');")
    assert "`log.txt`, which it wrote, changed" in job.run("%pipe why w").text
    assert "log.txt stays as it is before w runs: it was changed since" in job.run(writer).text
    assert (cwd / "log.txt").read_text() == "12343"


def test_what_a_step_appended_is_taken_away_also_where_one_below_has_appended_since(job, cwd):
    """The step below is stale then, and appends anew."""
    cell = "%%step {}\nwith open('log.txt', 'a') as f:\n    _n = f.write('{}')"
    read = "%%step r\nt = open('log.txt').read()\nt"
    job.run(cell.format("a", "1"), cell.format("b", "2"), read)
    edited = job.run(cell.format("a", "3"))
    assert "stays as it is" not in edited.text
    assert job.run(read).value == "'32'"
    assert job.run(cell.format("b", "4"), read).value == "'34'"


def test_an_edited_project_module_runs_its_users_with_the_new_code(job, cwd):
    """Whatever way it was imported."""
    (cwd / "helpers.py").write_text("def f(x):\n    return x + 1\n")
    job.run("import sys; sys.path.insert(0, '.')")
    job.run("%%step a\nimport helpers\nfrom helpers import f as g")
    cell = "%%step b\nu = helpers.f(1), g(1)\nu"
    assert job.run(cell).value == "(2, 2)"
    (cwd / "helpers.py").write_text("# a comment\ndef f(x):\n    return x + 1\n")
    assert job.run(cell).states == [("b", "restored")]
    (cwd / "helpers.py").write_text("def f(x):\n    return x + 10\n")
    told = job.run(cell)
    assert told.value == "(11, 11)"
    assert "helpers" in told.text


@pytest.mark.parametrize(
    ("made", "used"),
    [
        ("def f():\n    from helpers import g\n    return g()", "f()"),
        ("def f():\n    import helpers\n    return helpers.g()\nr = f()", "f()"),
        ("class M:\n    def f(self):\n        import helpers as h; return h.g()\nm = M()", "m.f()"),
        ("from package import part", "part.g()"),
        ("def f():\n    from package import part\n    return part.g()", "f()"),
    ],
)
def test_so_are_those_of_a_module_that_only_a_function_imports_or_that_a_package_holds(
    job, cwd, made, used
):
    """It counts where the function is called; the package itself has not changed."""
    (cwd / "package").mkdir()
    (cwd / "package" / "__init__.py").touch()
    files = [cwd / "helpers.py", cwd / "package" / "part.py"]
    for file in files:
        file.write_text("def g():\n    return 1\n")
    cell = f"%%step b\nu = {used}\nu"
    assert job.run(f"%%step a\n{made}", cell).value == "1"
    assert job.run(cell).states == [("b", "restored")]
    for file in files:
        file.write_text("def g():\n    return 22\n")
    assert job.run(cell).value == "22"


def test_a_cell_that_imports_and_calls_in_a_function_of_its_own_follows_the_module(job, cwd):
    """No other cell names the module."""
    cell = "%%step b\ndef f():\n    import helpers\n    return helpers.g()\nf()"
    (cwd / "helpers.py").write_text("def g():\n    return 1\n")
    assert job.run(cell).value == "1"
    (cwd / "helpers.py").write_text("def g():\n    return 22\n")
    assert job.run(cell).value == "22"


def test_what_a_failed_attempt_wrote_is_put_back_before_the_next(nb):
    """However many fail."""
    nb.load()
    nb.run("%%step a\nwith open('f', 'w') as w: w.write('1')")
    for _ in range(2):
        nb.run("%%step b\nwith open('f', 'a') as w: w.write('2')\n1/0")
    nb.run("%%step b\nwith open('f', 'a') as w: w.write('2')")
    assert nb.run("%%step c\nopen('f').read()").value == "'12'"


def test_an_open_file_stands_for_what_is_in_it(nb, cwd):
    """What reads from it runs again when the file was written anew."""
    nb.load("job")
    write, read = "%%step a\nn = open('q.txt', 'w').write('{}')", "%%step c\nt = fh.read()\nt"
    nb.run(write.format("old"), "%%step b\nfh = open('q.txt')", read)
    nb.run(write.format("new"))
    assert nb.run(read).value == "'new'"
