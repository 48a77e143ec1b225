"""Of many blobs that come together most lie in one file; nobody notices but the clock."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_store_contract import commit, edit, python, read, reopened, rewrite, said

import pipestate as pip
from pipestate.errors import DamageError, StoreError
from pipestate.pipe.history import after
from pipestate.record import Blob, Pipe, Record, Run, Version
from pipestate.store import bundles, codecs, content, digests, folder
from pipestate.store.folder import Batch, Store, open_store
from pipestate.store.index import Index
from pipestate.store.upkeep import size, sweep, verify

try:
    import torch
except ImportError:
    torch = None

EACH = 100_000


@pytest.fixture
def store(tmp_path):
    """A store that does not exist yet."""
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def some(count: int, *, first: int = 0, each: int = EACH) -> list[bytes]:
    """Different bytes, as many as said."""
    return [number.to_bytes(8, "little") * (each // 8) for number in range(first, first + count)]


def files(store: Store) -> list[Path]:
    """The files that blobs are in, the biggest last."""
    found = [file for file in (store.path / "blobs").glob("?/*") if file.is_file()]
    return sorted(found, key=lambda file: file.stat().st_size)


def on_disk(store: Store) -> int:
    """The bytes of these files."""
    return sum(file.stat().st_size for file in files(store))


def held(store: Store, blobs: tuple[Blob, ...]) -> list[bytes]:
    """What the store gives for blobs."""
    return [bytes(view) for view in store.map_all(blobs)]


def left(batch: Batch, pipe: Pipe, blobs: tuple[Blob, ...]) -> tuple[str, Run]:
    """The record of a run that left these blobs, put into a batch, and the run."""
    output = Version("value", "0" * 40, {"x": "0" * 40}, buffers=blobs)
    digest = batch.record(Record("s", "x", "0" * 40, outputs=(output,)))
    return digest, Run(pipe.number + 1, "j", "s", "ran", record=digest, heads={"s": digest})


def test_a_hundred_blobs_are_a_few_files_and_all_come_back(store):
    """In this process and in another one, all of them or one."""
    data = some(100)
    _, blobs = commit(store, *data)
    assert len(files(store)) < 10
    assert held(store, blobs) == data
    again = reopened(store)
    assert bytes(again.map(blobs[-1])) == data[-1]
    assert held(again, blobs) == data
    assert verify(again) == []


def test_a_bundle_that_is_long_enough_is_followed_by_another(store, monkeypatch):
    """To map one of any length might be refused."""
    monkeypatch.setattr(folder, "FULL", 1_000_000)
    data = some(50)
    _, blobs = commit(store, *data)
    assert [file.stat().st_size // 500_000 for file in files(store)[4:]] == [1, 2, 2, 2, 2]
    assert held(store, blobs) == held(reopened(store), blobs) == data
    assert verify(store) == []
    store.index.drop_job("j")
    sweep(store)
    assert files(store) == []


def test_a_process_that_knows_too_many_places_asks_the_index_again(store, monkeypatch):
    """And finds all of them, whatever it has just forgotten."""
    monkeypatch.setattr(bundles, "_MOST", 30)
    many = [some(20, first=100 * at) for at in range(4)]
    made = [commit(store, *data)[1] for data in many]
    again = reopened(store)
    for count in (12, 20):
        for data, blobs in zip(many, made, strict=True):
            assert held(again, blobs[:count]) == data[:count]


def test_a_few_blobs_have_files_of_their_own(store):
    """As whoever looks into the folder would expect."""
    _, blobs = commit(store, *some(3))
    assert sorted(file.parent.name + file.name for file in files(store)) == sorted(
        blob.digest for blob in blobs
    )


def test_what_lies_in_a_bundle_is_memory_of_ones_own(store):
    """Writing to it never reaches the file, nor what lies beside it."""
    data = some(20)
    _, blobs = commit(store, *data)
    for view in store.map_all(blobs):
        view[:] = b"\xff" * len(view)
    assert held(store, blobs) == data
    assert verify(reopened(store)) == []


@pytest.mark.parametrize("is_reopened", [False, True])
@pytest.mark.parametrize("each", [EACH, 1 << 20])
def test_only_what_is_new_is_written_again(store, each, is_reopened):
    """In the same process or another one, of whatever size."""
    data = some(40, each=each)
    commit(store, *data)
    store = reopened(store) if is_reopened else store
    before = size(store)
    changed = [*data[:20], *some(1, first=1000, each=each), *data[21:]]
    _, blobs = commit(store, *changed)
    assert size(store) - before < 1.5 * each + 100_000
    assert held(reopened(store), blobs) == changed


def test_the_same_bytes_twice_in_a_commit_are_kept_once(store):
    """Wherever they lie."""
    data = some(10) * 5
    _, blobs = commit(store, *data)
    assert on_disk(store) < 11 * EACH
    assert held(store, blobs) == data


def test_a_bundle_goes_once_nothing_in_it_is_wanted(store):
    """And with it what the index knew of it."""
    commit(store, *some(40))
    store.index.drop_job("j")
    assert sweep(store, dry_run=True).nbytes >= 40 * EACH
    swept = sweep(store)
    assert swept.nbytes >= 40 * EACH
    assert files(store) == []
    assert store.index.rows.keys("in/") == store.index.rows.keys("stamp/") == []


@pytest.mark.parametrize(("wanted", "stays"), [(10, False), (30, True)])
def test_of_a_bundle_that_is_mostly_garbage_the_rest_gets_files_of_its_own(store, wanted, stays):
    """So a sweep leaves at most twice of what is wanted; and it says what it frees."""
    data = some(44)
    commit(store, *data, job="one")
    _, blobs = commit(store, *data[4 : 4 + wanted], job="two")
    store.index.drop_job("one")
    told, before = sweep(store, dry_run=True), on_disk(store)
    freed = sweep(store)
    assert (told.nbytes, told.records) == (freed.nbytes, freed.records)
    assert on_disk(store) == pytest.approx((40 if stays else wanted) * EACH, abs=40 * 64)
    assert before - on_disk(store) == freed.nbytes
    assert held(store, blobs) == held(reopened(store), blobs) == data[4 : 4 + wanted]
    assert verify(store) == []


def test_who_knew_a_place_finds_what_another_process_has_moved(store):
    """And who has it mapped goes on with it."""
    data = some(44)
    commit(store, *data, job="one")
    _, blobs = commit(store, *data[4:10], job="two")
    views = store.map_all(blobs)
    other = open_store(store.path)
    other.index.drop_job("one")
    said(
        "from pipestate.store.folder import open_store\n"
        "from pipestate.store.upkeep import sweep; sweep(open_store(sys.argv[1]))",
        store.path,
    )
    assert [bytes(view) for view in views] == data[4:10]
    assert held(store, blobs) == data[4:10]
    assert store.has(blobs[0])


def test_what_is_swept_before_it_is_committed_is_put_again(store, monkeypatch):
    """The whole bundle with it."""
    data, swept = some(40), []
    batch = store.batch()
    blobs = tuple(batch.put(one) for one in data)
    _, run = left(batch, read(store), blobs)
    commit_run = type(store.index).commit

    def sweep_first(index: Index, *args, **options):
        swept.append(sweep(open_store(store.path)).nbytes)
        return commit_run(index, *args, **options)

    store.index.rows.make()
    monkeypatch.setattr(type(store.index), "commit", sweep_first)
    batch.commit(run, pipe=after(read(store), run))
    assert swept[0] >= 40 * EACH
    assert held(reopened(store), blobs) == data
    assert verify(store) == []


def test_a_batch_that_comes_to_nothing_leaves_nothing(store):
    """No file under no name, no descriptor."""
    open_files = len(os.listdir("/proc/self/fd"))
    with store.batch() as batch:
        for one in some(20):
            batch.put(one)
    assert list((store.path / "blobs" / "tmp").iterdir()) == []
    batch = store.batch()
    for one in some(20, first=100):
        batch.put(one)
    del batch
    assert list((store.path / "blobs" / "tmp").iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= open_files


def test_what_is_put_after_its_commit_was_given_up_is_refused(store):
    """It would be written into a file that may be another one by then."""
    bundle = store.bundles.begin(store.stands)
    bundle.give_up()
    with pytest.raises(StoreError, match="has ended"):
        bundle.write(memoryview(b"x" * EACH), None, None)


def test_threads_may_put_into_one_bundle(store):
    """Each blob is whole, and lies where it is said to."""
    data = some(64)
    pipe = read(store)
    with store.batch() as batch:
        blobs: dict[int, Blob] = {}

        def put(share: range) -> None:
            for at in share:
                blobs[at] = batch.put(data[at])

        threads = [threading.Thread(target=put, args=(range(at, 64, 4),)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made = tuple(blobs[at] for at in range(64))
        _, run = left(batch, pipe, made)
        batch.commit(run, pipe=after(pipe, run))
    assert held(reopened(store), made) == data


# --- what other processes, interrupts and full disks do


KEPT = """
import numpy as np, pipestate as pip
def arrays(count, first=0): return {f"a{n}": np.full(20_000, float(n)) for n in range(first, count)}
store = sys.argv[1]
"""


def test_what_a_sweep_has_forgotten_in_a_bundle_that_stays_is_written_again(tmp_path):
    """The process that kept it remembers where it lay, and the file is still there."""
    store = tmp_path / "s"
    pip.set("j", "a", 1, store=store)
    for count in (50, 35):
        pip.set("j", "w", {f"a{n}": np.full(20_000, float(n)) for n in range(count)}, store=store)
    out = said(
        "import runpy; sys.argv = ['pipestate', 'gc', '--keep-runs', '1', '--store', sys.argv[1]]\n"
        "runpy.run_module('pipestate', run_name='__main__')",
        store,
    )
    assert "removed" in out
    pip.set("j", "w", {f"a{n}": np.full(20_000, float(n)) for n in range(50)}, store=store)
    assert said(KEPT + "print(len(pip.get('j', 'w', store=store)))", store).strip() == "50"
    assert verify(open_store(store)) == []


def test_what_a_sweep_forgets_between_put_and_commit_is_put_again(store):
    """It was found to be there already when it was put."""
    data = some(44)
    commit(store, *data, job="one")
    commit(store, *data[4:34], job="two")
    store.index.drop_job("one")
    batch = store.batch()
    blobs = tuple(batch.put(one) for one in data)
    _, run = left(batch, read(store), blobs)
    sweep(open_store(store.path))
    batch.commit(run, pipe=after(read(store), run))
    assert held(store, blobs) == held(reopened(store), blobs) == data


def test_what_a_commit_that_failed_wrote_is_not_taken_for_kept(store):
    """No row says where it lies."""
    data = some(20)

    def interrupted() -> Pipe:
        raise KeyboardInterrupt

    for _ in range(15):  # the next run is one that asks for the pipe, to keep it
        commit(store, b"x")
    with store.batch() as batch:
        blobs = tuple(batch.put(one) for one in data)
        _, run = left(batch, read(store), blobs)
        with pytest.raises(KeyboardInterrupt):
            batch.commit(run, pipe=interrupted)
    commit(store, *data, job="again")
    assert held(reopened(store), blobs) == data


def test_an_interrupt_at_any_moment_of_a_set_leaves_the_process_free(tmp_path):
    """Nobody waits for a writer that is gone."""
    out = said(
        KEPT + "import random, signal\n"
        "pip.set('j', 'w', arrays(40), store=store)\n"
        "def stop(*_): raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGALRM, stop)\n"
        "hit = 0\n"
        "for at in range(120):\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, random.Random(at).uniform(0.0005, 0.03))\n"
        "        pip.set('j', 'w', arrays(50 + at, at), store=store)\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    except KeyboardInterrupt: hit += 1\n"
        "pip.set('j', 'w', arrays(50), store=store)\n"
        "print(hit > 20, len(pip.get('j', 'w', store=store)))",
        tmp_path / "s",
    )
    assert out.split() == ["True", "50"]
    assert verify(open_store(tmp_path / "s")) == []


@pytest.mark.parametrize("order", ["up", "down", "mixed"])
def test_what_is_there_already_takes_no_room_in_whatever_order_it_comes(tmp_path, order):
    """Also where it is known only once it has been written."""
    sizes = [100_000 + 60_000 * at for at in range(50)]
    if order != "up":
        sizes = sizes[::-1] if order == "down" else sizes[::3] + sizes[1::3] + sizes[2::3]
    code = (
        "import numpy as np, pipestate as pip, json\n"
        "sizes = json.loads(sys.argv[2])\n"
        "value = {f'a{n}': np.full(size // 8, float(n)) for n, size in enumerate(sizes)}\n"
        "value['a49'] += len(sys.argv)\n"
        "pip.set('j', 'w', value, store=sys.argv[1])"
    )
    said(code, tmp_path / "s", sizes)
    before = size(open_store(tmp_path / "s"))
    said(code, tmp_path / "s", sizes, "changed")
    added = size(open_store(tmp_path / "s")) - before
    assert added < sizes[49] + 2 * max(sizes) + 200_000


def test_a_damaged_file_is_healed_by_the_same_bytes_in_a_bundle(tmp_path):
    """They are not taken for kept because a file of that name and size is there."""
    store = tmp_path / "s"
    one = np.full(250_000, 7.0)
    pip.set("j", "one", one, store=store)
    (file,) = files(open_store(store))
    data = bytearray(file.read_bytes())
    data[99] ^= 1
    rewrite(file, bytes(data))
    said(
        "import numpy as np, pipestate as pip\n"
        "others = {f'a{n}': np.full(250_000, float(n)) for n in range(20, 30)}\n"
        "pip.set('j', 'all', {**others, 'one': np.full(250_000, 7.0)}, store=sys.argv[1])",
        store,
    )
    out = said(
        "import pipestate as pip; print(pip.get('j', 'all', store=sys.argv[1])['one'].sum())", store
    )
    assert out.strip() == str(one.sum())


def test_a_bundle_that_was_taken_for_left_behind_is_put_again(store):
    """Where it stood open for longer than an hour, and somebody swept."""
    commit(store, b"x", job="other")
    data = some(20)
    batch = store.batch()
    blobs = tuple(batch.put(one) for one in data)
    (open_,) = (store.path / "blobs" / "tmp").iterdir()
    os.utime(open_, (1, 1))
    sweep(open_store(store.path))
    assert not open_.exists()
    _, run = left(batch, read(store), blobs)
    batch.commit(run, pipe=after(read(store), run))
    assert held(reopened(store), blobs) == data


def test_a_disk_that_is_full_gets_its_room_back(tmp_path):
    """At once, whoever holds the error; and the next value is kept."""
    out = said(
        KEPT + "import resource\n"
        "pip.set('j', 'one', 1, store=store)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, -1))\n"
        "errors = []\n"
        "try: pip.set('j', 'w', arrays(50), store=store)\n"
        "except pip.StoreError as error: errors.append(error)\n"
        "import pathlib\n"
        "print(len(errors), len(list(pathlib.Path(store, 'blobs', 'tmp').iterdir())))\n"
        "pip.set('j', 'w', arrays(10), store=store)\n"
        "print(len(pip.get('j', 'w', store=store)))",
        tmp_path / "s",
    )
    assert out.split() == ["1", "0", "10"]


# --- damage


def bundle_of(store: Store) -> Path:
    """The file that most of them lie in."""
    return files(store)[-1]


def test_a_blob_that_was_altered_in_its_bundle_is_never_given(store):
    """The others are, one by one; and it is as good as new once it is put again."""
    data = some(20)
    _, blobs = commit(store, *data)
    file = bundle_of(store)
    whole = file.read_bytes()
    rewrite(file, whole[:-1] + b"!")
    store = reopened(store)
    assert bytes(store.map(blobs[5])) == data[5]
    with pytest.raises(DamageError, match="does not hold"):
        store.map(blobs[-1])
    with pytest.raises(DamageError):
        store.map_all(blobs)
    assert len(verify(store)) == 1
    commit(store, *data, job="again")
    assert held(store, blobs) == held(reopened(store), blobs) == data


@pytest.mark.parametrize("keep", [0, 1, 1_000_000])
def test_a_bundle_that_was_cut_is_noticed(store, keep):
    """What is still there is given, the rest is damage, and can be put again alone."""
    data = some(20)
    _, blobs = commit(store, *data)
    rewrite(bundle_of(store), bundle_of(store).read_bytes()[:keep])
    store = reopened(store)
    with pytest.raises(DamageError):
        store.map(blobs[-1])
    assert verify(store)
    commit(store, data[-1], job="again")
    assert bytes(store.map(blobs[-1])) == data[-1]
    assert bytes(reopened(store).map(blobs[-1])) == data[-1]


def test_a_bundle_that_is_gone_is_missing(store):
    """Also for who has mapped it before."""
    _, blobs = commit(store, *some(20))
    store.map_all(blobs)
    bundle_of(store).unlink()
    for one in (store, reopened(store)):
        with pytest.raises(DamageError, match="missing"):
            one.map(blobs[-1])
        assert not one.has(blobs[-1])
    assert verify(store)


def test_a_place_that_somebody_else_has_written_is_not_believed(store):
    """It may lead to other bytes of the same bundle, which the user's own processes have proved."""
    _, blobs = commit(store, *some(20))
    places = store.index.places([one.digest for one in blobs])
    one, other = blobs[-1].digest, blobs[-2].digest
    forged = places[one]._replace(at=places[other].at)
    store.index.rows.transact(lambda: store.index.rows.set(f"in/{one}", forged.to_bytes()))
    with pytest.raises(DamageError):
        reopened(store).map(blobs[-1])


