"""After a restart any cell just works: what it names is loaded, with what that needs in turn."""

from __future__ import annotations

import pytest


@pytest.fixture
def job(nb):
    """A notebook that has loaded a job."""
    nb.load("job")
    return nb


def again(nb):
    """Kill the kernel, and load the job in a new one."""
    nb.kill()
    nb.load("job")


def test_a_function_comes_back_with_its_source_and_sees_the_live_globals(job):
    """`inspect.getsource` works, and a global set by a later cell is seen."""
    job.run("%%step a\nk = 2\ndef f(x):\n    return x * k\n")
    again(job)
    assert job.run("f(3)").value == "6"
    assert job.run("k = 10\nf(3)").value == "30"
    assert "return x * k" in job.run("import inspect\ninspect.getsource(f)").value


def test_a_plain_function_call_needs_its_globals_loaded(job):
    """A function's globals are loaded although the cell does not name them."""
    job.run("%%step a\ntable = {'x': 1}\ndef f():\n    return g()\ndef g():\n    return table['x']")
    again(job)
    assert job.run("f()").value == "1"


def test_instances_come_back_with_their_class(job):
    """And `isinstance` holds between values loaded by different cells."""
    job.run("%%step a\nclass P:\n    def __init__(self, v):\n        self.v = v")
    job.run("%%step b\np = P(3)")
    job.run("%%step c\nps = [P(1), P(2)]")
    again(job)
    assert job.run("p.v").value == "3"
    assert job.run("isinstance(p, P), all(isinstance(q, P) for q in ps)").value == "(True, True)"


def test_inheritance_dataclasses_decorators_and_properties_come_back(job):
    """Classes with what they need: bases, decorators, other definitions."""
    job.run(
        "%%step a\nfrom dataclasses import dataclass, field\nimport functools\n"
        "def twice(f):\n    @functools.wraps(f)\n    def g(*a):\n        return 2 * f(*a)\n"
        "    return g\n"
        "class Base:\n    @property\n    def name(self):\n        return 'base'\n"
        "@dataclass\nclass D(Base):\n    x: int = 1\n    ys: list = field(default_factory=list)\n"
        "@twice\ndef h(x):\n    return x + 1\nd = D(5)"
    )
    again(job)
    assert job.run("d, d.name, h(1)").value == "(D(x=5, ys=[]), 'base', 4)"


def test_imports_of_all_forms_come_back(job):
    """Made in steps and in plain cells."""
    job.run("import os.path as p\nfrom json import dumps as d")
    job.run("%%step a\nimport xml.dom\nimport xml.sax\nfrom math import *\nimport collections.abc")
    again(job)
    assert job.run("p.sep, d([1]), pi > 3, xml.dom.__name__, xml.sax.__name__").value == (
        "('/', '[1]', True, 'xml.dom', 'xml.sax')"
    )
    assert job.run("collections.abc.Mapping.__name__").value == "'Mapping'"


def test_lambdas_closures_and_partials_come_back_bound_to_the_live_globals(job):
    """They have no statement of their own; they are kept by value."""
    job.run(
        "%%step a\nimport functools\nk = 1\nlam = lambda x: x + k\n"
        "def outer(n):\n    def inner(x):\n        return x + n + k\n    return inner\n"
        "clo = outer(10)\npart = functools.partial(lam, 5)\ntable = {'f': lam}"
    )
    again(job)
    assert job.run("lam(1), clo(1), part(), table['f'](2)").value == "(2, 12, 6, 3)"
    assert job.run("k = 100\nlam(1), clo(1)").value == "(101, 111)"


def test_objects_shared_across_steps_stay_shared(job):
    """A list that a later step put into another is the same list after a restart."""
    job.run("%%step a\nxs = [1]")
    job.run("%%step b\nys = [xs]")
    again(job)
    job.run("xs.append(2)")
    assert job.run("ys").value == "[[1, 2]]"


def test_a_deleted_name_stays_gone(job):
    """`del` is an output too."""
    job.run("%%step a\nx = 1\ny = 2")
    job.run("%%step b\ndel x")
    again(job)
    assert job.run("x").error == "NameError"
    assert job.run("y").value == "2"


def test_a_given_of_a_plain_cell_is_there_after_a_restart(job):
    """What a step read and no step made is kept with its record."""
    job.run("k = [1, 2]")
    job.run("%%step a\nu = sum(k)")
    again(job)
    assert job.run("%%step a\nu = sum(k)").states == [("a", "restored")]
    assert job.run("k").value == "[1, 2]"
    job.run("k = [5]")
    assert job.run("%%step a\nu = sum(k)\nu").value == "5"


def test_what_cannot_be_pickled_is_named_and_made_again_on_demand(job):
    """The message names the type and where it sits, and the step runs again when it is needed."""
    told = job.run("%%step a\ngen = {'inner': (i for i in range(3))}\nother = 1").text
    assert "generator" in told
    assert "gen" in told
    again(job)
    assert job.run("other").value == "1"
    made = job.run("list(gen['inner'])")
    assert made.value == "[0, 1, 2]"
    assert "runs again" in made.text


def test_completion_knows_dormant_names(job):
    """Tab offers names that are only in the store."""
    job.run("%%step a\nnarwhal_count = 1")
    again(job)
    assert "narwhal_count" in job.complete("narw")


def test_dynamic_access_loads_everything(job):
    """`globals()` sees the dormant names too."""
    job.run("%%step a\nx = 1\ny = [2]")
    again(job)
    assert job.run("sorted(k for k in globals() if k in 'xy')").value == "['x', 'y']"
    again(job)
    assert job.run("eval('x + y[0]')").value == "3"


