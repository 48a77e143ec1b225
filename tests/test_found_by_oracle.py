"""What random sessions found, each as the smallest notebook that shows it (see `tests/oracle/`).

A session is a list of cells: `"s1: xs = [0]"` is `%%step s1` over that source, `RESTART` is a new
kernel, anything else a plain cell. `play` gives what its last cell showed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from oracle.kernel import Kernel

RESTART = "restart"
Player = Callable[..., str]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """One shell for all sessions of this file."""
    main = sys.modules["__main__"]
    made = Kernel()
    sys.modules["__main__"] = main
    yield made
    sys.modules["__main__"] = main


@pytest.fixture
def play(kernel: Kernel) -> Iterator[Player]:
    """Plays cells in a store of their own; gives the last one's output, or the error's type."""

    def cells(*sources: str) -> str:
        shown = ""
        for source in sources:
            if source == RESTART:
                kernel.restart()
                continue
            step, colon, body = source.partition(": ")
            is_step = bool(colon) and step.isidentifier()
            events, error = kernel.cell(f"%%step {step}\n{body}" if is_step else source)
            shown = "".join(event.text for event in events if event.kind in ("out", "result"))
            shown = type(error).__name__ if error is not None else shown
        return shown

    with kernel.session(1):
        yield cells


# --- changes in place ----------------------------------------------------------------------------


def test_a_change_in_place_takes_also_where_the_name_meant_something_newer(play: Player) -> None:
    """A step that appends to a list leaves it appended to, whatever its name meant before."""
    first = ("s0: ws = [0]", "s1: ws += [1]", "s0: ws = [0]\nk = 0")
    assert play(*first, "s3: ws.append(k)", "ws") == "[0, 1, 0]"


def test_a_change_in_place_takes_after_a_failed_attempt_at_it(play: Player) -> None:
    """What the failed attempt changed is not there when the step runs again, and no obstacle."""
    failed = ("s1: xs = [3]", "s4: n = 5 // 0\nxs.append(1)")
    assert play(*failed, "s4: xs.append(1)", "xs") == "[3, 1]"


def test_a_failed_attempt_takes_nothing_away(play: Player) -> None:
    """A name that it deleted before it raised is there when the step is asked for again."""
    failed = ("s0: h = 1", "s1: del h\nk = 1 // 0")
    assert play(*failed, "s1: del h\nprint('ran')") == "ran\n"


# --- what shares an object -----------------------------------------------------------------------


def test_a_change_in_place_reaches_names_that_came_to_share_the_list_later(play: Player) -> None:
    """A step above that newly holds the list shows the change as well."""
    first = ("s0: xs = [0]", "s1: k = 1", "s2: t = (xs, 1)", "s1: zs = [xs]")
    assert play(*first, "s3: xs.append(1)", "xs, zs, t") == "([0, 1], [[0, 1]], ([0, 1], 1))"


def test_a_name_that_left_its_group_is_not_drawn_back_into_it(play: Player) -> None:
    """Restoring a step that took part of a list leaves alone what no longer shares with it."""
    first = ("s0: zs = [[6], 1]\nws = zs[0]", "s1: ys = zs[0]")
    assert play(*first, "s0: zs = [[6], 1]\nws = []", "s1: ys = zs[0]", "ws") == "[]"


def test_steps_restored_over_resident_names_share_as_before(play: Player) -> None:
    """A list of lists restored beside the list that it holds holds that very list."""
    steps = ("s1: xs = [0]", "s2: zs = [xs]")
    assert play(*steps, "xs, zs\npass", *steps, "zs[0] is xs") == "True"


def test_a_name_restored_after_its_deletion_shares_as_before(play: Player) -> None:
    """Two names of one dict are two names of one dict again when the step above is restored."""
    steps = ("s0: e = {}\nd = e", "s1: del e", "s0: e = {}\nd = e")
    assert play(*steps, "d is e") == "True"


def test_a_change_restored_keeps_what_shares_in_one_piece(play: Player) -> None:
    """The step that changed the list and holds it is restored with both as one."""
    steps = ("s0: ys = [0]", "s2: qs = [ys]\nys.append(0)")
    assert play(*steps, *steps, "qs[0] is ys") == "True"


def test_edits_and_restores_in_turn_lose_no_change_of_a_shared_list(play: Player) -> None:
    """A tuple that holds the list shows each step's change once, after any order of runs."""
    first = ("s1: xs = [0]", "s4: t = (xs, 1)", "s5: xs.append(0)", "s4: del xs[0]\nt = (xs, 1)")
    again = ("s1: xs = [0]", "s4: del xs[0]\nt = (xs, 1)", "s5: xs.append(0)")
    assert play(*first, *again, "t, xs, t[0] is xs") == "(([0], 1), [0], True)"


