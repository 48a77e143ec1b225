"""What others do with the same values: each peer as its users use it, beside the same floors.

Every peer keeps a value in a process of its own, taking turns with a raw write of the value's
bytes; a new process then reads those bytes and has the peer give the value back, up to the first
use of it. Imports come before the clock starts, ours as well as theirs.
"""

from __future__ import annotations

import builtins
import importlib.util
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .notebooks import Shell
from .rounds import Pair, Row, Timed, fresh, pair, paired, read_new_seconds, seconds, write
from .values import KINDS, MB, Keeper, buffers_of

MOST_SECONDS = 60.0
"""How long rounds of one peer begin: some take fifty times as long as a raw write."""


@dataclass(frozen=True)
class Peer:
    """One way to keep a value. `keeper` is given a folder and the value, `user` the folder and the
    code of the first use; both prepare, and give what is timed. `needs` is the module it takes."""

    needs: str
    keeper: Callable[[Path, Any], Timed]
    user: Callable[[Path, str], Timed]
    kinds: tuple[str, ...] = tuple(KINDS)


def ready() -> Any:
    """What a peer is to remember, by the name of a function: the value, which is there."""
    return builtins.ready_made  # type: ignore[attr-defined]


def _to_file(
    write_value: Callable[[Any, Path], object], read_value: Callable[[Path], Any]
) -> tuple[Callable[[Path, Any], Timed], Callable[[Path, str], Timed]]:
    """A value in one file, written anew in each round."""

    def keeper(room: Path, value: Any) -> Timed:
        file = room / "kept"

        def keep() -> float:
            file.unlink(missing_ok=True)
            return seconds(lambda: write_value(value, file))

        return keep

    def user(room: Path, use: str) -> Timed:
        return lambda: seconds(lambda: _use(read_value(room / "kept"), use))

    return keeper, user


def _use(value: Any, use: str) -> None:
    exec(use, {"big": value})


# --- pipestate


def _pipestate_keeper(room: Path, value: Any) -> Timed:
    return Keeper(room, value).keep


def _pipestate_user(room: Path, use: str) -> Timed:
    shell = Shell(room)
    shell.load()
    return lambda: shell.run(use)


# --- files


def _pickle_write(value: Any, file: Path) -> None:
    with open(file, "wb") as opened:
        pickle.dump(value, opened, 5)


def _pickle_read(file: Path) -> Any:
    with open(file, "rb") as opened:
        return pickle.load(opened)


def _cloudpickle_write(value: Any, file: Path) -> None:
    import cloudpickle

    with open(file, "wb") as opened:
        cloudpickle.dump(value, opened)


def _numpy_write(value: Any, file: Path) -> None:
    import numpy as np

    with open(file, "wb") as opened:
        np.save(opened, value)


def _numpy_read(file: Path) -> Any:
    import numpy as np

    return np.load(file, mmap_mode="c")


def _torch_write(value: Any, file: Path) -> None:
    import torch

    torch.save(value, file)


def _torch_read(file: Path) -> Any:
    import torch

    return torch.load(file, mmap=True)


def _dill_write(value: Any, file: Path) -> None:
    import dill

    session = ModuleType("session")
    session.big = value  # type: ignore[attr-defined]
    dill.dump_module(file, session)


def _dill_read(file: Path) -> Any:
    import dill

    return dill.load_module(file).big


# --- stores


def _joblib(mode: str | None) -> tuple[Callable[[Path, Any], Timed], Callable[[Path, str], Timed]]:
    def cached(room: Path) -> tuple[Any, Any]:
        import joblib

        memory = joblib.Memory(room / "kept", mmap_mode=mode, verbose=0)
        return memory, memory.cache(ready)

    def keeper(room: Path, value: Any) -> Timed:
        builtins.ready_made = value  # type: ignore[attr-defined]
        memory, function = cached(room)

        def keep() -> float:
            memory.clear(warn=False)
            return seconds(function)

        return keep

    def user(room: Path, use: str) -> Timed:
        _, function = cached(room)
        return lambda: seconds(lambda: _use(function(), use))

    return keeper, user


def _diskcache_keeper(room: Path, value: Any) -> Timed:
    import diskcache

    cache = diskcache.Cache(room / "kept")

    def keep() -> float:
        cache.clear()
        return seconds(lambda: cache.set("big", value))

    return keep


def _diskcache_user(room: Path, use: str) -> Timed:
    import diskcache

    cache = diskcache.Cache(room / "kept")
    return lambda: seconds(lambda: _use(cache["big"], use))


def _store_keeper(room: Path, value: Any) -> Timed:
    shell = Shell(room)
    shell.run("%load_ext storemagic")
    shell.names["big"] = value

    def keep() -> float:
        shell.run("%store -z")
        return shell.run("%store big")

    return keep


