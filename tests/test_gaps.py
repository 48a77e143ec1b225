"""Structures that do not fill their memory: what lies between their fields is none of the value."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bundles import left

import pipestate as pip
from pipestate.record import Pipe
from pipestate.store import codecs, digests
from pipestate.store.folder import open_store
from pipestate.store.phases import Phase
from pipestate.store.upkeep import sweep, verify

KIND = np.dtype([("flag", "u1"), ("number", "f8")], align=True)
"""Seven bytes of each sixteen are no field."""


def made(count: int, *, gaps: int, start: int = 0) -> np.ndarray:
    """Structures with fields of their own, and `gaps` in each byte between them."""
    found = np.frombuffer(bytearray([gaps]) * (count * KIND.itemsize), KIND)
    found["flag"], found["number"] = 1, np.arange(start, start + count)
    return found


def bytes_of(array: np.ndarray) -> np.ndarray:
    """An array's memory, a row for each structure."""
    return array.view("u1").reshape(len(array), -1)


@pytest.fixture
def store(tmp_path):
    """A store that does not exist yet."""
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [10, 1000, 100_000, 2_000_000], ids=lambda n: f"{n:,}")
def test_what_lay_between_fields_is_not_kept(count, tmp_path):
    """Neither in a row, nor in a file, nor where a thread writes it."""
    value = made(count, gaps=7)
    pip.set("job", "s", value, store=tmp_path)
    again = pip.get("job", "s", store=tmp_path)
    assert again.dtype == KIND
    assert (again == value).all()
    assert (bytes_of(value)[:, 1:8] == 7).all()  # nothing was done to the value itself
    if count > 1000:  # smaller ones are in the pickle, which takes them as they are
        assert not bytes_of(again)[:, 1:8].any()


def test_equal_structures_are_kept_once(tmp_path):
    """Whatever was in the memory that they were made in."""
    values = {f"s{gaps}": made(1000, gaps=gaps) for gaps in range(5)}
    pip.write("job", values, store=tmp_path)
    store = open_store(tmp_path)
    heads = store.index.tail("job")[0].heads.values() or [
        run.record for run in store.index.runs("job")
    ]
    records = [store.index.record(one) for one in heads]
    assert len(records) == 5
    assert len({blob.digest for one in records for blob in one.outputs[0].buffers}) == 1


def test_memory_that_something_else_sees_is_kept_whole(tmp_path):
    """Bytes between fields are somebody's content then."""
    value = made(1000, gaps=7)
    seen = value.view("u1")
    pip.set("job", "s", {"structures": value, "bytes": seen}, store=tmp_path)
    again = pip.get("job", "s", store=tmp_path)
    assert (again["bytes"] == seen).all()
    again["bytes"][0] = 9
    assert again["structures"]["flag"][0] == 9


def test_bytes_that_were_structures_before_are_kept_whole(tmp_path):
    """The same memory, in one commit, as one and then as the other."""
    value = made(1000, gaps=7)
    pip.write("job", {"structures": value, "bytes": value.view("u1")}, store=tmp_path)
    found = pip.read("job", store=tmp_path)
    assert (found["bytes"] == value.view("u1")).all()
    assert (found["structures"] == value).all()


def test_two_structures_of_one_memory_have_the_gaps_of_each(tmp_path):
    """The fields of the one lie in the gaps of the other."""
    full = np.zeros(1000, [("a", "f8"), ("b", "f8")])
    full["a"], full["b"] = 1, 2
    one, other = full[["a"]], full[["b"]]
    pip.write("job", {"one": one, "other": other, "both": [one, other]}, store=tmp_path)
    found = pip.read("job", store=tmp_path)
    assert (found["one"]["a"] == 1).all()
    assert (found["other"]["b"] == 2).all()
    assert (found["both"][0]["a"] == 1).all()
    assert (found["both"][1]["b"] == 2).all()


def test_what_a_second_structure_of_one_memory_sees_is_content():
    """Though both have as many bytes."""

    def seen(b: float) -> str:
        full = np.zeros(10, [("a", "f8"), ("b", "f8")])
        full["b"] = b
        return digests.stream([full[["a"]], full[["b"]]]).digest

    assert seen(1) == seen(1)
    assert seen(1) != seen(2)


@pytest.mark.parametrize("is_nested", [False, True], ids=["flat", "nested"])
def test_fields_that_are_renamed_in_place_count(is_nested):
    """Their array is the same object, and so is its dtype."""
    flat = np.dtype([("a", "u1"), ("b", "f8")], align=True)
    value = np.zeros(1000, np.dtype([("inner", flat), ("n", "i8")]) if is_nested else flat)
    before = digests.stream(value).digest
    renamed = value.dtype["inner"] if is_nested else value.dtype
    renamed.names = ("b", "a")
    assert digests.stream(value).digest != before


