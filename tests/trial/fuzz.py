"""Bytes made up by atheris, which sees which branches they reach: whatever a decoder is given, it
gives a noun or a StoreError. `python -m tests.trial --fuzz SECONDS` runs this for so long.

The first byte of an input says which decoder it is for, the rest is what that one reads. A row of
the index is put into the database of a small store, as it is or under a seal that is right, and the
store is read as a script reads it.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

ROWS = ("job/j", "jobs", "run/j/000000000002", "pipe/j", "base/j", "record/", "blob/", "stamp/")
"""The rows that are written over; of the last three kinds the first one of the store."""


def fuzz(seconds: int) -> str:
    """Try inputs for so long in a process of its own; what it says at its end.

    Raises RuntimeError, with the input, for one at which something else than a StoreError came out.
    """
    with tempfile.TemporaryDirectory() as room:
        seeds = Path(room) / "seeds"
        seeds.mkdir()
        words = [str(seeds), f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20"]
        done = subprocess.run(
            [sys.executable, __file__, *words, f"-artifact_prefix={room}/"],
            env={**os.environ, "FUZZ_ROOM": room},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    return next(line for line in done.stderr.splitlines() if line.startswith("Done "))


def targets(room: Path) -> list[Callable[[bytes], object]]:
    """The decoders, each a function of bytes."""
    from pipestate.kernel import displays
    from pipestate.record import Pipe, Record, Run
    from pipestate.store.trust import HEAD, Keys, Trust

    def noun(kind: type) -> Callable[[bytes], object]:
        def read(data: bytes) -> None:
            one = kind.from_bytes(data)
            assert kind.from_bytes(one.to_bytes()).to_bytes() == one.to_bytes()

        return read

    trust = Trust(Keys(Path(os.environ["PIPESTATE_KEYS"])))
    judge = lambda data: trust.flaw("record/x", data[HEAD:], data[:HEAD])  # noqa: E731
    show = lambda data: displays.as_text(displays.from_bytes(data))  # noqa: E731
    return [noun(Record), noun(Run), noun(Pipe), show, judge, *rows(room / "store")]


def rows(path: Path) -> list[Callable[[bytes], object]]:
    """A row of a store, its first byte says which: as it is, and under a seal that is right."""
    from test_decoders import use
    from test_store_contract import commit

    from pipestate.store.folder import open_store
    from pipestate.store.rows import Rows
    from pipestate.store.trust import HEAD

    store = open_store(path)
    pipes = [commit(store, b"one", b"x" * 100_000)[0] for _ in range(3)]
    store.index.trim("j", pipes[0], pipes[2])
    commit(store, b"two", job="k")
    keys = [next(k for k in store.index.rows.keys(kind)) for kind in ROWS]
    store.close()
    database = sqlite3.connect(path / "index" / "cache.db", isolation_level=None)
    whole = dict(database.execute("SELECT key, value FROM Cache").fetchall())

    def harm(key: str, data: bytes) -> None:
        database.execute("UPDATE Cache SET value = ? WHERE key = ?", (data, key))

    def raw(data: bytes) -> None:
        key = keys[data[0] % len(keys)] if data else keys[0]
        harm(key, data[1:])
        try:
            use(path)
        finally:
            harm(key, whole[key])

    def sealed(data: bytes) -> None:
        key = keys[data[0] % len(keys)] if data else keys[0]
        known = Rows(path / "index")
        head = bytes(HEAD) if data[:1] >= b"\x80" else b""
        known.transact(lambda: known.set(key, data[1:], head))
        known.close()
        try:
            use(path)
        finally:
            harm(key, whole[key])

    return [raw, sealed]


def sow(seeds: Path, room: Path, count: int) -> None:
    """Inputs to begin with: every noun in full, what was shown, and the rows of a store."""
    from test_decoders import MESSAGES, NOUNS

    sown = [bytes([at]) + noun.to_bytes() for at, noun in enumerate(NOUNS.values())]
    sown.append(b"\x03" + MESSAGES)
    sown.append(b"\x04" + b"h" * 200)
    database = sqlite3.connect(room / "store" / "index" / "cache.db")
    kinds = [kind.partition("/")[0] for kind in ROWS]
    for key, value in database.execute("SELECT key, value FROM Cache").fetchall():
        at = kinds.index(key.partition("/")[0])
        sown.append(bytes([count - 2, at]) + value)
        start = value.find(b"{") if b"{" in value else 17
        sown.append(bytes([count - 1, at]) + value[start:])
    for number, data in enumerate(sown):
        (seeds / str(number)).write_bytes(data)


def main() -> None:
    """The process that tries them; the words are libFuzzer's."""
    import atheris

    with atheris.instrument_imports(include=["pipestate"]):
        import pipestate.job
        import pipestate.kernel.displays
        import pipestate.store.upkeep  # noqa: F401
    from pipestate.errors import StoreError

    room = Path(os.environ["FUZZ_ROOM"])
    decoders = targets(room)
    sow(room / "seeds", room, len(decoders))

    def try_one(data: bytes) -> None:
        if data:
            try:
                decoders[data[0] % len(decoders)](data[1:])
            except StoreError:
                return

    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
