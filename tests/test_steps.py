"""What a step's cell is: an ordinary cell, and options on its first line."""

from __future__ import annotations

import pytest

import pipestate


@pytest.fixture
def job(nb):
    """A notebook that has loaded a job."""
    nb.load("job")
    return nb


def test_top_level_await_works_in_a_step(job):
    """The kernel's own loop runs the body."""
    done = job.run("%%step s\nimport asyncio\nawait asyncio.sleep(0)\nx = 1\nx")
    assert (done.value, done.states) == ("1", [("s", "ran")])
    assert job.run("%%step s\nimport asyncio\nawait asyncio.sleep(0)\nx = 1\nx").states == [
        ("s", "restored")
    ]


def test_a_cell_magic_below_the_step_line_works(job):
    """`%%time` measures the body, and the step keeps what the body made."""
    done = job.run("%%step s\n%%time\ny = 21 * 2\nprint(y)")
    assert "Wall time" in done.stdout
    assert done.states == [("s", "ran")]
    job.kill()
    job.load("job")
    assert job.run("y").value == "42"


def test_tracebacks_name_the_lines_of_the_cell(job):
    """The `%%step` line counts as line 1."""
    failed = job.run("%%step s\nx = 1\n1 / 0")
    assert failed.error == "ZeroDivisionError"
    assert "line 3" in failed.traceback


def test_a_failing_step_leaves_the_record_before_it_in_force(job):
    """It is recorded as failed, and the last good value stays in the store."""
    job.run("%%step s\nx = 1")
    assert job.run("%%step s\nx = 2\n1 / 0").error == "ZeroDivisionError"
    assert "failed" in job.run("%pipe").text
    job.kill()
    job.load("job")
    assert job.run("x").value == "1"


def test_line_magics_and_shell_commands_work_in_a_step(job):
    """`%magic`, `x = %magic`, `!cmd` and `x = !cmd` run as ever, and are kept."""
    cell = "%%step s\nn = 3\nout = !echo a{n}\n!echo shown $n\nout[0]"
    done = job.run(cell)
    assert done.value == "'a3'"
    assert "shown 3" in done.stdout
    again = job.run(cell)
    assert again.states == [("s", "restored")]
    assert "shown 3" in again.stdout


def test_a_redirection_binds_underscore_to_another_steps_value(job):
    """`< a` gives a's value, and counts as an input."""
    job.run("%%step a\n[1, 2, 3]")
    assert job.run("%%step b < a\nsum(_)").value == "6"
    assert job.run("%%step b < a\nsum(_)").states == [("b", "restored")]
    job.run("%%step a\n[1, 2, 4]")
    assert job.run("%%step b < a\nsum(_)").value == "7"
    assert job.run("_").value == "7"


def test_a_step_that_reads_what_was_displayed_before_it_runs_every_time(job):
    """Nobody can tell ahead what that is; the line says what would be right."""
    job.run("5")
    step = "%%step a\ny = _ + 1\ny"
    assert job.run(step).value == "6"
    job.run("7")
    assert job.run(step).value == "8"
    assert "`_` is what was displayed before it" in job.run("%pipe why a").text
    assert "`< STEP` binds `_`" in job.run("%pipe why a").text
    assert job.run("%%step b\nfor _ in range(2): pass").states[-1] == ("b", "ran")
    assert job.run("%%step b\nfor _ in range(2): pass").states == [("b", "restored")]


def test_a_step_that_calls_what_reads_underscore_runs_every_time(job):
    """A function of another cell; with `< STEP` the step's value is the input."""
    job.run("def last(): return _\ndef deeper(): return last() + 1", "%%step c\n10")
    step = "%%step a\ny = deeper()\ny"
    job.run("5")
    assert job.run(step).value == "6"
    job.run("7")
    assert job.run(step).value == "8"
    assert "`_` is what was displayed before it" in job.run("%pipe why a").text
    piped = "%%step b < c\nz = deeper()\nz"
    assert job.run(piped).value == "11"
    assert job.run(piped).states == [("b", "restored")]


def test_what_a_step_does_to_underscore_reaches_no_other_name(job):
    """`_` is a copy of the value, run or restored."""
    job.run("%%step a\nxs = [1]\nxs", "%%step b < a\n_.append(2)\nys = _")
    assert job.run("xs, ys").value == "([1], [1, 2])"
    assert job.run("%%step b < a\n_.append(2)\nys = _").states == [("b", "restored")]