def test_a_place_beyond_the_end_or_of_no_bundle_is_damage(store):
    """Whatever stands in the row."""
    _, blobs = commit(store, *some(20))
    name = blobs[-1].digest
    place = store.index.places([name])[name]
    wrong = [place._replace(at=1 << 62), place._replace(file="0" * 40), place._replace(nbytes=1)]
    for one in wrong:
        store.index.rows.transact(
            lambda one=one: store.index.rows.set(f"in/{name}", one.to_bytes())
        )
        with pytest.raises(DamageError):
            reopened(store).map(blobs[-1])
    store.index.rows.transact(lambda: store.index.rows.set(f"in/{name}", b"short"))
    store = reopened(store)
    with pytest.raises(StoreError):
        store.map(blobs[-1])
    commit(store, some(20)[-1], job="again")
    assert held(reopened(store), blobs) == some(20)


def test_a_lost_place_is_a_lost_blob_and_no_other(store):
    """Until it is put again."""
    data = some(20)
    _, blobs = commit(store, *data)
    edit(store, f"DELETE FROM Cache WHERE key = 'in/{blobs[-1].digest}'")
    store = reopened(store)
    assert held(store, blobs[:-1]) == data[:-1]
    with pytest.raises(DamageError, match="missing"):
        store.map(blobs[-1])
    commit(store, data[-1], job="again")
    assert held(store, blobs) == data


