"""Layers, makers and lines, moved along with a pipe, say what a look from the top says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipestate.pipe.graph import Touches, leave
from pipestate.pipe.layers import Layers, Makers, makers, moved
from pipestate.pipe.lines import Lines
from pipestate.pipe.lines import moved as lines_moved
from pipestate.record import Record, Seen, Version

NAMES = st.sampled_from("uvwxyz")
SOME = st.frozensets(NAMES, max_size=3)


@st.composite
def histories(draw):
    """Moments of a pipe: its order, the head of each step, and all the records by digest."""
    records, moments = {}, []
    order, heads = (), {}
    for number in range(draw(st.integers(1, 12))):
        step = draw(st.sampled_from("abcdefg"))
        if step not in order:
            at = draw(st.integers(0, len(order))) if draw(st.booleans()) else len(order)
            order = (*order[:at], step, *order[at:])
        elif draw(st.integers(0, 5)) == 0:
            order = tuple(one for one in order if one != step)
            heads = {one: head for one, head in heads.items() if one != step}
            moments.append((order, dict(heads)))
            continue
        made, gone = draw(SOME), draw(SOME)
        digest = f"{step}{number}"
        versions = tuple(Version("value", f"{digest}{n}", {n: digest}) for n in sorted(made))
        records[digest] = Record(
            step, "", "", outputs=versions, gone=tuple(sorted(gone - made)), givens=versions[:1]
        )
        heads = {**heads, step: digest}
        moments.append((order, dict(heads)))
    return records, moments


def folded(order, heads, records):
    """What names stand for after these steps, from the top."""
    held = {}
    for step in order:
        if step in heads:
            leave(held, step, heads[step], records[heads[step]])
    return held


@given(histories())
def test_what_stands_at_each_place_is_what_folding_gives(history):
    """However the pipe came to be what it is."""
    records, moments = history
    layers = Layers()
    for order, heads in moments:
        layers = moved(layers, order, heads, records.__getitem__)
        for at, step in enumerate((*order, "new")):
            held = folded(order[:at], heads, records)
            assert dict(layers.before(step)) == held
            assert {name: layers.before(step).get(name) for name in "uvwxyz"} == {
                name: held.get(name) for name in "uvwxyz"
            }


def needed(order, touches, step, names):
    """Backwards over all the steps above."""
    wanted, found = set(names), []
    for one in reversed(order[: order.index(step)]):
        touched = touches[one]
        if not wanted.isdisjoint(touched.makes):
            found.append(one)
            wanted -= touched.binds - touched.reads
            wanted |= touched.reads
    return tuple(reversed(found))


TOUCHES = st.builds(Touches, SOME, SOME, SOME)


@given(st.lists(st.tuples(st.permutations("abcdef"), st.lists(TOUCHES, min_size=6, max_size=6))))
def test_who_is_needed_is_what_a_walk_backwards_finds(moments):
    """Also where steps have moved, or do other things than before."""
    known = Makers()
    for order, all_touches in moments:
        order = tuple(order)
        touches = dict(zip("abcdef", all_touches, strict=True))
        places = {step: at for at, step in enumerate(order)}
        known = makers(known, order, places, touches, touches.__getitem__)
        for step in order:
            for name in "uxz":
                assert known.needed(places[step], [name]) == needed(order, touches, step, [name])


SEEN = st.builds(
    Seen,
    st.sampled_from("xy"),
    st.sampled_from(["s", "s --setup", "s --after b"]),
    st.sampled_from("12"),
)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), SEEN), max_size=6))
def test_what_the_lines_say_now_is_what_they_say_from_the_start(moments):
    """Also where a source was edited, or a step went to another cell."""
    known = Lines()
    for seen in moments:
        known = lines_moved(known, seen)
        fresh = lines_moved(Lines(), seen)
        assert (known.cells, known.after, known.setups) == (fresh.cells, fresh.after, fresh.setups)
        for cell in "12":
            steps = [step for step, one in seen.items() if one.cell_id == cell]
            assert sorted(known.steps.get(cell, ())) == sorted(steps)
