"""A digest stands for content and sharing: the same in every process, another for every change."""

from __future__ import annotations

import abc
import argparse
import collections
import copy
import dataclasses
import functools
import os
import pickle
import select
import subprocess
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipestate.record import AccessPath
from pipestate.store import codefacts, digests, trees

ROOT = Path(__file__).resolve().parent.parent


def digest(value: object, **options: Any) -> str:
    """The digest of a value that can be kept."""
    stream = digests.stream(value, **options)
    assert stream.flaw == ""
    return stream.digest


def notebook(source: str, **names: object) -> dict[str, Any]:
    """The names that a notebook's cell binds."""
    namespace: dict[str, Any] = {"__name__": "__main__", **names}
    exec(source, namespace)
    return namespace


# --- content -------------------------------------------------------------------------------------

DIFFERENT = [
    None, True, False, 0, 1, 1.0, 1 + 0j, 0.0, -0.0, float("nan"), "1", b"1", bytearray(b"1"), "",
    [], (), {}, set(), frozenset(), [1], [1.0], [True], [[1]], [(1,)], (1,), ([1],), {1}, {1.0},
    frozenset({1}), {1: 2}, {1: 2.0}, {2: 1}, {1: 2, 3: 4}, {3: 4, 1: 2}, [1, 2], [2, 1], [[1, 2]],
    [[1], 2], [[1], [2]], {"a": [1]}, {"a": (1,)}, range(3), range(4), slice(3), ...,
    NotImplemented, np.zeros(2), np.zeros(2, "f4"), np.zeros((1, 2)), np.zeros(2, "i8"),
    np.float64(0), int, len,
    collections.OrderedDict({1: 2}), collections.defaultdict(list, {1: 2}),
    collections.Counter("a"),
    types.SimpleNamespace(a=1), types.SimpleNamespace(a=2), types.SimpleNamespace(b=1),
    pd.Series([1, 2]), pd.Series([1, 2], name="a"), pd.Series([1, 2], index=[1, 2]),
    pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), pd.DataFrame({"a": [1.0]}),
]  # fmt: skip