# --- functions and classes -----------------------------------------------------------------------


def test_a_function_of_several_names_survives_the_kernel(play: Player) -> None:
    """Whichever of its names is asked for after a restart."""
    steps = ("s0: g = lambda x: x - 6", "s1: h = g", "s2: f = h")
    assert play(*steps, RESTART, "f(1)") == "-5"


def test_a_function_that_holds_a_list_survives_the_kernel_with_it(play: Player) -> None:
    """The list that it got as an attribute is the one that its own name means."""
    step = "s0: xs = [0]\nh = lambda x: x\nh.seen = xs"
    assert play(step, RESTART, "h.seen is xs") == "True"


def test_a_list_given_to_a_function_of_a_step_above_survives_the_kernel(play: Player) -> None:
    """Setting an attribute of a function is a change in place like any other."""
    steps = ("s0: xs = [0]\ndef h(x): return x", "s1: h.seen = xs")
    assert play(*steps, RESTART, "h.seen is xs") == "True"


def test_a_name_keeps_the_function_that_it_was_given(play: Player) -> None:
    """A definition of that name further down is another one, also after a restart."""
    steps = ("s1: def h(x): return 1", "s2: g = h", "s5: def h(x): return 5")
    assert play(*steps, RESTART, "g(0)") == "1"


def test_an_object_keeps_the_class_that_made_it(play: Player) -> None:
    """A class of that name further down is another one, also after a restart."""
    steps = ("s1: class C:\n    n = 1", "s2: o = C()", "s5: class C:\n    n = 5")
    assert play(*steps, RESTART, "o.n") == "1"


def test_lists_that_a_later_step_made_one_are_two_again(play: Player) -> None:
    """A step is asked for again after one below made its two equal lists a single one."""
    two = "s0: ws = []\nxs = []"
    assert play(two, "s1: ws, xs = ws, ws", two, "ws.append(1)\nxs") == "[]"


def test_a_list_that_a_later_step_put_into_another_is_apart_again(play: Player) -> None:
    """Equal to an element of the other, and yet an object of its own."""
    two = "s0: qs = [[2], [5]]\nws = [2]"
    assert play(two, "s1: ws = qs[0]", two, "ws is qs[0]") == "False"


def test_a_step_edited_to_an_equal_end_takes_its_lists_apart(play: Player) -> None:
    """So too where the step runs again and only comes out equal."""
    cells = ("s0: ws = []\nxs = []", "s1: ws, xs = ws, ws", "s0: ws = []\nxs = []\nk = 1")
    assert play(*cells, "ws.append(1)\nxs") == "[]"


def test_a_list_keeps_to_the_function_that_its_names_mean(play: Player) -> None:
    """A step below sets an attribute on the function, and the step above is asked for again."""
    hold = "s1: g = h\nfs = [g]"
    cells = ("s0: h = lambda x: x + 1", hold, "s2: h.calls = 0", hold)
    assert play(*cells, "fs[0] is g, hasattr(fs[0], 'calls')") == "(True, False)"


def test_a_name_that_only_shares_stays_what_a_later_step_made_of_it(play: Player) -> None:
    """A step that gives a list another name is asked for again after one below has appended."""
    alias = "s1: h = f"
    cells = ("s0: f = [1]", alias, "s2: f.append(2)", alias)
    assert play(*cells, "f, h") == "([1, 2], [1])"
    assert play("s3: h.append(3)", "f, h, f is h") == "([1, 2, 3], [1, 2, 3], True)"