def test_a_redirection_from_a_value_that_cannot_be_kept_is_refused(job):
    """One line says what would be right."""
    shown = job.run("%%step a\n(n for n in range(3))")
    assert "what a shows last cannot be kept as its value: generator\n" in shown.text + "\n"
    refused = job.run("%%step b < a\nlist(_)")
    assert "the value of a could not be kept (generator); let a bind it to a name" in refused.text


def test_a_redirection_from_a_step_that_shows_nothing_gives_its_names(job):
    """The value of a step that displayed nothing is a dict of the names it bound."""
    job.run("%%step a\nx = 1\ny = 2")
    assert job.run("%%step b < a\nsorted(_.items())").value == "[('x', 1), ('y', 2)]"


def test_a_redirection_from_nowhere_is_refused(job):
    """One line says which steps there are."""
    job.run("%%step a\n1")
    refused = job.run("%%step b < nope\n_")
    assert "no step `nope`" in refused.traceback


def test_done_runs_again_until_the_key_is_true(job):
    """The step counts as done once the name it binds is truthy."""
    cell = "%%step s --done ok\nimport os\nok = os.path.exists('flag')\nok"
    assert job.run(cell).value == "False"
    assert job.run(cell).states == [("s", "ran")]
    job.run("open('flag', 'w').close()")
    assert job.run(cell).value == "True"
    assert job.run(cell).states == [("s", "restored")]


def test_a_step_waits_for_one_that_is_not_done(job):
    """What needs it does not run, and says why."""
    job.run("%%step s --done ok\nok = False\nx = 1")
    assert "not done" in job.run("%%step t\ny = x + 1").traceback


def test_always_runs_every_time(job):
    """And its readers are judged by its last run."""
    job.run("%%step a --always\nimport time\nt = time.time()")
    job.run("%%step b\nu = t")
    assert job.run("%%step b\nu = t").states == [("b", "restored")]
    assert job.run("%%step a --always\nimport time\nt = time.time()").states == [("a", "ran")]
    assert job.run("%%step b\nu = t").states == [("b", "ran")]


def test_setup_runs_once_in_every_kernel(job):
    """Its values are made anew, before the first step or cell that needs them."""
    job.run("%%step con --setup\nimport sqlite3\ndb = sqlite3.connect(':memory:')\nprint('opened')")
    job.run("%%step q\nrows = db.execute('select 1').fetchall()\nrows")
    job.kill()
    job.load("job")
    first = job.run("db.execute('select 2').fetchall()")
    assert first.value == "[(2,)]"
    assert job.run("%%step q\nrows = db.execute('select 1').fetchall()\nrows").states[-1] == (
        "q",
        "restored",
    )


def test_force_runs_a_fresh_step_once(job):
    """And earlier records do not come back by themselves."""
    job.run("%%step s\nx = 1")
    assert job.run("%%step s --force\nx = 1").states == [("s", "ran")]
    assert job.run("%%step s\nx = 1").states == [("s", "restored")]


def test_force_counts_only_where_its_own_cell_is_run(job):
    """A step that another one needs, or that is named by `%pipe run`, is judged as ever."""
    job.run("%%step a --force\nx = 1", "%%step b\ny = x + 1\ny")
    assert job.run("%%step b\ny = x + 1\ny").states == [("b", "restored")]
    assert ("a", "ran") not in job.run("%pipe run a").states
    assert ("a", "ran") not in job.run("%pipe run --all").states
    assert job.run("%%step a --force\nx = 1").states == [("a", "ran")]


def test_no_save_keeps_a_name_out_of_the_store(job):
    """The step is restored without it, and runs again when a cell needs it."""
    job.run("%%step s --no-save big\nbig = [1, 2]\nsmall = 3")
    job.kill()
    job.load("job")
    assert job.run("%%step s --no-save big\nbig = [1, 2]\nsmall = 3").states == [("s", "restored")]
    again = job.run("big")
    assert again.value == "[1, 2]"
    assert ("s", "ran") in again.states


