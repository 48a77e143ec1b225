"""Many objects side by side have the digest of their content and sharing, as few have."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import enum
import fractions
import functools
import pathlib
import pickle
import random
import tracemalloc
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import test_digests
from hypothesis import given
from hypothesis import strategies as st

from pipestate.store import digests

MANY = 200


def digest(value: object) -> str:
    """The digest of a value that can be kept."""
    stream = digests.stream(value)
    assert stream.flaw == ""
    return stream.digest


# --- any graph -----------------------------------------------------------------------------------


class Node:
    """An instance of an ordinary class."""


@dataclasses.dataclass(slots=True)
class Slotted:
    """An instance that pickle takes apart."""

    parts: Any = None


class Pair(NamedTuple):
    """A tuple with names."""

    parts: Any
    more: int = 0


MAKERS: dict[str, Callable[[], Any]] = {
    "list": list,
    "dict": dict,
    "deque": collections.deque,
    "default": lambda: collections.defaultdict(list),
    "node": Node,
    "space": types.SimpleNamespace,
    "slotted": Slotted,
}
LEAVES = st.sampled_from(
    [None, True, 1, 1.0, "a", b"a", (), (1, "b"), frozenset("xyz"), np.float64(1), uuid.UUID(int=1)]
)
ITEMS = st.lists(st.one_of(LEAVES, st.integers(0, 7).map(lambda n: [n])), max_size=3)
GRAPHS = st.lists(st.tuples(st.sampled_from([*MAKERS, "tuple"]), ITEMS), min_size=1, max_size=8)
"""What kind each container is, and its items: leaves, or others by number."""
ROWS = st.lists(st.one_of(LEAVES, st.tuples(st.integers(0, 2), st.integers(0, 7)).map(list)),
                min_size=1, max_size=5)  # fmt: skip
"""Which of three times the same graph, and which container of it, stands side by side."""


def build(graph: list[tuple[str, list[Any]]], row: list[Any]) -> list[Any]:
    """Many objects side by side: some of them twice, some equal, some that lead to each other."""
    made: dict[tuple[int, int], Any] = {}

    def item(copy: int, found: Any) -> Any:
        return get(copy, found[0] % len(graph)) if type(found) is list else found

    def get(copy: int, number: int) -> Any:
        if (copy, number) in made:
            return made[copy, number]
        kind, items = graph[number]
        if kind == "tuple":  # no cycle through tuples alone
            made[copy, number] = []
            made[copy, number] = tuple(item(copy, found) for found in items)
            return made[copy, number]
        made[copy, number] = new = MAKERS[kind]()
        parts = [item(copy, found) for found in items]
        if kind in ("list", "deque"):
            new.extend(parts)
        elif kind in ("dict", "default"):
            new.update(enumerate(parts))
        else:
            new.parts = tuple(parts)
        return new

    wide = [get(found[0], found[1] % len(graph)) if type(found) is list else found for found in row]
    return [wide[n % len(wide)] for n in range(70)]


def is_same(a: Any, b: Any) -> bool:
    """Whether two values have the same shape, leaf by leaf and object by object."""
    return test_digests.is_same(a, b, items_of)


def items_of(value: Any) -> list[Any] | None:
    """What is in a container of a graph; None for a leaf."""
    if isinstance(value, (Node, types.SimpleNamespace, Slotted)):
        return list(value.parts)
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if type(value) in (list, tuple, collections.deque) else None


@given(GRAPHS, ROWS)
def test_any_row_keeps_its_digest_through_pickle(graph: Any, row: Any) -> None:
    """Content and sharing are what pickle brings back."""
    value = build(graph, row)
    assert digest(value) == digest(build(graph, row))
    assert digest(value) == digest(copy.deepcopy(value))
    assert digest(value) == digest(pickle.loads(pickle.dumps(value, 5)))


@given(GRAPHS, ROWS, GRAPHS, ROWS)
def test_equal_digests_mean_equal_content_and_sharing(
    graph: Any, row: Any, other: Any, others: Any
) -> None:
    """An independent comparison, pair by pair, agrees."""
    for a, b in [
        (build(graph, row), build(other, others)),
        (build(graph, row), build(graph, others)),
        (build(graph, row), build(other, row)),
    ]:
        assert (digest(a) == digest(b)) == is_same(a, b)


@given(GRAPHS, ROWS, GRAPHS, ROWS)
def test_what_comes_after_many_objects_is_told_as_exactly(
    graph: Any, row: Any, other: Any, others: Any
) -> None:
    """However few lie side by side in it."""

    def late(graph: Any, row: Any) -> Any:
        return [[collections.deque() for _ in range(300)], *build(graph, row)[: len(row)]]

    value, another = late(graph, row), late(other, others)
    assert digest(value) == digest(copy.deepcopy(value))
    assert digest(value) == digest(pickle.loads(pickle.dumps(value, 5)))
    assert (digest(value) == digest(another)) == is_same(value, another)


@given(GRAPHS, ROWS)
def test_what_names_share_of_a_row_is_told_whoever_holds_the_row(graph: Any, row: Any) -> None:
    """A name of one object of a row, of the row, and of another object."""
    value = build(graph, row)

    def joint(value: list[Any]) -> str:
        found = {"all": value, "one": value[0], "two": value[-1]}
        return digests.joint({name: digests.stream(one) for name, one in found.items()}, found)

    assert joint(value) == joint(copy.deepcopy(value))


# --- kind by kind --------------------------------------------------------------------------------


class Color(enum.Enum):
    """Of which there is one object each."""

    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    """An instance with equal ones."""

    x: float
    y: float = 0.0


START = datetime.datetime(2020, 1, 1)
HOUR = datetime.timezone(datetime.timedelta(hours=1))
KINDS: dict[str, Callable[[int], Any]] = {
    "ints": lambda n: n,
    "bools": lambda n: n % 3 == 0,
    "floats": float,
    "texts": str,
    "bytes": lambda n: b"%d" % n,
    "lists": lambda n: [n],
    "tuples": lambda n: (n,),
    "tuples of lists": lambda n: ([n],),
    "sets": lambda n: {n},
    "sets of texts": lambda n: {str(n), "a", "b"},
    "sets of several kinds": lambda n: {n, str(n), None},
    "sets of points": lambda n: {Point(n)},
    "frozensets": lambda n: frozenset((n,)),
    "dicts": lambda n: {"a": n},
    "dicts with other keys": lambda n: {str(n): 0},
    "dicts with numbers for keys": lambda n: {n: 0},
    "dicts with points for keys": lambda n: {Point(n): 0},
    "points": Point,
    "slotted": Slotted,
    "pairs": Pair,
    "members": lambda n: Color(1 + (n % 5 == 0)),
    "times": lambda n: START + datetime.timedelta(seconds=n),
    "times with a zone": lambda n: (START + datetime.timedelta(seconds=n)).replace(tzinfo=HOUR),
    "hours": lambda n: datetime.time(n % 24, n // 24),
    "dates": lambda n: START.date() + datetime.timedelta(days=n),
    "ids": lambda n: uuid.UUID(int=n),
    "paths": lambda n: pathlib.PurePosixPath(str(n)),
    "windows paths": lambda n: pathlib.PureWindowsPath(str(n)),
    "fractions": lambda n: fractions.Fraction(n, 7),
    "slices": slice,
    "ranges": range,
    "truths": lambda n: np.bool_(n % 3 == 0),
    "small floats": np.float32,
    "big floats": np.float64,
    "long floats": np.longdouble,
    "numpy's ints": np.int64,
    "numpy's days": lambda n: np.datetime64("2020-01-01") + n,
    "arrays": lambda n: np.arange(n, n + 3),
    "stamps": lambda n: pd.Timestamp("2020") + pd.Timedelta(seconds=n),
    "frames": lambda n: pd.DataFrame({"a": [n]}),
    "functions": lambda n: [len, sorted, sum, min][n % 4],
    "classes": lambda n: [int, str, Point, Color][n % 4],
    "counters": lambda n: collections.Counter(str(n)),
    "ordered": lambda n: collections.OrderedDict(a=n),
    "several": lambda n: [n, str(n), [n], {"a": n}, Point(n), None, Color.RED][n % 7],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("within", ["list", "tuple", "dict", "deque", "array"])
def test_a_row_is_told_by_each_of_its_objects(kind: str, within: str) -> None:
    """A copy has the same digest, and every row in which one of them is another one another."""
    wrap: dict[str, Callable[[list[Any]], Any]] = {
        "list": list,
        "tuple": tuple,
        "dict": lambda row: dict(enumerate(row)),
        "deque": collections.deque,
        "array": lambda row: np.fromiter(row, dtype=object, count=len(row)),
    }
    make = KINDS[kind]

    def row(*changes: tuple[int, Any]) -> Any:
        found = [make(n) for n in range(MANY)]
        for at, other in changes:
            found[at] = other
        return wrap[within](found)

    same = {digest(row()), digest(pickle.loads(pickle.dumps(row(), 5)))}
    assert len(same) == 1
    others = [
        row((0, make(MANY + 2))),
        row((MANY - 1, make(0))),
        row((5, "x")),
        row((5, (5,) * 9)),
    ]
    assert len({*same, *map(digest, others)}) == 5
    swapped = row((0, make(3)), (3, make(0)))
    assert (digest(swapped) in same) == (kind in ("bools", "truths"))


def test_rows_of_different_kinds_have_different_digests() -> None:
    """Though what is told of each object may be the same."""
    found = {kind: digest([make(n) for n in range(MANY)]) for kind, make in KINDS.items()}
    assert len(set(found.values())) == len(found)


def test_where_equal_immutables_of_a_row_are_one_object_does_not_count() -> None:
    """A tuple is its content, and so are a date and what is in them."""
    for make in (
        lambda: (1, "a"),
        lambda: (START, (1, (2.5, "a"))),
        lambda: fractions.Fraction(1, 3),
        lambda: START.replace(tzinfo=HOUR),
        lambda: uuid.UUID(int=5),
        lambda: np.float64(5),
        lambda: frozenset("abc"),
    ):
        one = make()
        assert digest([one] * MANY) == digest([make() for _ in range(MANY)])


def test_an_immutable_is_told_alike_before_and_after_many_objects() -> None:
    """Whether it is one object that is met twice, or two that are equal."""

    def make() -> Any:
        half = fractions.Fraction(1, 2)
        return (half, (half, START.replace(tzinfo=HOUR), Point(1)), frozenset({(half, half)}))

    crowd = [collections.deque() for _ in range(300)]
    index = pd.Index([make()[0], make()[2], *range(3)], dtype=object)
    frames = [pd.DataFrame({"a": range(5)}, index=index) for _ in range(2)]
    assert digest([frames[0], crowd, frames[1]]) == digest(
        [frames[0], crowd, pickle.loads(pickle.dumps(frames[1]))]
    )
    for one in (make()[0], make()[2], (make()[0], make()[0], (make()[0], make()[2]))):
        again = pickle.loads(pickle.dumps(one))
        assert digest([one, crowd, one]) == digest([one, crowd, again])
        assert digest([one, crowd, [one]]) == digest([one, crowd, [again]])


def test_which_objects_of_a_row_are_one_counts() -> None:
    """As it does of two."""
    for make in (list, dict, set, Node, Slotted, collections.deque, lambda: np.zeros(2)):
        one, other = make(), make()
        rows = [[one] * MANY, [one, other] * (MANY // 2), [make() for _ in range(MANY)]]
        assert len(set(map(digest, rows))) == 3
        assert digest([one, other] * (MANY // 2)) == digest([other, one] * (MANY // 2))


def test_which_memory_the_arrays_of_a_row_see_counts() -> None:
    """Views of one memory are no arrays of their own, nor are two of the same."""
    base = np.arange(2.0 * MANY)
    views = [base[n : n + 2] for n in range(MANY)]
    alone = [one.copy() for one in views]
    twice = [alone[0], *alone[:-1]]
    assert digest(views) != digest(alone)
    assert digest(views) == digest([base[n : n + 2] for n in range(MANY)])
    assert digest([alone, alone[7]]) != digest([alone, alone[7].copy()])
    assert digest([alone, alone[7][1:]]) != digest([alone, alone[7][:1]])
    assert digest(twice) != digest([alone[0].copy(), *alone[:-1]])
    turned = [np.asfortranarray(np.ones((2, n % 5 + 1))) for n in range(MANY)]
    assert digest(turned) != digest([np.ascontiguousarray(one) for one in turned])
    assert digest(turned) == digest(pickle.loads(pickle.dumps(turned)))


def test_how_an_array_of_a_row_lies_does_not_count() -> None:
    """A copy has other strides."""
    for odd in (
        lambda: np.arange(10)[::2],
        lambda: np.arange(5)[::-1][::-1],
        lambda: np.arange(25).reshape(5, 5)[:, 0],
    ):
        row = [odd() if n % 2 else np.arange(5) for n in range(100)]
        assert digest(row) == digest(copy.deepcopy(row)) == digest(pickle.loads(pickle.dumps(row)))


def test_tuples_that_share_tuples_do_not_explode_in_a_row() -> None:
    """However deep they are, and however wide."""
    deep: Any = (1, [])
    for _ in range(60):
        deep = (deep, deep)
    wide: Any = ([],)
    for _ in range(6):
        wide = (wide,) * 1000
    assert digest([deep] * MANY)
    assert digest([wide] * MANY)


def test_a_long_chain_in_a_row_is_no_matter() -> None:
    """Each link is a level."""
    first: Any = None
    for _ in range(10_000):
        node = Node()
        node.next, first = first, node  # type: ignore[attr-defined]
    row = [Node() for _ in range(MANY)]
    for one in row:
        one.next = first  # type: ignore[attr-defined]
    assert digest(row)


def test_an_object_that_changes_what_holds_it_when_it_is_pickled_can_be_told() -> None:
    """Its holder may be one of many that are told together."""

    class Shy:
        def __init__(self, holder: Any) -> None:
            self.holder = holder

        def __reduce__(self) -> tuple[Any, ...]:
            self.holder.seen = True
            return str, ("shy",)

    row = [Node() for _ in range(MANY)]
    for one in row:
        one.shy = Shy(one)  # type: ignore[attr-defined]
    assert digests.stream(row).flaw == ""


def test_what_cannot_be_kept_in_a_row_is_named_with_its_place() -> None:
    """Whatever stands beside it."""
    row: list[Any] = [Node() for _ in range(MANY)]
    row[150].inner = {"a": [1, (x for x in "abc")]}
    assert digests.stream(row, name="row").flaw == "generator at row[150].inner['a'][1]"


def test_a_component_is_found_through_a_row() -> None:
    """A name of one of many objects shares it with them."""
    row = [Node() for _ in range(MANY)]
    names = {"row": row, "one": row[100].__dict__, "other": Node()}
    found = digests.components({name: digests.stream(one) for name, one in names.items()})
    assert set(found) == {frozenset({"row", "one"}), frozenset({"other"})}


# --- what looks like another kind, and hooks -----------------------------------------------------


class Alike(type):
    """A metaclass by which classes of one name are equal."""

    def __eq__(cls, other: object) -> bool:
        return cls.__name__ == getattr(other, "__name__", "")

    def __hash__(cls) -> int:
        return hash(cls.__name__)


def test_classes_that_call_themselves_equal_are_told_apart() -> None:
    """Each by what it is."""
    one, other = (
        Alike("A", (), {"__module__": __name__, "f": f}) for f in (lambda self: 1, lambda self: 2)
    )
    assert one == other
    mixed = [one() for _ in range(69)] + [other()]
    found = [digests.stream(row).digest for row in ([one() for _ in range(70)], mixed)]
    assert found[0] != found[1]


class float64(np.float64):
    """A number of the same name as its base."""

    def __reduce__(self) -> tuple[Any, ...]:
        return float64, (float(self), self.__dict__)


def test_a_subclass_with_the_name_of_its_base_is_another_type() -> None:
    """Of numpy's numbers, too."""
    assert digest([np.float64(1)] * 70) != digest([float64(1)] * 70)


