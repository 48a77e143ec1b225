"""Buffers are hashed and kept in turns, by two threads: what comes of it is what one would do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pipestate as pip
from pipestate.errors import StoreError
from pipestate.record import Blob
from pipestate.store import codecs, content, digests
from pipestate.store.folder import open_store
from pipestate.store.phases import FILLED, QUEUED, SHARED, GivenUp, Phase
from pipestate.store.upkeep import size, verify

PADDED = np.dtype([("flag", "u1"), ("number", "f8")], align=True)
"""Seven bytes of each sixteen are no field."""


def plain(nbytes: int, number: int) -> np.ndarray:
    """An array of so many bytes."""
    return np.arange(number, number + nbytes // 8, dtype="f8")


def padded(nbytes: int, number: int) -> np.ndarray:
    """An array of structures with gaps, in which there is something."""
    found = np.frombuffer(bytearray([number % 256]) * (nbytes // 16 * 16), PADDED)
    found["flag"], found["number"] = 1, np.arange(len(found)) + number
    return found


EDGES = sorted(
    edge + more
    for edge in (QUEUED.start, FILLED, content.BIG, content.PIECE, QUEUED.stop)
    for more in (-16, 0, 16)
)


@pytest.fixture
def store(tmp_path):
    """A store that does not exist yet."""
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def many(make: Callable[[int, int], np.ndarray] = plain) -> dict[str, np.ndarray]:
    """So many arrays of one size that two threads share them."""
    size = FILLED + 64
    return {f"a{at}": make(size, at) for at in range(2 * SHARED // size)}


@pytest.mark.parametrize("make", [plain, padded])
def test_the_digest_is_the_one_that_a_look_gives(store, make):
    """For each size, alone and among others."""
    value = {size: make(size, size) for size in EDGES} | {"more": many(make)}
    for one in (value, *value.values()):
        kept = Phase(store.batch().put, writes=True)
        looked = digests.stream(one).digest
        assert digests.stream(one, buffer_digest=kept.digest).digest == looked
        seen = Phase(store.batch().put)
        assert digests.stream(one, buffer_digest=seen.digest).digest == looked


@pytest.mark.parametrize("make", [plain, padded])
def test_every_size_comes_back_as_it_was(tmp_path, make):
    """And what shares its bytes with another still does."""
    value: dict[str, Any] = {str(size): make(size, size) for size in EDGES} | many(make)
    value["again"], value["equal"] = value["a0"], value["a1"].copy()
    pip.set("j", "value", value, store=tmp_path)
    again = pip.get("j", "value", store=tmp_path)
    assert list(again) == list(value)
    assert all((again[name] == value[name]).all() for name in value)
    assert again["again"] is again["a0"]
    assert verify(open_store(tmp_path)) == []


def test_nothing_is_still_being_written_when_a_value_is_kept(tmp_path):
    """It may be changed at once."""
    value = many()
    for at in range(5):
        for one in value.values():
            one += 1
        expected = [float(one[-1]) for one in value.values()]
        pip.set("j", f"s{at}", value, store=tmp_path)
        for one in value.values():
            one[:] = -1
        found = pip.get("j", f"s{at}", store=tmp_path)
        assert [float(one[-1]) for one in found.values()] == expected
    assert verify(open_store(tmp_path)) == []


def test_what_fails_is_told_and_leaves_nothing(tmp_path, store):
    """Whichever thread met it."""
    value, came = many(padded), threading.Event()

    def put(data: Any, **_: Any) -> Blob:
        if threading.current_thread() is threading.main_thread():
            assert came.wait(30)
            return store.batch().put(data)
        came.set()
        raise StoreError("the disk is full")

    with pytest.raises(StoreError, match="the disk is full"):
        digests.stream(value, buffer_digest=Phase(put, writes=True).digest)


def test_equal_buffers_are_kept_once_whichever_thread_writes_them(tmp_path):
    """Also where both have one at the same moment."""
    twins = [copy for one in many().values() for copy in (one, one.copy())]
    pip.set("j", "s", twins, store=tmp_path)
    distinct = sum(one.nbytes for one in twins) // 2
    assert size(open_store(tmp_path)) < distinct + 2 * twins[0].nbytes + 200_000


@pytest.mark.parametrize("kib", [4, 32, 128, 512, 2048, 20480])
def test_what_a_thread_changes_meanwhile_is_what_its_name_says(tmp_path, kib):
    """Whoever keeps later what it was before gets that."""
    before = [np.zeros(kib * 128) + at for at in range(max(2, min(100, 40_000 // kib)))]
    for turn in range(4):
        value, started = [one.copy() for one in before], threading.Event()

        def change(value: list[np.ndarray] = value, started: threading.Event = started) -> None:
            started.set()
            for _ in range(3):
                for one in reversed(value):
                    one += 1000

        thread = threading.Thread(target=change)
        thread.start()
        started.wait()
        pip.set("j", f"changed{turn}", value, store=tmp_path)
        thread.join()
        pip.set("j", "honest", [one.copy() for one in before], store=tmp_path)
        again = pip.get("j", "honest", store=tmp_path)
        assert all((one == other).all() for one, other in zip(again, before, strict=True))
    assert verify(open_store(tmp_path)) == []


def test_threads_of_the_kernel_leave_values_alone(nb):
    """Those of the user's may not."""
    nb.run("import threading, time; from pipestate.store.alone import is_alone")
    assert nb.run("is_alone(threading.current_thread())").text == "True"
    nb.run("threading.Thread(target=time.sleep, args=(30,), daemon=True).start()")
    assert nb.run("is_alone(threading.current_thread())").text == "False"


class Stopped(BaseException):
    """Somebody has pressed the key."""


def test_what_was_given_up_gets_no_name(store):
    """An interrupt while one is being kept ends the others, and none of them has a digest."""
    named: list[bytes] = []

    def put(data: Any, *, ready: Callable[[], None] | None = None, **_: Any) -> Blob:
        if threading.current_thread() is threading.main_thread():
            assert came.wait(30)
            raise Stopped
        came.set()
        stopped.wait()
        try:
            assert ready is not None
            ready()
            named.append(bytes(data[:8]))
            return store.batch().put(data)
        finally:
            ended.set()

    came, stopped, ended = threading.Event(), threading.Event(), threading.Event()
    phase = Phase(put, writes=True)
    turns = [phase.digest(memoryview(one.view("u1"))) for one in _big()]
    with pytest.raises(Stopped):
        turns[0].digest()
    stopped.set()
    assert ended.wait(30)
    for turn in turns:
        with pytest.raises(GivenUp):
            turn.digest()
    assert named == []


def _big() -> list[np.ndarray]:
    return [plain(content.BIG, at) for at in range(2 * SHARED // content.BIG)]


def test_a_phase_goes_on_after_an_interrupt(store):
    """What is met from then on is kept as ever."""
    is_stopped = False

    def put(data: Any, **options: Any) -> Blob:
        nonlocal is_stopped
        if not is_stopped:
            is_stopped = True
            raise Stopped
        return batch.put(data, **options)

    batch = store.batch()
    phase, value = Phase(put, writes=True), _big()[:1]
    with pytest.raises(Stopped):
        digests.stream(value, buffer_digest=phase.digest)
    other = [one + 1 for one in value]
    assert digests.stream(other, buffer_digest=phase.digest).digest == digests.stream(other).digest
    pack = codecs.pack({"x": other})
    assert len(phase.put_all(pack.buffers, pack.gaps)) == 1