def test_reads_names_a_file_that_is_not_seen(job):
    """The step goes stale when the file changes."""
    job.run("open('in.txt', 'w').write('1')")
    cell = "%%step s --reads in.txt\nout = !cat in.txt\nout[0]"
    assert job.run(cell).value == "'1'"
    assert job.run(cell).states == [("s", "restored")]
    job.run("open('in.txt', 'w').write('23')")
    assert job.run(cell).value == "'23'"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%%step", "no name"),
        ("%%step a b", "one name"),
        ("%%step a/b", "letters"),
        ("%%step a --foo", "--foo"),
        ("%%step a --done", "--done"),
        ("%%step a --after zzz", "zzz"),
    ],
)
def test_a_wrong_step_line_is_answered_in_one_line_and_changes_nothing(job, line, told):
    """What was wrong, and what would be right."""
    refused = job.run(f"{line}\nx_never = 1")
    assert told in refused.traceback
    assert "\n" not in refused.traceback.strip()
    assert "x_never" not in job.run("sorted(k for k in globals() if k.startswith('x_'))").value


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%pipe foo", "foo"),
        ("%pipe statsu", "did you mean `%pipe status`"),
        ("%pipe load nope", "nope"),
        ("%pipe drop nope", "nope"),
        ("%pipe unload", "needs a name"),
        ("%pipe jobs x", "no words"),
        ("%pipe job a b", "one word"),
        ("%pipe job 'a", "quote"),
        ("%pipe why nope", "nope"),
    ],
)
def test_a_wrong_pipe_line_is_answered_in_one_line(job, line, told):
    """A UsageError on stderr, no traceback."""
    refused = job.run(line)
    assert told in refused.text
    assert refused.text.strip().count("\n") == 0


def test_a_cell_is_read_right_after_a_traceback_was_shown(job):
    """What shows tracebacks leaves marks on syntax trees that every other tree shares."""
    job.run("def f(n):\n    return f(n - 1) if n else 1 / 0\nf(5)")
    done = job.run("%%step s\nclass C:\n    k = 1\n    def m(self): return self.k\nC().m()")
    assert done.value == "1"


def test_a_body_that_runs_cells_itself_is_one_step(job):
    """`%%capture` and `run_cell` are part of the body that calls them."""
    assert job.run("%%step a\n%%capture cap\nprint(1); z = 1").states == [("a", "ran")]
    job.kill()
    job.load("job")
    assert job.run("cap.stdout, z").value == "('1\\n', 1)"


def test_a_step_that_may_read_any_name_runs_once_for_those_that_need_it(job):
    """However many steps stand between."""
    job.run("%%step a\nk = eval('1 + 1'); print('a runs')")
    job.run("%%step b\nb = k + 1", "%%step c\nc = b + k")
    assert job.run("%%step d\nd = c + k").stdout.count("a runs") == 1


def test_the_last_frame_of_a_loop_stays_on_the_page(job):
    """A badge does not wipe what `clear_output(wait=True)` left to the next output."""
    cell = (
        "%%step d\nfrom IPython.display import clear_output, display\n"
        "for i in range(3):\n    display(i); clear_output(wait=True)"
    )
    assert "2" in [one["data"]["text/plain"] for one in job.run(cell).outputs]
    again = job.run(cell)
    assert [one["data"]["text/plain"] for one in again.outputs] == ["2"]


def test_a_loaded_figure_shows_as_a_picture(job):
    """Though nothing in this kernel has plotted yet."""
    job.run(
        "%%step a\nimport matplotlib.pyplot as plt\nfig, ax = plt.subplots()\n"
        "_lines = ax.plot([1, 2, 3]); plt.close(fig)"
    )
    job.kill()
    job.load("job")
    assert any("image/png" in one.get("data", {}) for one in job.run("fig").outputs)


def test_what_a_lost_value_refers_to_is_made_again_with_it(job):
    """A weak reference and its object come from one run."""
    job.run("%%step a\nimport weakref\nclass O: pass\no = O(); r = weakref.ref(o)")
    job.kill()
    job.load("job")
    assert job.run("r() is o").value == "True"


def test_an_interrupt_leaves_the_record_before_it_in_force(job):
    """The step is noted as failed, and its last good value stays."""
    job.run("%%step a\nx = 1")
    running = job.begin("%%step a\nimport time\nprint('begun', flush=True)\nx = 2\ntime.sleep(60)")
    job.wait_for(lambda: "begun" in running.stdout)
    job.interrupt()
    assert job.wait(running).error == "KeyboardInterrupt"
    assert "failed" in job.run("%pipe").text
    job.kill()
    job.load("job")
    assert job.run("x").value == "1"


