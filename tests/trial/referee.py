"""What a store must hold, whatever was done to those who wrote to it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pipestate
from pipestate.space import reclaim
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify

SIZES = (10, 3000, 40_000, 200_000, 1_500_000)


def value(actor: str, number: int) -> tuple[str, int, bytes | list[bytearray]]:
    """What an actor keeps as its value of that number: to be told from every other one. What is big
    is kept beside its pickle, and written by threads."""
    size = SIZES[number % len(SIZES)]
    data = random.Random(f"{actor}{number}").randbytes(size)
    if size < SIZES[-1]:
        return actor, number, data
    return actor, number, [bytearray(data), bytearray(data[::-1])]


def check(folder: Path, done: Mapping[str, int], job: str = "trial") -> None:
    """Every byte verifies; each step of `done` has the value of that number, or a later one."""
    store = open_store(folder)
    assert verify(store) == [], "the store is damaged"
    store.close()
    held = dict(pipestate.Job(job, store=folder))
    for step, found in held.items():
        actor, number = whole(found)
        assert step.startswith(actor), (step, actor)
        assert number >= done.get(step, 0), f"{step}: {number} is there, {done[step]} was done"
    assert done.keys() <= held.keys(), f"lost: {sorted(done.keys() - held.keys())}"


def whole(found: Any) -> tuple[str, int]:
    """Who made a value, as which number; it must be that value, to the byte."""
    if isinstance(found, dict):  # of a cell: what it bound
        (found,) = found.values()
    actor, number, _ = found
    assert found == value(actor, number), f"{actor} {number} is torn"
    return actor, number


def check_swept(folder: Path) -> None:
    """With time, a sweep takes every leftover; what is in force stays."""
    past = time.time() - 7200
    for file in (folder / "blobs" / "tmp").glob("*"):
        os.utime(file, (past, past))
    before = dict(pipestate.Job("trial", store=folder))
    reclaim(open_store(folder), keep_runs=1)
    assert not list((folder / "blobs" / "tmp").glob("*")), "leftovers are still there"
    assert dict(pipestate.Job("trial", store=folder)) == before
    assert verify(open_store(folder)) == []
