"""Big arrays that do not lie in one row are looked at piece by piece, and kept once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import pipestate as pip
from pipestate.store import digests
from pipestate.store.content import PIECE
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify

COUNT = 5 * PIECE // 8 + 3
ALIGNED = np.dtype([("flag", "u1"), ("number", "f8")], align=True)


def numbers(*shape: int) -> np.ndarray:
    """Numbers that all differ."""
    return np.arange(np.prod(shape), dtype="f8").reshape(shape)


def structures() -> np.ndarray:
    """Structures with bytes between their fields."""
    found = np.zeros(COUNT // 2, ALIGNED)
    found["number"] = np.arange(len(found))
    return found


LAYOUTS = {
    "every other one": lambda: numbers(2 * COUNT)[::2],
    "from the end": lambda: numbers(COUNT)[::-1],
    "a part of each row": lambda: numbers(3000, 2000)[:, 7:1500],
    "axes moved": lambda: np.moveaxis(numbers(1500, 701, 3), 2, 0),
    "few long rows": lambda: numbers(COUNT, 2).T[::-1],
}


def digest(value: object) -> str:
    """The digest of a value."""
    return digests.stream(value).digest


def stored(folder: Path) -> int:
    """Bytes of all files of a store."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_has_the_digest_of_its_elements_however_they_lie(layout):
    """In their order."""
    array = LAYOUTS[layout]()
    assert array.nbytes > PIECE
    assert not array.flags.c_contiguous
    assert digest(array) == digest(array.copy(order="C"))


@pytest.mark.parametrize("make", [*LAYOUTS.values(), lambda: np.asfortranarray(numbers(3000, 901))])
def test_every_element_of_it_counts(make):
    """Also the first and the last of a piece."""
    array = make().copy(order="K")
    before, width = digest(array), PIECE // 8
    for place in (0, 1, width - 1, width, 2 * width, array.size // 2, array.size - 1):
        array.flat[place] += 0.5
        assert digest(array) != before
        array.flat[place] -= 0.5
    assert digest(array) == before


@pytest.mark.parametrize("make", [lambda: np.asfortranarray(numbers(3000, 2001)), structures])
def test_it_is_kept_once_and_never_copied_as_a_whole(make, tmp_path):
    """Neither in memory nor on the disk."""
    pip.set("job", "first", 1, store=tmp_path)
    array = make()
    tracemalloc.start()
    try:
        pip.set("job", "array", array, store=tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * PIECE < array.nbytes
    assert stored(tmp_path) < 1.1 * array.nbytes
    again = pip.get("job", "array", store=tmp_path)
    assert (again == array).all()
    assert again.flags.f_contiguous == array.flags.f_contiguous
    assert verify(open_store(tmp_path)) == []


def test_a_step_that_changes_nothing_in_it_proves_it_without_a_copy(nb):
    """And one that changes an element of it is seen to."""
    nb.load("job")
    nb.run("%%step a\nimport numpy as np\nbig = np.asfortranarray(np.ones((3000, 901)))")
    nb.run("%%step b\nlen(big)")
    nb.run("%%step c\nbig[-1, -1] = 2.0")
    nb.kill()
    nb.load("job")
    assert nb.run("%%step b\nlen(big)").states == [("b", "restored")]
    said = nb.run("float(big[0, 0]), float(big[-1, -1]), big.flags.f_contiguous")
    assert said.value == "(1.0, 2.0, True)"


@pytest.mark.parametrize("size", [10, 2**20 - 1, 2**20, 5 * PIECE])
def test_bytes_and_texts_come_back_as_they_were(size, tmp_path):
    """Big ones lie beside the pickle."""
    data = np.random.default_rng(0).bytes(size)
    for one in (data, "é\udcff" + data.decode("latin-1")):
        pip.set("job", "data", one, store=tmp_path)
        again = pip.get("job", "data", store=tmp_path)
        assert again == one
        assert type(again) is type(one)
    assert stored(tmp_path) < 2.7 * size + 300_000


def test_big_bytes_are_never_copied_to_be_kept(tmp_path):
    """Neither for their digest nor by the pickle."""
    pip.set("job", "first", 1, store=tmp_path)
    data = bytes(5 * PIECE)
    tracemalloc.start()
    try:
        pip.set("job", "data", data, store=tmp_path)
        assert tracemalloc.get_traced_memory()[1] < PIECE
    finally:
        tracemalloc.stop()