def _store_user(room: Path, use: str) -> Timed:
    shell = Shell(room)
    shell.run("%load_ext storemagic")
    return lambda: shell.run(f"%store -r big\n{use}")


def _marimo(method: str) -> tuple[Callable[[Path, Any], Timed], Callable[[Path, str], Timed]]:
    def prepared(room: Path, use: str) -> Any:
        from .marimo_app import app

        names = {"ready": ready, "kept": str(room / "kept"), "method": method, "use": use}
        vars(builtins).update(names)
        return app

    def keeper(room: Path, value: Any) -> Timed:
        builtins.ready_made = value  # type: ignore[attr-defined]
        app = prepared(room, "pass")

        def keep() -> float:
            shutil.rmtree(room / "kept", ignore_errors=True)
            _, names = app.run()
            return float(names["took"])

        return keep

    def user(room: Path, use: str) -> Timed:
        app = prepared(room, use)
        return lambda: float(app.run()[1]["used"])

    return keeper, user


PEERS: dict[str, Peer] = {
    "pipestate": Peer("pipestate", _pipestate_keeper, _pipestate_user),
    "pickle 5 to a file": Peer("pickle", *_to_file(_pickle_write, _pickle_read)),
    "cloudpickle to a file": Peer("cloudpickle", *_to_file(_cloudpickle_write, _pickle_read)),
    "numpy.save, mmap": Peer("numpy", *_to_file(_numpy_write, _numpy_read), ("array",)),
    "torch.save, mmap": Peer("torch", *_to_file(_torch_write, _torch_read), ("weights",)),
    "joblib.Memory": Peer("joblib", *_joblib(None)),
    "joblib.Memory, mmap": Peer("joblib", *_joblib("c")),
    "diskcache": Peer("diskcache", _diskcache_keeper, _diskcache_user),
    "IPython %store": Peer("IPython", _store_keeper, _store_user),
    "dill.dump_module": Peer("dill", *_to_file(_dill_write, _dill_read)),
    "marimo, pickle": Peer("marimo", *_marimo("pickle")),
    "marimo, lazy": Peer("marimo", *_marimo("lazy")),
}


# --- the rows


def keep_by(
    room: Path,
    peer: str,
    kind: str,
    size: int,
    *,
    rounds: int,
    most_seconds: float = MOST_SECONDS,
) -> Pair:
    """Let a peer keep a value, and write its bytes to a file; both are left there."""
    value = KINDS[kind].make(size)
    buffers, raw = buffers_of(value), room / "raw"

    def write_raw() -> float:
        raw.unlink(missing_ok=True)
        return seconds(lambda: write(raw, buffers))

    return paired(rounds, write_raw, PEERS[peer].keeper(room, value), most_seconds=most_seconds)


def use_by(room: Path, peer: str, kind: str) -> tuple[float, float]:
    """After a restart: read the bytes into new memory, and have the value back from a peer."""
    importlib.import_module(KINDS[kind].library)
    timed = PEERS[peer].user(room, KINDS[kind].use)
    return read_new_seconds(room / "raw"), timed()


def values_kept(room: Path, *, scale: float, rounds: int) -> Iterator[Row]:
    """All peers with all kinds of values."""
    for name, kind in KINDS.items():
        if importlib.util.find_spec(kind.library) is not None:
            for peer in PEERS:
                if name in PEERS[peer].kinds:
                    yield from _rows(room, peer, name, int(kind.size * scale), rounds)


def _rows(room: Path, peer: str, kind: str, size: int, rounds: int) -> list[Row]:
    what = KINDS[kind].what.format(size // MB)
    if importlib.util.find_spec(PEERS[peer].needs) is None:
        return [_left_out(f"{what}: {peer}", f"{PEERS[peer].needs} is not installed")]
    own = room / "own"
    own.mkdir()
    try:
        kept = fresh(keep_by, own, peer, kind, size, rounds=rounds)
        used = pair(fresh(use_by, own, peer, kind) for _ in range(rounds))
    except Exception as error:
        # A peer's own fault, whatever it raises, costs its row, not the figures of the others.
        if peer == "pipestate":
            raise
        return [_left_out(f"{what}: {peer}", repr(error)[:200])]
    finally:
        shutil.rmtree(own)
    return [
        Row(
            "peers",
            f"{what}, {verb}: {peer}",
            one.times,
            "x",
            None,
            str(one),
            panel=panel,
            bar=peer,
        )
        for verb, panel, one in (
            ("keep", f"keep a {what}", kept),
            ("first use", f"first use of a {what}", used),
        )
    ]


def _left_out(what: str, why: str) -> Row:
    return Row("peers", what, None, "", beside=f"left out: {why}")