# --- random states -------------------------------------------------------------------------------


def test_a_seed_set_twice_in_one_kernel_is_kept(play: Player) -> None:
    """Seeding to the state that is there already seeds for all steps below."""
    seed = "import random\nrandom.seed(0)"
    steps = (f"s0: {seed}", f"s0: {seed}\nk = 1")
    draw = "s3: import random\nrandom.randint(0, 99)"
    assert play(*steps, RESTART, draw) == "49"


def test_a_step_that_draws_has_the_seed_above_brought_up(play: Player) -> None:
    """A stale step that seeds is run before one that draws from its generator."""
    seed = "b: import random\nrandom.seed(k)"
    draw = "c: import random\nn = random.random()\nn"
    first = play("a: k = 1", seed, draw)
    second = play("a: k = 2", draw)
    assert [first[:5], second[:5]] == ["0.134", "0.956"]


# --- generators ----------------------------------------------------------------------------------


def test_a_generator_made_again_is_drawn_from_once_by_each_step(play: Player) -> None:
    """After a restart its maker and the steps that drew from it run in order, each once."""
    below = "s2: b = next(it)\nb"
    steps = ("s0: it = (x for x in range(9))", "s1: a = next(it)", "s2: b = next(it)")
    assert play(*steps, RESTART, below) == "1"
    assert play("b, next(it)") == "(1, 2)"


def test_a_step_with_eval_leaves_a_generator_that_it_does_not_name(play: Player) -> None:
    """It loads all names, yet does not use up what only running can make."""
    steps = ("s0: it = iter(range(9))\nit = (x for x in it)", 's1: n = eval("1")')
    assert play(*steps, 's2: m = eval("2")\nm') == "2"


def test_a_generator_made_again_takes_the_place_of_one_above(play: Player) -> None:
    """The name has come to mean an earlier step's, which is not there either."""
    steps = ("s1: it = (x for x in range(4, 9))", "s3: it = (x for x in range(2, 9))")
    assert play(*steps, steps[0], "s4: next(it)") == "2"


def test_a_generator_made_again_beside_a_function_leaves_its_list_in_memory(play: Player) -> None:
    """The list holds the function, which comes to be another object while the cell waits."""
    make = "s2: h = lambda x: x + 1\nk = next(it)"
    steps = ("s0: it = (x for x in range(9))", make, "s4: fs = [h]")
    assert play(*steps, *steps, "next(it), fs[0](1)") == "(1, 2)"


# --- failures, refusals and memory ---------------------------------------------------------------


def test_a_step_with_eval_does_not_see_what_a_failed_step_left(play: Player) -> None:
    """What a failed attempt bound is hidden from steps that read by running code, too."""
    shown = play("s2: n = 0\n1/0", 's4: k = n\neval("1")')
    assert shown in ("StepRefused", "NameError")


def test_a_refused_edit_is_the_source_of_its_step(play: Player) -> None:
    """Once what it was refused for is mended, the steps below see the edit."""
    first = ("a: k = 1", "b: m = k + 1", "c: m * 10")
    refused = ("a: k = 1 // 0", "b: m = k + 5")
    assert play(*first, *refused, "a: k = 1", "c: m * 10") == "60"


def test_a_refused_step_has_its_place(play: Player) -> None:
    """It is run for the steps below it once what it was refused for is mended."""
    refused = ("s2: k = ys[-1]", "s3: t = k\nxs = []")
    assert play(*refused, "s2: k = 1", "s4: xs") == "[]"


def test_an_import_that_no_step_has_any_more_is_not_there_for_steps(play: Player) -> None:
    """A step finds the imports of the notebook as it reads now, not of a page since edited."""
    edited = ("s0: import math", "s0: k = 1", RESTART)
    assert play(*edited, "s1: m = math.floor(2.5)") == "NameError"


def test_making_a_value_again_leaves_what_later_steps_made(play: Player) -> None:
    """A step that deletes a name runs for a generator's sake: a later step's equal value stays."""
    steps = ("s0: m = 0; it = (x for x in range(9))", "s3: del m; k = next(it)", "s4: m = 0")
    assert play(*steps, RESTART, "s4: m = 0", "it", "m") == "0"