def test_values_that_differ_have_different_digests() -> None:
    """Type, value, sign of zero, nesting and the order of a dict all count."""
    assert len({digest(value) for value in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize("value", DIFFERENT, ids=repr)
def test_a_copy_has_the_digest_of_the_original(value: object) -> None:
    """Content counts, not which object it is."""
    assert digest(copy.deepcopy(value)) == digest(value)


def test_where_equal_immutables_are_the_same_object_does_not_count() -> None:
    """Strings and tuples may be shared or not; nobody can tell."""
    text, pair = "a" * 50, ("a", (1, 2))
    assert digest([text, text]) == digest([text, "".join(["a"] * 50)])
    assert digest([pair, pair]) == digest([pair, copy.copy(("a", (1, int("2"))))])


def test_a_set_has_no_order() -> None:
    """However it was filled, and whatever it holds."""
    for items in (list("abcdefgh"), [1, 2.5, "x", None], [("a", 1), frozenset("bc")]):
        backwards = items[::-1]
        assert digest(set(items)) == digest(set(backwards))
        assert digest(frozenset(items)) == digest(frozenset(backwards))


def test_a_set_of_instances_has_no_order_either() -> None:
    """Instances are hashed by address, so their order in a set is another every time."""

    def made(numbers: list[int]) -> set[types.FunctionType | Any]:
        return {Node(number, [number]) for number in numbers}

    assert digest(made([1, 2, 3, 4])) == digest(made([4, 2, 1, 3]))


def test_nodes_that_know_their_neighbours_are_told_in_a_bounded_look() -> None:
    """Sets of instances that hold sets of instances: every look at one would be a look at all."""

    def ring(size: int) -> list[Node]:
        nodes = [Node(number, set()) for number in range(size)]
        for number, node in enumerate(nodes):
            node.inner.update({nodes[number - 1], nodes[(number + 1) % size], nodes[number // 2]})
        return nodes

    assert digest(ring(40)) == digest(ring(40))
    assert digest(ring(40)) != digest(ring(39))


@dataclasses.dataclass(eq=False)
class Node:
    """An instance hashed by identity."""

    number: int
    inner: Any


def test_deep_nesting_is_no_matter() -> None:
    """No recursion: memory alone is the limit."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    other: Any = ({},)
    for _ in range(5000):
        other = (other, 1)
    assert digest(deep) != digest(deep[0])
    assert digest(other) != digest(other[0])


def test_tuples_that_share_tuples_do_not_explode() -> None:
    """2 ** 200 leaves, if each were looked at."""
    plain: Any = (1,)
    holding: Any = ([],)
    for _ in range(200):
        plain, holding = (plain, plain), (holding, holding)
    assert digest(plain) != digest(plain[0])
    assert digest(holding) != digest(holding[0])


def test_a_big_tree_of_plain_values_is_told_by_content() -> None:
    """The fast way gives what any equal value gives, and sees the last leaf."""
    rows = [{"a": n, "b": [str(n)]} for n in range(1000)]
    assert digest(rows) == digest(copy.deepcopy(rows))
    rows[999]["b"] = ["1000"]
    assert digest(rows) != digest([*copy.deepcopy(rows[:999]), {"a": 999, "b": ["999"]}])


def test_the_attributes_of_an_instance_are_seen_wherever_python_keeps_them() -> None:
    """Since Python 3.13 the collector does not find them in the instance's `__dict__`."""

    def made(items: str) -> Node:
        return Node(1, set(items))

    assert digest(made("abcdef")) == digest(made("fedcba"))
    inner: list[int] = []
    assert digest([Node(1, inner), inner]) != digest([Node(1, inner), []])


# --- sharing -------------------------------------------------------------------------------------


def test_which_mutables_are_one_object_counts() -> None:
    """Appending to one would show in the other, or not."""
    one: list[int] = [1]
    assert digest([one, one]) != digest([[1], [1]])
    assert digest((one, one)) != digest(([1], [1]))
    assert digest({"a": one, "b": [one]}) != digest({"a": [1], "b": [[1]]})
    assert digest(([one, 1.5], one)) != digest(([[1], 1.5], [1]))


def test_a_cycle_is_not_a_nest() -> None:
    """A list in itself, and a list in a list in the first."""
    short: list[Any] = []
    short.append(short)
    long: list[Any] = [[]]
    long[0].append(long)
    assert digest(short) != digest(long)
    assert digest(short) == digest(copy.deepcopy(short))
    assert digest(long) == digest(copy.deepcopy(long))


def test_views_are_told_by_where_they_lie() -> None:
    """Equal elements, other memory: a write shows elsewhere."""
    base = np.zeros(6)
    seen = [
        [base, base[:2]],
        [base, base[2:4]],
        [base, np.zeros(2)],
        [base, base[:4:2]],
        [base[:2], base],
        [base.reshape(2, 3), base.reshape(3, 2).T],
        [base, base],
    ]
    assert len({digest(value) for value in seen}) == len(seen)


def test_a_lone_view_is_its_content() -> None:
    """What it is a view of does not come along."""
    base = np.arange(12).reshape(3, 4)
    for view in (base[1:], base[:, ::2], base[::-1], base.T[::2]):
        assert digest(view) == digest(view.copy())
    assert digest(base.T) == digest(np.asfortranarray(base.T))


def test_the_order_of_elements_in_memory_counts() -> None:
    """`ravel(order="K")` gives others, and it comes back from the store."""
    base = np.arange(12).reshape(3, 4)
    assert digest(base) != digest(np.asfortranarray(base))
    assert digest(base[0]) == digest(np.asfortranarray(base[0]))


def test_what_only_a_read_only_array_refuses_counts() -> None:
    """A write to it raises."""
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    assert digest(frozen) != digest(np.zeros(3))


def test_a_bytearray_and_an_array_over_it_are_one() -> None:
    """The array sees the bytes, at the place where it begins."""
    raw = bytearray(b"abcdabcd")
    one = [raw, np.frombuffer(raw, "u1", 4)]
    other = [raw, np.frombuffer(raw, "u1", 4, offset=4)]
    apart = [raw, np.frombuffer(bytearray(raw), "u1", 4)]
    assert len({digest(value) for value in (one, other, apart)}) == 3


LAYOUTS = {
    "aligned": np.dtype([("a", "i1"), ("b", "f8")], align=True),
    "odd": np.dtype({"names": "ab", "formats": ["i2", "S3"], "offsets": [5, 1], "itemsize": 11}),
    "overlapping": np.dtype({"names": "ab", "formats": ["i4", "u1"], "offsets": [4, 5]}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("step", [1, 2])
def test_padding_between_fields_is_no_content(layout: str, step: int) -> None:
    """A structure may have bytes that belong to no field; all others count."""
    kind = LAYOUTS[layout]
    one, other = np.zeros(6, kind)[::step], np.zeros(6, kind)[::step]
    other.base.view("u1")[:] = 255
    for name in "ab":
        other[name] = one[name]
    assert digest(one) == digest(other)
    for name in "ab":
        changed = one.copy()
        changed[name][-1] = 1
        assert digest(changed) != digest(other.copy())


def test_a_frame_is_its_columns_however_they_lie() -> None:
    """Blocks that pandas puts together are no change, nor is memory shared until a write."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0], "c": ["x", "y"]})
    spread = pd.DataFrame({"a": [1.0, 2.0]})
    spread["b"] = [3.0, 4.0]
    spread["c"] = ["x", "y"]
    assert digest(frame) == digest(spread) == digest(frame.copy())
    assert digest([frame, frame[:]]) == digest([frame, frame.copy()])
    assert digest([frame, frame["a"].to_numpy()]) != digest([frame.copy(), frame["a"].to_numpy()])


# --- any graph of containers ---------------------------------------------------------------------

LEAVES = st.sampled_from([None, True, 1, 1.0, "a", b"a", (), (1, "b"), frozenset("xyz")])
TREES = st.recursive(
    st.sampled_from([None, True, 1, 1.5, "a", b"a"]) | st.dates() | st.timedeltas() | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b", 1]), inner, max_size=3)
    ),
)


@given(TREES)
def test_a_part_of_a_tree_has_the_digest_that_it_has_alone(value: Any) -> None:
    """Or a step that reads a part would be stale where something beside it is no tree any more."""
    found = digests.parts(value, name="x", is_tree=digests.stream(value).is_tree)
    assert found == digests.parts(value, name="x")


GRAPHS = st.lists(
    st.tuples(
        st.sampled_from(["list", "dict", "tuple", "node", "deque"]),
        st.lists(st.one_of(LEAVES, st.integers(0, 11).map(lambda n: [n])), max_size=4),
    ),
    min_size=1,
    max_size=12,
)
"""Containers in a row: what kind each is, and its items: leaves, or others by number."""


def build(graph: list[tuple[str, list[Any]]]) -> Any:
    """The first container of a graph, with all that it reaches, cycles included."""
    made: dict[int, Any] = {}

    def item(found: Any) -> Any:
        return get(found[0] % len(graph)) if type(found) is list else copy.copy(found)

    def get(number: int) -> Any:
        if number in made:
            return made[number]
        kind, items = graph[number]
        if kind == "tuple":  # no cycle through tuples alone
            made[number] = []
            made[number] = tuple(item(found) for found in items)
            return made[number]
        made[number] = new = {"list": list, "dict": dict, "deque": collections.deque}.get(
            kind, types.SimpleNamespace
        )()
        parts = [item(found) for found in items]
        if kind in ("list", "deque"):
            new.extend(parts)
        elif kind == "dict":
            new.update(enumerate(parts))
        else:
            new.parts = parts
        return new

    return get(0)


@given(GRAPHS)
def test_any_graph_keeps_its_digest_through_pickle(graph: list[tuple[str, list[Any]]]) -> None:
    """Content and sharing are what pickle brings back."""
    value = build(graph)
    assert digest(value) == digest(build(graph))
    assert digest(value) == digest(copy.deepcopy(value))
    assert digest(value) == digest(pickle.loads(pickle.dumps(value, 5)))


PLAIN_GRAPHS = st.lists(
    st.tuples(
        st.sampled_from(["list", "dict", "tuple"]),
        st.lists(st.one_of(st.integers(0, 9), st.integers(0, 11).map(lambda n: [n])), max_size=4),
    ),
    min_size=1,
    max_size=12,
)


@given(PLAIN_GRAPHS)
def test_a_tree_is_told_by_no_list_or_dict_being_reached_twice(
    graph: list[tuple[str, list[Any]]],
) -> None:
    """Counting who holds an object says the same as remembering each; through shared tuples too."""
    value = build(graph)
    met: set[int] = set()

    def is_tree(one: Any) -> bool:
        if type(one) in (list, dict):
            if id(one) in met:
                return False
            met.add(id(one))
        items = one.values() if type(one) is dict else one
        return type(one) is int or all(map(is_tree, items))

    assert (trees.containers(value) is not None) == is_tree(value)


@given(GRAPHS, GRAPHS)
def test_equal_digests_mean_equal_content_and_sharing(
    one: list[tuple[str, list[Any]]], other: list[tuple[str, list[Any]]]
) -> None:
    """An independent comparison, pair by pair, agrees."""
    a, b = build(one), build(other)
    assert (digest(a) == digest(b)) == is_same(a, b)


def is_same(a: Any, b: Any, items_of: Callable[[Any], list[Any] | None] | None = None) -> bool:
    """Whether two values have the same shape, leaf by leaf and object by object."""
    items_of = items_of or items_in
    there: dict[int, int] = {}
    back: dict[int, int] = {}
    met = set()
    waiting = [(a, b)]
    while waiting:
        a, b = waiting.pop()
        if type(a) is not type(b):
            return False
        inside = items_of(a), items_of(b)
        if inside[0] is None or inside[1] is None:
            if a != b:
                return False
            continue
        if (id(a), id(b)) in met:
            continue
        met.add((id(a), id(b)))
        if type(a) is not tuple and not (
            there.setdefault(id(a), id(b)) == id(b) and back.setdefault(id(b), id(a)) == id(a)
        ):
            return False
        if len(inside[0]) != len(inside[1]):
            return False
        waiting += zip(*inside, strict=True)
    return True


def items_in(value: Any) -> list[Any] | None:
    """What is in a container of a graph; None for a leaf."""
    if type(value) is types.SimpleNamespace:
        return list(value.parts)
    if type(value) is dict:
        return list(value.values())
    return list(value) if type(value) in (list, tuple, collections.deque) else None


# --- several names -------------------------------------------------------------------------------


def streams(**values: object) -> dict[str, digests.Stream]:
    """The stream of each name."""
    return {name: digests.stream(value, name=name) for name, value in values.items()}


def joint(**values: object) -> str:
    """The joint digest of all names."""
    return digests.joint(streams(**values), values)


def test_names_that_share_a_mutable_are_a_component() -> None:
    """Directly, deep inside, or by way of a third name."""
    xs, arr = [1], np.zeros(4)
    seen = streams(
        a=xs, b={"k": (xs,)}, c=[1], d=arr, e=arr[1:], f=5, g=5, h=[arr[:0]], i=np.zeros(0)
    )
    assert digests.components(seen) == [
        frozenset("ab"), frozenset("c"), frozenset("de"), *map(frozenset, "fghi")
    ]  # fmt: skip


def test_names_that_reach_thousands_of_objects_are_grouped_by_what_they_share() -> None:
    """With each other, and with names that reach a few."""
    some, more, frame = ([[one] for one in range(2000)] for _ in range(3))
    array = np.arange(4.0)
    held = [*frame, array]
    seen = streams(
        some=some,
        again=some,
        more=more,
        one=more[7],
        both=[some[1], more[1]],
        frame=pd.DataFrame({"x": array}, copy=False),
        held=held,
        far=[[0]],
    )
    together = [{"some", "again", "more", "one", "both"}, {"frame", "held"}, {"far"}]
    assert digests.components(seen) == [frozenset(group) for group in together]


def test_two_names_of_one_object_share_it_however_that_is_found_out() -> None:
    """What lies below it is not compared one by one."""
    for value in ([[one] for one in range(2000)], ([1], [2]), {"a": [3]}, np.arange(9)):
        seen = streams(x=value, y=value)
        other = {n: msgspec.structs.replace(one, root=n) for n, one in seen.items()}
        assert digests.joint(seen, seen) == digests.joint(other, other)
        assert digests.shares(seen, seen) == digests.shares(other, other)


def test_a_plain_array_over_a_frame_is_of_its_component_and_another_frame_is_not() -> None:
    """Frames copy before they write; the array does not."""
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    seen = streams(frame=frame, other=frame[:], column=frame["a"])
    assert len(digests.components(seen)) == 3
    seen = streams(frame=frame, array=frame["a"].to_numpy(), far=frame["a"].copy().to_numpy())
    assert digests.components(seen) == [frozenset({"frame", "array"}), frozenset({"far"})]


def test_a_joint_digest_covers_what_is_shared() -> None:
    """Equal values, other sharing."""
    xs, arr = [[1]], np.zeros(4)
    seen = [
        joint(x=xs, y=xs),
        joint(x=xs, y=[[1]]),
        joint(x=xs, y=[xs[0]]),
        joint(x=arr, y=arr[:2]),
        joint(x=arr, y=arr[2:]),
        joint(x=arr, y=np.zeros(2)),
    ]
    assert len(set(seen)) == len(seen)
    again = [[1]]
    assert joint(x=again, y=again) == seen[0]


def test_a_joint_digest_of_one_name_is_its_own() -> None:
    """Nothing to share with."""
    seen = streams(x=[1])
    assert digests.joint(seen, ["x"]) == seen["x"].digest


@given(GRAPHS, st.data())
def test_the_joint_digest_of_any_subset_can_be_had_without_the_values(
    graph: list[tuple[str, list[Any]]], data: st.DataObject
) -> None:
    """From the single digests and the shares noted for all names."""
    root = build(graph)
    values = {f"n{number}": part for number, part in enumerate([root, *(items_in(root) or [])])}
    seen = streams(**values, last=[root, [root]])
    shares = digests.shares(seen, seen)
    names = {name: stream.digest for name, stream in seen.items()}
    subset = data.draw(st.sets(st.sampled_from(sorted(names)), min_size=1))
    assert digests.joint_of(names, shares, subset) == digests.joint(seen, subset)
    copied = streams(**copy.deepcopy({**values, "last": [root, [root]]}))
    assert digests.joint(copied, subset) == digests.joint(seen, subset)


def test_only_entry_points_are_noted_as_shared() -> None:
    """What lies below a shared object is shared with it."""
    rows = [[number] for number in range(100_000)]
    shares = digests.shares(streams(rows=rows, held={"k": rows}), ["rows", "held"])
    assert shares is not None
    assert [len(pairs) for pairs in shares.values()] == [1, 1]


def test_too_much_sharing_is_not_noted() -> None:
    """The values are needed then."""
    rows = [[number] for number in range(5000)]
    seen = streams(one=list(rows), other=list(rows))
    assert digests.shares(seen, seen) is None
    assert digests.joint_of({"one": "a", "other": "b"}, None, ["one", "other"]) is None


# --- code ----------------------------------------------------------------------------------------


def function_digest(source: str) -> str:
    """The digest of the function `f` that a cell defines."""
    return digest(notebook(source)["f"])


def test_comments_docstrings_and_lines_are_no_part_of_a_function() -> None:
    """Wherever they stand, nested definitions included."""
    plain = (
        "def f(x):\n    def g():\n        return 'a'\n    class C:\n        k = 1\n    return g, C"
    )
    told = (
        "\n\n# why\ndef f(x):\n    'Say.'\n\n    def g():\n        'a'\n        return 'a'  # so\n"
        "    class C:\n        'Doc.'\n        k = 1\n    return (\n        g,\n        C)"
    )
    assert function_digest(plain) == function_digest(told)


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return x + 1",
        "def f(x): return x + 2",
        "def f(x): return x + 1.0",
        "def f(x): return x + True",
        "def f(x): return x - 1",
        "def f(y): return y + 1",
        "def f(x=1): return x + 1",
        "def f(*, x=1): return x + 1",
        "def f(x): return k + 1",
        "def f(x): return x in {1, 2}",
        "def f(x: int): return x + 1",
        "def f(x): yield x + 1",
        "async def f(x): return x + 1",
        "f = lambda x: x + 1",
        "f = (lambda k: lambda x: x + k)(1)",
        "f = (lambda k: lambda x: x + k)(2)",
        "def f(x): return x + 1\nf.unit = 'm'",
    ],
)
def test_what_a_function_does_counts(source: str) -> None:
    """One function more for each way to differ."""
    others = {
        function_digest(case)
        for mark in test_what_a_function_does_counts.pytestmark  # type: ignore[attr-defined]
        for case in mark.args[1]
        if case != source
    }
    assert function_digest(source) not in others


def test_code_that_is_moved_into_a_try_differs() -> None:
    """The instructions may be the same, what catches is not."""
    one = "def f():\n    try:\n        a()\n    except E:\n        c()\n    b()"
    other = "def f():\n    try:\n        a()\n        b()\n    except E:\n        c()"
    assert function_digest(one) != function_digest(other)


def reads(source: str, name: str = "f") -> set[str]:
    """What the code in a name's value reads, as text."""
    return {str(path) for path in digests.stream(notebook(source)[name]).reads}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x + 1", {"x"}),
        ("cfg.lr * 2", {"cfg.lr"}),
        ("cfg.lr", {"cfg"}),
        ("d['a']['b'] > 1", {'d["a"]["b"]'}),
        ("df['price'].mean()", {'df["price"]'}),
        ("np.mean(x)", {"np.mean", "x"}),
        ("len(d['a'])", {"len", "d"}),
        ("[d['a']]", {"d"}),
        ("d[k]", {"d", "k"}),
        ("helpers.f(1)", {"helpers.f"}),
        ("(lambda: y)", {"y"}),
        ("[z for i in w]", {"z", "w"}),
    ],
)
def test_a_function_reads_paths_as_deep_as_they_are_only_looked_at(
    body: str, expected: set[str]
) -> None:
    """What is kept, returned or passed on counts as a whole."""
    assert reads(f"def f(): return {body}") == expected


def test_globals_that_code_assigns_are_told() -> None:
    """Also those it deletes."""
    found = notebook("def f():\n    global a, b\n    a = 1\n    del b")["f"]
    assert digests.stream(found).writes == {"a", "b"}


def test_the_code_of_an_instance_s_class_is_read_through_it() -> None:
    """In lists, too."""
    source = "class C:\n    def m(self): return k\nf = [C()]"
    assert reads(source) == {"k"}


def test_a_definition_is_named_and_not_held() -> None:
    """Its content counts, its objects are not the value's."""
    cell = notebook("class C:\n    seen = []\n    def m(self): return k\nxs = [C()]\nys = [C()]")
    definitions = {id(cell["C"]): "C"}
    seen = {n: digests.stream(cell[n], definitions=definitions) for n in ("xs", "ys", "C")}
    assert seen["xs"].needs == {"C"}
    assert seen["C"].needs == frozenset()
    assert len(digests.components(seen)) == 3
    cell["C"].seen.append(1)
    assert digest(cell["xs"], definitions=definitions) != seen["xs"].digest


def test_definitions_may_know_each_other() -> None:
    """Classes in each other's attributes, functions in their own closure."""
    source = "class A: pass\nclass B:\n    a = A\nA.b = B\nA.me = A()\nvalue = [A(), B()]"
    one, other = notebook(source), notebook(source)
    for cell in (one, other):
        cell["all"] = {id(cell["A"]): "A", id(cell["B"]): "B"}
    assert digest(one["value"], definitions=one["all"]) == digest(
        other["value"], definitions=other["all"]
    )
    assert digest(one["value"]) == digest(other["value"])


def test_closures_over_one_variable_share_it() -> None:
    """What one assigns, the other sees."""
    pair = "def make():\n    n = 0\n    return (lambda: n), (lambda: n)\n"
    assert digest(notebook(pair + "f = make()")["f"]) != digest(
        notebook(pair + "f = (make()[0], make()[1])")["f"]
    )


def test_looking_at_a_class_does_not_change_it() -> None:
    """`copyreg` leaves a note in a class when an instance is first taken apart."""
    cell = notebook("class C:\n    __slots__ = ('a',)\nc = C()\nc.a = 1")
    before = digest(cell["C"])
    digest(cell["c"])
    assert "__slotnames__" in vars(cell["C"])
    assert digest(cell["C"]) == before


def test_registering_with_an_abstract_class_changes_it() -> None:
    """`register` leaves no trace in the class's attributes."""

    class Base(abc.ABC):
        @abc.abstractmethod
        def play(self) -> None: ...

    before = digests.stream(Base).digest
    Base.register(int)
    assert digests.stream(Base).digest != before


def test_a_type_variable_is_its_name_and_bounds_wherever_it_was_made() -> None:
    """What loads one makes it in a module of its own."""
    here, there = typing.TypeVar("T", bound=int), typing.TypeVar("T", bound=int)
    there.__module__ = "elsewhere"
    assert digests.stream(here).digest == digests.stream(there).digest
    assert digests.stream(here).digest != digests.stream(typing.TypeVar("T")).digest


def test_an_object_of_c_without_attributes_is_a_flaw_and_no_error() -> None:
    """Whatever its size, it is not taken for an instance of an ordinary class."""
    with select.epoll() as poll:
        assert digests.stream(poll, name="poll").flaw == "epoll at poll"


def test_code_facts_are_of_nested_code_too() -> None:
    """Reads and writes of what a function defines are its own."""
    code = compile(
        "def f():\n    def g():\n        global w\n        w = r", "x", "exec"
    ).co_consts[0]
    facts = codefacts.facts(code)
    assert facts.reads == {AccessPath("r")}
    assert facts.writes == {"w"}


def test_a_project_s_module_is_told_by_content(tmp_path: Path) -> None:
    """What is installed is a name; what the user writes beside the notebook is not."""
    name = "a_module_of_the_project"
    found = []
    sys.path.insert(0, str(tmp_path))
    try:
        for body in ("return g + 1", "return g + 2"):
            (tmp_path / f"{name}.py").write_text(f"def f():\n    {body}\n")
            sys.modules.pop(name, None)
            sys.dont_write_bytecode, was = True, sys.dont_write_bytecode
            try:
                module = __import__(name)
            finally:
                sys.dont_write_bytecode = was
            found.append(digests.stream([module.f]))
            (tmp_path / f"{name}.py").unlink()
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop(name, None)
    assert found[0].digest != found[1].digest
    assert found[0].reads == {AccessPath(f"{name}.g")}
    assert digests.stream([functools.reduce, copy.deepcopy]).reads == frozenset()


# --- flaws ---------------------------------------------------------------------------------------


def generator() -> Iterator[int]:
    """What cannot be kept."""
    yield 1


@pytest.mark.parametrize(
    ("make", "flaw"),
    [
        (generator, "generator at xs"),
        (lambda: [1, {"k": (generator(),)}], "generator at xs[1]['k'][0]"),
        (lambda: types.SimpleNamespace(gen=generator()), "generator at xs.gen"),
        (lambda: [threading.Lock()], "lock at xs[0]"),
    ],
)
def test_what_cannot_be_kept_is_named_with_its_place(make: Callable[[], object], flaw: str) -> None:
    """The type, and the path from the name."""
    assert digests.stream(make(), name="xs").flaw == flaw


def test_a_pickling_hook_that_raises_is_a_flaw() -> None:
    """Whatever it raises."""
    source = "class C:\n    def __reduce_ex__(self, protocol): raise KeyError('no')\nc = [C()]"
    assert digests.stream(notebook(source)["c"], name="c").flaw == "C at c[0]"


# --- parts ---------------------------------------------------------------------------------------


def path(name: str, *parts: tuple[str, Any]) -> AccessPath:
    """A path of items and attributes."""
    return AccessPath(name, parts)


class Loud:
    """A class that runs code when it is looked at."""

    plain = 1

    @property
    def loud(self) -> int:
        """Raise, whoever asks."""
        raise AssertionError("ran")


class Louder(Loud):
    """Every attribute of it is loud."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # pytest itself looks for these
            raise AttributeError(name)
        raise AssertionError("ran")


LOUD = Loud()
LOUD.__dict__.update(own=[2], loud=3)
FRAME = pd.DataFrame({"price": [1, 2], "count": [3, 4], 5: [6, 7]})


@pytest.mark.parametrize(
    ("value", "parts", "expected"),
    [
        ({"a": {"b": 1}}, [("item", "a"), ("item", "b")], 1),
        ({"a": 1}, [("item", "b")], digests.MISSING),
        ({"a": 1}, [("attr", "keys")], digests.OPAQUE),
        ([1, 2], [("item", -1)], 2),
        ((1, 2), [("item", 2)], digests.MISSING),
        (collections.defaultdict(int), [("item", "a")], digests.OPAQUE),
        (types.SimpleNamespace(a=1), [("attr", "a")], 1),
        (types.SimpleNamespace(a=1), [("attr", "b")], digests.MISSING),
        (LOUD, [("attr", "own"), ("item", 0)], 2),
        (LOUD, [("attr", "plain")], 1),
        (LOUD, [("attr", "loud")], digests.OPAQUE),
        (Louder(), [("attr", "plain")], digests.OPAQUE),
        (Node(1, 2), [("attr", "number")], 1),
        (collections, [("attr", "deque")], collections.deque),
        (FRAME, [("item", "tax")], digests.MISSING),
        (FRAME, [("item", ("price",))], digests.OPAQUE),
        (FRAME, [("attr", "count")], digests.OPAQUE),
        (FRAME, [("attr", "shape")], digests.OPAQUE),
        (pd.concat([FRAME, FRAME], axis=1), [("item", "price")], digests.OPAQUE),
        (np.zeros(2), [("item", 0)], digests.OPAQUE),
        (np.zeros(2, [("a", "i4")]), [("item", "b")], digests.MISSING),
    ],
)
def test_a_part_is_had_without_running_code(
    value: object, parts: list[tuple[str, Any]], expected: object
) -> None:
    """Where that cannot be, the whole object counts."""
    assert digests.at(value, path("x", *parts)) == expected


def test_a_column_is_a_part_of_a_frame() -> None:
    """By item, and by attribute where no method has the name."""
    assert digest(digests.at(FRAME, path("x", ("item", "count")))) == digest(FRAME["count"])
    assert digest(digests.at(FRAME, path("x", ("attr", "price")))) == digest(FRAME["price"])


def test_the_digests_of_parts_are_those_of_the_parts() -> None:
    """Keyed as a path is written."""
    value = {"a": [1], "n": {"b": 2}, "o": types.SimpleNamespace(c=3), "g": generator()}
    assert digests.parts(value, name="x") == {
        'x["a"]': digest([1]),
        'x["a"][0]': digest(1),
        'x["a"][-1]': digest(1),
        'x["n"]': digest({"b": 2}),
        'x["n"]["b"]': digest(2),
        'x["o"]': digest(types.SimpleNamespace(c=3)),
        'x["o"].c': digest(3),
    }
    assert digests.parts(FRAME, name="df") == {
        'df["price"]': digest(FRAME["price"]),
        'df["count"]': digest(FRAME["count"]),
        "df[5]": digest(FRAME[5]),
    }
    pair = collections.namedtuple("pair", "one two")
    assert digests.parts(pair(1, 2), name="p") == {"p.one": digest(1), "p.two": digest(2)}
    assert len(digests.parts(dict.fromkeys(range(1000)), name="x", limit=10)) == 10
    assert len(digests.parts([0] * 1000, name="x")) == 17


def test_what_a_library_built_has_its_plain_attributes_as_parts() -> None:
    """Its lists and objects often hang together; whoever reads one of them reads the whole."""
    parser = argparse.ArgumentParser("one", description="two")
    found = digests.parts(parser, name="x")
    assert (found["x.prog"], found["x.description"]) == (digest("one"), digest("two"))
    assert not {"x._actions", "x._registries"} & found.keys()


# --- other processes -----------------------------------------------------------------------------

SCRIPT = """
import collections, dataclasses, datetime, enum, re, pathlib, typing
import numpy as np, pandas as pd
from pipestate.store import digests
class Color(enum.Enum):
    RED = 1
    BLUE = {"x", "y"}
@dataclasses.dataclass
class Point:
    x: int
    tags: set = dataclasses.field(default_factory=set)
    def near(self, other): return other in {"a", "b", "c"} or frozenset("pqr")
def outer(k={"one", "two"}):
    def inner(x): return x in {"u", "v", "w"} and k
    return inner
values = [
    {"a", "b", ("c", frozenset("de"))}, [{"x": {1, "y", None}}], Color.RED, [Color], Point,
    Point(1, {"p", "q"}), outer, outer(), lambda x: x in ("a", "b"), re.compile("a"),
    pathlib.PurePosixPath("a/b"), datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
    collections.Counter("hello"), pd.DataFrame({"s": list("ab"), "c": pd.Categorical(list("ab"))}),
    np.array([{"a", "b"}, None], dtype=object), typing.Optional[int], len, np.add, collections.abc,
    {Point(n, {str(n)}).near for n in range(3)},
]
for value in values:
    print(digests.stream(value).digest, digests.stream(value).flaw)
"""


def told_by_processes(script: Path, source: str, *args: str) -> set[str]:
    """What a script prints in processes with different hash seeds."""
    script.write_text(source)
    return {
        subprocess.run(
            [sys.executable, str(script), *args],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }


def test_every_process_and_hash_seed_gives_the_same_digests(tmp_path: Path) -> None:
    """Nothing of an address, a set's order or a seed is in a digest."""
    assert len(told_by_processes(tmp_path / "script.py", SCRIPT)) == 1


@pytest.mark.parametrize("depth", [10, 63, 64, 65, 100, 700])
def test_what_is_noted_as_nested_too_deeply_is_no_tree(depth):
    """Neither when it is looked at by itself; and a long chain is noted in one look."""
    chain: list[Any] = [[1]]
    for number in range(depth):
        below = chain[-1]
        chain.append([[below, number], {"next": below, number: "x"}, (below,)][number % 3])
    noted: set[int] = set()
    trees.containers(chain[-1], deep=noted)
    deep = [one for one in chain if id(one) in noted]
    assert [one for one in deep if trees.containers(one) is not None] == []
    assert bool(deep) == (depth >= trees.MAX_DEPTH - 1)


# --- what a class keeps to itself ----------------------------------------------------------------

FORGETFUL = """
class Forgetful:
    def __init__(self, x=0): self.x = x
    def __reduce__(self): return (Forgetful, ())
class Tidy:
    def __init__(self, x): self.x, self.lock = x, threading.Lock()
    def __getstate__(self): return {"x": self.x}
    def __setstate__(self, state): self.__init__(**state)
"""


def test_what_a_class_leaves_out_when_it_is_pickled_counts_all_the_same() -> None:
    """By content; a lock or the like by its type."""
    space = notebook(FORGETFUL, threading=threading)
    forgetful, tidy = space["Forgetful"], space["Tidy"]
    assert digest(forgetful(5)) == digest(forgetful(5)) != digest(forgetful(6))
    assert digest(tidy(1)) == digest(tidy(1)) != digest(tidy(2))


def test_instances_that_tell_of_each_other_in_lists_made_anew_are_looked_at_once() -> None:
    """However deep they lie: a look costs in proportion."""
    source = """
class Node:
    def __init__(self, kids): self.kids = kids
    def __getstate__(self): return {"kids": list(self.kids)}
node = Node([])
for _ in range(40): node = Node([node, node])
"""
    assert digest(notebook(source)["node"])
