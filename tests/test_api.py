"""Scripts and servers share the store: `import pipestate as pip`."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

import pipestate
from pipestate.errors import StoreError
from pipestate.store.database import Database


@pytest.fixture
def say(script):
    """What a script prints, without the last line's end."""
    return lambda code: script(code).rstrip("\n")


def test_importing_does_nothing(say, cwd):
    """No file, no thread, neither IPython nor numpy."""
    out = say(
        "import sys, threading, os, pipestate\n"
        "heavy = {'IPython', 'numpy', 'diskcache', 'traitlets'}\n"
        "print(sorted(heavy & set(sys.modules)),"
        " threading.active_count(), os.path.exists('.pipestate'))"
    )
    assert out == "[] 1 False"


def test_reading_a_value_imports_nothing_that_takes_values_apart(say):
    """Nor what reads cells, nor what judges steps: that would take longer than all the rest."""
    say("import pipestate as pip\npip.set('j', 'a', [1])")
    out = say(
        "import sys, pipestate as pip\n"
        "value = pip.get('j', 'a')\n"
        "names = {name.removeprefix('pipestate.') for name in sys.modules if 'pipestate' in name}\n"
        "print(value, sorted(name for name in names if name.startswith(('cell', 'kernel'))),"
        " sorted(names & {'store.pickler', 'store.walk', 'pipe.status', 'store.versions', 'job'}))"
    )
    assert out == "[1] [] []"


def test_a_value_that_is_set_leaves_what_shared_an_object_with_the_one_before(nb, say):
    """The step's own name means the new value; its other names what they meant, and share still."""
    nb.load("j")
    nb.run("%%step s\ns = [1]\nq = s\nr = [q]\ns")
    nb.kill()
    say("import pipestate as pip\npip.set('j', 's', [2])")
    assert say("import pipestate as pip\njob = pip.Job('j')\nprint(dict(job.names))") == (
        "{'q': [1], 'r': [[1]], 's': [2]}"
    )
    nb.load("j")
    assert nb.run("print(s, q, r, r[0] is q)").text == "[2] [1] [[1]] True\n"


def test_both_ways_to_import(say):
    """`from pipestate import pip` and `import pipestate as pip` are the same module."""
    assert say("from pipestate import pip\nimport pipestate\nprint(pip is pipestate)") == "True"


def test_set_and_get(say):
    """A value that one process sets, another gets; a missing one gives the default."""
    say("from pipestate import pip\npip.set('j', step='step_01', value={'a': [1]})")
    out = say(
        "from pipestate import pip\n"
        "print(pip.get('j', step='step_01'), pip.get('j', step='nope', default=7), pip.jobs())"
    )
    assert out == "{'a': [1]} 7 ['j']"


def test_reading_makes_nothing(say, cwd):
    """A store that is not there reads as an empty one."""
    out = say(
        "import os, pipestate as pip\n"
        "print(pip.get('j', step='a'), pip.jobs(), pip.read('j'), os.path.exists('.pipestate'))"
    )
    assert out == "None [] {} False"


def test_read_and_write(say):
    """`write` sets several steps, `read` gives them all."""
    say("import pipestate as pip\npip.write('j', {'a': 1, 'b': [2]})\npip.write('j', {'c': 3})")
    assert say("import pipestate as pip\nprint(pip.read('j'))") == "{'a': 1, 'b': [2], 'c': 3}"


def test_what_is_written_together_is_there_together(say):
    """One value that cannot be kept keeps the others out."""
    out = say(
        "import pipestate as pip\n"
        "pip.write('j', {'a': 1})\n"
        "try:\n    pip.write('j', {'a': 2, 'b': 3, 'c': (i for i in ())})\n"
        "except pip.PackError as e:\n    print(e)\n"
        "print(pip.read('j'))"
    )
    assert out.splitlines() == [
        "the value for c cannot be kept: generator; set what can be pickled",
        "{'a': 1}",
    ]


