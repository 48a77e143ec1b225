"""Which cells are under way: cells run cells, and the end of one may never be told."""

from __future__ import annotations

import pytest
from test_store_contract import said

import pipestate
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify

SHELL = """
import io, contextlib, random, signal
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
config.PipeState.store = sys.argv[1]
shell = InteractiveShell.instance(config=config)
events = shell.events

def break_off():
    raise SystemExit
def dead(cell):
    events.register("post_execute", break_off)
    try:
        shell.run_cell(cell)
    except SystemExit:
        print("BROKEN OFF")
    finally:
        events.unregister("post_execute", break_off)
def once(event, cell, **options):
    def hook(*_):
        events.unregister(event, hook)
        shell.run_cell(cell, **options)
    events.register(event, hook)

shell.user_ns["dead"] = dead
run = shell.run_cell
run("%load_ext pipestate")
run("%pipe job job")
"""


@pytest.fixture
def after(cwd):
    """How each step ended last, and the names that it made, after a program that has a shell."""

    def run(program: str) -> dict[str, tuple[str, tuple[str, ...]]]:
        assert "Error in callback" not in said(SHELL + program, cwd / ".pipestate")
        assert verify(open_store(cwd / ".pipestate")) == []
        job = pipestate.Job("job", store=cwd / ".pipestate")
        last = {run.step: run.event for run in job.history()}
        return {one.name: (last[one.name], one.made) for one in job.status()}

    return run


def test_a_cell_whose_end_is_never_told_costs_none_of_the_next(after, nb):
    """An interrupt between a body and the hooks after it is IPython's own: that step counts as
    interrupted, and the next cells are no parts of it."""
    steps = after(r"""
dead("%%step a\na = 1")
run("%%step b\nb = a + 1")
dead("plain = 3")
run("%%step c\nc = b + plain")
""")
    assert [steps[step][0] for step in "abc"] == ["ran"] * 3  # a once more, for the sake of b
    nb.load("job")
    assert nb.run("b, c").value == "(2, 5)"


def test_a_cell_that_died_inside_of_a_step_is_no_end_of_it(after):
    """The step goes on, and is ended by its own end."""
    steps = after(r"""
run("%%step a\na = 1\ndead('i = 1')\na = 2")
run("%%step b\nb = a")
""")
    assert steps["b"] == ("ran", ("b",))
    assert steps["a"][0] == "ran"
    assert {"a", "i"} <= {*steps["a"][1]}


def test_a_step_that_died_inside_of_a_cell_is_ended_before_the_next_in_it(after):
    """The others there are steps of their own."""
    steps = after(r"""
inner = "\n".join(f"get_ipython().run_cell('%%step {name}\\n{name} = 1')" for name in "de")
run("dead('%%step c\\nc = 1')\n" + inner)
run("%%step f\nf = 1")
""")
    assert steps.pop("c")[0] == "failed"
    assert steps == {name: ("ran", (name,)) for name in "def"}


@pytest.mark.parametrize("event", ["pre_run_cell", "post_run_cell"])
def test_a_step_that_a_hook_runs_after_a_dead_one_is_kept(after, event):
    """Whether the hook is one before the next cell or after it."""
    steps = after(rf"""
dead("%%step g\ng = 1")
once("{event}", "%%step h\nh = 1")
run("k = 1")
""")
    assert steps["g"][0] == "failed"
    assert steps["h"] == ("ran", ("h",))


def test_a_silent_cell_of_a_hook_does_not_take_the_place_of_a_step(after):
    """IPython tells hooks nothing of it; the step is restored, and its body does not run."""
    steps = after(r"""
cell = "%%step m\nmade = 1\nopen('ran', 'a').write('x')"
run(cell)
once("pre_run_cell", "silent = 1", silent=True)
run(cell)
assert open("ran").read() == "x"
assert shell.user_ns["silent"] == 1
""")
    assert steps == {"m": ("restored", ("made",))}