class Late(enum.IntEnum):
    """An enum that makes a member anew for each unknown number."""

    A = 1

    @classmethod
    def _missing_(cls, value: Any) -> Any:
        made = int.__new__(cls, value)
        made._name_, made._value_ = f"U{value}", value
        return made


def test_members_that_are_made_anew_are_told_by_content() -> None:
    """Which of them are one object does not count."""
    one = Late(99)
    assert digest([one] * 70) == digest([Late(99) for _ in range(70)])
    assert digest([one] * 70) != digest([Late(98) for _ in range(70)])


def test_windows_paths_are_told_by_their_parts() -> None:
    """Two of them may be written alike."""
    one, other = pathlib.PureWindowsPath("./a:b"), pathlib.PureWindowsPath("a:b")
    assert one != other
    assert digest([one] * 70) != digest([other] * 70)


class Log:
    """An instance that notes whenever it is pickled."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        self.log.append([len(self.log)])
        return {"x": 1}


def test_objects_that_hooks_add_to_a_row_are_numbered_like_all_others() -> None:
    """Names that share them can be compared."""
    row: list[Any] = []
    for _ in range(70):
        one = Log()
        row.append([one.log, one])
    found = digests.stream(row)
    assert max(found.mutables.values()) < len(found.parents)
    assert all(parent < number for number, parent in enumerate(found.parents))
    other = digests.stream([row[69][0], row[69][0][0]])
    assert digests.joint({"a": found, "b": other}, "ab")


def test_a_row_of_which_one_object_leads_deep_is_no_nest() -> None:
    """Though each link holds others."""

    def chain(length: int) -> Any:
        last: Any = None
        for _ in range(length):
            one: Any = Node()
            one.l, one.d, one.next = [Node()], {"a": Node()}, last
            last = one
        return last

    assert digest([chain(25_000)] + [chain(1) for _ in range(63)])


class Bag(set[Any]):
    """A set with a name."""


def test_a_subclass_of_a_set_has_no_order() -> None:
    """Which it has in a pickle."""
    numbers = [n << 20 for n in range(50)]
    assert Bag(numbers).__reduce__() != Bag(reversed(numbers)).__reduce__()
    assert digest(Bag(numbers)) == digest(Bag(reversed(numbers)))
    assert digest([Bag(numbers)] * 70) == digest([*[held := Bag(reversed(numbers))], *[held] * 69])


class Lists(set[Any]):
    """A set that is pickled as a list of lists."""

    def __init__(self, items: Any = ()) -> None:
        super().__init__(map(tuple, items))

    def __reduce__(self) -> tuple[Any, ...]:
        return Lists, ([list(one) for one in self],)


def test_a_set_that_is_pickled_in_a_way_of_its_own_is_told_so() -> None:
    """Also where what it is pickled as can be in no set."""
    assert digest(Lists([[1, 2]])) == digest(Lists([[1, 2]])) != digest(Lists([[1, 3]]))


def test_a_big_graph_of_instances_of_a_class_of_its_own_can_be_told() -> None:
    """However far its links lead."""

    class Own:
        pass

    chance = random.Random(1)
    nodes: list[Any] = [Own() for _ in range(30_000)]
    for one in nodes:
        one.a, one.b = chance.choice(nodes), [chance.choice(nodes), chance.choice(nodes)]
        one.t = (chance.choice(nodes), (chance.choice(nodes),))
    assert digest(nodes)


def test_a_chain_that_shares_with_a_row_is_not_gone_over_from_each_of_its_links() -> None:
    """The way from a link to the root is that of the links above it: else this takes minutes."""
    items = [[n, {}] for n in range(50_000)]
    head: Any = None
    for one in items:
        head = [one, head, len]
    found = {"a": digests.stream(head), "b": digests.stream(items)}
    assert digests.joint(found, "ab") == digests.joint(found, "ba")


@pytest.mark.parametrize(
    "make",
    [
        lambda: [(shared, *[0.5] * 64) for shared in [Bag(range(20_000))] for _ in range(300)],
        lambda: [np.str_("a" * 100_000)] * 300,
        lambda: [np.void(b"a" * 100_000)] * 300,
        lambda: [(("a" * 100_000,),)] * 300,
    ],
    ids=["a set", "a text", "bytes", "a tuple"],
)
def test_what_is_met_often_is_told_once(make: Callable[[], Any]) -> None:
    """A look takes the memory of one of them, and not of each."""
    value = make()
    digest(value)
    tracemalloc.start()
    try:
        digest(value)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_where_a_test_sets_the_clock_dates_are_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickle would not find their class by its name."""
    row = [START + datetime.timedelta(hours=n) for n in range(MANY)]
    before = digest(row)
    monkeypatch.setattr(datetime, "datetime", type("Fake", (datetime.datetime,), {}))
    assert digest(row) == before


def test_a_definition_is_the_same_whatever_else_the_notebook_names() -> None:
    """Also one that holds a row of what it names."""
    held = functools.lru_cache(len)

    def outer(row: Any = [held] * 70) -> Any:
        return row

    known = {id(outer): "outer"}
    one, other = (
        digests.stream([outer], definitions=names).digest
        for names in (known, {**known, id(held): "held"})
    )
    assert one == other


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_siblings import KINDS, MANY, digest
for kind, make in KINDS.items():
    print(kind, digest([make(n) for n in range(MANY)]))
print(digest({str(n) for n in range(MANY)}))
"""


def test_every_process_and_hash_seed_gives_a_row_the_same_digest(tmp_path: Path) -> None:
    """Nothing of an address, a set's order or a seed is in a digest."""
    tests = str(Path(__file__).resolve().parent)
    told = test_digests.told_by_processes(tmp_path / "script.py", SCRIPT, tests)
    assert len(told) == 1