def test_many_values_written_together_are_a_run_each(say):
    """As if they had been set one after the other: history and places tell of each."""
    out = say(
        "import pipestate as pip\n"
        "pip.write('j', {f's{i}': i for i in range(600)})\n"
        "pip.write('j', {'s599': -1, 'last': 0})\n"
        "job = pip.Job('j')\n"
        "print([(r.number, r.step, r.event) for r in job.history()[-3:]], list(job)[-2:], len(job))"
    )
    runs = [(600, "s599", "set"), (601, "s599", "set"), (602, "last", "set")]
    assert out == f"{runs} ['s599', 'last'] 601"


def test_a_job_is_a_mutable_mapping(say):
    """Steps to values, in their places."""
    out = say(
        "import pipestate, collections.abc\n"
        "job = pipestate.Job('j')\n"
        "job['a'] = 1; job['b'] = 2; job.update(c=3)\n"
        "del job['b']\n"
        "print(isinstance(job, collections.abc.MutableMapping), dict(job), len(job), 'a' in job,"
        " job.get('zz'), job.pop('c'), list(job))\n"
        "try:\n    job['zz']\nexcept KeyError as e:\n    print('KeyError', e)\n"
    )
    assert out.splitlines() == [
        "True {'a': 1, 'c': 3} 2 True None 3 ['a']",
        "KeyError 'zz'",
    ]


def test_a_class_of_a_module_that_nobody_has_loaded_yet_stays_that_class(say):
    """numpy loads `numpy.rec` when it is asked for; to copy its classes would break them."""
    pytest.importorskip("numpy")
    out = say(
        "import sys, numpy as np, pipestate as pip\n"
        "a = np.array([(1, 2.0)], [('a', 'u1'), ('b', 'f8')]).view(np.recarray)\n"
        "pip.write('j', {'a': a, 'cls': np.recarray})\n"
        "found = pip.read('j')\n"
        "print(type(found['a']) is found['cls'] is np.recarray, found['a']['a'], found['a'].b)"
    )
    assert out == "True [1] [2.]"


def test_threads_may_share_a_job(say):
    """Each run counts once, whichever thread hears of it first, and each reads what it has set."""
    out = say(
        "import sys, threading, pipestate\n"
        "sys.setswitchinterval(1e-6)\n"
        "job = pipestate.Job('j')\n"
        "def work(name):\n"
        "    for value in range(40):\n"
        "        job[name] = value\n"
        "        assert name in job and job[name] == value and len(job)\n"
        "threads = [threading.Thread(target=work, args=(f's{n}',)) for n in range(6)]\n"
        "for one in threads: one.start()\n"
        "for one in threads: one.join()\n"
        "print([{s.runs for s in each.status()} for each in (job, pipestate.Job('j'))])"
    )
    assert out == "[{40}, {40}]"


@pytest.mark.parametrize("seconds", [0.0003, 0.002])
def test_a_signals_handler_may_look_at_the_job_that_it_interrupts(say, seconds):
    """It counts no run twice, also where the first look of all is interrupted by another."""
    out = say(
        "import signal, pipestate\n"
        "job = pipestate.Job('j')\n"
        "job['a'] = 0\n"
        "signal.signal(signal.SIGALRM, lambda *_: len(job))\n"
        f"signal.setitimer(signal.ITIMER_REAL, {seconds}, {seconds})\n"
        "for value in range(300): job['a'] = value\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "print([each.status()[0].runs for each in (job, pipestate.Job('j'))])"
    )
    assert out == "[301, 301]"