def test_what_is_kept_out_of_the_store_stays_out(job, cwd):
    """Also when another step has read it; and that step finds it in a new kernel."""
    job.run("%%step cred --no-save token\ntoken = 'S3' + 'CRETXYZ'")
    job.run("%%step use\nlen(token)")
    job.kill()
    found = [p for p in (cwd / ".pipestate").rglob("*") if p.is_file()]
    assert found
    assert not any(b"S3CRETXYZ" in p.read_bytes() for p in found)
    job.load("job")
    assert job.run("%%step use\nlen(token) + 1").value == "10"


def test_looking_at_a_time_series_changes_nothing(job):
    """What pandas remembers of an index is no part of its value."""
    job.run(
        "%%step a\nimport pandas as pd\n"
        "ts = pd.Series(range(5), pd.date_range('2024-01-01', periods=5))"
    )
    job.run("%%step b\nlen(ts)")
    job.run("ts.loc['2024-01-02':].sum()")
    assert job.run("%%step b\nlen(ts)").states == [("b", "restored")]


def test_a_step_is_typed_line_by_line(job):
    """A front end that asks whether the cell is complete hears that it is not."""
    asked = "get_ipython().input_transformer_manager.check_complete('%%step a')[0]"
    assert job.run(asked).value == "'incomplete'"


def test_an_equal_value_of_another_name_is_kept(job):
    """Only the name itself is left out, not every small number that Python shares with it."""
    job.run("%%step s --no-save few\nfew = 5\nother = 5")
    job.kill()
    job.load("job")
    again = job.run("other")
    assert (again.value, again.states) == ("5", [])


def test_a_step_run_for_anothers_sake_leaves_what_names_mean_to_the_step_asked_last(job):
    """Also where it binds a name that it never bound before."""
    job.run("%%step a\nxs = [4]\nm = 5")
    assert job.run("%%step b\nxs.append(z)\nm = 6").error == "NameError"
    job.run("z = 0")
    assert job.run("%%step c\nn = len(xs)\nn").value == "2"
    assert job.run("m").value == "5"


def test_a_step_that_failed_and_is_what_it_was_again_is_no_longer_failed(job):
    """Its needs are back, and so is its record."""
    job.run("%%step a\nk = 1", "%%step b\nif k > 1: raise ValueError\nm = k", "%%step c\nm")
    job.run("%%step a\nk = 2")
    assert job.run("%%step c\nm").error == "StepRefused"
    job.run("%%step a\nk = 1", "%%step c\nm")
    assert "failed" not in job.run("%pipe").text


def test_a_dropped_step_is_gone_as_after_a_restart(nb):
    """Its names mean what the others make of them, or nothing, and who read them is stale."""
    nb.load("job")
    nb.run("%%step a\nx = 1", "%%step b\nx = 2\ny = 5", "%%step c\nz = x + y")
    nb.run("%pipe drop b")
    for _ in range(2):
        assert nb.run("x, 'y' in globals()").value == "(1, False)"
        assert nb.run("%pipe why c").stdout.startswith("c is stale: `x`, made by a, changed")
        nb.kill()
        nb.load("job")


@pytest.mark.parametrize("look", ["part = rows[0]", "print(rows)", "rest = sorted(rows)", "rows"])
def test_a_failed_step_that_only_looked_at_a_name_is_no_need_of_its_readers(nb, look):
    """It leaves the name as it is, whatever part of it it keeps."""
    nb.load("job")
    nb.run("%%step a\nrows = [[1], [2]]", f"%%step b\n{look}\n1/0")
    assert nb.run("%%step c\nn = len(rows)\nn").value == "2"


@pytest.mark.parametrize("change", ["part = rows[0]; part.append(3)", "for r in rows: r.pop()"])
def test_a_failed_step_that_may_change_a_name_by_another_is_needed(nb, change):
    """A run from the top would stop there."""
    nb.load("job")
    nb.run("%%step a\nrows = [[1], [2]]", f"%%step b\n{change}\n1/0")
    assert "c did not run: b, which it needs, failed" in nb.run("%%step c\nlen(rows)").text


def test_a_failed_step_that_goes_over_an_iterator_is_needed(nb):
    """It uses it up."""
    nb.load("job")
    nb.run("%%step a\nit = iter([1, 2])", "%%step b\nxs = list(it)\n1/0")
    assert "c did not run: b, which it needs, failed" in nb.run("%%step c\nnext(it)").text