def test_a_step_that_awaits_goes_on_until_its_end_is_told(after):
    """A callback may run a cell when the body is done already: it is part of the step."""
    steps = after(r"""
shell.user_ns["later"] = lambda: shell.run_cell("extra = 1")
run("%%step a\nimport asyncio\nawait asyncio.sleep(0)\na = 1\n"
    "asyncio.get_running_loop().call_soon(later)")
""")
    assert steps["a"][0] == "ran"
    assert {"a", "extra"} <= {*steps["a"][1]}


def test_in_a_kernel_too_a_step_that_awaits_goes_on_until_its_end_is_told(nb):
    """There, the loop goes on while IPython's own part is over."""
    nb.load("job")
    step = (
        "%%step a\nimport asyncio\nawait asyncio.sleep(0)\na = 1\n"
        "asyncio.get_running_loop().call_soon(lambda: get_ipython().run_cell('extra = 1'))"
    )
    assert nb.run(step).states[-1] == ("a", "ran")
    assert nb.run("%%step b\nb = a + 1").states[-1] == ("b", "ran")
    assert nb.run("a, b, extra").value == "(1, 2, 1)"


def test_a_task_of_an_earlier_cell_does_not_end_a_step_that_awaits(nb):
    """What it was begun for is another request."""
    nb.load("job")
    nb.run("""import asyncio
event = asyncio.Event()
async def later():
    await event.wait()
    get_ipython().run_cell("extra = 1")
task = asyncio.ensure_future(later())
await asyncio.sleep(0)""")
    step = "%%step a\nimport asyncio\nawait asyncio.sleep(0)\na = 1\nevent.set()"
    assert nb.run(step).states[-1] == ("a", "ran")
    assert nb.run("a, extra").value == "(1, 1)"
    assert [run.event for run in pipestate.Job("job").history()] == ["ran"]


def test_in_a_kernel_too_a_step_that_awaits_and_dies_costs_none_of_the_next(nb, cwd):
    """No call of it is on the stack, nor ever was."""
    nb.load("job")
    nb.run("""import asyncio
class Stop(BaseException): pass
def break_off():
    get_ipython().events.unregister("post_execute", break_off)
    open("off", "w").close()
    raise Stop""")
    off = "get_ipython().events.register('post_execute', break_off)"
    nb.begin(f"%%step a\nawait asyncio.sleep(0)\na = 1\n{off}")
    nb.wait_for((cwd / "off").exists)
    nb.run("%%step b\nb = 2", "%%step c\nc = b")
    last = {run.step: run.event for run in pipestate.Job("job").history()}
    assert last == {"a": "failed", "b": "ran", "c": "ran"}


def test_a_cell_run_by_a_hook_after_a_step_is_part_of_it(nb):
    """Other extensions run cells of their own there: the step counts as it ended."""
    hook = """ran = []
def after(result):
    if "%%step" in result.info.raw_cell and not ran:
        ran.append(get_ipython().run_cell("extra = 1"))
get_ipython().events.register("post_run_cell", after)"""
    nb.run(hook)
    nb.load("job")
    assert nb.run("%%step a\na = 1").states == [("a", "ran")]
    assert nb.run("extra").value == "1"
    assert nb.run("%%step a\na = 1").states == [("a", "restored")]


HALVES = r"""
chance, tried = random.Random(7), 0
def stop(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, stop)
run("def cells(count):\n    for _ in range(count): get_ipython().run_cell('pass')")
for number in range(60):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.002, 0.02))
            run(f"%%step s{number}\nx{number} = 'begun'\ncells(60)\nx{number} = 'done'")
            signal.setitimer(signal.ITIMER_REAL, 0)  # in here: it may strike at any moment before
        except KeyboardInterrupt:
            pass
run("%%step last\nlast = 1")
"""


def test_a_step_that_runs_cells_is_never_kept_with_half_of_its_body(cwd):
    """An interrupt before one of its cells, in IPython's hands, is none of the step's ends."""
    said(SHELL + HALVES, cwd / ".pipestate")
    job = pipestate.Job("job", store=cwd / ".pipestate")
    fresh = [one for one in job.status() if one.state == "fresh"]
    assert {job.names[name] for one in fresh for name in one.made if name[0] == "x"} <= {"done"}
    assert fresh[-1].name == "last"
    assert verify(open_store(cwd / ".pipestate")) == []