def test_unload_and_load(job):
    """A name goes out of memory and comes back from the store."""
    job.run("%%step a\nxs = [1, 2]")
    assert "unloaded xs" in job.run("%pipe unload xs").text
    assert "loaded xs" in job.run("%pipe load xs").text
    assert "unloaded xs" in job.run("%pipe unload xs").text
    assert job.run("xs").value == "[1, 2]"


def test_another_job_keeps_what_is_resident(job):
    """Dormant names of the old job go; resident ones stay as a plain cell's values would."""
    job.run("%%step a\nx = 1\ny = 2")
    again(job)
    job.run("x")
    job.run("%pipe job other")
    assert job.run("x").value == "1"
    assert job.run("y").error == "NameError"


def test_back_in_a_job_its_names_mean_what_its_steps_made(job):
    """What the other job's steps made of them is theirs, and nothing is stale for it."""
    job.run("%%step a\nxs = [1]", "%%step b\nxs.append(2)\nn = len(xs)")
    job.run("%pipe job other", "%%step c\nxs.append(3)\nm = len(xs)", "%%step d\nn = 7")
    job.run("%pipe job job")
    assert {row.split()[1] for row in job.run("%pipe").text.splitlines()[1:]} == {"fresh"}
    assert job.run("xs, n, m").value == "([1, 2], 2, 3)"
    job.run("%pipe job other")
    assert {row.split()[1] for row in job.run("%pipe").text.splitlines()[1:]} == {"fresh"}
    assert job.run("xs, n, m").value == "([1, 2, 3], 7, 3)"


def test_what_another_job_left_alone_keeps_its_objects(job):
    """A class and its instances, a connection; and what a plain cell changed meanwhile counts."""
    job.run("%%step s --setup\nlines = open('/dev/null')", "%%step a\nclass P: pass\np = P()")
    job.run("%%step b\nxs = [1]", "before = id(lines), id(p)")
    job.run("%pipe job other", "%%step c\nq = type(p)", "xs.append(2)", "%pipe job job")
    assert job.run("before == (id(lines), id(p)), isinstance(p, P)").value == "(True, True)"
    assert job.run("%%step d\nxs").value == "[1, 2]"
    assert job.run("%%step b\nxs = [1]").states == [("b", "restored")]


def test_environment_path_and_working_directory_are_as_run_all_left_them(job):
    """What a step changed in the process is made again in a new kernel."""
    job.run(
        "%%step a\nimport os, sys, warnings\nos.environ['PS_TEST'] = 'v'\n"
        "os.makedirs('sub', exist_ok=True)\nos.chdir('sub')\nsys.path.append('/tmp/zz')\n"
        "warnings.filterwarnings('ignore', message='abc')"
    )
    again(job)
    seen = job.run(
        "import os, sys\n"
        "os.environ.get('PS_TEST'), os.path.basename(os.getcwd()), '/tmp/zz' in sys.path"
    )
    assert seen.value == "('v', 'sub', True)"


def test_seeded_random_numbers_repeat(job):
    """A step that draws finds the state that the steps above left, in a new kernel too."""
    job.run("%%step seed\nimport random\nrandom.seed(1)")
    first = job.run("%%step draw\nx = random.random()\nx").value
    again(job)
    assert job.run("%%step draw --force\nx = random.random()\nx").value == first
    assert job.run("%%step draw --force\nx = random.random()\nx").value == first


def test_eager_restore_loads_at_once(job):
    """`PipeState.restore = 'eager'` binds the values when the step is restored."""
    job.run("%%step a\nxs = [1]")
    again(job)
    job.run("%config PipeState.restore = 'eager'")
    job.run("%%step a\nxs = [1]")
    assert "nothing to load" in job.run("%pipe load xs").text


GROUPED = (
    "%%step a\nimport pandas as pd\nimport numpy as np\n"
    "df = pd.DataFrame({'k': KEYS, 'v': [1, 2, 3]})\ng = df.groupby('k', observed=True)\nn = len(g)"
)


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["[1, 1, 2]", "list('aab')", "pd.Categorical([1, 1, 2])"])
def test_steps_that_use_a_frame_and_its_groups_are_restored_after_each_restart(job, keys):
    """Also one that first ran on what was loaded, and whose use fills the groups' caches."""
    above = (GROUPED.replace("KEYS", keys), "%%step b\ndf['z'] = 1")
    below = ("%%step c\nsize = len(df) + len(g.obj)", "%%step d\ntotal = g.sum()")
    job.run(*above)
    again(job)
    job.run(*below)
    for _ in range(2):
        again(job)
        for cell in (*above, *below):
            assert [state for _, state in job.run(cell).states] == ["restored"], cell
    assert job.run("g.obj is df, 'z' in total.columns").value == "(True, True)"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("k = 1", "k = 2"),
        ("k = [1]\nj = k", "k = [2]\nj = k"),
        ("def k(): return 1", "def k(): return 2"),
        ("import math as k", "import cmath as k"),
    ],
)
def test_a_plain_cell_that_was_edited_and_is_as_it_was_means_that_after_a_restart(
    nb, first, second
):
    """The step that was restored for it was given that, and not what the edit had made."""
    nb.load()
    step = "%%step a\nx = repr(k() if callable(k) else k)\nx"
    before = nb.run(first, step).value
    nb.run(second, step)
    assert nb.run(first, step).states == [("a", "restored")]
    nb.kill()
    nb.load()
    assert nb.run(step).states == [("a", "restored")]
    assert nb.run("x").value == before
    assert nb.run("repr(k() if callable(k) else k)").value == before