def test_making_a_value_again_leaves_a_name_gone(play: Player) -> None:
    """Its maker also binds a name that a step below takes away, and stays away."""
    steps = ("s0: m = 0; it = (x for x in range(9))", "s1: m = 3", "s2: m = next(it)\ndel m")
    assert play(*steps, *steps, "it", "print(m)") == "NameError"


def test_making_a_value_again_leaves_a_list_gone(play: Player) -> None:
    """So too where nothing stood under the name while its maker ran."""
    steps = ("s1: ys = [0]; it = (x for x in range(9))", "s2: del ys", "s3: n = next(it)")
    assert play(*steps, *steps, "it", "ys") == "NameError"


def test_a_step_run_for_another_s_sake_leaves_a_name_that_stood_as_it_should(play: Player) -> None:
    """It draws a random number, and binds a name that a step above was asked for again since."""
    draw = "d: n = random.randint(5, 99)\nxs = list(xs)"
    first = ("a: n = 0", "b: n += 0", "c: import random", draw)
    again = ("c: import random\nxs = [random.randint(0, 9)]", "b: n += 0", "n")
    assert play(*first, *again, "e: k = random.randint(0, 99)", "n") == "0"


def test_a_generator_is_made_again_though_a_step_above_was_asked_for_last(play: Player) -> None:
    """A row of steps that makes what cannot be kept goes on with the objects it makes."""
    steps = ("s0: k = 0", "s1: it = (x for x in range(1, 9))", "s0: it = (x for x in range(3, 9))")
    assert play(*steps, "s2: n = next(it)", "n") == "1"


def test_a_failed_step_refuses_those_that_need_what_it_imports(play: Player) -> None:
    """A run from the top would stop there."""
    steps = ("s0: import math", "s1: xs = [math.floor(2.5)]", "s0: import math\nm")
    assert play(*steps, "s2: k = len(xs)") == "StepRefused"


def test_a_failed_step_refuses_those_that_draw_below_it(play: Player) -> None:
    """What it would have drawn nobody knows."""
    steps = ("s0: import random; random.seed(0)", "s1: m = 1 // 0; k = random.randint(0, 99)")
    assert play(*steps, "s2: import random; k = random.randint(0, 99)") == "StepRefused"


def test_names_loaded_together_for_a_run_stay_together_after_it(play: Player) -> None:
    """A container that came along for what it holds keeps the object that it came with."""
    first = ("s0: ws = [0]", "s1: zs = [ws]; xs, ys = ws, ws", "s2: zs[-1] = ws; ys += [1]")
    again = ("s1: zs = [ws]; ys = [5]", "s2: zs[-1] = ws; ys += [1]")
    assert play(*first, *again, "zs[0] is ws") == "True"


def test_a_name_that_two_steps_made_equal_goes_with_the_last_that_makes_it(play: Player) -> None:
    """The one below stops, and then the one above: nobody makes it any more."""
    both = ("s0: k = 1", "s0: max = min", "s1: max = min", "s1: k = 2", "s0: k = 1")
    assert play(*both, "max") == "<function max>"


def test_a_failed_step_refuses_those_that_read_what_it_changes_by_another_name(
    play: Player,
) -> None:
    """It works on an object that two names share."""
    steps = ("s0: xs = []; t = (xs, 6)", "s1: t[0].append(0); qs", "s2: zs = [xs]")
    assert play(*steps) == "StepRefused"


def test_a_component_keeps_all_of_its_objects_or_none(play: Player) -> None:
    """A failed step took one of the names away; the other had kept its object."""
    first = ("s0: ws = [1, 3]", "s1: ws.reverse()\nqs = [ws]", "s2: del ws\n1 / 0")
    assert play(*first, "s1: ws.reverse()\nm = 0\nqs = [ws]", "qs[0] is ws") == "True"


def test_a_body_does_not_work_on_what_its_last_run_left(play: Player) -> None:
    """Even where that is equal to what it should find."""
    first = ("s0: ys = []", "s1: xs = ys", "s2: xs = [x for x in xs]", "s3: xs, ys = xs, xs")
    assert play(*first, "s3: ys.append(0)\nxs, ys = xs, xs", "xs") == "[]"