def test_a_bundle_that_was_copied_is_hashed_once(store, monkeypatch):
    """In its new state; then its state is its proof again."""
    data = some(20)
    _, blobs = commit(store, *data)
    file = bundle_of(store)
    os.utime(file, (1, 1))
    assert held(reopened(store), blobs) == data
    hashed: list[int] = []
    take = content.digest
    monkeypatch.setattr(content, "digest", lambda one: (hashed.append(1), take(one))[1])
    assert held(reopened(store), blobs) == data
    assert hashed == []


@pytest.mark.parametrize("verification", ["strict", "off"])
def test_bundles_are_believed_as_files_are(store, verification):
    """`strict` hashes at every use, `off` never."""
    _, blobs = commit(store, *some(20))
    file = bundle_of(store)
    state = file.stat()
    rewrite(file, file.read_bytes()[:-1] + b"!")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    again = reopened(store, verification=verification)
    if verification == "off":
        assert bytes(again.map(blobs[-1]))[-1:] == b"!"
    else:
        with pytest.raises(DamageError):
            again.map(blobs[-1])


def test_blobs_of_bundles_are_read_where_no_more_files_can_be_mapped(store):
    """Each bundle that is mapped keeps a descriptor."""
    data = some(20)
    _, blobs = commit(store, *data)
    out = said(
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from pipestate.store.folder import open_store\n"
        "from pipestate.record import Blob\n"
        "blobs = [Blob(one, int(n)) for one, n in (a.split(':') for a in sys.argv[2:])]\n"
        "store = open_store(sys.argv[1])\n"
        "held = [store.map_all(blobs) for _ in range(60)]\n"
        "print(len({bytes(view[:8]) for many in held for view in many}))",
        store.path,
        *(f"{blob.digest}:{blob.nbytes}" for blob in blobs),
    )
    assert out.strip() == "20"


