"""What stands in a store in the place of a file of its own: a folder, a pipe, a link to nowhere.

Nobody hangs on it, nothing wrong is read, and it is said what is there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from pathlib import Path

import pytest

import pipestate
from pipestate.errors import DamageError, StoreError
from pipestate.space import reclaim
from pipestate.store.folder import open_store
from pipestate.store.upkeep import verify

BIG = b"x" * 200_000


def pipe(place: Path) -> None:
    """Whoever opens it waits for who writes to it."""
    os.mkfifo(place)


def folder(place: Path) -> None:
    """With something in it."""
    place.mkdir()
    (place / "mine").write_text("mine")


def text(place: Path) -> None:
    """A file that is none of ours."""
    place.write_text("mine")


def link_to_itself(place: Path) -> None:
    """It leads nowhere."""
    place.symlink_to(place)


def link_to_a_device(place: Path) -> None:
    """It has no end."""
    place.symlink_to("/dev/zero")


def link_to_other_bytes(place: Path) -> None:
    """As many as there should be."""
    other = place.parents[3] / "other"
    other.write_bytes(b"y" * 200_043)
    place.symlink_to(other)


def listener(place: Path) -> None:
    """A socket."""
    here = os.getcwd()
    os.chdir(place.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(place.name)
    finally:
        os.chdir(here)


KINDS = [pipe, folder, link_to_itself, link_to_a_device, link_to_other_bytes, listener]


def blob_of(store: Path) -> Path:
    """The file of the one big value."""
    (found,) = (store / "blobs").glob("?/*")
    return found


@pytest.fixture
def store(tmp_path):
    """A store with a big value, let go of."""
    pipestate.set("j", step="a", value=BIG, store=tmp_path / "store")
    open_store(tmp_path / "store").close()
    return tmp_path / "store"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_blob_is_damage_until_the_value_is_kept_again(store, kind):
    """`verify` says which step it touches, a sweep goes by it, the next value takes its place."""
    blob = blob_of(store)
    blob.unlink()
    kind(blob)
    with pytest.raises(DamageError):
        pipestate.get("j", "a", store=store)
    (line,) = verify(open_store(store))
    assert line.endswith("(touches a of job j)")
    reclaim(open_store(store), keep_runs=1)
    pipestate.set("j", step="a", value=BIG, store=store)
    assert pipestate.get("j", "a", store=store) == BIG
    assert verify(open_store(store)) == []


@pytest.mark.parametrize("kind", [pipe, link_to_itself, text])
def test_what_stands_in_the_place_of_a_folder_of_blobs_makes_way(store, kind):
    """As for a blob."""
    place = blob_of(store).parent
    shutil.rmtree(place)
    kind(place)
    with pytest.raises(DamageError):
        pipestate.get("j", "a", store=store)
    pipestate.set("j", step="a", value=BIG, store=store)
    assert pipestate.get("j", "a", store=store) == BIG
    assert verify(open_store(store)) == []


def test_a_folder_that_made_way_is_not_removed(store):
    """Somebody has put it there, and no sweep takes it, old as it may be."""
    blob = blob_of(store)
    blob.unlink()
    folder(blob)
    pipestate.set("j", step="a", value=BIG, store=store)
    (moved,) = (store / "blobs" / "tmp").iterdir()
    os.utime(moved, (0, 0))
    reclaim(open_store(store), keep_runs=1)
    assert (moved / "mine").read_text() == "mine"


@pytest.mark.parametrize("place", ["format", "index", "index/cache.db", "blobs", "blobs/tmp"])
@pytest.mark.parametrize("kind", [pipe, folder, link_to_itself, link_to_a_device, text])
def test_what_stands_in_the_place_of_a_part_of_the_store_is_said(store, place, kind):
    """In one line, by who reads or by who writes; nobody takes the store for an empty one."""
    path = store / place
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind is folder and place in ("index", "blobs", "blobs/tmp"):
        pytest.skip("there it is what it should be")
    kind(path)

    def use():
        with contextlib.suppress(DamageError):
            assert pipestate.get("j", "a", store=store) in (None, BIG)
        pipestate.set("j", step="b", value=b"y" * 200_000, store=store)

    with pytest.raises(StoreError) as found:
        use()
    assert "\n" not in str(found.value)
    assert ";" in str(found.value)


def test_what_stands_in_the_place_of_leases_holds_nobody_up(nb, cwd):
    """A step runs and is kept without a lease."""
    nb.load("j")
    nb.run("%%step a\na = 1")
    for kind in (pipe, link_to_itself, folder):
        (cwd / ".pipestate" / "leases").unlink()
        kind(cwd / ".pipestate" / "leases")
        assert nb.run(f"%%step a\na = {kind.__name__!r}").states == [("a", "ran")]


def test_a_step_whose_blob_is_a_pipe_runs_again(nb, cwd):
    """Announced, as for any blob that is lost."""
    nb.load("j")
    nb.run("%%step a\nx = b'x' * 200_000", "%%step b\nlen(x)")
    nb.kill()
    blob = blob_of(cwd / ".pipestate")
    blob.unlink()
    pipe(blob)
    nb.load("j")
    result = nb.run("x[:1]")
    assert result.value == "b'x'"
    assert "is no file): a runs again to make it" in result.text