def test_a_step_that_works_in_place_is_needed_for_what_shares_objects_now(play: Player) -> None:
    """When it last ran, nothing shared the object; now a step above it has made an alias."""
    first = ("s0: ys = [5, 1]", "s1: q = 0", "s2: ys.reverse()", "s1: t = (ys, 6)")
    assert play(*first, "s3: w = t", "w[0]") == "[1, 5]"


def test_an_alias_made_above_follows_what_a_step_changes(play: Player) -> None:
    """Also where a step in between was run for that one's sake."""
    first = ("s0: ys = [5, 1]", "s1: q = 0", "s2: ys.reverse()", "s1: t = (ys, 6)")
    assert play(*first, "s3: ys.append(9)", "t[0] is ys, t") == "(True, ([1, 5, 9], 6))"


HALVES = ("s0: ys = [0]", "s1: ys, xs = ys, ys", "s2: ys = [xs[0]]", "s1: ys, xs = ys, ys")


@pytest.mark.parametrize("body", ["del xs[0]", "del xs[0]; m = len(ys)"])
def test_a_change_in_place_leaves_alone_what_means_another_step_s_version(
    play: Player, body: str
) -> None:
    """The name was run again above, and shares the object that this step works on; where the step
    stands it means another one."""
    assert play(*HALVES, f"s3: {body}", "ys") == "[0]"


def test_what_a_failed_change_reached_is_made_anew_for_the_steps(play: Player) -> None:
    """Plain cells see what it did, under all names of the object."""
    assert play(*HALVES, "s3: del xs[0]; 1 / 0", "ys") == "[]"
    assert play(*HALVES, "s3: del xs[0]; 1 / 0", "ys", "s1: ys, xs = ys, ys", "ys") == "[0]"


def test_a_step_that_only_carries_a_name_along_did_not_give_it_its_value(play: Player) -> None:
    """It has made an alias of a part of it; the name still follows the step that made it."""
    first = ("s0: ws = [1]", "s1: box = {'l': ws}", "s2: k = 0", "s3: ys = box['l']")
    assert play(*first, "s0: ws = [2]", "s2: ws += [0]", "box") == "{'l': [2, 0]}"


def test_a_step_that_makes_a_lost_value_again_leaves_equal_objects_of_others_alone(
    play: Player,
) -> None:
    """What it should find is equal to what a step below it has made since."""
    steps = ("s0: xs = [0, 1]", "s1: xs = xs[:1]; it = iter([2])", "s2: xs = [0, 1]")
    assert play(*steps, *steps, "%pipe load", "xs") == "[0, 1]"
    steps = ("s0: xs = [0, 1]", "s1: xs.append(2); it = iter([2])", "s2: xs = [0, 1]")
    assert play(*steps, *steps, "%pipe load", "xs") == "[0, 1]"


def test_who_carries_a_name_along_keeps_it_where_it_is_made_equal_again(play: Player) -> None:
    """Asked for, or for the sake of what could not be kept: nothing comes apart."""
    assert play("s0: ys = [4]", "s1: t = (ys, 1)", "s0: ys = [4]; k = 0", "t[0] is ys") == "True"
    steps = ("s0: xs = [0]", "s1: it = iter([3, 4]); zs = [xs]", "s2: n = next(it); xs.append(0)")
    steps = (*steps, "s3: zs.append(xs)")
    assert play(*steps, *steps, "%pipe load", "zs[0] is xs, xs") == "(True, [0, 0])"


@pytest.mark.parametrize("source", ["ys.append(5)", "ys.append(5); k = 0"])
def test_a_name_run_again_above_stays_where_a_step_below_does_not_name_it(
    play: Player, source: str
) -> None:
    """Run or restored: what only shares the object moves along where it means what the step saw."""
    first = ("s0: ys = [7]", "s1: box = [ys]", "s2: ys[0] = 0", "s3: ys.append(5)")
    assert play(*first, "s1: box = [ys]", f"s3: {source}", "box, ys") == "([[7]], [0, 5])"