def test_a_killed_writer_leaves_what_a_sweep_takes(store):
    """A file under no name, which goes after an hour."""
    commit(store, b"x" * EACH)
    with python(
        "import os, signal; from pipestate.store.folder import open_store\n"
        "batch = open_store(sys.argv[1]).batch()\n"
        "for n in range(20): batch.put(bytes([n]) * 100_000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
        store.path,
    ) as process:
        process.wait(timeout=60)
    (left,) = (store.path / "blobs" / "tmp").iterdir()
    assert sweep(store).blobs >= 3
    assert left.exists()
    os.utime(left, (1, 1))
    assert sweep(store).blobs == 1
    assert verify(store) == []


def test_a_dict_of_arrays_is_a_few_files_and_comes_back(tmp_path):
    """What a user sees of it all: nothing."""
    value = {f"w{at}": np.full(20_000, float(at)) for at in range(50)}
    pip.set("j", "weights", value, store=tmp_path / "s")
    assert len(files(open_store(tmp_path / "s"))) < 10
    out = said(
        "import pipestate as pip; value = pip.get('j', 'weights', store=sys.argv[1])\n"
        "print(sum(one.sum() for one in value.values()), value['w7'].flags.writeable)",
        tmp_path / "s",
    )
    assert out.split() == [str(sum(20_000.0 * at for at in range(50))), "True"]


