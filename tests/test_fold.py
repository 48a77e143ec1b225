"""A job is the fold of its runs: what each kind of run makes of a pipe."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipestate.pipe.deltas import differing
from pipestate.pipe.folding import Folding
from pipestate.pipe.history import Draft, after, fold
from pipestate.record import Meaning, Pipe, Run, Seen

EMPTY = Pipe("j")
STEPS = st.sampled_from(["a", "b", "c"])
DIGESTS = st.sampled_from(["0" * 40, "1" * 40])
MEANINGS = st.builds(Meaning, STEPS, DIGESTS, DIGESTS)
RUNS = st.builds(
    Run,
    number=st.just(0),
    job=st.just("j"),
    step=STEPS,
    event=st.sampled_from(["ran", "restored", "failed", "set", "dropped", "renamed", "noted"]),
    reason=st.sampled_from(["", "boom"]),
    heads=st.dictionaries(STEPS, st.none() | DIGESTS, max_size=2),
    meanings=st.dictionaries(st.sampled_from("xy"), st.none() | MEANINGS, max_size=2),
    seen=st.none() | st.builds(Seen, st.sampled_from(["x = 1", "x = 2"])),
    imports=st.dictionaries(st.sampled_from(["np"]), st.sampled_from(["import numpy as np"])),
    order=st.none() | st.permutations(["a", "b", "c"]).map(tuple),
)


def runs(*changes: dict, start: int = 1) -> list[Run]:
    """Runs of the step `a`, in order, each with what is said of it."""
    base = {"job": "j", "step": "a", "event": "ran"}
    return [Run(**{**base, "number": n, **one}) for n, one in enumerate(changes, start)]


@given(st.lists(RUNS, max_size=8), st.integers(0, 8))
def test_folding_in_two_parts_is_folding_at_once_and_changes_no_pipe(made, cut):
    """So that a snapshot with the rest of the log, and the whole log, give the same job."""
    first = fold(EMPTY, made[:cut])
    before = copy.deepcopy(first)
    second = fold(first, made[cut:])
    assert second == fold(EMPTY, made)
    assert first == before
    one_by_one = EMPTY
    for run in made:
        one_by_one = after(one_by_one, run)
    assert one_by_one == second


@given(st.lists(RUNS, max_size=8), st.sets(st.integers(0, 8)), st.integers(0, 8))
def test_a_fold_that_is_moved_along_is_the_fold(made, looks, interrupted):
    """Whenever somebody looks, also after an interrupt; and no pipe that was given out changes."""
    made = [run.replace(number=number) for number, run in enumerate(made, 1)]
    folding, given_out = Folding(EMPTY), []
    for at, run in enumerate(made):
        if at == interrupted:
            with mock.patch.object(Draft, "_count", side_effect=KeyboardInterrupt):
                folding.add([run], keep=20)
                with pytest.raises(KeyboardInterrupt):
                    folding.head("a")
        else:
            folding.add([run], keep=20)
            folding.add([run], keep=20)  # it counts once
        now = fold(EMPTY, made[: at + 1])
        assert folding.head("a") == now.heads.get("a")
        assert (folding.number, folding.steps) == (now.number, len(now.heads))
        if at in looks:
            given_out.append((now, folding.pipe()))
    assert folding.after(made, keep=20) == fold(fold(EMPTY, made), made)
    assert folding.pipe() == fold(EMPTY, made)
    assert all(then == pipe for then, pipe in given_out)


@given(st.lists(RUNS, max_size=8), st.integers(0, 8))
def test_what_has_moved_is_what_differs(made, cut):
    """Between neighbours, which know it of each other, and between any two."""
    pipes = [EMPTY]
    for run in made:
        pipes.append(after(pipes[-1], run))
    for then, now in ((pipes[-2:] * 2)[:2], (pipes[min(cut, len(made))], pipes[-1])):
        for part in ("heads", "seen"):
            old, new = getattr(then, part), getattr(now, part)
            found = differing(old, new)
            assert sorted(found) == sorted(k for k in {**old, **new} if old.get(k) != new.get(k))


@given(st.lists(RUNS, max_size=8))
def test_every_step_with_a_head_has_one_place(made):
    """Whatever happened: no head without a place, no step in two places."""
    pipe = fold(EMPTY, made)
    assert set(pipe.heads) <= set(pipe.order)
    assert len(set(pipe.order)) == len(pipe.order)
    assert Pipe.from_bytes(pipe.to_bytes()) == pipe


def test_a_run_sets_heads_and_meanings_and_takes_them_away():
    """None takes away."""
    meaning = Meaning("a", "1" * 40, "2" * 40)
    pipe = fold(
        EMPTY,
        runs(
            {"heads": {"a": "1" * 40}, "meanings": {"x": meaning, "y": meaning}},
            {"heads": {"a": "3" * 40}, "meanings": {"x": None, "never": None}},
        ),
    )
    assert pipe.heads == {"a": "3" * 40}
    assert pipe.meanings == {"y": meaning}
    assert pipe.number == 2


def test_a_step_stands_where_it_first_ran_until_an_order_is_known():
    """A known order wins, and a step that it does not have comes last."""
    pipe = fold(EMPTY, runs({"step": "b"}, {"step": "a"}, {"step": "b"}))
    assert pipe.order == ("b", "a")
    pipe = fold(pipe, runs({"step": "a", "order": ("a", "b")}, {"step": "c"}, start=4))
    assert pipe.order == ("a", "b", "c")


def test_a_note_is_no_step():
    """It remembers imports, and counts for nothing."""
    pipe = fold(
        EMPTY, runs({"step": "", "event": "noted", "imports": {"np": "import numpy as np"}})
    )
    assert (pipe.order, pipe.runs) == ((), {})
    assert pipe.imports == {"np": "import numpy as np"}


def test_a_failure_is_told_until_the_step_succeeds():
    """The head stays as it was, and the source last attempted is kept."""
    made = runs(
        {"heads": {"a": "1" * 40}, "seen": Seen("x = 1")},
        {"event": "failed", "reason": "ZeroDivisionError", "seen": Seen("x = 1 / 0")},
    )
    pipe = fold(EMPTY, made)
    assert pipe.failed == {"a": "ZeroDivisionError"}
    assert pipe.heads == {"a": "1" * 40}
    assert pipe.seen["a"].source == "x = 1 / 0"
    assert fold(pipe, runs({"event": "restored"}, start=3)).failed == {}


def test_restoring_is_no_execution():
    """A step has run as often as its body did, or a value was set."""
    made = runs(
        {}, {"event": "restored"}, {"event": "failed"}, {"event": "set"}, {"event": "noted"}
    )
    assert fold(EMPTY, made).runs == {"a": 3}


def test_a_dropped_step_leaves_nothing():
    """Neither head, place, source nor count."""
    pipe = fold(
        EMPTY,
        runs(
            {"heads": {"a": "1" * 40}, "seen": Seen("x")},
            {"step": "b", "heads": {"b": "2" * 40}},
            {"event": "dropped", "heads": {"a": None}},
        ),
    )
    assert pipe == fold(Pipe("j", 2), runs({"step": "b", "heads": {"b": "2" * 40}}, start=3))


def test_a_renamed_step_keeps_its_place_and_its_count():
    """The new name stands where the old one stood."""
    pipe = fold(
        EMPTY,
        runs(
            {"heads": {"a": "1" * 40}, "seen": Seen("x")},
            {"step": "b", "heads": {"b": "2" * 40}},
            {"step": "c", "event": "renamed", "heads": {"a": None, "c": "1" * 40}},
        ),
    )
    assert pipe.order == ("c", "b")
    assert pipe.heads == {"b": "2" * 40, "c": "1" * 40}
    assert pipe.runs == {"b": 1, "c": 1}
    assert pipe.seen == {"c": Seen("x")}


def test_an_order_made_beside_another_process_takes_no_step_away():
    """A step that was added meanwhile stays, after the one that it stood after."""
    pipe = fold(Pipe("j"), runs({"step": "a"}, {"step": "new"}, {"step": "b"}))
    pipe = fold(pipe, runs({"step": "c", "order": ("b", "a", "c")}, start=4))
    assert pipe.order == ("b", "a", "new", "c")