def test_an_array_and_a_view_of_all_of_it_are_two_objects(play: Player) -> None:
    """They see the same memory, and yet one is not the other."""
    first = ("s0: import numpy as np; view = np.arange(2)", "s1: arr = view", "s2: k = arr.sum()")
    again = ("s3: arr = view[:]", "s2: k = arr.sum(); view += k")
    assert play(*first, *again, "view is arr, view") == "(True, array([1, 2]))"


def test_what_a_failed_step_reads_through_a_function_is_needed_for_it(play: Player) -> None:
    """It has no record that tells."""
    steps = ("k: k = 1", "s0: n = k", "s1: f = lambda: n", "s2: ys = [f()]; q", "q = 0")
    assert play(*steps, "k: k = 2", "s3: zs = ys", "zs") == "[2]"


# --- what readers of the guide found -------------------------------------------------------------


def test_an_import_that_a_branch_chose_depends_on_what_chose_it(play: Player) -> None:
    """Unlike one that a step makes in any case."""
    first = ("a: fast = False", "b: \nif fast:\n    import math as m\nelse:\n    import cmath as m")
    assert play(*first, "c: r = m.sqrt(4)", "a: fast = True", "c: r = m.sqrt(4)", "r") == "2.0"


def test_names_of_the_user_may_look_like_those_of_python(play: Player) -> None:
    """Only those that Python and IPython have themselves are hidden."""
    steps = ("a: __version__ = '1'", "b: r = __version__", "a: __version__ = '2'")
    assert play(*steps, "b: r = __version__", "r") == "'2'"
    assert play("restart", "__version__") == "'2'"


def test_a_query_in_a_function_reads_what_its_text_names(play: Player) -> None:
    """In a step that calls it, too."""
    first = ("a: k = 1", "b: import pandas as pd; df = pd.DataFrame({'x': [1, 2, 3]})")
    steps = (*first, "c: def some(d): return d.query('x > @k')", "d: n = len(some(df))")
    assert play(*steps, "a: k = 2", "d: n = len(some(df))", "n") == "1"


@pytest.mark.parametrize(
    ("body", "drawn"),
    [("random.seed(n)", "0.956"), ("random.seed(n); return random.random()", "0.948")],
)
def test_a_function_that_seeds_does_so_under_any_name(play: Player, body: str, drawn: str) -> None:
    """Who draws below the step that calls it would draw other numbers."""
    steps = ("a: import random", f"f: def start(n): {body}", "b: start(1)")
    draw = "c: x = round(random.random(), 3)"
    assert play(*steps, draw, "b: start(2)", draw, "x") == drawn


def test_the_order_of_an_array_in_memory_is_part_of_it(play: Player) -> None:
    """`order="K"` goes by it."""
    make = "a: import numpy as np; x = np.array([[1, 2], [3, 4]]{})"
    read = "b: r = x.ravel(order='K').tolist()"
    assert play(make.format(""), read, make.format(", order='F'"), read, "r") == "[1, 3, 2, 4]"


ENVIRONMENT = "import os\nv = os.environ.get('PIPESTATE_TEST')"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("os.environ['PIPESTATE_TEST'] = '1'", "pass", "None"),
        (
            "os.environ['PIPESTATE_TEST'] = '1'",
            "os.environ.setdefault('PIPESTATE_TEST', '7')",
            "'7'",
        ),
    ],
)
def test_what_a_step_sets_no_more_is_as_it_was_before(
    play: Player, monkeypatch: pytest.MonkeyPatch, before: str, after: str, expected: str
) -> None:
    """Also for the step itself, when it runs again."""
    monkeypatch.delenv("PIPESTATE_TEST", raising=False)
    first = (f"a: import os; {before}", f"b: {ENVIRONMENT}", f"a: import os; {after}")
    assert play(*first, f"b: {ENVIRONMENT}", "repr(v)") == repr(expected)