def test_views_of_one_memory_are_not_kept_each_for_itself(store):
    """What is kept is the memory that they see."""
    value = made(20_000, gaps=7)
    batch = store.batch()
    phase = Phase(batch.put, writes=True)
    names = {"x": value, "y": value[1:], "z": value[2:]}
    for name, one in names.items():
        digests.stream(one, name=name, buffer_digest=phase.digest)
    pack = codecs.pack(names)
    kept = {*phase.put_all(pack.buffers, pack.gaps)}
    assert sum(blob.nbytes for blob in kept) == value.nbytes
    assert len([*(store.path / "blobs").glob("?/*")]) <= 2


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from(["u1", "<i2", "<f8", "S3", "<U2"]), min_size=1, max_size=5),
    is_aligned=st.booleans(),
    count=st.integers(0, 2000),
    gaps=st.integers(0, 255),
    step=st.sampled_from([1, 2, -1]),
)
def test_any_structure_comes_back_equal(tmp_path_factory, names, is_aligned, count, gaps, step):
    """Packed or aligned, whole or a part of another."""
    kind = np.dtype([(f"f{at}", name) for at, name in enumerate(names)], align=is_aligned)
    memory = bytearray([gaps]) * (count * kind.itemsize)
    value = np.frombuffer(memory, kind) if memory else np.zeros(0, kind)
    for name in kind.names or ():
        value[name] = np.arange(count).astype(kind[name])
    value = value[::step]
    store = tmp_path_factory.mktemp("store")
    pip.set("job", "s", value, store=store)
    again = pip.get("job", "s", store=store)
    assert (again.dtype, again.dtype.isalignedstruct) == (kind, is_aligned)
    assert (again == value).all()
    assert digests.stream(again).digest == digests.stream(value).digest


def kept(store, batch, value: np.ndarray):
    """The blobs of a value, put into a batch as a run puts them."""
    phase = Phase(batch.put, writes=True)
    digests.stream(value, buffer_digest=phase.digest)
    pack = codecs.pack({"x": value})
    return phase.put_all(pack.buffers, pack.gaps)


def test_what_is_swept_before_it_is_committed_is_made_again(store):
    """Its copy is gone by then."""
    store.index.prepare()
    store.index.rows.make()
    value, pipe = [made(20_000, gaps=7, start=at) for at in range(12)], Pipe("j")
    batch = store.batch()
    blobs = tuple(blob for one in value for blob in kept(store, batch, one))
    assert len(blobs) == 12
    _, run = left(batch, pipe, blobs)
    batch.settle()
    assert sweep(store).nbytes >= sum(one.nbytes for one in value)
    batch.commit(run)
    for view, one in zip(store.map_all(blobs), value, strict=True):
        assert (np.frombuffer(view, KIND) == one).all()
    assert verify(store) == []


def test_copies_are_let_go_as_they_are_written(store):
    """A hundred megabytes of structures add no more than a few."""
    values = [made(20_000, gaps=7, start=at) for at in range(300)]
    batch = store.batch()
    kept(store, batch, values[0])
    gc.collect()
    tracemalloc.start()
    try:
        for one in values:
            kept(store, batch, one)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    batch.discard()
    assert peak < 20 * values[0].nbytes


@pytest.mark.skipif(np.finfo("g").nmant != 63, reason="long floats fill their bytes here")
def test_what_lies_behind_a_long_float_is_not_kept(tmp_path):
    """Ten of its sixteen bytes are the number: alone, in an array, in a complex number and in a
    structure."""
    size = np.dtype("g").itemsize

    def noisy(gaps: int, kind: object) -> np.ndarray:
        found = np.zeros(600, kind)
        found[:] = np.ones(600, kind)
        for row in found.view("u1").reshape(-1, np.dtype(kind).itemsize):
            for at in range(0, row.size - row.size % size, size):
                row[at + 10 : at + size] = gaps
        return found

    for kind in ("g", "G", [("a", "g"), ("b", "i8")]):
        one, other = noisy(1, kind), noisy(2, kind)
        assert one.tobytes() != other.tobytes()
        assert digests.stream(one).digest == digests.stream(other).digest
        assert digests.stream(one[0]).digest == digests.stream(other[0]).digest
        assert digests.stream(list(one)).digest == digests.stream(list(other)).digest
        pip.set("job", "s", one, store=tmp_path)
        again = pip.get("job", "s", store=tmp_path)
        assert (again == one).all()
        assert again.tobytes() != one.tobytes()


def test_a_long_float_in_another_byte_order_keeps_all_of_its_bits(tmp_path):
    """What is behind it there is before it."""
    third = np.longdouble(1) / 3
    fields = np.zeros(600, [("a", ">g"), ("b", "u1")])
    fields["a"] = third
    other = fields.copy()
    other["a"][5] += np.finfo("g").eps
    for one, changed in [(fields, other), (fields[5], other[5])]:
        assert digests.stream(one).digest != digests.stream(changed).digest
    pip.set("job", "s", fields, store=tmp_path)
    assert (pip.get("job", "s", store=tmp_path)["a"] == third).all()