def test_a_step_is_kept_while_a_thread_binds_and_deletes_names(nb):
    """It may strike between any two looks at the namespace."""
    nb.load()
    nb.run(
        "import sys, threading\n"
        "sys.setswitchinterval(1e-5)\n"
        "go = threading.Event()\n"
        "def churn():\n"
        "    names = globals()\n"
        "    while not go.is_set():\n"
        "        for at in range(20):\n"
        "            names[f'tt{at}'] = at\n"
        "            names.pop(f'tt{at - 7}', None)\n"
        "threading.Thread(target=churn, daemon=True).start()"
    )
    results = [nb.run(f"%%step a\nx = {at}") for at in range(60)]
    nb.run("go.set()")
    assert {result.states[-1] for result in results} == {("a", "ran")}


WRITE = "for i in range(3):\n    with open(f'{i}.txt', 'w') as fh:\n        fh.write('x')"
READ = "t = 0\nfor i in range(3):\n    with open(f'{i}.txt') as fh:\n        t += len(fh.read())"


def test_a_loop_that_opens_files_needs_none_that_a_plain_cell_had_opened(nb, cwd):
    """It may run no time, but a file that nobody reads from is not wanted back."""
    nb.load()
    nb.run(WRITE, f"%%step r\n{READ}", READ)
    again = [nb.run(f"%%step r\n{READ}\nt += {at}") for at in (1, 2)]
    assert [one.states for one in again] == [[("r", "ran")]] * 2


def test_a_loop_that_opens_files_needs_none_that_a_step_had_opened(nb, cwd):
    """So the step that wrote them does not run again."""
    nb.load()
    nb.run(f"%%step w\n{WRITE}", READ)
    assert nb.run(f"%%step r\n{READ}").states == [("r", "ran")]
    nb.kill()
    nb.load()
    assert nb.run(f"%%step r\n{READ}").states == [("r", "restored")]


def test_a_loop_over_nothing_leaves_a_file_what_it_was(nb, cwd):
    """Whoever asks for it is told by whom it was made."""
    nb.load()
    nb.run("open('0.txt', 'w').close()", "fh = open('0.txt')", f"%%step r\n{WRITE}")
    nb.run("%%step r\nfor i in []:\n    fh = open('0.txt')")
    assert "run the cell that makes it" in nb.run("%%step s\nfh.closed").text


LOOP = "%%step {}\nfor i in range({}):\n    {} = i"


def test_what_a_loop_has_bound_was_no_input(nb):
    """Neither what a step above left under the name of its variable, nor that nothing did."""
    nb.load()
    nb.run(LOOP.format("a", 3, "x"), LOOP.format("b", 5, "y"))
    for number in (4, 2):
        nb.run(LOOP.format("a", number, "x"))
        assert nb.run(LOOP.format("b", 5, "y")).states == [("b", "restored")]
    assert nb.run("print(i, x, y)").text == "4 1 4\n"


def test_a_generator_that_a_branch_may_replace_and_does_not_is_still_its_makers(nb):
    """It cannot be kept: what stands for it is how it was made."""
    nb.load()
    first, branch = "%%step a\nx = (i for i in range({}))", "%%step b\nif 0:\n    x = None"
    read = "%%step c\nr = list(x)"
    nb.run(first.format(3), branch, read)
    nb.run(first.format(5), branch, read)
    assert nb.run("print(r)").text == "[0, 1, 2, 3, 4]\n"


def test_a_lock_that_a_branch_may_replace_and_that_was_used_since_stays(nb):
    """Also for the step that may replace it, which runs again to give it to the next."""
    nb.load()
    nb.run("import threading; l = k = threading.Lock()", "%%step b\nif 0:\n    l = None")
    nb.run("l.locked()", "%%step c\nr = l.locked()")
    assert nb.run("print(r, l is k)").text == "False True\n"


def test_a_stale_step_runs_first_for_what_a_loop_may_pass_on(nb):
    """Whether the loop runs at all is only known when it has."""
    nb.load()
    first, loop = "%%step a\nx = src", "%%step b\nfor x in range(k):\n    pass"
    nb.run("src = 1000; k = 3", first, loop, "src = 2000; k = 0", loop)
    assert nb.run("print(x)").text == "2000\n"


POOL = "with ThreadPoolExecutor(2) as pool:\n    squares = list(pool.map(abs, [1, -2]))"