def test_what_a_plain_cell_has_set_since_stays(
    play: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step sets it no more, and somebody else does."""
    monkeypatch.delenv("PIPESTATE_TEST", raising=False)
    first = ("a: import os; os.environ['PIPESTATE_TEST'] = '1'", "a: import os")
    plain = "os.environ['PIPESTATE_TEST'] = '2'"
    assert play(first[0], plain, first[1], f"b: {ENVIRONMENT}", "v") == "'2'"


def test_a_change_in_place_to_what_is_kept_out_of_the_store_is_made_again(play: Player) -> None:
    """After a restart the steps that worked on it run again as well, and those that only read it
    do not."""
    first = ("%%step a --no-save big\nbig = [5]", "b: big.append(3)", "c: r = sum(big)")
    assert play(*first, "restart", "big, r") == "([5, 3], 8)"


def test_what_a_step_deleted_is_not_back_because_its_maker_runs_for_another(play: Player) -> None:
    """The one that was asked for last says what a name means."""
    first = ("a: m = 0", "b: del m", "c: it = iter(range(9))\nm = 0", "restart", "b: del m")
    assert play(*first, "%pipe load", "next(it), 'm' in globals()") == "(0, False)"


# --- iterators inside of other values ------------------------------------------------------------


NESTED = {
    "a dict": ("d = {'it': ITERATOR}", "d['it']"),
    "a tuple in a list": ("d = [(ITERATOR,)]", "d[0][0]"),
    "another name": ("d = [ITERATOR]\ne = d[0]", "e"),
    "a function": ("it = ITERATOR\ndef d(): return it", "d()"),
}


@pytest.mark.parametrize(
    "iterator", ["iter(range(9))", "map(int, '0123')", "(n for n in range(9))"]
)
@pytest.mark.parametrize("made", NESTED)
@pytest.mark.parametrize("between", [(), (RESTART,)], ids=["", "restarted"])
def test_what_a_failed_attempt_took_of_an_iterator_is_there_again(
    play: Player, iterator: str, made: str, between: tuple[str, ...]
) -> None:
    """Wherever the iterator lies: the mended step, and the one below it, are as from the top."""
    cell, it = NESTED[made][0].replace("ITERATOR", iterator), NESTED[made][1]
    play(f"a: {cell}", f"b: x = next({it})\n1 / 0", *between)
    assert play(f"b: x = next({it})\nprint(x)").endswith("0\n")
    assert play(f"c: y = next({it})\nprint(y)").endswith("1\n")
    assert play(*between, f"b: x = next({it})\nprint(x, '!')").endswith("0 !\n")
    assert play(f"c: y = next({it})\nprint(y, '!')").endswith("1 !\n")


def test_what_a_failed_attempt_took_of_a_plain_cells_iterator_is_there_again(play: Player) -> None:
    """As far as it can be put back."""
    play("d = {'it': iter(range(9))}", "b: x = next(d['it'])\n1 / 0")
    assert play("b: x = next(d['it'])\nprint(x)") == "0\n"


def test_what_draws_waits_for_a_failed_step_that_would_have_drawn(play: Player) -> None:
    """Also where that one imports what it draws with."""
    failed = "c: del m\nimport random\nxs = [random.randint(0, 9)]"
    first = ("a: import random", "b: random.seed(0)", failed)
    assert play(*first, "d: import random\nn = random.randint(0, 99)") == "StepRefused"


def test_who_shares_what_a_step_kept_and_took_the_name_of_counts(play: Player) -> None:
    """A name above that is not deleted any more shares its object with what holds it below."""
    first = ("a: ws = []", "b: xs = ws", "c: del ws", "d: box = [xs]\ndel xs", "c: pass")
    assert (
        play(*first, "a: ws = []", "b: xs = ws", "d: box = [xs]\ndel xs", "ws is box[0]") == "True"
    )


def test_what_comes_to_share_an_object_has_changed_though_its_content_has_not(play: Player) -> None:
    """An older version of both names shared in the same way, and is not what the step found."""
    cells = ("a: ys = [1]\nxs = ys", "b: qs = [xs]", "c: del xs[0]", "d: xs = [6]\ndel xs[0]")
    last = "e: qs[-1] = xs"
    assert play(*cells, last, *cells, last, "qs[0] is xs, qs[0] is ys") == "(True, False)"


def test_a_name_lets_go_of_an_object_that_stands_in_another_one(play: Player) -> None:
    """Its value is as it was put aside, and is not that object at the place of this step."""
    first = ("a: e = {}", "b: ys = [1]", "c: ys.append(0)", "d: ys = [1]")
    then = ("c: ys.append(0)\ne['k'] = ys", "f: e = e\nys.append(0)")
    assert play(*first, *then, "ys, e, ys is e['k']") == "([1, 0], {'k': [1, 0]}, False)"


def test_equal_versions_of_two_steps_are_loaded_as_one_component(play: Player) -> None:
    """Of the names that share an object some mean the one step's, and some the other's."""
    first = ("a: ys = []\nxs, ys = ys, ys", "b: zs = [xs]", "c: zs[0].append(0)")
    last = "d: box = [ys]\nys.append(1)"
    again = ("e: xs = box[0]", "c: zs[0].append(0)", last, "f: zs = [xs, ys]")
    assert play(*first, last, *again, "zs[0] is zs[1], xs is ys") == "(True, True)"


def test_a_draw_before_a_seed_depends_on_what_it_found_also_where_it_leaves_the_same(
    play: Player,
) -> None:
    """Run for another's sake it found what its first run had left, and so was thought to draw
    nothing."""
    seed, draw = "s0: import random\nrandom.seed(0)", "s1: ws = [random.random()]\nrandom.seed(5)"
    first = play(seed, draw, "ws")
    again = play(seed, draw, "s0: import random", "s2: x = 1", seed, draw, "ws")
    assert again == first == "[0.8444218515250481]"


def test_a_draw_from_a_state_that_the_step_seeds_again_depends_on_who_had_seeded_it(
    play: Player,
) -> None:
    """Another generator, which it does not use, is no input of it."""
    draw = "b: import random\nws = [random.random()]\nrandom.seed(5)"
    play("a: import random\nrandom.seed(5)", draw)
    assert play("a: import random\nrandom.seed(0)", draw, "ws") == "[0.8444218515250481]"
    play("a: import random, numpy\nrandom.seed(0)\nnumpy.random.seed(1)", draw)
    play("a: import random, numpy\nrandom.seed(0)\nnumpy.random.seed(2)")
    assert "fresh" in play("%pipe why b")


def test_names_that_mean_equal_versions_of_two_steps_share_what_those_share(play: Player) -> None:
    """Of three names that hold one list, two are those of a step that ran for another's sake."""
    lists = "a: qs = [[4], [1]]\nws = qs[0]"
    play(lists, "b: n = 0\nqs.append(ws)", f"{lists}\nn = max([2, 2])")
    play("c: del n\nxs = ws", "d: xs, xs = ws, xs", "b: qs.append(ws)")
    shown = play("e: qs[0].append(0)", "xs, qs, xs is ws is qs[0] is qs[2]")
    assert shown == "([4, 0], [[4, 0], [1], [4, 0]], True)"
    assert "fresh" in play("%pipe why e")


def test_what_cannot_be_kept_is_made_again_though_its_name_has_come_to_mean_something_else(
    play: Player,
) -> None:
    """A step above was run again, and left another value under the name."""
    made = ("s0: it = 0", "s1: it = (x for x in range(4, 9))", "s0: it = 0", "print(it)")
    assert play(*made, "s3: xs = list(it)", "xs") == "[4, 5, 6, 7, 8]"
    again = ("s0: k = 0", "s1: it = (x for x in range(2, 9))", "s0: it = 0")
    assert play(*again, "s3: n = next(it)", "n, next(it)") == "(2, 3)"


def test_a_step_restored_for_anothers_sake_leaves_together_what_a_step_below_holds(
    play: Player,
) -> None:
    """It left one of two names that share an object as the step below has carried it along."""
    steps = ("a: m = {'p': [1]}\no = [m['p']]", "b: o[0].append(2)\nprint(fmt)", "c: m['t'] = 1")
    play("fmt = 'x'", *steps, "d: ck = m['t']", "fmt = 'y'", "d: ck = m['t']", "fmt = 'x'")
    assert play("d: ck = m['t']", "o[0] is m['p'], o") == "(True, [[1, 2]])"