@pytest.mark.parametrize("attempt", range(4))
def test_threads_may_all_be_the_first_to_look(say, attempt):
    """In a server nobody has looked at a job before them."""
    say("import pipestate; pipestate.set('j', 'a', 1)")
    out = say(
        "import sys, threading\n"
        "from pipestate import Job\n"
        "sys.setswitchinterval(1e-6)\n"
        "ready, found = threading.Barrier(16), []\n"
        "def look():\n"
        "    ready.wait()\n"
        "    found.append((Job('j')['a'], len(Job('j').status())))\n"
        "threads = [threading.Thread(target=look) for _ in range(16)]\n"
        "for one in threads: one.start()\n"
        "for one in threads: one.join()\n"
        "print(found == [(1, 1)] * 16)"
    )
    assert out == "True"


def test_threads_may_fork_while_others_write(say):
    """No child waits for a thread that it does not have, nor has what a thread that came to its end
    has closed, and no thread waits for another's fork."""
    out = say(
        "import os, threading, pipestate\n"
        "jobs = [pipestate.Job('j', store=name) for name in 'ab']\n"
        "def write(job):\n"
        "    for value in range(150): job['a'] = value\n"
        "def fork():\n"
        "    for _ in range(15):\n"
        "        if not (child := os.fork()):\n"
        "            len(jobs[0]); os._exit(0)\n"
        "        os.waitpid(child, 0)\n"
        "threads = [threading.Thread(target=write, args=(job,)) for job in jobs]\n"
        "threads += [threading.Thread(target=fork) for _ in range(3)]\n"
        "for one in threads: one.start()\n"
        "for one in threads: one.join()\n"
        "print([job['a'] for job in jobs])"
    )
    assert out == "[149, 149]"


def test_what_a_function_of_a_script_reads_comes_along(script, cwd):
    """Whoever loads it has none of the script's globals."""
    (cwd / "setting.py").write_text(
        "import functools, pipestate\n"
        "RATE = 3\n"
        "def half(n): return n / 2\n"
        "def use(n): return half(n) * RATE\n"
        "class P:\n"
        "    def twice(self): return use(4) * 2\n"
        "pipestate.write('j', {'use': use, 'p': P(), 'part': functools.partial(use, 2)})\n"
    )
    script("import runpy\nrunpy.run_path('setting.py', run_name='__main__')")
    ask = "import pipestate as pip\nget = lambda step: pip.get('j', step)\n"
    out = script(ask + "print(get('use')(4), get('p').twice(), get('part')())")
    assert out.strip() == "6.0 12.0 3.0"


def test_a_child_loads_what_a_thread_of_its_parent_was_loading(nb, cwd, say):
    """The thread, and what it held, are not there."""
    (cwd / "slow.py").write_text("import time\ntime.sleep(1)\n")
    nb.load("j")
    nb.run("%%step m\nimport slow", "%%step f\ndef f(): return 5")
    out = say(
        "import os, threading, time, pipestate\n"
        "job = pipestate.Job('j')\n"
        "thread = threading.Thread(target=lambda: job.names['slow'])\n"
        "thread.start(); time.sleep(0.5)\n"
        "if not (child := os.fork()):\n"
        "    os._exit(job.names['f']())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert out == "5"


def test_a_function_calls_what_its_names_mean_now(nb, cwd):
    """However far down: in a process that has asked for it before, too."""
    nb.load("j")
    nb.run("%%step h\ndef h(): return 1", "%%step g\ndef g(): return h()")
    nb.run("%%step f\ndef f(): return g()")
    job, store = pipestate.Job("j"), cwd / ".pipestate"
    assert (pipestate.get("j", "f", store=store)["f"](), job.names["f"]()) == (1, 1)
    nb.run("%%step h\ndef h(): return 2")
    assert (pipestate.get("j", "f", store=store)["f"](), job.names["f"]()) == (2, 2)


def test_two_interrupts_leave_no_transaction_behind(tmp_path, monkeypatch):
    """The second one where the first is being seen to."""
    job = pipestate.Job("j", store=tmp_path)
    job["a"] = 0

    def interrupted(_: Database) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Database, "commit", interrupted)
        patched.setattr(Database, "roll_back", interrupted)
        with pytest.raises(KeyboardInterrupt):
            job["a"] = 1
    assert job["a"] == 0
    job["a"] = 2
    assert pipestate.Job("j", store=tmp_path)["a"] == 2