def test_what_leads_to_the_session_has_no_part_in_what_else_there_is(nb):
    """A thread holds the shell's hook for errors, and the shell holds all of the notebook."""
    nb.load()
    nb.run("import logging, sys, threading\nfrom concurrent.futures import ThreadPoolExecutor")
    made = ["out = sys.stdout", "log = logging.StreamHandler()", POOL]
    made += ["thread = threading.Thread(target=print)", "thread.start(); thread.join()"]
    shown = nb.run("%%step a\n{}\ndone = [1]".format("\n".join(made)))
    assert "`done`" not in shown.text
    assert "`squares`" not in shown.text
    nb.kill()
    nb.load()
    assert nb.run("print(done, squares)").text == "[1] [1, 2]\n"


def test_what_shares_objects_with_what_cannot_be_kept_is_made_again_by_all_who_made_it(nb):
    """Each of them takes up what the one before has left."""
    nb.load()
    first = "%%step a\nbox = {'l': threading.Lock(), 'v': [1]}"
    cells = ("import threading", first, "%%step b\nby = [box['v']]", "print(len(by))")
    nb.run(*cells)
    assert [nb.run(*cells).text.splitlines()[-1] for _ in range(2)] == ["1", "1"]


def test_a_stale_step_does_not_run_for_one_that_calls_the_same_library(nb):
    """A call of a function in a module is no change to it: the record says what it set there."""
    nb.load()
    save, other = "%%step save\ntime.sleep(0 * k)\nprint(k)", "%%step z\nt = time.time() + {}"
    nb.run("import time", "%%step a\nk = 1", save, "%%step a\nk = 2")
    assert nb.run(other.format(1)).states == [("z", "ran")]
    (stale,) = (row for row in nb.run("%pipe status").text.splitlines() if row[:4] == "save")
    assert "stale" in stale


def test_what_a_loop_may_leave_as_it_is_is_an_input(nb):
    """A body that runs no time passes on what stood there."""
    nb.load()
    passing = "%%step b\nfor x in []:\n    pass"
    nb.run("%%step a\nx = 1000", passing)
    nb.run("%%step a\nx = 2000")
    assert nb.run(passing, "print(x)").text.endswith("2000\n")


def test_a_handler_that_takes_its_name_away_has_what_stood_there_for_an_input(nb):
    """With nothing there, nothing is seen of it."""
    nb.load()
    failing = "    try:\n        1 / 0\n    except ZeroDivisionError as e:\n        pass"
    body = f"%%step b\nfor i in range(2):\n{failing}"
    nb.run(body, "%%step a --after\ne = 5")
    nb.run("e = 7", body)
    assert "NameError" in nb.run("print(e)").text


@pytest.mark.parametrize("line", ["%reset -f in", "%reset -f", "%reset_selective -f ^_i"])
def test_a_step_keeps_what_it_bound_after_ipythons_own_names_were_taken_away(nb, line):
    """By them it tells what is new."""
    nb.load()
    nb.run("%%step a\nx = 1", "x", line, "%%step b\ny = 2", "%%step b\ny = 3\nz = 4")
    nb.kill()
    nb.load()
    assert nb.run("x, y, z").text.endswith("(1, 3, 4)")


def test_a_name_may_be_of_any_length(nb):
    """Also one that looks like IPython's own."""
    nb.load()
    cell = "%%step a\nglobals()['_' + '1' * 5000] = 1"
    assert nb.run(cell, "%%step b\nx = 1").states == [("b", "ran")]


def test_of_two_steps_of_a_cell_the_same_one_is_renamed_in_any_kernel(notebook):
    """The one that the job met last, however this kernel came to know of it."""
    cells = [("b", "b = 1", "2"), ("a", "a = 1", "1"), ("b", "b = 2", "1")]
    renamed = []
    for is_fresh in (False, True):
        nb = notebook()
        nb.load(f"job-{is_fresh}")
        for step, body, cell in cells:
            nb.run(f"%%step {step}\n{body}", cell_id=cell)
        if is_fresh:
            nb.kill()
            nb.load(f"job-{is_fresh}")
        nb.run("%%step z\nz = 1", cell_id="1")
        runs = pipestate.Job(f"job-{is_fresh}").history()
        renamed.append([run.reason for run in runs if run.event == "renamed"])
    assert renamed == [["a is now z"], ["a is now z"]]
