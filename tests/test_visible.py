"""The user's own names of a namespace: all of them, whatever was bound and taken away since."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipestate.kernel.visible import Visible, differing, is_visible

NAMES = st.sampled_from(["a", "b", "c", "_", "__", "_oh", "In", "_x", 3, None])


class Session(RuleBasedStateMachine):
    """A namespace in which cells run, and bind and delete names, also IPython's own."""

    def __init__(self) -> None:
        super().__init__()
        self.ns: dict[Any, Any] = {"_i": "", "_ii": "", "In": [""]}
        self.visible = Visible(self.ns)
        self.count = 0
        self.met: dict[str, None] = {}

    @rule(shows=st.booleans())
    def run_a_cell(self, shows: bool) -> None:
        self.count += 1
        self.ns[f"_i{self.count}"] = f"cell {self.count}"
        if shows:
            self.ns[f"_{self.count}"] = self.ns["_"] = object()

    @rule(name=NAMES)
    def bind(self, name: Any) -> None:
        self.ns[name] = object()

    @rule(name=NAMES)
    def delete(self, name: Any) -> None:
        self.ns.pop(name, None)

    @rule(at=st.integers(1, 9))
    def delete_numbered(self, at: int) -> None:
        self.ns.pop(f"_i{at}", None)
        self.ns.pop(f"_{at}", None)

    @rule(at=st.integers(1, 9))
    def bind_numbered_again(self, at: int) -> None:
        self.ns[f"_i{at}"] = f"{at}th, anew"

    @rule()
    def reset(self) -> None:
        self.ns.clear()
        self.count = 0

    @rule(name=NAMES)
    def put_all_back_from_a_file(self, name: Any) -> None:
        held = {key: f"{value}." if type(value) is str else value for key, value in self.ns.items()}
        self.ns.clear()
        self.ns[name] = object()
        self.ns.update(held)

    @rule()
    def look(self) -> None:
        now = self.visible.now()
        assert now == {name: held for name, held in self.ns.items() if is_visible(name)}
        self.met |= dict.fromkeys(now)

    @invariant()
    def names_have_the_order_in_which_they_were_met(self) -> None:
        known = [name for name in self.met if name in self.ns]
        assert [name for name in self.visible.now() if name in self.met] == known
        self.met |= dict.fromkeys(self.visible.now())


class Looks(Session):
    """The same, with looks only now and then."""

    def names_have_the_order_in_which_they_were_met(self) -> None: ...


TestEachMoment = Session.TestCase
TestNowAndThen = Looks.TestCase
TestEachMoment.settings = settings(max_examples=100, stateful_step_count=40)
TestNowAndThen.settings = settings(max_examples=300, stateful_step_count=60)


def test_a_name_is_seen_that_comes_before_what_a_cell_said() -> None:
    """As where all was put back, with one name first: the number of names tells it."""
    ns = {"_i1": "x = 1", "x": 1}
    visible = Visible(ns)
    visible.now()
    held = ns.copy()
    ns.clear()
    ns["new"] = 2
    ns.update(held)
    assert visible.now() == {"x": 1, "new": 2}


def test_a_name_is_seen_that_comes_in_the_place_of_one_of_ipythons() -> None:
    """Then their number is what it was, but the text of the cell is another."""
    ns: dict[str, Any] = {"_1": 1, "_i2": "x = 1", "x": 1}
    visible = Visible(ns)
    visible.now()
    del ns["_1"], ns["_i2"]
    ns["new"] = 2
    ns["_i2"] = "x = 2"
    assert visible.now() == {"x": 1, "new": 2}


def test_names_differ_by_their_objects() -> None:
    """Not by what is equal: an object that was replaced is another one."""
    one, other = [1], [1]
    then = {"same": one, "other": one, "gone": one}
    now = {"same": one, "other": other, "new": one}
    assert differing(then, now) == (["other", "new"], ["gone"])