def test_other_keys_are_looked_for_at_each_call(tmp_path, monkeypatch):
    """Also where neither folder has one yet."""
    for name in ("one", "two"):
        monkeypatch.setenv("PIPESTATE_KEYS", str(tmp_path / name))
        pipestate.get("j", "x", store=tmp_path / "store")
    pipestate.set("j", "x", 1, store=tmp_path / "store")
    assert [(tmp_path / name).exists() for name in ("one", "two")] == [False, True]
    assert pipestate.get("j", "x", store=tmp_path / "store") == 1


def test_the_home_of_nobody_is_no_place_for_a_store(cwd):
    """It says so, and makes no folder of that name."""
    with pytest.raises(StoreError, match="nobody knows whose home"):
        pipestate.set("j", "x", 1, store="~nosuchuser/store")
    assert not list(cwd.iterdir())


def test_a_job_that_begins_with_several_steps_is_listed_too(say):
    """Beside others, in the order in which they began."""
    out = say(
        "import pipestate as pip\n"
        "pip.set('one', 'a', 1)\npip.write('two', {'a': 1, 'b': 2})\npip.set('three', 'a', 1)\n"
        "print(pip.jobs())"
    )
    assert out == "['one', 'two', 'three']"


def test_a_value_that_cannot_be_kept_changes_nothing(say):
    """One line names its type."""
    out = say(
        "import pipestate\njob = pipestate.Job('j')\njob['a'] = 1\n"
        "try:\n    job['a'] = {'x': (i for i in [])}\n"
        "except pipestate.PipeStateError as e:\n    print(e)\n"
        "print(job['a'])"
    )
    first, last = out.splitlines()
    assert "generator" in first
    assert last == "1"


def test_bad_names_are_refused(say):
    """A job or a step needs a name that can be one."""
    out = say(
        "import pipestate\n"
        "for name in ('', ' ', 3):\n"
        "    try:\n        pipestate.Job(name)\n"
        "    except pipestate.UsageError as e:\n        print('job', e.message)\n"
        "for step in ('', 'a/b', 'a b', 3):\n"
        "    try:\n        pipestate.Job('j')[step] = 1\n"
        "    except pipestate.UsageError as e:\n        print('step', e.message)\n"
    )
    assert len(out.splitlines()) == 7


def test_a_script_reads_what_a_notebook_made(nb, say):
    """Values, names, functions and instances, status, history and why."""
    nb.load("j")
    nb.run("%%step a\nimport math\nk = 2\ndef f(x):\n    return x * k\nclass P:\n    v = 1\nf(4)")
    nb.run("%%step b\np = P()\nys = [f(1)]")
    out = say(
        "import pipestate\njob = pipestate.Job('j')\n"
        "print(job['a'], job['b']['ys'], job.names['f'](5), type(job.names['p']).__name__,"
        " isinstance(job.names['p'], job.names['P']))\n"
        "print([(s.name, s.state) for s in job.status()])\n"
        "print([(r.number, r.step, r.event) for r in job.history()])\n"
        "print(job.why('a'))"
    )
    assert out.splitlines() == [
        "8 [2] 10 P True",
        "[('a', 'fresh'), ('b', 'fresh')]",
        "[(1, 'a', 'ran'), (2, 'b', 'ran')]",
        "a is fresh",
    ]


def test_a_notebook_goes_stale_when_a_script_sets_what_it_reads(nb, say):
    """In the running kernel too."""
    say("import pipestate as pip\npip.set('j', step='rate', value=2)")
    nb.load("j")
    cell = "%%step pay\nimport pipestate\ntotal = pipestate.get('j', step='rate') * 10\ntotal"
    assert nb.run(cell).value == "20"
    assert nb.run(cell).states == [("pay", "restored")]
    assert nb.run("%%step by_name\nrate + 1").value == "3"
    say("import pipestate as pip\npip.set('j', step='rate', value=5)")
    assert nb.run(cell).value == "50"
    assert nb.run("%%step by_name\nrate + 1").value == "6"