# --- values


MANY = {
    "arrays": lambda: [np.arange(20_000.0) + at for at in range(30)],
    "arrays that are views of one": lambda: list(np.arange(600_000.0).reshape(30, 20_000)),
    "arrays and views of them": lambda: [
        view for at in range(20) for one in [np.arange(20_000.0) + at] for view in (one, one[5:])
    ],
    "bytearrays": lambda: [bytearray([at]) * 100_000 for at in range(30)],
    "equal ones among others": lambda: [np.zeros(20_000) + at // 3 for at in range(30)],
    "equal tensors": lambda: [torch.zeros(20_000) + at // 3 for at in range(30)],
    "frame": lambda: pd.DataFrame({f"c{at}": np.arange(20_000.0) + at for at in range(30)}),
    "frames": lambda: [pd.DataFrame({"a": np.arange(20_000.0) + at}) for at in range(30)],
    "tensors": lambda: {f"t{at}": torch.arange(20_000.0) + at for at in range(30)},
    "tensors over one storage": lambda: list(torch.arange(600_000.0).reshape(30, 20_000)),
}


@pytest.mark.parametrize("count", [2, 30])
@pytest.mark.parametrize("size", [1_000, 20_000, 200_000])
def test_equal_arrays_are_apart_when_they_come_back(tmp_path, size, count):
    """They are kept once, and each has memory of its own."""
    pip.set("j", "x", [np.zeros(size) for _ in range(count)], store=tmp_path / "s")
    for store in (tmp_path / "s", tmp_path / "s"):
        value = pip.get("j", "x", store=store)
        for at, one in enumerate(value):
            one[:] = at + 1
        assert [one.sum() for one in value] == [size * (at + 1.0) for at in range(count)]
    known = digests.stream([np.zeros(size) for _ in range(count)]).digest
    assert digests.stream(pip.get("j", "x", store=tmp_path / "s")).digest == known


@pytest.mark.parametrize("kind", MANY)
def test_what_lies_in_one_bundle_shares_nothing(tmp_path, kind):
    """Not even for who asks whose memory an array sees: the digest is as before, and so is what is
    kept of it when it is kept again."""
    if "tensor" in kind:
        pytest.importorskip("torch")
    value = MANY[kind]()
    known = digests.stream(value)
    pip.set("j", "many", value, store=tmp_path / "s")
    assert len(files(open_store(tmp_path / "s"))) < 10
    again = pip.get("j", "many", store=tmp_path / "s")
    seen = digests.stream(again)
    assert (seen.digest, len(seen.mutables)) == (known.digest, len(known.mutables))
    before, after_ = (codecs.pack({"x": one}) for one in (value, again))
    assert [one.nbytes for one in before.buffers] == [one.nbytes for one in after_.buffers]
    size_before = size(open_store(tmp_path / "s"))
    pip.set("j", "again", again, store=tmp_path / "s")
    if before.buffers:  # else it is all in the pickle
        assert size(open_store(tmp_path / "s")) - size_before < 150_000


def test_names_whose_arrays_lie_in_one_bundle_are_apart(nb):
    """After a restart, too: a step that changes one of them has made that one, and no other."""
    made = "\n".join(f"a{at} = np.arange(20_000.0) + {at}" for at in range(12))
    total = "%%step two\ntotal = sum(one.sum() for one in plain) + a3.sum() + a4.sum()"
    nb.load()
    nb.run("import numpy as np\nplain = [np.full(20_000, float(at)) for at in range(12)]")
    nb.run(f"%%step one\nimport numpy as np\n{made}")
    nb.run(total)
    nb.restart()
    nb.load()
    assert nb.run(total).states == [("two", "restored")]
    nb.run("%%step three\na5[0] = 7")
    found = pip.Job("job", store=nb.cwd / ".pipestate").status()
    assert [(one.name, one.state) for one in found] == [
        (name, "fresh") for name in ("one", "two", "three")
    ]
    assert found[2].made == ("a5",)