def test_a_set_on_a_cells_step_is_in_force_until_the_cell_runs(nb, say):
    """And the cell then runs."""
    nb.load("j")
    nb.run("%%step a\nx = 1\nx")
    say("import pipestate as pip\npip.set('j', step='a', value=9)")
    assert say("import pipestate as pip\nprint(pip.get('j', step='a'))") == "9"
    assert nb.run("%%step a\nx = 1\nx").states == [("a", "ran")]
    assert say("import pipestate as pip\nprint(pip.get('j', step='a'))") == "1"


def test_a_value_that_is_set_anew_takes_the_place_of_the_one_before(say):
    """Also under a name that no cell could bind; only the last is kept."""
    out = say(
        "import pipestate as pip\n"
        "for at in range(20):\n"
        "    pip.set('j', 'a-b', bytes([at]) * 1000)\n"
        "print(pip.Job('j').status()[0].nbytes < 3000, pip.get('j', 'a-b')[:1])"
    )
    assert out == "True b'\\x13'"


def test_a_set_on_a_cells_step_leaves_the_names_beside_it(nb, say):
    """It binds the step's own name, whatever the value is."""
    nb.load("j")
    nb.run("%%step a\nx = 1\ny = 2", "%%step b\nz = x + y")
    say("import pipestate as pip\npip.set('j', step='a', value={'x': 10, 'y': 20})")
    assert nb.run("a, x, y").value == "({'x': 10, 'y': 20}, 1, 2)"
    assert nb.run("%%step b\nz = x + y").states == [("b", "restored")]


def test_a_notebook_and_a_server_use_one_store_at_once(nb, say):
    """A kernel keeps steps while another process sets and reads."""
    nb.load("j")
    for number in range(3):
        nb.run(f"%%step n{number}\nv{number} = {number}")
        say(f"import pipestate as pip\npip.set('j', step='s{number}', value={number})")
    assert say("import pipestate as pip\nprint(sorted(pip.read('j')))") == (
        "['n0', 'n1', 'n2', 's0', 's1', 's2']"
    )


def test_a_job_that_is_let_go_of_leaves_no_file_open(say):
    """Also before the collector of cycles comes by: a server asks a thousand times."""
    code = (
        "from pipestate import pip; import gc, os; gc.disable(); pip.set('j', 's', 1);"
        "files = lambda: len(os.listdir('/dev/fd'));"
        "before = files(); [pip.get('j', 's') for _ in range(20)]; print(files() - before)"
    )
    assert say(code) == "0"


CALLS = """
import os, shutil, subprocess, sys
from pipestate import PipeStateError, pip
def elsewhere(text):
    subprocess.run([sys.executable, "-c", "from pipestate import pip; " + text], check=True)
pip.set("j", "s", 1)
elsewhere("pip.set('j', 's', 2)")
print(pip.get("j", "s"))
shutil.rmtree(".pipestate")
print(pip.get("j", "s"))
for number in range(4):
    elsewhere(f"pip.set('j', 't', {number})")
print(pip.read("j"))
os.environ["PIPESTATE_KEYS"] = os.path.abspath("keys of another user")
try:
    pip.get("j", "t")
except PipeStateError as error:
    print("not trusted" if "do not trust" in str(error) else error)
"""


def test_a_call_sees_what_has_happened_since_the_last_one(say):
    """Though what is known of a job is kept between calls: others have set something, the store was
    removed and made anew, another user's keys are in force."""
    assert say(CALLS).splitlines() == ["2", "None", "{'t': 3}", "not trusted"]


def test_the_store_is_where_it_is_said_to_be(say, cwd):
    """`$PIPESTATE_STORE`, else the nearest `.pipestate/` above; with a `.gitignore` in it."""
    say("import pipestate as pip\npip.set('j', step='a', value=1)")
    assert (cwd / ".pipestate" / ".gitignore").read_text().strip() == "*"
    out = say(
        "import os, pipestate as pip\nos.makedirs('deep/er')\nos.chdir('deep/er')\n"
        "print(pip.get('j', step='a'))\nos.environ['PIPESTATE_STORE'] = '../other'\n"
        "print(pip.get('j', step='a'))\npip.set('j', step='b', value=2)\n"
        "print(os.path.isdir('../other'))"
    )
    assert out.splitlines() == ["1", "None", "True"]


def test_a_status_that_is_asked_for_again_is_of_that_moment(say):
    """What others have set since is in it; what was told before stays, and is the caller's."""
    out = say(
        "import subprocess, sys, pipestate as pip\n"
        "pip.write('j', {'a': 1, 'b': 2})\n"
        "job = pip.Job('j')\n"
        "def told(): return [(s.name, s.state, s.runs) for s in job.status()]\n"
        "first = told()\n"
        "job.status().clear()\n"
        "print(told() == first)\n"
        "other = \"import pipestate as pip; pip.write('j', {'c': 3, 'a': 4})\"\n"
        "subprocess.run([sys.executable, '-c', other], check=True)\n"
        "print(told(), len(first))"
    )
    assert out == "True\n[('a', 'fresh', 2), ('b', 'fresh', 1), ('c', 'fresh', 1)] 2"


def test_read_tells_all_values_as_they_stood_at_one_moment(cwd):
    """Whoever writes several together is never seen half way."""
    pipestate.write("j", {"a": 0, "b": 0})
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            pipestate.write("j", {"a": number, "b": number})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [pipestate.read("j") for _ in range(100)]
    finally:
        stop.set()
        writer.join()
    assert all(one["a"] == one["b"] for one in seen)


def test_the_names_of_a_step_share_what_they_shared(nb, say):
    """`get` loads what shares objects as one."""
    nb.load("j")
    nb.run("%%step s\na = [1]\nb = a\nc = {'l': a}")
    out = say(
        "import pipestate as pip\ng = pip.get('j', 's')\nprint(g, g['b'] is g['c']['l'] is g['a'])"
    )
    assert out == "{'a': [1], 'b': [1], 'c': {'l': [1]}} True"


def test_a_job_can_be_handed_to_another_process(cwd):
    """Pickled, it is opened there anew."""
    job = pipestate.Job("j", max_bytes=10**9)
    job["a"] = 1
    for again in (pickle.loads(pickle.dumps(job)), copy.deepcopy(job)):
        assert (again["a"], repr(again)) == (1, repr(job))


def test_what_cannot_be_given_names_the_step_and_what_would_help(nb, say):
    """What was never kept, and what needs a library that is not here."""
    nb.load("j")
    nb.run("%%step s\nx = (i for i in range(3))\n{'a': x}")
    ask = "import pipestate as pip\ntry: pip.{}\nexcept pip.PipeStateError as error: print(error)"
    assert say(ask.format("read('j')")).startswith("the value of s could not be kept: generator at")
    nb.run("open('gone.py', 'w').write('class Gone: pass')\nimport gone")
    nb.run("%%step t\ngone.Gone()")
    nb.run("import os\nos.remove('gone.py')")
    assert say(ask.format("get('j', 't')")) == (
        "the value of t does not load here: No module named 'gone'; install what it needs"
    )


def test_a_job_is_opened_with_words_that_there_are(cwd):
    """As a setting of the same name says."""
    for wrong in ({"verification": "Strict"}, {"max_bytes": "a"}, {"max_bytes": -1}):
        with pytest.raises(pipestate.UsageError):
            pipestate.Job("j", **wrong)
    with pytest.raises(pipestate.UsageError):
        pipestate.get("j", "a b")
